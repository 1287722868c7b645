"""The engine: Algorithm 1 as a stream of events.

It does no disk I/O, prints nothing and never sleeps to slow down. `synthesize()` makes one batch of
images, `train_student()` takes student steps; the two schedules are short loops over them. All
state that a resume needs is in `LoopState`; `Distillation.checkpoint()` copies it.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from kgen import events
from kgen.data.data import DataError
from kgen.data.folders import ActivityProgress, Progress, ignore_activity
from kgen.distributed.world import ALONE, Part, World
from kgen.engine.controls import Controls, Gate, LedGate
from kgen.engine.evaluator import Evaluator
from kgen.engine.setting import Setting
from kgen.engine.state import LoopState, pool_sizes
from kgen.engine.student_training import REPORT_EVERY, StudentTrainer
from kgen.engine.student_view import PoolSample, sample_pool
from kgen.engine.synthesis import Diverged, Synthesis
from kgen.engine.warnings import warnings_of
from kgen.nets.cost import cost
from kgen.precision import Format
from kgen.recipe.recipe import Recipe
from kgen.terms import Term

E = TypeVar("E", bound=events.Event)


class Stopped(Exception):
    """The run was asked to stop."""


def distill(
    recipe: Recipe, *, controls: Controls | None = None, terms: Sequence[Term] = ()
) -> Iterator[events.Event]:
    """Run a recipe and yield typed events (`kgen.events`).

    `controls.send("pause")` and the other commands work from any thread. `terms`: custom terms for
    the generator's loss.
    """
    yield from Distillation(recipe.as_typed_here(), controls=controls, terms=terms)


class Distillation:
    """One run, as an iterable of events.

    At a yield where `resumable` is True, `checkpoint()` returns the complete state.

    Args:
        recipe: what to run. RecipeError if it cannot run on this machine.
        controls: commands from other threads.
        terms: custom terms for the generator's loss. TermError if one is invalid.
        resume: tensors from an earlier `checkpoint()`. When resuming, also pass:
        read_batch: iteration → that batch's journaled arrays, to refill the pool.
        elapsed: seconds that the run had already taken.
        formats: the precision and memory format of each network (`kgen.precision`).
        world: the processes of the run; each of the others has a `kgen.engine.follower.Follower`.
        on_progress: receives (activity, images done, images in total) while real images are read
            or classified; activity is "checking", "reading", "student" or "teacher". Called from
            any thread; it may raise.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        controls: Controls | None = None,
        terms: Sequence[Term] = (),
        resume: dict[str, Tensor] | None = None,
        read_batch: Callable[[int], events.Arrays] | None = None,
        elapsed: float = 0.0,
        formats: dict[str, Format] | None = None,
        world: World = ALONE,
        on_progress: ActivityProgress = ignore_activity,
    ):
        self.world = world
        self.on_progress = on_progress = world.reporting(on_progress)
        self.on_trained: Callable[[], None] = lambda: None
        """Called once the student is fully trained, before its final test."""
        self.resumed, self._elapsed_before = resume is not None, elapsed
        self._started_at = time.monotonic()
        self.setting = Setting(recipe, terms, on_progress, world)
        self.recipe = self.setting.recipe
        self.state = LoopState(self.setting, formats)
        if resume is not None:
            if read_batch is None:
                raise ValueError("resuming a run requires its batches: pass read_batch")
            self.state.load(resume, read_batch)
        self._pools_elsewhere = pool_sizes(resume or {}, world.size)
        """(images, pixels) in the pool of each other process, by rank."""
        world.contribute(self.state.own_tensors)
        self.concurrent = (
            recipe.schedule == "concurrent"
            and self.setting.student_total > 0
            and self.setting.device.type != "mps"
            and world.size == 1
        )
        controls = controls or Controls()
        self.gate = (
            Gate(controls, single_thread=not self.concurrent)
            if world.size == 1
            else LedGate(controls, world)
        )
        self.resumable = False
        self._student_events: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
        self._student_lock = threading.RLock()
        """Held during each student step and each change to the pool, so that no snapshot or
        checkpoint is taken halfway through one.
        """
        self._student_failure: BaseException | None = None
        # hooks of the main thread's probes must not fire in the student thread's passes
        self._teacher_clone = self.setting.teacher.clone()
        self._main_thread = threading.get_ident()
        self._evaluator = Evaluator(
            self.setting, self.state, self._teacher_clone, self._student_lock
        )
        self._finishing = False
        self._threads = torch.get_num_threads()

    # --- the stream --------------------------------------------------------------------------

    def __iter__(self) -> Generator[events.Event, None, None]:
        self._started_at, self._main_thread = time.monotonic(), threading.get_ident()
        try:
            if not self.resumed:
                with self.world.while_others_wait():
                    started = self._run_started()
                yield started
                for text, remedy in warnings_of(self.setting):
                    yield self._event(events.Warned, text=text, remedy=remedy)
                self._evaluator.skip_warnings_so_far()
            else:  # a checkpoint may have been taken at a pause
                yield self._event(events.Control, id=0, action="resume", state="running")
            stopped = False
            try:
                yield from self._concurrently() if self.concurrent else self._sequentially()
            except Stopped:
                stopped = True
            self.resumable = False
            torch.set_num_threads(self._threads)
            yield from self._finish(stopped)
        except Diverged as error:
            self.resumable = False
            remedy = (
                "A learning rate or a loss weight is probably too high. Resume from the last"
                " checkpoint, or start again with a lower value."
            )
            cause = f"The loss term “{self.setting.term_title(error.term)}” is not a finite number."
            yield self._event(
                events.RunFailed, cause=cause, term=error.term, step=error.step, remedy=remedy
            )
        except (
            DataError
        ) as error:  # real images are decoded on first use, so a bad file surfaces here
            self.resumable = False
            yield self._event(
                events.RunFailed, cause=str(error), remedy="Then start again, or resume this run."
            )
        finally:
            torch.set_num_threads(self._threads)

    @property
    def elapsed(self) -> float:
        """Seconds that the run has been active, over all its attempts."""
        return self._elapsed_before + time.monotonic() - self._started_at

    def checkpoint(self) -> dict[str, Tensor]:
        """The complete state as CPU tensors. RuntimeError if `resumable` is False."""
        if not self.resumable:
            raise RuntimeError(
                "the run is inside an iteration; take a checkpoint only while `resumable` is True"
            )
        with self._student_lock:
            return self.state.tensors() | self.world.collect()

    def _sequentially(self) -> Iterator[events.Event]:
        """Algorithm 1 as written: I iterations, then S student steps, E times."""
        r, s = self.recipe, self.state
        trainer = StudentTrainer(self.setting, s)
        while True:
            epochs = s.iterations // r.epoch_iterations
            due = (
                max(0, epochs - r.warmup_epochs) * r.student_steps
                if self.setting.student_total
                else 0
            )
            if s.student_steps < due:
                yield from self.train_student(trainer, due)
            elif s.iterations < r.total_iterations:
                yield from self.synthesize()
            else:
                return

    def _concurrently(self) -> Iterator[events.Event]:
        """The generator on this thread, the student on its own; neither leads by more than an
        epoch.
        """
        r, s = self.recipe, self.state
        thread = threading.Thread(target=self._student_thread, name="student", daemon=True)
        thread.start()
        try:
            while s.iterations < r.total_iterations:
                warm_up = s.iterations < r.warmup_iterations
                self._share_threads(
                    exclusive=warm_up or s.student_steps >= self.setting.student_total
                )
                yield from self.synthesize()
            while thread.is_alive() or not self._student_events.empty():
                self.resumable = True
                yield from self._handle_controls()
                if self.gate.step_unit in ("generator", "iteration"):
                    yield from self._handle_controls("The generator has made all its images.")
                if self.gate.state == "stopping":
                    raise Stopped
                self.gate.wait()
            yield from self._handle_controls()
        finally:
            if thread.is_alive():
                self.gate.state = "stopping"
                thread.join()

    def _student_thread(self) -> None:
        try:
            for event in self.train_student(
                StudentTrainer(self.setting, self.state, self._teacher_clone),
                self.setting.student_total,
            ):
                self._student_events.put(event)
        except Stopped:
            pass
        except BaseException as error:  # re-raised on the main thread, see _handle_controls
            self._student_failure = error

    def _share_threads(self, exclusive: bool) -> None:
        """Half of the cores for each of the two threads; all of them for an `exclusive` thread."""
        if self.concurrent and self.setting.device.type == "cpu":
            torch.set_num_threads(self._threads if exclusive else max(1, self._threads // 2))

    def _may_step(self, kind: str) -> bool:
        """Whether this thread may take its next step.

        Concurrent: the student works on epoch k once the generator has finished k − 1; the
        generator begins k once the student has finished k − 2.
        """
        r, s = self.recipe, self.state
        if not self.concurrent:
            return True
        if kind == "student":
            epoch = r.warmup_epochs + s.student_steps // max(1, r.student_steps)
            return len(s.pool) > 0 and s.iterations >= epoch * r.epoch_iterations
        required = (s.iterations // r.epoch_iterations - 1 - r.warmup_epochs) * r.student_steps
        return s.student_steps >= min(self.setting.student_total, required)

    # --- controls ----------------------------------------------------------------------------

    def _handle_controls(self, rejection: str = "") -> Iterator[events.Event]:
        """On the main thread: answer controls, forward the student's events and failure."""
        answers = self.gate.process_commands()
        if rejection:
            answers += self.gate.reject_step(rejection)
        while not self._student_events.empty():
            yield self._student_events.get()
        if self._student_failure is not None:
            failure, self._student_failure = self._student_failure, None
            raise failure
        for answer in answers:
            yield self._event(events.Control, state=self.gate.state, **answer)

    def _wait_for_turn(
        self, kind: str, trainer: StudentTrainer | None = None
    ) -> Iterator[events.Event]:
        """Wait at the step boundary until this thread may take one step. Raises Stopped.

        While paused, a trainer reports any steps it has not reported yet.
        """
        while True:
            if threading.get_ident() == self._main_thread:
                yield from self._handle_controls()
                until = self.gate.step_unit
                if "student" in self.gate.active:
                    pass  # it is inside the requested step
                elif until == "student" and self.state.student_steps >= self.setting.student_total:
                    yield from self._handle_controls("The student has taken all its steps.")
                elif (
                    until in ("generator", "iteration")
                    and self.state.iterations >= self.recipe.total_iterations
                ):
                    yield from self._handle_controls("The generator has made all its images.")
                elif until == "student" and not self._may_step("student"):
                    yield from self._handle_controls(
                        "The student has to wait: it is an epoch ahead of the generator, or the"
                        " pool is still empty (warm-up)."
                    )
                elif until in ("generator", "iteration") and not self._may_step("generator"):
                    yield from self._handle_controls(
                        "The generator has to wait: it is an epoch ahead of the student."
                    )
            if self.gate.state == "stopping":
                raise Stopped
            if self._may_step(kind) and self.gate.try_enter(kind):
                return
            if trainer and trainer.unreported and self.gate.state == "paused":
                yield self._event(events.StudentStep, **trainer.coordinates(), **trainer.report())
            self.gate.wait()

    # --- one iteration, some student steps ---------------------------------------------------

    def synthesize(self) -> Iterator[events.Event]:
        """Make one iteration (Alg. 1, l. 5–9), or one in every process.

        Draws new pseudo-labels and a new noisy layer, takes g generator steps, and stores the
        images.
        """
        r = self.recipe
        yield from self._wait_for_turn("generator")
        self.resumable = False
        try:
            synthesis = self._new_synthesis()
        finally:
            self.gate.leave("generator")
        yield self._event(
            events.IterationStarted, **synthesis.coordinates, labels=synthesis.positions.tolist()
        )
        for step in range(r.generator_steps):
            yield from self._wait_for_turn("generator")
            last = step == r.generator_steps - 1
            try:
                report = synthesis.step()
                if last:
                    batches = self.world.gather(*self._store(synthesis))
                    self.state.average_generators()
            finally:
                self.gate.leave("generator", "generator", *(["iteration"] if last else []))
            if report:
                yield self._event(
                    events.GeneratorStep,
                    **synthesis.coordinates,
                    step=step,
                    **report,
                    preview=synthesis.make_preview(),
                )
        yield from self._batch_events(batches)

    def _new_synthesis(self) -> Synthesis:
        r, s = self.recipe, self.state
        warm_up = s.iterations < r.warmup_iterations
        with self._student_lock:
            if (
                not s.student_is_finite()
            ):  # on its own thread, the student may be past its last report
                raise Diverged("kl", s.student_steps - 1, math.nan)
            needs_snapshot = (
                s.objective_needs_student and self.setting.student_total > 0 and not warm_up
            )
            return Synthesis(self.setting, s, s.snapshot() if needs_snapshot else None)

    def _store(self, synthesis: Synthesis) -> tuple[dict[str, Any], events.Arrays]:
        """Store a finished batch in the pool; returns what its events say, and its arrays."""
        s = self.state
        with self._student_lock:
            student = s.snapshot()
        batch = synthesis.measure(student)
        judged, opinions = (
            self.setting.judge(batch["images"], synthesis.positions)
            if self.setting.judge
            else (None, {})
        )
        with self._student_lock:
            entered, arrays = synthesis.store(batch)
            s.iterations += self.setting.rounds.width(s.iterations)
        facts = {
            "at": synthesis.coordinates,
            "labels": synthesis.positions.tolist(),
            "report": synthesis.last_report,
            "entered": int(entered.sum()),
            "judged": judged and judged.model_dump(),
            "pool": (len(s.pool), s.pool.pixels),
        }
        return facts, arrays | opinions

    def _batch_events(self, batches: list[Part]) -> Iterator[events.Event]:
        """The end of a round: this process's batch, then those of the others, in one piece each.

        Raises Diverged if another process had to give up its batch.
        """
        step = self.recipe.generator_steps - 1
        for rank, (facts, arrays) in enumerate(batches):
            if facts is None:  # it had none to make
                continue
            if "diverged" in facts:
                raise Diverged(*facts["diverged"])
            at = facts["at"]
            if rank:
                self._pools_elsewhere[rank] = facts["pool"]
                if held_out := self.setting.held_out(len(facts["labels"])):
                    images = torch.from_numpy(arrays["images"][-held_out:])
                    self.state.held_out.add(images.to(self.setting.device))
                yield self._event(events.IterationStarted, **at, labels=facts["labels"])
                yield self._event(events.GeneratorStep, **at, step=step, **facts["report"])
            # every process has stored its batch, so only the last event completes the round
            self.resumable = at["iteration"] == self.state.iterations - 1
            yield self._event(
                events.BatchSynthesized,
                **at,
                step=step,
                file=f"batches/{at['iteration']:06d}.safetensors",
                entered=facts["entered"],
                arrays=arrays,
                judged=facts["judged"],
                **self._pool_size(),
                pool_pixels=self._pool_pixels(),
            )

    def train_student(self, trainer: StudentTrainer, target_steps: int) -> Iterator[events.Event]:
        """Take student steps (Alg. 1, l. 10–11) until the run has taken `target_steps` in total."""
        r, s = self.recipe, self.state
        separate_thread = threading.get_ident() != self._main_thread
        evaluate_every = r.evaluate_every or r.student_steps
        while s.student_steps < target_steps:
            yield from self._wait_for_turn("student", trainer)
            try:
                if separate_thread:
                    self._share_threads(exclusive=s.iterations >= r.total_iterations)
                else:
                    self.resumable = False
                with self._student_lock:
                    trainer.step()
                single_step = self.gate.step_unit == "student"  # report a single step immediately
                due = (
                    s.student_steps % REPORT_EVERY == 0
                    or s.student_steps == target_steps
                    or single_step
                )
                report = trainer.report() if due else None
            finally:
                self.gate.leave("student", "student")
            evaluate = (
                s.student_steps % evaluate_every == 0
                and s.student_steps < self.setting.student_total
            )
            if evaluate or s.student_steps == target_steps:
                s.average_statistics()
            if report:
                if (
                    not separate_thread and not evaluate
                ):  # only with a step's last event, so a resume neither repeats nor skips an event
                    self.resumable = True
                yield self._event(events.StudentStep, **trainer.coordinates(), **report)
            if evaluate:
                found = self._evaluate(final=False, **trainer.coordinates())
                if not separate_thread and due:
                    self.resumable = True
                yield from found

    def _samples_elsewhere(self) -> PoolSample:
        """Samples of the other processes' pools, on rank 0. Collective."""
        if self.world.size == 1:
            return []
        own = [] if self.world.leads else sample_pool(self.state.pool, self.world.size)
        columns_by_name = {
            f"{i}.{j}": column.cpu().numpy()
            for i, columns in enumerate(own)
            for j, column in enumerate(columns)
        }
        found: PoolSample = []
        for _, arrays in self.world.gather(None, columns_by_name):
            column = {name: torch.from_numpy(array) for name, array in arrays.items()}
            found += [
                (column[f"{i}.0"], column[f"{i}.1"], column[f"{i}.2"])
                for i in range(len(column) // 3)
            ]
        return found

    # --- reporting -----------------------------------------------------------------------------

    def _event(self, kind: type[E], **fields: Any) -> E:
        return kind(t=round(self.elapsed, 3), **fields)

    def _pool_size(self) -> dict[str, float]:
        images = len(self.state.pool) + sum(n for n, _ in self._pools_elsewhere.values())
        return {
            "pool_images": images,
            "budget_used": self._pool_pixels() / self.state.pool.budget_pixels,
        }

    def _pool_pixels(self) -> int:
        return self.state.pool.pixels + sum(pixels for _, pixels in self._pools_elsewhere.values())

    def _report(self, activity: str) -> Progress:
        """A function that reports an evaluation's progress, and raises Stopped if the run is to
        stop.
        """

        def on_progress(done: int, total: int) -> None:
            self.on_progress(activity, done, total)
            stopping = self.gate.state == "stopping" and not self._finishing
            if stopping or self.gate.controls.stop_pending():
                raise Stopped

        return on_progress

    def _evaluate(self, *, final: bool, **coordinates: int) -> list[events.Event]:
        """The events of one evaluation (`Evaluator.run`) by rank 0. Raises Stopped. Collective."""
        self.world.lead()
        elsewhere = self._samples_elsewhere()
        try:
            with self.world.while_others_wait():
                warnings, fields = self._evaluator.run(final, self._report, elsewhere)
        except Stopped:
            self.world.lead("stopped")
            raise
        self.world.lead("evaluated")
        found: list[events.Event] = [
            self._event(events.Warned, text=text, remedy=remedy) for text, remedy in warnings
        ]
        if fields is not None:
            found.append(
                self._event(events.Evaluated, **coordinates, **self._pool_size(), **fields)
            )
        return found

    def _run_started(self) -> events.RunStarted:
        card = self.setting.card
        student, teacher = (
            cost(network, card.channels, card.side)
            for network in (self.state.student, self.setting.teacher.network)
        )
        return self._event(
            events.RunStarted,
            **self.setting.run_started_fields(),
            student_parameters=student.parameters,
            student_macs=student.macs,
            teacher_macs=teacher.macs,
            student_bytes=student.bytes,
            teacher_bytes=teacher.bytes,
            formats={
                name: compute_format
                for name, compute_format in self.state.formats.items()
                if name != "generator" or self.state.generators
            },
            schedule="concurrent" if self.concurrent else "sequential",
            loss_terms=events.PARTS,
            own_terms=[term.facts() for term in self.setting.terms if term.function] or None,
            arrays=self.setting.reference_arrays(),
        )

    def _finish(self, stopped: bool) -> Iterator[events.Event]:
        # the student thread's last events come before the final evaluation
        yield from self._handle_controls()
        self._finishing = True
        result = None
        if self.state.student_steps:
            self.state.average_statistics()  # a run may be stopped between two averages
            self.on_trained()
            try:
                found = self._evaluate(final=True)
            except Stopped:  # a resumed run repeats the test
                stopped, found = True, []
            result = next((e for e in found if isinstance(e, events.Evaluated)), None)
            yield from found
        yield from self._handle_controls()
        outcome = (
            {
                "accuracy" if result.student.real else "agreement": result.student.accuracy,
                "n": result.student.n,
            }
            if result
            else {}
        )
        yield self._event(events.RunFinished, reason="stopped" if stopped else "done", **outcome)
