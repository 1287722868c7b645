"""The teacher: a frozen network that normalizes its own input and exposes what the method needs.

One forward pass gives logits, the last spatial map, the pooled embedding and the statistics at
every BatchNorm, or the attention of [CLS] in a ViT. The map for the key region is computed from
these, for any architecture. No state remains afterward: hooks live for one call, and the network
is permanently in eval mode and without gradients.
"""

from __future__ import annotations

import copy
import functools
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgen import precision
from kgen.events import TeacherCard
from kgen.keyregion import class_activation_map, linearized_map
from kgen.losses import BatchNormStatistics
from kgen.nets.network import Network
from kgen.nets.vit import Corner, WindowedViT, classify, side_multiple, windowed

MapKind = Literal["cam", "linearised", "attention", "none"]


class Probe(NamedTuple):
    """Outputs of one forward pass. B batch, K_T classes, k feature channels, d_T embedding
    width.
    """

    logits: Tensor
    """[B,K_T]"""
    features: Tensor
    """[B,k,h,w], the last map before global pooling; of a ViT its patch tokens"""
    embedding: Tensor
    """[B,d_T]"""
    batch_norm: list[BatchNormStatistics]
    """(mean, var, running_mean, running_var) of each BatchNorm layer, in the order they ran"""
    attention: Tensor | None = None
    """[B,h,w] of a ViT: the attention of [CLS] in the last block, times the number of patches"""


def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel. [B,k,…] → [k], [k].

    Sums over the inner dimensions first: 1 ms instead of 16 ms for torch.var_mean, forward and
    backward, on a CPU. The mean inside the variance can be detached: Σ(x − μ) = 0, so its gradient
    vanishes.
    """
    inner = tuple(range(2, x.ndim))
    n = x.numel() // x.shape[1]

    def total(t: Tensor) -> Tensor:
        return (t.sum(inner) if inner else t).sum(0)

    mean = total(x) / n
    centered = x - mean.detach().view(1, -1, *[1] * len(inner))
    return mean, total(centered.square()) / n


class Teacher:
    """A trained classifier, frozen.

    Args:
        network: follows timm's convention: forward_features, forward_head(pre_logits=…),
            get_classifier. A timm ViT with a class token becomes a `kgen.nets.vit.WindowedViT`.
        card: the facts about it.
        classes: names of its K_T classes.
        mean, std: per channel, of pixels in [0,1].
    """

    def __init__(
        self,
        network: Network,
        card: TeacherCard,
        classes: tuple[str, ...],
        mean: Tensor,
        std: Tensor,
    ):
        self.network = windowed(network).eval().requires_grad_(False)
        self.card, self.classes = card, tuple(classes)
        self.mean, self.std = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)
        self._norms = [
            m
            for m in self.network.modules()
            if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
        ]

    @property
    def weight(self) -> Tensor:
        """[K_T,k], of the classifier (Eq. 5)."""
        head = self.network.get_classifier()
        assert isinstance(head, nn.Linear)
        return head.weight

    def to(self, device: torch.device | str) -> Teacher:
        self.network.to(device)
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    def clone(self) -> Teacher:
        """The same weights (shared storage) in separate modules, for a second thread.

        Hooks of one thread must not fire in the other's forward pass.
        """
        shared = {id(t): t for t in (*self.network.parameters(), *self.network.buffers())}
        return Teacher(
            copy.deepcopy(self.network, shared), self.card, self.classes, self.mean, self.std
        )

    @property
    def has_batch_norm(self) -> bool:
        """Whether it stores statistics of its training data."""
        return bool(self._norms)

    @property
    def side_multiple(self) -> int:
        """Image sides must be multiples of this: the patch of a ViT, 1 for a CNN."""
        return side_multiple(self.network)

    @functools.cached_property
    def map_kind(self) -> MapKind:
        """How to compute the activation map, determined with two noise images at full resolution.

        - cam: the logits are a Linear of the mean over the map (Eq. 5 holds)
        - linearised: another head on a map
        - attention: a ViT
        - none: no map, so there is no key region
        """
        if isinstance(self.network, WindowedViT):
            return "attention"
        noise = torch.rand(
            2,
            self.card.channels,
            self.card.side,
            self.card.side,
            generator=torch.Generator().manual_seed(0),
        )
        with torch.no_grad():
            features = self.network.forward_features(
                (noise.to(self.mean.device) - self.mean) / self.std
            )
            # some timm networks put the channels last; their map would be misread
            if (
                features.ndim != 4
                or features.shape[2:].numel() == 1
                or getattr(self.network, "output_fmt", "NCHW") != "NCHW"
            ):
                return "none"
            head = self.network.get_classifier()
            if not isinstance(head, nn.Linear) or head.in_features != features.shape[1]:
                return "linearised"
            logits, eq5_logits = (
                self.network.forward_head(features),
                F.linear(features.mean((2, 3)), head.weight, head.bias),
            )
        return (
            "cam"
            if torch.allclose(logits, eq5_logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max()))
            else "linearised"
        )

    def activation_map(self, probe: Probe, labels: Tensor) -> Tensor | None:
        """Where the teacher sees each image's class: [B,h,w], raw, differentiable. labels [B].

        None without a map.
        """
        match self.map_kind:
            case "cam":
                return class_activation_map(probe.features, self.weight, labels)
            case "linearised":
                return linearized_map(probe.features, self.network.forward_head, labels)
            case "attention":
                return (
                    probe.attention
                )  # the same for every class: [CLS] attends before the classes separate
            case "none":
                return None

    def logits(self, images: Tensor, corner: Corner | None = None) -> Tensor:
        """[B,c,e,e] in [0,1] → [B,K_T], without intermediate outputs. `corner` as in __call__."""
        x = (images - self.mean) / self.std
        extra = (corner,) if isinstance(self.network, WindowedViT) else ()
        return precision.apply(self.network, self.network, x, *extra)

    def __call__(self, images: Tensor, corner: Corner | None = None) -> Probe:
        """[B,c,e,e] in [0,1] → Probe; differentiable with respect to the images.

        `corner` places the images in the grid of a ViT's position embeddings
        (`kgen.nets.vit.draw_corner`), by default in the center; a CNN ignores it. ValueError for
        images whose sides are not multiples of a ViT's patch.
        """
        if isinstance(self.network, WindowedViT):
            tokens, attention = self.network.forward_with_attention(
                (images - self.mean) / self.std, corner
            )  # always in single precision
            logits, embedding = classify(self.network, tokens)
            return Probe(
                logits, self.network.spatial(tokens, images.shape[2]), embedding, [], attention
            )
        statistics: list[BatchNormStatistics] = []

        def record_statistics(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            mean, variance = channel_statistics(inputs[0].float())
            running = layer.get_buffer("running_mean"), layer.get_buffer("running_var")
            statistics.append((mean, variance, *running))

        hooks = [layer.register_forward_pre_hook(record_statistics) for layer in self._norms]
        try:
            features = precision.apply(
                self.network, self.network.forward_features, (images - self.mean) / self.std
            )
        finally:
            for hook in hooks:
                hook.remove()
        logits, embedding = classify(self.network, features)
        return Probe(logits, features, embedding, statistics)
