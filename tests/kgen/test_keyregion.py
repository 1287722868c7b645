"""The class activation map against brute force and against the logit; the targets against their
formula.
"""

from __future__ import annotations

import math

import pytest
import torch

from kgen import keyregion
from kgen.recipe.fields import Target


def test_cam_is_the_weighted_sum_of_maps(rng):
    features, weight = torch.randn(3, 4, 2, 5, generator=rng), torch.randn(6, 4, generator=rng)
    labels = torch.tensor([5, 0, 5])
    cam = keyregion.class_activation_map(features, weight, labels)
    assert cam.shape == (3, 2, 5)
    for b in range(3):
        for y in range(2):
            for x in range(5):
                slow = sum(
                    weight[labels[b], k].item() * features[b, k, y, x].item() for k in range(4)
                )
                assert cam[b, y, x].item() == pytest.approx(slow, abs=1e-5)


def test_mean_of_cam_plus_bias_is_the_logit(teacher, rng):
    """Closed form for pooling + Linear: the mean over the cells is the logit without its bias."""
    images = torch.rand(4, 1, 28, 28, generator=rng)
    labels = torch.tensor([0, 3, 3, 9])
    with torch.no_grad():
        probe = teacher(images)
    cam = keyregion.class_activation_map(probe.features, teacher.weight, labels)
    bias = teacher.network.get_classifier().bias[labels]
    torch.testing.assert_close(
        cam.mean((1, 2)) + bias, probe.logits.gather(1, labels[:, None])[:, 0], rtol=1e-4, atol=1e-4
    )


def test_cam_is_the_gradient_form(teacher, rng):
    """M = h·w·Σ_k F_k · ∂logit/∂F_k, which other heads use, is Eq. 5 for pooling + Linear."""
    with torch.no_grad():
        features = teacher(torch.rand(2, 1, 28, 28, generator=rng)).features
    features.requires_grad_()
    head = teacher.network.get_classifier()
    labels = torch.tensor([1, 7])
    logits = head(teacher.network.forward_head(features, pre_logits=True)).gather(
        1, labels[:, None]
    )
    (gradient,) = torch.autograd.grad(logits.sum(), features)
    h, w = features.shape[2:]
    cam = keyregion.class_activation_map(features.detach(), teacher.weight, labels)
    torch.testing.assert_close(
        cam, h * w * (features.detach() * gradient).sum(1), rtol=1e-4, atol=1e-4
    )


def test_linearised_map_is_eq_5_for_pooling_and_linear(rng):
    features = torch.randn(3, 4, 2, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    weight, bias = (
        torch.randn(6, 4, generator=rng, dtype=torch.float64),
        torch.randn(6, generator=rng, dtype=torch.float64),
    )
    labels = torch.tensor([5, 0, 5])
    maps = (
        keyregion.linearized_map(
            features, lambda f: torch.nn.functional.linear(f.mean((2, 3)), weight, bias), labels
        ),
        keyregion.class_activation_map(features, weight, labels),
    )
    torch.testing.assert_close(*maps)
    # and what training does with it is the same, too
    grain = torch.randn(3, 2, 5, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(*(torch.autograd.grad((grain * m).sum(), features)[0] for m in maps))


def test_linearised_map_of_a_bent_head_is_finite_differences(rng):
    """A head with a hidden layer: every derivative by central differences; in training the
    derivative is held constant.
    """
    hidden, out = (
        torch.randn(5, 4, generator=rng, dtype=torch.float64),
        torch.randn(6, 5, generator=rng, dtype=torch.float64),
    )

    def head(f):
        return torch.tanh(f.amax((2, 3)) @ hidden.T) @ out.T

    features = torch.randn(2, 4, 2, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    labels, slope, eps = torch.tensor([4, 1]), torch.zeros(2, 4, 2, 3, dtype=torch.float64), 1e-6
    for b in range(2):
        for place in range(24):
            moved = [features.detach().clone() for _ in range(2)]
            for f, sign in zip(moved, (1, -1)):
                f[b].view(-1)[place] += sign * eps
            up, down = (head(f)[b, labels[b]] for f in moved)
            slope[b].view(-1)[place] = (up - down) / (2 * eps)
    with torch.no_grad():
        torch.testing.assert_close(
            keyregion.linearized_map(features, head, labels),
            6 * (features * slope).sum(1),
            rtol=1e-6,
            atol=1e-8,
        )
    (gradient,) = torch.autograd.grad(
        keyregion.linearized_map(features, head, labels).sum(), features
    )
    torch.testing.assert_close(gradient, 6 * slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("h", "w"), [(4, 4), (7, 7), (3, 5), (1, 1)])
def test_gaussian_target_is_its_formula(h, w):
    target = keyregion.gaussian_target(h, w, peak=3.0, sigma=1.5)
    assert target.shape == (h, w)
    for y in range(h):
        for x in range(w):
            r2 = (y - (h - 1) / 2) ** 2 + (x - (w - 1) / 2) ** 2
            assert target[y, x].item() == pytest.approx(3.0 * math.exp(-r2 / (2 * 1.5**2)))


def test_gaussian_target_known_values():
    four, seven = keyregion.gaussian_target(4, 4), keyregion.gaussian_target(7, 7)
    assert four.max().item() == pytest.approx(
        0.94, abs=0.005
    )  # no cell is in the middle; not renormalized
    assert seven[3, 3] == 1.0
    assert seven[0, 0].item() == pytest.approx(math.exp(-18 / 8))
    assert (
        torch.equal(seven, seven.T)
        and torch.equal(seven, seven.flip(0))
        and torch.equal(seven, seven.flip(1))
    )


def test_full_and_made_targets():
    assert keyregion.full_target(2, 3, 1.5).tolist() == [[1.5] * 3] * 2
    assert torch.equal(
        keyregion.make_target(Target(kind="full", peak=2.0), 3, 3), torch.full((3, 3), 2.0)
    )
    assert torch.equal(
        keyregion.make_target(Target(peak=2.0, sigma=1.0), 7, 7),
        keyregion.gaussian_target(7, 7, 2.0, 1.0),
    )
    # a share of the map's side: 0.25 of 8 cells are 2
    share = keyregion.make_target(Target(sigma=99.0, sigma_fraction=0.25), 8, 8)
    assert torch.equal(share, keyregion.gaussian_target(8, 8, 1.0, 2.0))
