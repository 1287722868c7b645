"""Noisy layer and generator: a slow loop, Table 7's sizes, and a singular value from torch."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kgen.engine.engine import Distillation
from kgen.engine.synthesis import Synthesis
from kgen.sources import MAX_GROUPS, Generator, NoisyLayer, balanced_labels, group_count
from tests.support.small import mini


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(1, 12), st.integers(0, 100))
def test_balanced_labels(batch, classes, seed):
    labels = balanced_labels(batch, classes, gen(seed)).tolist()
    assert len(labels) == batch
    for i in range(0, batch - classes + 1, classes):
        assert sorted(labels[i : i + classes]) == list(range(classes))  # full lists
    rest = labels[batch // classes * classes :]
    assert len(set(rest)) == len(rest) and all(0 <= c < classes for c in rest)
    assert labels == balanced_labels(batch, classes, gen(seed)).tolist()


def test_group_count():
    assert [
        group_count(b, k)
        for b, k in [(100, 10), (101, 10), (5, 10), (20, 10), (100, 1), (1000, 10)]
    ] == [10, 11, 1, 2, 16, 16]
    assert MAX_GROUPS == 16


def slow_noisy(layer, f, group_of):
    """BatchNorm over the whole batch by hand, then each row through the Linear of its group."""
    f = f.double()
    mean, var = f.mean(0), ((f - f.mean(0)) ** 2).mean(0)
    if layer.fixed is not None:
        mean, var = layer.fixed.double()
    h = (f - mean) / (var + layer.norm.eps).sqrt()
    if layer.jitter is not None:
        h = h + layer.jitter.double()
    return torch.stack(
        [
            h[i] @ layer.weight[group_of(i)].double() + layer.bias[group_of(i), 0].double()
            for i in range(len(f))
        ]
    ).float()


def test_noisy_layer_is_the_slow_loop(rng):
    table = torch.randn(5, 6, generator=rng)
    layer = NoisyLayer(6, 4, width=8, rng=rng)
    f = table[balanced_labels(20, 5, rng)]
    torch.testing.assert_close(
        layer(f), slow_noisy(layer, f, lambda i: i // 5), rtol=1e-4, atol=1e-4
    )
    assert layer.weight.shape == (4, 6, 8) and (layer.bias == 0).all()


def test_weights_are_standard_normal():
    layer = NoisyLayer(50, 4, width=200, rng=gen())
    n = layer.weight.numel()
    assert (
        abs(layer.weight.mean()) < 4 / n**0.5 and abs(layer.weight.std() - 1) < 4 / (2 * n) ** 0.5
    )
    assert torch.equal(layer.weight, NoisyLayer(50, 4, width=200, rng=gen()).weight)


def test_two_samples_of_a_class_differ_between_groups_and_agree_within(rng):
    table = torch.randn(3, 6, generator=rng)
    layer = NoisyLayer(6, 2, width=8, rng=rng)
    z = layer(table[[0, 1, 2, 0, 0, 1]])  # groups [0 1 2] and [0 0 1]
    assert not torch.allclose(z[0], z[3]) and not torch.allclose(z[1], z[5])
    assert torch.equal(z[3], z[4])


def engine_noisy(batch, classes):
    """Noisy layer, class embeddings and labels of an iteration as the engine makes them."""
    d = Distillation(mini(batch=batch, classes=tuple(range(classes))))
    made = Synthesis(d.setting, d.state, None)
    return made.source.noisy_layer, d.setting.table[made.labels], made.positions


@pytest.mark.parametrize(("batch", "classes"), [(20, 10), (25, 10), (12, 10), (7, 3), (20, 9)])
@torch.no_grad()
def test_each_round_of_the_class_list_has_a_linear_of_its_own(batch, classes):
    """Whatever the remainder: group i // K, so that no two samples of a batch are the same
    image.
    """
    noisy, f, positions = engine_noisy(batch, classes)
    assert len(noisy.weight) == math.ceil(batch / classes)
    torch.testing.assert_close(
        noisy(f), slow_noisy(noisy, f, lambda i: i // classes), rtol=1e-3, atol=1e-3
    )
    z = noisy(f)
    for i in range(batch):
        for j in range(i):
            assert not torch.equal(z[i], z[j]), (i, j, positions[i], positions[j])


@pytest.mark.parametrize("classes", [1, 2])
@torch.no_grad()
def test_fewer_than_three_classes_use_the_tables_statistics(classes):
    """A batch of equal rows would be normalized to zeros."""
    noisy, f, _ = engine_noisy(6, classes)
    z = noisy(f)
    torch.testing.assert_close(
        z, slow_noisy(noisy, f, lambda i: i // classes), rtol=1e-3, atol=1e-3
    )
    assert (z.abs().amax(1) > 0.1).all() and (z[0] - z[-1]).abs().max() > 0.1


@torch.no_grad()
def test_beyond_sixteen_groups_jitter_tells_samples_apart():
    noisy, f, positions = engine_noisy(60, 3)
    assert len(noisy.weight) == MAX_GROUPS and noisy.jitter.shape == f.shape
    assert abs(noisy.jitter.std() - 0.1) < 0.005
    z = noisy(f)
    assert len({tuple(row.tolist()) for row in z}) == 60
    assert max(Counter(positions.tolist()).values()) == 20 > MAX_GROUPS


# --- generator ------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["sigmoid", "batchnorm"])
@pytest.mark.parametrize(
    ("side", "deep", "up_first"),
    [(28, False, True), (28, False, False), (32, True, True), (32, True, False)],
)
def test_images_have_the_asked_shape_and_range(side, deep, up_first, output, rng):
    statistics = (torch.full((3,), 0.3), torch.full((3,), 0.4))
    g = Generator(3, side, 8, deep, up_first, noise_width=16, output=output, statistics=statistics)
    x = g(10 * torch.randn(6, 16, generator=rng))
    assert x.shape == (6, 3, side, side)
    assert x.min() >= 0 and x.max() <= 1 and x.std() > 0.01


def test_output_batchnorm_is_standardised_then_rescaled(rng):
    g = Generator(
        1,
        8,
        8,
        noise_width=16,
        output="batchnorm",
        statistics=(torch.tensor([0.5]), torch.tensor([0.05])),
    )
    x = g(torch.randn(64, 16, generator=rng))  # ±10σ fits into [0,1]: nothing is clipped
    assert x.mean().item() == pytest.approx(0.5, abs=1e-3) and x.std().item() == pytest.approx(
        0.05, abs=1e-3
    )


def test_sizes_of_table_7(rng):
    """Width 64, e = 32, rows as printed with upsampling first: 128·(e/4)², 128 and 64 channels,
    then the image's.
    """
    g = Generator(3, 32, 64, up_first=True, noise_width=1000)
    assert g.linear.weight.shape == (128 * 8 * 8, 1000) and g.norm.num_features == 128 * 64
    sizes = []
    for layer in [*g.blocks, g.to_image]:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda _, inputs, out: sizes.append(
                    (tuple(inputs[0].shape[1:]), tuple(out.shape[1:]))
                )
            )
    g(torch.randn(2, 1000, generator=rng))
    assert sizes == [
        ((128, 16, 16), (128, 16, 16)),
        ((128, 32, 32), (64, 32, 32)),
        ((64, 32, 32), (3, 32, 32)),
    ]


def test_deep_starts_at_a_sixteenth():
    assert Generator(3, 96, 32, deep=True).linear.out_features == 64 * 6 * 6
    with pytest.raises(ValueError, match="multiple of 16"):
        Generator(3, 28, deep=True)


def test_spectral_norm_is_one(rng):
    """After enough power iterations the largest singular value of each convolution's matrix is
    1.
    """
    g = Generator(1, 8, 8, noise_width=16)
    z = torch.randn(4, 16, generator=rng)
    for _ in range(200):
        g(z)
    g.eval()
    convolutions = [m for m in g.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 3
    for conv in convolutions:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(
            1, abs=1e-3
        )


def test_gradients_reach_noisy_layer_and_generator(rng):
    layer, g = NoisyLayer(6, 2, 16, rng=rng), Generator(1, 8, 8, noise_width=16)
    g(layer(torch.randn(6, 6, generator=rng))).square().sum().backward()
    for name, p in [*layer.named_parameters(), *g.named_parameters()]:
        assert p.grad is not None and torch.isfinite(p.grad).all(), name
    assert layer.weight.grad.abs().sum() > 0 and g.linear.weight.grad.abs().sum() > 0
