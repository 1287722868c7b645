"""Turns the setup form into a recipe, and a recipe into values for the form.

No Gradio here. Anything that comes from a browser is hostile until `read` has checked it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from app.live import format
from app.setup import ladder, offers
from app.setup.knobs import Knob, knobs
from app.setup.offers import Offer
from kgen.errors import KGenError
from kgen.phrases import did_you_mean
from kgen.recipe.fields import Target, Weights
from kgen.recipe.recipe import Recipe, RecipeError
from kgen.recipes import recipes
from kgen.system.paths import PathError, typed_path

SOURCES = {
    "noise": "nayer",
    "latent": "fast",
    "pixels": "deepinversion",
    "pyramid": "imagenet-peek",
}
"""What is optimized, and the recipe that supplies its settings."""
TITLES = {
    "teacher": "Teacher",
    "name": "Recipe",
    "classes": "Classes",
    "resolutions": "Resolution",
    "source": "Image source",
    "ratio": "Budget",
    "seed": "Seed",
    "target": "Target",
    "real_images": "Real test images",
    "student": "Student",
    "class_texts": "Class texts",
}
"""The form's names for recipe fields that are not knobs."""
SOURCE_FIELDS = ("feature_memory", "optimizers.images", "optimizers.meta")
TARGETS = {
    format.target_label(t.model_dump()): t
    for t in (
        Target(),
        Target(sigma=3),
        Target(peak=2),
        Target(kind="full"),
        Target(kind="full", peak=3),
    )
}
"""The targets of the paper's comparison, by name: G(1, 2), G(1, 3), G(2, 2), Full(1), Full(3)."""
MAX_SEED = 2**31 - 1
FIELDS = (
    "teacher",
    "recipe",
    "classes",
    "sides",
    "source",
    "rungs",
    "budget",
    "seed",
    "target",
    "real_images",
    "student",
    "class_texts",
    *(k.field for k in knobs()),
)
"""Names of the values that `write` returns and `read` expects, in the form's order."""


class FormError(KGenError, ValueError):
    """One sentence about what is wrong with the form."""

    code = "form"


def read(values: Mapping[str, Any]) -> Recipe:
    """The recipe that the form describes; FormError says what to change."""
    offer = offers.offer(
        _option({name: name for name in offers.teachers()}, values.get("teacher"), "a teacher")
    )
    base = offer.base(
        _option({name: name for name in offer.recipes}, values.get("recipe"), "a recipe")
    )
    sides = _sides(values.get("sides"), offer)
    try:
        return base.replace(
            **{
                "classes": _classes(values.get("classes"), offer),
                "resolutions": sides,
                "batch": base.batch_at(sides[0]),  # smaller images, more per batch
                "ratio": _budget(values.get("budget"), base, offer),
                "real_images": _folder(values.get("real_images")),
                "student": _student(values.get("student")),
                "class_texts": _texts(values.get("class_texts"), offer),
                "seed": _integer(values.get("seed"), MAX_SEED, "The seed"),
                "schedule": "concurrent",
                "target": _option(TARGETS, values.get("target"), "a target"),
                **source_changes(base, values.get("source")),
                **{knob.field: _knob(knob, values.get(knob.field)) for knob in knobs()},
                **rung_changes(base, values),
            }
        )
    except RecipeError as error:
        raise FormError(
            str(error),
            code=error.code,
            **error.fields,
        ) from None


def write(recipe: Recipe) -> dict[str, Any]:
    """Form values that show a recipe, as far as the form can express it (a run may come from the
    command line).
    """
    r, available = recipe, recipe.teacher in offers.teachers()
    offer = offers.offer(r.teacher if available else recipes.get("fashion-live").teacher)
    names, weights = offer.classes, r.weights
    selected = (
        names
        if r.classes is None
        else [names[c] if isinstance(c, int) and 0 <= c < len(names) else c for c in r.classes]
    )
    on = (min(r.resolutions) < offer.sides[-1], weights.kr > 0, r.diverse, len(r.resolutions) > 1)
    low, high, _ = offer.budget
    values = {
        "teacher": r.teacher if available else None,
        "recipe": r.name if r.name in offer.recipes else None,
        "classes": [n for n in names if n in set(selected)],
        "sides": [s for s in offer.sides if s in r.resolutions],
        "source": r.source,
        "rungs": [name for name, is_on in zip(ladder.NAMES, on) if is_on],
        "budget": min(max(round(100 * r.ratio, 4), low), high),
        "seed": r.seed,
        "target": next((name for name, target in TARGETS.items() if target == r.target), None),
        "real_images": r.real_images or "",
        "student": r.student,
        "class_texts": "\n".join(
            f"{name} = {text}" for name, text in (r.class_texts or {}).items()
        ),
    }
    return values | {knob.field: r.value(knob.field) for knob in knobs()}


def priors(source: str) -> tuple[float, float]:
    """Weights of total variation and pixel size that come with a source of images."""
    weights = recipes.get(SOURCES[source]).weights
    return weights.tv, weights.l2


