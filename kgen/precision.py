"""The precision and memory format of each network in a run, and which is the fastest here.

The format is an attribute of the network, so copies compute like their original. Only a network's
own forward and backward pass may run in bfloat16: weights, BatchNorm statistics, losses and
optimizers stay in single precision.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from kgen.recipe.recipe import Recipe, RecipeError

PIXELS = 2**16
"""Pixels of the images used to compare formats: 5 of 112 × 112."""
MIN_SPEEDUP = 1.1
"""A format is selected only if it is at least this many times as fast as single precision in NCHW.
"""


Precision = Literal["fp32", "bf16"]
Layout = Literal["nchw", "channels_last"]


class Format(NamedTuple):
    """Precision and memory format of a network."""

    precision: Precision = "fp32"
    memory_format: Layout = "nchw"

    @property
    def layout(self) -> torch.memory_format:
        return (
            torch.channels_last
            if self.memory_format == "channels_last"
            else torch.contiguous_format
        )


PLAIN = Format()
NETWORKS = ("teacher", "student", "generator")
_ATTRIBUTE = "compute_format"


def format_of(network: nn.Module) -> Format:
    return getattr(network, _ATTRIBUTE, PLAIN)


def set_format(network: nn.Module, format: Format) -> None:
    """Set the format in which the network and its copies compute (through `apply`)."""
    setattr(network, _ATTRIBUTE, format)
    network.to(memory_format=format.layout)


def apply(network: nn.Module, function: Callable[..., Tensor], x: Tensor, *args: Any) -> Tensor:
    """function(x, *args) in the network's format; the result is in single precision."""
    format = format_of(network)
    if format == PLAIN:
        return function(x, *args)
    if x.ndim == 4:
        x = x.contiguous(memory_format=format.layout)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=format.precision == "bf16"):
        return function(x, *args).float()


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def candidates(recipe: Recipe, device: torch.device) -> list[Format]:
    """The formats that a recipe allows on a device, PLAIN first if it is among them.

    RecipeError if there are none.
    """
    precisions: list[Precision] = ["fp32", "bf16"] if has_bf16(device) else ["fp32"]
    layouts: list[Layout] = ["nchw", "channels_last"] if device.type != "mps" else ["nchw"]
    if recipe.precision != "auto":
        if recipe.precision == "bf16" and device.type == "mps":
            raise RecipeError(
                "Recipe field 'precision' is 'bf16', which is not supported on MPS; use 'fp32' or"
                " 'auto'.",
                code="unsupported-precision",
                field="precision",
                value="bf16",
            )
        precisions = [recipe.precision]
    if recipe.memory_format != "auto":
        layouts = [recipe.memory_format]
    return [Format(p, m) for p in precisions for m in layouts]


def fastest(
    formats: list[Format], network: nn.Module, step: Callable[[nn.Module], Tensor]
) -> Format:
    """The format in which forward and backward of `step(a copy of the network)` are fastest.

    Uses the better of two timings after a warm-up. The network itself is not modified.
    """
    if len(formats) == 1:
        return formats[0]
    seconds = {}
    for format in formats:
        clone = copy.deepcopy(network)
        set_format(clone, format)
        times = []
        for _ in range(3):
            finish_work()
            start = time.perf_counter()
            step(clone).sum().backward()
            finish_work()
            times.append(time.perf_counter() - start)
        seconds[format] = min(times[1:])
    return choose(seconds)


def finish_work() -> None:
    """Wait for the GPU to finish its queued work, so that exactly that work is timed."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def choose(seconds: dict[Format, float]) -> Format:
    """The fastest format, or PLAIN if it is available and nothing is MIN_SPEEDUP times as fast."""
    best = min(seconds, key=seconds.__getitem__)
    return best if PLAIN not in seconds or seconds[PLAIN] >= MIN_SPEEDUP * seconds[best] else PLAIN


def to_record(formats: dict[str, Format]) -> dict[str, list[str]]:
    """The representation in run.json."""
    return {name: list(format) for name, format in formats.items()}


def from_record(record: dict[str, list[str]] | None) -> dict[str, Format]:
    """Formats from run.json; runs from earlier versions computed in PLAIN."""
    return {name: Format(*(record or {}).get(name, PLAIN)) for name in NETWORKS}
