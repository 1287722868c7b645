"""The paper's data sets and teachers that are not bundled: facts, and how to get them.

No torch, no download; the only file access is to check whether a file exists. Numbers of images are
from Table 6, accuracies from Tables 1 to 5 as published; none were measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgen.data import classes
from kgen.events import TeacherCard
from kgen.system.paths import home

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per-channel mean and standard deviation of ImageNet's pixels in [0,1]."""


@dataclass(frozen=True)
class DataFacts:
    """A data set (Table 6).

    `size` is height and width; `crop`: photographs of various sizes, cropped to it.
    """

    title: str
    size: tuple[int, int]
    channels: int
    n_train: int
    n_test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fetch: str
    """How to get it, with {folder} as its location."""
    test_folders: tuple[str, ...] = ("test",)
    """Subfolders that may contain the test images, with one subfolder per class; `train_folders`
    for the training images.
    """
    train_folders: tuple[str, ...] = ("train",)
    crop: bool = False
    flip: bool = True

    @property
    def side(self) -> int:
        """l: the side of a square with the same pixel count (the memory budget counts pixels)."""
        return round((self.size[0] * self.size[1]) ** 0.5)


def _torchvision(name: str, more: str = "") -> str:
    call = f"{name}(r'{{folder}}', {more}download=True)"
    return f'run: python -c "from torchvision.datasets import {name}; {call}"'


_CIFAR = (
    ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    (
        (0.5071, 0.4867, 0.4408),
        (0.2675, 0.2565, 0.2761),
    ),
)
_FOLDER_INSTRUCTIONS = (
    "put its test images into {folder}/test, one subfolder per class, as .png or .jpg; name the"
    " subfolders "
)
_OFFICIAL = (
    "which requires an account; put its validation images into {folder}/test, one subfolder per"
    " class, named by WordNet ID (n01440764 …)"
)

DATA = {
    "cifar10": DataFacts(
        "CIFAR-10", (32, 32), 3, 50_000, 10_000, *_CIFAR[0], _torchvision("CIFAR10")
    ),
    "cifar100": DataFacts(
        "CIFAR-100", (32, 32), 3, 50_000, 10_000, *_CIFAR[1], _torchvision("CIFAR100")
    ),
    "mnist": DataFacts(
        "MNIST",
        (28, 28),
        1,
        60_000,
        10_000,
        (0.1307,),
        (0.3081,),
        _torchvision("MNIST"),
        flip=False,
    ),
    "tiny-imagenet": DataFacts(
        "Tiny ImageNet",
        (64, 64),
        3,
        100_000,
        10_000,
        (0.4802, 0.4481, 0.3975),
        (0.2302, 0.2265, 0.2262),
        "download tiny-imagenet-200.zip from Stanford's course CS231n and put its 10,000 validation"
        " images into {folder}/test, one subfolder per class, named by WordNet ID as given in"
        " val_annotations.txt (n01443537 …)",
    ),
    "imagenette": DataFacts(
        "Imagenette",
        (224, 224),
        3,
        9_469,
        3_925,
        *IMAGENET,
        _torchvision("Imagenette", "split='val', "),
        ("imagenette2/val", "imagenette2-160/val", "imagenette2-320/val", "test", "val"),
        ("imagenette2/train", "imagenette2-160/train", "imagenette2-320/train", "train"),
        True,
    ),
    "imagewoof": DataFacts(
        "Imagewoof",
        (224, 224),
        3,
        9_902,
        3_926,
        *IMAGENET,
        "download imagewoof2.tgz from fast.ai and unpack it in {folder}, so that"
        " {folder}/imagewoof2/val has one subfolder per class",
        ("imagewoof2/val", "test", "val"),
        ("imagewoof2/train", "train"),
        True,
    ),
    "imagenet1k": DataFacts(
        "ImageNet-1k",
        (224, 224),
        3,
        1_281_167,
        50_000,
        *IMAGENET,
        f"download ILSVRC 2012, {_OFFICIAL}",
        ("test", "val"),
        ("train",),
        True,
    ),
    "traffic-signs": DataFacts(
        "Traffic signs",
        (1200, 1600),
        3,
        747,
        684,
        *IMAGENET,
        "get the Swedish traffic signs as split by Katharopoulos and Fleuret (2019) and "
        + _FOLDER_INSTRUCTIONS
        + "no speed limit, speed limit 50, speed limit 70, and speed limit 80",
        flip=False,
    ),
    "megapixel-mnist": DataFacts(
        "Megapixel MNIST",
        (1500, 1500),
        1,
        5_000,
        1_000,
        (0.0,),
        (1.0,),
        "create the set with the published code of Katharopoulos and Fleuret (2019) and "
        + _FOLDER_INSTRUCTIONS
        + "zero … nine, by the largest digit",
        flip=False,
    ),
}
"""Data set → its facts."""


def data_folder(name: str) -> Path:
    """The location of a catalogue data set."""
    return home() / "data" / name


def data_instructions(name: str, reason: str) -> str:
    """The message for a missing data set: the reason, what to download, and where to put it."""
    return (
        f"{DATA[name].title} is not on this machine ({reason}):"
        f" {DATA[name].fetch.format(folder=data_folder(name))}."
    )


@dataclass(frozen=True)
class TeacherFacts:
    """A teacher from the paper.

    `parameters` and `features` (width of its embedding) follow from the architecture.
    """

    data: str
    architecture: str
    title: str
    parameters: int
    features: int
    paper_accuracy: float | None
    """Accuracy in the paper's tables, if given."""
    weights: str | None = None
    """Where its weights are published (as in `kgen.zoo.published`); None if the paper's authors
    trained it themselves.
    """
    licence: str = ""


