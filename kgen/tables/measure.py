"""Executes the runs of tables in parallel, each on one thread of its own process.

It yields results and writes nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from kgen.events import BatchSynthesized, Opinion, RunStarted
from kgen.tables.results import Result
from kgen.tables.tables import Row, Table, TableError


@dataclass(frozen=True)
class Task:
    """A run to execute."""

    label: str
    row: Row
    seed: int


@dataclass(frozen=True)
class Outcome:
    """A task that began (neither field), ended (`result`) or failed (`error`, a sentence)."""

    task: Task
    result: Result | None = None
    error: str | None = None

    @property
    def began(self) -> bool:
        return self.result is None and self.error is None


def missing(
    tables: Iterable[Table], seeds: Iterable[int], finished: Iterable[tuple[str, int]]
) -> list[Task]:
    """The missing runs of these tables, without duplicates, ordered by table, then by seed.

    `there`: (key, seed) of the finished runs.
    """
    seeds, known, tasks = list(seeds), set(finished), []
    for table in tables:
        for seed in seeds:
            for r in table.rows:
                if (r.key, seed) not in known:
                    known.add((r.key, seed))
                    tasks.append(Task(f"{table.name}: {r.label}", r, seed))
    return tasks


def run_task(task: Task) -> Result:
    """Execute one run in this process, with torch's current number of threads.

    Raises TableError, and whatever the engine raises.
    """
    import torch

    from kgen.engine.engine import distill

    if task.row.photos is not None:
        return _on_photos(task, task.row.photos)
    plan: RunStarted | None = None
    batch: BatchSynthesized | None = None
    opinions: list[tuple[int, Opinion]] = []
    for event in distill(task.row.recipe.replace(seed=task.seed)):
        if event.kind == "run_started":
            plan = event
        elif event.kind == "batch_synthesised":
            batch = event
            if event.judged and event.arrays:
                opinions.append((len(event.arrays["labels"]), event.judged))
        elif event.kind == "run_failed":
            raise TableError(f"{event.cause} {event.remedy}", code="run-failed")
    if not (plan and batch and event.kind == "run_finished") or event.accuracy is None:
        raise TableError(
            "The run has no student to measure; a row needs student steps and at least two"
            " classes.",
            code="no-student",
        )
    return Result(
        key=task.row.key,
        seed=task.seed,
        label=task.label,
        accuracy=event.accuracy,
        n=event.n,
        seconds=event.t,
        images=batch.pool_images,
        pixels=batch.pool_pixels,
        student_steps=plan.student_steps,
        torch=torch.__version__,
        second_opinion=_share("top1", opinions),
        second_opinion_chosen=_share("chosen", opinions),
    )


def _share(name: str, opinions: list[tuple[int, Opinion]]) -> float | None:
    """Share over all images: the batches' shares, weighted by their number of images."""
    images = sum(n for n, _ in opinions)
    return sum(n * getattr(opinion, name) for n, opinion in opinions) / images if images else None


def _on_photos(task: Task, n: int) -> Result:
    """A student trained on n real training images (`Row.photos`)."""
    import torch

    from kgen.worth.worth import Retraining

    start = time.monotonic()
    retraining = Retraining(task.row.recipe.replace(seed=task.seed))
    (side,) = retraining.setting.sides
    accuracy = retraining.train_on_photos(retraining.photos(), {side: n})
    return Result(
        key=task.row.key,
        seed=task.seed,
        label=task.label,
        accuracy=accuracy,
        n=retraining.tested,
        seconds=round(time.monotonic() - start, 3),
        images=n,
        pixels=n * side**2,
        student_steps=retraining.setting.student_total,
        torch=torch.__version__,
    )


def measure(tasks: Iterable[Task], jobs: int) -> Generator[Outcome, None, None]:
    """Execute runs, `jobs` at once; yields an Outcome when a run begins and one when it ends.

    A failed run does not stop the others. Closing the iterator (or a KeyboardInterrupt passing
    through it) discards the runs in progress. jobs = 0 executes them in this process, one after
    another.
    """
    if not jobs:
        yield from _run_inline(tasks)
        return
    queue = deque(tasks)
    busy: dict[_Worker, Task] = {}
    idle: list[_Worker] = []
    try:
        while queue or busy:
            while queue and len(busy) < jobs:
                worker, task = idle.pop() if idle else _Worker(), queue.popleft()
                worker.pipe.send(task)
                busy[worker] = task
                yield Outcome(task)
            ready = wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in ready]:
                task = busy.pop(worker)
                try:
                    result = worker.pipe.recv()
                    idle.append(worker)
                except (EOFError, ConnectionError):
                    result = (
                        f"Its process ended before the run did (exit code {worker.end()}); if"
                        " memory is short, try fewer --jobs."
                    )
                yield _outcome(task, result)
    finally:
        for worker in [*idle, *busy]:
            worker.process.terminate()
            worker.end()


def _run_inline(tasks: Iterable[Task]) -> Iterator[Outcome]:
    import torch

    threads = torch.get_num_threads()
    for task in tasks:
        yield Outcome(task)
        torch.set_num_threads(1)
        try:
            result = _run_or_error(task)
        finally:
            torch.set_num_threads(threads)
        yield _outcome(task, result)


def _run_or_error(task: Task) -> Result | str:
    """The run's result, or the reason for its failure."""
    try:
        return run_task(task)
    except ValueError as error:  # table, recipe, teacher and data errors have a readable message
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _outcome(task: Task, result: Result | str) -> Outcome:
    return Outcome(task, error=result) if isinstance(result, str) else Outcome(task, result=result)


class _Worker:
    """A process that executes one run after another, and our end of its pipe.

    Spawned, so that torch starts clean.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, worker_pipe = context.Pipe()
        self.process = context.Process(target=_worker_main, args=(worker_pipe,), daemon=True)
        self.process.start()
        worker_pipe.close()  # so that the pipe closes when the process ends

    def end(self) -> int | None:
        """Wait for a terminating process; returns its exit code (negative for a signal)."""
        self.pipe.close()
        self.process.join()
        return self.process.exitcode


def _worker_main(pipe: Connection) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches us too; the parent process decides what to do
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    import torch

    torch.set_num_threads(1)
    try:
        while True:
            pipe.send(_run_or_error(pipe.recv()))
    except (EOFError, ConnectionError):  # the parent process is gone
        return
