"""Checkpoints exactly as training scripts save them: what is found, what is taken, what is left
out, and how a mismatch is explained. The oracle is the network that was saved.
"""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.utils.prune
from safetensors.torch import save_file
from torch import nn

from kgen.nets import architectures
from kgen.nets.small_cnn import seeded
from kgen.preflight import nearest, probes
from kgen.preflight.examination import preflight
from kgen.zoo import folding, placing, zoo
from kgen.zoo.checkpoints import WeightSet

NAMES = ["cat", "dog", "horse"]
HEAD = "fc"


@pytest.fixture(autouse=True)
def free(monkeypatch):
    """Without real steps, which take seconds."""
    monkeypatch.setattr(probes, "cost", lambda teacher, side: probes.Cost(0.001, None))


def trained(seed: int = 0, channels: int = 3) -> nn.Module:
    """A small network whose every tensor differs from an untrained one's."""
    network = zoo.build_student("small-cnn-20k", channels, 3, seed)
    network.train()(torch.rand(8, channels, 28, 28, generator=torch.Generator().manual_seed(seed)))
    return network.eval()


OWN, OTHER = trained().state_dict(), trained(1).state_dict()


def check(content, path, architecture="small-cnn-20k", **more):
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    report = preflight(path, architecture, NAMES, resolutions=(28,), **more)
    return report, {row.name: row for row in report.rows}


def has_weights(report, wanted) -> bool:
    found = report._network.state_dict()
    return all(torch.equal(found[name], t) for name, t in wanted.items())


def under(prefix, state=OWN):
    return {prefix + name: t for name, t in state.items()}


PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.", "1.", "my.own_net.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_is_found_by_the_networks_own_names(tmp_path, prefix):
    beside = {
        "criterion.weight": torch.ones(3),
        "total_ops": torch.zeros(1),
        f"{prefix}total_params": torch.zeros(1),
        f"{prefix}stages.0.total_ops": torch.zeros(1),
    }
    report, rows = check({"state_dict": under(prefix) | beside}, tmp_path / "w.ckpt")
    assert report.ok and has_weights(report, OWN)
    assert all(name in rows["weights"].finding for name in (prefix, "state_dict", *beside))
    assert rows["weights"].status == "ok"


def test_safetensors_have_prefixes_too(tmp_path):
    report, _ = check(under("net."), tmp_path / "w.safetensors")
    assert report.ok and has_weights(report, OWN)


@pytest.mark.parametrize(
    ("content", "choices", "wish"),
    [
        ({"model": OWN, "model_ema": OTHER}, ("model", "model_ema"), "ema"),
        ({"state_dict_ema": OTHER, "state_dict": OWN}, ("state_dict", "state_dict_ema"), "ema"),
        ({"net": {"online": OWN, "swa": OTHER}}, ("net.online", "net.swa"), "net.swa"),
        (
            {"state_dict": under("teacher.", OTHER) | under("student.")},
            ("state_dict.student", "state_dict.teacher"),
            "teacher",
        ),
        (OWN | under("ema_model.", OTHER), ("", "ema_model"), "ema_model."),
        (OWN | under("ema_model.", OTHER), ("", "ema_model"), None),
    ],
)
def test_one_of_several_sets_of_weights_is_taken_and_another_can_be(
    tmp_path, content, choices, wish
):
    report, rows = check(content, tmp_path / "w.pt")
    assert report.ok and has_weights(report, OWN)
    assert (report.weights, report.taken) == (choices, choices[0])
    assert choices[1] in rows["weights"].advice
    if wish:
        report, _ = check(content, tmp_path / "w.pt", weights=wish)
        assert report.ok and has_weights(report, OTHER) and report.taken == choices[1]
    else:
        assert has_weights(check(content, tmp_path / "w.pt", weights=".")[0], OWN)


def test_an_average_alone_is_taken_and_named(tmp_path):
    report, rows = check({"epoch": 4, "state_dict_ema": OWN}, tmp_path / "w.pt")
    assert report.ok and has_weights(report, OWN) and "state_dict_ema" in rows["weights"].finding


@pytest.mark.parametrize("key", ["optimized_model", "semantic_model"])
def test_a_networks_own_weights_come_first_whatever_their_name_contains(tmp_path, key):
    report, _ = check({"ema": OTHER, key: OWN}, tmp_path / "w.pt")
    assert report.ok and has_weights(report, OWN) and report.weights == (key, "ema")


