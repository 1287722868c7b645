"""Teaching the student from the memory pool (Algorithm 1, lines 10–11). Knows nothing of generators or schedules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from kgen import losses
from kgen.augment import apply_views, shift_and_flip
from kgen.recipe import Recipe
from kgen.setting import Setting
from kgen.state import VIEWS, LoopState
from kgen.synthesis import check_finite
from kgen.teachers import Teacher

REPORT_EVERY = 10
"""Student steps between two reports."""


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """Of student step `step` of `total`: a linear ramp after warm-up, then cosine to zero (C.4)."""
    highest, ramp = recipe.optimisers.student.lr, recipe.warmup_epochs * recipe.student_steps
    if step < ramp:
        return highest * (step + 1) / ramp
    return highest * 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, total - ramp)))


class Learner:
    """Makes student steps. On a thread of its own it needs a `teacher` of its own (`Teacher.twin`)."""

    def __init__(self, setting: Setting, state: LoopState, teacher: Teacher | None = None):
        self.setting, self.state = setting, state
        self.teacher = teacher or setting.teacher
        self._sum, self._since = torch.zeros((), device=setting.device), 0

    def step(self) -> None:
        """One update of the student; its loss is summed on the device."""
        r, s, t = self.setting.recipe, self.state, self.teacher
        for group in s.student_optimiser.param_groups:
            group["lr"] = learning_rate(r, s.student_steps, self.setting.student_total)
        images, wanted = self._batch()
        s.student.train()
        loss = losses.distillation(wanted, s.student((images - t.mean) / t.std), r.temperature)
        s.student_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        s.student_optimiser.step()
        s.student_steps += 1
        self._sum += loss.detach()
        self._since += 1

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Views of stored images [n,c,e,e] and the teacher's logits [n,K_T] for these very views."""
        r, s, device = self.setting.recipe, self.state, self.setting.device
        index = s.pool.draw(r.student_batch, s.rng["student_batch"])
        images = s.pool.images[index.to(device)].float() / 255
        if r.views:
            which = torch.randint(0, r.views, index.shape, generator=s.rng["augment_student"])
            views, answers = (s.pool.extras[name] for name in VIEWS)
            place = (index.to(device), which.to(device))
            return apply_views(images, views[place].cpu()), answers[place]
        if r.augment != "none":
            images = shift_and_flip(images, s.rng["augment_student"], flip=self.setting.card.flip)
        with torch.no_grad():
            return images, self.teacher.logits(images)

    @property
    def unreported(self) -> int:
        """Steps made since the last report."""
        return self._since

    def report(self) -> dict[str, Any]:
        """Mean loss since the last report (the one transfer), and the rate of the last step. Raises Diverged."""
        step, loss = self.state.student_steps - 1, float(self._sum / self._since)
        check_finite({"kl": loss}, step)
        self._sum, self._since = torch.zeros_like(self._sum), 0
        return {"loss": loss, "parts": {"kl": loss}, "lr": learning_rate(self.setting.recipe, step, self.setting.student_total)}

    def place(self) -> dict[str, int]:
        """Where the last step was: epoch, step, iteration."""
        r, step = self.setting.recipe, self.state.student_steps - 1
        return {"epoch": r.warmup_epochs + step // r.student_steps, "step": step, "iteration": self.state.iterations - 1}
