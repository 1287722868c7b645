"""Synthesizes one batch of images (Algorithm 1, lines 5–9).

Independent of schedules, files and the student's training.
"""

from __future__ import annotations

import functools
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kgen.augment import Variation
from kgen.engine.image_sources import SOURCES
from kgen.engine.objective import Objective
from kgen.engine.setting import Scale, Setting
from kgen.engine.state import VIEW_COLUMNS, LoopState, Snapshot
from kgen.errors import KGenError
from kgen.events import Arrays
from kgen.nets.vit import draw_corner
from kgen.sources import balanced_labels
from kgen.teachers import Probe

MAX_HISTORY_BYTES = 2**26
"""Bytes of a batch's step-by-step history kept in memory."""


class Diverged(KGenError, RuntimeError):
    """A loss that is not finite, detected at a report.

    The generator's is caught before the update that it would spoil (with `report_every` 1), the
    student's at most REPORT_EVERY steps later.
    """

    code = "diverged"

    def __init__(self, term: str, step: int, value: float):
        super().__init__(f"the loss term {term!r} was {value} at step {step}")
        self.term, self.step, self.value = term, step, value


def check_finite(values: dict[str, float], step: int) -> None:
    for term, value in values.items():
        if not math.isfinite(value):
            raise Diverged(term, step, value)


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(operator.add, terms)


