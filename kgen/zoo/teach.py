"""Trains teachers on real images: the bundled ones, and the paper's on CIFAR (C.1).

No other module trains a teacher on real images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kgen.augment import apply_crops, apply_views, draw_crops, draw_views, erase
from kgen.data import catalogue, data
from kgen.data.data import RealImages
from kgen.evaluate import score
from kgen.events import TeacherCard
from kgen.nets.network import Network
from kgen.phrases import did_you_mean
from kgen.precision import Format, apply, has_bf16, set_format
from kgen.system.paths import writable_home
from kgen.zoo import zoo
from kgen.zoo.zoo import ZooError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A teacher to train: its network and training settings.

    The learning rate rises to `lr` and falls again, both along a cosine.
    """

    name: str
    title: str
    architecture: str
    shape: dict[str, Any]
    """Arguments of the architecture, as in `kgen.zoo.zoo.STUDENTS`."""
    optimizer: Literal["sgd", "adamw", "plain-sgd"]
    """plain-sgd: torch's SGD without Nesterov momentum, with weight decay on everything (C.1)."""
    epochs: int
    batch: int
    lr: float
    weight_decay: float
    pct_start: float
    """Share of the steps in which the learning rate rises; 0: it only falls."""
    shift: int
    """Largest shift of an image in pixels, in each direction; half of the images are mirrored
    too.
    """
    cutout: int
    """Side in pixels of the square that random erasing removes from half of the images; 0 for
    none.
    """
    crop: float = 1.0
    """Smallest area of a random resized crop; 1 disables crops."""
    first_side: int | None = None
    """Side of the crops in the first epoch; it grows to the full side over three quarters of the
    epochs.
    """
    smoothing: float = 0.0
    """Label smoothing."""
    bf16: bool = False
    """Train in bfloat16 and channels-last if the processor supports it, which is 2 to 3 times
    faster.
    """
    side: int | None = None
    """Side to which the training images are resized; by default the data set's own."""
    holds_out: bool = False
    """Whether `kgen.data.data.HOLDOUT` training images are held out."""
    licence: str = "Apache-2.0 (weights), MIT (data)"


CNN = Plan(
    name="fashion-cnn",
    title="Fashion CNN",
    architecture="SmallResNet",
    shape={"width": 48, "blocks": (1, 2)},
    optimizer="sgd",
    epochs=15,
    batch=256,
    lr=0.2,
    weight_decay=5e-4,
    pct_start=0.25,
    shift=2,
    cutout=8,
    holds_out=True,
)
VIT = Plan(
    name="fashion-vit",
    title="Fashion ViT",
    architecture="SmallViT",
    shape={"patch": 4, "dim": 48, "depth": 4, "heads": 2},
    optimizer="adamw",
    epochs=14,
    batch=32,
    lr=2e-3,
    weight_decay=0.05,
    pct_start=0.1,
    # shifts change all of a ViT's patches, so a few epochs allow no larger ones
    shift=1,
    cutout=0,
    holds_out=True,
)
CIFAR = Plan(
    name="cifar10-cnn",
    title="CIFAR-10 CNN",
    architecture="SmallResNet",
    shape={"width": 64, "blocks": (2, 2), "deep_stem": True},
    optimizer="sgd",
    epochs=20,
    batch=128,
    lr=0.2,
    weight_decay=5e-4,
    pct_start=0.25,
    shift=4,
    cutout=0,
    bf16=True,
    licence="Apache-2.0 (weights), no license stated (data)",
)
IMAGENETTE = Plan(
    name="imagenette-slim",
    title="Imagenette ResNet",
    architecture="resnet18-slim",
    shape={},
    optimizer="sgd",
    epochs=48,
    batch=64,
    lr=0.2,
    weight_decay=5e-4,
    pct_start=0.2,
    shift=0,
    cutout=0,
    crop=0.3,
    side=128,
    first_side=80,
    bf16=True,
    smoothing=0.1,
    licence="Apache-2.0 (weights), non-commercial research (data)",
)
PLANS = {
    "fashion-mnist": {"cnn": CNN, "vit": VIT},
    "cifar10": {"cnn": CIFAR},
    "imagenette": {"slim": IMAGENETTE},
}
"""Data set → network → plan of the bundled teachers; the first network is the default."""
PAPER = (
    "resnet34-cifar",
    "wrn-40-2",
    "vgg11-cifar",
    "resnet18-cifar",
    "wrn-40-1",
    "wrn-16-2",
    "wrn-16-1",
)
"""Architectures from Table 2, teachers first."""


