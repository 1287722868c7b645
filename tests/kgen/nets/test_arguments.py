"""Arguments of constructors: read from text, limited to plain values, passed to timm."""

from __future__ import annotations

import pytest

from kgen.nets import architectures, arguments
from kgen.nets.architectures import ArchitectureError
from kgen.nets.small_cnn import seeded
from kgen.nets.vit import WindowedViT
from tests.support.errors import raises


def test_text_becomes_values():
    text = (
        "img_size=32, depths=(2,2), window_size=[7, 7],qkv_bias=False,act=None,global_pool=avg,r=.5"
    )
    found = arguments.parse(text)
    assert found == {
        "img_size": 32,
        "depths": (2, 2),
        "window_size": (7, 7),
        "qkv_bias": False,
        "act": None,
        "global_pool": "avg",
        "r": 0.5,
    }
    assert arguments.parse(arguments.to_text(found)) == found
    assert arguments.parse("") == {}


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("img_size", "img_size"),
        ("img_size=", "img_size"),
        ("a=1,a=2", "a "),
        ("a b=1", "'a b'"),
        ("__class__=1", "'__class__'"),
        ("num_classes=3", "num_classes"),
        ("pretrained=true", "pretrained"),
        ("pretrained_cfg_overlay={}", "pretrained_cfg_overlay"),
        ("checkpoint_path=/etc/passwd", "checkpoint_path"),
        ("depth=10000000", "depth"),
        ("depth=1e999", "depth"),
        ("cfg={'a': 1}", "cfg"),
        ("a=" + "(" * 300 + ")" * 300, "a "),
        (",".join(f"a{i}=1" for i in range(40)), 40),
    ],
)
def test_what_is_no_argument_of_a_network_is_refused(text, fact):
    with pytest.raises(ValueError) as caught:
        arguments.parse(text)
    assert str(fact) in str(caught.value)


def test_timm_builds_with_them():
    options = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}
    network = seeded(architectures.build, 0, "vit_tiny_patch16_224", 3, 5, 32, options)
    assert isinstance(network, WindowedViT)
    assert (network.patch, network.grid, network.num_features) == (4, (8, 8), 48)
    blocks = seeded(architectures.build, 0, "resnet18", 1, 3, 32, {"output_stride": 8})
    assert blocks.forward_features(blocks.conv1.weight.new_zeros(1, 1, 32, 32)).shape[2:] == (4, 4)


@pytest.mark.parametrize(
    ("name", "options", "code", "fact"),
    [
        ("vit_tiny_patch16_224", {"embd_dim": 48}, "invalid-arguments", "'embed_dim'"),
        ("vit_tiny_patch16_224", {"embed_dim": 50}, "invalid-arguments", "embed_dim=50"),
        ("resnet18-cifar", {"width": 2}, "unsupported-arguments", "width=2"),
        ("torchvision:resnet18", {"width": 2}, "unsupported-arguments", "width=2"),
    ],
)
def test_what_a_constructor_does_not_accept_is_said(name, options, code, fact):
    with raises(ArchitectureError, code, name, fact):
        architectures.build(name, 3, 5, 32, options)