class Synthesis:
    """One iteration.

    Draws new pseudo-labels and reinitializes what the source optimizes; then call `step()` g times,
    then `measure()` and `store()`.

    Args:
        student: an immutable snapshot for the adversarial term and the embedding push; None
            switches both off (warm-up).
    """

    def __init__(self, setting: Setting, state: LoopState, student: Snapshot | None):
        self.setting, self.state = setting, state
        r = setting.recipe
        self.iteration = state.iterations + setting.world.rank
        self.scale = setting.scale(self.iteration)
        if r.generator_life and setting.rounds.reaches(
            state.iterations, r.generator_life * r.epoch_iterations
        ):
            state.new_generators()
        self.positions = balanced_labels(
            self.scale.batch, len(setting.selected), state.rng["labels"]
        )
        corner = draw_corner(
            setting.teacher.network,
            self.scale.side,
            r.position_decay,
            state.rng["corner_generator"],
        )
        self.objective = Objective(setting, state, self.scale, self.positions, student, corner)
        self.labels = self.objective.labels
        self.source = SOURCES[r.source](setting, state, self.scale, self.labels)
        self.weights = self.objective.weights()
        self.steps_done = 0
        """Steps taken."""
        self.last_report: dict[str, Any] = {}
        """What `step` last returned that was not None."""
        self._latest: tuple[Tensor, Probe | None] | None = None
        self._best: tuple[Tensor, Tensor, Tensor] | None = None
        """With keep="best": images, value and step of the best batch so far."""
        self._loss_sums, self._steps_since_report = (
            torch.zeros(len(self.weights) + 1, device=setting.device),
            0,
        )
        self._history = History(self.positions, r.generator_steps, setting.device)

    def _latest_step(self) -> tuple[Tensor, Probe | None]:
        """The latest step's batch, and the teacher's answers unless it saw augmented views."""
        if self._latest is None:
            raise RuntimeError("no step has been taken yet")
        return self._latest

    @property
    def images(self) -> Tensor:
        """The latest step's batch [B,c,e,e] in [0,1], detached."""
        return self._latest_step()[0]

    @property
    def coordinates(self) -> dict[str, int]:
        r = self.setting.recipe
        return {
            "iteration": self.iteration,
            "epoch": self.iteration // r.epoch_iterations,
            "resolution": self.scale.side,
        }

    def step(self) -> dict[str, Any] | None:
        """One update of what the source trains (Eq. 10). Raises Diverged.

        Every `report_every` steps it returns {parts, loss, agreement}: means since the last report,
        checked before the update.
        """
        r, s = self.setting.recipe, self.state
        images = self.source.images()
        views = images
        if r.augment == "both":
            views = self._variation()(images, s.rng["augment_generator"])
        probe = self.objective.probe(views)
        values = self.objective.evaluate(probe, views).values
        means = {name: value.mean() for name, value in values.items()}
        loss = _sum(self.weights[name] * mean for name, mean in means.items())
        with torch.no_grad():
            self._loss_sums += torch.stack(
                [*means.values(), (probe.logits.argmax(1) == self.labels).float().mean()]
            )
        self._steps_since_report += 1
        last = self.steps_done == r.generator_steps - 1
        report = self._report() if (self.steps_done + 1) % r.report_every == 0 or last else None
        for optimizer in self.source.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.source.optimizers:
            optimizer.step()
        unaugmented_probe = probe if views is images else None
        images = images.detach()
        self._latest = images, unaugmented_probe
        if r.keep == "best":
            self._best = self._best_batch(images, means)
        if self.steps_done in self._history.steps:
            self._history.record(images, self._confidence(probe.logits.detach()))
        self.source.after_step()
        self.steps_done += 1
        if last:
            self.source.finish()
            self.objective.update_feature_memory(probe)
        return report

    def _variation(self) -> Variation:
        """How this step's images are augmented.

        With `crop_curriculum`, the smallest crop falls from 1 along a cosine.
        """
        r, views = self.setting.recipe, self.scale.generator_views
        if not r.crop_curriculum:
            return views
        remaining = 0.5 * (1 + math.cos(math.pi * self.steps_done / max(1, r.generator_steps - 1)))
        return views._replace(crop=views.crop + remaining * (1 - views.crop))

    def _report(self) -> dict[str, Any]:
        *values, agreement = (
            self._loss_sums / self._steps_since_report
        ).tolist()  # the one transfer from the device
        parts = dict(zip(self.weights, values, strict=True))
        check_finite(parts, self.steps_done)
        self._loss_sums.zero_()
        self._steps_since_report = 0
        self.last_report = {
            "parts": parts,
            "loss": sum(self.weights[name] * value for name, value in parts.items()),
            "agreement": agreement,
        }
        return self.last_report

    def _best_batch(
        self, images: Tensor, means: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(images, value, step) of the best batch so far, compared on the device (no transfer).

        The best has the lowest sum of the terms that count here (CE, BN, KR). The adversarial term
        is excluded: it is unbounded and would let noise win.
        """
        terms = [term for term in self.objective.terms if term.ranks]
        value = _sum(self.setting.weight(term) * means[term.name] for term in terms).detach()
        step = torch.full_like(value, self.steps_done, dtype=torch.int32)
        if self._best is None:
            return images, value, step
        best_images, best_value, best_step = self._best
        is_better = value < best_value
        return (
            torch.where(is_better, images, best_images),
            torch.minimum(value, best_value),
            torch.where(is_better, step, best_step),
        )

    @torch.no_grad()
    def measure(self, student: Snapshot) -> dict[str, Tensor]:
        """The batch as bytes, with everything that the pool and the journal need, measured on
        exactly these bytes.

        `student` is a snapshot. This is the slow part of storing a batch and touches nothing that
        the student's thread uses.
        """
        pixels = to_bytes(self._best[0] if self._best else self.images)
        answers = (
            answer_views(self.setting, self.scale, pixels, self.state.rng)
            if self.setting.recipe.views
            else {}
        )
        return {
            "images": pixels,
            "labels": self.positions,
            **self._measure(pixels.float() / 255, student),
            **answers,
        }

    def store(self, batch: dict[str, Tensor]) -> tuple[Tensor, Arrays]:
        """Store a measured batch in the pool: (which entered [B], arrays for the journal)."""
        answers = {name: batch[name] for name in VIEW_COLUMNS if name in batch}
        self.state.add_to_centers(batch["embedding"], self.positions)
        images, positions = batch["images"], self.positions
        offered = len(images) - self.setting.held_out(len(images))
        if offered < len(images) and self.setting.world.leads:
            self.state.held_out.add(images[offered:])
        admitted = (
            batch["teacher_top"][:offered, 0] == self.labels[:offered]
            if self.setting.recipe.admit == "recognized"
            else None
        )
        entered = torch.zeros(len(images), dtype=torch.bool)
        extras = {k: v[:offered] for k, v in answers.items()}
        entered[:offered] = self.state.pool.add(
            images[:offered], positions[:offered], self.iteration, extras, admitted
        )
        step = (
            self._best[2].reshape(1)
            if self._best
            else torch.tensor([self.steps_done - 1], dtype=torch.int32)
        )
        stored = batch | {"entered": entered.to(torch.uint8), "kept_step": step}
        return entered, {k: v.cpu().numpy() for k, v in stored.items()} | self._history.arrays()

    def _measure(self, images: Tensor, student: Snapshot) -> dict[str, Tensor]:
        """One forward pass of teacher and student on the stored images."""
        probe = self.objective.probe(images)
        values, cam, student_logits = self.objective.evaluate(probe, images, student)
        assert student_logits is not None  # because there is a student
        columns = [value.expand(len(images)) for value in values.values()]
        arrays = {
            "cam": cam.half(),
            "parts": torch.stack(columns, 1),
            "embedding": probe.embedding.half(),
            "confidence": self._confidence(probe.logits),
        }
        for name, logits in (("teacher", probe.logits), ("student", student_logits)):
            p, top = logits.softmax(1).topk(min(5, logits.shape[1]))
            arrays |= {f"{name}_top": top.int(), f"{name}_top_p": p.half()}
        return arrays

    def _confidence(self, logits: Tensor) -> Tensor:
        """The teacher's probability of the pseudo-label, f16 [B]."""
        return logits.softmax(1).gather(1, self.labels[:, None])[:, 0].half()

    def make_preview(self) -> Callable[[], Arrays]:
        """The current batch as a function, so that an unused preview costs nothing."""
        (images, probe), step = self._latest_step(), self.steps_done - 1

        @torch.no_grad()
        def preview() -> Arrays:
            teacher_probe = probe or self.objective.probe(images)
            coordinates = {
                "epoch": self.coordinates["epoch"],
                "iteration": self.iteration,
                "step": step,
            }
            arrays = {
                "images": to_bytes(images),
                "labels": self.positions,
                "cam": self.objective.activation_map(teacher_probe).detach().half(),
                "embedding": teacher_probe.embedding.detach().half(),
                "confidence": self._confidence(teacher_probe.logits.detach()),
                **{name: torch.tensor([value]) for name, value in coordinates.items()},
            }
            return {k: v.cpu().numpy() for k, v in arrays.items()}

        return preview


class History:
    """A batch's synthesis at log-spaced steps: images, and the teacher's confidence in each.

    Images are ordered as the first of each class, then the second of each, and so on, up to
    MAX_HISTORY_BYTES. A journal with less room keeps the first of them.
    """

    def __init__(self, positions: Tensor, steps: int, device: torch.device | str = "cpu"):
        self.steps = sorted({0, steps - 1} | {2**i for i in range(20) if 2**i < steps})
        counts: Counter[int] = Counter()
        occurrence = []
        for c in positions.tolist():
            occurrence.append(counts[c])
            counts[c] += 1
        self.order = torch.tensor(occurrence).argsort(stable=True).to(device)
        self._frames: list[tuple[Tensor, Tensor]] = []

    def record(self, images: Tensor, confidence: Tensor) -> None:
        """images [B,c,e,e] in [0,1], confidence f16 [B]; at each of `steps`."""
        order = self.order[: max(1, MAX_HISTORY_BYTES // (len(self.steps) * images[0].numel()))]
        self._frames.append((to_bytes(images[order]), confidence[order]))

    def arrays(self) -> Arrays:
        images, confidence = (torch.stack(column).cpu().numpy() for column in zip(*self._frames))
        return {
            "previews": images,
            "preview_confidence": confidence,
            "preview_steps": np.array(self.steps, np.int32),
            "preview_positions": self.order[: images.shape[1]].int().cpu().numpy(),
        }


def answer_views(
    setting: Setting, scale: Scale, pixels: Tensor, rng: dict[str, torch.Generator]
) -> dict[str, Tensor]:
    """Random views of images u8 [n,c,e,e] and the teacher's answers to them, as VIEW_COLUMNS.

    Computed once, instead of a teacher pass in every student step.
    """
    r, teacher, variation = setting.recipe, setting.teacher, scale.student_views
    views = variation.draw((len(pixels), r.views), rng["views"])
    images, logits = pixels.float() / 255, []
    for i in range(r.views):
        corner = draw_corner(teacher.network, scale.side, r.position_decay, rng["corner_generator"])
        logits.append(teacher.logits(variation.apply(images, views[:, i]), corner))
    return dict(zip(VIEW_COLUMNS, (views, torch.stack(logits, 1)), strict=True))


def to_bytes(images: Tensor) -> Tensor:
    """[0,1] → u8."""
    return (images * 255).round_().to(torch.uint8)
