"""Teachers with published weights, under short names: facts only.

`python -m kgen fetch NAME` downloads one. This is a short selection: one or two from each family
trained on ImageNet-1k, and CIFAR-10's residual networks. `kgen.zoo.fetch` finds all others in timm
and torchvision as `timm:MODEL.TAG` and `torchvision:NAME`. No torch, no download. A test compares
the numbers with timm's and torchvision's own networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from kgen.data import catalogue

DATA = "non-commercial research (data)"
"""What ImageNet's terms of use allow."""
_BSD, _APACHE = f"BSD-3-Clause (weights), {DATA}", f"Apache-2.0 (weights), {DATA}"


@dataclass(frozen=True)
class Published:
    """Facts about published weights.

    `source`: timm:MODEL.TAG, torchvision:NAME.TAG, or a URL. `features`: width of the embedding;
    `side`: of its training images.
    """

    source: str
    title: str
    parameters: int
    features: int
    licence: str
    side: int = 224
    data: str = "imagenet1k"
    network: str | None = None
    """Architecture of a file at a URL; for timm and torchvision it follows from the source."""
    accuracy: float | None = None
    """As published by its authors, for a file at a URL."""

    @property
    def megabytes(self) -> int:
        """Size of the download: four bytes per parameter."""
        return round(self.parameters * 4e-6)

    @property
    def architecture(self) -> str:
        """The name that `kgen.nets.architectures.build` accepts."""
        return self.network or architecture(self.source)


def architecture(source: str) -> str:
    """timm:MODEL.TAG → MODEL.TAG; torchvision:NAME.TAG → torchvision:NAME."""
    return source.removeprefix("timm:") if source.startswith("timm:") else source.partition(".")[0]


def _cifar(depth: int, file: str, parameters: int, accuracy: float) -> Published:
    """Y. Idelbayev's networks as described by He et al. (2015), with option A shortcuts, trained
    with ImageNet's mean and std.
    """
    url = f"https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/{file}.th"
    licence = "BSD-2-Clause (weights), no license stated (data)"
    return Published(
        url,
        f"ResNet-{depth}",
        parameters,
        64,
        licence,
        32,
        "cifar10",
        f"resnet{depth}-cifar-a",
        accuracy,
    )


TEACHERS = {
    "resnet18": Published("timm:resnet18.tv_in1k", "ResNet-18", 11_689_512, 512, _BSD),
    "resnet34": Published("timm:resnet34.tv_in1k", "ResNet-34", 21_797_672, 512, _BSD),
    "resnet50": Published("timm:resnet50.tv_in1k", "ResNet-50", 25_557_032, 2048, _BSD),
    "wide_resnet50_2": Published(
        "timm:wide_resnet50_2.tv_in1k", "Wide ResNet-50-2", 68_883_240, 2048, _BSD
    ),
    "vgg11_bn": Published(
        "timm:vgg11_bn.tv_in1k", "VGG-11 with batch norm", 132_868_840, 4096, _BSD
    ),
    "densenet121": Published(
        "torchvision:densenet121.IMAGENET1K_V1", "DenseNet-121", 7_978_856, 1024, _BSD
    ),
    "regnet_y_400mf": Published(
        "torchvision:regnet_y_400mf.IMAGENET1K_V2", "RegNetY-400MF", 4_344_144, 440, _BSD
    ),
    "mobilenetv2_100": Published(
        "timm:mobilenetv2_100.ra_in1k", "MobileNetV2", 3_504_872, 1280, _APACHE
    ),
    "efficientnet_b0": Published(
        "timm:efficientnet_b0.ra_in1k", "EfficientNet-B0", 5_288_548, 1280, _APACHE
    ),
    "efficientnet_lite0": Published(
        "timm:efficientnet_lite0.ra_in1k", "EfficientNet-Lite0", 4_652_008, 1280, _APACHE
    ),
    "convnext_tiny": Published(
        "timm:convnext_tiny.fb_in1k", "ConvNeXt-T", 28_589_128, 768, _APACHE
    ),
    "deit_tiny": Published(
        "timm:deit_tiny_patch16_224.fb_in1k", "DeiT-Ti", 5_717_416, 192, _APACHE
    ),
    "deit_small": Published(
        "timm:deit_small_patch16_224.fb_in1k", "DeiT-S", 22_050_664, 384, _APACHE
    ),
    "deit_base": Published(
        "timm:deit_base_patch16_224.fb_in1k", "DeiT-B", 86_567_656, 768, _APACHE
    ),
    "vit_small": Published(
        "timm:vit_small_patch16_224.augreg_in21k_ft_in1k", "ViT-S/16", 22_050_664, 384, _APACHE
    ),
    "resnet20-cifar10": _cifar(20, "resnet20-12fca82f", 269_722, 0.9173),
    "resnet32-cifar10": _cifar(32, "resnet32-d509ac18", 464_154, 0.9263),
    "resnet44-cifar10": _cifar(44, "resnet44-014dd654", 658_586, 0.9310),
    "resnet56-cifar10": _cifar(56, "resnet56-4bfd9763", 853_018, 0.9339),
    "resnet110-cifar10": _cifar(110, "resnet110-1d1ed7c2", 1_727_962, 0.9368),
}
"""Short name → facts. ResNets and VGG use torchvision's first, plainly trained weights."""


def instructions(name: str) -> str:
    """How to get a teacher that is not on this machine yet."""
    path, facts = catalogue.teacher_file(name), TEACHERS[name]
    return (
        f"The weights of {name!r} are not on this machine; expected {path}. To get them"
        f" ({facts.megabytes or 1} MB): python -m kgen fetch {name}"
    )
