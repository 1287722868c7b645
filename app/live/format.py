"""Numbers, units and percentages as people read them, on every page."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from kgen.phrases import count

FEW_IMAGES = 50
"""With fewer images than this, a percentage would suggest false precision."""
SHARE_DIGITS = 6
"""For shares that the page rounds itself. With fewer digits, double rounding would show: 0.812496
becomes 0.8125 with four, and then 81.3%.
"""
_HALF_UP = Context(prec=400, rounding=ROUND_HALF_UP, traps=[])  # for any float, and for nan


def number(n: float) -> str:
    """1500 → "1,500"."""
    return f"{n:,.0f}"


def half_up(value: float, digits: int = 0) -> Decimal:
    """Rounds like the page's `toFixed`, so that texts and charts show the same number: halves go
    up. 81.25 → 81.3, where Python's formats give 81.2.
    """
    return _HALF_UP.quantize(Decimal(value), Decimal(1).scaleb(-digits))


def points(share: float) -> Decimal:
    """A difference of shares, in percentage points with one digit."""
    return half_up(100 * share, 1)


def percentage(share: float) -> Decimal:
    """0.8241 → 82.4; never rounded up to a perfect 100."""
    rounded = points(share)
    return Decimal("99.9") if share < 1 and rounded == 100 else rounded


def percent(share: float) -> str:
    """0.8241 → "82.4%"."""
    return f"{percentage(share)}%"


def images(n: int) -> str:
    return count(n, "image")


def target_label(target: dict[str, Any]) -> str:
    """The target as the paper writes it: G(1, 2) or Full(1)."""
    peak = f"{target['peak']:g}"
    if target["kind"] == "full":
        return f"Full({peak})"
    fraction = target.get("sigma_fraction")
    return f"G({peak}, {fraction:g} of the side)" if fraction else f"G({peak}, {target['sigma']:g})"
