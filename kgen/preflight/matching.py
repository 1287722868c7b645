"""Matches a user's weights file to a network: how many outputs and channels, which tensor goes
where.

Reports what fits and what does not; `kgen.preflight.examination` draws the conclusions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from kgen.nets.network import Network
from kgen.zoo import zoo

COUNTER = "num_batches_tracked"
"""BatchNorm's counter of training steps: older files lack it, and a frozen network does not need
it.
"""

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

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)


def resolve_shape(architecture: str, about: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(architecture name, extra arguments of one of our own); `spec` is the file's card, if any.

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
                f"The card in the file says {str(shape)[:80]} for a {architecture}; expected whole"
                f" numbers up to {MAX_SIZE}. Name an architecture with --arch.",
                code="invalid-card",
            )
        return architecture, shape
    return architecture, {}


def fit(
    tensors: dict[str, Tensor],
    architecture: str,
    shape: dict[str, Any],
    *,
    outputs: int,
    channels: int,
    side: int,
    by_order: bool,
) -> Fit:
    """Build the network with the outputs and channels of the file's tensors, and load them.

    Args:
        outputs, channels: a guess, which can avoid building it twice.
        by_order: match tensors by their position in the file instead of by name.
    Raises ZooError for an unknown architecture.
    """
    network = zoo.build(architecture, shape, 0, channels, outputs, side)
    expected = network.state_dict()
    found = _rename_tensors(tensors, expected, by_order)
    first_conv = next((name for name, t in expected.items() if t.ndim == 4), "")
    detected = (
        _axis_length(found.get(_classifier(network)), 0, outputs),
        _axis_length(found.get(first_conv), 1, channels),
    )
    if detected != (outputs, channels):
        outputs, channels = detected
        network = zoo.build(architecture, shape, 0, channels, outputs, side)
        expected = network.state_dict()
    loadable = {name: t for name, t in found.items() if name in expected}
    result = Fit(
        network,
        outputs,
        channels,
        [
            f"{name} ({_shape(t)})"
            for name, t in expected.items()
            if name not in found and not name.endswith(COUNTER)
        ],
        [
            f"{name} ({_shape(t)})"
            for name, t in found.items()
            if name not in expected and not name.endswith(COUNTER)
        ],
        [
            f"{name} ({_shape(t)}, expected {_shape(expected[name])})"
            for name, t in loadable.items()
            if not _is_compatible(t, expected[name])
        ],
    )
    if result.complete:
        network.load_state_dict(loadable, strict=False)
    return result


def _rename_tensors(
    tensors: dict[str, Tensor], expected: dict[str, Tensor], by_order: bool
) -> dict[str, Tensor]:
    """The file's tensors under the network's names, as far as they match."""
    if by_order:
        names = [name for name in expected if not name.endswith(COUNTER)]
        values = [t for name, t in tensors.items() if not name.endswith(COUNTER)]
        surplus = {f"number {i + 1}": t for i, t in enumerate(values) if i >= len(names)}
        return dict(zip(names, values)) | surplus
    prefixes = {name.partition(".")[0] + "." for name in expected}
    if len(prefixes) == 1 and not any(name.startswith(tuple(prefixes)) for name in tensors):
        return {
            f"{next(iter(prefixes))}{name}": t for name, t in tensors.items()
        }  # our wrapper around another library's network
    return tensors


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


def _shape(tensor: Tensor) -> str:
    text = " × ".join(map(str, tensor.shape)) or "one number"
    return (
        text
        if tensor.is_floating_point()
        else f"{text} of {str(tensor.dtype).removeprefix('torch.')}"
    )
