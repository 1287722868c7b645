"""Numbers as people read them. The oracle for rounding is exact arithmetic with fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.live import format


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.8241, "82.4%"),
        (0.8125, "81.3%"),  # exactly halfway; f"{81.25:.1f}" is 81.2
        (0.8175, "81.8%"),
        (0.8135, "81.3%"),  # as a float, 100 * 0.8135 is just below 81.35
        (0.0, "0.0%"),
        (0.99999, "99.9%"),
        (1.0, "100.0%"),
    ],
)
def test_percentages(share, text):
    assert format.percent(share) == text


@given(st.integers(0, 10_000), st.sampled_from((0, 1, 2)))
def test_halves_go_up_as_on_the_page(correct, digits):
    """JavaScript's toFixed: the nearest decimal to the float, the larger of two."""
    value = 100 * (correct / 10_000)
    whole = math.floor(Fraction(value) * 10**digits + Fraction(1, 2))
    assert Fraction(format.half_up(value, digits)) == Fraction(whole, 10**digits)
    assert len(str(format.half_up(value, digits)).partition(".")[2]) == digits


@pytest.mark.parametrize("share", [1e300, -1e300, math.inf, math.nan])
def test_an_invalid_share_can_still_be_written(share):
    assert format.percent(share).endswith("%")


def test_differences_are_signed():
    assert f"{format.points(0.00125):+}" == "+0.1" and f"{format.points(-0.0125):+}" == "-1.3"


def test_counts():
    assert format.number(1500) == "1,500"
    assert [format.images(n) for n in (1, 1_234_567)] == ["1 image", "1,234,567 images"]
