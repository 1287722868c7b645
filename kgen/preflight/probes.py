"""Measures a teacher by trial: accepted image sizes, map sizes, the cost of three generator steps.

It uses the engine's own parts without a run: no real images, no files, no student training.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from kgen.distributed.rounds import Rounds
from kgen.distributed.world import ALONE
from kgen.engine.setting import Setting
from kgen.engine.state import LoopState
from kgen.engine.synthesis import Synthesis
from kgen.recipe.fields import Weights
from kgen.recipe.recipe import Recipe
from kgen.system import memory
from kgen.teachers import Teacher
from kgen.terms import GENERATOR

BATCH, STEPS, WIDTH = 20, 3, 32
MAX_STEP_SECONDS = 6.0
"""Seconds after which no further step is tried."""
DEEP_FROM = 96
"""Side in pixels from which our own recipes start the generator at one sixteenth of it."""


def step(teacher: Teacher, side: int) -> int:
    """Sides near `side` must be multiples of this, for generator and teacher together."""
    return math.lcm(teacher.side_multiple, 16 if side >= DEEP_FROM else 4)


def supported_side(teacher: Teacher, side: int) -> int:
    """The nearest side that generator and teacher support; not larger, if possible."""
    return max(step(teacher, side), side // step(teacher, side) * step(teacher, side))


def default_sides(teacher: Teacher) -> tuple[int, ...]:
    """Half, three quarters and all of the teacher's side, as supported multiples."""
    full = min(teacher.card.side, 1024)
    return tuple(
        sorted(
            {
                supported_side(teacher, side)
                for side in (full // 2, full * 3 // 4, full)
                if side >= 8
            }
            or {supported_side(teacher, 8)}
        )
    )


def map_size(teacher: Teacher, side: int) -> tuple[int, int] | None:
    """(h,w) of the activation map for images of this side; None without a map.

    Raises whatever the network raises.
    """
    with torch.no_grad():
        probe = teacher(torch.zeros(1, teacher.card.channels, side, side))
        if not bool(torch.isfinite(probe.logits).all()):
            raise ValueError("its outputs are not finite")
        cam = teacher.activation_map(probe, torch.zeros(1, dtype=torch.int64))
    return None if cam is None else (cam.shape[1], cam.shape[2])


def smallest_side(teacher: Teacher, seconds: float = 5.0) -> int | None:
    """The smallest side that the teacher accepts, found by trial from 8 pixels up.

    None if none was found in time.
    """
    unit, deadline = math.lcm(teacher.side_multiple, 4), time.monotonic() + seconds
    for side in range(math.ceil(8 / unit) * unit, teacher.card.side + 1, unit):
        try:
            map_size(teacher, side)
            return side
        except Exception:  # whatever a network raises for images that are too small
            if time.monotonic() > deadline:
                return None
    return None


class Cost(NamedTuple):
    """The cost of generator steps with BATCH images."""

    seconds: float
    """Median over STEPS steps; the first alone if it is slow."""
    memory: int | None
    """Peak memory of the process in bytes; None if the system does not report it."""


def cost(teacher: Teacher, side: int) -> Cost:
    """Three generator steps at this side.

    Raises Diverged, or RuntimeError or MemoryError if memory runs out.
    """
    recipe = Recipe(
        name="preflight",
        resolutions=(side,),
        ratio=1,
        epochs=1,
        iterations=1,
        generator_steps=STEPS,
        batch=BATCH,
        warmup=0,
        weights=Weights(ed=0, aed=0),
        bn_scale="relative",
        embedding="center",
        width=WIDTH,
        deep=side >= DEEP_FROM,
        up_first=False,
        device="cpu",
    )
    state = LoopState(setting := TrialSetting(recipe, teacher))
    memory.reset_peak()
    synthesis = Synthesis(setting, state, state.snapshot())
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        synthesis.step()
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > MAX_STEP_SECONDS:
            break
    return Cost(sorted(seconds)[len(seconds) // 2], memory.peak_memory())


class TrialSetting(Setting):
    """A setting for a teacher in memory: all of its classes, one resolution, no real images."""

    def __init__(self, recipe: Recipe, teacher: Teacher):
        self.recipe, self.device, self.teacher, self.card = (
            recipe,
            torch.device("cpu"),
            teacher,
            teacher.card,
        )
        self.terms = GENERATOR
        self.selected = list(range(len(teacher.classes)))
        self.classes: Tensor = torch.tensor(self.selected)
        self.sides = recipe.sides(teacher.side_multiple)
        self.world, self.rounds = ALONE, Rounds(processes=1, batches=1)
        self.budget_pixels = recipe.batch * self.sides[0] ** 2
        self.scales = (self._scale(self.sides[0], recipe.batch),)
        self.budget_images = recipe.batch
        self.table = self._table()  # meaningless rows: the cost is the same, and no text is needed
        self.radii, self.student_total, self.real = None, 0, None
        self.has_real_images = False
