"""Trains the student from the memory pool (Algorithm 1, lines 10–11).

Independent of generators and schedules.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kgen import losses
from kgen.augment import mix
from kgen.engine.setting import Setting
from kgen.engine.state import VIEW_COLUMNS, LoopState
from kgen.engine.synthesis import check_finite
from kgen.nets.network import Network
from kgen.nets.vit import Corner, draw_corner, forward_with_embedding
from kgen.pool import Buffer
from kgen.recipe.recipe import Recipe
from kgen.teachers import Teacher

REPORT_EVERY = 10
"""Student steps between two reports."""


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """At student step `step` of `total`: a linear ramp after warm-up, then cosine to zero (C.4)."""
    peak_lr, ramp_steps = recipe.optimizers.student.lr, recipe.warmup_epochs * recipe.student_steps
    if step < ramp_steps:
        return peak_lr * (step + 1) / ramp_steps
    return (
        peak_lr * 0.5 * (1 + math.cos(math.pi * (step - ramp_steps) / max(1, total - ramp_steps)))
    )


class ForwardPass(nn.Module):
    """What a student step trains, as one network: the student and its projection."""

    def __init__(self, student: Network, projection: nn.Module | None):
        super().__init__()
        self.student, self.projection = student, projection

    def forward(
        self, views: Tensor, corner: Corner | None, project: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Normalized views [n,c,e,e] → logits [n,K_T] and, if asked for, f̂_S [n,d]."""
        logits, embedding = forward_with_embedding(self.student, views, corner)
        return logits, self.projection(embedding) if project and self.projection else None


class StudentTrainer:
    """Takes student steps. On a separate thread it needs its own `teacher` (`Teacher.clone`).

    Each process of a run makes its part of a batch; gradients are averaged over them. Collective.
    """

    def __init__(self, setting: Setting, state: LoopState, teacher: Teacher | None = None):
        self.setting, self.state = setting, state
        self.teacher = teacher or setting.teacher
        self.network = setting.world.synchronized(ForwardPass(state.student, state.projection))
        self._loss_sums, self._steps_since_report = torch.zeros(2, device=setting.device), 0

    def step(self) -> None:
        """One update of the student (Eq. 8); its losses are summed on the device."""
        r, s, t = self.setting.recipe, self.state, self.teacher
        for group in s.student_optimizer.param_groups:
            group["lr"] = learning_rate(r, s.student_steps, self.setting.student_total)
        buffer = s.pool.sample_buffer(s.rng["shelf"])
        corner = draw_corner(t.network, buffer.side, r.position_decay, s.rng["corner_student"])
        views, teacher_logits, positions = self._batch(buffer, corner)
        normalized = (views - t.mean).div_(t.std)
        s.student.train()
        f_y = s.class_vectors(positions) if r.weights.ed else None
        logits, projected = self.network(normalized, corner, f_y is not None)
        loss = kl = losses.distillation(teacher_logits, logits, r.temperature)
        pull = torch.zeros_like(kl)
        radii = self.setting.radii
        if radii and projected is not None and f_y is not None:
            pull = losses.embedding_pull(projected, f_y, radii[0]).mean()
            loss = kl + r.weights.ed * pull
        s.student_optimizer.zero_grad(set_to_none=True)
        with self.setting.world.communicating():
            loss.backward()
        s.student_optimizer.step()
        s.student_steps += 1
        self._loss_sums += torch.stack([kl.detach(), pull.detach()])
        self._steps_since_report += 1

    def _batch(self, buffer: Buffer, corner: Corner | None) -> tuple[Tensor, Tensor, Tensor]:
        """A student batch: (views, teacher logits, labels).

        Views of stored images [n,c,e,e], the teacher's logits [n,K_T] for exactly these views, and
        labels [n] as positions.
        """
        r, s, device = self.setting.recipe, self.state, self.setting.device
        scale = self.setting.scale_of(buffer.side)
        index = buffer.draw(scale.student_batch, s.rng["student_batch"])
        rows = index.to(device, non_blocking=True)
        images, positions = buffer.images[rows].float().div_(255), buffer.labels[index].long()
        if r.views:
            view = torch.randint(0, r.views, index.shape, generator=s.rng["augment_student"])
            views, answers = (buffer.extras[name] for name in VIEW_COLUMNS)
            key = (rows, view.to(device, non_blocking=True))
            return scale.student_views.apply(images, views[key]), answers[key], positions
        if r.augment != "none":
            images = scale.student_views(images, s.rng["augment_student"])
        if r.mix != "none":
            images = mix(images, s.rng["augment_student"], r.mix)
        with torch.no_grad():
            return images, self.teacher.logits(images, corner), positions

    @property
    def unreported(self) -> int:
        """Steps taken since the last report."""
        return self._steps_since_report

    def report(self) -> dict[str, Any]:
        """Means since the last report, over all processes (the only transfer from the device).
        Raises Diverged. Collective.

        The loss, its parts {kl, ed}, and the learning rate of the last step.
        """
        r, step = self.setting.recipe, self.state.student_steps - 1
        self.setting.world.average([self._loss_sums])
        kl, ed = (self._loss_sums / self._steps_since_report).tolist()
        parts = {"kl": kl, "ed": ed} if r.weights.ed else {"kl": kl}
        check_finite(parts, step)
        self._loss_sums, self._steps_since_report = torch.zeros_like(self._loss_sums), 0
        loss = kl + r.weights.ed * ed
        return {
            "loss": loss,
            "parts": parts,
            "lr": learning_rate(r, step, self.setting.student_total),
        }

    def coordinates(self) -> dict[str, int]:
        """Position of the last step: epoch, step, iteration."""
        r, step = self.setting.recipe, self.state.student_steps - 1
        return {
            "epoch": r.warmup_epochs + step // r.student_steps,
            "step": step,
            "iteration": self.state.iterations - 1,
        }
