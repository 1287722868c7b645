"""Networks by name, for teachers and students, with random weights: the paper's, timm's,
torchvision's.

All follow timm's convention: forward_features → last map [B,k,h,w] (tokens for a transformer),
forward_head(pre_logits=) → embedding or logits, get_classifier → the last Linear. Nothing is
downloaded; torch and timm are imported only when a network is built, so that listing names is
cheap.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kgen.errors import KGenError
from kgen.nets.arguments import ELSEWHERE, is_allowed, not_taken, to_text
from kgen.phrases import count, short_message

if TYPE_CHECKING:
    from kgen.nets.network import Network


def _timm(
    name: str, channels: int, classes: int, arguments: Mapping[str, Any] = MappingProxyType({})
) -> Network:
    """timm's network, untrained; a transformer accepts any number of patches (kgen.nets.vit)."""
    import timm

    from kgen.nets.network import of_timm
    from kgen.nets.vit import windowed

    network = timm.create_model(
        name, pretrained=False, in_chans=channels, num_classes=classes, **arguments
    )
    return windowed(of_timm(network))


def _for_small_images(name: str, channels: int, classes: int) -> Network:
    """timm's ResNet with a 3×3 stem of stride 1 and no max-pool, as is usual for CIFAR.

    32×32 in, 4×4 map out.
    """
    from torch import nn

    network = _timm(name, channels, classes)
    conv1 = network.conv1
    assert isinstance(conv1, nn.Conv2d)
    network.conv1 = stem = nn.Conv2d(channels, conv1.out_channels, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network


def _cifar_resnet(depth: int, channels: int, classes: int) -> Network:
    from kgen.nets.paper_cnns import CifarResNet

    return CifarResNet(depth, channels, classes)


def _wide(depth: int, width: int, channels: int, classes: int) -> Network:
    from kgen.nets.paper_cnns import WideResNet

    return WideResNet(depth, width, channels, classes)


def _vgg11(channels: int, classes: int) -> Network:
    from kgen.nets.paper_cnns import VGG11

    return VGG11(channels, classes)


def _cnn(channels: int, classes: int) -> Network:
    from kgen.nets.paper_cnns import PlainCNN

    return PlainCNN(channels, classes)


def _slim(layers: tuple[int, ...], channels: int, classes: int) -> Network:
    """timm's ResNet with half the channels and a last stage that does not halve the map.

    128×128 in, 8×8 map out.
    """
    from timm.models.resnet import BasicBlock, ResNet

    from kgen.nets.network import of_timm

    network = ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm's annotation says instance, but means class
        layers,
        num_classes=classes,
        in_chans=channels,
        channels=(32, 64, 128, 256),
        stem_width=16,
        stem_type="deep",
        avg_down=True,
        output_stride=16,
    )
    return of_timm(network)


_TIMM = (
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenetv2_100",
    "vgg11_bn",
    "deit_tiny_patch16_224",
    "deit_base_patch16_224",
)
_BUILDERS: dict[str, Callable[[int, int], Network]] = {
    **{name: functools.partial(_timm, name) for name in _TIMM},
    "resnet18-cifar": functools.partial(_for_small_images, "resnet18"),
    "resnet34-cifar": functools.partial(_for_small_images, "resnet34"),
    "resnet50-cifar": functools.partial(_for_small_images, "resnet50"),
    **{f"resnet{d}-cifar-a": functools.partial(_cifar_resnet, d) for d in (20, 32, 44, 56, 110)},
    **{
        f"wrn-{d}-{k}": functools.partial(_wide, d, k)
        for d, k in ((40, 2), (40, 1), (16, 2), (16, 1))
    },
    "resnet18-slim": functools.partial(_slim, (2, 2, 2, 2)),
    "resnet10-slim": functools.partial(_slim, (1, 1, 1, 1)),
    "vgg11-cifar": _vgg11,
    "cnn": _cnn,
}
NAMES = tuple(_BUILDERS)
"""The short list for display; `build` knows more than a thousand other names."""
SHOWN = 6
"""How many names from the short list an error message shows."""


class ArchitectureError(KGenError, ValueError):
    """An unknown name or an unusable network; the message is one sentence."""

    code = "architecture"


def known(name: str) -> bool:
    """Whether `build` knows this name. Imports timm for names not in NAMES."""
    if name in _BUILDERS or name.startswith(
        "torchvision:"
    ):  # a wrong torchvision name gets its own message
        return True
    import timm

    return timm.is_model(name.removeprefix("timm:"))


