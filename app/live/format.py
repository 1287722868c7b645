"""Numbers, units and percentages as people read them, on every page."""

from __future__ import annotations

from typing import Any

FEW = 50
"""With fewer images than this, a percentage would suggest precision that is not there."""


def number(n: float) -> str:
    """1500 → "1,500"."""
    return f"{n:,.0f}"


def percent(share: float) -> str:
    """0.8241 → "82.4%"; never rounded up to a perfect 100."""
    value = 100 * share
    if 99.95 <= value < 100:
        return "99.9%"
    return f"{value:.1f}%"


def images(n: int) -> str:
    return "1 image" if n == 1 else f"{number(n)} images"


def target_label(target: dict[str, Any]) -> str:
    """The target as the paper writes it: G(1, 2) or Full(1)."""
    peak = f"{target['peak']:g}"
    if target["kind"] == "full":
        return f"Full({peak})"
    fraction = target.get("sigma_fraction")
    return f"G({peak}, {fraction:g} of the side)" if fraction else f"G({peak}, {target['sigma']:g})"
