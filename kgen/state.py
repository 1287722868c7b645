"""Everything of a run that must survive a resume, in one place: networks, optimisers, pool, counters, random states."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from kgen import recipe as recipes
from kgen.networks import seeded
from kgen.pool import MemoryPool
from kgen.sources import Generator
from kgen.teachers import Teacher
from kgen.zoo import build_student

STREAMS = ("labels", "noise", "augment_generator", "augment_student", "pool", "student_batch", "views")
"""Named sources of random numbers; all draws are made on the CPU and moved."""


VIEWS = ("views", "view_logits")
"""Columns of the pool that hold each image's views and the teacher's answers to them."""


def stream_seed(seed: int, name: str) -> int:
    """A seed of its own for each named stream: the first bytes of SHA-256("seed/name")."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "little")


def build_optimiser(spec: recipes.Optimiser, parameters, fused: bool | None = None) -> torch.optim.Optimizer:
    """The optimiser that the recipe names."""
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, spec.lr, spec.momentum, nesterov=spec.momentum > 0, weight_decay=spec.weight_decay)
    kind = torch.optim.AdamW if spec.name == "adamw" else torch.optim.Adam
    return kind(parameters, spec.lr, (spec.momentum, spec.beta2), weight_decay=spec.weight_decay, fused=fused)


class LoopState:
    """The networks that are trained, and how far the run is.

    Args:
        recipe: what to build.
        teacher: gives channels, classes and normalisation.
        classes: number of chosen classes.
        budget_pixels: for the pool.
        device: where networks and pool live.
    """

    def __init__(self, recipe: recipes.Recipe, teacher: Teacher, classes: int, budget_pixels: int, device: torch.device):
        self.recipe, self.teacher, self.device = recipe, teacher, device
        self.rng = {name: torch.Generator().manual_seed(stream_seed(recipe.seed, name)) for name in STREAMS}
        self.student = build_student(
            recipe.student, teacher.card.channels, len(teacher.classes), stream_seed(recipe.seed, "student") % 2**31
        ).to(device)
        self.student_optimiser = build_optimiser(recipe.optimisers.student, self.student.parameters())
        self.pool = MemoryPool(
            budget_pixels, recipe.pool_policy, planned=recipe.total_iterations, classes=classes, rng=self.rng["pool"], device=device
        )
        self.iterations = 0
        """Iterations finished."""
        self.student_steps = 0
        """Student steps finished."""
        self.generator_births = 0
        self.new_generator()

    def new_generator(self) -> None:
        """A fresh generator with a fresh optimiser (at the start, and every `generator_life` epochs)."""
        r, t = self.recipe, self.teacher
        self.generator = seeded(
            Generator,
            stream_seed(r.seed, f"generator/{self.generator_births}") % 2**31,
            t.card.channels,
            r.resolutions[0],
            r.width,
            r.deep,
            r.up_first,
            noise_width=r.noise_width,
            output=r.output,
            statistics=(t.mean.flatten().cpu(), t.std.flatten().cpu()),
        ).to(self.device)
        self.generator_optimiser = build_optimiser(r.optimisers.generator, self.generator.parameters(), fused=True)
        self.generator_births += 1

    def frozen_student(self) -> nn.Module:
        """An immutable snapshot of the student, for the adversarial term."""
        return copy.deepcopy(self.student).eval().requires_grad_(False)

    def student_is_finite(self) -> bool:
        return bool(torch.stack([p.isfinite().all() for p in self.student.parameters()]).all())

    # --- to and from tensors -----------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """A copy of everything as named CPU tensors (the pool's pixels stay in the run folder's batches)."""
        out = {"counters": torch.tensor([self.iterations, self.student_steps, self.generator_births])}
        for part, state in self._parts():
            out |= {f"{part}.{k}": v for k, v in state().items()}
        out |= {f"rng.{name}": g.get_state() for name, g in self.rng.items()}
        return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in out.items()}

    def load(self, tensors: dict[str, Tensor], batch_of: Callable[[int], dict[str, np.ndarray]]) -> None:
        """Restore what `tensors` gave; `batch_of(iteration)` gives the arrays of a journaled batch."""
        self.iterations, self.student_steps, births = tensors["counters"].tolist()
        if births != self.generator_births:
            self.generator_births = births - 1
            self.new_generator()

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.generator.load_state_dict(part("generator."))
        self.student.load_state_dict(part("student."))
        _load_optimiser(self.generator_optimiser, part("generator_optimiser."))
        _load_optimiser(self.student_optimiser, part("student_optimiser."))
        self.pool.load_state_dict(part("pool."), batch_of, VIEWS if self.recipe.views else ())
        for name, state in part("rng.").items():
            self.rng[name].set_state(state)

    def _parts(self):
        yield "generator", self.generator.state_dict
        yield "student", self.student.state_dict
        yield "generator_optimiser", lambda: _optimiser_tensors(self.generator_optimiser)
        yield "student_optimiser", lambda: _optimiser_tensors(self.student_optimiser)
        yield "pool", self.pool.state_dict


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimiser.state_dict()["state"]
    return {f"{i}.{k}": v for i, slots in state.items() for k, v in slots.items() if isinstance(v, Tensor)}


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        i, _, key = name.partition(".")
        state.setdefault(int(i), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
