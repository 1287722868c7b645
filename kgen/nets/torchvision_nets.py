"""torchvision's convolutional classifiers with timm's convention and torchvision's tensor names.

No weights are downloaded. torchvision has no API for the last map, but all of its networks define
their layers in execution order: layers up to the map, a pooling, a classifier. This module splits
them there.
"""

from __future__ import annotations

import re

import torch.nn.functional as F
from torch import Tensor, nn

from kgen.nets.network import Network

PREFIX = "torchvision:"
FAMILIES = (
    "resnet",
    "wide_resnet",
    "resnext",
    "regnet",
    "vgg",
    "mobilenet_v2",
    "mobilenet_v3",
    "efficientnet_",
    "convnext_",
    "densenet",
)
"""Name prefixes of networks that consist of layers, pooling and classifier."""
_HEAD = ("avgpool", "fc", "classifier")


def names() -> list[str]:
    """The networks that `build` knows, without prefix."""
    from torchvision import models

    return [name for name in models.list_models(module=models) if name.startswith(FAMILIES)]


class TorchvisionNet(Network):
    """A torchvision network, split before its global pooling.

    It adopts the layers, so a state dict has torchvision's names.

    Args:
        network: defines its layers in execution order, the head's under names in `_HEAD`.
        act: apply ReLU after the last layer (DenseNet does so outside of its layers).
    """

    def __init__(self, network: nn.Module, final_relu: bool = False):
        super().__init__()
        for name, layer in network.named_children():
            self.add_module(name, layer)
        self.final_relu = final_relu
        self.num_features = self.get_classifier().in_features

    def forward_features(self, x: Tensor) -> Tensor:
        """[B,c,e,e] → the last map [B,k,h,w]."""
        for name, layer in self.named_children():
            x = x if name in _HEAD else layer(x)
        return F.relu(x) if self.final_relu else x

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """[B,k,h,w] → input of the last Linear [B,d] (`pre_logits`) or logits [B,K]."""
        pool = dict(self.named_children()).get("avgpool", nn.AdaptiveAvgPool2d(1))
        x = pool(features)
        *before, last = self._head()
        if not any(
            isinstance(layer, nn.Flatten) for layer in before
        ):  # ConvNeXt flattens after its own norm
            x = x.flatten(1)
        for layer in before:
            x = layer(x)
        return x if pre_logits else last(x)

    def get_classifier(self) -> nn.Linear:
        last = self._head()[-1]
        assert isinstance(last, nn.Linear)
        return last

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def _head(self) -> list[nn.Module]:
        layers = dict(self.named_children())
        head = layers["fc"] if "fc" in layers else layers["classifier"]
        return list(head) if isinstance(head, nn.Sequential) else [head]


def build(name: str, channels: int = 3, classes: int = 10) -> TorchvisionNet:
    """torchvision's network by name (without prefix; a weights tag after a dot is ignored),
    untrained.

    Initial weights come from torch's global generator. KeyError for a name that is not in
    `names()`.
    """
    from torchvision import models

    name = name.partition(".")[0]
    if name not in names():
        raise KeyError(name)
    network = models.get_model(name, weights=None, num_classes=classes)
    if channels != 3:
        _replace_first_conv(network, channels)
    return TorchvisionNet(network, final_relu=name.startswith("densenet"))


def _replace_first_conv(network: nn.Module, channels: int) -> None:
    """Replace the first convolution with one for this many channels (torchvision's take three)."""
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        _pair(old.kernel_size),
        _pair(old.stride),
        old.padding if isinstance(old.padding, str) else _pair(old.padding),
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    network.set_submodule(name, new)


def current_name(tensor: str) -> str:
    """The current name of a published tensor: DenseNet's files predate a renaming (norm.1 →
    norm1).
    """
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", tensor)


def _pair(size: tuple[int, ...]) -> tuple[int, int]:
    height, width = size
    return height, width
