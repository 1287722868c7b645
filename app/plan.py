"""What is known of a run before its first event: teacher, classes, target, budget, command. No torch."""

from __future__ import annotations

import math
from typing import Any

from app import words
from kgen import recipes, zoo
from kgen.events import TeacherCard
from kgen.recipe import Recipe, Target

OFFERED = {"fashion-live": "3 minutes", "fashion-long": "10 minutes"}
"""Recipes that the page offers, and how long they take on two CPU cores."""


def before(recipe: Recipe) -> dict[str, Any]:
    """The plan of a recipe, with its teacher's card; a teacher that is not there is a card without facts.

    A recipe that its teacher cannot follow (a class that it does not know) is planned with all classes.
    """
    try:
        card, classes = zoo.card(recipe.teacher), zoo.classes(recipe.teacher)
    except (ValueError, KeyError):  # ZooError, or a file whose card is none
        # the engine says so in words on Start
        card = TeacherCard(name=recipe.teacher, title=recipe.teacher, architecture="", parameters=0, channels=1, side=max(recipe.resolutions),
                           features=0, n_train=0)
        classes = tuple(str(c) for c in recipe.classes or ())
        recipe = recipe.replace(classes=None)
    command, names = recipes.command(recipe), list(OFFERED)
    try:
        return plan(recipe, card, classes, command, names)
    except (ValueError, IndexError):  # a recipe.json from elsewhere; the engine says so in words
        return plan(recipe.replace(classes=None), card, classes, command, names)


def plan(recipe: Recipe, card: TeacherCard, classes: tuple[str, ...], command: str, names: list[str]) -> dict[str, Any]:
    """What is known of a run before its first event. The bundled teachers' maps have a quarter of the image's side."""
    side, r = recipe.resolutions[0], recipe.model_dump(mode="json")
    h = w = math.ceil(side / 4)
    chosen = range(len(classes)) if recipe.classes is None else [classes.index(c) if isinstance(c, str) else c for c in recipe.classes]
    return {"title": f"{recipe.name}, seed {recipe.seed}", "teacher": {**card.model_dump(), "map": [h, w]},
            "student": {"parameters": None, "name": recipe.student}, "classes": [classes[c] for c in chosen], "class_indices": list(chosen),
            "recipe": r, "command": command, "recipes": names, "side": side,
            "map": {"h": h, "w": w, "target": target(recipe.target, h, w), "label": words.target_label(r["target"])},
            "budget": recipe.budget_pixels(card.n_train, card.side) // side**2,
            "planned": (recipe.total_generator_steps, recipe.total_student_steps if len(chosen) > 1 else 0, recipe.total_iterations)}


def target(spec: Target, h: int, w: int) -> list[list[float]]:
    """M_target before a run tells its own; a test holds it against `kgen.keyregion.make_target`."""
    if spec.kind == "full":
        return [[spec.peak] * w for _ in range(h)]
    sigma = spec.sigma_fraction * max(h, w) if spec.sigma_fraction else spec.sigma
    return [[round(spec.peak * math.exp(-((i - (h - 1) / 2) ** 2 + (j - (w - 1) / 2) ** 2) / (2 * sigma**2)), 4) for j in range(w)] for i in range(h)]