def build(
    name: str,
    channels: int = 3,
    classes: int = 10,
    side: int = 224,
    arguments: Mapping[str, Any] | None = None,
) -> Network:
    """Build a network by name. Raises ArchitectureError.

    One of NAMES, a timm classification network (`convnext_tiny`, optionally with a weights tag
    after a dot), or `torchvision:NAME`. Initial weights come from torch's global generator (see
    `kgen.nets.small_cnn.seeded`). `arguments` go to timm's constructor. A network not in NAMES, or
    with arguments, is first tried on empty images of `side` pixels.
    """
    if name in _BUILDERS and not arguments:
        return _BUILDERS[name](channels, classes)
    from kgen.nets.compatibility import incompatibility

    network = _from_libraries(name, channels, classes, arguments or {})
    if reason := incompatibility(network, channels, classes, side):
        raise ArchitectureError(
            f"Architecture {name!r} cannot be used: {reason}; choose another, for example"
            f" {NAMES[0]!r}."
        )
    return network


def _from_libraries(
    name: str, channels: int, classes: int, arguments: Mapping[str, Any]
) -> Network:
    """A torchvision or timm network that is not in NAMES, or has arguments."""
    from kgen.nets.torchvision_nets import PREFIX
    from kgen.nets.torchvision_nets import build as build_torchvision

    if arguments and (name.startswith(PREFIX) or name in _BUILDERS and name not in _TIMM):
        raise ArchitectureError(
            not_taken(name, arguments),
            code="unsupported-arguments",
            name=name,
        )
    if name.startswith(PREFIX):
        try:
            return build_torchvision(name.removeprefix(PREFIX), channels, classes)
        except KeyError:
            raise ArchitectureError(_no_torchvision(name)) from None
    if not known(name):
        raise ArchitectureError(unknown("architecture", name, NAMES))
    own_name = name.removeprefix("timm:")
    try:
        return _timm(own_name, channels, classes, arguments)
    except Exception as error:
        if arguments:  # they can cause any error
            raise ArchitectureError(
                f"timm cannot build {name!r} with {to_text(arguments)}: {short_message(error)}."
                f"{_meant(own_name, arguments)}",
                code="invalid-arguments",
                name=name,
            ) from None
        if not isinstance(error, (RuntimeError, TypeError, AssertionError)):
            raise
        raise ArchitectureError(  # an unknown tag; unsupported channels or classes
            f"timm cannot build {name!r} for {count(channels, 'channel')} and"
            f" {count(classes, 'class')} ({error})."
        ) from None


def _meant(name: str, arguments: Mapping[str, Any]) -> str:
    """What an unknown argument of timm's constructor probably means: the nearest one that can be
    set, or what sets it instead; otherwise, all that can be set.
    """
    import timm
    import torch

    try:
        with torch.device("meta"):
            takes = [*inspect.signature(type(timm.create_model(name)).__init__).parameters][1:]
    except Exception:  # some constructors compute with values
        return ""
    allowed = [word for word in takes if is_allowed(word)]
    unknown_names = [word for word in arguments if word not in takes]
    for word in unknown_names:
        for match in difflib.get_close_matches(word, [*allowed, *ELSEWHERE], 1, 0.6):
            if match in ELSEWHERE:
                return f" Leave out {word!r}: {match} follows from {ELSEWHERE[match]}."
            return f" Did you mean {match!r}?"
    return f" It takes: {', '.join(allowed[:30])}." if unknown_names else ""


def _no_torchvision(name: str) -> str:
    from torchvision import models

    from kgen.nets.torchvision_nets import PREFIX, names

    base_name = name.removeprefix(PREFIX).partition(".")[0]
    if base_name in models.list_models(module=models):
        return (
            f"Architecture {name!r} cannot be used: only torchvision's plain convolutional networks"
            " are supported; use timm's, for example 'deit_tiny_patch16_224'."
        )
    matches = difflib.get_close_matches(base_name, names(), 1, 0.4) or ["resnet18"]
    return f"Unknown architecture {name!r}. Did you mean {PREFIX + matches[0]!r}?"


def unknown(kind: str, name: str, short_list: tuple[str, ...]) -> str:
    """The message for an unknown name.

    It suggests the nearest name from the short list, or else from all, but never lists a thousand.
    """
    import timm

    from kgen.nets.torchvision_nets import PREFIX, names

    all_names = (*timm.list_models(), *timm.list_pretrained(), *(PREFIX + n for n in names()))
    matches = difflib.get_close_matches(name, short_list, 1, 0.7) or difflib.get_close_matches(
        name, all_names, 1, 0.6
    )
    hint = (
        f"Did you mean {matches[0]!r}?"
        if matches
        else (
            f"Known: {', '.join(short_list[:SHOWN])}, {len(short_list) - SHOWN} more listed by"
            f" `python -m kgen zoo`, any timm classification network, and {PREFIX}NAME."
        )
    )
    return f"Unknown {kind} {name!r}. {hint}"
