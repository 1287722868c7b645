"""Each loss term against a slow loop, a closed form or torch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kgen import losses

few = settings(max_examples=25, deadline=None)
sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10_000))


def softmax(row):
    top = max(row)
    e = [math.exp(v - top) for v in row]
    return [v / sum(e) for v in e]


def logits(b, k, seed):
    return torch.randn(b, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


@few
@given(sizes)
def test_cross_entropy_is_minus_log_probability(size):
    b, k, seed = size
    x, labels = logits(b, k, seed), torch.arange(b) % k
    slow = [-math.log(softmax(x[i].tolist())[labels[i]]) for i in range(b)]
    assert losses.cross_entropy(x, labels).tolist() == pytest.approx(slow, abs=1e-9)


@few
@given(sizes)
def test_adversarial_is_minus_the_divergence(size):
    b, k, seed = size
    t, s = logits(b, k, seed), logits(b, k, seed + 1)
    slow = []
    for i in range(b):
        p, q = softmax(t[i].tolist()), softmax(s[i].tolist())
        slow.append(-sum(a * math.log(a / c) for a, c in zip(p, q)))
    assert losses.adversarial(t, s).tolist() == pytest.approx(slow, abs=1e-9)
    assert all(v <= 1e-12 for v in slow)
    halves = []
    for i in range(b):
        p, q = softmax(t[i].tolist()), softmax(s[i].tolist())
        middle = [(x + y) / 2 for x, y in zip(p, q)]
        halves.append(
            -0.5 * sum(x * math.log(x / m) + y * math.log(y / m) for x, y, m in zip(p, q, middle))
        )
    bounded = losses.adversarial(t, s, divergence="js").tolist()
    assert bounded == pytest.approx(halves, abs=1e-9) and all(
        -math.log(2) - 1e-12 <= v <= 1e-12 for v in bounded
    )
    agree = [t[i].argmax() == s[i].argmax() for i in range(b)]
    masked = losses.adversarial(t, s, mask="agree").tolist()
    assert masked == pytest.approx([v if a else 0.0 for v, a in zip(slow, agree)], abs=1e-9)


def test_adversarial_rewards_disagreement():
    """Its gradient raises the divergence: a step against it makes the loss smaller."""
    t = logits(4, 5, 0).requires_grad_()
    s = logits(4, 5, 1)
    (g,) = torch.autograd.grad(losses.adversarial(t, s).sum(), t)
    assert (
        losses.adversarial(t.detach() - 1e-3 * g, s).sum() < losses.adversarial(t.detach(), s).sum()
    )


def statistics(seed, layers=3):
    g = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.rand(4 + i, generator=g, dtype=torch.float64) + 0.1 for _ in range(4))
        for i in range(layers)
    ]


@few
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_batch_norm_raw_and_relative(seed, layers):
    layered = statistics(seed, layers)

    def norm(v):
        return math.sqrt(sum(x * x for x in v))

    raw, relative = 0.0, 0.0
    for mean, var, mu, sigma2 in [[t.tolist() for t in layer] for layer in layered]:
        off_mean = norm([a - b for a, b in zip(mean, mu)])
        off_var = norm([a - b for a, b in zip(var, sigma2)])
        raw += off_mean + off_var
        relative += off_mean / norm([math.sqrt(v) for v in sigma2]) + off_var / norm(sigma2)
    assert losses.batch_norm(layered).item() == pytest.approx(raw)
    assert losses.batch_norm(layered, scale="relative").item() == pytest.approx(relative / layers)


def test_batch_norm_is_zero_at_home_and_without_layers():
    home = [(m, v, m, v) for m, v, *_ in statistics(0)]
    assert losses.batch_norm(home) == 0 and losses.batch_norm(home, "relative") == 0
    assert losses.batch_norm([]) == 0 and losses.batch_norm([], "relative") == 0


def test_batch_norm_agrees_with_what_torch_layers_store():
    """A layer with momentum 1 stores the batch's mean and unbiased variance: the distance to itself
    is the bias alone.
    """
    layer, x = (
        nn.BatchNorm2d(3, momentum=1.0).double(),
        torch.randn(4, 3, 5, 5, dtype=torch.float64),
    )
    layer(x)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    n = 100
    expected = (layer.running_var * (1 - (n - 1) / n)).norm()
    assert losses.batch_norm(
        [(mean, var, layer.running_mean, layer.running_var)]
    ).item() == pytest.approx(expected.item())


def test_key_region_counts_only_what_is_missing():
    cam = torch.tensor([[[0.0, 2.0], [0.5, -1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    target = torch.tensor([[1.0, 1.0], [1.0, 0.5]])
    # first: 1 + 0 + 0.5 + 1.5; second: the target is reached everywhere
    assert losses.key_region(cam, target).tolist() == [3.0, 0.0]


@few
@given(sizes)
def test_key_region_slow(size):
    b, h, seed = size
    cam, target = logits(b * h, 3, seed).view(b, h, 3), logits(h, 3, seed + 1)
    slow = [
        sum(max(0.0, target[y, x].item() - cam[i, y, x].item()) for y in range(h) for x in range(3))
        for i in range(b)
    ]
    assert losses.key_region(cam, target).tolist() == pytest.approx(slow)


@few
@given(sizes, st.floats(0, 10))
def test_embedding_terms_slow(size, radius):
    b, d, seed = size
    s, y = logits(b, d, seed), logits(b, d, seed + 1)
    mse = [sum((s[i, j].item() - y[i, j].item()) ** 2 for j in range(d)) / d for i in range(b)]
    assert losses.embedding_pull(s, y, radius).tolist() == pytest.approx(
        [max(0.0, m - radius) for m in mse]
    )
    assert losses.embedding_push(s, y, radius).tolist() == pytest.approx(
        [max(0.0, radius - m) for m in mse]
    )


@few
@given(sizes, st.sampled_from([1.0, 4.0, 10.0]))
def test_distillation_slow(size, temperature):
    b, k, seed = size
    t, s = logits(b, k, seed), logits(b, k, seed + 1)
    total = 0.0
    for i in range(b):
        p, q = (softmax([v / temperature for v in x[i].tolist()]) for x in (t, s))
        total += sum(a * math.log(a / c) for a, c in zip(p, q))
    assert losses.distillation(t, s, temperature).item() == pytest.approx(
        temperature**2 * total / b, abs=1e-9
    )


def test_distillation_is_torchs_kl_div():
    t, s = logits(6, 10, 0), logits(6, 10, 1)
    wanted = F.kl_div(F.log_softmax(s / 4, 1), F.softmax(t / 4, 1), reduction="batchmean") * 16
    torch.testing.assert_close(losses.distillation(t, s, 4.0), wanted)
    assert losses.distillation(t, t, 4.0).item() == pytest.approx(0, abs=1e-12)
