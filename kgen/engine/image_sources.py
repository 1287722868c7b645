"""Four sources of synthetic images behind one protocol; they differ only in what they optimize.

- noise: class embeddings → noisy layer → generator (K-Gen, NAYER)
- latent: latent code → a copy of a generator whose initialization is learned over the run (Fast,
  Fang et al. 2022)
- pixels: the pixels themselves (DeepInversion, Yin et al. 2020)
- pyramid: the pixels as a sum of images at every scale, coarse to fine, in opponent colors (as in
  feature visualization)

A source lives for one iteration; what lives longer (generators, their optimizers) is in
`LoopState`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgen import precision
from kgen.engine.setting import Scale, Setting
from kgen.engine.state import LoopState, build_optimizer
from kgen.rng import stream_seed
from kgen.sources import JITTER, NoisyLayer, group_count


class ImageSource:
    """The interface of a source, for one iteration."""

    optimizers: list[torch.optim.Optimizer]
    """Optimizers of everything that a step trains."""

    def images(self) -> Tensor:
        """[B,c,e,e] in [0,1], differentiable with respect to what is trained."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after the optimizers have taken a step."""

    def finish(self) -> None:
        """Called after the last step of the iteration."""


class NoiseSource(ImageSource):
    """Class embeddings of the pseudo-labels through a new noisy layer and the run's generator (Eq.
    1, 4).
    """

    def __init__(self, setting: Setting, state: LoopState, scale: Scale, labels: Tensor):
        r = setting.recipe
        self.generator = state.generators[scale.side]
        self.embeddings = setting.table[labels]
        self.noisy_layer = self._noisy_layer(setting, state, scale.batch)
        layer_optimizer = build_optimizer(
            r.optimizers.generator, self.noisy_layer.parameters(), fused=True
        )
        if r.restart_optimizer:
            state.generator_optimizers[scale.side] = build_optimizer(
                r.optimizers.generator, self.generator.parameters(), fused=True
            )
        self.optimizers = [state.generator_optimizers[scale.side], layer_optimizer]

    @staticmethod
    def _noisy_layer(setting: Setting, state: LoopState, batch: int) -> NoisyLayer:
        r, k, table = setting.recipe, len(setting.selected), setting.table
        rng, groups = state.rng["noise"], group_count(batch, k)
        if (
            r.noisy_layers == "one"
        ):  # the same weights again: images of a class differ only as the generator changes
            fixed_rng = torch.Generator().manual_seed(stream_seed(r.seed, "noise"))
            return NoisyLayer(
                table.shape[1],
                1,
                r.noise_width,
                rng=fixed_rng,
                table=table.cpu() if k < 3 else None,
            ).to(setting.device)
        jittered = math.ceil(batch / k) > groups
        jitter = JITTER * torch.randn(batch, table.shape[1], generator=rng) if jittered else None
        statistics_table = table.cpu() if k < 3 else None
        size = None if jittered else k
        return NoisyLayer(
            table.shape[1],
            groups,
            r.noise_width,
            rng=rng,
            table=statistics_table,
            jitter=jitter,
            size=size,
        ).to(setting.device)

    def images(self) -> Tensor:
        return precision.apply(self.generator, self.generator, self.noisy_layer(self.embeddings))


class LatentSource(ImageSource):
    """A latent code N(0,1) per image and a copy of the generator, both optimized for this batch
    only.

    The generator that the copy starts from is meta-learned: after the last step, its own optimizer
    takes one step along the gradient that the copy's weights had in that step (first-order MAML).
    """

    def __init__(self, setting: Setting, state: LoopState, scale: Scale, labels: Tensor):
        r = setting.recipe
        self.initial_generator, self.meta_optimizer = (
            state.generators[scale.side],
            state.generator_optimizers[scale.side],
        )
        self.generator = copy.deepcopy(self.initial_generator)
        self.code = nn.Parameter(
            torch.randn(scale.batch, r.noise_width, generator=state.rng["noise"]).to(setting.device)
        )
        self.optimizers = [
            build_optimizer(r.optimizers.generator, self.generator.parameters(), fused=True),
            build_optimizer(r.optimizers.images, [self.code], fused=True),
        ]

    def images(self) -> Tensor:
        return precision.apply(self.generator, self.generator, self.code)

    def finish(self) -> None:
        for shared, adapted in zip(
            self.initial_generator.parameters(), self.generator.parameters()
        ):
            shared.grad = None if adapted.grad is None else adapted.grad.clone()
        with torch.no_grad():  # spectral norm's vectors and BatchNorm's averages follow the copy
            for shared_buffer, adapted_buffer in zip(
                self.initial_generator.buffers(), self.generator.buffers()
            ):
                shared_buffer.copy_(adapted_buffer)
        self.meta_optimizer.step()
        self.meta_optimizer.zero_grad(set_to_none=True)


