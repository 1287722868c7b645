"""Recipe fields as controls. Labels, tips, limits and choices come from the recipe's own schema.

No Gradio here. A control's label is the first few words of its field's docstring, so the page and
`python -m kgen run --set` use the same terms.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from kgen.recipe.recipe import Recipe

FIELD_GROUPS = ("weights", "radii")
"""Parts of a recipe whose numbers all become controls."""
CHOICE_FIELDS = ("embedding", "text_encoder", "aed_embedding")


@dataclass(frozen=True, slots=True)
class Knob:
    """One field. A number has limits, a choice has `choices`; `optional` may be left empty."""

    field: str
    label: str
    tip: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    optional: bool = False


@functools.cache
def knobs() -> tuple[Knob, ...]:
    """Numbers first, then choices, each in the order of the recipe."""
    schema = Recipe.model_json_schema()

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node

    numbers = []
    for group in FIELD_GROUPS:
        properties = resolved(schema["properties"][group])["properties"]
        numbers += [_number(f"{group}.{name}", node) for name, node in properties.items()]
    return (
        *numbers,
        *(
            _choice(name, resolved(schema["properties"][name]), schema["properties"][name])
            for name in CHOICE_FIELDS
        ),
    )


def _number(field: str, node: dict[str, Any]) -> Knob:
    limits = next((n for n in node.get("anyOf", []) if n.get("type") == "number"), node)
    return Knob(
        field,
        *_label_and_tip(field, node),
        low=limits["minimum"],
        high=limits["maximum"],
        optional="anyOf" in node,
    )


def _choice(field: str, node: dict[str, Any], override: dict[str, Any]) -> Knob:
    return Knob(field, *_label_and_tip(field, {**node, **override}), choices=tuple(node["enum"]))


def _label_and_tip(field: str, node: dict[str, Any]) -> tuple[str, str]:
    """(label, tip): "α_ce, cross-entropy of …" gets the label "α_ce"."""
    tip = " ".join((node.get("description") or field).split())
    return re.split("[,:;] ", tip, maxsplit=1)[0].rstrip("."), tip
