"""Which image sizes suit a teacher, from its card alone. No torch.

Everything that suggests a resolution uses this module: the page's choices, a first run, and the
advice of a warning.
"""

from __future__ import annotations

import math
import re

from kgen.events import TeacherCard

SMALL_SIDE = 48
"""Below this side, a teacher counts as one for small images: resolutions come in steps of 4, and
the generator is the shallow one.
"""
SHARES = (2 / 7, 3 / 7, 1 / 2, 4 / 7, 5 / 7, 6 / 7, 1)
"""Resolutions for larger teachers, as shares of the full side: 64, 96, 112 … 224."""
LEAST_SIDE = 16


def cell(card: TeacherCard) -> int:
    """Pixels per cell of the teacher's map in each direction. If the card does not say: 4, as in
    the bundled teachers for small images, or 32, as is usual for photographs.
    """
    return card.cell or (4 if card.side < SMALL_SIDE else 32)


def patch(card: TeacherCard) -> int:
    """Side of a transformer's patch in pixels, taken from its name (deit_tiny_patch16_224) or its
    arguments; 1 for other networks.
    """
    if card.architecture == "SmallViT":
        return card.cell or 4
    match = re.search(r"(?:^|:|_)(?:vit|deit3?|beit|flexivit)\w*_patch(\d+)", card.architecture)
    side = card.arguments.get("patch_size")
    return side if isinstance(side, int) else int(match[1]) if match else 1


def suitable(card: TeacherCard) -> tuple[int, ...]:
    """Sides in pixels that both teacher and generator accept, smallest first. The last is the
    teacher's own, or the closest one below.
    """
    full, unit = card.side, _unit(card)
    candidates = (
        range(LEAST_SIDE, full + 1, 4) if full < SMALL_SIDE else (full * share for share in SHARES)
    )
    multiples = {min(round(side / unit), full // unit) * unit for side in candidates}
    least = max(card.smallest or 0, unit, LEAST_SIDE)
    return tuple(sorted(side for side in multiples if side >= least)) or (full,)


def has_single_cell(card: TeacherCard, side: int) -> bool:
    """Whether the teacher's map may be a single cell for images of this side, judging by the card.
    A target has no center on such a map.

    Between one and two cells, it depends on whether the network pads; this counts as one.
    """
    return card.cell is not None and side < 2 * card.cell


def smallest(card: TeacherCard) -> int:
    """The smallest side that both teacher and generator accept and for which the teacher's map has
    several cells, if there is one; otherwise the largest side.
    """
    unit, largest = _unit(card), suitable(card)[-1]
    least = max(2 * cell(card), card.smallest or 0)
    return min(math.ceil(least / unit) * unit, largest)


def _unit(card: TeacherCard) -> int:
    """Sides must be multiples of this, for the generator and for a transformer's patches."""
    return math.lcm(4 if card.side < SMALL_SIDE else 16, patch(card))
