"""The paper's convolutional networks that timm lacks, with timm's convention.

Independent of distillation.

Written from the publications: CIFAR's first residual networks (He et al. 2015), wide ones
(Zagoruyko & Komodakis 2016), VGG's configuration A with batch norm (Simonyan & Zisserman 2014),
sized for CIFAR, and a plain CNN for images of more than a million pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from kgen.nets.small_cnn import PooledLinear, ResidualBlock


class _Classifier(PooledLinear):
    """Base class: creates the Linear first, with zero bias."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.num_features = features
        self.fc = nn.Linear(features, classes)
        nn.init.zeros_(self.fc.bias)


class ZeroPadded(nn.Module):
    """A shortcut without weights (option A).

    Every second pixel where the map shrinks, channels zero-padded, half of them in front.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride, self.padding = stride, (out_channels - in_channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding)
        )


def _padded_group(in_channels: int, out_channels: int, stride: int, blocks: int) -> nn.Sequential:
    shapes = [
        (in_channels, out_channels, stride),
        *[(out_channels, out_channels, 1)] * (blocks - 1),
    ]
    return nn.Sequential(*(ResidualBlock(*shape, shortcut=ZeroPadded(*shape)) for shape in shapes))


class CifarResNet(PooledLinear):
    """ResNet-depth for CIFAR (He et al. 2015, section 4.2): three groups of (depth − 2)/6 blocks
    with 16, 32 and 64 channels.

    32×32 in, 8×8 map out. Tensors are named as in Y. Idelbayev's published weights (`linear` for
    the classifier).
    """

    def __init__(self, depth: int, channels: int = 3, classes: int = 10):
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest:
            raise ValueError(f"A residual network for CIFAR has 6n + 2 layers, not {depth}.")
        self.num_features = 64
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            _padded_group(*shape, blocks) for shape in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        )
        self.linear = nn.Linear(64, classes)
        self.initialize()

    def get_classifier(self) -> nn.Linear:
        return self.linear

    def forward_features(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3×3 convolutions.

    The shortcut branches off after the first ReLU if the shape changes (a 1×1 convolution),
    otherwise before the batch norm.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            if stride != 1 or in_channels != out_channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        return self.conv2(F.relu(self.bn2(self.conv1(y)))) + shortcut


class WideResNet(_Classifier):
    """WRN-depth-width: three groups of (depth − 4)/6 blocks with 16, 32 and 64 times `width`
    channels.

    32×32 in, 8×8 map out.
    """

    def __init__(self, depth: int, width: int, channels: int = 3, classes: int = 10):
        super().__init__(64 * width, classes)
        blocks, rest = divmod(depth - 4, 6)
        if rest:
            raise ValueError(f"A wide residual network has 6n + 4 layers, not {depth}.")
        self.stem = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        layers, in_channels = [], 16
        for group in range(3):
            out_channels = 16 * 2**group * width
            for i in range(blocks):
                layers.append(WideBlock(in_channels, out_channels, 2 if group and i == 0 else 1))
                in_channels = out_channels
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(in_channels)
        self.initialize()

    def forward_features(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.blocks(self.stem(x))))


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    """A 3×3 convolution, batch norm, ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


class VGG11(_Classifier):
    """Configuration A with batch norm and one Linear after global pooling, as is usual for 32×32
    images.

    Only the first three stages halve the map: 32×32 in, 4×4 map out (five halvings would leave a
    single cell, and none at 28).
    """

    STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))

    def __init__(self, channels: int = 3, classes: int = 10):
        super().__init__(512, classes)
        layers, in_channels = [], channels
        for stage, widths in enumerate(self.STAGES):
            for out_channels in widths:
                layers += _conv(in_channels, out_channels)
                in_channels = out_channels
            if stage < 3:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.initialize()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.layers(x)


class PlainCNN(_Classifier):
    """Four convolutions of stride 2, all but the first followed by one of stride 1.

    112×112 in, 7×7 map out. For images of 1200×1600 and 1500×1500; no shortcuts, 1 million
    parameters.
    """

    WIDTHS = (32, 64, 128, 256)

    def __init__(self, channels: int = 3, classes: int = 10):
        super().__init__(self.WIDTHS[-1], classes)
        layers, in_channels = [], channels
        for out_channels in self.WIDTHS:
            layers += _conv(in_channels, out_channels, 2)
            if in_channels != channels:
                layers += _conv(out_channels, out_channels)
            in_channels = out_channels
        self.layers = nn.Sequential(*layers)
        self.initialize()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.layers(x)