def test_an_average_that_diverged_does_not_spoil_the_weights(tmp_path):
    bad = {name: t * float("nan") if t.is_floating_point() else t for name, t in OWN.items()}
    assert check({"model": OWN, "ema": bad}, tmp_path / "w.pt")[0].ok
    report, rows = check({"model": OWN, "ema": bad}, tmp_path / "w.pt", weights="ema")
    assert rows["tensors"].status == "fail" and "not finite" in rows["tensors"].finding


def test_a_wish_for_weights_that_are_not_there_lists_those_that_are(tmp_path):
    report, rows = check({"model": OWN, "ema": OTHER}, tmp_path / "w.pt", weights="swa")
    assert not report.ok and rows["weights"].status == "fail"
    assert "'swa'" in rows["weights"].finding and "model, ema" in rows["weights"].finding


@pytest.mark.parametrize(
    ("layer", "values"),
    [
        (("0.mean", "0.std"), ((0.5, 0.25, 0.75), (0.2, 0.3, 0.4))),
        (("normalizer.new_mean", "normalizer.new_std"), ((0.5, 0.25, 0.75), (0.2, 0.3, 0.4))),
        (("pixel_mean", "pixel_std"), ((127.5, 63.75, 191.25), (51.0, 76.5, 102.0))),
        (("norm.mu", "norm.sigma"), ((0.5, 0.25, 0.75), (0.2, 0.3, 0.4))),
    ],
)
def test_a_normalize_layer_gives_mean_and_std(tmp_path, layer, values):
    tensors = {name: torch.tensor(v).view(1, 3, 1, 1) for name, v in zip(layer, values)}
    report, rows = check(under("1.") | tensors, tmp_path / "w.pt")
    assert report.ok and all(name in rows["normalization"].finding for name in layer)
    assert rows["normalization"].status == "ok"
    assert report.spec["mean"] == pytest.approx([0.5, 0.25, 0.75])
    assert report.spec["std"] == pytest.approx([0.2, 0.3, 0.4])
    assert report.normalize["mean"] == tuple(report.spec["mean"])
    mine = {"mean": (0.1,) * 3, "std": (0.9,) * 3}
    report, _ = check(under("1.") | tensors, tmp_path / "w.pt", **mine)
    assert report.spec["mean"] == [0.1] * 3 and report.normalize  # given values take precedence


def test_tensors_beside_the_network_that_another_could_use_are_a_note(tmp_path):
    report, rows = check(OWN | {"attention.weight": torch.ones(2, 2)}, tmp_path / "w.pt")
    assert report.ok and rows["weights"].status == "warn"
    assert "attention.weight" in rows["weights"].advice


# --- weights in parts -----------------------------------------------------------------------------


def old_weight_norm(layer):
    return nn.utils.weight_norm(layer)


def pruned(layer):
    nn.utils.prune.l1_unstructured(layer, "weight", 0.5)
    return layer


PARTS = (
    old_weight_norm,
    nn.utils.parametrizations.weight_norm,
    lambda layer: nn.utils.parametrizations.weight_norm(layer, dim=1),
    pruned,
    nn.utils.spectral_norm,
    nn.utils.parametrizations.spectral_norm,
)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("change", PARTS)
@pytest.mark.parametrize("layer", [nn.Linear(5, 3), nn.Conv2d(4, 3, 3)], ids=["Linear", "Conv2d"])
def test_weights_in_parts_are_folded_as_the_layer_does(change, layer):
    """The oracle is the layer's own weight in evaluation."""
    torch.manual_seed(0)
    fresh = type(layer)(4, 3, 3) if isinstance(layer, nn.Conv2d) else nn.Linear(5, 3)
    network = nn.Sequential(change(fresh))
    images = torch.rand(2, 4, 8, 8) if isinstance(layer, nn.Conv2d) else torch.rand(2, 5)
    network.train()(images)  # spectral norm counts its vectors here
    network.eval()(images)
    tensors, folded = folding.fold(network.state_dict())
    assert set(tensors) == {"0.weight", "0.bias"} and len(folded) == 1
    torch.testing.assert_close(tensors["0.weight"], network[0].weight.detach())


