"""The setup form: it can express every offered recipe, and it rejects anything else with a
sentence.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.setup import form, ladder, offers
from app.setup.knobs import knobs
from kgen.recipe.fields import Target
from kgen.recipe.recipe import Recipe
from kgen.recipes import recipes
from kgen.terms import TERMS

LADDER = Path(form.__file__).parent.parent / "static" / "setup" / "ladder.js"
LIVE = recipes.get("fashion-live")
OFFER = offers.offer(LIVE.teacher)


def said(**changes) -> dict:
    return form.write(LIVE) | changes


@pytest.mark.parametrize("name", offers.TIMES)
def test_an_offered_recipe_survives_the_form(name):
    values = form.write(recipes.get(name))
    assert tuple(values) == form.FIELDS
    low, high, step = offers.offer(values["teacher"]).budget
    assert low <= values["budget"] <= high and values["budget"] / step == pytest.approx(
        round(values["budget"] / step)
    )
    assert form.read(values) == recipes.get(name).replace(schedule="concurrent")


def test_a_recipe_that_the_form_cannot_say_is_shown_as_far_as_it_goes():
    values = form.write(
        recipes.get("tiny").replace(
            classes=(5, 99, "Spaceship"),
            resolutions=(12, 20),
            teacher="elsewhere.safetensors",
            target=Target(peak=7),
        )
    )
    assert (values["recipe"], values["teacher"], values["target"]) == (None, None, None)
    assert values["classes"] == ["Sandal"] and values["sides"] == [20]


# --- what the choices mean ------------------------------------------------------------------------


def test_the_whole_ladder_is_said_by_its_switches():
    r = form.read(said(rungs=list(ladder.NAMES), sides=[28, 20]))
    assert r.resolutions == (20, 28) and (r.weights.kr, r.weights.ed, r.weights.aed) == (
        0.1,
        10.0,
        5.0,
    )
    assert form.write(r)["rungs"] == list(ladder.NAMES)
    assert form.read(form.write(r)) == r


def test_a_switch_that_is_off_beats_the_number_beside_it():
    r = form.read(
        said(rungs=[ladder.SMALLER], **{"weights.kr": 3, "weights.ed": 4, "weights.aed": 5})
    )
    assert (r.weights.kr, r.weights.ed, r.weights.aed) == (0, 0, 0)


def test_a_switch_that_is_on_keeps_the_number_beside_it():
    r = form.read(
        said(
            rungs=[ladder.KEY_REGION, ladder.DIVERSITY],
            **{"weights.kr": 3, "weights.ed": 0, "weights.aed": 2.5},
        )
    )
    assert (r.weights.kr, r.weights.ed, r.weights.aed) == (3, 0, 2.5)


@pytest.mark.parametrize("sides", [[16], [20], [24], [28], [20, 24], [16, 20, 24, 28]])
def test_an_iteration_costs_about_as_many_pixels_at_any_resolution(sides):
    r = form.read(said(sides=sides))
    sizes = r.batch_sizes(r.resolutions)
    assert sum(n * e * e for n, e in zip(sizes, r.resolutions)) == pytest.approx(
        100 * 28 * 28, rel=0.02
    )


@pytest.mark.parametrize(
    "target, kind, peak, sigma",
    [
        ("G(1, 2)", "gaussian", 1, 2),
        ("G(1, 3)", "gaussian", 1, 3),
        ("G(2, 2)", "gaussian", 2, 2),
        ("Full(1)", "full", 1, 2),
        ("Full(3)", "full", 3, 2),
    ],
)
def test_targets_of_the_papers_comparison(target, kind, peak, sigma):
    t = form.read(said(target=target)).target
    assert (t.kind, t.peak, t.sigma) == (kind, peak, sigma)


@pytest.mark.parametrize("source", form.SOURCES)
def test_a_source_brings_its_own_settings(source):
    tv, l2 = form.priors(source)
    r = form.read(said(source=source, **{"weights.tv": tv, "weights.l2": l2}))
    assert r.source == source and (r.feature_memory > 0) == (source == "latent")
    assert (r.weights.tv > 0 and r.weights.l2 > 0) == (source == "pixels")
    if source != "noise":
        donor = recipes.get(form.SOURCES[source])
        assert (r.optimizers.images, r.optimizers.meta) == (
            donor.optimizers.images,
            donor.optimizers.meta,
        )


def test_the_rest_of_the_method_is_named_and_limited_by_the_schema():
    known = {k.field: k for k in knobs()}
    assert set(known) == {
        *(f"weights.{term.name}" for term in TERMS if term.weighted),
        "radii.inner",
        "radii.outer",
        "embedding",
        "text_encoder",
        "aed_embedding",
    }
    assert (known["weights.kr"].label, known["radii.outer"].label, known["embedding"].label) == (
        "α_kr",
        "r_o",
        "Class representative f_y",
    )
    assert (
        known["weights.kr"].tip
        == Recipe.model_json_schema()["$defs"]["Weights"]["properties"]["kr"]["description"]
    )
    assert (known["radii.inner"].low, known["radii.inner"].high, known["radii.inner"].optional) == (
        0,
        100,
        True,
    )
    assert known["embedding"].choices == ("auto", "text", "center")


def test_an_empty_radius_is_left_to_the_engine():
    assert (
        form.read(said()).radii.inner is None
        and form.read(said(**{"radii.inner": 0.01})).radii.inner == 0.01
    )


def test_student_texts_and_real_images_are_taken_over():
    r = form.read(
        said(
            student="resnet18",
            class_texts="Bag = a bag for the hand\n\n Coat=winter coat",
            real_images=" photos ",
        )
    )
    assert (r.student, r.class_texts, r.real_images) == (
        "resnet18",
        {"Bag": "a bag for the hand", "Coat": "winter coat"},
        os.path.abspath("photos"),
    )
    assert form.read(form.write(r)) == r


# --- hostile input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field, value, says",
    [
        ("recipe", "exe", "recipe"),
        ("recipe", ["a"], "recipe"),
        ("teacher", "/etc/passwd", "teacher"),
        ("teacher", None, "teacher"),
        ("classes", [], "at least one"),
        ("real_images", 7, "path"),
        ("real_images", "a\0b", "path"),
        ("student", 3, "student"),
        ("student", "../x", "student"),
        ("class_texts", "Bag", "class texts"),
        ("class_texts", 7, "class texts"),
        ("class_texts", "Spaceship = a ship", "Spaceship"),
        ("classes", ["Spaceship"], "is not a class"),
        ("classes", None, "is not a class"),
        ("classes", [["Bag"]], "is not a class"),
        ("sides", [27], "resolution"),
        ("sides", [], "resolution"),
        ("sides", 28, "resolution"),
        ("sides", [28, 28], "resolution"),
        ("sides", [[28]], "resolution"),
        ("sides", [28.0], "resolution"),
        ("rungs", ["more"], "unknown"),
        ("rungs", None, "unknown"),
        ("source", "film", "image source"),
        ("source", {}, "image source"),
        ("budget", float("nan"), "budget"),
        ("budget", 0.5, "budget"),
        ("budget", True, "budget"),
        ("seed", -1, "seed"),
        ("seed", 1.5, "whole"),
        ("seed", "1", "seed"),
        ("target", "G(9, 9)", "target"),
        ("target", 1, "target"),
        ("weights.kr", -1, "α_kr"),
        ("weights.kr", None, "α_kr"),
        ("weights.bn", 1e9, "10,000"),
        ("weights.ce", "0.5", "α_ce"),
        ("weights.tv", float("inf"), "variation"),
        ("radii.outer", 101, "r_o"),
        ("radii.outer", "", "r_o"),
        ("embedding", "speech", "Class representative f_y"),
        ("aed_embedding", "teacher", "center"),
    ],
)
def test_what_is_wrong_is_said(field, value, says):
    with pytest.raises(form.FormError, match=f"(?i){says}"):
        form.read(said(**{field: value}))


@pytest.mark.parametrize("field", form.FIELDS)
def test_a_field_that_is_missing_is_refused_or_optional(field):
    values = said()
    del values[field]
    if field.startswith("radii.") or field in ("real_images", "class_texts"):
        assert form.read(values) == LIVE.replace(schedule="concurrent")
    else:
        with pytest.raises(form.FormError):
            form.read(values)


# --- the ladder's switches in the browser ---------------------------------------------------------


def moved(name: str, *values):
    """What `static/setup/ladder.js` returns; run by Node, the only way to do so without a page."""
    node = shutil.which("node")
    if not node:
        pytest.skip("there is no Node here; the browser tests click the same switches")
    call = (
        f"{LADDER.read_text()}\nconsole.log(JSON.stringify(kgLadder.{name}({ladder.constants(OFFER)},"
        f" ...{json.dumps(values)})))"
    )
    return json.loads(
        subprocess.run(
            [node, "-e", call], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    )


@pytest.mark.parametrize(
    "n, sides, weights",
    [
        (0, [28], [0, 0, 0]),
        (1, [20], [0, 0, 0]),
        (2, [20], [0.1, 0, 0]),
        (3, [20], [0.1, 10, 5]),
        (4, [20, 24], [0.1, 10, 5]),
    ],
)
def test_a_preset_sets_all_rungs_up_to_it(n, sides, weights):
    for before in ([28], [20], [20, 24]):
        assert moved("preset", ladder.PRESETS[n], before, 0.1, 0, 0) == [
            list(ladder.NAMES[:n]),
            sides,
            *weights,
        ]
    assert moved("which", list(ladder.NAMES[:n])) == [ladder.PRESETS[n]]


def test_a_preset_keeps_a_chosen_small_side_and_weight():
    assert moved("preset", "K-Gen", [24, 16], 0.5, 0, 2)[1:] == [[16, 20], 0.5, 0, 2]


def test_a_lone_flip_is_a_recipe_of_ones_own():
    rungs, *rest = moved("flip", [ladder.SMALLER, ladder.DIVERSITY], [20], 0.1, 10, 5)
    assert rungs == [ladder.SMALLER, ladder.DIVERSITY] and rest == [[20], 0, 10, 5]
    assert moved("which", rungs) == [None]


@pytest.mark.parametrize(
    "rungs, sides, become",
    [
        ([ladder.SMALLER], [28], [20]),
        ([], [20], [28]),
        ([ladder.MULTI], [28], [24, 28]),
        ([ladder.SMALLER, ladder.MULTI], [16], [16, 20]),
        ([ladder.SMALLER], [20, 24], [20]),
        ([ladder.MULTI], [20, 24], [28]),
        ([ladder.SMALLER], [24], [24]),
    ],
)
def test_switches_of_size_move_the_resolutions(rungs, sides, become):
    found, new, *_ = moved("flip", rungs, sides, 0, 0, 0)
    assert new == become
    assert set(found) == ({ladder.SMALLER} if min(become) < 28 else set()) | (
        {ladder.MULTI} if len(become) > 1 else set()
    )


def test_resolutions_and_weights_move_the_switches():
    assert moved("seen", [28, 20], 0, 0, 5) == [[ladder.SMALLER, ladder.DIVERSITY, ladder.MULTI]]
    assert moved("seen", [], 0.1, None, 0) == [[ladder.KEY_REGION]]
