"""Networks with only a forward pass: the parts together compute the same as the whole."""

from __future__ import annotations

import copy
import weakref

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from kgen.nets.small_cnn import seeded
from kgen.nets.splitting import NotSplittable, SplitNetwork


class Pooled(nn.Module):
    """As people write them: functional layers, a buffer, an optional argument."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))
        self.conv1, self.bn = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.conv2, self.fc = nn.Conv2d(8, 16, 3, 2, 1), nn.Linear(16, 5)

    def maps(self, x):
        return F.relu(self.conv2(F.relu(self.bn(self.conv1(x - self.mean)))))

    def forward(self, x, return_embedding=False):
        x = F.adaptive_avg_pool2d(self.maps(x), 1).flatten(1)
        return x if return_embedding else self.fc(F.dropout(x, 0.5, self.training))


class Flattened(Pooled):
    """Two Linears after the map, the batch size read at the beginning, log-softmax at the end."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(16 * 64, 32), nn.Linear(32, 5)

    def forward(self, x):
        images = x.size(0)
        x = F.relu(self.hidden(self.maps(x).view(images, -1)))
        return F.log_softmax(self.out(x), dim=1)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = timm.create_model("test_resnet", num_classes=0)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(self.backbone.num_features, 5))

    def forward(self, x):
        return self.head(self.backbone(x))


class Measured(Pooled):
    """Sizes read from the images and used behind the map, and an assertion about them."""

    def forward(self, x):
        shape = x.shape
        b, c, h, w = shape
        assert h == w and c == 3, f"{c} channels"
        x = self.maps(x)
        if h % 4:
            x = x * 0
        return self.fc(x.reshape(b, -1, (h // 4) * (w // 4)).sum(2) / (h // 4 * shape[3] // 4))


class Branching(Pooled):
    """A forward pass that depends on values, which cannot be traced."""

    def forward(self, x):
        return super().forward(x * 0 if x.mean() > 5 else x)


class Perceptron(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, 20), nn.ReLU(), nn.Linear(20, 5))


@pytest.mark.parametrize(
    ("kind", "features", "width"),
    [
        (Pooled, (16, 8, 8), 16),
        (Flattened, (16, 8, 8), 32),
        (Backbone, (192, 2, 2), 96),
        (Measured, (16, 8, 8), 16),
        (Branching, (16,), 16),
        (Perceptron, (20,), 20),
    ],
)
def test_the_parts_give_what_the_whole_gives(kind, features, width, rng):
    whole, images = seeded(kind, 0).eval(), torch.rand(4, 3, 32, 32, generator=rng)
    split = SplitNetwork(whole, 3, 32)
    with torch.no_grad():
        maps, logits, expected = split.forward_features(images), split(images), whole(images)
        embedding = split.forward_head(maps, pre_logits=True)
    assert maps.shape == (4, *features) and embedding.shape == (4, width) == (4, split.num_features)
    torch.testing.assert_close(logits.log_softmax(1), expected.log_softmax(1))
    assert {f"network.{name}" for name in whole.state_dict()} == split.state_dict().keys()
    other = copy.deepcopy(split).double()
    assert other(images.double()).dtype == torch.float64 and split(images).dtype == torch.float32


@pytest.mark.parametrize(
    ("forward", "fact"),
    [
        (lambda self, x: self.fc(self.maps(x).mean((2, 3))) * 2, "'fc'"),
        (lambda self, x: self.fc(self.maps(x).permute(0, 2, 3, 1)), "(3, 8, 8, 5)"),
        (lambda self, x: self.maps(x), "no Linear"),
        (lambda self, x: [self.fc(self.maps(x).mean((2, 3)))], "list"),
        (lambda self, x: self.fc(self.maps(x).flatten(1)), "32 × 32"),
    ],
)
def test_what_cannot_be_split_is_said(forward, fact, monkeypatch):
    monkeypatch.setattr(Pooled, "forward", forward)
    with pytest.raises(NotSplittable) as caught:
        SplitNetwork(seeded(Pooled, 0), 3, 32)
    assert fact in str(caught.value)


class Ending(Pooled):
    """With something after its last Linear that changes nothing before it is trained."""

    def __init__(self, ending):
        super().__init__()
        self.ending = ending

    def forward(self, x):
        return self.ending(super().forward(x))


class Plus(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(5))

    def forward(self, x):
        return x + self.bias


class Temperature(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, x):
        return F.softmax(x / self.temperature, 1)


class Switch(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("times", torch.ones((), dtype=torch.long))

    def forward(self, x):
        return x * self.times


@pytest.mark.parametrize("kind", [lambda: nn.BatchNorm1d(5), Plus, Temperature])
def test_a_trained_layer_after_the_logits_is_not_left_out(kind):
    with pytest.raises(NotSplittable) as caught:
        SplitNetwork(seeded(lambda: Ending(kind()), 0), 3, 32)
    assert "'fc'" in str(caught.value)


def test_what_follows_the_logits_is_looked_for_again_in_the_loaded_weights():
    split = SplitNetwork(seeded(lambda: Ending(Switch()), 0), 3, 32)
    before = {name: t.clone() for name, t in split.state_dict().items()}
    split.verify()
    assert all(torch.equal(t, before[name]) for name, t in split.state_dict().items())
    split.load_state_dict(before | {"network.ending.times": torch.tensor(2)})
    with pytest.raises(NotSplittable):
        split.verify()


def test_sizes_follow_the_images(rng):
    """At any resolution and for any number of images; another branch is never taken silently."""
    whole = seeded(Measured, 0).eval()
    split = SplitNetwork(whole, 3, 32)
    assert not split.no_map
    with torch.no_grad():
        maps = {}
        for n, side in ((5, 32), (2, 16), (1, 48)):
            images = torch.rand(n, 3, side, side, generator=rng)
            maps[side] = split.forward_features(images), whole(images)
        for features, expected in maps.values():
            torch.testing.assert_close(split.forward_head(features), expected)
        with pytest.raises(ValueError, match="branch"):
            split(torch.rand(1, 3, 30, 30, generator=rng))


def test_a_missing_map_is_explained():
    for kind, fact in ((Branching, "control flow"), (Perceptron, "through a single map")):
        assert fact in SplitNetwork(seeded(kind, 0), 3, 32).no_map


def test_activations_are_freed_while_they_are_not_needed():
    """The most bytes held at once by a chain of ten layers, in its own forward pass and split."""
    convolutions = [layer for _ in range(10) for layer in (nn.Conv2d(8, 8, 1), nn.Tanh())]
    chain = nn.Sequential(nn.Conv2d(3, 8, 1), *convolutions, nn.AdaptiveAvgPool2d(1))
    whole = nn.Sequential(chain, nn.Flatten(), nn.Linear(8, 5)).eval()
    split, alive, most = SplitNetwork(whole, 3, 32), [], []

    def note(_, __, output):
        alive.append(weakref.ref(output))
        most.append(sum(ref() is not None for ref in alive))

    for layer in chain:
        layer.register_forward_hook(note)
    with torch.no_grad():
        split.forward_features(torch.rand(2, 3, 32, 32))
    assert max(most) <= 3
