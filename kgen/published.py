"""Teachers whose weights others publish, under short names: facts alone. `python -m kgen fetch NAME` gets one.

A short selection, one or two of each family, all trained on ImageNet-1k; `kgen.fetch` knows every other of timm's and
torchvision's by `timm:MODEL.TAG` and `torchvision:NAME`. No torch, no download. A test compares the numbers with timm's
and torchvision's own networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from kgen import catalogue

DATA = "non-commercial research (data)"
"""What ImageNet's terms allow."""
_BSD, _APACHE = f"BSD-3-Clause (weights), {DATA}", f"Apache-2.0 (weights), {DATA}"


@dataclass(frozen=True)
class Published:
    """`source`: timm:MODEL.TAG or torchvision:NAME.TAG. `features`: width of the embedding; `side`: of the images that it learnt from."""

    source: str
    title: str
    parameters: int
    features: int
    licence: str
    side: int = 224

    @property
    def megabytes(self) -> int:
        """To download: four bytes a parameter."""
        return round(self.parameters * 4e-6)

    @property
    def architecture(self) -> str:
        """As `kgen.architectures.build` takes it."""
        return architecture(self.source)


def architecture(source: str) -> str:
    """timm:MODEL.TAG → MODEL.TAG; torchvision:NAME.TAG → torchvision:NAME."""
    return source.removeprefix("timm:") if source.startswith("timm:") else source.partition(".")[0]


TEACHERS = {
    "resnet18": Published("timm:resnet18.tv_in1k", "ResNet-18", 11_689_512, 512, _BSD),
    "resnet34": Published("timm:resnet34.tv_in1k", "ResNet-34", 21_797_672, 512, _BSD),
    "resnet50": Published("timm:resnet50.tv_in1k", "ResNet-50", 25_557_032, 2048, _BSD),
    "wide_resnet50_2": Published("timm:wide_resnet50_2.tv_in1k", "Wide ResNet-50-2", 68_883_240, 2048, _BSD),
    "vgg11_bn": Published("timm:vgg11_bn.tv_in1k", "VGG-11 with batch norm", 132_868_840, 4096, _BSD),
    "densenet121": Published("torchvision:densenet121.IMAGENET1K_V1", "DenseNet-121", 7_978_856, 1024, _BSD),
    "regnet_y_400mf": Published("torchvision:regnet_y_400mf.IMAGENET1K_V2", "RegNetY-400MF", 4_344_144, 440, _BSD),
    "mobilenetv2_100": Published("timm:mobilenetv2_100.ra_in1k", "MobileNetV2", 3_504_872, 1280, _APACHE),
    "efficientnet_b0": Published("timm:efficientnet_b0.ra_in1k", "EfficientNet-B0", 5_288_548, 1280, _APACHE),
    "efficientnet_lite0": Published("timm:efficientnet_lite0.ra_in1k", "EfficientNet-Lite0", 4_652_008, 1280, _APACHE),
    "convnext_tiny": Published("timm:convnext_tiny.fb_in1k", "ConvNeXt-T", 28_589_128, 768, _APACHE),
    "deit_tiny": Published("timm:deit_tiny_patch16_224.fb_in1k", "DeiT-Ti", 5_717_416, 192, _APACHE),
    "deit_small": Published("timm:deit_small_patch16_224.fb_in1k", "DeiT-S", 22_050_664, 384, _APACHE),
    "deit_base": Published("timm:deit_base_patch16_224.fb_in1k", "DeiT-B", 86_567_656, 768, _APACHE),
    "vit_small": Published("timm:vit_small_patch16_224.augreg_in21k_ft_in1k", "ViT-S/16", 22_050_664, 384, _APACHE),
}
"""Short name → what is known of it. ResNets and VGG are torchvision's first, plainly trained weights."""


def sentence(name: str) -> str:
    """What to do for a teacher that is not on this machine yet."""
    path, facts = catalogue.teacher_file(name), TEACHERS[name]
    return f"The weights of {name!r} are not on this machine; expected {path}. To get them there ({facts.megabytes} MB): python -m kgen fetch {name}"
