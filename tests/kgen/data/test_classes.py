"""Classes typed by hand: names first, indices only where they cannot be names."""

from __future__ import annotations

import pytest

from kgen.__main__ import read_recipe
from kgen.data import classes

LETTERS, STARS = ("a", "A", "b", "B"), ("1", "2", "3", "4", "5")


@pytest.mark.parametrize(
    ("typed", "names", "expected"),
    [
        (["0", "3"], LETTERS, [0, 3]),
        (["A", "2"], LETTERS, ["A", 2]),
        (["1", "5"], STARS, ["1", "5"]),
        (["0"], STARS, ["0"]),
        ([0, 4], STARS, [0, 4]),
        (["-1"], LETTERS, ["-1"]),
    ],
)
def test_a_number_is_an_index_unless_classes_are_named_by_numbers(typed, names, expected):
    assert classes.from_text(typed, names) == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("classes=0,9", (0, 9)), ("classes=8", (8,)), ("classes=Bag,1", ("Bag", 1))],
)
def test_indices_on_the_command_line(setting, expected):
    assert read_recipe("tiny", [setting], None, None).classes == expected
