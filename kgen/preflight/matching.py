"""Matches a user's weights file to a network: how many outputs and channels, which tensor goes
where, and what is left over.

Reports what fits and what does not; `kgen.preflight.examination` draws the conclusions.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from kgen.nets.network import Network
from kgen.nets.own_code import UserCode
from kgen.zoo import checkpoints, placing, zoo
from kgen.zoo.checkpoints import WeightSet
from kgen.zoo.placing import COUNTER, Placement

MEASURES = frozenset(
    ["criterion", "loss", "losses", "metric", "metrics", "acc", "accuracy", "prec", "precision"]
)
"""Words in the names of tensors that are stored with a network and measure it."""
NORMALIZE = re.compile(r"(?:.*\.)?_?(?:(?:new|pixel|image|input)_)?(mean|mu)")
"""Names of a Normalize layer's means; its other values are called `std` or `sigma`."""
MAX_SIZE = 1024
"""Limit on any size in a card, because a network is built before its tensors are compared."""


class Fit(NamedTuple):
    """A network and how the file's tensors match it.

    If nothing is missing, unexpected or misshapen, the weights are loaded.
    """

    network: Network
    outputs: int
    channels: int
    missing: list[str]
    """Name and expected shape of tensors that the file lacks."""
    unexpected: list[str]
    """Name and shape of tensors that have no place in the network."""
    misshapen: list[str]
    """Name and both shapes of tensors whose shapes differ."""
    placement: Placement
    """Where in the file the tensors are."""
    choices: tuple[str, ...]
    """Names of all sets of weights in the file that could be taken, best first."""
    classifier: str
    """Name of the weight of the network's last layer; empty if unknown."""
    chosen_otherwise: frozenset[str]
    """Names of the tensors of other choices that are stored next to the network's."""

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)


