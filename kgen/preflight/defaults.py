"""Assumptions about a user's teacher where nothing was specified, each with its source.

In order of precedence: given values, the card in the file, facts of the data set (for ImageNet,
timm's values for the architecture come first), timm's values, a common default.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from torch import nn

from kgen.data import catalogue, classes
from kgen.preflight.request import PreflightError, PreflightRequest, parse_request

FIELDS = ("classes", "mean", "std", "side", "channels", "n_train", "data", "flip", "title")
OF_TRAINING = ("mean", "std", "side")
"""Facts of a data set that its teachers may not have been trained with: only a guess."""
USUAL_SIDE = 224
IMAGES_A_CLASS = 1_000
"""Assumed if the number of training images is unknown: about as many as in ImageNet."""


class Known(NamedTuple):
    """A value and its source, in words; `sure` if it was specified for this very teacher."""

    value: Any
    source: str
    sure: bool = True


class Presumptions:
    """The assumptions about one teacher.

    Args:
        order: the request, with the given values.
        metadata: the file's metadata, which may include a card written by `kgen`; an invalid one is
            ignored.
    """

    def __init__(self, order: PreflightRequest, metadata: dict[str, str]):
        self.order = order
        self.about = _card(metadata)
        """The spec of a teacher or student that kgen wrote; empty for other files."""
        card, data = self.about.get("card", {}), order.data
        self.architecture = (
            order.architecture or self.about.get("architecture") or card.get("architecture")
        )
        known = {
            **{f: v for f, v in self.about.items() if f in FIELDS},
            **{f: v for f, v in card.items() if f in FIELDS},
        }
        mine = _order(order.path, known)
        self.data = data = data or (mine.data if mine else None)
        self._layers = [
            ("given", order),
            ("from the file's card", mine),
            (f"of the data set {data}", _of_data(order.path, data)),
        ]

    def find(self, field: str) -> Known | None:
        """The value with the highest precedence."""
        found = next(
            (
                (v, source)
                for source, layer in self._layers
                if layer and (v := getattr(layer, field)) is not None
            ),
            None,
        )
        return found and Known(
            *found, sure=field not in OF_TRAINING or not found[1].startswith("of the data set")
        )

    def side(self, network: nn.Module | None = None) -> Known:
        """The side of the teacher's training images.

        `network`, once built, provides timm's value for it.
        """
        name, found = self.architecture or "", self.find("side")
        if found and (found.sure or not self._as_timm("input_size", network)):
            return found
        if name.startswith(("small-", "Small")):
            return Known(28, "usual for this architecture", False)
        if name.endswith(("-cifar", "-cifar-a")) or name.startswith("wrn-"):
            return Known(32, "usual for this architecture", False)
        size = _config(network).get("input_size")
        if size and size[-1] != size[-2]:
            raise PreflightError(
                f"{name} takes images of {size[-2]} × {size[-1]}; only square images are supported."
            )
        return (
            Known(size[-1], "timm's for this architecture", False)
            if size
            else Known(USUAL_SIDE, "usual", False)
        )

    def _as_timm(self, what: str, network: nn.Module | None) -> bool:
        """Whether timm's value comes first.

        Most ImageNet networks were trained with timm's values, not with the data set's own.
        """
        return self.data == "imagenet1k" and what in _config(network)

    def normalisation(self, network: nn.Module, channels: int) -> tuple[Known, Known]:
        """(mean, std) of pixels in [0,1], one number per channel."""
        mean, std, config = self.find("mean"), self.find("std"), _config(network)
        if mean and std and (mean.sure or not self._as_timm("mean", network)):
            return mean, std
        if channels == len(config.get("mean", ())):
            mean, std = (
                Known(tuple(config[k]), "timm's for this architecture", False)
                for k in ("mean", "std")
            )
        elif channels == 3:
            mean, std = (
                Known(v, "ImageNet's, as the best guess", False) for v in catalogue.IMAGENET
            )
        else:
            mean = Known((0.0,) * channels, "unnormalized pixels, as the best guess", False)
            std = Known((1.0,) * channels, "", False)
        return mean, std


def _config(network: nn.Module | None) -> dict[str, Any]:
    """timm's config of its published weights for an architecture; empty for other networks."""
    for module in () if network is None else (network, *network.children()):
        config = getattr(module, "pretrained_cfg", None)
        if isinstance(config, dict) and config:
            return config
    return {}


def _card(metadata: dict[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(metadata.get("kgen", "{}"))
    except (ValueError, RecursionError):
        return {}
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("card", {}), dict)
        or not isinstance(found.get("architecture", ""), str)
    ):
        return {}
    return found


def _order(path: str, fields: dict[str, Any]) -> PreflightRequest | None:
    try:
        return parse_request({"path": path, **fields}) if fields else None
    except PreflightError:
        return None


def _of_data(path: str, data: str | None) -> PreflightRequest | None:
    """Facts of a known data set."""
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
    return _order(path, fields)
