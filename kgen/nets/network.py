"""The interface of a network, timm's convention: a last map, then a head."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class Network(nn.Module):
    """A classifier that can be split before its head."""

    num_features: int
    """Width of the last map."""

    def forward_features(self, x: Tensor) -> Tensor:
        """[B,c,e,e] → the last map [B,k,h,w], or tokens [B,n,d] of a transformer."""
        raise NotImplementedError

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Output of forward_features → embedding [B,d] (`pre_logits`) or logits [B,K]."""
        raise NotImplementedError

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]:
        """The last layer, a Linear in most networks; timm's distilled transformers have two."""
        raise NotImplementedError


def of_timm(network: nn.Module) -> Network:
    """timm's network itself: it has this interface without deriving from it."""
    return cast(Network, network)
