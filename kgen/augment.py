"""Random changes to images, drawn from a named generator on the CPU. [B,c,h,w] in, the same out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shift_and_flip(x: Tensor, rng: torch.Generator, shift: int = 2, flip: bool = True) -> Tensor:
    """Shift each image by up to `shift` pixels (zeros move in) and mirror half of them. Differentiable."""
    n, c, h, w = x.shape
    wide = w + 2 * shift
    padded = F.pad(x, (shift,) * 4).reshape(n, c, -1)
    dy, dx = torch.randint(0, 2 * shift + 1, (2, n, 1), generator=rng)
    columns = torch.arange(w).expand(n, w)
    if flip:
        mirrored = torch.rand(n, 1, generator=rng) < 0.5
        columns = torch.where(mirrored, w - 1 - columns, columns)
    rows = dy + torch.arange(h)
    index = (rows[:, :, None] * wide + (dx + columns)[:, None, :]).reshape(n, 1, -1)
    return padded.gather(2, index.to(x.device).expand(n, c, -1)).reshape(n, c, h, w)


def erase(x: Tensor, rng: torch.Generator, side: int = 8) -> Tensor:
    """Cut a hole of `side`×`side` pixels out of half of the images (random erasing)."""
    n, _, h, w = x.shape
    cy, cx = torch.randint(0, h, (n, 1), generator=rng), torch.randint(0, w, (n, 1), generator=rng)
    cut = torch.rand(n, 1, 1, generator=rng) < 0.5
    rows, columns = torch.arange(h), torch.arange(w)
    hole = ((rows - cy).abs() < side // 2)[:, :, None] & ((columns - cx).abs() < side // 2)[:, None, :] & cut
    return x.masked_fill(hole[:, None].to(x.device), 0.0)
