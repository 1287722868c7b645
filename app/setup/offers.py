"""What the page offers for a teacher: recipes, resolutions, budgets, and a recipe to start from. No
torch, no Gradio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.live import plan
from kgen.events import TeacherCard
from kgen.recipe.recipe import Recipe
from kgen.recipes import recipes, resolutions
from kgen.zoo import zoo

TIMES = {
    "fashion-live": "3 minutes",
    "fashion-long": "10 minutes",
    "fashion-vit": "2 minutes",
    "cifar10-live": "4 minutes",
    "cifar10-long": "30 minutes",
    "imagenette-live": "5 minutes",
    "imagenette-long": "20 minutes",
    "imagenet-peek": "10 minutes",
}
"""Recipes offered on the page, and how long they take on two CPU cores."""
FEW_CLASSES = 10
"""A teacher with more classes starts with this many, its first ones."""
CARD_FIELDS = (
    "title",
    "accuracy",
    "n_test",
    "n_train",
    "side",
    "channels",
    "map",
    "parameters",
    "macs",
    "bytes",
    "licence",
)
"""What the page shows of a chosen teacher before a run."""
LARGE_TRAINING_SET = 200_000
"""Above this size of the real training set, the budget is in thousandths of a percent."""


@dataclass(frozen=True)
class Offer:
    """The choices for one teacher."""

    teacher: str
    card: TeacherCard
    classes: tuple[str, ...]

    @property
    def sides(self) -> tuple[int, ...]:
        """Resolutions that work for both generator and teacher, smallest first. The last is the
        teacher's own, or the closest one below.
        """
        return resolutions.suitable(self.card)

    @property
    def small(self) -> int:
        """The side that the rung "smaller images" starts with. The teacher's map has more than one
        cell there, if possible: with a single cell, a target has no center.
        """
        smaller = self.sides[(len(self.sides) - 1) // 3 :]
        return next(
            (side for side in smaller if not resolutions.has_single_cell(self.card, side)),
            smaller[-1],
        )

    @property
    def budget(self) -> tuple[float, float, float]:
        """(lowest, highest, step) of the budget, in percent of the real training set's pixels."""
        return (1, 25, 0.5) if self.card.n_train < LARGE_TRAINING_SET else (0.001, 0.1, 0.0001)

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes made for this teacher, or else the one that suits its size."""
        matching = tuple(name for name in TIMES if recipes.get(name).teacher == self.teacher)
        return matching or (
            "fashion-live" if self.card.side < resolutions.SMALL_SIDE else "imagenet-peek",
        )

    def base(self, name: str) -> Recipe:
        """The named recipe, adapted to this teacher."""
        recipe = recipes.get(name)
        if recipe.teacher == self.teacher:
            return recipe
        selected = None if len(self.classes) <= FEW_CLASSES else self.classes[:FEW_CLASSES]
        side = self.sides[-1] if self.card.side < resolutions.SMALL_SIDE else self.small
        # a budget of as many pixels as the recipe's own, whatever the size of the training set
        original_card = zoo.card(recipe.teacher)
        pixels = (
            recipe.budget_pixels(original_card.n_train, original_card.side)
            * side**2
            / recipe.resolutions[0] ** 2
        )
        low, high, step = self.budget
        share = 100 * pixels / (self.card.n_train * self.card.side**2)
        ratio = min(max(round(share / step) * step, low), high) / 100
        return recipe.replace(
            teacher=self.teacher,
            classes=selected,
            resolutions=(side,),
            ratio=ratio,
            evaluate_on="auto",
            embedding="auto",
            **({"weights.kr": 0.0} if resolutions.has_single_cell(self.card, side) else {}),
        )

    @property
    def costs(self) -> tuple[float, ...]:
        """Pixels per image at each side, as a share of a full-size image."""
        return tuple(side * side / self.card.side**2 for side in self.sides)

    def to_json(self) -> dict[str, Any]:
        """For the page, as JSON."""
        facts = plan.public_plan(self.base(self.recipes[0]))
        return {
            "card": {k: facts["teacher"][k] for k in CARD_FIELDS},
            "student": facts["student"],
            "classes": self.classes,
            "sides": self.sides,
            "small": self.small,
            "full": self.sides[-1],
        }


def offer(teacher: str) -> Offer:
    """Raises ZooError for a teacher that is not on this machine."""
    zoo.locate(teacher)
    return Offer(teacher, zoo.card(teacher), zoo.classes(teacher))


def teachers() -> tuple[str, ...]:
    """Teachers whose weights are on this machine and whose card can be read."""
    return zoo.available()
