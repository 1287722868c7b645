"""Assumptions about a user's teacher where nothing was specified, each with its source.

In order of precedence: given values, the card in the file, facts about the data set (for ImageNet,
timm's values for the architecture come first), timm's values, a common default.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kgen.data import catalogue, classes
from kgen.nets import arguments
from kgen.nets.own_code import is_own
from kgen.nets.splitting import SplitNetwork
from kgen.preflight.matching import NORMALIZE, NormalizeLayer
from kgen.preflight.request import PreflightError, PreflightRequest, parse_request

FIELDS = ("classes", "mean", "std", "side", "channels", "n_train", "data", "flip", "title")
TRAINING_FIELDS = ("mean", "std", "side")
"""Values that are only a guess if they come from the data set: its teachers may use others."""
DEFAULT_SIDE = 224
IMAGES_PER_CLASS = 1_000
"""Assumed if the number of training images is unknown: about as many as in ImageNet."""


class SourcedValue(NamedTuple):
    """A value and its source as text; `certain` if it was specified for this teacher."""

    value: Any
    source: str
    certain: bool = True


class TeacherDefaults:
    """The assumptions about one teacher.

    Args:
        request: the given values.
        metadata: the file's metadata, which may include a card written by `kgen`; an invalid one is
            ignored.
    """

    def __init__(self, request: PreflightRequest, metadata: dict[str, str]):
        self.request = request
        self.spec = _card(metadata)
        """The spec of a teacher or student that kgen wrote; empty for other files."""
        card, data = self.spec.get("card", {}), request.data
        self.architecture = (
            request.architecture or self.spec.get("architecture") or card.get("architecture")
        )
        same_architecture = request.architecture in (None, card.get("architecture"))
        given = request.arguments
        if given is None and same_architecture:
            given = card.get("arguments")
        self.arguments = _arguments(given)
        """Arguments of the architecture's constructor: the given ones, or else the card's, if the
        architecture is the card's too."""
        known = {
            **{f: v for f, v in self.spec.items() if f in FIELDS},
            **{f: v for f, v in card.items() if f in FIELDS},
        }
        card_fields = _request_or_none(request.path, known)
        self.data = data = data or (card_fields.data if card_fields else None)
        self._sources = [
            ("given", request),
            ("from the file's card", card_fields),
            (f"of the data set {data}", _data_fields(request.path, data)),
        ]

    def find(self, field: str) -> SourcedValue | None:
        """The value with the highest precedence."""
        found = next(
            (
                (v, source)
                for source, layer in self._sources
                if layer and (v := getattr(layer, field)) is not None
            ),
            None,
        )
        return found and SourcedValue(
            *found,
            certain=field not in TRAINING_FIELDS or not found[1].startswith("of the data set"),
        )

    def side(self, network: nn.Module | None = None) -> SourcedValue:
        """The side of the teacher's training images.

        `network`, once built, provides timm's value for it.
        """
        name, found = self.architecture or "", self.find("side")
        size = self.arguments.get("img_size", self.arguments.get("input_size"))
        if size is not None and not (found and found.certain):
            return SourcedValue(_square(name, size), "by the architecture's arguments")
        if found and (found.certain or not self._prefers_timm("input_size", network)):
            return found
        if name.startswith(("small-", "Small")):
            return SourcedValue(28, "usual for this architecture", False)
        if name.endswith(("-cifar", "-cifar-a")) or name.startswith("wrn-"):
            return SourcedValue(32, "usual for this architecture", False)
        size = _config(network).get("input_size") or _native_size(name)
        return (
            SourcedValue(_square(name, size), "timm's for this architecture", False)
            if size
            else SourcedValue(DEFAULT_SIDE, "usual", False)
        )

    def _prefers_timm(self, field: str, network: nn.Module | None) -> bool:
        """Whether timm's value comes first.

        Most ImageNet networks were trained with timm's values, not with the data set's own.
        """
        return self.data == "imagenet1k" and field in _config(network)

    def normalization(
        self, network: nn.Module, channels: int, layer: NormalizeLayer | None = None
    ) -> tuple[SourcedValue, SourcedValue]:
        """(mean, std) of pixels in [0,1], one number per channel.

        `layer`: the file's own Normalize layer; only given values take precedence over it. Likewise
        for a user's own network that normalizes its images itself.
        """
        mean, std, config = self.find("mean"), self.find("std"), _config(network)
        own = is_own(self.architecture or "")
        if own and (names := _normalizing(network, channels, self.side(network).value)):
            source = f"the network normalizes its images itself ({' and '.join(names)})"
            if mean and std and mean.certain:
                both = f"{mean.source}, and {source} as well"
                return SourcedValue(mean.value, both, False), SourcedValue(std.value, both, False)
            return (
                SourcedValue((0.0,) * channels, source),
                SourcedValue((1.0,) * channels, source),
            )
        if layer and not (mean and mean.certain):
            source = f"from the Normalize layer in the file ({' and '.join(layer.names)})"
            return SourcedValue(layer.mean, source), SourcedValue(layer.std, source)
        if mean and std and (mean.certain or not self._prefers_timm("mean", network)):
            return mean, std
        if channels == len(config.get("mean", ())):
            mean, std = (
                SourcedValue(tuple(config[k]), "timm's for this architecture", False)
                for k in ("mean", "std")
            )
        elif channels == 3:
            mean, std = (
                SourcedValue(v, "ImageNet's, as the best guess", False) for v in catalogue.IMAGENET
            )
        else:
            mean = SourcedValue((0.0,) * channels, "unnormalized pixels, as the best guess", False)
            std = SourcedValue((1.0,) * channels, "", False)
        return mean, std


