"""Parameters, multiply–accumulates and bytes, against sums by hand and published numbers; and
nothing is left behind.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kgen.nets import architectures
from kgen.nets.cost import cost
from kgen.nets.small_cnn import seeded
from kgen.zoo import zoo


def test_a_network_counted_by_hand():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 7 * 7, 10),
    )
    found = cost(network, 1, 14)
    assert found.macs == 7 * 7 * 4 * 9 + 196 * 10
    assert (
        found.parameters == 36 + 8 + 1970 and found.bytes == 4 * (36 + 8 + 1970 + 8) + 8
    )  # running statistics, and a counter in int64


def test_a_vit_counted_by_hand():
    """Patches, then in each block q, k, v and projection, scores and values, and an MLP of twice
    the width; one class token.
    """
    d, n, depth = 32, 50, 2
    block = 4 * n * d * d + 2 * n * n * d + 4 * n * d * d
    assert (
        cost(zoo.build_student("small-vit-20k", 1, 10, 0), 1, 28).macs
        == 49 * 16 * d + depth * block + 10 * d
    )


@pytest.mark.parametrize(("name", "millions"), [("resnet18", 1814), ("mobilenetv2_100", 300)])
def test_published_numbers(name, millions):
    network = seeded(architectures.build, 0, name, 3, 1000)
    assert cost(network, 3, 224).macs / 1e6 == pytest.approx(millions, rel=0.005)


def test_the_network_is_left_alone():
    network = zoo.build_student("small-cnn-20k", 1, 10, 0).train()
    before, state = (
        {k: t.clone() for k, t in network.state_dict().items()},
        torch.random.get_rng_state(),
    )
    cost(network, 1, 28)
    assert all(m.training for m in network.modules()) and all(
        p.requires_grad and p.grad is None for p in network.parameters()
    )
    assert all(torch.equal(t, before[k]) for k, t in network.state_dict().items()) and torch.equal(
        torch.random.get_rng_state(), state
    )


@pytest.mark.parametrize("name", zoo.COSTS)
def test_what_is_reported_without_torch_is_what_torch_counts(name):
    network = (
        zoo.load_teacher(name).network
        if name in zoo.TEACHERS
        else zoo.build_student(name, 1, 10, 0)
    )
    seen = (zoo.card(name).channels, zoo.card(name).side) if name in zoo.TEACHERS else (1, 28)
    assert cost(network, *seen) == zoo.COSTS[name]


def test_everything_bundled_is_reported():
    assert set(zoo.COSTS) == {*zoo.TEACHERS, *zoo.STUDENTS}


def test_a_network_that_looks_at_values_has_no_count():
    class Curious(nn.Flatten):
        def forward(self, x):
            return x * 2 if x.sum().item() > 0 else x

    assert cost(Curious(), 1, 8) == (0, None, 0)
