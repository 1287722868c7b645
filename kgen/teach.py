"""Train a bundled teacher on real images. The only place in the package where real images train anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kgen.augment import apply_views, draw_views, erase
from kgen.data import RealImages
from kgen.evaluate import score
from kgen.events import TeacherCard
from kgen.zoo import ZooError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A teacher to be made: its network, and how it is trained. The rate rises to `lr` and falls again, both as a cosine."""

    name: str
    title: str
    architecture: str
    shape: dict[str, Any]
    """Arguments of the architecture, as in `kgen.zoo.STUDENTS`."""
    optimiser: Literal["sgd", "adamw"]
    epochs: int
    batch: int
    lr: float
    weight_decay: float
    rise: float
    """Share of the steps in which the rate rises."""
    shift: int
    """Most pixels that an image is moved by, in each direction; half of the images are mirrored as well."""
    hole: int
    """Side in pixels of the square that random erasing cuts out of half of the images; 0 cuts none."""


CNN = Plan(
    name="fashion-cnn",
    title="Fashion CNN",
    architecture="SmallResNet",
    shape={"width": 48, "blocks": (1, 2)},
    optimiser="sgd",
    epochs=15,
    batch=256,
    lr=0.2,
    weight_decay=5e-4,
    rise=0.25,
    shift=2,
    hole=8,
)
VIT = Plan(
    name="fashion-vit",
    title="Fashion ViT",
    architecture="SmallViT",
    shape={"patch": 4, "dim": 48, "depth": 4, "heads": 2},
    optimiser="adamw",
    epochs=14,
    batch=32,
    lr=2e-3,
    weight_decay=0.05,
    rise=0.1,
    shift=1,  # moved across its patches an image is another one: in so few epochs no more variety than this
    hole=0,
)
PLANS = {"cnn": CNN, "vit": VIT}


@dataclass(frozen=True)
class TeachProgress:
    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float | None = None
    """Share right on the held-out images, at the end of an epoch."""


def accuracy(network: nn.Module, data: RealImages, normalise) -> float:
    """Share of real images whose largest logit is their label."""
    network.eval()
    return score(lambda x: network(normalise(x)), data, list(range(len(data.classes)))).accuracy


def teach(network: nn.Module, train: RealImages, held_out: RealImages, plan: Plan, *, seed: int = 0) -> Iterator[TeachProgress]:
    """Cross-entropy on shifted, flipped and perhaps erased real images. Trains `network` in place."""
    rng = torch.Generator().manual_seed(seed)
    normalise = normaliser(*statistics(train))
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    steps = plan.epochs * (len(train) // plan.batch)
    optimiser = _optimiser(network, plan)
    turn = plan.optimiser == "sgd"  # momentum falls while the rate rises, as the CNN was trained; AdamW keeps its own
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.lr, total_steps=steps, pct_start=plan.rise, cycle_momentum=turn)
    step = 0
    for epoch in range(plan.epochs):
        network.train()
        order = torch.randperm(len(train), generator=rng)
        for index in order[: len(order) // plan.batch * plan.batch].split(plan.batch):
            x = apply_views(images[index].float() / 255, draw_views((len(index),), rng, shift=plan.shift), plan.shift)
            if plan.hole:
                x = erase(x, rng, plan.hole)
            loss = F.cross_entropy(network(normalise(x)), labels[index])
            if not torch.isfinite(loss):
                raise ZooError(f"The teacher's loss was not a number at step {step}; lower the rate below {plan.lr}.")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step % 10 == 0:
                yield TeachProgress(epoch, step, steps, float(loss.detach()))
        yield TeachProgress(epoch, step, steps, float(loss.detach()), accuracy(network, held_out, normalise))


def _optimiser(network: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels alone: not on biases, norms, tokens or position embeddings."""
    decayed = [p for p in network.parameters() if p.ndim in (2, 4)]
    free = [p for p in network.parameters() if p.ndim not in (2, 4)]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if plan.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=plan.lr)
    return torch.optim.SGD(groups, lr=plan.lr, momentum=0.9, nesterov=True)


def statistics(data: RealImages) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation of [0,1] pixels."""
    pixels = data.images.astype(np.float64) / 255
    return pixels.mean((0, 2, 3)).round(4).tolist(), pixels.std((0, 2, 3)).round(4).tolist()


def finish(network: nn.Module, train: RealImages, held_out: RealImages, test: RealImages, plan: Plan) -> dict[str, Any]:
    """Measure the trained teacher and write its card: what `kgen.zoo` stores beside the weights."""
    mean, std = statistics(train)
    normalise = normaliser(mean, std)
    card = TeacherCard(
        name=plan.name,
        title=plan.title,
        architecture=plan.architecture,
        parameters=sum(p.numel() for p in network.parameters()),
        channels=train.images.shape[1],
        side=train.images.shape[2],
        features=network.num_features,
        n_train=len(train) + len(held_out),
        accuracy=accuracy(network, test, normalise),
        n_test=len(test),
        data=train.name,
        licence="Apache-2.0 (weights), MIT (data)",
    )
    return {
        "card": card.model_dump(),
        "classes": list(train.classes),
        "mean": mean,
        "std": std,
        **plan.shape,
        "held_out_accuracy": accuracy(network, held_out, normalise),
    }


def normaliser(mean: list[float], std: list[float]):
    """Pixels in [0,1] → what the network takes."""
    m, s = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    return lambda x: (x - m) / s
