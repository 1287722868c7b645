"""Noisy layer and generator: class embeddings → synthetic images (Eq. 1, Eq. 4, Table 7)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

MAX_GROUPS = 16
JITTER = 0.1


def group_count(batch: int, classes: int) -> int:
    """Linear layers in a noisy layer: one for each round of the class list, at most MAX_GROUPS."""
    return min(math.ceil(batch / classes), MAX_GROUPS)


def balanced_labels(batch: int, classes: int, rng: torch.Generator) -> Tensor:
    """Pseudo-labels ŷ: full shuffled class lists, then a random remainder.

    → [batch] positions below `classes`.
    """
    rounds = [torch.randperm(classes, generator=rng) for _ in range(math.ceil(batch / classes))]
    return torch.cat(rounds)[:batch]


class NoisyLayer(nn.Module):
    """Z (Eq. 1, C.2): BatchNorm over the class embeddings, then a Linear with N(0,1) weights per
    group.

    Re-created in every iteration, so that the same class text produces new images. The batch is
    split into `groups` consecutive runs of equal length (each one round of the class list), each
    with its own Linear, so that two samples of a class differ.

    Args:
        d: width of a class embedding.
        groups: number of Linear layers.
        width: width of the output.
        rng: source of the weights.
        table: [K_T,d]; normalize with this table's statistics instead of the batch's (for fewer
            than three classes, whose batch would become zeros).
        jitter: [B,d] added to the normalized embedding if there are more rounds than groups.
        size: rows per group (the last may have fewer); by default the batch is split equally.
    """

    fixed: Tensor | None
    jitter: Tensor | None

    def __init__(
        self,
        d: int,
        groups: int,
        width: int = 1000,
        *,
        rng: torch.Generator | None = None,
        table: Tensor | None = None,
        jitter: Tensor | None = None,
        size: int | None = None,
    ):
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.randn(groups, d, width, generator=rng))
        self.bias = nn.Parameter(torch.zeros(groups, 1, width))
        self.norm = nn.BatchNorm1d(d, track_running_stats=False)
        fixed = (
            None if table is None else torch.stack([table.mean(0), table.var(0, unbiased=False)])
        )
        self.register_buffer("fixed", fixed)
        self.register_buffer("jitter", jitter)

    def forward(self, f: Tensor) -> Tensor:
        """[B,d] class embeddings in the order of the groups → [B,width]."""
        if self.fixed is None:
            h = self.norm(f)
        else:
            h = F.batch_norm(
                f, self.fixed[0], self.fixed[1], self.norm.weight, self.norm.bias, eps=self.norm.eps
            )
        if self.jitter is not None:
            h = h + self.jitter
        groups = len(self.weight)
        size = self.size or math.ceil(len(h) / groups)
        padded = F.pad(h, (0, 0, 0, groups * size - len(h)))
        z = torch.baddbmm(self.bias, padded.view(groups, size, -1), self.weight)
        return z.reshape(groups * size, -1)[: len(h)]


_PHASE_ROWS = torch.tensor([[[1.0, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]])
"""[phase, row of the small map, row of the kernel]: the equivalent of a 3-tap kernel over a doubled
signal, on the original signal.
"""


def conv_of_doubled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3×3 convolution of the nearest-neighbor ×2 upsampling of x, computed on x itself.

    [B,k,h,w], [c,k,3,3], [c] → [B,c,2h,2w]. The result is the same up to rounding, but the
    convolution has four times the channels on a quarter of the map, because convolutions to one or
    three channels at full resolution are slow on a CPU (a tenth of a generator step).
    """
    phases = _PHASE_ROWS.to(weight, non_blocking=True)
    kernels = torch.einsum("pih,qjw,ckhw->cpqkij", phases, phases, weight).flatten(0, 2)
    biases = None if bias is None else bias.repeat_interleave(4)
    return F.pixel_shuffle(F.conv2d(x, kernels, biases, padding=1), 2)


class Generator(nn.Module):
    """G (Table 7): Linear, BatchNorm, two blocks of [spectral-norm conv, BatchNorm, LeakyReLU, ×2],
    conv to an image.

    Args:
        channels: of the image.
        resolution: e, a multiple of 4 (of 16 with `deep`).
        width: channels of the last block; the ones before have twice as many (the paper: 64).
        deep: start at e/16 with four upsamplings instead of e/4 with two, which keeps the Linear
            small at e ≥ 96.
        up_first: upsample before each convolution (as the sizes in Table 7 imply) rather than after
            (as its rows are ordered; 4× cheaper).
        noise_width: width of the input.
        output: "sigmoid", or "batchnorm": standardize, then rescale with `statistics` and clip to
            [0,1].
        statistics: (mean, std) per channel of the teacher's data, for output="batchnorm".
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        resolution: int,
        width: int = 64,
        deep: bool = False,
        up_first: bool = False,
        *,
        noise_width: int = 1000,
        output: str = "sigmoid",
        statistics: tuple[Tensor, Tensor] | None = None,
    ):
        super().__init__()
        shrink = 16 if deep else 4
        if resolution % shrink:
            raise ValueError(f"resolution {resolution} is not a multiple of {shrink}")
        self.side, self.first, self.up_first, self.output = (
            resolution // shrink,
            2 * width,
            up_first,
            output,
        )
        self.linear = nn.Linear(noise_width, self.first * self.side**2)
        self.norm = nn.BatchNorm1d(self.first * self.side**2)
        widths = [2 * width] * (4 if deep else 2)
        blocks, in_channels = [], self.first
        for i, out_channels in enumerate(widths):
            out_channels = width if i == len(widths) - 1 else out_channels
            conv = spectral_norm(nn.Conv2d(in_channels, out_channels, 3, padding=1))
            core = [conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(0.2, inplace=True)]
            up = nn.Upsample(scale_factor=2, mode="nearest")
            blocks += [up, *core] if up_first else [*core, up]
            in_channels = out_channels
        if not up_first:
            blocks.pop()  # the last doubling is part of `conv_of_doubled`
        self.blocks = nn.Sequential(*blocks)
        self.to_image = nn.Conv2d(width, channels, 3, padding=1)
        spectral_norm(self.to_image)
        self.standardise = nn.BatchNorm2d(channels, affine=False) if output == "batchnorm" else None
        mean, std = statistics or (torch.zeros(channels), torch.ones(channels))
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """[B,noise_width] → images [B,c,e,e] in [0,1]."""
        h = self.norm(self.linear(z)).view(len(z), self.first, self.side, self.side)
        h = self.blocks(h)
        x = (
            self.to_image(h)
            if self.up_first
            else conv_of_doubled(h, self.to_image.weight, self.to_image.bias)
        )
        if self.standardise is None:
            return x.sigmoid()
        return (self.standardise(x) * self.std + self.mean).clamp(0, 1)
