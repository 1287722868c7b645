"""Executes the runs of a sweep in child processes, and yields what happens.

Each run is `python -m kgen run - --control` in its own run folder. Other processes may work on the
same sweep; see `kgen.sweep.leases`. Prints nothing.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kgen import events
from kgen.journal.reading import JournalError, Tail, open_run
from kgen.sweep import stopping, summary, trials
from kgen.sweep.grid import Sweep, Trial
from kgen.sweep.leases import Leases
from kgen.sweep.stopping import Point
from kgen.sweep.trials import HOPELESS, Progress
from kgen.system.child import COMMAND, Child

POLL_SECONDS = 0.2
RETRY_SECONDS = 2.0
"""How often to check whether a run that another process holds has become available."""
WRITE_SECONDS = 2.0
"""Shortest time between two rewrites of the results."""

Kind = Literal[
    "started", "progress", "evaluated", "message", "done", "stopped", "failed", "interrupted",
    "waiting",
]  # fmt: skip


@dataclass(frozen=True)
class Update:
    """Something happened to a trial, or (`waiting`) this process is waiting for others."""

    kind: Kind
    trial: Trial | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """How a sweep is executed; only `threads` affects what a run computes."""

    workers: int = 1
    threads: int = 1
    """Per worker."""
    stop_hopeless: bool = False
    margin: float = stopping.MARGIN
    retry_failed: bool = False
    checkpoint_seconds: float = 5.0
    command: tuple[str, ...] = COMMAND


def cores() -> int:
    """How many cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1


def execute(
    folder: Path,
    sweep: Sweep,
    options: Options,
    interrupts: Callable[[], int] = lambda: 0,
) -> Generator[Update, None, None]:
    """Execute what is left of a sweep, whose folder contains `sweep.json`.

    A failed run does not end the sweep. Each run is tried once. `interrupts` returns how often the
    user has asked to stop: after the first time, the runs stop at their next step; after the
    second, they are killed. Either way they can be resumed. Closing the iterator stops them too.

    Raises SweepError if the folder cannot be written.
    """
    yield from _Execution(folder.resolve(), sweep, options, interrupts).run()


class _Job:
    """A trial that is being run by a child."""

    def __init__(self, folder: Path, trial: Trial, resumed: bool, options: Options):
        self.folder, self.trial, self.resumed = folder, trial, resumed
        descriptor, self.log = tempfile.mkstemp(".log", "kgen-sweep-")
        os.close(descriptor)
        self.child = Child(
            Path(self.log),
            (*options.command, "--checkpoint-every", str(options.checkpoint_seconds)),
            {"OMP_NUM_THREADS": str(options.threads)},
        )
        path = str(folder / trial.name)
        self.child.send(
            {"resume": path}
            if resumed
            else {"recipe": trial.recipe.model_dump(mode="json"), "folder": path}
        )
        self.tail: Tail | None = None
        self.error: dict[str, Any] = {}
        """Its last message about an error."""
        self._read = 0

    def messages(self) -> Iterator[dict[str, Any]]:
        """What the child has said since the last call."""
        while self._read < len(self.child.messages):
            yield self.child.messages[self._read]
            self._read += 1

    def new_events(self) -> Iterator[events.Event]:
        """What the run has journaled since the last call."""
        if self.tail is None:
            return
        with contextlib.suppress(JournalError):  # its own process reports a damaged run
            for _, found in self.tail.blocks():
                yield from found

    def close(self) -> None:
        self.child.close(0.0 if self.child.code is not None else 10.0)
        with contextlib.suppress(OSError):
            os.unlink(self.log)