@pytest.mark.parametrize(
    "change", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm]
)
@pytest.mark.parametrize("outputs", [4, 6])
def test_spectral_norm_of_a_transposed_convolution_is_along_its_second_axis(change, outputs):
    """With as many inputs as outputs, the lengths of the vectors do not show which axis it is."""
    torch.manual_seed(0)
    network = nn.Sequential(change(nn.ConvTranspose2d(4, outputs, 3)))
    images = torch.rand(2, 4, 8, 8)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(3):  # the vectors are a step behind the weight
        network.train()(images).square().mean().backward()
        optimizer.step()
    network.eval()(images)
    tensors, _ = folding.fold(network.state_dict())
    assert set(tensors) == {"0.weight", "0.bias"}
    torch.testing.assert_close(tensors["0.weight"], network[0].weight.detach())


def test_vectors_that_fit_neither_axis_leave_a_square_weight_in_parts():
    parts = {
        "up.weight_orig": torch.eye(4).view(4, 4, 1, 1),
        "up.weight_u": torch.tensor([1.0, 0, 0, 0]),
        "up.weight_v": torch.tensor([0.0, 1, 0, 0]),
    }
    assert folding.fold(parts) == (parts, ())


def test_parts_of_different_precision_stay_as_they_are():
    parts = {"fc.weight_v": torch.ones(3, 5).half(), "fc.weight_g": torch.ones(3, 1)}
    assert folding.fold(parts) == (parts, ())


class Gain(nn.Module):
    """A parametrization with a number of its own."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, weight):
        return weight * self.gain


@pytest.mark.parametrize("first", PARTS[1:3] + PARTS[-1:])
def test_a_chain_of_parametrizations_stays_in_parts(first):
    layer = first(nn.Linear(5, 3))
    nn.utils.parametrize.register_parametrization(layer, "weight", Gain())
    parts = layer.state_dict()
    tensors, folded = folding.fold(dict(parts))
    assert (tensors.keys(), folded) == (parts.keys(), ())


def test_parts_that_do_not_belong_together_stay(tmp_path):
    parts = {"fc.weight_g": torch.ones(4, 1), "fc.weight_v": torch.ones(3, 2)}
    assert folding.fold(parts) == (parts, ())


def test_a_folded_network_is_a_teacher_and_says_so(tmp_path):
    network = trained()
    nn.utils.prune.l1_unstructured(network.fc, "weight", 0.5)
    report, rows = check(under("module.", network.state_dict()), tmp_path / "w.pt")
    assert report.ok and "fc.weight (pruned)" in rows["weights"].finding
    assert torch.equal(report._network.fc.weight, network.fc.weight)


# --- mismatches -----------------------------------------------------------------------------------


def renamed(state, **names):
    return {".".join(names.get(p, p) for p in name.split(".")): t for name, t in state.items()}


def test_layers_with_other_names_are_recognized(tmp_path):
    network = seeded(architectures.build, 0, "resnet18-cifar", 3, 3)
    state = renamed(network.state_dict(), downsample="shortcut", fc="linear")
    sets = [WeightSet("", dict(sorted(under("module.", state).items())))]
    (place,) = placing.placements(sets, network.state_dict())
    assert place.renamed == {"shortcut": "downsample", "linear": "fc"}
    assert set(place.tensors) == set(network.state_dict())


class Wrapped(nn.Module):
    """A backbone with its own classifier, and more layers after it."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.backbone, self.head = trained(), head

    def forward(self, images):
        return self.head(self.backbone(images))


HEADS = {
    "a layer": nn.Linear(3, 3),
    "hidden layers": nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 3)),
    "BatchNorm first": nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2)),
}


@pytest.mark.parametrize("prefix", ["", "module.", "model.net."])
@pytest.mark.parametrize("head", HEADS)
def test_a_network_that_goes_on_after_the_backbone_is_not_the_backbone(tmp_path, head, prefix):
    saved = under(prefix, Wrapped(HEADS[head]).state_dict())
    report, rows = check({"state_dict": saved}, tmp_path / "w.pt")
    assert not report.ok and rows["tensors"].status == "fail"
    assert f"{prefix}head." in rows["tensors"].finding
    assert "--arch FILE.py:NAME" in rows["tensors"].advice
    line = rows["tensors"].advice.partition("without it: ")[2].rstrip(".")
    scope = {"d": saved}
    exec(line, scope)  # as the advice says, if the head is not part of the network
    report, _ = check(scope["d"], tmp_path / "w.pt")
    assert report.ok and has_weights(report, OWN)