def resolve_shape(architecture: str, about: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(architecture name, extra arguments of one of our own); `about` is the file's card, if any.

    Raises ZooError for one of our own without its sizes.
    """
    if architecture in zoo.STUDENTS:
        return zoo.family(zoo.STUDENTS[architecture]), dict(zoo.STUDENTS[architecture])
    if architecture in zoo.SHAPES:
        needs = zoo.SHAPES[architecture]
        if not all(key in about for key in needs):
            sizes = [
                name for name, shape in zoo.STUDENTS.items() if zoo.family(shape) == architecture
            ]
            raise zoo.ZooError(
                f"Architecture {architecture!r} comes in many sizes; name one of them:"
                f" {', '.join(sizes)}.",
                code="ambiguous",
                known=list(sizes),
            )
        shape = {key: about[key] for key in needs}
        numbers = [
            n for value in shape.values() for n in (value if isinstance(value, list) else [value])
        ]
        if len(numbers) > 4 or not all(type(n) is int and 0 <= n <= MAX_SIZE for n in numbers):
            raise zoo.ZooError(
                f"The card in the file says {str(shape)[:80]} for {architecture}; expected whole"
                f" numbers up to {MAX_SIZE}. Name an architecture with --arch.",
                code="invalid-card",
            )
        return architecture, shape
    return architecture, {}


def fit(
    sets: Sequence[WeightSet],
    architecture: str,
    shape: dict[str, Any],
    *,
    outputs: int,
    channels: int,
    side: int,
    by_order: bool = False,
    weights: str | None = None,
    user_code: UserCode | None = None,
) -> Fit:
    """Build the network with the outputs and channels of the file's tensors, and load them.

    Args:
        outputs, channels: a guess, which can avoid building it twice.
        by_order: match tensors by their position in the file instead of by name.
        weights: which of the file's sets of weights to take, by (a part of) its name.
        user_code: as in `kgen.zoo.zoo.build`.
    Raises ZooError for an unknown architecture, or unknown weights.
    """
    network = zoo.build(architecture, shape, 0, channels, outputs, side, user_code=user_code)
    expected = network.state_dict()
    placed = placing.placements(sets, expected)
    if (placement := placing.choose(placed, weights)) is None:
        choices = [p.name or ". (the top level)" for p in placed]
        raise zoo.ZooError(
            f"{weights!r} does not match exactly one of the file's sets of weights:"
            f" {', '.join(choices)}. Omit --weights, or name one of them.",
            code="unknown-weights",
            name=weights,
            choices=choices,
        )
    found = _in_order(placement, network) if by_order else placement.tensors
    first_conv = next((name for name, t in expected.items() if t.ndim == 4), "")
    detected = (
        _axis_length(found.get(_classifier(network)), 0, outputs),
        _axis_length(found.get(first_conv), 1, channels),
    )
    if detected != (outputs, channels):
        outputs, channels = detected
        network = zoo.build(architecture, shape, 0, channels, outputs, side, user_code=user_code)
        expected = network.state_dict()
    loadable = {name: t for name, t in found.items() if name in expected}
    result = Fit(
        network,
        outputs,
        channels,
        [
            f"{name} ({format_shape(t)})"
            for name, t in expected.items()
            if name not in found and not name.endswith(COUNTER)
        ],
        [
            f"{name} ({format_shape(t)})"
            for name, t in found.items()
            if name not in expected and not name.endswith(COUNTER)
        ],
        [
            f"{name} ({format_shape(t)}, expected {format_shape(expected[name])})"
            for name, t in loadable.items()
            if not _is_compatible(t, expected[name])
        ],
        placement,
        tuple(p.name for p in placed),
        _classifier(network),
        frozenset().union(
            *(placement.unused.keys() - p.unused.keys() for p in placed if p.keys == placement.keys)
        ),
    )
    if result.complete:
        network.load_state_dict(loadable, strict=False)
    return result


def _in_order(placement: Placement, network: Network) -> dict[str, Tensor]:
    """The file's tensors under the network's names, by position.

    The classifier is last in nearly every file, but our own networks create it first, so the better
    of the two orders counts.
    """
    expected = {n: t for n, t in network.state_dict().items() if not n.endswith(COUNTER)}
    classifier = _classifier(network).rpartition(".")[0] + "."
    classifier_last = sorted(expected, key=lambda name: name.startswith(classifier))  # stable

    def misfits(names: list[str]) -> int:  # the number of classes, on axis 0, is the file's
        pairs = zip(names, placement.in_order)
        return sum(expected[name].shape[1:] != t.shape[1:] for name, t in pairs)

    names = min(list(expected), classifier_last, key=misfits)
    surplus = {f"number {i + 1}": t for i, t in enumerate(placement.in_order) if i >= len(names)}
    return dict(zip(names, placement.in_order)) | surplus


class NormalizeLayer(NamedTuple):
    """A layer saved with the network that normalizes its images."""

    names: tuple[str, str]
    """The names of its two tensors in the file."""
    mean: tuple[float, ...]
    """For pixels in [0,1], like `std`."""
    std: tuple[float, ...]


def normalize_layer(fit: Fit) -> NormalizeLayer | None:
    """The Normalize layer stored with the network, if there is one with a value per channel."""
    others = fit.placement.unused
    for name, mean in others.items():
        if not (match := NORMALIZE.fullmatch(name)):
            continue
        start = name.removesuffix(match[1])
        other = next((start + s for s in ("std", "sigma") if start + s in others), "")
        if not other or mean.numel() not in (1, fit.channels):
            continue
        values = [others[n].flatten().double().tolist() for n in (name, other)]
        if len(values[0]) != len(values[1]):
            continue
        if max(values[0]) > 2 or max(values[1]) > 2:  # of pixels up to 255
            values = [[v / 255 for v in row] for row in values]
        if all(0 < v <= 2 for v in values[1]) and all(-1 <= v <= 2 for v in values[0]):
            repeat = fit.channels // mean.numel()
            mean_, std = (tuple(round(v, 6) for v in row) * repeat for row in values)
            return NormalizeLayer((name, other), mean_, std)
    return None


def unused(fit: Fit) -> list[str]:
    """The tensors stored with the network that it does not use."""
    return [
        f"{name} ({format_shape(t)})"
        for name, t in fit.placement.unused.items()
        if not name.endswith(COUNTER)
    ]


def suspicious(fit: Fit) -> list[str]:
    """Unused tensors that another network could use: those under the network's own prefix, and
    those of heads.
    """
    layer = normalize_layer(fit)
    heads = tuple(f"{head.part}." for head in _heads(fit))
    return [
        name
        for name in fit.placement.unused
        if (name.startswith(fit.placement.prefix) or name.startswith(heads))
        and name.rpartition(".")[2] not in (COUNTER, *placing.PROFILER)
        and not checkpoints.words(name) & MEASURES
        and not (layer and name in layer.names)
    ]


class Head(NamedTuple):
    """Unused layers whose input has the width of the network's outputs or features."""

    part: str
    """What their names start with."""
    weight: str
    """Name and shape of the weight with that input."""
    follows: bool
    """Whether its input is the network's outputs rather than its features."""
    classifies: bool
    """Whether it has as many outputs as the network."""


def other_head(fit: Fit) -> Head | None:
    """Unused layers that follow the network, or a second classifier: its outputs may not be the
    logits.
    """
    return next((head for head in _heads(fit) if head.follows or head.classifies), None)


def _heads(fit: Fit) -> list[Head]:
    """The parts of the file without convolutions that could take the network's outputs or features.

    A part that has convolutions is another network.
    """
    classifier = fit.network.state_dict().get(fit.classifier)
    features = 0 if classifier is None else classifier.shape[1]
    parts: dict[str, dict[str, Tensor]] = {}
    for name, t in fit.placement.unused.items():
        if name not in fit.chosen_otherwise:
            parts.setdefault(_part(name, fit.placement.prefix), {})[name] = t
    found = []
    for part, tensors in parts.items():
        weights = {n: t for n, t in tensors.items() if t.ndim == 2 and n.endswith(".weight")}
        if any(t.ndim > 2 for t in tensors.values()) or checkpoints.words(part) & MEASURES:
            continue
        inner = {t.shape[0] for t in weights.values()}
        inputs = {n: t.shape[1] for n, t in weights.items()}
        # the first layer, unless all have an input as wide as another's output
        first = {n: width for n, width in inputs.items() if width not in inner} or inputs
        for width in (features, fit.outputs):
            if name := next((n for n, w in first.items() if w == width), ""):
                text = f"{name} ({format_shape(weights[name])})"
                found.append(Head(part, text, width == fit.outputs, fit.outputs in inner))
                break
    return found


def _part(name: str, prefix: str) -> str:
    """The name up to where it differs from the prefix: "model.head.weight" beside
    "model.backbone." → "model.head".
    """
    pairs = zip(name.split("."), prefix.split("."))
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return ".".join(name.split(".")[: common + 1])


def _classifier(network: Network) -> str:
    """Name of the weight of the last layer that outputs logits; empty if it cannot be
    determined.
    """
    head = network.get_classifier()
    head = head[0] if isinstance(head, tuple) else head  # distilled transformers have two
    layers = [
        m
        for m in head.modules()
        if isinstance(weight := getattr(m, "weight", None), Tensor) and weight.ndim >= 2
    ]
    names = {id(m): name for name, m in network.named_modules()}
    return f"{names.get(id(layers[-1]), '')}.weight" if layers else ""


def _axis_length(tensor: Tensor | None, axis: int, default: int) -> int:
    return (
        tensor.shape[axis]
        if tensor is not None and tensor.ndim > axis and 0 < tensor.shape[axis] <= 1_000_000
        else default
    )


def _is_compatible(found: Tensor, expected: Tensor) -> bool:
    return (
        found.shape == expected.shape and found.is_floating_point() == expected.is_floating_point()
    )


def format_shape(tensor: Tensor) -> str:
    text = " × ".join(map(str, tensor.shape)) or "one number"
    return (
        text
        if tensor.is_floating_point()
        else f"{text} of {str(tensor.dtype).removeprefix('torch.')}"
    )
