"""Validation messages for recipes.

Each one names the field, the value, the allowed range and the nearest valid name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, get_origin

from pydantic import BaseModel

from kgen.phrases import did_you_mean, one_of


def field_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every settable field, dotted if nested: "seed", "weights.kr", "optimizers.student.lr"."""
    paths = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        # Python 3.10 takes tuple[int, ...] for a class
        if get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, BaseModel):
            paths += field_names(kind, f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths


class Invalid(ValueError):
    """A value that a validator rejects: its sentence, the error's code, and the field at fault if
    the validator covers several.
    """

    def __init__(self, message: str, *, code: str, field: str = ""):
        super().__init__(message)
        self.code = code
        self.field = field


LIST = "python -m kgen recipes --json"
"""The command that shows recipes with all their fields."""
ALIASES = {"budget": "ratio", "steps": "generator_steps"}
"""Common names for fields, and the fields they stand for."""


def unknown(path: str, valid: list[str]) -> tuple[str, dict[str, Any]]:
    """The message for a field that does not exist, and its facts."""
    known = (
        valid
        if "." in path
        else [*valid, *dict.fromkeys(v.partition(".")[0] for v in valid if "." in v)]
    )
    group = [v for v in valid if "." in path and v.startswith(path.rpartition(".")[0])] or valid
    same_name = [v for v in valid if v.rpartition(".")[2] == path.rpartition(".")[2]]
    matches = (
        [ALIASES[path]]
        if path in ALIASES
        else difflib.get_close_matches(path, known, 1, 0.6) or same_name
    )
    hint = f"Did you mean {matches[0]!r}?" if matches else did_you_mean(path, group, LIST, cutoff=1)
    return f"Unknown recipe field {path!r}. {hint}", {
        "code": "unknown-field",
        "field": path,
        "meant": matches[0] if matches else None,
    }


def explain(error: Mapping[str, Any], model: type[BaseModel]) -> tuple[str, dict[str, Any]]:
    """One of a ValidationError's errors as a sentence, and its facts.

    The facts are a code, the field, and where they apply the value found, the valid `choices`, the
    limits (`minimum`, `maximum`, `exclusive_minimum`, `exclusive_maximum`) and the nearest valid
    value.
    """
    path = ".".join(str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        return unknown(path, field_names(model))
    found = repr(error.get("input"))
    found = found if len(found) < 60 else found[:57] + "…"
    facts: dict[str, Any] = {"code": "invalid-value", "field": path, "value": found}
    if error["type"] == "literal_error":
        choices = _choices(error["loc"], model)
        matches = difflib.get_close_matches(str(error.get("input")), map(str, choices), 1, 0.4)
        facts |= {"code": "invalid-choice", "choices": choices}
        return f"Recipe field {path!r} is {found}; expected {one_of(choices)}." + (
            f" Did you mean {matches[0]!r}?" if matches else ""
        ), facts | {"meant": matches[0] if matches else None}
    if error["type"] == "value_error":
        cause = error["ctx"]["error"]
        return f"Recipe field {path!r}: {cause}." if path else f"Recipe field {cause}.", {
            "code": cause.code if isinstance(cause, Invalid) else "invalid-value",
            "field": path or getattr(cause, "field", ""),
        }
    limits = _limits(error["loc"], model)
    expected = error["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    allowed = " and ".join(PHRASES[name].format(limit) for name, limit in limits.items())
    return (
        f"Recipe field {path!r} is {found}; allowed: {allowed or expected}.",
        facts | (limits or {"expected": expected}),
    )


PHRASES = {
    "minimum": "{:g} or more",
    "exclusive_minimum": "above {:g}",
    "maximum": "at most {:g}",
    "exclusive_maximum": "below {:g}",
}
"""How a limit is put in a sentence, by its field in the error."""


def _schemas(path: tuple, model: type[BaseModel]) -> list[dict[str, Any]]:
    """The JSON schemas that a field may follow: one, or one per type."""
    schema = model.model_json_schema()
    node: dict[str, Any] = schema
    for key in path:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        node = (
            node.get("items", {})
            if isinstance(key, int)
            else node.get("properties", {}).get(key, {})
        )
    return node.get("anyOf", [node])


def _limits(path: tuple, model: type[BaseModel]) -> dict[str, float]:
    """The limits of a numeric field, named as in PHRASES; empty if it has none."""
    schemas = _schemas(path, model)
    number = next((s for s in schemas if s.get("type") in ("number", "integer")), schemas[0])
    keys = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} & number.keys()
    found = {re.sub("M", "_m", key): number[key] for key in keys}
    return {name: found[name] for name in PHRASES if name in found}


def _choices(path: tuple, model: type[BaseModel]) -> list[Any]:
    """The values that a field with a list of choices may have."""
    return [
        value
        for schema in _schemas(path, model)
        for value in schema.get("enum", [schema["const"]] if "const" in schema else [])
    ]
