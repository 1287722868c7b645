"""The terms of L_G for one batch of images (Eq. 10, and DeepInversion's priors), unweighted.

Independent of what is being optimized.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from kgen import losses
from kgen.engine.setting import Scale, Setting
from kgen.engine.state import LoopState, Snapshot
from kgen.nets.vit import Corner, forward_with_embedding
from kgen.recipe.recipe import Recipe
from kgen.teachers import Probe
from kgen.terms import Term

T = TypeVar("T")


class TermValues(NamedTuple):
    """Values of the loss terms, and the outputs of the networks that they come from."""

    values: dict[str, Tensor]
    """Term → unweighted value, [B] or a scalar."""
    cam: Tensor
    """M [B,h,w]"""
    student_logits: Tensor | None
    """The student's logits [B,K_T]; None without a student"""


@dataclass(frozen=True)
class Evidence:
    """What a term can use: one batch, and the networks' outputs for it."""

    images: Tensor
    """[B,c,e,e] in [0,1]"""
    normalized: Tensor
    """[B,c,e,e], as the teacher's input"""
    labels: Tensor
    """[B], pseudo-labels as indices into the teacher's logits"""
    logits: Tensor
    """The teacher's [B,K_T]"""
    embedding: Tensor
    """The teacher's [B,d]"""
    cam: Tensor
    """M [B,h,w]"""
    target: Tensor | None
    """M_target [h,w]; None if the teacher has no map"""
    batch_norm: list[losses.BatchNormStatistics]
    """For each of the teacher's BatchNorm layers: the batch's statistics and the stored ones"""
    student_logits: Tensor | None
    """[B,K_T]; None in warm-up"""
    push_embedding: Tensor | None
    """[B,d], what L_aed pushes away from `class_vectors`; None if the term is off"""
    class_vectors: Tensor | None
    """f_y [B,d]"""
    recipe: Recipe
    radii: tuple[float, float] | None
    """(r_i, r_o)"""


def _required(value: T | None) -> T:
    """A value without which the term is not evaluated, so it cannot be None here."""
    assert value is not None
    return value


FUNCTIONS: dict[str, Callable[[Evidence], Tensor]] = {
    "ce": lambda e: losses.cross_entropy(e.logits, e.labels),
    "adv": lambda e: losses.adversarial(
        e.logits, _required(e.student_logits), e.recipe.adv_mask, e.recipe.adv_divergence
    ),
    "bn": lambda e: losses.batch_norm(e.batch_norm, e.recipe.bn_scale).to(
        e.images.device, non_blocking=True
    ),
    "kr": lambda e: losses.key_region(e.cam, _required(e.target)),
    "aed": lambda e: losses.embedding_push(
        _required(e.push_embedding), _required(e.class_vectors), _required(e.radii)[1]
    ),
    "tv": lambda e: losses.total_variation(e.normalized),
    "l2": lambda e: losses.squared_size(e.normalized),
}
"""The functions of `kgen.terms.GENERATOR`, by name."""


