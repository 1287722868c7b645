"""The teacher against its own network called by hand, and its card against the real test images."""

from __future__ import annotations

import json
import os

import pytest
import torch
from torch import nn

from kgen.data import data
from kgen.events import TeacherCard
from kgen.keyregion import class_activation_map
from kgen.nets.vit import WindowedViT, small_vit
from kgen.teachers import Teacher, channel_statistics
from kgen.zoo import zoo
from kgen.zoo.teach import accuracy, make_normalizer
from tests.support.errors import raises


@pytest.fixture
def images(rng):
    return torch.rand(5, 1, 28, 28, generator=rng)


def test_probe_shapes_and_logits(teacher, images):
    with torch.no_grad():
        probe = teacher(images)
        by_hand = teacher.network((images - teacher.mean) / teacher.std)
    k = teacher.card.features
    assert (
        probe.logits.shape == (5, 10)
        and probe.features.shape == (5, k, 7, 7)
        and probe.embedding.shape == (5, k)
    )
    torch.testing.assert_close(probe.logits, by_hand)
    torch.testing.assert_close(teacher.logits(images), by_hand)
    torch.testing.assert_close(probe.embedding, probe.features.mean((2, 3)))
    assert teacher.weight.shape == (10, k)


@torch.no_grad()
def test_batch_norm_statistics_layer_by_layer(teacher, images):
    """Walk through the network by hand; at each BatchNorm compute mean and biased variance with
    plain sums.
    """
    expected = []

    def seen(x, layer):
        flat = x.double().transpose(0, 1).flatten(1)
        mean = flat.sum(1) / flat.shape[1]
        var = ((flat - mean[:, None]) ** 2).sum(1) / flat.shape[1]
        expected.append((mean, var, layer.running_mean, layer.running_var))
        return layer(x)

    net = teacher.network
    x = net.stem[2](seen(net.stem[0]((images - teacher.mean) / teacher.std), net.stem[1]))
    for block in net.stages:
        y = torch.relu(seen(block.conv1(x), block.bn1))
        y = seen(block.conv2(y), block.bn2)
        x = torch.relu(
            y
            + (
                x
                if isinstance(block.shortcut, nn.Identity)
                else seen(block.shortcut[0](x), block.shortcut[1])
            )
        )
    found = teacher(images).batch_norm
    assert len(found) == len(expected) == sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    for (mean, var, mu, sigma2), wanted in zip(found, expected):
        torch.testing.assert_close(mean.double(), wanted[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(var.double(), wanted[1], rtol=1e-4, atol=1e-4)
        assert mu is wanted[2] and sigma2 is wanted[3]


def test_a_batch_norm_without_running_statistics_is_left_out(images):
    """It normalizes by each batch: there is nothing to compare the batch's statistics with."""
    teacher = zoo.load_teacher("fashion-cnn")
    network, found = teacher.network, len(teacher(images).batch_norm)
    network.stem[1] = nn.BatchNorm2d(network.stem[1].num_features, track_running_stats=False)
    left = Teacher(network.eval(), teacher.card, teacher.classes, teacher.mean, teacher.std)
    assert len(left(images).batch_norm) == found - 1


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (7, 3)])
def test_channel_statistics_and_their_gradient_are_torchs(shape, rng):
    x = torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, shape[1], generator=rng, dtype=torch.float64)
    mean, var = channel_statistics(x)
    v, m = torch.var_mean(x, [i for i in range(x.ndim) if i != 1], correction=0)
    torch.testing.assert_close((mean, var), (m, v))
    mine, torchs = (
        torch.autograd.grad((weights[0] * a + weights[1] * b).sum(), x)[0]
        for a, b in ((mean, var), (m, v))
    )
    torch.testing.assert_close(mine, torchs)


def test_nothing_stays_behind(images):
    teacher = zoo.load_teacher("fashion-cnn")
    before = {k: v.clone() for k, v in teacher.network.state_dict().items()}
    images.requires_grad_()
    probe = teacher(images)
    (probe.logits.sum() + sum(m.sum() for m, *_ in probe.batch_norm)).backward()
    assert images.grad.abs().sum() > 0
    assert all(
        not m._forward_hooks and not m._forward_pre_hooks and not m.training
        for m in teacher.network.modules()
    )
    assert all(not p.requires_grad and p.grad is None for p in teacher.network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in teacher.network.state_dict().items())


def test_hooks_go_even_when_the_forward_fails(teacher):
    with pytest.raises(RuntimeError):
        teacher(torch.rand(2, 3, 28, 28))
    assert all(not m._forward_pre_hooks for m in teacher.network.modules())