def source_changes(base: Recipe, source: Any) -> dict[str, Any]:
    _option(SOURCES, source, "an image source")
    if source == base.source:
        return {}
    source_recipe = recipes.get(SOURCES[source])
    return {"source": source} | {field: source_recipe.value(field) for field in SOURCE_FIELDS}


def rung_changes(base: Recipe, values: Mapping[str, Any]) -> dict[str, float]:
    """A switch decides whether a weight is zero; the number next to it sets the value otherwise.
    Resolutions need no switch.
    """
    rungs, defaults = values.get("rungs"), Weights()
    if not isinstance(rungs, list) or not set(map(str, rungs)) <= set(ladder.NAMES):
        raise FormError(
            "Unknown part of the method.",
            code="invalid-choice",
            field="rungs",
        )
    changes: dict[str, float] = {}
    for rung, fields in ((ladder.KEY_REGION, ("kr",)), (ladder.DIVERSITY, ("ed", "aed"))):
        if rung not in rungs:
            changes |= {f"weights.{f}": 0.0 for f in fields}
        elif not any(values[f"weights.{f}"] for f in fields):
            changes |= {
                f"weights.{f}": getattr(base.weights, f) or getattr(defaults, f) for f in fields
            }
    return changes


def _sides(value: Any, offer: Offer) -> tuple[int, ...]:
    """Chosen resolutions, the smallest first."""
    offered = offer.sides
    if (
        not isinstance(value, list)
        or not value
        or not all(type(s) is int and s in offered for s in value)
        or len(set(value)) != len(value)
    ):
        raise FormError(
            f"Choose at least one resolution: {', '.join(map(str, offered))}.",
            code="invalid-choice",
            field="sides",
        )
    return tuple(sorted(value))


def _classes(value: Any, offer: Offer) -> tuple[str, ...] | None:
    """Chosen names in the teacher's order; None for all of them, as in a recipe."""
    names = offer.classes
    if not isinstance(value, list) or not set(map(str, value)) <= set(names):
        raise FormError(
            "One of these classes is not a class of this teacher.",
            code="unknown-class",
            field="classes",
        )
    if not value:
        raise FormError(
            "Choose at least one class.",
            code="no-class",
            field="classes",
        )
    selected = tuple(n for n in names if n in set(value))
    return None if selected == names else selected


def _budget(value: Any, base: Recipe, offer: Offer) -> float:
    """As a share; exactly the recipe's own if the slider is still at that value."""
    low, high, _ = offer.budget
    percent = _number(value, low, high, "The budget", "%")
    return base.ratio if math.isclose(percent, round(100 * base.ratio, 4)) else percent / 100


def _student(value: Any) -> str:
    """A name; only the engine knows which networks exist."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}", value):
        raise FormError(
            "Choose a student: the name of a network, such as small-cnn-75k or resnet18.",
            code="invalid-choice",
            field="student",
        )
    return value


def _texts(value: Any, offer: Offer) -> dict[str, str] | None:
    """Lines "class = text"."""
    if value is None or value == "":
        return None
    lines = (
        [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else [""]
    )
    texts: dict[str, str] = {}
    for line in lines:
        name, text = (part.strip() for part in line.partition("=")[::2])
        if not name or not text:
            raise FormError(
                "Class texts: write one line per class, such as “Bag = backpack”.",
                code="invalid-class-texts",
                field="class_texts",
            )
        if name not in offer.classes:
            raise FormError(
                f"Class texts: {name[:60]!r} is not a class of this teacher."
                f" {did_you_mean(name, list(offer.classes))}",
                code="unknown-class",
                field="class_texts",
            )
        texts[name] = text
    return texts or None


def _folder(value: Any) -> str | None:
    """The folder of real test images; the engine checks whether it can read it."""
    try:
        return typed_path(value or "") or None
    except PathError as error:
        raise FormError(
            f"{TITLES['real_images']}: {error}", code=error.code, field="real_images"
        ) from None


def _option(options: Mapping[str, Any], value: Any, label: str) -> Any:
    if not isinstance(value, str) or value not in options:
        raise FormError(
            f"Choose {label}: {', '.join(options)}.",
            code="invalid-choice",
        )
    return options[value]


def _knob(knob: Knob, value: Any) -> Any:
    if knob.choices:
        return _option({choice: choice for choice in knob.choices}, value, knob.label)
    return (
        None if knob.optional and value is None else _number(value, knob.low, knob.high, knob.label)
    )


def _number(value: Any, low: float, high: float, label: str, unit: str = "") -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise FormError(
            f"{label} must be a number from {low:g}{unit} to {high:,.10g}{unit}.",
            code="invalid-value",
        )
    return value


def _integer(value: Any, high: int, label: str) -> int:
    if _number(value, 0, high, label) != int(value):
        raise FormError(
            f"{label} must be a whole number.",
            code="invalid-value",
        )
    return int(value)
