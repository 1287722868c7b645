"""The ladder from the paper's Table 4: each rung adds one idea to a plain generator. Names and
texts, no Gradio.

A rung is a view of recipe fields: which resolutions there are, and which weights are not zero.
`static/setup/ladder.js` keeps switches, presets, resolutions and weights in sync while a person
chooses; `form.read` decides what they mean.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from app.setup.offers import Offer
from kgen.recipe.fields import Weights

SMALLER, KEY_REGION, DIVERSITY, MULTI = (
    "smaller images",
    "key region",
    "embedding diversity",
    "multi-resolution",
)


@dataclass(frozen=True, slots=True)
class Rung:
    name: str
    short: str
    """Table 4's name for the preset that ends with this rung."""
    adds: str
    without: str
    """What to expect with this rung off. Accuracies are the paper's (Table 4, Imagenette, 5% of the
    pixels).
    """


BASELINE = (
    "Plain generator (NAYER): turns class names and a noisy layer into full-size images that"
    " convince the teacher and challenge the student."
)
RUNGS = (
    Rung(
        SMALLER,
        "+SRG",
        "Images smaller than the teacher's input: more fit in the same pixel budget, and each step"
        " is cheaper.",
        "Without smaller images, fewer fit in the budget. This costs 9 points of accuracy in the"
        " paper.",
    ),
    Rung(
        KEY_REGION,
        "+KR",
        "Pushes the teacher's evidence for the class toward the middle of the image (Eq. 6).",
        "Without the key region, expect scattered texture and faint evidence. This costs 36 points"
        " of accuracy in the paper.",
    ),
    Rung(
        DIVERSITY,
        "+ED",
        "The student pulls embeddings toward their class; the generator pushes new ones away."
        " Images within a class vary more (Eq. 9, 11).",
        "Without embedding diversity, images of a class look more alike. This costs 3 points of"
        " accuracy in the paper.",
    ),
    Rung(
        MULTI,
        "K-Gen",
        "Alternates between two resolutions, the chosen one and the next larger: objects at more"
        " than one scale (Eq. 7).",
        "With one resolution, the student sees each class at one scale only. This costs 2 points of"
        " accuracy in the paper.",
    ),
)
NAMES = tuple(rung.name for rung in RUNGS)
PRESETS = ("NAYER", *(rung.short for rung in RUNGS))
"""The n-th preset turns on the first n rungs; K-Gen has them all."""


def pair(sides: tuple[int, ...], side: int) -> tuple[int, ...]:
    """A resolution and the next larger one on offer; the largest is paired with the next
    smaller.
    """
    start = min(next((i for i, s in enumerate(sides) if s >= side), len(sides)), len(sides) - 2)
    return sides[start : start + 2]


def constants(offer: Offer) -> str:
    """What `static/setup/ladder.js` needs to know, as JSON. It gets another teacher's resolutions
    through the class picker.
    """
    weights = Weights()
    resolutions = {"sides": offer.sides, "full": offer.sides[-1], "small": offer.small}
    return json.dumps(
        {
            "rungs": NAMES,
            "presets": PRESETS,
            **resolutions,
            "kr": weights.kr,
            "ed": weights.ed,
            "aed": weights.aed,
        }
    )
