"""Train a bundled teacher on real images. The only place in the package where real images train anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kgen.augment import erase, shift_and_flip
from kgen.data import RealImages
from kgen.events import TeacherCard


@dataclass(frozen=True)
class TeachProgress:
    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float | None = None
    """Share right on the held-out images, at the end of an epoch."""


@torch.no_grad()
def accuracy(network: nn.Module, data: RealImages, normalise, batch: int = 500) -> float:
    """Share of real images whose largest logit is their label."""
    network.eval()
    images = torch.from_numpy(data.images)
    hits = 0
    for i in range(0, len(data), batch):
        x = normalise(images[i : i + batch].float() / 255)
        hits += int((network(x).argmax(1).numpy() == data.labels[i : i + batch]).sum())
    return hits / len(data)


def teach(
    network: nn.Module,
    train: RealImages,
    held_out: RealImages,
    *,
    epochs: int = 15,
    batch: int = 256,
    lr: float = 0.2,
    weight_decay: float = 5e-4,
    seed: int = 0,
) -> Iterator[TeachProgress]:
    """SGD with Nesterov momentum and a one-cycle rate; shift, flip and random erasing. Trains `network` in place."""
    rng = torch.Generator().manual_seed(seed)
    normalise = normaliser(*statistics(train))
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    steps = epochs * (len(train) // batch)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.25)
    step = 0
    for epoch in range(epochs):
        network.train()
        order = torch.randperm(len(train), generator=rng)
        for index in order[: len(order) // batch * batch].split(batch):
            x = erase(shift_and_flip(images[index].float() / 255, rng), rng)
            loss = F.cross_entropy(network(normalise(x)), labels[index])
            if not torch.isfinite(loss):
                raise FloatingPointError(f"The teacher's loss was not a number at step {step}; lower the rate below {lr}.")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step % 10 == 0:
                yield TeachProgress(epoch, step, steps, float(loss.detach()))
        yield TeachProgress(epoch, step, steps, float(loss.detach()), accuracy(network, held_out, normalise))


def statistics(data: RealImages) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation of [0,1] pixels."""
    pixels = data.images.astype(np.float64) / 255
    return pixels.mean((0, 2, 3)).round(4).tolist(), pixels.std((0, 2, 3)).round(4).tolist()


def finish(network: nn.Module, train: RealImages, held_out: RealImages, test: RealImages, *, width: int, blocks: tuple[int, int]) -> dict:
    """Measure the trained teacher and write its card: what `kgen.zoo` stores beside the weights."""
    mean, std = statistics(train)
    normalise = normaliser(mean, std)
    card = TeacherCard(
        name="fashion-cnn",
        title="Fashion CNN",
        architecture="SmallResNet",
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
        "width": width,
        "blocks": list(blocks),
        "held_out_accuracy": accuracy(network, held_out, normalise),
    }


def normaliser(mean: list[float], std: list[float]):
    """Pixels in [0,1] → what the network takes."""
    m, s = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    return lambda x: (x - m) / s
