"""Names → networks of the paper, for teachers and students alike, with random weights.

All follow timm's convention: forward_features → last map [B,k,h,w] (tokens for a transformer), forward_head(pre_logits=)
→ embedding or logits, get_classifier → the last Linear. Nothing is downloaded; torch and timm are imported when a network
is built, so that the names cost nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def _timm(name: str, channels: int, classes: int) -> nn.Module:
    """timm's network, untrained; a transformer takes any number of patches (kgen.vit)."""
    import timm

    from kgen.vit import windowed

    return windowed(timm.create_model(name, pretrained=False, in_chans=channels, num_classes=classes))


def _for_small_images(name: str, channels: int, classes: int) -> nn.Module:
    """timm's ResNet with a 3×3 stem of stride 1 and no max-pool: 32×32 in, 4×4 map out (as CIFAR's ResNets are built)."""
    from torch import nn

    network = _timm(name, channels, classes)
    network.conv1 = nn.Conv2d(channels, network.conv1.out_channels, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network


def _wide(depth: int, width: int, channels: int, classes: int) -> nn.Module:
    from kgen.convnets import WideResNet

    return WideResNet(depth, width, channels, classes)


def _vgg11(channels: int, classes: int) -> nn.Module:
    from kgen.convnets import VGG11

    return VGG11(channels, classes)


def _cnn(channels: int, classes: int) -> nn.Module:
    from kgen.convnets import PlainCNN

    return PlainCNN(channels, classes)


_TIMM = ("efficientnet_lite0", "resnet18", "resnet34", "resnet50", "mobilenetv2_100", "vgg11_bn", "deit_tiny_patch16_224", "deit_base_patch16_224")
_BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    **{name: functools.partial(_timm, name) for name in _TIMM},
    "resnet18-cifar": functools.partial(_for_small_images, "resnet18"),
    "resnet34-cifar": functools.partial(_for_small_images, "resnet34"),
    **{f"wrn-{d}-{k}": functools.partial(_wide, d, k) for d, k in ((40, 2), (40, 1), (16, 2), (16, 1))},
    "vgg11-cifar": _vgg11,
    "cnn": _cnn,
}
NAMES = tuple(_BUILDERS)


def build(name: str, channels: int = 3, classes: int = 10) -> nn.Module:
    """A network of that name. Draws initial weights from torch's global generator (see kgen.networks.seeded).

    Raises KeyError for a name that is not in NAMES.
    """
    return _BUILDERS[name](channels, classes)