@torch.no_grad()
def _normalizing(network: nn.Module, channels: int, side: int) -> tuple[str, str] | None:
    """Names of a mean and a std in a network on which its outputs depend, like those of a Normalize
    layer: one number per channel each, as tensors or lists.
    """
    whole = network.network if isinstance(network, SplitNetwork) else network
    x = torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    for path, module in whole.named_modules():
        for mean_name in (name for name in dir(module) if NORMALIZE.fullmatch(name)):
            base = mean_name.removesuffix("mean").removesuffix("mu")
            mean = getattr(module, mean_name, None)
            std_name = next((base + s for s in ("std", "sigma") if hasattr(module, base + s)), "")
            if not std_name or not {_count(mean), _count(getattr(module, std_name))} <= {
                1,
                channels,
            }:
                continue
            try:
                before = whole(x)
                setattr(module, mean_name, _shifted(mean))
                used = not torch.equal(whole(x), before)
            except Exception:  # an unknown network can raise anything about sizes
                continue
            finally:
                setattr(module, mean_name, mean)
            if used:
                start = f"{path}." if path else ""
                return start + mean_name, start + std_name
    return None


def _count(value: Any) -> int:
    """How many numbers a mean or std has; 0 if it is something else."""
    if isinstance(value, Tensor):
        return value.numel()
    return len(value) if isinstance(value, (list, tuple)) else int(isinstance(value, float))


def _shifted(value: Any) -> Any:
    if isinstance(value, nn.Parameter):
        return nn.Parameter(value + 1)
    return type(value)(v + 1 for v in value) if isinstance(value, (list, tuple)) else value + 1


def _config(network: nn.Module | None) -> dict[str, Any]:
    """timm's config for an architecture's published weights; empty for other networks."""
    for module in () if network is None else (network, *network.children()):
        config = getattr(module, "pretrained_cfg", None)
        if isinstance(config, dict) and config:
            return config
    return {}


def _square(name: str, size: Any) -> int:
    """The side of square images, from one number or a size that ends in height and width."""
    height, width = (size[-2], size[-1]) if isinstance(size, (list, tuple)) else (size, size)
    if height != width or not isinstance(height, int):
        raise PreflightError(
            f"{name} takes {height} × {width} images; only square images are supported.",
            code="unsupported-size",
        )
    return height


def _native_size(name: str) -> tuple[int, ...] | None:
    """The image size that timm publishes for an architecture, without building it."""
    if ":" in name.removeprefix("timm:"):  # torchvision's, or a user's own
        return None
    from timm.models import get_pretrained_cfg

    try:
        config = get_pretrained_cfg(name.removeprefix("timm:"))
    except (RuntimeError, KeyError, AttributeError):
        return None
    return config.input_size if config else None


def _arguments(found: Any) -> dict[str, Any]:
    """The arguments in a card; an invalid card is ignored."""
    try:
        return arguments.check(found or {})
    except (ValueError, AttributeError, TypeError):
        return {}


def _card(metadata: dict[str, str]) -> dict[str, Any]:
    try:
        spec = json.loads(metadata.get("kgen", "{}"))
    except (ValueError, RecursionError):
        return {}
    if (
        not isinstance(spec, dict)
        or not isinstance(spec.get("card", {}), dict)
        or not isinstance(spec.get("architecture", ""), str)
    ):
        return {}
    return spec


def _request_or_none(path: str, fields: dict[str, Any]) -> PreflightRequest | None:
    try:
        return parse_request({"path": path, **fields}) if fields else None
    except PreflightError:
        return None


def _data_fields(path: str, data: str | None) -> PreflightRequest | None:
    """Facts about a known data set."""
    if data not in classes.known():
        return None
    fields: dict[str, Any] = {"classes": classes.names(data)}
    if facts := catalogue.DATA.get(data):
        fields |= {
            "mean": facts.mean,
            "std": facts.std,
            "side": facts.side,
            "channels": facts.channels,
            "n_train": facts.n_train,
            "flip": facts.flip,
        }
    return _request_or_none(path, fields)
