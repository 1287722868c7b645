"""The terms of L_G for one batch of images (Eq. 10, and DeepInversion's priors), unweighted. Knows
nothing of what is optimised.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kgen import losses
from kgen.engine.setting import Scale, Setting
from kgen.engine.state import LoopState, Snapshot
from kgen.nets.vit import Corner, look
from kgen.recipe.fields import Weights
from kgen.teachers import Probe


class Judgement(NamedTuple):
    """What teacher and student make of a batch."""

    parts: tuple[Tensor, ...]
    """In the order of `kgen.events.PARTS`, unweighted: [B] each, batch norm a scalar"""
    cam: Tensor
    """M [B,h,w]"""
    student_logits: Tensor | None
    """The student's logits [B,K_T]; None without a student"""


class Objective:
    """Judges images of one batch: pseudo-labels, resolution and the window of position embeddings
    are fixed.

    Args:
        positions: pseudo-labels ŷ [B] as positions in the chosen classes.
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
        self.memory = state.feature_memory.get(scale.side)

    def weights(self) -> tuple[float, ...]:
        """α of each of `kgen.events.PARTS`; 0 where a term has no student to look at."""
        w: Weights = self.setting.recipe.weights
        watched = self.student is not None
        return (w.ce, w.adv if watched else 0.0, w.bn, w.kr, w.aed if watched else 0.0, w.tv, w.l2)

    def probe(self, images: Tensor) -> Probe:
        return self.setting.teacher(images, self.corner)

    def activation_map(self, probe: Probe) -> Tensor:
        """M [B,h,w] (Eq. 5, or attention); one cell of zeros where the teacher has no spatial
        map.
        """
        cam = self.setting.teacher.activation_map(probe, self.labels)
        return (
            torch.zeros(len(self.labels), 1, 1, device=self.labels.device) if cam is None else cam
        )

    def judge(self, probe: Probe, images: Tensor, student: Snapshot | None = None) -> Judgement:
        """`images` [B,c,e,e] in [0,1] are what the probe saw; `student` instead of the one that the
        terms were made with.
        """
        r, t = self.setting.recipe, self.setting.teacher
        student = student or self.student
        normalised = (images - t.mean) / t.std
        zero = torch.zeros((), device=images.device)
        adversarial, push, student_logits = zero, zero, None
        if student is not None:
            student_logits, embedding = look(student.network, normalised, self.corner)
            adversarial = losses.adversarial(
                probe.logits, student_logits, r.adv_mask, r.adv_divergence
            )
            push = self._push(probe, embedding, student)
        cam = self.activation_map(probe)
        parts = (
            losses.cross_entropy(probe.logits, self.labels),
            adversarial,
            losses.batch_norm(self._remembered(probe), r.bn_scale).to(images.device),
            losses.key_region(cam, self.scale.target) if all(self.scale.map_size) else zero,
            push,
            losses.total_variation(normalised) if r.weights.tv else zero,
            losses.squared_size(normalised) if r.weights.l2 else zero,
        )
        return Judgement(parts, cam, student_logits)

    def _push(self, probe: Probe, embedding: Tensor, student: Snapshot) -> Tensor:
        """L_aed (Eq. 11), of the student's embedding (the formula) or the teacher's (the prose); 0
        while it is off.
        """
        if self.f_y is None:
            return torch.zeros((), device=embedding.device)
        if self.setting.recipe.aed_embedding == "teacher":
            found = probe.embedding * self.state.centres.factor
        else:
            found = student.projection(embedding)
        return losses.embedding_push(found, self.f_y, self.setting.radii[1])

    def _remembered(self, probe: Probe) -> list[losses.BatchNormStatistics]:
        """The batch's statistics, mixed with those of earlier batches where the recipe has a
        feature memory.
        """
        m = self.setting.recipe.feature_memory
        if not m or self.memory is None:
            return probe.batch_norm
        means, variances = (
            half.split([len(s[0]) for s in probe.batch_norm]) for half in self.memory
        )
        return [
            (m * old_mean + (1 - m) * mean, m * old_variance + (1 - m) * variance, *stored)
            for old_mean, old_variance, (mean, variance, *stored) in zip(
                means, variances, probe.batch_norm
            )
        ]

    @torch.no_grad()
    def remember(self, probe: Probe) -> None:
        """Mix the statistics of a finished batch into the feature memory."""
        if not self.setting.recipe.feature_memory or not probe.batch_norm:
            return
        mixed = self._remembered(probe)
        self.state.feature_memory[self.scale.side] = torch.stack(
            [torch.cat([s[i] for s in mixed]) for i in (0, 1)]
        )
