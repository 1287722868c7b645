"""Arguments of constructors: read from text, limited to plain values, passed to timm."""

from __future__ import annotations

import pytest
import timm

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
    "value",
    [
        "x y",
        "a, b=1",
        "it's",
        "(",
        "\\",
        "32",
        "true",
        "",
        (1, (2, 3)),
        ("x y", None),
        (7,),
        (),
        1e-06,
        -2,
    ],
)
def test_any_value_is_read_as_it_was_written(value):
    found = {"a": value, "b": True}
    assert arguments.parse(arguments.to_text(found)) == found


def test_brackets_and_quotes_keep_commas():
    text = "a=(1,(2,3)),b='x, y',c=[(1,2),(3,)],d=\"it's, so\""
    assert arguments.parse(text) == {
        "a": (1, (2, 3)),
        "b": "x, y",
        "c": ((1, 2), (3,)),
        "d": "it's, so",
    }


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
def test_what_is_not_an_argument_of_a_network_is_refused(text, fact):
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


def test_an_argument_can_have_the_name_of_one_of_ours():
    """timm's own call is the oracle: its ResNets take `channels`, the widths of the stages."""
    channels = (8, 16, 24, 32)
    network = seeded(architectures.build, 0, "resnet18", 3, 5, 32, {"channels": channels})
    wanted = timm.create_model("resnet18", num_classes=5, channels=channels)
    assert {n: t.shape for n, t in network.state_dict().items()} == {
        n: t.shape for n, t in wanted.state_dict().items()
    }


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"classes": 3}, "Leave out 'classes': num_classes"),
        ({"nonsense_of_mine": 1}, "It takes: "),
    ],
)
def test_only_arguments_that_can_be_given_are_suggested(options, fact):
    with pytest.raises(ArchitectureError) as caught:
        architectures.build("vit_tiny_patch16_224", 3, 5, 32, options)
    text = str(caught.value)
    assert fact in text
    listed = text.partition("It takes: ")[2].rstrip(".").split(", ")
    for word in filter(None, listed):
        arguments.check({word: 1})


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
