"""torchvision's networks cut before their pooling: the same tensors, the same logits, timm's
convention. And what is refused.
"""

from __future__ import annotations

import pytest
import torch
from torchvision import models

from kgen.nets import architectures
from kgen.nets.compatibility import incompatibility
from kgen.nets.torchvision_nets import TorchvisionNet, current_name, names
from kgen.zoo import zoo
from tests.support.errors import raises

ONE_EACH = (
    "resnet18",
    "regnet_y_400mf",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "densenet121",
    "convnext_tiny",
)


@torch.no_grad()
@pytest.mark.parametrize("name", ONE_EACH)
def test_tensors_and_logits_are_torchvisions_own(name, rng):
    theirs = models.get_model(name, weights=None, num_classes=6).eval()
    ours = zoo.build(f"torchvision:{name}", {}, 0, 3, 6, 64).eval()
    ours.load_state_dict(theirs.state_dict())  # strict: exactly the same names
    x = torch.randn(2, 3, 64, 64, generator=rng)
    features = ours.forward_features(x)
    torch.testing.assert_close(ours(x), theirs(x))
    embedding = ours.forward_head(features, pre_logits=True)
    assert features.ndim == 4 and embedding.shape == (2, ours.num_features)
    torch.testing.assert_close(ours.get_classifier()(embedding), theirs(x))


def test_every_name_is_one_of_torchvisions_and_can_be_sketched():
    known = set(models.list_models(module=models))
    assert len(names()) > 40 and set(names()) <= known
    with torch.device("meta"):
        for name in ("wide_resnet50_2", "resnext50_32x4d", "vgg19"):
            network = architectures.build(f"torchvision:{name}", 1, 3, 64)
            assert isinstance(network, TorchvisionNet) and network(
                torch.empty(2, 1, 64, 64)
            ).shape == (
                2,
                3,
            )


def test_other_channels_take_another_first_convolution(rng):
    network = zoo.build("torchvision:mobilenet_v3_small", {}, 0, 1, 4, 64)
    assert network.eval()(torch.randn(2, 1, 64, 64, generator=rng)).shape == (2, 4)
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.in_channels == 1 and first.weight.std() > 0


def test_old_names_of_densenet_are_read():
    old = "features.denseblock1.denselayer2.norm.1.weight"
    wanted = zoo.build("torchvision:densenet121", {}, 0, 3, 2, 64).state_dict()
    assert current_name(old) == "features.denseblock1.denselayer2.norm1.weight" in wanted
    assert all(current_name(name) == name for name in wanted)


@pytest.mark.parametrize(
    ("name", "side", "code", "fact"),
    [
        ("torchvision:vit_b_16", 64, "architecture", "'deit_tiny_patch16_224'"),
        ("torchvision:resnet19", 64, "architecture", "'torchvision:resnet18'"),
        ("coat_tiny", 224, "architecture", "several maps"),
        ("swin_tiny_patch4_window7_224", 96, "architecture", "96 × 96"),
        ("resnet18.nope", 64, "architecture", "(Invalid pretrained tag"),
        ("convnext_tinny", 64, "unknown-architecture", "'convnext_tiny'"),
        ("qqqqqqqq", 64, "unknown-architecture", "SmallResNet, "),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(name, side, code, fact):
    with raises(zoo.ZooError, code, name.split(":")[-1], fact) as told:
        zoo.build(name, {}, 0, 3, 4, side)
    assert len(str(told.value)) < 400


def test_a_student_may_be_any_network_of_timm(rng):
    one, same = (zoo.build_student("resnet10t.c3_in1k", 3, 4, 7, side=64) for _ in range(2))
    assert torch.equal(one.get_classifier().weight, same.get_classifier().weight) and one.training
    with raises(zoo.ZooError, "unknown-student", "'rezneet18'", "'resnet18'"):
        zoo.build_student("rezneet18", 3, 4, 0)


def test_exported_students_of_any_architecture_come_back(tmp_path, rng):
    student = zoo.build_student("torchvision:mobilenet_v3_small", 1, 3, 0, side=64).eval()
    spec = {
        "architecture": "torchvision:mobilenet_v3_small",
        "channels": 1,
        "classes": ["a", "b", "c"],
        "side": 64,
    }
    zoo.save_network(student, tmp_path / "student.safetensors", spec)
    x = torch.rand(2, 1, 64, 64, generator=rng)
    with torch.no_grad():
        assert torch.equal(zoo.load_student(tmp_path / "student.safetensors")(x), student(x))


def test_trying_a_network_leaves_it_as_it_was():
    network = zoo.build("wrn-16-1", {}, 0, 3, 4, 32)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state = torch.get_rng_state()
    assert (
        incompatibility(network, 3, 4, 32) is None
        and network.training
        and all(m.training for m in network.modules())
    )
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items()) and torch.equal(
        torch.get_rng_state(), state
    )
    assert "logits (2, 4)" in incompatibility(network, 3, 9, 32)
    assert incompatibility(torch.nn.Linear(2, 2), 3, 4, 32) == "it has no forward_features()"
