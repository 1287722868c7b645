"""Where there are no real images: how often the student answers as its teacher does on synthetic
images that it was not given.

A share of every batch never enters the pool. It says how well the student imitates, not how well it
sees the world.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kgen.events import Arrays, Score
from kgen.recipe.recipe import held_of
from kgen.teachers import Teacher

MOST = 500
"""Images that the student is tested on: the newest."""


class HeldOut:
    """The newest held-out images, resolution by resolution, with the teacher's answers.

    Args:
        teacher: answers when images come in, on the thread that adds them.
        chosen: indices of the chosen classes; answers are among them.
    """

    def __init__(self, teacher: Teacher, chosen: list[int]):
        self.teacher, self.chosen = teacher, torch.tensor(chosen, device=teacher.mean.device)
        self._batches: list[tuple[Tensor, Tensor]] = []

    def __len__(self) -> int:
        return sum(len(answers) for _, answers in self._batches)

    @torch.no_grad()
    def add(self, images: Tensor) -> None:
        """u8 [n,c,e,e]"""
        answers = self.teacher.logits(images.float() / 255)[:, self.chosen].argmax(1)
        batches = [
            *self._batches,
            (images, answers),
        ]  # a new list: the student's thread may be reading the old one
        while sum(len(a) for _, a in batches[1:]) >= MOST:
            batches.pop(0)
        self._batches = batches

    def restore(self, iterations: int, batch_of: Callable[[int], Arrays]) -> None:
        """Refill from the journaled batches of a run that goes on."""
        newest: list[Tensor] = []
        for i in reversed(range(iterations)):
            images = torch.from_numpy(batch_of(i)["images"])
            newest.append(images[len(images) - held_of(len(images)) :].to(self.chosen.device))
            if sum(map(len, newest)) >= MOST:
                break
        for images in reversed(newest):
            self.add(images)

    @torch.no_grad()
    def score(self, student: nn.Module) -> Score:
        """Share on which the student, in eval mode, answers as the teacher did."""
        batches, mean, std = self._batches, self.teacher.mean, self.teacher.std
        same = sum(
            (student((x.float() / 255 - mean) / std)[:, self.chosen].argmax(1) == answers).sum()
            for x, answers in batches
        )
        n = sum(len(answers) for _, answers in batches)
        return Score(accuracy=float(same) / n, n=n, real=False)
