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


def test_a_variation_draws_then_applies():
    x = torch.rand(7, 1, 8, 8)
    for crop in (1.0, 0.3):
        a, b = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
        variation = augment.Variation(2, True, "reflect", crop)
        assert torch.equal(variation(x, a), variation.apply(x, variation.draw((7,), b)))
        assert torch.equal(a.get_state(), b.get_state())


def test_shifts_grow_with_the_image():
    assert [augment.shift_at(side) for side in (16, 28, 32, 96, 112, 224)] == [2, 2, 2, 6, 8, 16]


def test_reflected_edges_are_torchs(rng):
    x = torch.rand(4, 1, 6, 6, generator=rng)
    views = torch.tensor([[0, 0, 0], [4, 2, 0], [2, 4, 0], [1, 3, 0]], dtype=torch.uint8)
    padded = torch.nn.functional.pad(x, (2,) * 4, "reflect")
    wanted = [
        padded[i, :, dy : dy + 6, dx : dx + 6] for i, (dy, dx, _) in enumerate(views.tolist())
    ]
    assert torch.equal(augment.apply_views(x, views, edges="reflect"), torch.stack(wanted))


def test_the_whole_image_is_a_crop(rng):
    x = torch.rand(3, 2, 9, 7, generator=rng)
    whole = torch.tensor([1.0, 1, 0, 0, 0]).expand(3, 5)
    torch.testing.assert_close(augment.apply_crops(x, whole), x)
    torch.testing.assert_close(
        augment.apply_crops(x, torch.tensor([1.0, 1, 0, 0, 1]).expand(3, 5)), x.flip(3)
    )


def test_a_crop_is_torchvisions(rng):
    from torchvision.transforms import functional

    x = torch.rand(1, 3, 16, 16, generator=rng)
    mine = augment.apply_crops(
        x, torch.tensor([[0.5, 0.25, 0.25, 0.5, 0.0]])
    )  # 8 rows from row 4, 4 columns from column 8
    theirs = functional.resized_crop(x, 4, 8, 8, 4, [16, 16], antialias=False)
    # torchvision repeats the crop's border where we still see the pixels around it
    torch.testing.assert_close(mine[..., 2:-2, 3:-3], theirs[..., 2:-2, 3:-3])


def test_crops_lie_inside_and_keep_area_and_aspect(rng):
    crops = augment.draw_crops((4000,), rng, 0.3)
    height, width, top, left, mirrored = crops.unbind(1)
    assert bool(
        (top >= 0).all()
        & (left >= 0).all()
        & (top + height <= 1 + 1e-6).all()
        & (left + width <= 1 + 1e-6).all()
    )
    inside = (height < 1) & (width < 1)
    assert (
        0.3 - 1e-4 < float((height * width)[inside].min()) < 0.32
        and float((height * width).max()) > 0.97
    )
    aspect = (width / height)[inside]
    assert 0.75 - 1e-4 < float(aspect.min()) < 0.77 and 1.3 < float(aspect.max()) < 4 / 3 + 1e-4
    assert 0.45 < float(mirrored.mean()) < 0.55
    assert not augment.draw_crops((99,), rng, 0.3, flip=False)[:, 4].any()


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_mixed_image_is_mostly_itself(kind, rng):
    x = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 20, 20)
    mixed = augment.mix(x, rng, kind)
    kept = (mixed == x).float().mean((1, 2, 3)) if kind == "cutmix" else None
    if kind == "cutmix":
        assert bool((kept >= 0.5).all()) and float(kept.min()) < 1
        assert set(mixed.unique().tolist()) <= set(range(6))
    else:  # blended with one other by at most a half: never nearer to the other
        assert (
            mixed.var((1, 2, 3)).max() == 0
            and bool(((mixed - x).abs() <= 2.5).all())
            and not torch.equal(mixed, x)
        )


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
