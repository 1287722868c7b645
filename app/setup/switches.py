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
from app.setup.differences import change, labels, value
from app.setup.knobs import knobs
from app.setup.offers import Offer
from kgen import events
from kgen.data import classes
from kgen.errors import KGenError
from kgen.recipe.fields import Weights
from kgen.recipe.recipe import Recipe, RecipeError
from kgen.recipes import recipes
from kgen.terms import TITLES

ELSEWHERE = ("source", "evaluate_on", "device", "text_encoder", "target")
"""Choices in the schema that are handled elsewhere, or that do not affect the method."""
ZERO_IS_OFF = ("warmup", "views", "feature_memory", "position_decay", "generator_life")
"""Numbers for which zero means off; ON has the value that turns one on."""
ON = {"generator_life": 1}


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


def switches(recipe: Recipe, maps: bool = True, norms: bool = True) -> list[Switch]:
    """All switches. Raises ZooError if the recipe's teacher is not on this machine.

    Args:
        maps, norms: does its teacher have a spatial map, and BatchNorm statistics? Known once a run
        has started.
    """
    offer = offers.offer(recipe.teacher)
    idle = _idle(recipe, offer, maps, norms)
    found = []
    for id, part, title, touched, changes in _wanted(recipe, offer):
        if touched in idle:
            continue
        tip = next((r.adds for r in ladder.RUNGS if id == f"rung:{r.name}"), labels()[touched][1])
        try:
            new = recipe.replace(**(changes() if callable(changes) else changes))
            _check(recipe, new, offer)
            found.append(Switch(id, part, title, tip, change(recipe, new), new))
        except (RecipeError, NotFlippable) as error:
            found.append(Switch(id, part, title, tip, refused=str(error)))
    return found


def _wanted(recipe: Recipe, offer: Offer) -> Iterator[tuple[str, str, str, str, Any]]:
    """(id, part, title, field, changes or a function that returns them)."""
    now = form.write(recipe)["rungs"]
    numbers = {knob.field: recipe.value(knob.field) for knob in knobs()}
    for rung, field in ((ladder.KEY_REGION, "weights.kr"), (ladder.DIVERSITY, "weights.aed")):
        flipped = [r for r in ladder.NAMES if (r in now) != (r == rung)]
        yield (
            f"rung:{rung}",
            "Method",
            f"{rung} {_on(rung not in now)}",
            field,
            form.rung_changes(recipe, {"rungs": flipped, **numbers}),
        )
    for rung in (ladder.SMALLER, ladder.MULTI):
        yield (
            f"rung:{rung}",
            "Method",
            f"{rung} {_on(rung not in now)}",
            "resolutions",
            lambda rung=rung: _resolutions(recipe, offer, rung, now),
        )
    usual, own = (
        Weights(),
        (recipes.get(recipe.name).weights if recipe.name in recipes.NAMES else Weights()),
    )
    for part in (p for p in events.PARTS if p not in ("kr", "aed")):
        weight, on = getattr(recipe.weights, part), getattr(own, part) or getattr(usual, part)
        if weight or on:
            yield (
                f"weights.{part}",
                "Loss terms",
                f"{TITLES[part]} {_on(not weight)}",
                f"weights.{part}",
                {f"weights.{part}": 0.0 if weight else on},
            )
    for source in (s for s in form.SOURCES if s != recipe.source):
        smooth = dict(zip(("weights.tv", "weights.l2"), form.priors(source)))
        yield (
            f"source:{source}",
            "Images",
            f"image source {source}",
            "source",
            form.source_changes(recipe, source) | smooth,
        )
    for name, target in form.TARGETS.items():
        if target != recipe.target:
            yield f"target:{name}", "Images", f"target {name}", "target", {"target": target}
    yield from _of_schema(recipe)
    yield "seed", "Randomness", f"seed {recipe.seed + 1}", "seed", {"seed": recipe.seed + 1}


def _of_schema(recipe: Recipe) -> Iterator[tuple[str, str, str, str, Any]]:
    """Every other choice, switch, and number for which zero means off."""
    for field, node in Recipe.model_json_schema()["properties"].items():
        label, now = labels().get(field, ("",))[0], getattr(recipe, field)
        if node.get("type") == "boolean":
            yield field, "More", f"{label} {_on(not now)}", field, {field: not now}
        elif field in ZERO_IS_OFF and (now or field in ON):
            new = 0 if now else ON[field]
            yield field, "More", f"{label} {new or 'off'}", field, {field: new}
        elif field not in ELSEWHERE:
            for choice in (c for c in node.get("enum", ()) if c != now):
                yield f"{field}:{choice}", "More", f"{label} {choice}", field, {field: choice}


def _on(on: bool) -> str:
    return "on" if on else "off"


def _resolutions(recipe: Recipe, offer: Offer, rung: str, now: list[str]) -> dict[str, Any]:
    """As in `static/setup/ladder.js`; the batch keeps its number of pixels."""
    sides, many = sorted(recipe.resolutions), len(recipe.resolutions) > 1
    if rung == ladder.SMALLER and many and rung in now:
        raise NotFlippable(
            "With two resolutions, one is always smaller than the teacher's input. Turn off"
            " multi-resolution first."
        )
    if len(offer.sides) < 2:
        raise NotFlippable("This teacher accepts only one image size.")
    wanted: tuple[int, ...]
    if rung == ladder.SMALLER:
        wanted = (offer.sides[-1],) if rung in now else (offer.small,)
    else:
        wanted = (sides[0],) if many else ladder.pair(offer.sides, sides[0])
    return {"resolutions": wanted, "batch": recipe.batch_at(wanted[0]), "batches": None}


def _check(old: Recipe, new: Recipe, offer: Offer) -> None:
    """Checks that need the teacher: its patch size, and texts for its classes."""
    sides = new.sides(plan.patch(offer.card))
    if new.resolutions == old.resolutions and sides != old.sides(plan.patch(offer.card)):
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


def _idle(recipe: Recipe, offer: Offer, maps: bool, norms: bool) -> set[str]:
    """Fields that have no effect in this recipe with this teacher."""
    w, sees_patches = recipe.weights, plan.sees_patches(offer.card)
    norms = norms and not sees_patches
    idle = {
        "adv_mask": not w.adv,
        "bn_scale": not (w.bn and norms),
        "feature_memory": not (w.bn and norms),
        "weights.bn": not norms,
        "weights.kr": not maps,
        "target": not (w.kr and maps),
        "aed_embedding": not w.aed,
        "position_decay": not sees_patches,
        "embedding": recipe.source != "noise" and not recipe.diverse,
        "adv_divergence": not w.adv,
        "edges": recipe.augment == "none",
        "crop_curriculum": recipe.generator_crop == 1 or recipe.augment != "both",
        "restart_optimizer": recipe.source != "noise",
        "mix": bool(recipe.views),
        **dict.fromkeys(("deep", "up_first", "output", "generator_life"), not recipe.generates),
    }
    return {field for field, there in idle.items() if there}
