"""A few student steps on given batches, for one process or several with a part of each batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kgen.distributed.world import World
from kgen.engine.setting import Setting
from kgen.engine.state import LoopState
from kgen.engine.student_training import StudentTrainer
from kgen.recipe.recipe import Recipe
from tests.support.small import mini

STEPS, BATCH = 3, 8


def recipe(batch_norm: bool) -> Recipe:
    """A recipe for a CNN, whose BatchNorm looks at a batch as a whole, or for a transformer, whose
    LayerNorm does not.
    """
    return mini(
        student="small-cnn-20k" if batch_norm else "small-vit-20k",
        student_batch=BATCH,
        device="cpu",
        evaluate_on="none",
        views=0,
        augment="none",
        **{"weights.ed": 0.0 if batch_norm else 10.0},
    )


class Given(StudentTrainer):
    """Takes the next given batch, or this process's part of it, instead of one from the pool."""

    def __init__(self, setting: Setting, state: LoopState):
        super().__init__(setting, state)
        card, rng = setting.card, torch.Generator().manual_seed(7)
        shape = (STEPS, BATCH, card.channels, card.side, card.side)
        self.images = torch.rand(shape, generator=rng)
        self.labels = torch.randint(len(setting.selected), shape[:2], generator=rng)

    def _batch(self, buffer: Any, corner: Any) -> tuple[Tensor, Tensor, Tensor]:
        step, world = self.state.student_steps, self.setting.world
        part = slice(world.rank, None, world.size)
        images = self.images[step][part]
        with torch.no_grad():
            return images, self.teacher.logits(images), self.labels[step][part]


def after_steps(world: World) -> dict[str, dict[str, Tensor]]:
    """By kind of student: its parameters' gradients in the first step, and its state after the last
    one.
    """
    found = {}
    for name, batch_norm in (("layer norm", False), ("batch norm", True)):
        setting = Setting(recipe(batch_norm), world=world)
        state = LoopState(setting)
        batch = torch.zeros(2, setting.card.channels, setting.sides[0], setting.sides[0])
        state.pool.add(batch.to(torch.uint8), torch.zeros(2, dtype=torch.int64))
        trainer = Given(setting, state)
        for step in range(STEPS):
            trainer.step()
            if not step:
                gradients = {
                    f"gradient.{n.removeprefix('module.')}": p.grad.clone()
                    for n, p in trainer.network.named_parameters()
                    if p.grad is not None
                }
        report = trainer.report()
        state.average_statistics()
        found[name] = (
            gradients | state.student.state_dict() | {"loss": torch.tensor(report["loss"])}
        )
    return found