def paper_plan(dataset: str, network: str) -> Plan:
    """C.1: SGD, rate 0.1 with cosine decay, momentum 0.9, weight decay 5e-4, batch 128, 200 epochs.

    On all training images. The paper does not state its augmentation; shifts of 4 pixels and
    mirroring are standard for CIFAR.
    """
    name = f"{dataset}-{network.removesuffix('-cifar')}"
    known = catalogue.TEACHERS.get(name)
    return Plan(
        name=name,
        title=(
            known.title
            if known
            else f"{network.removesuffix('-cifar')} on {catalogue.DATA[dataset].title}"
        ),
        architecture=network,
        shape={},
        optimizer="plain-sgd",
        epochs=200,
        batch=128,
        lr=0.1,
        weight_decay=5e-4,
        pct_start=0.0,
        shift=4,
        cutout=0,
        licence="Apache-2.0 (weights), no license stated (data)",
    )


def plan(dataset: str, network: str | None = None, epochs: int | None = None) -> Plan:
    """The plan for a data set and a network (by default the first one). ZooError if unknown."""
    known = list(dict.fromkeys((*PLANS, *catalogue.TRAINABLE)))
    if dataset not in known:
        raise ZooError(
            f"No teacher for {dataset!r} can be trained here. {did_you_mean(dataset, known)}",
            code="unknown-data",
            name=dataset,
            known=list(known),
        )
    plans = dict(PLANS.get(dataset, {}))
    if dataset in catalogue.TRAINABLE:
        plans |= {name: paper_plan(dataset, name) for name in PAPER}
    network = network or next(iter(plans))
    if network not in plans:
        raise ZooError(
            f"There is no network {network!r} to train. {did_you_mean(network, list(plans))}",
            code="unknown-network",
            name=network,
        )
    return plans[network] if epochs is None else replace(plans[network], epochs=epochs)


def output_file(plan: Plan, out: Path | None) -> Path:
    """The teacher's file: as requested, otherwise where its name is looked up.

    ZooError if it cannot be written.
    """
    if out is None and plan.name not in zoo.TEACHERS:
        writable_home()
        out = catalogue.teacher_file(plan.name)
        out.parent.mkdir(parents=True, exist_ok=True)
    out = out or zoo.TEACHERS[plan.name]
    if out.is_dir():
        raise ZooError(
            f"--out {out} is a folder; add the name of the file, such as"
            f" {out / f'{plan.name}.safetensors'}.",
            code="unwritable",
            file=str(out),
        )
    if not os.access(out.parent, os.W_OK):
        raise ZooError(
            f"--out {out}: {out.parent} is not a writable folder; choose another location.",
            code="unwritable",
            file=str(out),
        )
    return out


def split_held_out(train: RealImages, plan: Plan) -> tuple[RealImages, RealImages | None]:
    """(the teacher's training images, held-out images or None)."""
    return data.split(train) if plan.holds_out else (train, None)


@dataclass(frozen=True)
class TeachProgress:
    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float | None = None
    """Accuracy on the held-out images at the end of an epoch; None before that or without any."""
    ends_epoch: bool = False


Normalizer = Callable[[torch.Tensor], torch.Tensor]


def accuracy(network: nn.Module, real: RealImages, normalize: Normalizer) -> float:
    """Share of real images whose largest logit is their label."""
    network.eval()
    device = next(network.parameters()).device
    return score(
        lambda x: network(normalize(x)), real, list(range(len(real.classes))), device=device
    ).accuracy


