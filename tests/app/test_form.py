"""The setup form: every offered recipe can be said by it, and whatever else arrives is refused in words."""

from __future__ import annotations

import pytest

from app.panels import form
from app.plan import OFFERED
from kgen import recipes


@pytest.mark.parametrize("name", OFFERED)
def test_an_offered_recipe_survives_the_form(name):
    said = form.write(recipes.get(name))
    budget = said[4]
    assert 2 * budget == int(2 * budget) and form.BUDGET[0] <= budget <= form.BUDGET[1], "the slider has steps of a half"
    assert form.read(*said) == recipes.get(name).replace(schedule="concurrent")


def test_a_recipe_that_the_form_cannot_say_is_shown_as_far_as_it_goes():
    name, classes, *_ = form.write(recipes.get("tiny").replace(classes=(5, 99, "Spaceship")))
    assert name is None and classes == ["Sandal"]


@pytest.mark.parametrize("at, value, says", [
    (0, "exe", "recipe"), (1, [], "at least one"), (1, ["Spaceship"], "not known"), (1, None, "not known"), (2, 27, "resolution"), (3, ["more"], "not known"),
    (4, float("nan"), "budget"), (4, 0.5, "budget"), (4, True, "budget"), (5, -1, "seed"), (5, 1.5, "whole"), (5, "1", "seed")])
def test_what_is_wrong_is_said(at, value, says):
    values = list(form.write(recipes.get("fashion-live")))
    values[at] = value
    with pytest.raises(form.FormError, match=f"(?i){says}"):
        form.read(*values)