class _Execution:
    def __init__(self, folder: Path, sweep: Sweep, options: Options, interrupts: Callable[[], int]):
        self.folder, self.sweep, self.options = folder, sweep, options
        self.interrupts = interrupts
        self.jobs: list[_Job] = []
        self.queue = list(sweep.trials)
        self.elsewhere: list[Trial] = []
        """Trials that other processes hold."""
        self.stopping = 0
        self._retried_at = self._written_at = time.monotonic()
        self._changed = False
        self._waiting = False

    def run(self) -> Iterator[Update]:
        self.leases = Leases(self.folder)
        self._write_results()
        try:
            while self.jobs or not self.stopping:
                self._react_to_interrupts()
                if not self.stopping:
                    yield from self._start_jobs()
                if not (self.jobs or self.queue or self.elsewhere):
                    break
                for job in list(self.jobs):
                    yield from self._follow(job)
                if self._changed and time.monotonic() - self._written_at >= WRITE_SECONDS:
                    self._write_results()
                time.sleep(POLL_SECONDS)
        finally:
            for job in self.jobs:
                job.child.end_input()  # all at once
            for job in self.jobs:
                job.close()
            self.leases.close()
            self._write_results()

    def _react_to_interrupts(self) -> None:
        asked = self.interrupts()
        if asked == self.stopping:
            return
        for job in self.jobs:
            if self.stopping == 0:
                job.child.end_input()  # which means stop
            if asked > 1:
                job.child.terminate()
        self.stopping = asked

    # --- starting --------------------------------------------------------------------------------

    def _start_jobs(self) -> Iterator[Update]:
        if self.elsewhere and time.monotonic() - self._retried_at > RETRY_SECONDS:
            self._retried_at = time.monotonic()
            self.queue, self.elsewhere = [*self.queue, *self.elsewhere], []
        while self.queue and len(self.jobs) < self.options.workers:
            trial = self.queue.pop(0)
            before = trials.progress(self.folder, trial)
            if self._is_over(before):
                continue
            if not self.leases.acquire(trial.name):
                self.elsewhere.append(trial)
                continue
            # a network drive may still claim that a folder does not exist after another machine has
            # finished its run; only creating it is certain
            with contextlib.suppress(FileExistsError):
                (self.folder / trial.name).mkdir()
            now = trials.progress(self.folder, trial)
            if self._is_over(now) or now.state == "running":
                self.leases.release(trial.name)
                if now.state == "running":  # without a lease: started by hand, or just ending
                    self.elsewhere.append(trial)
                continue
            resumed = now.state != "waiting"
            self.jobs.append(_Job(self.folder, trial, resumed, self.options))
            self._waiting = False
            yield Update("started", trial, {"resumed": resumed})
        if self.elsewhere and not self.jobs and not self._waiting:
            self._waiting = True
            hosts = {self.leases.holder(trial.name) for trial in self.elsewhere} - {None}
            yield Update(
                "waiting", None, {"runs": len(self.elsewhere), "hosts": sorted(map(str, hosts))}
            )

    def _is_over(self, progress: Progress) -> bool:
        retry = progress.state == "failed" and progress.resumable and self.options.retry_failed
        return progress.over and not retry

    # --- following -------------------------------------------------------------------------------

    def _follow(self, job: _Job) -> Iterator[Update]:
        code = job.child.code  # before reading what it wrote
        for message in job.messages():
            if message["kind"] == "started":
                job.tail = open_run(self.folder / job.trial.name).tail()
            elif message["kind"] == "waiting":
                yield Update("message", job.trial, {"text": message["text"]})
            elif message["kind"] == "error":
                job.error = message
        if self.leases.lost(job.trial.name) and code is None:
            job.child.terminate()  # another process has taken over the trial
            return
        for event in job.new_events():
            if isinstance(event, events.Evaluated) and (point := trials.point(event)):
                yield from self._on_test(job, point)
            elif isinstance(event, events.BatchSynthesized) and event.iteration is not None:
                done = event.iteration + 1
                yield Update(
                    "progress",
                    job.trial,
                    {"done": done, "total": job.trial.recipe.total_iterations},
                )
        if code is not None:
            self.jobs.remove(job)
            yield self._end(job)

    def _on_test(self, job: _Job, point: Point) -> Iterator[Update]:
        yield Update(
            "evaluated",
            job.trial,
            {"steps": point.steps, "share": point.share, "n": point.n, "real": point.real},
        )
        if not self.options.stop_hopeless or self.stopping:
            return
        finished = [
            run.curve
            for run in trials.progress_of(self.folder, self.sweep).values()
            if run.state == "done"
        ]
        verdict = stopping.judge(
            point, job.trial.recipe.total_student_steps, finished, self.options.margin
        )
        if verdict:
            job.child.send({"do": "stop", "id": HOPELESS, "why": str(verdict)})

    def _end(self, job: _Job) -> Update:
        cause = job.error.get("text") or job.child.exit_message()
        job.close()
        with contextlib.suppress(OSError):
            (self.folder / job.trial.name).rmdir()  # the engine refused before it began
        taken = self.leases.lost(job.trial.name) or job.error.get("code") == "busy"
        self.leases.release(job.trial.name)
        self._changed = True
        now = trials.progress(self.folder, job.trial)
        facts = {"seconds": now.seconds, "n": now.n}
        if now.state in ("done", "stopped"):
            return Update(
                "done" if now.state == "done" else "stopped",
                job.trial,
                facts | {"accuracy": now.accuracy, "agreement": now.agreement, "why": now.why},
            )
        if now.state != "failed" and (taken or self.stopping):
            if taken:
                self.elsewhere.append(job.trial)
            return Update("interrupted", job.trial, facts)
        return Update("failed", job.trial, facts | {"why": now.why or cause})

    def _write_results(self) -> None:
        self._written_at, self._changed = time.monotonic(), False
        with contextlib.suppress(OSError):  # open in a spreadsheet; the next write will succeed
            summary.write(self.folder, self.sweep, trials.progress_of(self.folder, self.sweep))
