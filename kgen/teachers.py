"""The teacher: a frozen network that normalises at its own door and shows what the method needs of it.

One forward gives logits, the last spatial map, the pooled embedding and the statistics at every BatchNorm.
Nothing stays behind: hooks live for one call, the network is in eval mode and takes no gradients for good.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kgen.events import TeacherCard
from kgen.losses import BatchNormStatistics


class Probe(NamedTuple):
    """What one forward shows. B batch, K_T classes, k feature channels, d_T embedding width."""

    logits: Tensor
    """[B,K_T]"""
    features: Tensor
    """[B,k,h,w], the last map before global pooling"""
    embedding: Tensor
    """[B,d_T]"""
    batch_norm: list[BatchNormStatistics]
    """(mean, var, running_mean, running_var) of each BatchNorm layer, in the order they ran"""


def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel. [B,k,…] → [k], [k].

    Sums over the inner dimensions first: 16 ms against 1 ms for torch.var_mean, forward and backward, on a CPU.
    The mean inside the variance may be detached: Σ(x − μ) = 0, so its gradient vanishes.
    """
    inner = tuple(range(2, x.ndim))
    n = x.numel() // x.shape[1]

    def total(t: Tensor) -> Tensor:
        return (t.sum(inner) if inner else t).sum(0)

    mean = total(x) / n
    centred = x - mean.detach().view(1, -1, *[1] * len(inner))
    return mean, total(centred.square()) / n


class Teacher:
    """A trained classifier, frozen.

    Args:
        network: follows timm's convention: forward_features, forward_head(pre_logits=…), get_classifier.
        card: what is known of it.
        classes: names of its K_T classes.
        mean, std: per channel, of pixels in [0,1].
    """

    def __init__(self, network: nn.Module, card: TeacherCard, classes: tuple[str, ...], mean: Tensor, std: Tensor):
        self.network = network.eval().requires_grad_(False)
        self.card, self.classes = card, tuple(classes)
        self.mean, self.std = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)
        self._norms = [m for m in self.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

    @property
    def weight(self) -> Tensor:
        """[K_T,k], of the classifier (Eq. 5)."""
        return self.network.get_classifier().weight

    def to(self, device: torch.device | str) -> Teacher:
        self.network.to(device)
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    def twin(self) -> Teacher:
        """The same weights (shared storage) behind modules of their own, for a second thread: hooks of one
        thread must not fire in the other's forward."""
        shared = {id(t): t for t in (*self.network.parameters(), *self.network.buffers())}
        return Teacher(copy.deepcopy(self.network, shared), self.card, self.classes, self.mean, self.std)

    def logits(self, images: Tensor) -> Tensor:
        """[B,c,e,e] in [0,1] → [B,K_T], without watching the inside."""
        return self.network((images - self.mean) / self.std)

    def __call__(self, images: Tensor) -> Probe:
        """[B,c,e,e] in [0,1] → Probe; differentiable with respect to the images."""
        statistics: list[BatchNormStatistics] = []

        def watch(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            statistics.append((*channel_statistics(inputs[0]), layer.running_mean, layer.running_var))

        hooks = [layer.register_forward_pre_hook(watch) for layer in self._norms]
        try:
            features = self.network.forward_features((images - self.mean) / self.std)
        finally:
            for hook in hooks:
                hook.remove()
        embedding = self.network.forward_head(features, pre_logits=True)
        return Probe(self.network.get_classifier()(embedding), features, embedding, statistics)
