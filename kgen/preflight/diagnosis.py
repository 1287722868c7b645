"""Explains why a file's tensors do not fit a network, and finds an architecture that they fit
instead.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor

from kgen.nets import architectures
from kgen.phrases import count, first_few
from kgen.preflight.matching import Fit, Head, format_shape, other_head
from kgen.preflight.nearest import nearest
from kgen.zoo.zoo import ZooError

MAX_TRIED, MAX_SECONDS = 6, 15.0
"""How many architectures are built to see whether one fits, and how long that may take."""

HUGGING_FACE = re.compile(
    r"\b(embedder\.embedder|embeddings\.(cls_token|patch_embeddings)|encoder\.stages\.\d+\.layers)\b"
)
"""Layer names of the image networks in Hugging Face's transformers library."""
OWN_NETWORK = "define the network in a Python file and name it with --arch FILE.py:NAME"


class Diagnosis(NamedTuple):
    """A mismatch: what was found, and what to do."""

    finding: str
    advice: str


def diagnose(
    fit: Fit,
    name: str,
    in_order: Callable[[], bool],
    find_other: Callable[[], str | None],
    *,
    by_order: bool = False,
) -> Diagnosis:
    """Explain the mismatch if not all tensors fit.

    Args:
        name: the architecture that was tried.
        in_order: whether all shapes match in the order of the file.
        find_other: returns the option for an architecture that the tensors do fit, such as
            "--arch resnet34".
        by_order: whether the tensors were matched by their position in the file.
    """
    listed = _listed(fit)
    if head := _head(fit, name, listed):
        return head
    stem, other = _stem(fit), find_other()
    if (not other or "--by-order" in other) and in_order():
        return Diagnosis(listed, "Names differ, but all shapes match in order: try --by-order.")
    if other:
        reason = f"{stem}: " if stem else ""
        return Diagnosis(reason + listed, f"This is not {name}: all of its tensors fit {other}.")
    if by_order:
        return Diagnosis(
            listed,
            f"In the order of the file, the tensors do not have the shapes of {name}. Choose the"
            f" architecture that it was trained with, or {OWN_NETWORK}.{_similar(fit, name)}",
        )
    if patches := _patches(fit):
        return Diagnosis(
            listed,
            f"The {name} in the file was built with different arguments: try --arch-args"
            f" {patches}.",
        )
    if stem:
        return Diagnosis(
            f"{stem}: {listed}",
            f"No known variant of {name} has such a first convolution; use an architecture with"
            f" -cifar in its name, or {OWN_NETWORK}.",
        )
    if any(HUGGING_FACE.search(n) for n in (*fit.placement.tensors, *fit.placement.unused)):
        return Diagnosis(
            listed,
            "These are the layer names of Hugging Face's own networks (transformers), which are"
            f" built differently from {name}: {OWN_NETWORK}.",
        )
    if fit.misshapen and not fit.missing and not fit.unexpected:
        return Diagnosis(
            listed,
            f"All names fit {name}, but not all sizes: set the constructor arguments that it was"
            f" built with (--arch-args), or choose another architecture.{_similar(fit, name)}",
        )
    return Diagnosis(
        listed,
        f"This is not {name}, or its layers have different names. Choose the architecture that it"
        f" was trained with, or {OWN_NETWORK}.{_similar(fit, name)}",
    )


def diagnose_head(head: Head, name: str, classifier: str) -> Diagnosis:
    """Explain why a file may not hold a network even though all of the network's tensors fit."""
    finding = (
        f"the file's network continues after {name}: {head.weight} takes its outputs"
        if head.follows
        else f"a second classifier besides {classifier}: {head.weight}"
    )
    start = f"{head.part}."
    return Diagnosis(
        finding,
        f"If {head.part} outputs the classes, {OWN_NETWORK}. If not, save the weights without it:"
        f" d = {{k: v for k, v in d.items() if not k.startswith({start!r})}}.",
    )


def fitting(
    tensors: Collection[Tensor], tried: str, fit: Callable[[str, bool], Fit], ordered: bool
) -> str | None:
    """The option that names an architecture that all tensors fit, in shape and name; None if there
    is none.

    Args:
        tried: the architecture that they do not fit; empty if none was named.
        fit: tries another, by name or, if its second argument is true, by order.
        ordered: whether the file keeps the order of its tensors.
    """
    until = time.monotonic() + MAX_SECONDS
    near, variants = nearest(tensors), _variants(tried)
    likely = [name for name in variants if name in near]
    names = dict.fromkeys(n for n in (*likely, *near, *variants) if n != tried)
    by_name: list[str] = []
    by_order: list[str] = []
    for name in list(names)[:MAX_TRIED]:
        if time.monotonic() > until or len(by_name) == 2:
            break
        try:
            if _fits(fit(name, False)):
                by_name.append(f"--arch {name}")
            elif ordered and not by_order and _fits(fit(name, True)):
                by_order.append(f"--arch {name} --by-order")
        except (ZooError, MemoryError, RuntimeError, TypeError, ValueError):  # raised by libraries
            continue
    return " or ".join(by_name or by_order) or None