_R34, _R50, _DEIT = (
    "torchvision:resnet34.IMAGENET1K_V1",
    "torchvision:resnet50.IMAGENET1K_V2",
    "timm:deit_base_patch16_224.fb_in1k",
)
_BSD = "BSD-3-Clause (weights), non-commercial research (data)"

TEACHERS = {
    "imagenette-resnet34": TeacherFacts(
        "imagenette", "resnet34", "ResNet-34 on Imagenette", 21_289_802, 512, 0.9406
    ),
    "imagenette-resnet50": TeacherFacts(
        "imagenette", "resnet50", "ResNet-50 on Imagenette", 23_528_522, 2048, 0.9286
    ),
    "imagewoof-resnet34": TeacherFacts(
        "imagewoof", "resnet34", "ResNet-34 on Imagewoof", 21_289_802, 512, 0.8302
    ),
    "imagewoof-resnet50": TeacherFacts(
        "imagewoof", "resnet50", "ResNet-50 on Imagewoof", 23_528_522, 2048, 0.8684
    ),
    "imagenet1k-resnet34": TeacherFacts(
        "imagenet1k", "resnet34", "ResNet-34 on ImageNet-1k", 21_797_672, 512, 0.7331, _R34, _BSD
    ),
    "imagenet1k-resnet50": TeacherFacts(
        "imagenet1k", "resnet50", "ResNet-50 on ImageNet-1k", 25_557_032, 2048, 0.8086, _R50, _BSD
    ),
    "imagenet1k-deit-base": TeacherFacts(
        "imagenet1k",
        "deit_base_patch16_224",
        "DeiT-B on ImageNet-1k",
        86_567_656,
        768,
        None,
        _DEIT,
        "Apache-2.0 (weights), non-commercial research (data)",
    ),
    "cifar10-resnet34": TeacherFacts(
        "cifar10", "resnet34-cifar", "ResNet-34 on CIFAR-10", 21_282_122, 512, 0.9570
    ),
    "cifar10-wrn-40-2": TeacherFacts(
        "cifar10", "wrn-40-2", "WRN-40-2 on CIFAR-10", 2_243_546, 128, 0.9487
    ),
    "cifar10-vgg11": TeacherFacts(
        "cifar10", "vgg11-cifar", "VGG-11 on CIFAR-10", 9_228_362, 512, 0.9225
    ),
    "cifar100-resnet34": TeacherFacts(
        "cifar100", "resnet34-cifar", "ResNet-34 on CIFAR-100", 21_328_292, 512, 0.7794
    ),
    "cifar100-wrn-40-2": TeacherFacts(
        "cifar100", "wrn-40-2", "WRN-40-2 on CIFAR-100", 2_255_156, 128, 0.7583
    ),
    "cifar100-vgg11": TeacherFacts(
        "cifar100", "vgg11-cifar", "VGG-11 on CIFAR-100", 9_274_532, 512, 0.7132
    ),
    "tiny-imagenet-resnet34": TeacherFacts(
        "tiny-imagenet", "resnet34-cifar", "ResNet-34 on Tiny ImageNet", 21_379_592, 512, 0.6644
    ),
    "traffic-signs-cnn": TeacherFacts(
        "traffic-signs", "cnn", "CNN on traffic signs", 1_164_964, 256, 0.841
    ),
    "megapixel-mnist-cnn": TeacherFacts(
        "megapixel-mnist", "cnn", "CNN on Megapixel MNIST", 1_165_930, 256, 0.919
    ),
}
"""Teacher → its facts."""


def teacher_file(name: str) -> Path:
    """The location of a catalogue teacher's weights."""
    return home() / "teachers" / f"{name}.safetensors"


TRAINABLE = ("cifar10", "cifar100")
"""Data sets whose teachers `python -m kgen teach` trains on the training images (C.1)."""


def teacher_instructions(name: str) -> str:
    """The message for a missing teacher: how to get it, and where to put it."""
    facts, data, path = TEACHERS[name], DATA[TEACHERS[name].data], teacher_file(name)
    if facts.weights:
        how = f"fetch them: python -m kgen fetch {name}"
    elif facts.data in TRAINABLE:
        how = f"train them: python -m kgen teach {facts.data} --network {facts.architecture}"
    else:
        mean, std = (list(v) for v in (data.mean, data.std))
        how = (
            f"train kgen.nets.architectures.build({facts.architecture!r},"
            f" channels={data.channels}, classes={len(classes.names(facts.data))}) on real images"
            f" of {data.size[0]} × {data.size[1]}, (pixels in [0,1] − {mean}) / {std}, and save"
            " its state_dict() to that file with safetensors."
        )
    return f"The weights of {name!r} are not on this machine; expected {path}. To get them, {how}"


def spec(name: str) -> dict[str, Any]:
    """Card, classes, normalization and architecture of a teacher, as in a bundled teacher's file.

    Reads no file.
    """
    facts, data = TEACHERS[name], DATA[TEACHERS[name].data]
    card = TeacherCard(
        name=name,
        title=facts.title,
        architecture=facts.architecture,
        parameters=facts.parameters,
        channels=data.channels,
        side=data.side,
        features=facts.features,
        n_train=data.n_train,
        n_test=data.n_test,
        data=facts.data,
        flip=data.flip,
        licence=facts.licence,
    )
    names = list(classes.names(facts.data))
    return {
        "card": card.model_dump(),
        "architecture": facts.architecture,
        "classes": names,
        "mean": list(data.mean),
        "std": list(data.std),
    }
