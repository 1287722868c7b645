"""The ladder of the paper's Table 4: each rung adds one idea to a plain generator. Words and names,
no Gradio.

A rung is a view of recipe fields: which resolutions, and which weights are not zero.
`static/setup/ladder.js` keeps switches, presets, resolutions and weights in step while a person
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
    """Of the preset that ends with this rung, as Table 4 names it."""
    adds: str
    without: str
    """What to expect where it is off; accuracies are the paper's (Table 4, Imagenette, 5 % of the
    pixels).
    """


BASELINE = (
    "Plain generator (NAYER): a noisy layer over class names makes full-size images that please the"
    " teacher and puzzle the student."
)
RUNGS = (
    Rung(
        SMALLER,
        "+SRG",
        "Images smaller than the teacher's input: more of them for the same pixels, and each step"
        " costs less.",
        "Without smaller images the budget holds fewer of them; the paper loses 9 points of"
        " accuracy.",
    ),
    Rung(
        KEY_REGION,
        "+KR",
        "Ask that the teacher's evidence for the class lies in the middle of the image (Eq. 6).",
        "Without the key region expect texture anywhere and faint evidence; the paper loses 36"
        " points of accuracy.",
    ),
    Rung(
        DIVERSITY,
        "+ED",
        "The student pulls embeddings to their class, the generator pushes new ones away: images of"
        " a class differ more (Eq. 9, 11).",
        "Without embedding diversity images of a class grow alike; the paper loses 3 points of"
        " accuracy.",
    ),
    Rung(
        MULTI,
        "K-Gen",
        "Two resolutions in turn, the chosen one and the next larger: objects at more than one"
        " scale (Eq. 7).",
        "With one resolution the student sees each class at one scale; the paper loses 2 points of"
        " accuracy.",
    ),
)
NAMES = tuple(rung.name for rung in RUNGS)
PRESETS = ("NAYER", *(rung.short for rung in RUNGS))
"""The n-th preset has the first n rungs on; K-Gen has all."""


def pair(sides: tuple[int, ...], side: int) -> tuple[int, ...]:
    """A resolution and the next larger one that is offered; the largest has a smaller neighbour
    instead.
    """
    at = min(next((i for i, s in enumerate(sides) if s >= side), len(sides)), len(sides) - 2)
    return sides[at : at + 2]


def constants(offer: Offer) -> str:
    """What `static/setup/ladder.js` has to know, as JSON; the resolutions of another teacher reach
    it through the class picker.
    """
    w = Weights()
    told = {"sides": offer.sides, "full": offer.sides[-1], "small": offer.small}
    return json.dumps(
        {"rungs": NAMES, "presets": PRESETS, **told, "kr": w.kr, "ed": w.ed, "aed": w.aed}
    )