def test_twin_shares_storage_but_not_modules(teacher, images):
    clone = teacher.clone()
    mine, its = teacher.network.state_dict(), clone.network.state_dict()
    assert all(mine[k].data_ptr() == its[k].data_ptr() for k in mine)
    assert not {id(m) for m in teacher.network.modules()} & {id(m) for m in clone.network.modules()}
    with torch.no_grad():
        assert torch.equal(teacher(images).logits, clone.logits(images))
        # a hook in one does not fire in the other
        seen = []
        handle = clone.network.fc.register_forward_hook(lambda *_: seen.append(1))
        teacher(images)
        handle.remove()
    assert not seen


# --- the map, whatever the architecture -----------------------------------------------------------


class Toy(nn.Module):
    """A convolution, a way to pool, perhaps a hidden layer, a Linear; by timm's convention."""

    def __init__(self, pool: str, bent: bool = False, flat: bool = False):
        super().__init__()
        self.conv, self.fc, self.pool = nn.Conv2d(1, 6, 3, 2, 1), nn.Linear(6, 10), pool
        self.hidden = nn.Sequential(nn.Linear(6, 6), nn.Tanh()) if bent else nn.Identity()
        self.flat = flat

    def forward_features(self, x):
        maps = self.conv(x).relu()
        return maps.mean((2, 3)) if self.flat else maps

    def forward_head(self, features, pre_logits=False):
        pooled = features if self.flat else getattr(features, self.pool)((2, 3))
        return self.hidden(pooled) if pre_logits else self.fc(self.hidden(pooled))

    def get_classifier(self):
        return self.fc

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def toy_teacher(network):
    card = TeacherCard(
        name="toy",
        title="Toy",
        architecture="Toy",
        parameters=0,
        channels=1,
        side=12,
        features=6,
        n_train=1,
    )
    return Teacher(network, card, tuple("abcdefghij"), torch.tensor([0.3]), torch.tensor([0.4]))


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (Toy("mean"), "cam"),
        (Toy("amax"), "linearised"),
        (Toy("mean", bent=True), "linearised"),
        (Toy("mean", flat=True), "none"),
        (small_vit(side=12, dim=8, depth=1, heads=2), "attention"),
    ],
    ids=["pooling and Linear", "another pooling", "a hidden layer", "no map", "ViT"],
)
def test_kind_of_map_is_found_by_trying(network, kind, rng):
    toy = toy_teacher(network)
    assert toy.map_kind == kind and toy.side_multiple == (4 if kind == "attention" else 1)
    images = torch.rand(3, 1, 8, 8, generator=rng, requires_grad=True)
    probe = toy(images)
    seen = toy.activation_map(probe, torch.tensor([1, 0, 9]))
    torch.testing.assert_close(probe.logits, toy.logits(images))
    if kind == "none":
        assert seen is None
        return
    assert seen.shape == (3, 2, 2) if kind == "attention" else (3, 4, 4)
    seen.sum().backward()
    assert images.grad.abs().sum() > 0


def test_map_of_the_bundled_teacher_is_eq_5(teacher, images):
    with torch.no_grad():
        probe = teacher(images)
        labels = torch.arange(5)
        assert teacher.map_kind == "cam" and teacher.side_multiple == 1
        assert torch.equal(
            teacher.activation_map(probe, labels),
            class_activation_map(probe.features, teacher.weight, labels),
        )


def test_channels_last_are_not_a_map():
    network = Toy("mean")
    network.output_fmt = "NHWC"
    assert toy_teacher(network).map_kind == "none"


def test_a_vit_teacher_by_hand(rng):
    network = small_vit(side=12, dim=8, depth=2, heads=2)
    vit_teacher = toy_teacher(network.vit)
    assert isinstance(vit_teacher.network, WindowedViT)
    clone, images, corner = vit_teacher.clone(), torch.rand(2, 1, 8, 8, generator=rng), (1, 0)
    assert all(
        a is b
        for a, b in zip(vit_teacher.network.parameters(), clone.network.parameters(), strict=True)
    )
    with torch.no_grad():
        probe = vit_teacher(images, corner)
        tokens = network.forward_features((images - 0.3) / 0.4, corner)
        torch.testing.assert_close(probe.logits, network.forward_head(tokens))
        torch.testing.assert_close(probe.embedding, tokens[:, 0])
        assert torch.equal(vit_teacher.logits(images, corner), clone.logits(images, corner))
        assert not torch.equal(probe.logits, vit_teacher(images).logits)
    assert (
        probe.batch_norm == []
        and probe.features.shape == (2, 8, 2, 2)
        and probe.attention.shape == (2, 2, 2)
    )
    assert vit_teacher.activation_map(probe, torch.tensor([0, 1])) is probe.attention


