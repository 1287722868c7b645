"""The paper's tables on photographs, as labeled recipes; `kgen.tables.tables` turns them into rows.

All rows have the same number of pixels and student steps. None has an adversarial term, which
diverges on photographs (docs/results.md), except for one row with a bounded one. Precision and
memory format are fixed, so that a row is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kgen.recipe.recipe import Recipe, images_in
from kgen.recipes import photographs

LabeledRecipe = tuple[str, Recipe, float | None]
"""A row's label, its recipe, and the paper's value in percent."""

STUDENT_STEPS = 600
BATCHES_AT_FULL_RATIO = 600
"""Batches of 40 images at 80 × 80 that hold about as many pixels as Imagenette's training set."""


YARDSTICK = (10, 20, 40, 80, 160, 320, 640, 1280)
"""Numbers of real photos for the yardstick's students."""


def base(ratio: float) -> Recipe:
    """Shared settings of the Imagenette rows: K-Gen-S without diversity, 80 × 80, at a given ratio.

    It generates one batch more than the pool needs. ValueError for a ratio whose batches do not
    divide STUDENT_STEPS.
    """
    batches = round(BATCHES_AT_FULL_RATIO * ratio)
    if STUDENT_STEPS % batches:
        raise ValueError(f"{STUDENT_STEPS} student steps are not divisible by {batches} batches")
    return photographs.imagenette_live().replace(
        resolutions=(80,),
        batch=40,
        student_batch=64,
        ratio=ratio,
        epochs=batches + 1,
        student_steps=STUDENT_STEPS // batches,
        warmup=1 / (batches + 1),
        evaluate_on="test",
        evaluate_every=1_000_000,
        precision="bf16",
        memory_format="channels_last",
    )


def cifar10(ratio: float) -> Recipe:
    """Shared settings of the CIFAR-10 rows: like `base`, 24 × 24."""
    batches, full = round(500 * ratio), photographs.cifar10_live()
    return at_resolution(full, 24).replace(
        ratio=ratio,
        epochs=batches + 1,
        student_steps=2_000 // batches,
        warmup=1 / (batches + 1),
        evaluate_on="test",
        evaluate_every=1_000_000,
        precision="bf16",
        memory_format="channels_last",
    )


def at_resolution(recipe: Recipe, side: int, **changes: Any) -> Recipe:
    """The recipe at another resolution, with as many pixels per batch and per student step."""
    student_batch = images_in(recipe.student_batch * recipe.resolutions[0] ** 2, side)
    return recipe.replace(
        resolutions=(side,), batch=recipe.batch_at(side), student_batch=student_batch, **changes
    )


DIVERSE = {"weights.ed": 10.0, "weights.aed": 5.0}
NO_KEY_REGION = {"weights.kr": 0.0}


def ladder(ratio: float) -> Iterator[LabeledRecipe]:
    """Table 4."""
    yield from _rungs(base(ratio), 128, 96)


def cifar10_ladder(ratio: float) -> Iterator[LabeledRecipe]:
    """Table 4 on CIFAR-10: 24 × 24 against 32 × 32, and both."""
    yield from _rungs(cifar10(ratio), 32, 32)


def _rungs(single: Recipe, full: int, second: int) -> Iterator[LabeledRecipe]:
    """Table 4 from the smaller resolution with the key region.

    `single`: that recipe; `full`: the teacher's side; `second`: the side added to the smaller one.
    """
    (small,) = single.resolutions
    yield f"NAYER, {full} × {full}", at_resolution(single, full, **NO_KEY_REGION), 32.17
    yield f"+ SRG, {small} × {small}", single.replace(**NO_KEY_REGION), 41.13
    yield "+ KR, key region", single, 77.62
    yield "+ ED, diversity (K-Gen-S)", single.replace(**DIVERSE), 80.32
    yield (
        f"+ MSG, {small} and {second} (K-Gen)",
        single.replace(resolutions=(small, second), **DIVERSE),
        82.21,
    )


def resolutions(ratio: float) -> Iterator[LabeledRecipe]:
    """Table 10: one resolution at a time, with and without the key region."""
    for suffix, changes in (("", {}), (", no key region", NO_KEY_REGION)):
        for side in (48, 64, 80, 96, 112, 128):
            yield f"{side} × {side}{suffix}", at_resolution(base(ratio), side, **changes), None


def sources(ratio: float) -> Iterator[LabeledRecipe]:
    """Table 1: other image sources, each with the same number of pixels."""
    single = base(ratio)
    full = at_resolution(single, 128, **NO_KEY_REGION)
    pixels = {"source": "pixels", "restart_optimizer": False}
    yield (
        "DeepInversion, pixels",
        full.replace(**pixels, generator_steps=100, **{"weights.tv": 2e-3}),
        25.08,
    )
    yield "CDA, pixels seen through shrinking crops", full.replace(**pixels, **CDA), None
    yield (
        "Fast, latent codes",
        full.replace(source="latent", restart_optimizer=False, feature_memory=0.9),
        28.32,
    )
    yield "NAYER", full, 32.17
    yield (
        "pyramid, shrinking crops, 80 × 80",
        single.replace(source="pyramid", restart_optimizer=False, **CURRICULUM, generator_steps=50),
        None,
    )
    yield "K-Gen-S", single.replace(**DIVERSE), 80.32
    yield "K-Gen", single.replace(resolutions=(80, 96), **DIVERSE), 82.21


def switches(ratio: float) -> Iterator[LabeledRecipe]:
    """K-Gen-S without diversity, with one change at a time, to see what the key region depends
    on.
    """
    single = base(ratio)
    yield "unchanged", single, None
    yield "no key region", single.replace(**NO_KEY_REGION), None
    yield "key region × 10", single.replace(**{"weights.kr": 1.0}), None
    yield "no cross-entropy", single.replace(**{"weights.ce": 0.0}), None
    yield (
        "neither cross-entropy nor key region",
        single.replace(**{"weights.ce": 0.0}, **NO_KEY_REGION),
        None,
    )
    yield "no batch-norm term", single.replace(**{"weights.bn": 0.0}), None
    yield (
        "target G(20,2), as high as this teacher's evidence",
        single.replace(**{"target.peak": 20.0}),
        None,
    )
    yield "target Full(1)", single.replace(**{"target.kind": "full"}), None
    yield "100 steps per batch", single.replace(generator_steps=100), None
    yield (
        "bounded adversarial term",
        single.replace(adv_divergence="js", **{"weights.adv": 1.0}),
        None,
    )


CURRICULUM = {"generator_crop": 0.25, "crop_curriculum": True}
CDA = {
    "generator_crop": 0.08,
    "crop_curriculum": True,
    "generator_steps": 100,
    "weights.ce": 1.0,
    "weights.bn": 1.0,
    "optimizers.images.lr": 0.25,
    "optimizers.images.momentum": 0.5,
    "optimizers.images.beta2": 0.9,
}
"""Yin & Shen 2024: crops whose smallest area falls to 0.08, Adam 0.25, no total variation. Its BN
weight, 0.01, is for a raw sum over a ResNet-18; ours is relative, so here it equals that of
cross-entropy.
"""
