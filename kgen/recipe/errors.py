"""Validation messages for recipes.

Each one names the field, the value, the allowed range and the nearest valid name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def field_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every settable field, dotted if nested: "seed", "weights.kr", "optimizers.student.lr"."""
    paths = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            paths += field_names(kind, f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths


class Invalid(ValueError):
    """A value that a validator rejects: its sentence, the error's code, and the field at fault if
    the validator covers several.
    """

    def __init__(self, message: str, code: str, field: str = ""):
        super().__init__(message)
        self.code = code
        self.field = field


ALIASES = {"budget": "ratio", "steps": "generator_steps"}
"""Common names for fields, and the fields they stand for."""


def unknown(path: str, valid: list[str]) -> tuple[str, dict[str, Any]]:
    """The message for a field that does not exist, and its facts."""
    known = (
        valid
        if "." in path
        else [*valid, *dict.fromkeys(v.partition(".")[0] for v in valid if "." in v)]
    )
    same_name = [v for v in valid if v.rpartition(".")[2] == path.rpartition(".")[2]]
    matches = (
        [ALIASES[path]]
        if path in ALIASES
        else difflib.get_close_matches(path, known, 1, 0.6) or same_name
    )
    return f"Recipe field {path!r} is not known." + (
        f" Did you mean {matches[0]!r}?" if matches else f" Known: {', '.join(valid)}."
    ), {"code": "unknown-field", "field": path, "meant": matches[0] if matches else None}


def explain(error: Mapping[str, Any], model: type[BaseModel]) -> tuple[str, dict[str, Any]]:
    """One of a ValidationError's errors as a sentence, and its facts.

    The facts are a code, the field, and where they apply the value found, the allowed values and
    the nearest valid value.
    """
    path = ".".join(str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        return unknown(path, field_names(model))
    found = repr(error.get("input"))
    found = found if len(found) < 60 else found[:57] + "…"
    if error["type"] == "literal_error":
        expected = error["ctx"]["expected"]
        matches = difflib.get_close_matches(
            str(error.get("input")),
            expected.replace("'", "").replace(" or ", ", ").split(", "),
            1,
            0.4,
        )
        return f"Recipe field {path!r} is {found}; expected {expected}." + (
            f" Did you mean {matches[0]!r}?" if matches else ""
        ), {
            "code": "not-a-choice",
            "field": path,
            "value": found,
            "allowed": expected,
            "meant": matches[0] if matches else None,
        }
    if error["type"] == "value_error":
        cause = error["ctx"]["error"]
        return f"Recipe field {path!r}: {cause}." if path else f"Recipe field {cause}.", {
            "code": getattr(cause, "code", "invalid-value"),
            "field": path or getattr(cause, "field", ""),
        }
    limits = _limits(error["loc"], model)
    allowed = limits or error["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"Recipe field {path!r} is {found}; allowed: {allowed}.", {
        "code": "invalid-value",
        "field": path,
        "value": found,
        "allowed": allowed,
    }


def _limits(path: tuple, model: type[BaseModel]) -> str:
    """The allowed range of a numeric field as text, from the schema; empty if it has none."""
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
    node = next((n for n in node.get("anyOf", []) if n.get("type") in ("number", "integer")), node)
    phrases = (
        ("minimum", "{:g} or more"),
        ("exclusiveMinimum", "above {:g}"),
        ("maximum", "at most {:g}"),
        ("exclusiveMaximum", "below {:g}"),
    )
    return " and ".join(text.format(node[key]) for key, text in phrases if key in node)
