"""What a run will cost on this machine, predicted from a few of its own steps.

The steps are taken on a separate state, so the run itself is not affected.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kgen.distributed.world import ALONE
from kgen.engine.evaluator import IMAGES_DURING_RUN
from kgen.engine.setting import Setting
from kgen.engine.state import VIEW_COLUMNS, LoopState
from kgen.engine.student_training import StudentTrainer
from kgen.engine.student_view import sample_pool, student_view
from kgen.engine.synthesis import Synthesis
from kgen.evaluate import score, short_slices
from kgen.pool import MemoryPool
from kgen.precision import Format, finish_work
from kgen.system.memory import peak_memory

SHORT_RUN = 60.0
"""Seconds below which a rough estimate is good enough."""
ROUGH, THOROUGH = 0.05, 0.005
"""Seconds to spend on each kind of step: at first, and then as a share of the rough estimate."""
MAX_SECONDS = 4.0
LONG_STEP = 1.0
"""A step that takes this many seconds is timed once, without a step to warm up."""
EVENT_BYTES = 300
"""A reported step in the journal, roughly."""


@dataclass(frozen=True)
class Estimate:
    """The cost of a run, without interruptions, on an otherwise idle machine."""

    seconds: float
    """From the first step to the end of the last test."""
    memory: int | None
    """Peak memory in bytes of the main process or, on CUDA, of the device; None if the system does
    not report it.
    """
    pool: int
    """Bytes of the pools of all processes at the end: images, views, and the teacher's answers."""
    folder: int
    """Bytes that the images and students take up in the run folder."""
    network: int
    """Bytes that a process other than rank 0 sends for gradients and its batches; 0 if alone."""


@dataclass(frozen=True)
class _Seconds:
    """How long each part of a run takes."""

    generator_step: float
    """mean over the resolutions"""
    batch: float
    """everything else about a batch: measuring, storing, the second opinion"""
    student_step: float
    test: float
    """a test during the run"""
    tests_once: float
    """what is done once: reading real images, the teacher's answers, the final test"""


def estimate(
    setting: Setting,
    formats: dict[str, Format],
    *,
    concurrent: bool,
    between_steps: Callable[[], None] = lambda: None,
) -> Estimate:
    """Take a few steps of each kind and extrapolate to the whole run.

    Args:
        setting: the run's; nothing in it changes.
        formats: in which the networks compute (`LoopState.formats`).
        concurrent: generator and student share the cores on two threads.
        between_steps: called often on this thread; whatever it raises ends the estimate.
    """
    probe = _Probe(setting, formats, between_steps)
    return probe.estimate(concurrent)