def test_of_two_classifiers_neither_is_chosen(tmp_path):
    second = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)).state_dict()
    report, rows = check(under("backbone.") | under("head.", second), tmp_path / "w.pt")
    assert not report.ok and "head.0.weight (16 × 32)" in rows["tensors"].finding


@pytest.mark.parametrize(
    ("others", "status"),
    [
        ({"projector.0.weight": (8, 32), "projector.2.weight": (4, 8)}, "warn"),
        ({"projector.0.weight": (3, 32), "projector.2.weight": (4, 3)}, "fail"),
        ({"projector.0.weight": (8, 64), "projector.2.weight": (3, 8)}, "ok"),
        ({"arcface_loss.weight": (3, 32), "queue": (3, 3), "centers": (3, 32)}, "ok"),
        ({"teacher.conv.weight": (32, 3, 3, 3), "teacher.fc.weight": (3, 32)}, "ok"),
    ],
)
def test_what_else_is_stored_beside_a_backbone(tmp_path, others, status):
    content = under("backbone.") | {name: torch.ones(shape) for name, shape in others.items()}
    report, rows = check(content, tmp_path / "w.pt")
    assert report.ok == (status != "fail")
    assert rows["weights"].status == ("warn" if status == "fail" else status)


def without_head(state):
    return {name: t for name, t in state.items() if not name.startswith(f"{HEAD}.")}


def test_a_backbone_alone_has_no_classifier(tmp_path):
    report, rows = check(without_head(OWN), tmp_path / "w.pt")
    assert not report.ok and rows["tensors"].finding.startswith("no classifier")


def test_another_head_is_named(tmp_path):
    hidden = {"fc.0.weight": torch.ones(8, 32), "fc.3.weight": torch.ones(3, 8)}
    _, rows = check(without_head(OWN) | hidden, tmp_path / "w.pt")
    assert rows["tensors"].finding.startswith("a different head")
    assert "fc.0.weight (8 × 32), fc.3.weight (3 × 8)" in rows["tensors"].finding


def test_a_classifier_beside_the_backbone_can_be_renamed(tmp_path):
    beside = {"classifier.weight": torch.ones(3, 32), "classifier.bias": torch.ones(3)}
    d = under("backbone.", without_head(OWN)) | beside
    _, rows = check(d, tmp_path / "w.pt")
    assert rows["tensors"].finding.startswith("a different head")
    line = next(s for s in rows["tensors"].advice.split(": ", 1)[1:]).partition(". Otherwise")[0]
    scope = {"d": d}
    exec(line, scope)
    assert check(scope["d"], tmp_path / "w.pt")[0].ok


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saved", "tried", "other"),
    [
        ("resnet18-cifar", "resnet18", "resnet18-cifar"),
        ("resnet34", "resnet18", "resnet34"),
        ("torchvision:mobilenet_v2", "mobilenet_v2", "torchvision:mobilenet_v2"),
        ("torchvision:efficientnet_b0", "efficientnet_b0", "torchvision:efficientnet_b0"),
        ("resnet20-cifar-a", "resnet20", "resnet20-cifar-a"),
        ("resnet20-cifar-a", None, "resnet20-cifar-a"),
        ("mobilenetv3_small_050", "vgg11_bn", "mobilenetv3_small_050"),
    ],
)
def test_the_architecture_that_fits_is_found_by_shapes(tmp_path, saved, tried, other):
    state = under("model.", seeded(architectures.build, 0, saved, 3, 3).state_dict())
    report, _ = check({"state_dict": state}, tmp_path / "w.pt", tried)
    assert not report.ok and f"--arch {other}" in report.rows[-1].advice
    if (saved, tried) == ("resnet18-cifar", "resnet18"):
        assert "3 × 3 instead of 7 × 7" in report.rows[-1].finding


def test_hugging_faces_own_networks_are_named(tmp_path):
    state = trained().state_dict()
    theirs = {f"resnet.encoder.stages.0.layers.{name}": t for name, t in state.items()}
    theirs["resnet.embedder.embedder.convolution.weight"] = theirs.popitem()[1]
    report, _ = check(theirs, tmp_path / "w.pt", "test_resnet")
    assert not report.ok and "transformers" in report.rows[-1].advice