class PixelSource(ImageSource):
    """The normalized pixels themselves, initialized from N(0,1) and clamped to the valid range."""

    def __init__(self, setting: Setting, state: LoopState, scale: Scale, labels: Tensor):
        t = setting.teacher
        self.mean, self.std = t.mean, t.std
        self.low, self.high = -t.mean / t.std, (1 - t.mean) / t.std
        noise = torch.randn(
            len(labels), t.card.channels, scale.side, scale.side, generator=state.rng["noise"]
        ).to(setting.device)
        self.pixels = nn.Parameter(noise.clamp(self.low, self.high))
        self.optimizers = [build_optimizer(setting.recipe.optimizers.images, [self.pixels])]

    def images(self) -> Tensor:
        return self.pixels * self.std + self.mean

    @torch.no_grad()
    def after_step(self) -> None:
        self.pixels.clamp_(self.low, self.high)


class PyramidSource(ImageSource):
    """Images as sums of a pyramid, in opponent colors.

    Each level has half the side of the one before, down to COARSEST pixels. Adam moves every
    parameter by about its learning rate, so one step changes whole regions as easily as single
    pixels. With plain pixels it changes only single pixels, which ends in noise (Olah et al. 2017
    use the Fourier basis for the same reason).
    """

    MIN_LEVEL_SIDE, LEVEL_DECAY, INITIAL_NOISE = 3, 0.7, 0.05
    """The smallest side of a level in pixels, the factor on learning rate and initial noise from
    each level to the next finer one, and the initial noise of the coarsest level.
    """
    OPPONENT_COLORS = ((2.0, 2.0, 2.0), (0.55, 0.0, -0.55), (0.27, -0.54, 0.27))
    """Luminance, red–blue, green–magenta: natural images vary most in the first, least in the last.
    """

    def __init__(self, setting: Setting, state: LoopState, scale: Scale, labels: Tensor):
        spec, channels = setting.recipe.optimizers.images, setting.teacher.card.channels
        self.side, sides = scale.side, [scale.side]
        while sides[-1] // 2 >= self.MIN_LEVEL_SIDE:
            sides.append(sides[-1] // 2)
        factors = [self.LEVEL_DECAY ** (len(sides) - 1 - i) for i in range(len(sides))]
        rng = state.rng["noise"]
        self.levels = [
            nn.Parameter(
                self.INITIAL_NOISE
                * factor
                * torch.randn(len(labels), channels, e, e, generator=rng).to(setting.device)
            )
            for e, factor in zip(sides, factors)
        ]
        groups = [
            {"params": [level], "lr": spec.lr * factor}
            for level, factor in zip(self.levels, factors)
        ]
        self.optimizers = [build_optimizer(spec, groups)]
        self.colors = (
            torch.tensor(self.OPPONENT_COLORS, device=setting.device) / 3**0.5
            if channels == 3
            else None
        )

    def images(self) -> Tensor:
        finest, *coarser = self.levels
        x = finest + sum(
            F.interpolate(level, self.side, mode="bilinear", align_corners=False)
            for level in coarser
        )
        if self.colors is not None:
            x = torch.einsum("bkhw,kc->bchw", x, self.colors)
        return x.sigmoid()


SOURCES: dict[str, Callable[[Setting, LoopState, Scale, Tensor], ImageSource]] = {
    "noise": NoiseSource,
    "latent": LatentSource,
    "pixels": PixelSource,
    "pyramid": PyramidSource,
}
"""Image sources by the value of recipe field `source`."""
