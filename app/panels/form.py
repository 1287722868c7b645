"""What the setup form says, as a recipe, and a recipe, as what the form should say.

No Gradio here. Whatever comes from a browser is hostile until `read` has looked at it.
"""

from __future__ import annotations

import math
from typing import Any

from app.plan import OFFERED
from kgen import recipes, zoo
from kgen.recipe import Recipe, RecipeError

TEACHER = "fashion-cnn"
SIDES = (16, 20, 24, 28)
SMALLER, KEY_REGION = "smaller images", "key region"
RUNGS = (SMALLER, KEY_REGION)
BUDGET = (1, 20)  # per cent of the real training set's pixels
LARGEST_SEED = 2**31 - 1


class FormError(ValueError):
    """What is wrong with the form, as one sentence for a person."""


def class_names() -> tuple[str, ...]:
    return zoo.classes(TEACHER)


def full_side() -> int:
    """l: the side of the teacher's own input."""
    return zoo.card(TEACHER).side


def cost(side: int) -> float:
    """Pixels of one image of that side, as a share of a full one."""
    return side * side / full_side() ** 2


def read(name: Any, classes: Any, side: Any, rungs: Any, budget: Any, seed: Any) -> Recipe:
    """The recipe that the form describes; FormError says what to change."""
    if name not in OFFERED:
        raise FormError("Choose a recipe.")
    if side not in SIDES:
        raise FormError(f"Choose a resolution: {', '.join(map(str, SIDES[:-1]))} or {SIDES[-1]}.")
    changes = {
        "classes": _classes(classes),
        "resolutions": (side,),
        "ratio": _number(budget, *BUDGET, "The budget", " %") / 100,
        "seed": _whole(seed, LARGEST_SEED, "The seed"),
        "schedule": "concurrent",
    }
    if not isinstance(rungs, list) or not set(map(str, rungs)) <= set(RUNGS):
        raise FormError("That part of the method is not known.")
    if KEY_REGION not in rungs:
        changes["weights.kr"] = 0.0
    try:
        return recipes.get(name).replace(**changes)
    except RecipeError as error:
        raise FormError(str(error)) from None


def write(recipe: Recipe) -> tuple[str | None, list[str], int | None, list[str], float, int]:
    """Values of the form that show a recipe, as far as the form can say it (a run may come from the command line)."""
    names = class_names()
    chosen = names if recipe.classes is None else [names[c] if isinstance(c, int) and 0 <= c < len(names) else c for c in recipe.classes]
    side = recipe.resolutions[0]
    rungs = [SMALLER] * (side < full_side()) + [KEY_REGION] * (recipe.weights.kr > 0)
    percent = min(max(round(100 * recipe.ratio, 1), BUDGET[0]), BUDGET[1])
    return (recipe.name if recipe.name in OFFERED else None, [n for n in names if n in chosen],
            side if side in SIDES else None, rungs, percent, recipe.seed)


def _classes(given: Any) -> tuple[str, ...] | None:
    """Chosen names in the teacher's order; None for all of them, as in a recipe."""
    names = class_names()
    if not isinstance(given, list) or not set(map(str, given)) <= set(names):
        raise FormError("One of the classes is not known to the teacher.")
    if not given:
        raise FormError("No class is chosen; choose at least one.")
    chosen = tuple(n for n in names if n in given)
    return None if chosen == names else chosen


def _number(value: Any, low: float, high: float, what: str, unit: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        raise FormError(f"{what} should be a number from {low}{unit} to {high:,}{unit}.")
    return value


def _whole(value: Any, high: int, what: str) -> int:
    if _number(value, 0, high, what) != int(value):
        raise FormError(f"{what} should be a whole number.")
    return int(value)
