"""What a network costs whoever uses it: parameters, multiply–accumulates of one image, bytes of its
tensors.

It knows nothing of teachers, students or runs, and leaves the network that it counts alone.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import nn


class Cost(NamedTuple):
    parameters: int
    macs: int | None
    """Multiply–accumulates of one image's forward; None for a network that cannot be followed
    without its data.
    """
    bytes: int
    """Of all its tensors, as they are stored."""


def cost(network: nn.Module, channels: int, side: int) -> Cost:
    """What one image [1,channels,side,side] costs; torch counts, in eval mode, products of matrices
    and convolutions.
    """
    tensors = [*network.parameters(), *network.buffers()]
    return Cost(
        sum(p.numel() for p in network.parameters()),
        _macs(network, channels, side),
        sum(t.nbytes for t in tensors),
    )


def _macs(network: nn.Module, channels: int, side: int) -> int | None:
    """Counted on a twin without data: no kernel runs, and mode, gradients and random states stay as
    they are.
    """
    from torch.utils.flop_counter import (
        FlopCounterMode,
    )  # it brings sympy, 1.5 s, unless an optimiser has done so

    hollow = {
        id(t): torch.empty_like(t, device="meta")
        for t in (*network.parameters(), *network.buffers())
    }
    twin = copy.deepcopy(network, hollow).eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            twin(torch.empty(1, channels, side, side, device="meta"))
    except (NotImplementedError, RuntimeError):  # an operation that looks at values
        return None
    return counter.get_total_flops() // 2