@pytest.mark.slow
@pytest.mark.parametrize(("size", "patch"), [(32, 4), (64, 8), (96, 16)])
def test_a_transformers_arguments_are_found_by_its_shapes(tmp_path, size, patch):
    made = {"img_size": size, "patch_size": patch}
    network = seeded(architectures.build, 0, "vit_tiny_patch16_224", 3, 3, size, made)
    state = {name.removeprefix("vit."): t for name, t in network.state_dict().items()}
    report, _ = check(state, tmp_path / "w.pt", "vit_tiny_patch16_224")
    assert f"--arch-args img_size={size},patch_size={patch}" in report.rows[-1].advice


def test_the_table_of_shapes_is_that_of_the_networks():
    """It goes stale if a network changes: `python benchmarks/architecture_shapes.py`."""
    table = {name: counts for names, counts in nearest._table() for name in names}
    listed = set(itertools.chain(architectures.NAMES, zoo.STUDENTS))
    assert listed <= set(table)
    for name in ("resnet18", "resnet18-cifar", "wrn-16-1", "deit_tiny_patch16_224"):
        network = seeded(architectures.build, 0, name, 3, 997)
        state = network.state_dict().values()
        assert nearest.shapes(t for t in state if 997 not in t.shape) == table[name]


class Block(nn.Module):
    """A block of a WideResNet with the names that most implementations in PyTorch use."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), conv(channels, out, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(out), conv(out, out, 3)
        self.convShortcut = None if channels == out else conv(channels, out, 1, stride)

    def forward(self, x):
        y = self.bn1(x).relu()
        skip = x if self.convShortcut is None else self.convShortcut(y)
        return skip + self.conv2(self.bn2(self.conv1(y)).relu())


def conv(channels: int, out: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, side, stride, side // 2, bias=False)


class Stage(nn.Module):
    def __init__(self, blocks: int, channels: int, out: int, stride: int):
        super().__init__()
        rest = (Block(out, out, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(Block(channels, out, stride), *rest)


class WideResNet(nn.Module):
    def __init__(self, depth: int, width: int, classes: int):
        super().__init__()
        n, w = (depth - 4) // 6, width
        self.conv1 = conv(3, 16, 3)
        self.block1 = Stage(n, 16, 16 * w, 1)
        self.block2 = Stage(n, 16 * w, 32 * w, 2)
        self.block3 = Stage(n, 32 * w, 64 * w, 2)
        self.bn1, self.fc = nn.BatchNorm2d(64 * w), nn.Linear(64 * w, classes)

    def forward(self, x):
        x = self.conv1(x)
        for stage in (self.block1, self.block2, self.block3):
            x = stage.layer(x)
        return self.fc(self.bn1(x).relu().mean((2, 3)))


def test_a_wide_resnet_with_the_usual_names_fits_by_order(tmp_path):
    network = seeded(WideResNet, 0, 16, 2, 3)
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network.train()(images)
    content = {"state_dict": network.eval().state_dict()}
    _, found = check(content, tmp_path / "w.pth", "wrn-16-1", side=32)
    assert "all of its tensors fit --arch wrn-16-2 --by-order" in found["tensors"].advice
    _, found = check(content, tmp_path / "w.pth", "wrn-16-2", side=32)
    assert "try --by-order" in found["tensors"].advice
    _, found = check(content, tmp_path / "w.pth", "resnet18-cifar", side=32, by_order=True)
    assert "all of its tensors fit --arch wrn-16-2 --by-order" in found["tensors"].advice
    report, _ = check(content, tmp_path / "w.pth", "wrn-16-2", side=32, by_order=True)
    with torch.no_grad():
        torch.testing.assert_close(report._network(images), network(images), rtol=1e-4, atol=1e-5)


def test_an_order_that_fits_no_network_is_named(tmp_path):
    shuffled = dict(reversed(OWN.items()))
    content = {f"layer{i}": t for i, t in enumerate(shuffled.values()) if t.ndim}
    _, found = check(content, tmp_path / "w.pth", by_order=True)
    assert "In the order of the file" in found["tensors"].advice
    assert "--arch FILE.py:NAME" in found["tensors"].advice
