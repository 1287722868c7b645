"""Three sources of synthetic images behind one protocol: what is optimised differs, everything else is shared.

noise    class embeddings → noisy layer → generator (K-Gen, NAYER)
latent   latent code → a copy of a generator whose start is learnt over the run (Fast, Fang et al. 2022)
pixels   the pixels themselves (DeepInversion, Yin et al. 2020)

A source lives for one iteration; what lives longer (generators, their optimisers) is in `LoopState`.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from kgen.setting import Scale, Setting
from kgen.sources import JITTER, NoisyLayer, group_count
from kgen.state import LoopState, build_optimiser
from kgen.streams import stream_seed


class ImageSource:
    """What an iteration needs of a source."""

    optimisers: list[torch.optim.Optimizer]
    """Of everything that a step trains."""

    def images(self) -> Tensor:
        """[B,c,e,e] in [0,1], differentiable with respect to what is trained."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called when the optimisers have made a step."""

    def finish(self) -> None:
        """Called after the last step of the iteration."""


class NoiseSource(ImageSource):
    """Class embeddings of the pseudo-labels through a new noisy layer and the run's generator (Eq. 1, Eq. 4)."""

    def __init__(self, setting: Setting, state: LoopState, scale: Scale, labels: Tensor):
        r = setting.recipe
        self.generator = state.generators[scale.side]
        self.embeddings = setting.table[labels]
        self.noisy = self._noisy_layer(setting, state, scale.batch)
        own = build_optimiser(r.optimisers.generator, self.noisy.parameters(), fused=True)
        if r.restart_optimiser:
            state.generator_optimisers[scale.side] = build_optimiser(r.optimisers.generator, self.generator.parameters(), fused=True)
        self.optimisers = [state.generator_optimisers[scale.side], own]

    @staticmethod
    def _noisy_layer(setting: Setting, state: LoopState, batch: int) -> NoisyLayer:
        r, k, table = setting.recipe, len(setting.chosen), setting.table
        rng, groups = state.rng["noise"], group_count(batch, k)
        if r.noisy_layers == "one":  # the same weights again: images of a class differ only as the generator changes
            same = torch.Generator().manual_seed(stream_seed(r.seed, "noise"))
            return NoisyLayer(table.shape[1], 1, r.noise_width, rng=same, table=table.cpu() if k < 3 else None).to(setting.device)
        more_rounds = math.ceil(batch / k) > groups
        jitter = JITTER * torch.randn(batch, table.shape[1], generator=rng) if more_rounds else None
        fixed = table.cpu() if k < 3 else None
        size = None if more_rounds else k
        return NoisyLayer(table.shape[1], groups, r.noise_width, rng=rng, table=fixed, jitter=jitter, size=size).to(setting.device)

    def images(self) -> Tensor:
        return self.generator(self.noisy(self.embeddings))


class LatentSource(ImageSource):
    """A latent code N(0,1) for each image and a copy of the generator, both optimised for this batch alone.

    The generator that the copy starts from is meta-learnt: after the last step it takes one step of its own
    optimiser along the gradient that the copy's weights had in that step (first-order MAML).
    """

    def __init__(self, setting: Setting, state: LoopState, scale: Scale, labels: Tensor):
        r = setting.recipe
        self.start, self.meta = state.generators[scale.side], state.generator_optimisers[scale.side]
        self.generator = copy.deepcopy(self.start)
        self.code = nn.Parameter(torch.randn(scale.batch, r.noise_width, generator=state.rng["noise"]).to(setting.device))
        self.optimisers = [
            build_optimiser(r.optimisers.generator, self.generator.parameters(), fused=True),
            build_optimiser(r.optimisers.images, [self.code], fused=True),
        ]

    def images(self) -> Tensor:
        return self.generator(self.code)

    def finish(self) -> None:
        for learnt, adapted in zip(self.start.parameters(), self.generator.parameters()):
            learnt.grad = None if adapted.grad is None else adapted.grad.clone()
        with torch.no_grad():  # spectral norm's vectors and BatchNorm's averages follow the copy
            for kept, newer in zip(self.start.buffers(), self.generator.buffers()):
                kept.copy_(newer)
        self.meta.step()
        self.meta.zero_grad(set_to_none=True)


class PixelSource(ImageSource):
    """The normalised pixels themselves, from N(0,1), kept inside what an image can show."""

    def __init__(self, setting: Setting, state: LoopState, scale: Scale, labels: Tensor):
        t = setting.teacher
        self.mean, self.std = t.mean, t.std
        self.low, self.high = -t.mean / t.std, (1 - t.mean) / t.std
        noise = torch.randn(len(labels), t.card.channels, scale.side, scale.side, generator=state.rng["noise"]).to(setting.device)
        self.pixels = nn.Parameter(noise.clamp(self.low, self.high))
        self.optimisers = [build_optimiser(setting.recipe.optimisers.images, [self.pixels])]

    def images(self) -> Tensor:
        return self.pixels * self.std + self.mean

    @torch.no_grad()
    def after_step(self) -> None:
        self.pixels.clamp_(self.low, self.high)


SOURCES: dict[str, type[ImageSource]] = {"noise": NoiseSource, "latent": LatentSource, "pixels": PixelSource}
"""By the recipe's field `source`."""
