"""Differences between recipes, in the form's terms. Pure; labels and tips come from the recipe's
own schema.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from app.live import format
from app.setup import form
from app.setup.knobs import knobs
from kgen.recipe.recipe import Recipe, field_names
from kgen.system.paths import last_part

MAX_TEXT = 200
IGNORED_FIELDS = ("journal_pixels", "judge")
"""Fields that only say how much of a run is kept or which network judges it. They do not affect the
result, so they do not count as a difference.
"""


def replicate_key(recipe: Recipe, sha: str) -> str:
    """The key that `replicates` compares; `sha` is the teacher's checksum.

    The key is a hash. If the path to real images is more than a name, it is followed by a dot and
    the hash of that path.
    """
    path = recipe.real_images
    data = recipe.model_dump(mode="json", exclude={"seed", "name", *IGNORED_FIELDS})
    data["real_images"] = path and last_part(path)
    return _digest([data, sha]) + (f".{_digest(path)}" if path and not _is_name(path) else "")


def replicates(key: str, other: str) -> bool:
    """Whether two runs differ only in seed, name and IGNORED_FIELDS, by their keys."""
    (recipe, _, path), (other_recipe, _, other_path) = key.partition("."), other.partition(".")
    return recipe == other_recipe and (path == other_path or not (path and other_path))


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _is_name(path: str) -> bool:
    """Whether a path to real images is the name alone, which is all that a bundle contains."""
    return last_part(path) == path


def image_folders(recipes: Sequence[Recipe]) -> list[str]:
    """The paths to each recipe's own real images, or only their names if one comes from a bundle;
    "" for none.
    """
    paths = [recipe.real_images or "" for recipe in recipes]
    return [last_part(p) for p in paths] if any(p and _is_name(p) for p in paths) else paths


@functools.cache
def labels() -> dict[str, tuple[str, str]]:
    """field → (label, tip), as in the form if the field is there; otherwise the field's own name in
    words.
    """
    schema = Recipe.model_json_schema()

    def description(path: str) -> str:
        node: dict[str, Any] = schema
        for key in path.split("."):
            node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
            node = node["properties"][key]
        return " ".join(node.get("description", "").split())

    in_form = {knob.field: (knob.label, knob.tip) for knob in knobs()}
    fields = [f for f in field_names() if not f.startswith("target.")]
    return {
        f: in_form.get(
            f, (form.TITLES.get(f) or f.replace(".", " ").replace("_", " "), description(f))
        )
        for f in ("target", *fields)
    }


def value(recipe: Recipe, field: str) -> str:
    """A field's value, formatted for people."""
    raw = recipe.value(field)
    if field == "target":
        return format.target_label(raw.model_dump())
    if field == "ratio":
        return f"{100 * raw:.6g}%"
    if raw is None:
        return {"classes": "all", "radii.inner": "auto", "radii.outer": "auto"}.get(field, "–")
    if field == "real_images":
        return last_part(raw)[:MAX_TEXT] or "–"  # nobody else needs the path on that machine
    if isinstance(raw, bool):
        return "on" if raw else "off"
    if isinstance(raw, dict):
        raw = tuple(f"{k} = {v}" for k, v in raw.items())
    if isinstance(raw, tuple):
        rest = f", and {len(raw) - 8} more" if len(raw) > 9 else ""
        return ", ".join(map(str, raw[: 8 if rest else 9]))[:MAX_TEXT] + rest
    return f"{raw:g}" if isinstance(raw, float) else str(raw)[:MAX_TEXT]


def differing_fields(recipes: Sequence[Recipe]) -> list[str]:
    """Fields that are not the same in all of them; the target counts as one field."""

    def differs(field: str) -> bool:
        own = field == "real_images"
        values = image_folders(recipes) if own else [recipe.value(field) for recipe in recipes]
        return any(value != values[0] for value in values[1:])

    return [f for f in labels() if f not in IGNORED_FIELDS and differs(f)]


def describe_change(old: Recipe, new: Recipe) -> str:
    """ "α_kr: 0.1 → 0; …" """
    return "; ".join(
        f"{labels()[f][0]}: {value(old, f)} → {value(new, f)}" for f in differing_fields([old, new])
    )
