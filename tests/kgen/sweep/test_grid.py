"""The grid: what --over means, which runs there are, how their folders are named, and what may
change in a folder.
"""

from __future__ import annotations

import itertools
import json
import re

import pytest

from kgen.cli.sweep_command import _axes
from kgen.journal.reading import RUN_NAME
from kgen.recipe.recipe import RecipeError
from kgen.sweep import grid
from kgen.sweep.grid import Axis, Sweep, SweepError
from tests.support.errors import raises
from tests.support.sweeping import recipe

WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)


def sweep(*over: str, seeds: int = 1, **changes) -> Sweep:
    base = recipe(**changes)
    return Sweep(base, tuple(_axes(base, list(over))), tuple(range(seeds)))


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("weights.kr=0,0.1,0.5", (0.0, 0.1, 0.5)),
        ("generator_steps=20", (20,)),
        ("resolutions=20,28", ([20], [28])),
        ("resolutions=[20,28],[28]", ([20, 28], [28])),
        ("weights.kr = 0, 0.5", (0.0, 0.5)),
        ("augment=student,both", ("student", "both")),
        ("restart_optimizer=true,false", (True, False)),
        ("target.sigma_fraction=null,0.25", (None, 0.25)),
        ("classes=Bag,[8,9]", (["Bag"], [8, 9])),
        ("optimizers.student.lr=1e-3,0.2", (0.001, 0.2)),
        ("optimisers.student.lr=0.1", (0.1,)),
    ],
)
def test_values_are_read_as_set_reads_them(option, values):
    (axis,) = sweep(option).axes
    assert axis.values == values
    assert axis.field == option.partition("=")[0].strip().replace("optimisers", "optimizers")


@pytest.mark.parametrize("option", ["weights.kr", "weights.kr=", "weights.kr=0,,1", "=1", ""])
def test_a_malformed_axis_is_refused(option):
    with raises(SweepError, "invalid-setting", "--over", "weights.kr=0,0.1,0.5"):
        sweep(option)


def test_what_a_field_does_not_allow_is_refused_as_by_set():
    with raises(RecipeError, "unknown-field", "weights.kr", field="weights.kR"):
        sweep("weights.kR=0")
    with raises(RecipeError, "invalid-value", minimum=1):
        sweep("generator_steps=0,20")


def test_seed_and_name_are_not_axes():
    for field in ("seed", "name"):
        with raises(SweepError, "conflict", field=field):
            sweep(f"{field}=1,2")


def test_a_duplicate_value_is_refused():
    with raises(SweepError, "duplicate-value", field="weights.kr", value=0.5):
        sweep("weights.kr=0.5,0.50")
    with raises(SweepError, "duplicate-value", field="weights.kr"):
        sweep("weights.kr=0", "weights.kr=1")


def test_a_combination_that_is_not_a_recipe_is_named():
    with raises(SweepError, "conflict", "views 4", "mix mixup"):
        _ = sweep("views=0,4", "mix=none,mixup").trials


def test_too_many_runs_are_refused():
    many = sweep("weights.kr=" + ",".join(map(str, range(101))), seeds=100)
    with raises(SweepError, "too-many", trials=10_100, limit=10_000):
        _ = many.trials


def test_the_runs_are_every_combination_seed_by_seed():
    trials = sweep("weights.kr=0,0.1", "generator_steps=20,40", seeds=3).trials
    expected = list(itertools.product(range(3), (0.0, 0.1), (20, 40)))
    found = [(t.seed, t.recipe.weights.kr, t.recipe.generator_steps) for t in trials]
    assert found == expected
    assert trials[5].name == "kr-0_generator_steps-40_seed-1"
    assert trials[5].recipe == recipe(seed=1, generator_steps=40, **{"weights.kr": 0})


def test_names_are_valid_and_different_everywhere():
    found = sweep(
        "teacher=a/b,a-b,A-b,timm:resnet18.a1,..,con,über,fashion-cnn",
        "optimizers.student.lr=0.1,0.10000001,1e-5",
        "optimizers.generator.lr=0.1",
        "resolutions=[20,28],[28,20],20",
        "classes=" + json.dumps(["x" * 150, "y"]) + "," + json.dumps(["x" * 150, "z"]),
        seeds=2,
    ).trials
    names = [t.name for t in found]
    assert len({name.lower() for name in names}) == len(names) == 288
    for name in names:
        assert RUN_NAME.fullmatch(name) and ".." not in name and len(name) <= grid.MAX_NAME
        assert not WINDOWS_DEVICES.fullmatch(name)


def test_axes_with_the_same_short_name_keep_their_full_names():
    found = sweep("optimizers.student.lr=0.1", "weights.kr=0", "epochs=3")
    assert found.labels == ("student.lr", "kr", "epochs")
    two = (Axis("target.peak", (1.0,)), Axis("other.peak", (1.0,)))
    assert Sweep(recipe(), two, (0,)).labels == ("target.peak", "other.peak")


# --- in a folder ----------------------------------------------------------------------------------


def test_a_sweep_is_read_as_it_was_written(tmp_path):
    written = sweep("weights.kr=0,0.1", "resolutions=20,28", seeds=2)
    assert grid.write(tmp_path / "s", written) == written == grid.read(tmp_path / "s")
    assert grid.write(tmp_path / "s", written) == written


def test_values_and_seeds_are_added_and_names_stay(tmp_path):
    before = grid.write(tmp_path, sweep("weights.kr=0,0.5", "generator_steps=20", seeds=2))
    after = grid.write(tmp_path, sweep("generator_steps=10", "weights.kr=0.1", seeds=3))
    assert after == grid.read(tmp_path)
    assert after.axes == (Axis("weights.kr", (0.0, 0.1, 0.5)), Axis("generator_steps", (10, 20)))
    assert after.seeds == (0, 1, 2)
    assert {t.name for t in before.trials} < {t.name for t in after.trials}


def test_another_sweep_in_the_folder_is_refused_and_the_difference_named(tmp_path):
    grid.write(tmp_path, sweep("weights.kr=0,0.5", epochs=3))
    stored = (tmp_path / "sweep.json").read_bytes()
    with raises(SweepError, "other-sweep", "epochs is 3, not 4"):
        grid.write(tmp_path, sweep("weights.kr=0,0.5", epochs=4))
    with raises(SweepError, "other-sweep", "weights.kr", "weights.ed"):
        grid.write(tmp_path, sweep("weights.ed=0,0.5", epochs=3))
    assert (tmp_path / "sweep.json").read_bytes() == stored


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.doc").write_text("years of work")
    with raises(SweepError, "exists", tmp_path):
        grid.write(tmp_path, sweep("weights.kr=0"))
    with raises(SweepError, "not-a-sweep"):
        grid.read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data | {"axes": [{"field": "nonsense", "values": [1]}]},
        lambda data: data | {"seeds": []},
        lambda data: data | {"recipe": {"epochs": 0}},
        lambda data: {},
    ],
)
def test_a_damaged_description_is_named(tmp_path, change):
    data = json.loads(sweep("weights.kr=0").to_json())
    (tmp_path / "sweep.json").write_text(json.dumps(change(data)))
    with raises(SweepError, "damaged", tmp_path / "sweep.json"):
        grid.read(tmp_path)
