"""Everything that must survive a resume: networks, optimizers, pool, counters, RNG states."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from kgen import precision
from kgen.distributed.rounds import Rounds
from kgen.embeddings import ClassCenters
from kgen.engine.heldout_agreement import HeldOut
from kgen.engine.setting import Setting
from kgen.nets.network import Network
from kgen.nets.small_cnn import seeded
from kgen.nets.vit import embedding_width
from kgen.pool import MemoryPool
from kgen.precision import PIXELS, PLAIN, Format, candidates, fastest, set_format
from kgen.recipe.fields import Optimizer
from kgen.rng import stream_seed, streams
from kgen.sources import Generator
from kgen.zoo.zoo import build_student

M = TypeVar("M", bound=nn.Module)
VIEW_COLUMNS = ("views", "view_logits")
"""Pool columns that hold each image's views and the teacher's answers to them."""
# Names in checkpoints: runs from every version must stay resumable, so these never change.
GENERATOR_OPTIMIZER = "generator_optimiser"
STUDENT_OPTIMIZER = "student_optimiser"
CLASS_CENTERS = "centres"


def build_optimizer(
    spec: Optimizer, parameters: ParamsT, fused: bool | None = None
) -> torch.optim.Optimizer:
    """The optimizer that the recipe specifies.

    On CUDA it is always fused, one kernel per step rather than several per parameter; elsewhere
    only as requested, and never SGD.
    """
    groups: list[Any] = list(parameters)
    parameters = groups
    tensor = groups[0]["params"][0] if isinstance(groups[0], dict) else groups[0]
    on_cuda = tensor.device.type == "cuda"
    if spec.name == "sgd":
        return torch.optim.SGD(
            parameters,
            spec.lr,
            spec.momentum,
            nesterov=spec.momentum > 0,
            weight_decay=spec.weight_decay,
            fused=on_cuda or None,
        )
    kind = torch.optim.AdamW if spec.name == "adamw" else torch.optim.Adam
    return kind(
        parameters,
        spec.lr,
        (spec.momentum, spec.beta2),
        weight_decay=spec.weight_decay,
        fused=on_cuda or fused,
    )


class Snapshot(NamedTuple):
    """An immutable copy of the student at one moment."""

    network: Network
    projection: nn.Module | None
    """The head that produces f̂_S; None if the embedding in-out game is off."""


def new_pool(
    setting: Setting, rng: torch.Generator, rank: int = 0, rounds: Rounds | None = None
) -> MemoryPool:
    """An empty memory pool for one process of a run; `rounds`: by default the setting's."""
    r, rounds = setting.recipe, rounds or setting.rounds
    return MemoryPool(
        setting.budget_pixels,
        r.pool_policy,
        planned=rounds.batches_of(rank),
        share=functools.partial(rounds.share, rank=rank),
        classes=len(setting.selected),
        rng=rng,
        device=setting.device,
        sides=setting.sides,
    )