# --- the bundled teachers -------------------------------------------------------------------------


BUNDLED = [
    (name, least)
    for name, least in (("fashion-cnn", 0.925), ("fashion-vit", 0.88))
    if zoo.TEACHERS[name].is_file()
]
"""The ViT's weights are made with `python -m kgen teach fashion-mnist --network vit` and not
shipped until they are good enough.
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), BUNDLED)
def test_card_is_what_a_measurement_finds(name, least):
    real = data.test_set("fashion-mnist")
    teacher = zoo.load_teacher(name)
    card = teacher.card
    measured = accuracy(
        teacher.network,
        real,
        make_normalizer(teacher.mean.flatten().tolist(), teacher.std.flatten().tolist()),
    )
    assert len(real) == card.n_test == 10_000
    # sums may round differently on another processor: two images of 10,000
    assert measured == pytest.approx(card.accuracy, abs=2e-4)
    assert measured >= least
    assert card.parameters == sum(p.numel() for p in teacher.network.parameters())
    assert card == zoo.card(name) and teacher.classes == zoo.classes(name) == data.FASHION_CLASSES


@pytest.mark.parametrize("name", [name for name, _ in BUNDLED])
def test_teacher_files_are_small(name):
    assert os.path.getsize(zoo.locate(name)) <= 2_000_000


# --- invalid names and files ----------------------------------------------------------------------


def test_unknown_names_are_answered_with_the_nearest(tmp_path):
    with raises(zoo.ZooError, "unknown-teacher", "'fashion-cnn'", meant="fashion-cnn"):
        zoo.load_teacher("fashion-cn")
    with raises(zoo.ZooError, "unknown-student", "'small-cnn-20k'"):
        zoo.build_student("small-cnn-20", 1, 10, 0)
    (tmp_path / "t.safetensors").write_bytes(b"nonsense")
    with raises(zoo.ZooError, "unreadable", tmp_path / "t.safetensors"):
        zoo.load_teacher(tmp_path / "t.safetensors")


def test_a_student_is_not_a_teacher(tmp_path):
    student = zoo.build_student("small-cnn-20k", 1, 10, 0)
    file = tmp_path / "student.safetensors"
    file.write_bytes(
        zoo.network_bytes(
            student,
            {
                "architecture": "small-cnn-20k",
                "channels": 1,
                "classes": ["a"] * 10,
                "width": 16,
                "blocks": [1, 1],
            },
        )
    )
    with pytest.raises(zoo.ZooError):
        zoo.load_teacher(file)


@pytest.mark.parametrize("name", ["small-cnn-45k", "small-vit-20k"])
def test_exported_students_come_back(name, tmp_path, rng):
    student = zoo.build_student(name, 1, 3, 0, side=20).eval()
    spec = {
        "format": "kgen student",
        "architecture": name,
        **zoo.STUDENTS[name],
        "channels": 1,
        "classes": ["a", "b", "c"],
        "side": 20,
    }
    zoo.save_network(student, tmp_path / "student.safetensors", spec)
    images = torch.rand(2, 1, 20, 20, generator=rng)
    with torch.no_grad():
        assert torch.equal(
            zoo.load_student(tmp_path / "student.safetensors")(images), student(images)
        )


def test_networks_survive_their_file(tmp_path, teacher, images):
    file = tmp_path / "copy.safetensors"
    zoo.save_network(
        teacher.network, file, json.loads(zoo.header(zoo.locate("fashion-cnn"))["kgen"])
    )
    copy = zoo.load_teacher(file)
    assert torch.equal(copy.logits(images), teacher.logits(images)) and copy.card == teacher.card


def test_students_depend_on_their_seed_alone():
    state = torch.get_rng_state()
    a, b, c = (zoo.build_student("small-cnn-20k", 1, 10, seed).fc.weight for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), state)
    sizes = {
        name: sum(p.numel() for p in zoo.build_student(name, 1, 10, 0).parameters())
        for name in zoo.STUDENTS
    }
    wanted = {
        name: 1000 * int(name.split("-")[-1].removesuffix("k"))
        for name in zoo.STUDENTS
        if name.startswith("small-")
    }
    assert len(wanted) >= 4 and all(0.75 * n < sizes[name] < 1.25 * n for name, n in wanted.items())
