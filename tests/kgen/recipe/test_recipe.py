"""Recipes: every message says what was found, what is allowed and what was probably meant; nothing
is lost on the way.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from kgen.__main__ import read_recipe
from kgen.journal.reading import open_run
from kgen.journal.unbundle import unbundle
from kgen.recipe import fields
from kgen.recipe.errors import PHRASES
from kgen.recipe.recipe import Recipe, RecipeError, field_names, parse, parse_setting
from kgen.recipes import recipes
from kgen.system.paths import ASSETS, TABLE_RUNS
from kgen.tables import tables
from kgen.tables.results import Results
from tests.support.errors import raises

PARTS = [fields.Weights, fields.Target, fields.Optimizer, fields.Optimizers, Recipe]


@pytest.mark.parametrize(
    ("changes", "code", "field", "facts"),
    [
        ({"sede": 1}, "unknown-field", "sede", {"meant": "seed"}),
        ({"weights.rk": 1}, "unknown-field", "weights.rk", {"meant": "weights.kr"}),
        ({"kr": 1}, "unknown-field", "kr", {"meant": "weights.kr"}),
        ({"budget": 1}, "unknown-field", "budget", {"meant": "ratio"}),
        ({"zzz": 1}, "unknown-field", "zzz", {"meant": None}),
        ({"wieghts.kr": 1}, "unknown-field", "wieghts.kr", {"meant": "weights.kr"}),
        ({"seed.x": 1}, "unknown-field", "seed.x", {}),
        (
            {"epochs": 0},
            "invalid-value",
            "epochs",
            {"value": "0", "minimum": 1, "maximum": 100_000},
        ),
        ({"weights.kr": -1.0}, "invalid-value", "weights.kr", {"minimum": 0, "maximum": 10_000}),
        (
            {"ratio": 0},
            "invalid-value",
            "ratio",
            {"value": "0", "exclusive_minimum": 0, "maximum": 1},
        ),
        ({"ratio": math.nan}, "invalid-value", "ratio", {"value": "nan"}),
        (
            {"optimizers.student.momentum": 1.0},
            "invalid-value",
            "optimizers.student.momentum",
            {"value": "1.0", "minimum": 0, "exclusive_maximum": 1},
        ),
        (
            {"target.sigma_fraction": 0},
            "invalid-value",
            "target.sigma_fraction",
            {"exclusive_minimum": 0, "maximum": 10},
        ),
        (
            {"resolutions": [7]},
            "invalid-value",
            "resolutions.0",
            {"value": "7", "minimum": 8, "maximum": 1024},
        ),
        ({"resolutions": [28, 28]}, "duplicate-resolution", "resolutions", {}),
        ({"resolutions": []}, "no-resolution", "resolutions", {}),
        ({"resolutions": [28, 32], "batches": [10]}, "conflict", "batches", {}),
        ({"aed_embedding": "teacher"}, "conflict", "aed_embedding", {}),
        ({"classes": []}, "no-class", "classes", {}),
        ({"classes": [1, 1]}, "duplicate-class", "classes", {}),
        (
            {"schedule": "concurent"},
            "invalid-choice",
            "schedule",
            {"choices": ["sequential", "concurrent"], "meant": "concurrent"},
        ),
        ({"keep": 3}, "invalid-choice", "keep", {"choices": ["last", "best"]}),
        ({"views": 2, "augment": "none"}, "conflict", "views", {}),
        ({"views": 2, "augment": "both", "mix": "cutmix"}, "conflict", "mix", {}),
        (
            {"batch": "many"},
            "invalid-value",
            "batch",
            {"value": "'many'", "minimum": 2, "maximum": 4096},
        ),
        ({"seed": 1.5}, "invalid-value", "seed", {"value": "1.5"}),
    ],
)
def test_what_a_recipe_refuses(changes, code, field, facts):
    """The error has the field, the value, what is allowed and what was meant; its sentence too."""
    with raises(RecipeError, code, field, field=field, **facts) as caught:
        Recipe().replace(**changes)
    text, said = str(caught.value), caught.value.fields
    limits = [f"{said[name]:g}" for name in PHRASES if name in said]
    for part in (*limits, *map(repr, said.get("choices", ()))):
        assert re.search(rf"(?<![\w.]){re.escape(part)}(?!\w|\.\d)", text)
    assert str(said.get("value", "")) in text
    assert f"'{said['meant']}'" in text if said.get("meant") else True
    assert text.endswith((".", "?")) and "\n" not in text


def test_an_unknown_field_without_a_near_one_names_some_and_how_to_list_all():
    shown = (*field_names()[:5], len(field_names()) - 5, "`python -m kgen recipes --json`")
    with raises(RecipeError, "unknown-field", *shown):
        Recipe().replace(zzz=1)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"resolutions": [28, 32], "batches": [10]}, ["1 number", "2 resolutions"]),
        ({"aed_embedding": "teacher"}, ["'teacher'", "embedding to 'center'"]),
        ({"views": 2, "augment": "none"}, ["views is 2", "'none'", "'student'", "'both'"]),
    ],
)
def test_a_conflict_names_both_sides(changes, facts):
    with raises(RecipeError, "conflict", *facts):
        Recipe().replace(**changes)


def test_two_mistakes_are_two_sentences():
    with raises(RecipeError, "invalid-value", "'epochs' is 0", "'batch' is 1", count=2):
        Recipe().replace(epochs=0, batch=1)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(Recipe.model_fields)) | st.text(max_size=8), anything, max_size=3
    )
)
def test_whatever_comes_in_a_recipe_or_a_sentence_comes_out(data):
    try:
        found = parse(data)
    except RecipeError as error:
        assert str(error)
    else:
        assert parse(found.to_json()) == found


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "3", '"x"', b"\xff", "[" * 100_000, "9" * 5_000, '{"seed": 1}}']
)
def test_what_is_not_a_json_object(text):
    with raises(RecipeError, "not-json"):
        parse(text)


def test_replace_reaches_inside_and_changes_nothing_else():
    old = Recipe()
    new = old.replace(seed=1, **{"weights.kr": 0.0, "optimizers.student.lr": 0.5})
    assert (new.seed, new.weights.kr, new.optimizers.student.lr) == (1, 0.0, 0.5)
    assert (
        new.replace(seed=0, **{"weights.kr": 0.1, "optimizers.student.lr": 1e-3}) == old == Recipe()
    )
    assert old.replace(weights=fields.Weights(ce=2)).weights.ce == 2
    with pytest.raises(Exception, match="frozen"):
        old.seed = 2


@pytest.mark.parametrize("name", recipes.NAMES)
def test_named_recipes_survive_json(name):
    found = recipes.get(name)
    assert (
        found.name == name
        and parse(found.to_json()) == found
        and parse(json.loads(found.to_json())) == found
    )
    assert recipes.describe(name)


def test_unknown_recipe_names_the_nearest():
    with raises(RecipeError, "unknown-recipe", "'fashion-live'", meant="fashion-live"):
        recipes.get("fashion-life")
    with raises(RecipeError, "unknown-recipe", *recipes.NAMES[:3], "kgen recipes", meant=None):
        recipes.get("zzzzz")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weights.kr=0", ("weights.kr", 0)),
        ("deep=true", ("deep", True)),
        ("schedule=concurrent", ("schedule", "concurrent")),
        ("classes=Bag", ("classes", ["Bag"])),
        ("classes=3", ("classes", ["3"])),
        ("classes=0, 9", ("classes", ["0", "9"])),
        ("classes=[3]", ("classes", [3])),
        ("classes=Bag, Ankle boot", ("classes", ["Bag", "Ankle boot"])),
        ('classes=["Bag",2]', ("classes", ["Bag", 2])),
        ("classes=null", ("classes", None)),
        ("resolutions=32", ("resolutions", [32])),
        ("name=a=b", ("name", "a=b")),
        ("name=" + "9" * 5_000, ("name", "9" * 5_000)),
    ],
)
def test_parse_setting(text, expected):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["weights.kr", "=3", " = "])
def test_parse_setting_says_what_it_wants(text):
    with raises(RecipeError, "invalid-setting", f"--set {text}", "weights.kr=0"):
        parse_setting(text)


# --- derived numbers ------------------------------------------------------------------------------


def test_planned_steps_by_counting():
    r = Recipe(epochs=20, iterations=3, generator_steps=7, student_steps=11, warmup=0.1)
    generator = student = 0
    for epoch in range(20):
        generator += 3 * 7
        student += 11 if epoch >= 2 else 0
    assert (r.warmup_epochs, r.total_generator_steps, r.total_student_steps) == (
        2,
        generator,
        student,
    )
    assert [
        Recipe(epochs=e, warmup=w).warmup_epochs
        for e, w in [(10, 0.1), (10, 0.3), (3, 0.34), (9, 0.1)]
    ] == [1, 3, 1, 0]


def test_budget_in_pixels():
    assert Recipe(ratio=0.05).budget_pixels(60_000, 28) == 3_000 * 28**2
    assert Recipe(ratio=0.1).budget_pixels(10, 224) == 224**2


# --- the printed command --------------------------------------------------------------------------


def reread(recipe: Recipe) -> Recipe:
    """What the shell and our command line make of the printed command."""
    words = shlex.split(recipes.command(recipe))
    assert words[:4] == ["python", "-m", "kgen", "run"]
    name, seed, schedule, sets = words[4], None, None, []
    for flag, value in zip(words[5::2], words[6::2]):
        if flag == "--seed":
            seed = int(value)
        elif flag == "--schedule":
            schedule = value
        else:
            assert flag == "--set"
            sets.append(value)
    assert len(words) % 2
    return read_recipe(name, sets, seed, schedule)


@pytest.mark.parametrize("name", recipes.NAMES)
def test_a_named_recipe_is_its_name(name):
    assert (
        recipes.command(recipes.get(name)) == f"python -m kgen run {name}"
        and recipes.changes(recipes.get(name)) == {}
    )


def test_command_reads_as_a_person_would_write_it():
    recipe = recipes.get("fashion-live").replace(seed=3, **{"weights.kr": 0.0})
    assert (
        recipes.command(recipe) == "python -m kgen run fashion-live --set weights.kr=0.0 --seed 3"
    )


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
changed = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "schedule": st.sampled_from(["sequential", "concurrent"]),
        "teacher": texts | st.sampled_from(["5", "true", "null", "a,b", "it's", "$HOME", '"x"']),
        "classes": (
            st.none() | st.lists(texts | st.integers(0, 99), min_size=1, max_size=3, unique=True)
        ),
        "resolutions": st.sampled_from([[32], [64]]),
        "deep": st.just(False),
        "ratio": st.floats(1e-9, 1),
        "weights.bn": st.floats(0, 1e4),
        "target.sigma_fraction": st.none() | st.floats(1e-6, 10),
        "optimizers.student.name": st.sampled_from(["adam", "adamw", "sgd"]),
    },
)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([*(n for n in recipes.NAMES if recipes.get(n).batches is None), "custom"]),
    changed,
)
def test_command_makes_the_same_recipe(name, changes):
    base = Recipe() if name == "custom" else recipes.get(name)
    recipe = base.replace(**changes)
    assert reread(recipe) == recipe


def test_a_class_whose_name_is_a_number_survives_its_command():
    recipe = recipes.get("fashion-live").replace(classes=("0", 1))
    assert reread(recipe).classes == ("0", 1)


def test_command_of_a_recipe_with_a_name_of_its_own():
    recipe = Recipe(name="my try's", seed=4)
    assert reread(recipe) == recipe


# --- what the form is made from -------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS, ids=lambda p: p.__name__)
def test_every_field_is_described_in_one_line(part):
    for name, info in part.model_fields.items():
        assert info.description and len(info.description) > 10, (
            f"{part.__name__}.{name} has no docstring"
        )


def test_field_names_are_all_and_settable():
    recipe = recipes.get("fashion-live")
    data = recipe.model_dump()
    for path in field_names():
        value = data
        for key in path.split("."):
            value = value[key]
        assert not isinstance(value, dict)
        assert recipe.replace(**{path: value}) == recipe

    def leaves(model):
        return sum(
            (leaves(i.annotation) if BaseModel in getattr(i.annotation, "__mro__", ()) else 1)
            for i in model.model_fields.values()
        )

    assert len(field_names()) == len(set(field_names())) == leaves(Recipe)


def test_numbers_have_limits():
    """The form needs them, and they guard against hostile callers."""
    for part in PARTS:
        for name, info in part.model_fields.items():
            if info.annotation in (int, float) or float in get_args(info.annotation):
                path = path_of(part, name)
                with raises(RecipeError, "invalid-value", field=path) as caught:
                    Recipe().replace(**{path: -1e30})
                assert {"minimum", "exclusive_minimum"} & caught.value.fields.keys(), path


def path_of(part, name):
    return next(
        p
        for p in field_names()
        if p.rpartition(".")[2] == name and (part is Recipe) == ("." not in p)
    )


# --- names from earlier versions ------------------------------------------------------------------


def test_a_recorded_run_with_old_names_opens(tmp_path):
    run = open_run(unbundle(ASSETS / "recordings" / "fashion-live.kgen", tmp_path))
    text = (run.path / "recipe.json").read_text()
    old = json.loads(text)
    assert "optimisers" in old and "optimizers" not in old, "the recording is in the old format"
    new = json.loads(text.replace("optimiser", "optimizer"))
    assert run.recipe == parse(new)
    assert run.recipe.optimizers.student.lr == old["optimisers"]["student"]["lr"]
    assert run.started and parse(run.started.recipe) == run.recipe
    assert run.started.recipe["optimizers"] == old["optimisers"]


def test_old_and_new_names_are_the_same_recipe(tmp_path):
    student = {"student": {"name": "adamw", "lr": 0.5}}
    old = {"optimisers": student, "restart_optimiser": True, "embedding": "centre"}
    new = {"optimizers": student, "restart_optimizer": True, "embedding": "center"}
    (tmp_path / "old.json").write_text(json.dumps(old))
    settings = ["optimisers.student.lr=0.5", "restart_optimiser=true", "embedding=centre"]
    same = [
        parse(old),
        parse(json.dumps(old)),
        Recipe(**old),
        Recipe(**new),
        read_recipe(str(tmp_path / "old.json"), [], None, None),
        read_recipe("custom", settings, None, None),
    ]
    assert all(recipe == parse(new) for recipe in same)
    assert json.loads(parse(old).to_json()).keys() == Recipe.model_fields.keys()
    with raises(RecipeError, "unknown-field", field="restart_optimiser"):
        parse({"restart_optimiser": True, "restart_optimizer": False})


@pytest.mark.parametrize("field, value", [("embedding", "center"), ("optimizers.student.lr", None)])
def test_published_runs_are_still_found(field, value):
    """Keys of published runs are hashes of recipes with the old names."""
    found = {key for key, _ in Results(TABLE_RUNS).read()}
    default = Recipe().value(field)
    rows = [row for table in tables.find("fashion") for row in table.rows]
    rows = [
        row
        for row in rows
        if (
            row.recipe.value(field) != default
            if value is None
            else row.recipe.value(field) == value
        )
    ]
    assert rows and all(row.key in found for row in rows)