class LoopState:
    """The networks being trained, and the run's progress."""

    def __init__(self, setting: Setting, formats: dict[str, Format] | None = None):
        recipe = setting.recipe
        self.setting, self.recipe, self.teacher, self.device = (
            setting,
            recipe,
            setting.teacher,
            setting.device,
        )
        self.world = setting.world
        self.rng = streams(recipe.seed, self.world.rank)
        self.student = build_student(
            recipe.student,
            self.teacher.card.channels,
            len(self.teacher.classes),
            stream_seed(recipe.seed, "student") % 2**31,
            self.teacher.card.side,
        ).to(self.device)
        self.centers = self._class_centers()
        """f_y as class centers; None if class texts represent the classes."""
        self.projection = self._projection()
        """S_dim → d, trained with the student and dropped on export; None if the embedding in-out
        game is off.
        """
        trained = [
            *self.student.parameters(),
            *(self.projection.parameters() if self.projection else ()),
        ]
        self.student_optimizer = build_optimizer(recipe.optimizers.student, trained)
        self.pool = new_pool(setting, self.rng["pool"], self.world.rank)
        self.held_out = HeldOut(self.teacher, setting.selected)
        """What the student is evaluated on without real images."""
        self.feature_memory: dict[int, Tensor] = {}
        """Side → means and variances of earlier batches, concatenated over all BatchNorm layers
        (Fast).
        """
        self.iterations = 0
        """Iterations finished, by all processes."""
        self.student_steps = 0
        """Student steps finished."""
        self.generators_created = 0
        self.generators: dict[int, Generator] = {}
        """Side → generator, or with source "latent" the shared initialization of its copies; empty
        if the source has no generator.
        """
        self.generator_optimizers: dict[int, torch.optim.Optimizer] = {}
        self.formats: dict[str, Format] = {}
        """The format each network computes in: as given (a resumed run), otherwise the fastest that
        the recipe allows here.
        """
        self.new_generators()
        self.formats = formats or self._formats()
        for name, network in (("teacher", self.teacher.network), ("student", self.student)):
            set_format(network, self.formats[name])
        for generator in self.generators.values():
            set_format(generator, self.formats["generator"])

    def _formats(self) -> dict[str, Format]:
        """The formats that rank 0 measures."""
        measured = self._measure_formats() if self.world.leads else {}
        return precision.from_record(self.world.lead(precision.to_record(measured)))

    def _measure_formats(self) -> dict[str, Format]:
        """Measure formats on a few images of the first resolution, with copies of the networks."""
        r, t, device = self.recipe, self.teacher, self.device
        allowed = candidates(r, device)
        side = self.setting.sides[0]
        rng = torch.Generator().manual_seed(stream_seed(r.seed, "formats"))
        shape = (
            max(2, min(self.setting.scales[0].batch, PIXELS // side**2)),
            t.card.channels,
            side,
            side,
        )
        images = (torch.rand(shape, generator=rng).to(device) - t.mean) / t.std
        code = torch.randn(shape[0], r.noise_width, generator=rng).to(device)
        inputs = images.requires_grad_()
        formats = {
            "teacher": fastest(
                allowed, t.network, lambda network: precision.apply(network, network, inputs)
            ),
            "student": fastest(
                allowed,
                self.student,
                lambda network: precision.apply(network, network.train(), images.detach()),
            ),
        }
        generator = self.generators.get(side)
        formats["generator"] = (
            fastest(allowed, generator, lambda g: precision.apply(g, g, code))
            if generator
            else allowed[0]
        )
        return formats

    def _class_centers(self) -> ClassCenters | None:
        if self.setting.radii is None or self.recipe.embedding != "center":
            return None
        return ClassCenters(len(self.setting.selected), self.teacher.card.features, self.device)

    def _projection(self) -> nn.Module | None:
        if self.setting.radii is None:
            return None
        width = embedding_width(self.student)
        out = self.setting.table.shape[1] if self.centers is None else self.centers.sums.shape[1]
        return seeded(
            nn.Linear, stream_seed(self.recipe.seed, "projection") % 2**31, width, out
        ).to(self.device)

    def new_generators(self) -> None:
        """Create generators and optimizers (at the start, and every `generator_life` epochs)."""
        r, t = self.recipe, self.teacher
        if not r.generates:
            return
        spec = r.optimizers.meta if r.source == "latent" else r.optimizers.generator
        for i, side in enumerate(self.setting.sides):
            name = f"generator/{self.generators_created}" + (f"/{side}" if i else "")
            self.generators[side] = seeded(
                Generator,
                stream_seed(r.seed, name, 0 if r.average_generators else self.world.rank) % 2**31,
                t.card.channels,
                side,
                r.width,
                r.deep,
                r.up_first,
                noise_width=r.noise_width,
                output=r.output,
                statistics=(t.mean.flatten().cpu(), t.std.flatten().cpu()),
            ).to(self.device)
            set_format(self.generators[side], self.formats.get("generator", PLAIN))
            self.generator_optimizers[side] = build_optimizer(
                spec, self.generators[side].parameters(), fused=True
            )
        self.generators_created += 1

    @property
    def has_class_vectors(self) -> bool:
        """Whether the embedding in-out game is on and every class has its f_y.

        Class centers are known only after some iterations.
        """
        return self.setting.radii is not None and (self.centers is None or self.centers.ready)

    @property
    def objective_needs_student(self) -> bool:
        """Whether a term of the generator's loss compares with the student."""
        weights = self.recipe.weights
        return weights.adv > 0 or (weights.aed > 0 and self.has_class_vectors)

    def class_vectors(self, positions: Tensor) -> Tensor | None:
        """f_y [B,d] for positions [B] in the selected classes; None unless `has_class_vectors`."""
        if not self.has_class_vectors:
            return None
        positions = positions.to(self.device, non_blocking=True)
        return (
            self.setting.table[self.setting.classes[positions]]
            if self.centers is None
            else self.centers.table[positions]
        )

    def snapshot(self) -> Snapshot:
        """An immutable copy of the student, for the generator's loss terms that depend on it."""
        return Snapshot(
            _frozen_copy(self.student),
            None if self.projection is None else _frozen_copy(self.projection),
        )

    def add_to_centers(self, embedding: Tensor, positions: Tensor) -> None:
        """Add the teacher embeddings [B,d] of new images to the class centers, if there are any.
        Collective.
        """
        if self.centers is not None:
            across = self.world.sum if self.world.size > 1 else None
            self.centers.add(embedding, positions, across)

    def average_statistics(self) -> None:
        """Average the running statistics of the student's BatchNorm layers, which every process
        updates with its own part of a batch. Collective.
        """
        statistics = ("running_mean", "running_var")
        buffers = self.student.named_buffers()
        self.world.average([b for name, b in buffers if name.endswith(statistics)])

    def average_generators(self) -> None:
        """After a round of batches, average the generators that made it (weights, BatchNorm and
        spectral-norm buffers) if the recipe says so. Each process keeps its own optimizer state.
        Collective.
        """
        if self.recipe.average_generators and self.generators:
            generator = self.generators[self.setting.scale(self.iterations - 1).side]
            self.world.average([*generator.parameters(), *generator.buffers()])

    def student_is_finite(self) -> bool:
        return bool(torch.stack([p.isfinite().all() for p in self.student.parameters()]).all())

    # --- to and from tensors -----------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """A copy of everything as named CPU tensors.

        The pool's pixels are not included: they stay in the run folder's batches.
        """
        tensors = {
            "counters": torch.tensor([self.iterations, self.student_steps, self.generators_created])
        }
        for component, state in self._components():
            tensors |= {f"{component}.{k}": v for k, v in state().items()}
        tensors |= {f"rng.{name}": generator.get_state() for name, generator in self.rng.items()}
        return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}

    def own_tensors(self) -> dict[str, Tensor]:
        """What differs between the processes of a run: everything but the student's weights, its
        optimizer, and what belongs to them.
        """
        own = ("generator.", f"{GENERATOR_OPTIMIZER}.", "feature_memory.", "pool.", "rng.")
        buffers = {f"student.{name}" for name, _ in self.student.named_buffers()}
        return {k: v for k, v in self.tensors().items() if k.startswith(own) or k in buffers}

    def load(
        self, tensors: dict[str, Tensor], read_batch: Callable[[int], dict[str, np.ndarray]]
    ) -> None:
        """Restore the output of `tensors`.

        `read_batch(iteration)` returns the arrays of a journaled batch. Processes other than
        the first find their own part under "rank.1." and so on.
        """
        own = f"rank.{self.world.rank}."
        tensors = tensors | {
            k.removeprefix(own): v for k, v in tensors.items() if k.startswith(own)
        }
        self.iterations, self.student_steps, generators_created = tensors["counters"].tolist()
        if generators_created != self.generators_created:
            self.generators_created = generators_created - 1
            self.new_generators()

        def with_prefix(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        for side, generator in self.generators.items():
            generator.load_state_dict(with_prefix(f"generator.{side}."))
            _load_optimizer(
                self.generator_optimizers[side], with_prefix(f"{GENERATOR_OPTIMIZER}.{side}.")
            )
        self.student.load_state_dict(with_prefix("student."))
        _load_optimizer(self.student_optimizer, with_prefix(f"{STUDENT_OPTIMIZER}."))
        if self.projection is not None:
            self.projection.load_state_dict(with_prefix("projection."))
        if self.centers is not None:
            self.centers.load_state_dict(with_prefix(f"{CLASS_CENTERS}."))
        self.feature_memory = {
            int(side): memory.to(self.device)
            for side, memory in with_prefix("feature_memory.").items()
        }
        self.pool.load_state_dict(
            with_prefix("pool."), read_batch, VIEW_COLUMNS if self.recipe.views else ()
        )
        if self.world.leads and self.setting.held_out(self.setting.scales[0].batch):
            self.held_out.restore(self.iterations, read_batch)
        for name, state in with_prefix("rng.").items():
            self.rng[name].set_state(state)

    def _components(self) -> Iterator[tuple[str, Callable[[], dict[str, Tensor]]]]:
        for side, generator in self.generators.items():
            yield f"generator.{side}", generator.state_dict
            yield (
                f"{GENERATOR_OPTIMIZER}.{side}",
                functools.partial(_optimizer_tensors, self.generator_optimizers[side]),
            )
        yield "student", self.student.state_dict
        yield STUDENT_OPTIMIZER, functools.partial(_optimizer_tensors, self.student_optimizer)
        if self.projection is not None:
            yield "projection", self.projection.state_dict
        if self.centers is not None:
            yield CLASS_CENTERS, self.centers.state_dict
        yield (
            "feature_memory",
            lambda: {str(side): memory for side, memory in self.feature_memory.items()},
        )
        yield "pool", self.pool.state_dict


def pool_sizes(checkpoint: dict[str, Tensor], processes: int) -> dict[int, tuple[int, int]]:
    """(images, pixels) in the pool of each process but the first in a checkpoint, by rank."""
    sizes = dict.fromkeys(range(1, processes), (0, 0))
    for name, tensor in checkpoint.items():
        match name.split("."):
            case ["rank", rank, "pool", side, "counts"]:
                images, pixels = sizes[int(rank)]
                added = int(tensor[2])
                sizes[int(rank)] = images + added, pixels + added * int(side) ** 2
    return sizes


def _frozen_copy(network: M) -> M:
    return copy.deepcopy(network).eval().requires_grad_(False)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{k}": v
        for i, slots in state.items()
        for k, v in slots.items()
        if isinstance(v, Tensor)
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        i, _, key = name.partition(".")
        parameter = parameters[int(i)]
        if (
            value.shape == parameter.shape
        ):  # fused optimizers need state in the parameter's own memory layout
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
