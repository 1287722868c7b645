"""Parts of sentences: their grammar and what they leave out."""

from __future__ import annotations

import pytest

from kgen import phrases
from kgen.recipe import errors
from kgen.recipe.recipe import Recipe
from kgen.zoo import fetch, zoo
from tests.support.errors import raises

NAMES = ["resnet18", "resnet34", "resnet50", *(f"net-{letter}" for letter in "abcdefghijkl")]


@pytest.mark.parametrize(
    ("name", "known", "command", "text"),
    [
        ("net-aa", NAMES, "", "Did you mean 'net-a'?"),
        ("zzz", ["a", "b"], "list", "Known: a, b."),
        ("zzz", NAMES[:12], "", f"Known: {', '.join(NAMES[:12])}."),
        ("zzz", NAMES, "", "Known: resnet18, resnet34, resnet50, net-a, net-b and 10 more."),
        (
            "zzz",
            NAMES,
            "list",
            "Known: resnet18, resnet34, resnet50, net-a, net-b and 10 more. `list` lists them all.",
        ),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_the_first_few(name, known, command, text):
    assert phrases.did_you_mean(name, known, command) == text


def test_names_that_are_nearly_as_close_are_all_suggested():
    text = phrases.did_you_mean("resnet", NAMES, "list")
    assert text.startswith("Did you mean 'resnet") and text.endswith("'? `list` lists them all.")
    assert all(name in text for name in NAMES[:3]) and text.count("'") == 6


def test_no_message_lists_dozens_of_names():
    with raises(zoo.ZooError, "unknown-teacher", "`python -m kgen zoo`") as teacher:
        zoo.locate("zzzz")
    with raises(zoo.ZooError, "unknown-weights", "`python -m kgen zoo`", "timm:MODEL.TAG") as found:
        fetch.find("zzzz")
    field, _ = errors.unknown("zzzz", errors.field_names(Recipe))
    for text in (str(teacher.value), str(found.value), field):
        assert "more" in text and text.count(", ") < phrases.MAX_LISTED and len(text) < 200
