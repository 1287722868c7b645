"""Our own small convolutional networks, for the bundled teachers and students.

They follow timm's convention (`forward_features`, `forward_head`, `get_classifier`), so that
`kgen.teachers` handles them like timm's networks. Independent of distillation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgen.nets.network import Network

P = ParamSpec("P")
M = TypeVar("M", bound=nn.Module)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm and a shortcut; the first may halve the map.

    `shortcut`: by default the identity, or a 1×1 convolution with batch norm if the shape changes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        shortcut: nn.Module | None = None,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut or nn.Identity()
        if shortcut is None and (stride != 1 or in_channels != out_channels):
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class PooledLinear(Network):
    """A last map, global average pooling, one Linear.

    Subclasses provide `forward_features` and `fc`, or another `get_classifier`.
    """

    fc: nn.Linear

    def initialize(self) -> None:
        """Initialize convolutions for ReLU (He et al. 2015)."""
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """[B,k,h,w] → pooled embedding [B,k] (`pre_logits`) or logits [B,K]."""
        pooled = features.mean((2, 3))
        return pooled if pre_logits else self.get_classifier()(pooled)

    def get_classifier(self) -> nn.Linear:
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


class SmallResNet(PooledLinear):
    """Stem, then one stage at half and one at a quarter of the input's side, pooling, Linear.

    28×28 in, 7×7 map out; 32×32 in, 8×8 map out. The stem has stride 2 because full-resolution maps
    with few channels are limited by memory bandwidth, not by arithmetic, on a CPU.

    Args:
        width: channels of the stem and of the first stage; the second stage has twice as many.
        blocks: residual blocks in each of the two stages.
        deep_stem: half as many channels at full resolution before the stem's stride, for images
            with more detail.
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 10,
        width: int = 32,
        blocks: tuple[int, int] = (2, 2),
        deep_stem: bool = False,
    ):
        super().__init__()

        def convolution(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
            return [
                nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]

        full = convolution(channels, width // 2, 1) if deep_stem else []
        self.stem = nn.Sequential(
            *full, *convolution(width // 2 if deep_stem else channels, width, 2)
        )
        first = [ResidualBlock(width, width) for _ in range(blocks[0])]
        second = [
            ResidualBlock(width if i == 0 else 2 * width, 2 * width, 2 if i == 0 else 1)
            for i in range(blocks[1])
        ]
        self.stages = nn.Sequential(*first, *second)
        self.num_features = 2 * width
        self.fc = nn.Linear(self.num_features, classes)
        self.initialize()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))


class FromPixels(nn.Module):
    """A network with its own normalization: pixels in [0,1] → logits.

    `mean` and `std` have one value per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """[B,c,e,e] in [0,1] → logits [B,K]"""
        return self.network((images - self.mean) / self.std)


def seeded(build: Callable[P, M], seed: int, *args: P.args, **kwargs: P.kwargs) -> M:
    """Build a module whose initial weights depend only on `seed`; the global RNG stays unchanged.

    torch.nn initializers draw from the global generator; only this function seeds it for them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device
        return build(*args, **kwargs)
