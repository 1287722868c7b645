"""Views against a slow loop over pixels with the same draws; their gradient against the adjoint."""

from __future__ import annotations

import pytest
import torch

from kgen import augment


def slow(x, views, shift):
    n, c, h, w = x.shape
    out = torch.zeros_like(x)
    for b in range(n):
        dy, dx, mirrored = views[b].tolist()
        for row in range(h):
            for column in range(w):
                source = w - 1 - column if mirrored else column
                y, x_ = row + dy - shift, source + dx - shift
                if 0 <= y < h and 0 <= x_ < w:
                    out[b, :, row, column] = x[b, :, y, x_]
    return out


@pytest.mark.parametrize("flip", [True, False])
def test_views_are_the_slow_loops(flip, rng):
    x = torch.rand(30, 2, 5, 6, generator=rng)
    views = augment.draw_views((30,), rng, flip)
    assert views.dtype == torch.uint8 and views.shape == (30, 3)
    assert set(views[:, :2].unique().tolist()) == {0, 1, 2, 3, 4}
    assert set(views[:, 2].unique().tolist()) == ({0, 1} if flip else {0})
    assert torch.equal(augment.apply_views(x, views), slow(x, views, augment.SHIFT))


def test_shift_and_flip_draws_then_applies():
    x = torch.rand(7, 1, 8, 8)
    a, b = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    assert torch.equal(augment.shift_and_flip(x, a), augment.apply_views(x, augment.draw_views((7,), b)))
    assert torch.equal(a.get_state(), b.get_state())


def test_gradient_is_exact(rng):
    x = torch.rand(3, 1, 4, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    views = augment.draw_views((3,), rng)
    assert torch.autograd.gradcheck(lambda x: augment.apply_views(x, views), (x,))


def test_middle_view_changes_nothing(rng):
    x = torch.rand(2, 3, 8, 8, generator=rng)
    still = torch.tensor([[augment.SHIFT, augment.SHIFT, 0]] * 2, dtype=torch.uint8)
    assert torch.equal(augment.apply_views(x, still), x)


def test_erase_cuts_one_square_out_of_about_half(rng):
    x = torch.ones(200, 2, 16, 16)
    out = augment.erase(x, rng, side=8)
    holes = out == 0
    assert torch.equal(holes[:, 0], holes[:, 1]) and set(out.unique().tolist()) == {0.0, 1.0}
    cut = holes[:, 0].flatten(1).any(1)
    assert 70 <= cut.sum() <= 130
    for hole in holes[cut, 0]:
        rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert hole.sum() == height * width and 1 <= height <= 8 and 1 <= width <= 8
