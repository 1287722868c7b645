"""Agreement of student and teacher on held-out synthetic images, for runs without real images.

A share of every batch never enters the pool. The agreement says how well the student imitates its
teacher, not how well it classifies real images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kgen.events import Arrays, Score
from kgen.recipe.recipe import held_out_count
from kgen.teachers import Teacher

MAX_IMAGES = 500
"""How many held-out images the student is evaluated on: the newest ones."""


class HeldOut:
    """The newest held-out images, per resolution, with the teacher's answers.

    Args:
        teacher: answers as images are added, on the thread that adds them.
        selected: indices of the selected classes; answers are restricted to them.
    """

    def __init__(self, teacher: Teacher, selected: list[int]):
        self.teacher, self.selected = teacher, torch.tensor(selected, device=teacher.mean.device)
        self._batches: list[tuple[Tensor, Tensor]] = []

    def __len__(self) -> int:
        return sum(len(answers) for _, answers in self._batches)

    @torch.no_grad()
    def add(self, images: Tensor) -> None:
        """u8 [n,c,e,e]"""
        answers = self.teacher.logits(images.float() / 255)[:, self.selected].argmax(1)
        batches = [
            *self._batches,
            (images, answers),
        ]  # a new list, because the student's thread may be reading the old one
        while sum(len(a) for _, a in batches[1:]) >= MAX_IMAGES:
            batches.pop(0)
        self._batches = batches

    def restore(self, iterations: int, read_batch: Callable[[int], Arrays]) -> None:
        """Refill from the journaled batches of a resumed run."""
        newest: list[Tensor] = []
        for i in reversed(range(iterations)):
            images = torch.from_numpy(read_batch(i)["images"])
            newest.append(
                images[len(images) - held_out_count(len(images)) :].to(self.selected.device)
            )
            if sum(map(len, newest)) >= MAX_IMAGES:
                break
        for images in reversed(newest):
            self.add(images)

    @torch.no_grad()
    def score(self, student: nn.Module) -> Score:
        """Share of images on which the student, in eval mode, gives the teacher's answer."""
        batches, mean, std = self._batches, self.teacher.mean, self.teacher.std
        agreeing = sum(
            (student((x.float() / 255 - mean) / std)[:, self.selected].argmax(1) == answers).sum()
            for x, answers in batches
        )
        n = sum(len(answers) for _, answers in batches)
        return Score(accuracy=float(agreeing) / n, n=n, real=False)
