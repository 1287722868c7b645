"""Across the zoo: each family's map against Eq. 5 written as loops, and its BatchNorm statistics
against slow sums.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kgen.events import TeacherCard
from kgen.teachers import Teacher
from kgen.zoo import zoo

SIDE, CLASSES = 64, 5
CAM = (  # pooling and one Linear: Eq. 5 to the letter
    "resnet18",
    "mobilenetv2_050",
    "efficientnet_lite0",
    "densenet121",
    "regnetx_002",
    "resnet18-cifar",
    "wrn-16-1",
    "vgg11-cifar",
    "cnn",
    "torchvision:resnet18",
    "torchvision:mobilenet_v2",
    "torchvision:efficientnet_b0",
    "torchvision:densenet121",
    "torchvision:regnet_x_400mf",
)
LINEARISED = (
    "convnext_atto",
    "mobilenetv3_small_050",
    "torchvision:vgg11_bn",
    "torchvision:mobilenet_v3_small",
)
"""Something else stands between map and logits: a norm, another Linear, larger pooling."""
WITHOUT = ("convnext_atto",)
"""LayerNorm only."""


def teacher_of(name: str, side: int = SIDE) -> Teacher:
    """A network from the zoo with random weights and statistics of noise, so that its maps are
    neither zero nor huge.
    """
    network = zoo.build(name, {}, 3, 3, CLASSES, side)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        if norms:
            network.train()(
                torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(2))
            )
    card = TeacherCard(
        name="t",
        title="T",
        architecture=name,
        parameters=0,
        channels=3,
        side=side,
        features=1,
        n_train=1,
    )
    return Teacher(
        network, card, tuple("abcde"), torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.2])
    )


def brute_force_cam(
    features: torch.Tensor, weight: torch.Tensor, labels: list[int]
) -> torch.Tensor:
    """M(i,j) = Σ_k w_k^ŷ F_k(i,j), one number at a time."""
    f, w = features.double().tolist(), weight.double().tolist()
    n, k, height, width = features.shape
    return torch.tensor(
        [
            [
                [sum(w[labels[b]][c] * f[b][c][i][j] for c in range(k)) for j in range(width)]
                for i in range(height)
            ]
            for b in range(n)
        ]
    )


def brute_force_linearised(
    teacher: Teacher, features: torch.Tensor, labels: list[int]
) -> torch.Tensor:
    """M(i,j) = h·w·Σ_k F_k(i,j)·∂logit_ŷ/∂F_k(i,j), image by image: one derivative by autograd,
    then loops.
    """
    maps = []
    for image, label in zip(features, labels):
        still = image[None].clone().requires_grad_()
        teacher.network.forward_head(still)[0, label].backward()
        f, d = image.double().tolist(), still.grad[0].double().tolist()
        k, height, width = image.shape
        maps.append(
            [
                [
                    height * width * sum(f[c][i][j] * d[c][i][j] for c in range(k))
                    for j in range(width)
                ]
                for i in range(height)
            ]
        )
    return torch.tensor(maps)


def check_statistics(teacher: Teacher, images: torch.Tensor) -> None:
    """Mean and biased variance of each channel of each layer, by plain sums over what the layer was
    given.
    """
    given = []
    layers = [m for m in teacher.network.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [
        m.register_forward_hook(lambda m, inputs, _: given.append((m, inputs[0].double().numpy())))
        for m in layers
    ]
    with torch.no_grad():
        found = teacher(images).batch_norm
    for handle in handles:
        handle.remove()
    assert teacher.has_batch_norm == bool(layers) and len(found) == len(given) == len(layers)
    for (mean, var, mu, sigma2), (layer, x) in zip(found, given):
        slow = []
        for channel in range(x.shape[1]):
            values = x[:, channel].ravel()
            m = values.sum() / len(values)
            slow.append((m, ((values - m) ** 2).sum() / len(values)))
        scale = np.abs(slow).max() + 1e-6
        torch.testing.assert_close(
            torch.stack([mean, var], 1).double(), torch.tensor(slow), rtol=1e-3, atol=1e-4 * scale
        )
        assert mu is layer.running_mean and sigma2 is layer.running_var


@pytest.mark.slow
@pytest.mark.parametrize("name", CAM + LINEARISED)
def test_map_and_statistics_of_every_family(name, rng):
    teacher, labels = teacher_of(name), [4, 1]
    images = torch.rand(2, 3, SIDE, SIDE, generator=rng)
    assert teacher.map_kind == ("cam" if name in CAM else "linearised")
    with torch.no_grad():
        probe = teacher(images)
        seen = teacher.activation_map(probe, torch.tensor(labels))
        torch.testing.assert_close(probe.logits, teacher.logits(images))
    assert probe.features.ndim == 4 and probe.features.std() > 0 and probe.embedding.shape[0] == 2
    if name in CAM:
        slow = brute_force_cam(probe.features, teacher.weight, labels)
    else:
        slow = brute_force_linearised(teacher, probe.features, labels)
    torch.testing.assert_close(seen, slow.float(), rtol=1e-3, atol=1e-4 * float(slow.abs().max()))
    assert teacher.has_batch_norm == (name not in WITHOUT)
    check_statistics(teacher, images)


def test_a_teacher_with_neither_batch_norm_nor_map_is_one_all_the_same(rng):
    teacher = teacher_of("mixer_s32_224", 224)
    probe = teacher(torch.rand(1, 3, 224, 224, generator=rng))
    assert (
        teacher.map_kind == "none"
        and not teacher.has_batch_norm
        and probe.batch_norm == []
        and probe.logits.shape == (1, CLASSES)
    )
    assert teacher.activation_map(probe, torch.tensor([0])) is None
