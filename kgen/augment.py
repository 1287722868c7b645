"""Random changes to images, drawn from a named generator on the CPU. [B,c,h,w] in, the same out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 2
"""Most pixels that a view is moved by, in each direction."""


def draw_views(shape: tuple[int, ...], rng: torch.Generator, flip: bool = True, shift: int = SHIFT) -> Tensor:
    """Parameters of random views: rows and columns moved (0 … 2·shift, middle: not moved), mirrored or not. → u8 [*shape,3]."""
    moved = torch.randint(0, 2 * shift + 1, (*shape, 2), generator=rng)
    mirrored = torch.rand(*shape, 1, generator=rng) < 0.5 if flip else torch.zeros(*shape, 1)
    return torch.cat([moved, mirrored.long()], -1).to(torch.uint8)


def apply_views(x: Tensor, views: Tensor, shift: int = SHIFT) -> Tensor:
    """Move each image (zeros come in) and mirror it as `views` u8 [B,3] says. Differentiable."""
    n, c, h, w = x.shape
    wide = w + 2 * shift
    dy, dx, mirrored = views.long().unsqueeze(2).unbind(1)  # [n,1] each
    columns = torch.where(mirrored == 1, w - 1 - torch.arange(w), torch.arange(w))
    rows = dy + torch.arange(h)
    index = (rows[:, :, None] * wide + (dx + columns)[:, None, :]).reshape(n, 1, -1)
    padded = F.pad(x, (shift,) * 4).reshape(n, c, -1)
    return padded.gather(2, index.to(x.device).expand(n, c, -1)).reshape(n, c, h, w)


def shift_and_flip(x: Tensor, rng: torch.Generator, flip: bool = True) -> Tensor:
    """A random view of each image."""
    return apply_views(x, draw_views((len(x),), rng, flip))


def erase(x: Tensor, rng: torch.Generator, side: int = 8) -> Tensor:
    """Cut a hole of `side`×`side` pixels out of half of the images (random erasing)."""
    n, _, h, w = x.shape
    cy, cx = torch.randint(0, h, (n, 1), generator=rng), torch.randint(0, w, (n, 1), generator=rng)
    cut = torch.rand(n, 1, 1, generator=rng) < 0.5
    rows, columns = torch.arange(h), torch.arange(w)
    hole = ((rows - cy).abs() < side // 2)[:, :, None] & ((columns - cx).abs() < side // 2)[:, None, :] & cut
    return x.masked_fill(hole[:, None].to(x.device), 0.0)
