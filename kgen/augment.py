"""Random augmentations, drawn from a named generator on the CPU. [B,c,h,w] → [B,c,h,w]."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT, SHIFT_SHARE = 2, 1 / 14
"""Largest shift of a view in each direction: 2 at 28 pixels, proportionally more for larger
images.
"""
Edges = Literal["zeros", "reflect"]
ASPECT = 4 / 3
"""Aspect ratios of random crops range from 3:4 to 4:3."""


def draw_views(
    shape: tuple[int, ...], rng: torch.Generator, flip: bool = True, shift: int = SHIFT
) -> Tensor:
    """Parameters of random views: row and column shift (0 … 2·shift; `shift` is unshifted), and
    mirrored or not.

    → u8 [*shape,3].
    """
    shifts = torch.randint(0, 2 * shift + 1, (*shape, 2), generator=rng)
    mirrored = torch.rand(*shape, 1, generator=rng) < 0.5 if flip else torch.zeros(*shape, 1)
    return torch.cat([shifts, mirrored.long()], -1).to(torch.uint8)


def apply_views(x: Tensor, views: Tensor, shift: int = SHIFT, edges: Edges = "zeros") -> Tensor:
    """Shift and mirror each image according to `views` u8 [B,3]. Differentiable.

    The edge is filled with zeros or with the image's own reflection.
    """
    n, c, h, w = x.shape
    padded_width = w + 2 * shift
    # indices are computed on the images' device, so only `views`, a few numbers, is copied there
    views = views.to(x.device, non_blocking=True).long()
    dy, dx, mirrored = views.unsqueeze(2).unbind(1)  # [n,1] each
    right = torch.arange(w, device=x.device)
    columns = torch.where(mirrored == 1, w - 1 - right, right)
    rows = dy + torch.arange(h, device=x.device)
    index = (rows[:, :, None] * padded_width + (dx + columns)[:, None, :]).reshape(n, 1, -1)
    padded = F.pad(x, (shift,) * 4, "constant" if edges == "zeros" else "reflect").reshape(n, c, -1)
    return padded.gather(2, index.expand(n, c, -1)).reshape(n, c, h, w)


def erase(x: Tensor, rng: torch.Generator, side: int = 8) -> Tensor:
    """Cut a hole of `side`×`side` pixels out of half of the images (random erasing)."""
    n, _, h, w = x.shape
    cy, cx = torch.randint(0, h, (n, 1), generator=rng), torch.randint(0, w, (n, 1), generator=rng)
    cut = torch.rand(n, 1, 1, generator=rng) < 0.5
    rows, columns = torch.arange(h), torch.arange(w)
    cutout = (
        ((rows - cy).abs() < side // 2)[:, :, None]
        & ((columns - cx).abs() < side // 2)[:, None, :]
        & cut
    )
    return x.masked_fill(cutout[:, None].to(x.device), 0.0)


def draw_crops(
    shape: tuple[int, ...], rng: torch.Generator, smallest: float, flip: bool = True
) -> Tensor:
    """Parameters of random resized crops. → f32 [*shape,5].

    Height, width, top, left as shares of the image, and mirrored or not. `smallest`: smallest area
    of a crop, as a share of the image's; 1 is the whole image.
    """
    area = torch.empty(shape).uniform_(smallest, 1, generator=rng)
    aspect = (
        torch.empty(shape).uniform_(-math.log(ASPECT), math.log(ASPECT), generator=rng).exp().sqrt()
    )
    size = torch.stack([area.sqrt() * aspect, area.sqrt() / aspect], -1).clamp(max=1)
    corner = torch.rand(*shape, 2, generator=rng) * (1 - size)
    mirrored = (
        (torch.rand(*shape, 1, generator=rng) < 0.5).float() if flip else torch.zeros(*shape, 1)
    )
    return torch.cat([size, corner, mirrored], -1)


def apply_crops(x: Tensor, crops: Tensor, side: int | None = None) -> Tensor:
    """Cut `crops` f32 [B,5] from the images and scale each to `side` (by default the images' own).

    Bilinear, differentiable.
    """
    n, _, h, w = x.shape
    side_h, side_w = (side, side) if side else (h, w)
    height, width, top, left, mirrored = crops.to(x.device, non_blocking=True)[:, :, None].unbind(
        1
    )  # [n,1] each
    rows, columns = (
        (2 * torch.arange(size, device=x.device) + 1) / size - 1 for size in (side_h, side_w)
    )  # centers of pixels, from −1 to 1
    rows = height * rows + 2 * top + height - 1
    columns = width * (1 - 2 * mirrored) * columns + 2 * left + width - 1
    # F.affine_grid would multiply a matrix for every pixel and take half of the time
    shape = n, side_h, side_w
    grid = torch.stack([columns[:, None].expand(shape), rows[:, :, None].expand(shape)], -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


class Variation(NamedTuple):
    """Draws random views of images of one size.

    Uses shifts, or random resized crops if `crop` is below 1.
    """

    shift: int
    flip: bool
    edges: Edges = "zeros"
    crop: float = 1.0

    def draw(self, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Parameters for `apply`: u8 [*shape,3] for shifts, f32 [*shape,5] for crops."""
        return (
            draw_crops(shape, rng, self.crop, self.flip)
            if self.crop < 1
            else draw_views(shape, rng, self.flip, self.shift)
        )

    def apply(self, x: Tensor, views: Tensor) -> Tensor:
        """[B,c,h,w] → the images' views, of the same size."""
        return (
            apply_crops(x, views)
            if views.is_floating_point()
            else apply_views(x, views, self.shift, self.edges)
        )

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """A random view of each image."""
        return self.apply(x, self.draw((len(x),), rng))


def shift_at(side: int) -> int:
    """Largest shift for images of this side."""
    return max(SHIFT, int(side * SHIFT_SHARE))


def mix(x: Tensor, rng: torch.Generator, kind: Literal["mixup", "cutmix"]) -> Tensor:
    """Mix each image with another one from its batch, which contributes at most half.

    The two are blended (Zhang et al. 2018), or a rectangle is pasted (Yun et al. 2019). Labels are
    not mixed: the teacher classifies the result.
    """
    n, _, h, w = x.shape
    others = x[torch.randperm(n, generator=rng).to(x.device, non_blocking=True)]
    share = 0.5 * torch.rand(n, 1, 1, 1, generator=rng)
    if kind == "mixup":
        return x + share.to(x.device, non_blocking=True) * (others - x)
    height, width = (share.sqrt() * h).long(), (share.sqrt() * w).long()
    top, left = (
        (torch.rand(n, 1, 1, 1, generator=rng) * (full - part + 1)).long()
        for full, part in ((h, height), (w, width))
    )
    rows, columns = torch.arange(h).view(1, 1, h, 1), torch.arange(w).view(1, 1, 1, w)
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    return torch.where(inside.to(x.device, non_blocking=True), others, x)