def _fits(fit: Fit) -> bool:
    return fit.complete and not other_head(fit)


def _variants(name: str) -> list[str]:
    """The names of the same network in other libraries and for other image sizes."""
    base = name.partition(".")[0].removeprefix("timm:")
    names = (f"{base}-cifar", f"{base}-cifar-a", f"torchvision:{base}")
    return [n for n in names if n in architectures.NAMES or _is_torchvision(n)]


def _is_torchvision(name: str) -> bool:
    from kgen.nets import torchvision_nets

    kind, _, base = name.partition(":")
    return kind == "torchvision" and base in torchvision_nets.names()


# --- what is wrong --------------------------------------------------------------------------------


def _listed(fit: Fit) -> str:
    parts = {
        "missing": fit.missing,
        "unexpected": fit.unexpected,
        "of a different shape": fit.misshapen,
    }
    return "; ".join(f"{len(t)} {kind}: {first_few(t)}" for kind, t in parts.items() if t)


def _stem(fit: Fit) -> str | None:
    """A first convolution whose size is not the network's, as in networks for small images."""
    first = next((m for m in fit.network.modules() if isinstance(m, torch.nn.Conv2d)), None)
    name = next((n for n, m in fit.network.named_modules() if m is first), "")
    found = fit.placement.tensors.get(f"{name}.weight")
    if first is None or found is None or found.ndim != 4:
        return None
    there, expected = tuple(found.shape[2:]), tuple(first.weight.shape[2:])
    if there == expected or found.shape[0] != first.weight.shape[0]:
        return None
    size = " × ".join(map(str, there))
    usual = ", as is common for small images such as CIFAR's" if there == (3, 3) else ""
    return f"the first convolution is {size} instead of {' × '.join(map(str, expected))}{usual}"


def _patches(fit: Fit) -> str | None:
    """A vision transformer's arguments, from its patch and position embeddings, if they differ from
    the network's.
    """
    patches = [
        (name, m)
        for name, m in fit.network.named_modules()
        if isinstance(m, torch.nn.Conv2d) and m.kernel_size == m.stride != (1, 1)
    ]
    expected = fit.network.state_dict()
    positions = next((n for n in expected if n.rpartition(".")[2] == "pos_embed"), "")
    found = fit.placement.tensors.get(positions)
    if not patches or found is None or found.ndim != 3:
        return None
    name, layer = patches[0]
    weight = fit.placement.tensors.get(f"{name}.weight")
    tokens = found.shape[1] - getattr(fit.network, "num_prefix_tokens", 1)
    grid = math.isqrt(max(tokens, 0))
    if weight is None or weight.ndim != 4 or weight.shape[2] != weight.shape[3] or not grid:
        return None
    size = weight.shape[2]
    same = size == layer.kernel_size[0] and found.shape == expected[positions].shape
    return None if same or grid**2 != tokens else f"img_size={grid * size},patch_size={size}"


def _head(fit: Fit, name: str, listed: str) -> Diagnosis | None:
    """No classifier, or a different one, if everything else fits."""
    layer = fit.classifier.removesuffix(".weight")
    if not layer or fit.misshapen or not fit.missing:
        return None
    if not all(_name(entry).startswith(f"{layer}.") for entry in fit.missing):
        return None
    inside = {n: t for n, t in fit.placement.tensors.items() if n.startswith(f"{layer}.")}
    if any(not _name(entry).startswith(f"{layer}.") for entry in fit.unexpected):
        return None
    others = inside or {n: t for n, t in fit.placement.unused.items() if t.ndim == 2}
    if not others:
        return Diagnosis(
            f"no classifier: the file has all of {name} except its last layer, {layer}; {listed}",
            "Without a classifier, it cannot be a teacher. Use a checkpoint that includes the"
            " classifier, or train one on top of this network first.",
        )
    weights = [(n, t) for n, t in others.items() if t.ndim == 2]
    parts = first_few([f"{n} ({format_shape(t)})" for n, t in weights])
    layers = count(len(weights), "layer")
    if len(weights) == 1 and not inside:
        (there, _), old = weights[0], f"{layer}."
        new = f"{there.removesuffix('weight')}"
        advice = (
            f"If {new.rstrip('.')} directly follows the pooling, rename it:"
            f" d = {{k.replace({new!r}, {fit.placement.prefix + old!r}): v for k, v in d.items()}}."
            f" Otherwise, {OWN_NETWORK}."
        )
    else:
        advice = (
            f"Everything before it is {name}. To use it as it was trained, with that head,"
            f" {OWN_NETWORK}."
        )
    return Diagnosis(
        f"a different head from {name}'s single layer {layer}: {layers}, {parts}; {listed}", advice
    )


def _name(entry: str) -> str:
    return entry.partition(" ")[0]


def _similar(fit: Fit, name: str) -> str:
    tensors = fit.placement.tensors | fit.placement.unused
    similar = [n for n in nearest(tensors.values()) if n != name][:3]
    return f" Most similar by shape: {', '.join(similar)}." if similar else ""
