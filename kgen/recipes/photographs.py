"""Recipes on photographs for laptops.

CIFAR-10, Imagenette and ten ImageNet classes, distilled from the bundled teachers.
"""

from __future__ import annotations

from kgen.recipe.fields import Optimizer, Optimizers, Weights
from kgen.recipe.recipe import Recipe


def _photographs() -> Recipe:
    """Shared settings.

    K-Gen's own image source (noisy layers and a generator), and random crops for the student.
    """
    return Recipe(
        name="photographs",
        weights=Weights(ce=0.5, adv=0.0, bn=10.0, kr=0.1, ed=0.0, aed=0.0),
        bn_scale="relative",
        embedding="center",
        noise_width=256,
        deep=True,
        up_first=False,
        optimizers=Optimizers(
            images=Optimizer(name="adam", lr=0.05, momentum=0.5, beta2=0.9),
            student=Optimizer(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4),
        ),
        temperature=4.0,
        iterations=1,
        edges="reflect",
        augment="both",
        student_crop=0.3,
        views=16,
        precision="auto",
        memory_format="auto",
        evaluate_on="auto",
        judge="auto",
    )


def imagenette_live() -> Recipe:
    """Ten kinds of photographs on a laptop, from a teacher trained on just these ten: about five
    minutes on two idle CPU cores.

    1,893 synthetic images at 64 × 64, 5% of the real training set's pixels. With Imagenette on this
    machine (`python -m kgen data add imagenette PATH`), accuracy is measured on real photos: 63.0%
    of the 3,925 validation photos (seed 0).
    """
    return _photographs().replace(
        name="imagenette-live",
        teacher="imagenette-slim",
        student="resnet10-slim",
        resolutions=(64,),
        ratio=0.05,
        epochs=32,
        generator_steps=25,
        restart_optimizer=True,
        width=48,
        student_steps=50,
        batch=60,
        student_batch=96,
        warmup=0.3,
        evaluate_every=200,
    )


def imagenette_long() -> Recipe:
    """Imagenette with more time: four times the images and student steps of imagenette-live.

    7,575 synthetic images, 20% of the real training set's pixels; 78.2% of the 3,925 validation
    photos after 26 minutes on one core (seed 0).
    """
    return imagenette_live().replace(name="imagenette-long", ratio=0.2, epochs=128, warmup=0.1)


def cifar10_live() -> Recipe:
    """CIFAR-10 on a laptop, in color, from the bundled teacher: about four minutes on two CPU
    cores.

    2,500 synthetic images, 5% of the real training set's pixels; 63.4% of the 10,000 test images
    (seed 0).
    """
    return _photographs().replace(
        name="cifar10-live",
        teacher="cifar10-cnn",
        student="small-cnn-175k",
        resolutions=(32,),
        ratio=0.05,
        epochs=25,
        generator_steps=25,
        restart_optimizer=True,
        deep=False,
        width=32,
        student_steps=110,
        batch=100,
        student_batch=128,
        student_crop=0.5,
        warmup=0.3,
        evaluate_every=200,
    )


def cifar10_long() -> Recipe:
    """CIFAR-10 with more time: five times the images and six times the student steps of
    cifar10-live.

    12,500 synthetic images, 25% of the real training set's pixels; 81.2% of the 10,000 test images
    after 46 minutes of CPU time on one core (seed 0).
    """
    return cifar10_live().replace(
        name="cifar10-long", ratio=0.25, epochs=125, warmup=0.1, evaluate_every=1000
    )


def imagenet_peek() -> Recipe:
    """Ten ImageNet classes at 128 × 128, to watch on a laptop: colors, textures, and shapes appear
    within a minute.

    160 images from EfficientNet-Lite0, and a small student whose agreement with its teacher is
    measured on held-out synthetic images; real accuracy is measured too if this machine has
    photographs that ImageNet networks were not trained on. This is a demonstration rather than a
    way to get a useful student: it uses 0.004% of the real training set's pixels. The images are
    pyramids seen through crops that shrink over the steps: prettier than a generator's, but they
    teach the student less (docs/results.md).
    """
    return _photographs().replace(
        name="imagenet-peek",
        source="pyramid",
        generator_crop=0.25,
        crop_curriculum=True,
        teacher="imagenet-lite0",
        student="small-cnn-75k",
        classes=(
            "goldfish",
            "tabby",
            "zebra",
            "beacon",
            "sports car",
            "sunglasses",
            "strawberry",
            "pizza",
            "espresso",
            "daisy",
        ),
        resolutions=(128,),
        ratio=3.9e-5,
        epochs=8,
        generator_steps=120,
        student_steps=60,
        batch=20,
        student_batch=32,
        warmup=0.125,
        evaluate_every=60,
    )
