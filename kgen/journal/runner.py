"""Runs a distillation into a run folder: events, batches, checkpoints, the exported student.

It prints nothing: `on_event` receives every event once it is journaled, `on_message`
receives messages about the disk.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from kgen import events, precision
from kgen.data.folders import ActivityProgress, ignore_activity
from kgen.distributed.launch import launch_command
from kgen.distributed.world import ALONE, World
from kgen.engine.controls import Controls
from kgen.engine.engine import Distillation
from kgen.engine.follower import Follower
from kgen.errors import DiskError
from kgen.journal import own_images
from kgen.journal.journal import Journal
from kgen.journal.reading import JournalError, Run, open_run, read_checkpoint
from kgen.phrases import count
from kgen.recipe.recipe import Recipe
from kgen.terms import Term
from kgen.zoo import zoo

if TYPE_CHECKING:
    from typing_extensions import Unpack

CHECKPOINT_SECONDS = 5.0
MAX_CHECKPOINT_SHARE = 0.05
"""Checkpoints become rarer if they take more than this share of the time."""
MAX_CHECKPOINT_SECONDS = 300.0
"""But not rarer than this."""
DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}


Listener = Callable[[events.Event], None]


class RunnerOptions(TypedDict, total=False):
    """How a runner reports and how often it saves; none of it changes what a run computes."""

    checkpoint_seconds: float
    on_event: Listener | None
    on_message: Callable[[str], None] | None


class Runner:
    """One run and its folder. Create it with `Runner.new` or `Runner.resume`, then call `run()`."""

    def __init__(
        self,
        distillation: Distillation,
        journal: Journal,
        controls: Controls,
        *,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        on_event: Listener | None = None,
        on_message: Callable[[str], None] | None = None,
    ):
        self.distillation, self.journal, self.controls = distillation, journal, controls
        self.checkpoint_seconds = checkpoint_seconds
        self.on_event, self.on_message = (
            on_event or (lambda event: None),
            on_message or (lambda text: None),
        )
        self._last_checkpoint, self._checkpoint_cost = time.monotonic(), 0.0
        self.resumed_at: int | None = None
        """Iterations done when the run was resumed; None for a new run."""
        self._warnings = list(journal.drive_warnings)
        """About this machine, not the recipe: texts and remedies, reported after the first event.
        """
        distillation.on_trained = self._write_untested_student

    @classmethod
    def new(
        cls,
        recipe: Recipe,
        folder: str | Path,
        *,
        controls: Controls | None = None,
        terms: Sequence[Term] = (),
        world: World = ALONE,
        on_progress: ActivityProgress = ignore_activity,
        **options: Unpack[RunnerOptions],
    ) -> Runner:
        """Check the folder's name and the recipe on this machine, then create the folder.

        `world`: the processes of the run; this one is rank 0. Raises RecipeError, ZooError,
        JournalError, TermError.
        """
        Journal.require_free(folder)  # before anything is loaded
        controls = controls or Controls()
        distillation = Distillation(
            recipe.as_typed_here(),
            controls=controls,
            terms=terms,
            world=world,
            on_progress=on_progress,
        )
        journal = Journal.create(
            folder,
            distillation.recipe,
            device=str(distillation.setting.device),
            threads=torch.get_num_threads(),
            processes=world.size,
            teacher_sha256=zoo.checksum(recipe.teacher),
            n_train=distillation.setting.card.n_train,
            formats=precision.to_record(distillation.state.formats),
            **own_images.identify(distillation.setting.real),
        )
        return cls(distillation, journal, controls, **options)

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        *,
        real: str | Path | None = None,
        other_images: bool = False,
        controls: Controls | None = None,
        terms: Sequence[Term] = (),
        world: World = ALONE,
        on_progress: ActivityProgress = ignore_activity,
        **options: Unpack[RunnerOptions],
    ) -> Runner:
        """Continue from the last complete checkpoint, or from the start if there is none.

        `terms`, `world`: the same custom terms, and as many processes, as the run was started with.
        `real`: where the run's own real images are now; recorded, so the next resume knows it.
        `other_images`: continue even if they are not the ones that the run started with.
        Raises JournalError.
        """
        run = open_run(folder)
        end = _end(run)
        if end and ((run.path / "student.safetensors").is_file() or not end.n):
            raise JournalError(
                f"{run.path} has already finished; there is nothing to resume.", code="finished"
            )
        if real is not None and run.recipe.real_images is None:
            raise JournalError(
                f"{run.path} is not tested on a folder of real images, so it cannot continue with"
                " one; resume it without --real.",
                code="conflict",
                field="real_images",
            )
        info = run.info
        if (processes := info.get("processes", 1)) != world.size:
            raise JournalError(
                f"{run.path} is a run with {count(processes, 'process')}, each with its own"
                " generator and part of the pool; it cannot be resumed with"
                f" {count(world.size, 'process')}. Resume it with:"
                f" {launch_command(processes, 'resume', str(run.path))}",
                code="other-processes",
                processes=processes,
                found=world.size,
            )
        if info.get("teacher_sha256") != zoo.checksum(run.recipe.teacher):
            raise JournalError(
                f"{run.path} was started with another version of teacher {run.recipe.teacher!r};"
                " it cannot be resumed with this one.",
                code="other-teacher",
                teacher=run.recipe.teacher,
            )
        if run.started and run.started.loss_terms != events.PARTS:
            raise JournalError(
                f"{run.path} was started by a version with different loss terms"
                f" ({', '.join(run.started.loss_terms)}); it can be opened but not resumed.",
                code="other-terms",
                terms=list(run.started.loss_terms),
            )
        term_names = [term.name for term in (run.started and run.started.own_terms) or ()]
        if term_names != [term.name for term in terms]:
            raise JournalError(
                f"{run.path} was started with the loss terms {', '.join(term_names)}, whose"
                " functions are not in its folder. Resume it where they are defined:"
                " Runner.resume(folder, terms=[…])."
                if term_names
                else f"{run.path} was started without custom loss terms; resume it without terms.",
                code="other-terms",
                terms=term_names,
            )
        threads, fewer = _threads(info.get("threads"))
        torch.set_num_threads(threads)
        controls = controls or Controls()
        checkpoint = read_checkpoint(folder)
        run.verify(checkpoint.offset)
        recipe = run.recipe_here(real)
        formats = precision.from_record(info.get("formats"))
        distillation = Distillation(
            recipe,
            controls=controls,
            terms=terms,
            resume=checkpoint.tensors,
            read_batch=run.batch,
            elapsed=checkpoint.t,
            formats=formats,
            world=world,
            on_progress=on_progress,
        )
        identity = own_images.identify(distillation.setting.real)
        different = own_images.difference(run, identity)
        if different and not other_images:
            command = launch_command(world.size, "resume", str(run.path))
            raise JournalError(
                f"{different} Specify where the run's own images are: {command} --real FOLDER; or"
                f" continue with these: {command} --other-images.",
                code="other-images",
                file=recipe.real_images,
                option="--other-images",
            )
        runner = cls(
            distillation,
            Journal.reopen(
                folder,
                checkpoint.offset,
                checkpoint.iterations,
                recipe,
                **identity,
            ),
            controls,
            **options,
        )
        runner._warnings += fewer
        if different:
            runner._warnings.append((different, "Compare only accuracies on the same images."))
        runner.resumed_at = checkpoint.iterations
        return runner

    def run(self) -> events.Event:
        """Run to the end; returns the last event (run_finished or run_failed). Raises DiskError."""
        last: events.Event | None = None
        stream = iter(self.distillation)
        try:
            for event in stream:
                if event.kind == "run_finished" and event.n:
                    self._retry_while_full(self.journal.write_student, self.student_bytes(event))
                self._record(event)
                last = event
                while self._warnings and event.kind != "run_finished":
                    text, remedy = self._warnings.pop(0)
                    self._record(events.Warned(t=event.t, text=text, remedy=remedy))
                paused = self.distillation.gate.state != "running"
                if self.distillation.resumable and (paused or self._checkpoint_is_due()):
                    self.checkpoint()
        finally:
            stream.close()  # ends the student's thread before closing its journal
            self.journal.close()
        assert last is not None  # every run ends with an event
        return last

    def _record(self, event: events.Event) -> None:
        self._retry_while_full(self.journal.write, event)
        self.on_event(event)

    def _checkpoint_is_due(self) -> bool:
        rarer = min(self._checkpoint_cost / MAX_CHECKPOINT_SHARE, MAX_CHECKPOINT_SECONDS)
        interval = max(self.checkpoint_seconds, rarer)
        return not self.checkpoint_seconds or time.monotonic() - self._last_checkpoint >= interval

    def checkpoint(self) -> None:
        began = time.monotonic()
        tensors = self.distillation.checkpoint()
        if not all(
            t.isfinite().all() for name, t in tensors.items() if name.startswith("student.")
        ):
            return  # the run is about to fail; the last good checkpoint stays
        collecting = time.monotonic() - began

        def write() -> None:
            began = time.monotonic()  # waiting for a full disk is not the checkpoint's cost
            self.journal.write_checkpoint(
                tensors, int(tensors["counters"][0]), self.distillation.elapsed
            )
            self._checkpoint_cost = collecting + time.monotonic() - began

        self._retry_while_full(write)
        self._last_checkpoint = time.monotonic()

    def _write_untested_student(self) -> None:
        """Called before the final test, which takes minutes on a large folder and may be
        interrupted.
        """
        untested = events.RunFinished(reason="stopped")
        self._retry_while_full(self.journal.write_student, self.student_bytes(untested))

    def student_bytes(self, end: events.RunFinished) -> bytes:
        """The student as a safetensors file for `kgen.zoo.load_student`, with its provenance."""
        distillation, r = self.distillation, self.distillation.recipe
        teacher = distillation.setting.teacher
        spec = {
            "format": "kgen student",
            "architecture": r.student,
            **zoo.STUDENTS.get(r.student, {}),
            "channels": teacher.card.channels,
            "classes": list(teacher.classes),
            "mean": teacher.mean.flatten().tolist(),
            "std": teacher.std.flatten().tolist(),
            "side": teacher.card.side,
            "accuracy": end.accuracy,
            "agreement": end.agreement,
            "recipe": r.model_dump(mode="json") | {"real_images": None},  # a path on this machine
            "load": (
                "import kgen; student = kgen.zoo.load_classifier('student.safetensors')  # pixels"
                " in [0,1] -> logits"
            ),
        }
        return zoo.network_bytes(distillation.state.student, spec)

    def _retry_while_full(self, write: Callable[..., None], *args: Any) -> None:
        """Write. If the disk is full, report it and wait; the run pauses, so nothing is lost."""
        reported = False
        while True:
            try:
                return write(*args)
            except OSError as error:
                if error.errno not in DISK_FULL_ERRORS:
                    raise DiskError(
                        f"The folder of the run {self.journal.path.name} cannot be written:"
                        f" {error.strerror or error}. Everything up to the last checkpoint is safe;"
                        " fix the disk, then resume.",
                        code="unwritable",
                        file=str(self.journal.path),
                    ) from None
                if not reported:
                    self.on_message(
                        "The disk is full, so the run is waiting. Free some space on it, and the"
                        " run will continue; nothing is lost."
                    )
                    reported = True
                with self.distillation.world.while_others_wait():
                    self.distillation.world.heartbeat()
                if self.distillation.gate.state == "stopping" or self.controls.stop_pending():
                    raise DiskError(
                        f"Stopped while the disk was full; resume the run {self.journal.path.name}"
                        " once there is free space.",
                        code="disk-full",
                    ) from None
                time.sleep(1)


def resume_follower(folder: str | Path, world: World) -> Follower:
    """Another process's part of a run to resume, which reads the run folder but never writes it.

    Raises JournalError.
    """
    run = open_run(folder)
    torch.set_num_threads(_threads(run.info.get("threads"))[0])
    checkpoint = read_checkpoint(folder)
    return Follower(
        run.recipe,
        world=world,
        resume=checkpoint.tensors,
        read_batch=run.batch,
        formats=precision.from_record(run.info.get("formats")),
    )


def _threads(recorded: Any) -> tuple[int, list[tuple[str, str]]]:
    """The number of threads for a resumed run, and a warning if it is not the recorded one.

    Results depend on how sums are split across threads, so a run keeps the number that it started
    with, up to the cores of this machine: beyond them, threads only wait for each other.
    """
    if not isinstance(recorded, int) or recorded < 1:
        return torch.get_num_threads(), []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not cores or recorded <= cores:
        return recorded, []
    return cores, [
        (
            f"This run was started with {recorded} threads, but this machine has only"
            f" {count(cores, 'core')}, so it continues with {cores}; its results may differ"
            " slightly.",
            f"To reproduce it exactly, resume it on a machine with at least {recorded} cores.",
        )
    ]


def _end(run: Run) -> events.RunFinished | None:
    """The last event of a run that reached its end.

    None if its events are damaged: then the location of the damage matters (see `Run.verify`).
    """
    try:
        return run.end
    except JournalError:
        return None
