"""Differences between recipes, in the form's terms. Pure; labels and tips come from the recipe's
own schema.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from app.live import format
from app.setup import form
from app.setup.knobs import knobs
from kgen.recipe.recipe import Recipe, field_names

MOST_TEXT = 200
KEEPING = ("journal_pixels", "judge")
"""Fields that only say how much of a run is kept or which network judges it. They do not affect the
result, so they do not count as a difference.
"""


def kin_of(recipe: Recipe, sha: str) -> str:
    """A key shared by runs that differ only in seed, name and KEEPING. `sha`: the teacher's."""
    data = recipe.model_dump(mode="json", exclude={"seed", "name", *KEEPING})
    return hashlib.sha256(json.dumps([data, sha], sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def labels() -> dict[str, tuple[str, str]]:
    """field → (label, tip), as in the form if the field is there; otherwise the field's own name in
    words.
    """
    schema = Recipe.model_json_schema()

    def about(path: str) -> str:
        node: dict[str, Any] = schema
        for key in path.split("."):
            node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
            node = node["properties"][key]
        return " ".join(node.get("description", "").split())

    own = {knob.field: (knob.label, knob.tip) for knob in knobs()}
    fields = [f for f in field_names() if not f.startswith("target.")]
    return {
        f: own.get(f, (form.TITLES.get(f) or f.replace(".", " ").replace("_", " "), about(f)))
        for f in ("target", *fields)
    }


def value(recipe: Recipe, field: str) -> str:
    """A field's value, formatted for people."""
    found = recipe.value(field)
    if field == "target":
        return format.target_label(found.model_dump())
    if field == "ratio":
        return f"{100 * found:.6g}%"
    if found is None:
        return {"classes": "all", "radii.inner": "auto", "radii.outer": "auto"}.get(field, "–")
    if field == "real_images":
        return PurePath(found).name[:MOST_TEXT] or "–"  # nobody else needs the path on that machine
    if isinstance(found, bool):
        return "on" if found else "off"
    if isinstance(found, dict):
        found = tuple(f"{k} = {v}" for k, v in found.items())
    if isinstance(found, tuple):
        more = f" and {len(found) - 8} more" if len(found) > 9 else ""
        return ", ".join(map(str, found[: 8 if more else 9]))[:MOST_TEXT] + more
    return f"{found:g}" if isinstance(found, float) else str(found)[:MOST_TEXT]


def differing(recipes: Sequence[Recipe]) -> list[str]:
    """Fields that are not the same in all of them; the target counts as one field."""
    return [
        f
        for f in labels()
        if f not in KEEPING and any(r.value(f) != recipes[0].value(f) for r in recipes[1:])
    ]


def change(old: Recipe, new: Recipe) -> str:
    """ "α_kr: 0.1 → 0; …" """
    return "; ".join(
        f"{labels()[f][0]}: {value(old, f)} → {value(new, f)}" for f in differing([old, new])
    )