class _Probe:
    """A state like the one that the run starts with, but with images in the pool."""

    def __init__(
        self,
        setting: Setting,
        formats: dict[str, Format],
        between_steps: Callable[[], None] = lambda: None,
    ):
        self.between_steps = between_steps
        self.setting = copy.copy(setting)
        self.setting.world = ALONE  # the other processes are not asked to take part
        self.state = s = LoopState(self.setting, formats)
        s.pool = MemoryPool(setting.budget_pixels, "fifo", device=setting.device)
        s.pool.buffers = {  # with room for one batch
            scale.side: s.pool._new_buffer(
                min(scale.batch, scale.budget_images) * scale.side**2, scale.side
            )
            for scale in setting.scales
        }
        self.syntheses: list[Synthesis] = []
        self.first_step = 0.0
        """Seconds of the slowest first step."""
        self.batch_seconds = 0.0
        self.bytes_per_image: dict[int, int] = {}
        self.batch_bytes = 0
        self.view_bytes = 0
        """Bytes of the arrays that a test during the run stores."""
        for i in range(len(setting.sides)):
            self._add_batch(i * setting.rounds.processes)
        # on its own thread, the student needs a teacher of its own
        self.trainer = StudentTrainer(self.setting, s, setting.teacher.clone())

    def _add_batch(self, iteration: int) -> None:
        """Start an iteration and take a step, then time how long it takes to store the images."""
        s = self.state
        s.iterations = iteration
        synthesis = Synthesis(self.setting, s, s.snapshot() if s.objective_needs_student else None)
        self.first_step = max(self.first_step, _seconds(synthesis.step))
        self.between_steps()
        start = time.perf_counter()
        batch = synthesis.measure(s.snapshot())
        if self.setting.judge:
            self.setting.judge(batch["images"], synthesis.positions)
        _, arrays = synthesis.store(batch)
        self.batch_seconds += (time.perf_counter() - start) / len(self.setting.sides)
        self.batch_bytes += sum(
            array.nbytes for name, array in arrays.items() if not name.startswith("previews")
        ) // len(self.setting.sides)
        self.bytes_per_image[synthesis.scale.side] = _bytes_per_image(batch)
        self.syntheses.append(synthesis)
        self.between_steps()

    def estimate(self, concurrent: bool) -> Estimate:
        rough = self._total(self._measure(ROUGH, concurrent), concurrent)
        if rough < SHORT_RUN or self.first_step > LONG_STEP:
            return self._describe(rough)
        budget = min(MAX_SECONDS, THOROUGH * rough)
        return self._describe(self._total(self._measure(budget, concurrent), concurrent))

    # --- time --------------------------------------------------------------------------------

    def _measure(self, budget: float, concurrent: bool) -> _Seconds:
        """Time each kind of step for about `budget` seconds, in the schedule's threads."""
        steps = iter(range(2**62))

        def generator_step() -> None:
            self.syntheses[next(steps) % len(self.syntheses)].step()

        threads = torch.get_num_threads()
        has_student = self.setting.student_total > 0
        if concurrent and has_student:
            share = max(1, threads // 2)
            done = threading.Event()
            found: list[float] = []
            failures: list[Exception] = []

            def student() -> None:
                torch.set_num_threads(share)
                try:
                    while not done.is_set() or not found:
                        found.append(_mean_seconds(self.trainer.step, budget / 4))
                except Exception as error:  # raised on the caller's thread
                    failures.append(error)

            thread = threading.Thread(target=student, name="estimate", daemon=True)
            thread.start()
            torch.set_num_threads(share)
            try:
                generator_seconds = self._generator_seconds(generator_step, budget)
            finally:
                done.set()
                thread.join()
                torch.set_num_threads(threads)
            if failures:
                raise failures[0]
            student_seconds = sum(found) / len(found)
        else:
            generator_seconds = self._generator_seconds(generator_step, budget)
            student_seconds = (
                _mean_seconds(self._reporting(self.trainer.step), budget) if has_student else 0.0
            )
        test, once = self._test_seconds() if has_student else (0.0, 0.0)
        return _Seconds(generator_seconds, self.batch_seconds, student_seconds, test, once)

    def _generator_seconds(self, step: Callable[[], None], budget: float) -> float:
        if self.first_step > LONG_STEP:
            return self.first_step
        return _mean_seconds(self._reporting(step), budget)

    def _reporting(self, step: Callable[[], object]) -> Callable[[], None]:
        def step_and_report() -> None:
            step()
            self.between_steps()

        return step_and_report

    def _test_seconds(self) -> tuple[float, float]:
        """Seconds of a test during the run, and of what is done only once for all tests."""
        setting, s = self.setting, self.state
        reference = setting.reference_images
        start = time.perf_counter()
        arrays = student_view(setting, s, sample_pool(s.pool), reference)
        view = time.perf_counter() - start
        self.view_bytes = sum(array.nbytes for array in arrays.values())
        if setting.real is None:
            return view, view
        start = time.perf_counter()
        shape = (len(setting.real), *setting.real.images.shape[1:])
        one_batch = next(short_slices(shape)).stop  # as many images as a test reads at once
        sample = setting.real.take(
            np.flatnonzero(np.isin(setting.real.labels, setting.selected))[:one_batch]
        )
        if not len(sample):
            return view, view
        reading = (time.perf_counter() - start) / len(sample)
        t = setting.teacher
        s.student.eval()
        student = _seconds(
            lambda: score(
                lambda x: s.student((x - t.mean) / t.std),
                sample,
                setting.selected,
                device=setting.device,
            )
        ) / len(sample)
        s.student.train()
        teacher = 0.0
        if setting.published_score is None:
            teacher = _seconds(
                lambda: score(t.logits, sample, setting.selected, device=setting.device)
            ) / len(sample)
        during = min(IMAGES_DURING_RUN, len(setting.real))
        everything = len(setting.real)
        return (
            view + during * student,
            view + during * (reading + teacher) + everything * (reading + student + teacher),
        )

    def _total(self, t: _Seconds, concurrent: bool) -> float:
        """Seconds of the whole run. In the concurrent schedule, neither side leads by more than an
        epoch; while only one of them works, it still has its own half of the cores.
        """
        r, setting = self.setting.recipe, self.setting
        rounds_per_epoch = r.epoch_iterations / setting.rounds.processes
        images = rounds_per_epoch * (r.generator_steps * t.generator_step + t.batch)
        tests = self._tests() / max(1, r.epochs - r.warmup_epochs)
        student = r.student_steps * t.student_step + tests * t.test if setting.student_total else 0
        taught = r.epochs - r.warmup_epochs if setting.student_total else 0
        if not concurrent:
            return r.epochs * images + taught * student + t.tests_once
        warm_up = r.warmup_epochs * images  # timed with half of the cores; it has all of them
        return warm_up + images + (taught - 1) * max(images, student) + student + t.tests_once

    def _tests(self) -> int:
        """Tests during the run."""
        r = self.setting.recipe
        return self.setting.student_total // max(1, r.evaluate_every or r.student_steps)

    # --- everything else ---------------------------------------------------------------------

    def _describe(self, seconds: float) -> Estimate:
        r, setting, s = self.setting.recipe, self.setting, self.state
        batches_each = r.epochs * r.iterations
        pool = sum(
            min(scale.budget_images, batches_each * (scale.batch - setting.held_out(scale.batch)))
            * self.bytes_per_image[scale.side]
            for scale in setting.scales
        )
        student = sum(t.nbytes for t in s.student.state_dict().values())
        n = setting.rounds.processes
        batches = r.total_iterations * self.batch_bytes
        sent = 0
        if n > 1:  # ring all-reduces: a student per step, a generator per round; batches to rank 0
            trained = sum(p.nbytes for p in self.trainer.network.parameters())
            reduced: float = trained * setting.student_total
            if r.average_generators:
                reduced += -(-r.total_iterations // n) * self._generator_bytes()
            sent = round(2 * (n - 1) / n * reduced + batches / n)
        memory = (
            torch.cuda.max_memory_allocated(setting.device)
            if setting.device.type == "cuda"
            else peak_memory()
        )
        now = sum(
            len(buffer) * self.bytes_per_image[side] for side, buffer in s.pool.buffers.items()
        )
        return Estimate(
            seconds=seconds,
            memory=None if memory is None else memory + max(0, pool // n - now),
            pool=pool,
            folder=batches
            + min(r.journal_pixels, r.total_iterations * self._preview_bytes())
            + self._tests() * self.view_bytes
            + r.total_generator_steps // r.report_every * EVENT_BYTES
            + sum(t.nbytes for t in s.tensors().values())
            + student,
            network=sent,
        )

    def _generator_bytes(self) -> float:
        """Weights and buffers of a generator; the mean over those of several resolutions."""
        generators = self.state.generators.values()
        tensors = [t for g in generators for t in (*g.parameters(), *g.buffers())]
        return sum(t.nbytes for t in tensors) / max(1, len(generators))

    def _preview_bytes(self) -> int:
        """Bytes of the snapshots of a batch being made."""
        return (
            sum(
                scale.batch * self.setting.card.channels * scale.side**2
                for scale in self.setting.scales
            )
            // len(self.setting.scales)
            * len(self.syntheses[0]._history.steps)
        )


def _bytes_per_image(batch: dict[str, Tensor]) -> int:
    """Bytes of an image in the pool: pixels, label, origin, and stored views."""
    columns = [batch[name] for name in ("images", *VIEW_COLUMNS) if name in batch]
    return sum(column[0].nbytes for column in columns) + 12


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _mean_seconds(step: Callable[[], object], budget: float) -> float:
    """Mean of at least two steps after one to warm up, over about `budget` seconds."""
    first = _seconds(step)
    finish_work()
    if first > LONG_STEP:
        return first
    start, n = time.perf_counter(), 0
    while n < 2 or time.perf_counter() - start < budget:
        step()
        n += 1
        if n % 2 == 0:
            finish_work()
    finish_work()
    return (time.perf_counter() - start) / n
