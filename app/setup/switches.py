"""Rerun with one switch flipped: the available switches, what each would change, and which do not
apply to this run.

The switches are the ladder's rungs, the loss terms, what the form offers, and every choice in the
recipe's schema. Each is tried by building the recipe. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.live import plan
from app.setup import form, ladder, offers
from app.setup.differences import describe_change, labels, value
from app.setup.knobs import knobs
from app.setup.offers import Offer
from kgen import events
from kgen.data import classes
from kgen.errors import KGenError
from kgen.recipe.fields import Weights
from kgen.recipe.recipe import Recipe, RecipeError
from kgen.recipes import recipes, resolutions
from kgen.terms import TITLES

EXCLUDED = ("source", "evaluate_on", "device", "text_encoder", "target")
"""Choices in the schema that are handled elsewhere, or that do not affect the method."""
RESOLVED = {"embedding": "auto"}
"""Choices for which a run records the resolved value."""
ZERO_IS_OFF = ("warmup", "views", "feature_memory", "position_decay", "generator_life")
"""Numbers for which zero means off; ON_VALUES has the value that turns one on."""
ON_VALUES = {"generator_life": 1}


@dataclass(frozen=True)
class Switch:
    """`recipe` is what would run; None if it cannot, and then `refused` says why."""

    id: str
    part: str
    title: str
    """"key region off"."""
    tip: str = ""
    words: str = ""
    """Exactly what changes: "α_kr: 0.1 → 0"."""
    recipe: Recipe | None = None
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "part": self.part,
            "title": self.title,
            "tip": self.tip,
            "words": self.words,
            "refused": self.refused,
        }


class NotFlippable(KGenError, ValueError):
    """One sentence about why a switch does not apply to this run."""

    code = "switch"


def switches(recipe: Recipe, has_maps: bool = True, has_batch_norm: bool = True) -> list[Switch]:
    """All switches. Raises ZooError if the recipe's teacher is not on this machine.

    Args:
        has_maps, has_batch_norm: does its teacher have a spatial map, and BatchNorm statistics?
        Known once a run has started.
    """
    offer = offers.offer(recipe.teacher)
    without_effect = _fields_without_effect(recipe, offer, has_maps, has_batch_norm)
    found = []
    for id, part, title, field, changes in _candidates(recipe, offer):
        if field in without_effect:
            continue
        tip = next((r.adds for r in ladder.RUNGS if id == f"rung:{r.name}"), labels()[field][1])
        try:
            new = recipe.replace(**(changes() if callable(changes) else changes))
            _check_applies(recipe, new, offer)
            found.append(Switch(id, part, title, tip, describe_change(recipe, new), new))
        except (RecipeError, NotFlippable) as error:
            found.append(Switch(id, part, title, tip, refused=str(error)))
    return found


def _candidates(recipe: Recipe, offer: Offer) -> Iterator[tuple[str, str, str, str, Any]]:
    """(id, part, title, field, changes or a function that returns them)."""
    rungs = form.write(recipe)["rungs"]
    numbers = {knob.field: recipe.value(knob.field) for knob in knobs()}
    for rung, field in ((ladder.KEY_REGION, "weights.kr"), (ladder.DIVERSITY, "weights.aed")):
        flipped = [r for r in ladder.NAMES if (r in rungs) != (r == rung)]
        yield (
            f"rung:{rung}",
            "Method",
            f"{rung} {_on_off(rung not in rungs)}",
            field,
            form.rung_changes(recipe, {"rungs": flipped, **numbers}),
        )
    for rung in (ladder.SMALLER, ladder.MULTI):
        yield (
            f"rung:{rung}",
            "Method",
            f"{rung} {_on_off(rung not in rungs)}",
            "resolutions",
            lambda rung=rung: _resolutions(recipe, offer, rung, rungs),
        )
    defaults, recipe_weights = (
        Weights(),
        (recipes.get(recipe.name).weights if recipe.name in recipes.NAMES else Weights()),
    )
    for part in (p for p in events.PARTS if p not in ("kr", "aed")):
        weight, weight_on = (
            getattr(recipe.weights, part),
            getattr(recipe_weights, part) or getattr(defaults, part),
        )
        if weight or weight_on:
            yield (
                f"weights.{part}",
                "Loss terms",
                f"{TITLES[part]} {_on_off(not weight)}",
                f"weights.{part}",
                {f"weights.{part}": 0.0 if weight else weight_on},
            )
    for source in (s for s in form.SOURCES if s != recipe.source):
        priors = dict(zip(("weights.tv", "weights.l2"), form.priors(source)))
        yield (
            f"source:{source}",
            "Images",
            f"image source {source}",
            "source",
            form.source_changes(recipe, source) | priors,
        )
    for name, target in form.TARGETS.items():
        if target != recipe.target:
            yield f"target:{name}", "Images", f"target {name}", "target", {"target": target}
    yield from _schema_switches(recipe)
    yield "seed", "Randomness", f"seed {recipe.seed + 1}", "seed", {"seed": recipe.seed + 1}


def _schema_switches(recipe: Recipe) -> Iterator[tuple[str, str, str, str, Any]]:
    """Every other choice, switch, and number for which zero means off."""
    for field, node in Recipe.model_json_schema()["properties"].items():
        label, current = labels().get(field, ("",))[0], getattr(recipe, field)
        if node.get("type") == "boolean":
            yield field, "More", f"{label} {_on_off(not current)}", field, {field: not current}
        elif field in ZERO_IS_OFF and (current or field in ON_VALUES):
            flipped = 0 if current else ON_VALUES[field]
            yield field, "More", f"{label} {flipped or 'off'}", field, {field: flipped}
        elif field not in EXCLUDED:
            choices = (c for c in node.get("enum", ()) if c not in (current, RESOLVED.get(field)))
            for choice in choices:
                yield f"{field}:{choice}", "More", f"{label} {choice}", field, {field: choice}


def _on_off(on: bool) -> str:
    return "on" if on else "off"


def _resolutions(recipe: Recipe, offer: Offer, rung: str, rungs: list[str]) -> dict[str, Any]:
    """As in `static/setup/ladder.js`; the batch keeps its number of pixels."""
    sides, multiple = sorted(recipe.resolutions), len(recipe.resolutions) > 1
    if rung == ladder.SMALLER and multiple and rung in rungs:
        raise NotFlippable(
            "With two resolutions, one is always smaller than the teacher's input. Turn off"
            " multi-resolution first."
        )
    if len(offer.sides) < 2:
        raise NotFlippable("This teacher accepts only one image size.")
    selected: tuple[int, ...]
    if rung == ladder.SMALLER:
        selected = (offer.sides[-1],) if rung in rungs else (offer.small,)
    else:
        selected = (sides[0],) if multiple else ladder.pair(offer.sides, sides[0])
    return {"resolutions": selected, "batch": recipe.batch_at(selected[0]), "batches": None}


def _check_applies(old: Recipe, new: Recipe, offer: Offer) -> None:
    """Checks that need the teacher: its patch size, and texts for its classes."""
    sides = new.sides(resolutions.patch(offer.card))
    if new.resolutions == old.resolutions and sides != old.sides(resolutions.patch(offer.card)):
        raise NotFlippable(
            "The images would also become"
            f" {value(new.replace(resolutions=sides), 'resolutions')} pixels wide, so more than one"
            " thing would change."
        )
    if (
        new.embedding == "text" != old.embedding
        and new.text_encoder == "table"
        and not set(offer.classes) <= classes.embedded().keys()
    ):
        raise NotFlippable(
            "The bundled table has no text embedding for some of this teacher's classes."
        )


def _fields_without_effect(
    recipe: Recipe, offer: Offer, has_maps: bool, has_batch_norm: bool
) -> set[str]:
    """Fields that have no effect in this recipe with this teacher."""
    weights, sees_patches = recipe.weights, plan.sees_patches(offer.card)
    has_batch_norm = has_batch_norm and not sees_patches
    without_effect = {
        "adv_mask": not weights.adv,
        "bn_scale": not (weights.bn and has_batch_norm),
        "feature_memory": not (weights.bn and has_batch_norm),
        "weights.bn": not has_batch_norm,
        "weights.kr": not has_maps,
        "target": not (weights.kr and has_maps),
        "aed_embedding": not weights.aed,
        "position_decay": not sees_patches,
        "embedding": recipe.source != "noise" and not recipe.diverse,
        "adv_divergence": not weights.adv,
        "edges": recipe.augment == "none",
        "crop_curriculum": recipe.generator_crop == 1 or recipe.augment != "both",
        "restart_optimizer": recipe.source != "noise",
        "mix": bool(recipe.views),
        **dict.fromkeys(("deep", "up_first", "output", "generator_life"), not recipe.generates),
    }
    return {field for field, is_idle in without_effect.items() if is_idle}