class Objective:
    """Evaluates images of one batch, with pseudo-labels, resolution and position-embedding window
    fixed.

    Args:
        positions: pseudo-labels ŷ [B] as positions in the selected classes.
        student: for L_adv and L_aed; None leaves both at 0 (warm-up).
    """

    def __init__(
        self,
        setting: Setting,
        state: LoopState,
        scale: Scale,
        positions: Tensor,
        student: Snapshot | None,
        corner: Corner | None,
    ):
        self.setting, self.state, self.scale, self.student, self.corner = (
            setting,
            state,
            scale,
            student,
            corner,
        )
        self.positions = positions
        self.labels = setting.classes[positions.to(setting.device)]
        """[B], indices into the teacher's logits"""
        self.f_y = state.class_vectors(positions)
        self.feature_memory = state.feature_memory.get(scale.side)
        self.terms = setting.terms

    def weights(self) -> dict[str, float]:
        """Term → α; 0 if the term needs a student and there is none."""
        return {
            term.name: self.setting.weight(term)
            if self.student is not None or "student" not in term.needs
            else 0.0
            for term in self.terms
        }

    def probe(self, images: Tensor) -> Probe:
        return self.setting.teacher(images, self.corner)

    def activation_map(self, probe: Probe) -> Tensor:
        """M [B,h,w] (Eq. 5, or attention); a single zero cell if the teacher has no spatial map."""
        cam = self.setting.teacher.activation_map(probe, self.labels)
        return (
            torch.zeros(len(self.labels), 1, 1, device=self.labels.device) if cam is None else cam
        )

    def evaluate(self, probe: Probe, images: Tensor, student: Snapshot | None = None) -> TermValues:
        """Values of all terms.

        `images` [B,c,e,e] in [0,1] are the probe's input; `student` overrides the objective's own.
        """
        t = self.setting.teacher
        student = student or self.student
        normalized = (images - t.mean) / t.std
        student_logits = push_embedding = None
        if student is not None:
            student_logits, embedding = forward_with_embedding(
                student.network, normalized, self.corner
            )
            push_embedding = self._push_embedding(probe, embedding, student)
        cam = self.activation_map(probe)
        evidence = Evidence(
            images=images,
            normalized=normalized,
            labels=self.labels,
            logits=probe.logits,
            embedding=probe.embedding,
            cam=cam,
            target=self.scale.target if all(self.scale.map_size) else None,
            batch_norm=self._smoothed_statistics(probe),
            student_logits=student_logits,
            push_embedding=push_embedding,
            class_vectors=self.f_y,
            recipe=self.setting.recipe,
            radii=self.setting.radii,
        )
        available = {"batch_norm"}  # without layers their sum is 0
        available |= {"student"} if evidence.student_logits is not None else set()
        available |= {"map"} if evidence.target is not None else set()
        available |= {"embeddings"} if evidence.push_embedding is not None else set()
        zero = torch.zeros((), device=images.device)
        values = {
            term.name: (term.function or FUNCTIONS[term.name])(evidence)
            if available.issuperset(term.needs) and self._is_used(term)
            else zero
            for term in self.terms
        }
        return TermValues(values, cam, student_logits)

    def _is_used(self, term: Term) -> bool:
        return not term.optional or self.setting.weight(term) != 0

    def _push_embedding(self, probe: Probe, embedding: Tensor, student: Snapshot) -> Tensor | None:
        """What L_aed (Eq. 11) pushes away from its class; None while the term is off.

        The student's embedding (as in the formula) or the teacher's (as in the text).
        """
        centers = self.state.centers
        if self.f_y is None or student.projection is None:
            return None
        if self.setting.recipe.aed_embedding == "teacher" and centers is not None:
            return probe.embedding * centers.factor
        return student.projection(embedding)

    def _smoothed_statistics(self, probe: Probe) -> list[losses.BatchNormStatistics]:
        """The batch's statistics, mixed with those of earlier batches if the recipe has a feature
        memory.
        """
        momentum = self.setting.recipe.feature_memory
        if not momentum or self.feature_memory is None:
            return probe.batch_norm
        means, variances = (
            statistics.split([len(s[0]) for s in probe.batch_norm])
            for statistics in self.feature_memory
        )
        return [
            (
                momentum * old_mean + (1 - momentum) * mean,
                momentum * old_variance + (1 - momentum) * variance,
                *stored,
            )
            for old_mean, old_variance, (mean, variance, *stored) in zip(
                means, variances, probe.batch_norm
            )
        ]

    @torch.no_grad()
    def update_feature_memory(self, probe: Probe) -> None:
        """Mix the statistics of a finished batch into the feature memory."""
        if not self.setting.recipe.feature_memory or not probe.batch_norm:
            return
        mixed = self._smoothed_statistics(probe)
        self.state.feature_memory[self.scale.side] = torch.stack(
            [torch.cat([s[i] for s in mixed]) for i in (0, 1)]
        )