def teach(
    network: nn.Module,
    train: RealImages,
    held_out: RealImages | None,
    plan: Plan,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[TeachProgress]:
    """Train `network` in place on shifted and optionally flipped and erased real images.

    Uses cross-entropy, and leaves the network on `device`.
    """
    rng, flip = torch.Generator().manual_seed(seed), _may_flip(train)
    normalize = make_normalizer(*statistics(train))
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    steps = plan.epochs * (len(train) // plan.batch)
    network.to(device)
    if plan.bf16 and has_bf16(torch.device(device)):
        set_format(network, Format("bf16", "channels_last"))
    optimizer = make_optimizer(network, plan)
    schedule = make_schedule(optimizer, plan, steps)
    step = 0
    for epoch in range(plan.epochs):
        network.train()
        order = torch.randperm(len(train), generator=rng)
        side = crop_side(plan, epoch, train.images.shape[2])
        for index in order[: len(order) // plan.batch * plan.batch].split(plan.batch):
            x = images[index].to(device).float() / 255
            if plan.crop < 1:
                x = apply_crops(x, draw_crops((len(index),), rng, plan.crop, flip), side)
            else:
                x = apply_views(x, draw_views((len(index),), rng, flip, plan.shift), plan.shift)
            if plan.cutout:
                x = erase(x, rng, plan.cutout)
            logits = apply(network, network, normalize(x))
            loss = F.cross_entropy(logits, labels[index].to(device), label_smoothing=plan.smoothing)
            if not torch.isfinite(loss):
                raise ZooError(
                    f"The teacher's loss was not finite at step {step}; lower the learning"
                    f" rate below {plan.lr}.",
                    code="not-finite",
                    step=step,
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % 10 == 0:
                yield TeachProgress(epoch, step, steps, float(loss.detach()))
        held_out_accuracy = accuracy(network, held_out, normalize) if held_out else None
        yield TeachProgress(
            epoch, step, steps, float(loss.detach()), held_out_accuracy, ends_epoch=True
        )


def crop_side(plan: Plan, epoch: int, full: int) -> int:
    """Side of the crops in an epoch.

    Small images are cheap at first, and networks benefit from a larger side at test time than in
    training (Touvron et al. 2019).
    """
    if plan.first_side is None:
        return full
    share = min(1.0, epoch / (0.75 * plan.epochs))
    return min(full, int(plan.first_side + share * (full - plan.first_side)) // 16 * 16)


def make_optimizer(network: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """With C.1, weight decay applies to everything; otherwise only to matrices and kernels.

    Biases, norms, tokens and position embeddings are then left out.
    """
    if plan.optimizer == "plain-sgd":
        return torch.optim.SGD(
            network.parameters(), lr=plan.lr, momentum=0.9, weight_decay=plan.weight_decay
        )
    decayed = [p for p in network.parameters() if p.ndim in (2, 4)]
    undecayed = [p for p in network.parameters() if p.ndim not in (2, 4)]
    groups = [
        {"params": decayed, "weight_decay": plan.weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=plan.lr)
    return torch.optim.SGD(groups, lr=plan.lr, momentum=0.9, nesterov=True)


def make_schedule(
    optimizer: torch.optim.Optimizer, plan: Plan, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate schedule."""
    if not plan.pct_start:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    cycle_momentum = (
        plan.optimizer == "sgd"
    )  # momentum falls while the rate rises, as in the CNN's training; AdamW keeps its own
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        plan.lr,
        total_steps=steps,
        pct_start=plan.pct_start,
        cycle_momentum=cycle_momentum,
    )


def statistics(real: RealImages) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation of [0,1] pixels."""
    pixels = real.images[:].astype(np.float64) / 255
    return pixels.mean((0, 2, 3)).round(4).tolist(), pixels.std((0, 2, 3)).round(4).tolist()


def finish(
    network: Network, train: RealImages, held_out: RealImages | None, test: RealImages, plan: Plan
) -> dict[str, Any]:
    """Evaluate the trained teacher and write its card, which `kgen.zoo.zoo` stores with the
    weights.
    """
    mean, std = statistics(train)
    normalize = make_normalizer(mean, std)
    card = TeacherCard(
        name=plan.name,
        title=plan.title,
        architecture=plan.architecture,
        parameters=sum(p.numel() for p in network.parameters()),
        channels=train.images.shape[1],
        side=train.images.shape[2],
        features=network.num_features,
        cell=_cell(network, train.images.shape),
        n_train=len(train) + len(held_out or ()),
        accuracy=accuracy(network, test, normalize),
        n_test=len(test),
        data=train.name,
        flip=_may_flip(train),
        licence=plan.licence,
    )
    return {
        "card": card.model_dump(),
        "classes": list(train.classes),
        "mean": mean,
        "std": std,
        **plan.shape,
        "held_out_accuracy": accuracy(network, held_out, normalize) if held_out else None,
    }


def _may_flip(train: RealImages) -> bool:
    """Whether a mirrored image is still one of its class; a mirrored digit is not."""
    return train.name not in catalogue.DATA or catalogue.DATA[train.name].flip


@torch.no_grad()
def _cell(network: Network, shape: tuple[int, ...]) -> int | None:
    """Side in pixels of a cell of the network's last map; None if it has no map."""
    features = network.eval().forward_features(
        torch.zeros(1, *shape[1:], device=next(network.parameters()).device)
    )
    return round(shape[2] / features.shape[2]) if features.ndim == 4 else None


def make_normalizer(mean: list[float], std: list[float]) -> Normalizer:
    """Pixels in [0,1] → the network's input."""
    m, s = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    return lambda x: (x - m.to(x.device)) / s.to(x.device)
