"""The paper's networks: sizes as published, maps as documented, and a head that completes the
forward pass.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kgen.nets import architectures
from kgen.nets.paper_cnns import VGG11, CifarResNet, PlainCNN, WideBlock, WideResNet, ZeroPadded
from kgen.nets.small_cnn import ResidualBlock
from kgen.nets.vit import forward_with_embedding
from kgen.zoo import zoo
from tests.support.errors import raises

# side in and map out as documented (tokens of a transformer); parameters with 1,000 classes as
# torchvision and timm publish them
MAPS = {
    "resnet18": (64, (512, 2, 2)),
    "resnet34": (64, (512, 2, 2)),
    "resnet50": (64, (2048, 2, 2)),
    "mobilenetv2_100": (64, (1280, 2, 2)),
    "vgg11_bn": (64, (512, 2, 2)),
    "deit_tiny_patch16_224": (96, (37, 192)),
    "deit_base_patch16_224": (96, (37, 768)),
    "resnet18-cifar": (32, (512, 4, 4)),
    "resnet34-cifar": (32, (512, 4, 4)),
    "resnet50-cifar": (32, (2048, 4, 4)),
    "vgg11-cifar": (32, (512, 4, 4)),
    **{f"resnet{d}-cifar-a": (32, (64, 8, 8)) for d in (20, 32, 44, 56, 110)},
    "resnet18-slim": (128, (256, 8, 8)),
    "resnet10-slim": (128, (256, 8, 8)),
    "wrn-40-2": (32, (128, 8, 8)),
    "wrn-40-1": (32, (64, 8, 8)),
    "wrn-16-2": (32, (128, 8, 8)),
    "wrn-16-1": (32, (64, 8, 8)),
    "cnn": (112, (256, 7, 7)),
}
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "mobilenetv2_100": 3_504_872,
    "vgg11_bn": 132_868_840,
    "deit_tiny_patch16_224": 5_717_416,
    "deit_base_patch16_224": 86_567_656,
}
LIGHT = [
    name
    for name in MAPS
    if name
    not in (
        "resnet34",
        "resnet50",
        "vgg11_bn",
        "deit_base_patch16_224",
        "resnet34-cifar",
        "resnet50-cifar",
    )
]
"""The others differ from one of these only in their numbers; their weights take seconds to draw."""


def sketch(build, *args) -> nn.Module:
    """A network without weights: only shapes, at no cost."""
    with torch.device("meta"):
        return build(*args).eval()


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_table_of_maps_is_whole():
    assert set(MAPS) == set(architectures.NAMES)


@pytest.mark.parametrize("name", architectures.NAMES)
def test_map_and_classifier_have_the_documented_sizes(name):
    side, size = MAPS[name]
    for channels, classes in ((1, 7), (3, 4)):
        network = sketch(architectures.build, name, channels, classes)
        x = torch.empty(2, channels, side, side, device="meta")
        features, classifier = network.forward_features(x), network.get_classifier()
        assert features.shape == (2, *size) and network.forward_head(features).shape == network(
            x
        ).shape == (2, classes)
        assert classifier.out_features == classes
        assert network.forward_head(features, pre_logits=True).shape == (2, classifier.in_features)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    assert parameters(sketch(architectures.build, name, 3, 1000)) == PUBLISHED[name]


@torch.no_grad()
@pytest.mark.parametrize("name", LIGHT)
def test_features_head_and_classifier_make_up_the_forward(name, rng):
    network = zoo.build(name, {}, 0, 3, 5, 32).eval()
    x = torch.randn(2, 3, *[32 if "deit" in name else 40] * 2, generator=rng)
    features = network.forward_features(x)
    embedding = network.forward_head(features, pre_logits=True)
    logits = network(x)
    torch.testing.assert_close(network.forward_head(features), logits)
    torch.testing.assert_close(network.get_classifier()(embedding), logits)
    if features.ndim == 4:
        torch.testing.assert_close(embedding, features.mean((2, 3)))  # so Eq. 5 holds
    seen = forward_with_embedding(network, x)
    torch.testing.assert_close(seen, (logits, embedding))
    assert logits.std() > 0 and not torch.allclose(logits[0], logits[1])


@pytest.mark.parametrize("name", ["wrn-16-1", "cnn", "resnet18-cifar"])
def test_initial_weights_follow_from_the_seed(name):
    one, same, other = (zoo.build_student(name, 3, 4, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[k], same[k]) for k in one)
    drawn = [k for k in one if one[k].ndim > 1]
    assert drawn and not any(torch.equal(one[k], other[k]) for k in drawn)


@pytest.mark.parametrize(
    ("depth", "width", "millions"),
    [(40, 1, 0.6), (40, 2, 2.2), (16, 8, 11.0), (28, 10, 36.5), (22, 8, 17.2)],
)
def test_wide_networks_are_as_large_as_in_their_paper(depth, width, millions):
    """Zagoruyko and Komodakis (2016), Table 4, with ten classes; `depth` counts 3×3 convolutions
    and the shortcuts' stages.
    """
    network = sketch(WideResNet, depth, width)
    assert round(parameters(network) / 1e6, 1) == millions
    wide = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(wide) == depth - 4 + 1  # 6n convolutions in blocks, and the stem


def test_a_wide_network_of_no_such_depth_is_refused():
    with pytest.raises(ValueError, match=r"6n \+ 4\b.*\b17\b"):
        WideResNet(17, 1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride"), [(4, 4, 1), (4, 6, 1), (4, 4, 2), (4, 6, 2)]
)
def test_a_wide_block_whose_last_convolution_is_zero_is_its_shortcut(
    in_channels, out_channels, stride, rng
):
    """Identity where the shape stays; else a 1×1 convolution of relu(bn(x)), here by a loop over
    the pixels that it uses.
    """
    block = WideBlock(in_channels, out_channels, stride).eval()
    block.bn1.running_mean.copy_(torch.arange(in_channels) / 10)
    x = torch.randn(2, in_channels, 6, 6, generator=rng)
    full, inner = block(x), F.relu(block.bn1(x))
    by_hand = block.conv2(F.relu(block.bn2(block.conv1(inner))))
    block.conv2.weight.zero_()
    around = block(x)
    torch.testing.assert_close(full, by_hand + around)
    if block.shortcut is None:
        assert torch.equal(around, x) and (in_channels, stride) == (out_channels, 1)
        return
    expected = torch.empty(2, out_channels, 6 // stride, 6 // stride)
    for i in range(6 // stride):
        for j in range(6 // stride):
            expected[:, :, i, j] = (
                inner[:, :, i * stride, j * stride] @ block.shortcut.weight[:, :, 0, 0].T
            )
    torch.testing.assert_close(around, expected)


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_networks_for_cifar_are_as_large_as_in_their_paper(depth, millions):
    """He et al. (2015), Table 6; `depth` counts the 3×3 convolutions and the Linear, and shortcuts
    have no weights.
    """
    network = sketch(CifarResNet, depth)
    assert round(parameters(network) / 1e6, 1 if depth == 110 else 2) == millions
    assert len([m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]) == depth
    with pytest.raises(ValueError, match=r"6n \+ 2\b.*\b21\b"):
        CifarResNet(21)


@torch.no_grad()
@pytest.mark.parametrize(("in_channels", "out_channels", "stride"), [(4, 4, 1), (4, 8, 2)])
def test_a_padded_block_without_its_last_norm_is_its_shortcut(
    in_channels, out_channels, stride, rng
):
    """Every second pixel between zeros, by a loop over the channels."""
    block = ResidualBlock(
        in_channels, out_channels, stride, ZeroPadded(in_channels, out_channels, stride)
    ).eval()
    block.bn2.weight.zero_()
    x = torch.randn(2, in_channels, 6, 6, generator=rng)
    expected, front = (
        torch.zeros(2, out_channels, 6 // stride, 6 // stride),
        (out_channels - in_channels) // 2,
    )
    for c in range(in_channels):
        for i in range(6 // stride):
            for j in range(6 // stride):
                expected[:, front + c, i, j] = x[:, c, i * stride, j * stride].clamp(min=0)
    assert torch.equal(block(x), expected)


def test_vgg_and_the_plain_network_by_counting_their_layers():
    """Configuration A has eight convolutions and, here, one Linear; each weight counted by hand."""
    widths = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    by_hand = sum(9 * a * b + 2 * b for a, b in zip(widths, widths[1:])) + 512 * 10 + 10
    assert parameters(sketch(VGG11)) == by_hand
    in_channels = [3, 32, 64, 64, 128, 128, 256]
    out_channels = [32, 64, 64, 128, 128, 256, 256]
    assert (
        parameters(sketch(PlainCNN))
        == sum(9 * a * b + 2 * b for a, b in zip(in_channels, out_channels)) + 256 * 10 + 10
    )


def test_unknown_architectures_are_answered_with_the_nearest():
    with raises(zoo.ZooError, "unknown-architecture", "'wrn-16-2'"):
        zoo.build("wrn-16-3", {}, 0, 3, 10, 32)
    with raises(zoo.ZooError, "unknown-student", "'mobilenetv2_100'"):
        zoo.build_student("mobilenetv2", 3, 10, 0)
