"""The cost of a network: parameters, multiply–accumulates per image, bytes of its tensors.

Independent of teachers, students and runs; leaves the network unchanged.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import nn


class Cost(NamedTuple):
    parameters: int
    macs: int | None
    """Multiply–accumulates of one image's forward pass; None if the network cannot be traced
    without data.
    """
    bytes: int
    """Total size of its tensors as stored."""


def cost(network: nn.Module, channels: int, side: int) -> Cost:
    """The cost of one image [1,channels,side,side].

    torch counts matrix products and convolutions, in eval mode.
    """
    tensors = [*network.parameters(), *network.buffers()]
    return Cost(
        sum(p.numel() for p in network.parameters()),
        _macs(network, channels, side),
        sum(t.nbytes for t in tensors),
    )


def _macs(network: nn.Module, channels: int, side: int) -> int | None:
    """Count on a copy without data: no kernel runs, and mode, gradients and RNG states stay
    unchanged.
    """
    from torch.utils.flop_counter import (
        FlopCounterMode,
    )  # imports sympy, 1.5 s, unless an optimizer already has

    meta_tensors = {
        id(t): torch.empty_like(t, device="meta")
        for t in (*network.parameters(), *network.buffers())
    }
    clone = copy.deepcopy(network, meta_tensors).eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            clone(torch.empty(1, channels, side, side, device="meta"))
    except (NotImplementedError, RuntimeError):  # an operation that depends on values
        return None
    return counter.get_total_flops() // 2
