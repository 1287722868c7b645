"""The paper's tables: which runs they need, that each is executed once and kept, and what the
numbers come to.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kgen
from kgen.cli.table_output import watch_tables
from kgen.data import data
from kgen.recipe.recipe import Recipe, field_names
from kgen.system.paths import ROOT
from kgen.tables import measure, report, tables
from kgen.tables.measure import Task, missing
from kgen.tables.results import Pace, Result, Results, estimated_work
from kgen.tables.tables import TableError, row
from tests.support.errors import raises
from tests.support.small import few_images, grain


@pytest.fixture(scope="module")
def few():
    """Real accuracy on 100 images instead of 10,000."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "test_set", few_images)
        yield


def small_table(name="small", *values) -> tables.Table:
    return tables.Table(
        name,
        "A small table",
        "Table 0",
        tuple(row(f"α_kr {v:g}", grain(**{"weights.kr": v})) for v in values or (0.0, 0.1)),
    )


def made(table, results, seeds=1, jobs=0):
    """Execute what is missing; (labels executed, exit code)."""
    tasks = missing([table], range(seeds), results.read())
    return [f"{t.label}, {t.seed}" for t in tasks], watch_tables(
        tasks, jobs, results, Pace(table.rows)
    )


def result(**changes) -> Result:
    fields = {
        "key": "k",
        "seed": 0,
        "label": "x",
        "accuracy": 0.5,
        "n": 10,
        "seconds": 2.0,
        "images": 3,
        "pixels": 2352,
        "student_steps": 6,
        "torch": "2",
    }
    return Result(**fields | changes)


# --- executing runs -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_result_is_what_distill_tells(few, tmp_path):
    results = Results(tmp_path / "runs.jsonl")
    table = small_table("small", 0.1)
    made(table, results, seeds=2)
    found = results.read()
    assert len(found) == 2
    for r in table.rows:
        for seed in (0, 1):
            told = list(kgen.distill(r.recipe.replace(seed=seed)))
            batch = [e for e in told if e.kind == "batch_synthesised"][-1]
            line = found[r.key, seed]
            assert (line.accuracy, line.n) == (told[-1].accuracy, 100)
            assert (line.images, line.pixels) == (batch.pool_images, batch.pool_pixels)
            assert (
                line.student_steps == r.recipe.total_student_steps == 6
                and line.torch == torch.__version__
                and line.seconds > 0
            )


@pytest.mark.slow
def test_a_second_call_runs_nothing_and_more_seeds_run_only_themselves(few, tmp_path):
    results = Results(tmp_path / "runs.jsonl")
    assert made(small_table(), results)[0] == ["small: α_kr 0, 0", "small: α_kr 0.1, 0"]
    assert made(small_table(), results) == ([], 0)
    assert made(small_table(), results, seeds=2)[0] == ["small: α_kr 0, 1", "small: α_kr 0.1, 1"]


@pytest.mark.slow
def test_an_interrupted_table_goes_on(few, tmp_path, monkeypatch, capsys):
    """Ctrl-C during the third of four runs: two are kept, and the same command makes the third and
    the fourth.
    """
    results, make = Results(tmp_path / "runs.jsonl"), measure.run_task

    def interrupted(task):
        if len(results.read()) == 2:
            raise KeyboardInterrupt
        return make(task)

    with monkeypatch.context() as patch:
        patch.setattr(measure, "run_task", interrupted)
        assert made(small_table(), results, seeds=2)[1] == 130
    kept = results.read()
    assert len(kept) == 2 and "Stopped after 2 runs" in capsys.readouterr().err
    assert made(small_table(), results, seeds=2)[0] == ["small: α_kr 0, 1", "small: α_kr 0.1, 1"]
    assert kept.items() < results.read().items() and len(results.read()) == 4


@pytest.mark.slow
def test_a_run_that_fails_is_reported_and_stops_no_other(few, tmp_path, capsys):
    results = Results(tmp_path / "runs.jsonl")
    table = tables.Table(
        "half",
        "Good and bad",
        "Table 0",
        (row("one class", grain(classes=("Bag",))), *small_table().rows),
    )
    labels, code = made(table, results)
    told = capsys.readouterr().err
    assert code == 1 and len(labels) == 3 and len(results.read()) == 2
    assert "one class, seed 0: failed" in told and "Traceback" not in told
    assert made(table, results)[0] == ["half: one class, 0"]  # it is tried again


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_the_next_makes_the_same_student():
    """The first process is killed; the second makes bit for bit what this process makes."""
    r = row("two classes", grain(classes=("Bag", "Coat"), evaluate_every=100))
    first, second = Task("first", r, 0), Task("second", r, 1)
    told = []
    for outcome in measure.measure([first, second], 1):
        if not told:
            multiprocessing.active_children()[0].kill()
        told.append(outcome)
    assert [(o.task, o.began) for o in told] == [
        (first, True),
        (first, False),
        (second, True),
        (second, False),
    ]
    assert re.search(r"exit code -?\d+", told[1].error) and not multiprocessing.active_children()
    assert (
        told[3].result.accuracy == list(kgen.distill(r.recipe.replace(seed=1)))[-1].accuracy
        and told[3].result.n == 2_000
    )


# --- which runs -----------------------------------------------------------------------------------


def test_rows_with_the_same_recipe_share_their_runs():
    first, second = small_table("a", 0.0, 0.1), small_table("b", 0.1, 0.2)
    assert [t.label for t in missing([first, second], [0], {})] == [
        "a: α_kr 0",
        "a: α_kr 0.1",
        "b: α_kr 0.2",
    ]
    assert [t.label for t in missing([first, second], [0], {(first.rows[1].key, 0)})] == [
        "a: α_kr 0",
        "b: α_kr 0.2",
    ]


@pytest.mark.parametrize(
    "changes",
    [{"weights.kr": 0.3}, {"epochs": 4}, {"optimizers.student.lr": 0.1}, {"teacher": "other"}],
)
def test_the_key_holds_what_the_student_depends_on(changes, monkeypatch):
    monkeypatch.setattr(tables, "_checksum", lambda name: "0")
    recipe = grain()
    assert tables.key(recipe.replace(**changes)) != tables.key(recipe)


def test_the_key_leaves_out_name_and_seed_and_follows_teacher_and_protocol(monkeypatch):
    recipe, before = grain(), tables.key(grain())
    assert tables.key(recipe.replace(name="other", seed=5)) == before
    monkeypatch.setattr(tables, "PROTOCOL", tables.PROTOCOL + 1)
    assert tables.key(recipe) != before
    monkeypatch.undo()
    monkeypatch.setattr(tables, "_checksum", lambda name: "another teacher")
    assert tables.key(recipe) != before


DEFAULTS = {
    "teacher": "fashion-cnn",
    "student": "small-cnn-20k",
    "classes": None,
    "resolutions": [28],
    "ratio": 0.05,
    "epochs": 100,
    "iterations": 5,
    "generator_steps": 100,
    "student_steps": 50,
    "batch": 100,
    "batches": None,
    "source": "noise",
    "student_batch": 128,
    "weights.ce": 0.5,
    "weights.adv": 1.3,
    "weights.bn": 10.0,
    "weights.kr": 0.1,
    "weights.ed": 10.0,
    "weights.aed": 5.0,
    "weights.tv": 0.0,
    "weights.l2": 0.0,
    "bn_scale": "raw",
    "target.kind": "gaussian",
    "target.peak": 1.0,
    "target.sigma": 2.0,
    "target.sigma_fraction": None,
    "adv_mask": "none",
    "embedding": "auto",  # the text, for the classes of every table
    "aed_embedding": "student",
    "radii.inner": None,
    "radii.outer": None,
    "feature_memory": 0.0,
    "position_decay": 0.1,
    "temperature": 10.0,
    "keep": "last",
    "pool_policy": "spread",
    "generator_life": 0,
    "width": 64,
    "noise_width": 1000,
    "deep": False,
    "up_first": True,
    "output": "sigmoid",
    "optimizers.generator.name": "adam",
    "optimizers.generator.lr": 0.004,
    "optimizers.generator.momentum": 0.5,
    "optimizers.generator.beta2": 0.999,
    "optimizers.generator.weight_decay": 0.0,
    "optimizers.student.name": "adamw",
    "optimizers.student.lr": 0.001,
    "optimizers.student.momentum": 0.9,
    "optimizers.student.beta2": 0.999,
    "optimizers.student.weight_decay": 0.0,
    "optimizers.images.name": "adam",
    "optimizers.images.lr": 0.01,
    "optimizers.images.momentum": 0.5,
    "optimizers.images.beta2": 0.999,
    "optimizers.images.weight_decay": 0.0,
    "optimizers.meta.name": "adam",
    "optimizers.meta.lr": 0.02,
    "optimizers.meta.momentum": 0.5,
    "optimizers.meta.beta2": 0.999,
    "optimizers.meta.weight_decay": 0.0,
    "augment": "both",
    "views": 0,
    "warmup": 0.1,
}
"""With PROTOCOL 1."""


def test_defaults_that_keys_leave_out_are_these():
    """A changed default gives different students under the same key: increase tables.PROTOCOL, then
    record it here.
    """

    def value(path, found):
        for part in path.split("."):
            found = found[part]
        return found

    now = Recipe().model_dump(mode="json")
    assert tables.PROTOCOL == 1
    assert {path: value(path, now) for path in DEFAULTS} == DEFAULTS


def test_the_tables_of_the_paper():
    """Each row of a sensitivity table differs from K-Gen-S only in its own field; rows that are the
    same recipe share a key.
    """
    every = {t.name: {r.label: r for r in t.rows} for t in tables.find("fashion")}
    assert list(every)[:3] == ["ladder-1", "ladder-0.5", "ladder-5"] and len(every) == 12
    single = every["ladder-1"]["+ ED, diversity (K-Gen-S)"]
    flat = _flat(single.recipe)
    fields = {
        "alpha-kr": {"weights.kr"},
        "alpha-ed": {"weights.ed"},
        "alpha-aed": {"weights.aed"},
        "radii": {"radii.inner", "radii.outer"},
        "targets": {"target.kind", "target.peak", "target.sigma"},
        "resolutions": {"resolutions", "batch", "weights.kr"},
    }
    for name, own in fields.items():
        assert len(every[name]) == (10 if name == "resolutions" else 5)
        for r in every[name].values():
            assert {f for f, value in _flat(r.recipe).items() if value != flat[f]} <= own
        assert len({r.key for r in every[name].values()}) == len(every[name])
    same = [
        every["alpha-kr"]["0.1"],
        every["alpha-ed"]["10"],
        every["alpha-aed"]["5"],
        every["targets"]["G(1,2)"],
        every["radii"]["r_i 0.015, r_o 0.03"],
        every["resolutions"]["20 × 20"],
        every["representative"]["LTE, label text"],
        every["baselines"]["K-Gen-S"],
    ]
    assert {r.key for r in same} == {single.key}
    assert (
        every["mixed"]["20 + 24"].key
        == every["ladder-1"]["+ MSG, two sizes (K-Gen)"].key
        == every["baselines"]["K-Gen"].key
    )
    assert all(
        r.recipe.schedule == "sequential" and r.recipe.device == "cpu"
        for t in every.values()
        for r in t.values()
    )
    assert {r.recipe.ratio for r in every["ladder-0.5"].values()} == {0.005} and {
        r.recipe.ratio for r in every["ladder-5"].values()
    } == {0.05}


def test_every_resolution_makes_as_many_pixels():
    """100 images at 28 × 28 per epoch, or as many pixels in smaller ones, or half in each of two
    sizes; within 3%, because images are whole.
    """
    for r in (*tables.get("resolutions").rows, *tables.get("mixed").rows):
        sides = r.recipe.sides()
        assert sum(b * e * e for b, e in zip(r.recipe.batch_sizes(sides), sides)) == pytest.approx(
            100 * 28 * 28, rel=0.03
        )


def test_the_tables_on_photographs():
    """Every row has as many pixels and student steps as the others; a switch changes only its own
    fields.
    """
    every = {t.name: t.rows for t in tables.find("photographs")}
    assert {*every, *(t.name for t in tables.find("fashion"))} == set(tables.NAMES)
    for name, rows in every.items():
        assert len({r.key for r in rows}) == len(rows)
        for r in rows:
            recipe, sides = r.recipe, r.recipe.sides()
            pixels = sum(b * e * e for b, e in zip(recipe.batch_sizes(sides), sides))
            steps, images, batch, card = (
                (2000, 100 * 32 * 32, 128 * 32 * 32, (50_000, 32))
                if name.startswith("cifar10")
                else (600, 40 * 80 * 80, 64 * 80 * 80, (9469, 128))
            )
            assert (
                recipe.total_student_steps == steps
                and recipe.weights.adv == (r.label == "bounded adversarial term")
                and r.recipe.device == "cpu"
            )
            assert pixels == pytest.approx(images, rel=0.05)
            assert pixels * recipe.epochs >= 0.95 * recipe.budget_pixels(
                *card
            )  # what the run makes fills its budget, or nearly
            assert recipe.student_batch * sides[0] ** 2 == pytest.approx(batch, rel=0.03)
            assert (r.photos is not None) == (name == "imagenette-photos")
    ladder = [_flat(r.recipe) for r in every["imagenette-ladder-1"]]
    changed = [{f for f in a if a[f] != b[f]} for a, b in itertools.pairwise(ladder)]
    assert changed == [
        {"resolutions", "batch", "student_batch"},
        {"weights.kr"},
        {"weights.ed", "weights.aed"},
        {"resolutions"},
    ]


def _flat(recipe):
    found = recipe.model_dump(mode="json")

    def value(path):
        place = found
        for part in path.split("."):
            place = place[part]
        return place

    return {name: value(name) for name in field_names()}


# --- keeping and summing up -----------------------------------------------------------------------


def test_a_torn_last_line_is_not_a_result_and_is_cut_by_the_next(tmp_path):
    results = Results(tmp_path / "deep" / "runs.jsonl")
    one, two = result(), result(seed=1, accuracy=0.7)
    assert results.read() == {}
    results.append(one)
    whole = results.path.read_bytes()
    for cut in (1, 20, len(whole) - 1):
        results.path.write_bytes(whole + whole[:cut])
        assert results.read() == {("k", 0): one}
    results.append(two)
    assert results.read() == {
        ("k", 0): one,
        ("k", 1): two,
    } and results.path.read_bytes().startswith(whole)
    results.append(result(accuracy=0.6))
    assert results.read()["k", 0].accuracy == 0.6  # the last counts


def test_a_damaged_line_is_named(tmp_path):
    results = Results(tmp_path / "runs.jsonl")
    line = result().model_dump_json()
    results.path.write_text(f"{line}\n<<<<<<< theirs\n{line}\n")
    with raises(TableError, "damaged", results.path, "line 2,", line=2):
        results.read()


def test_what_a_disk_that_is_full_leaves_is_whole(tmp_path, monkeypatch):
    results = Results(tmp_path / "runs.jsonl")
    results.append(result())
    opened = Path.open

    def short(self, *words, **options):
        file = opened(self, *words, **options)

        class Short:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def __getattr__(self, name):
                return getattr(file, name)

            def write(self, data):
                return file.write(data[:30])

        return Short()

    monkeypatch.setattr(Path, "open", short)
    with raises(TableError, "unwritable", results.path, "No space left"):
        results.append(result(seed=1))
    monkeypatch.undo()
    assert list(results.read()) == [("k", 0)] and results.path.read_bytes().endswith(b"\n")


def test_means_and_sample_deviations(tmp_path):
    table = small_table()
    key = table.rows[0].key
    values = [0.5, 0.6, 0.64]
    results = {
        (key, s): result(key=key, seed=s, accuracy=a, seconds=10.0 * s)
        for s, a in enumerate(values)
    }
    full, none = report.lines(table, range(3), results)
    mean, deviation = sum(values) / 3, (sum((v - sum(values) / 3) ** 2 for v in values) / 2) ** 0.5
    assert (
        (full.n, full.seconds) == (3, 10.0)
        and full.accuracy == pytest.approx(mean)
        and full.deviation == pytest.approx(deviation)
    )
    assert full.cells()[:4] == ("α_kr 0", "58.00 ± 7.21", "3", "3")
    assert (none.n, none.accuracy, none.deviation) == (0, None, None) and none.cells()[
        1
    ] == "not yet measured"
    assert report.lines(table, range(1), results)[0].deviation is None  # one run has no spread
    assert "--set weights.kr=0.0" in full.command and full.command.startswith("python -m kgen run")
    assert statistics.stdev(values) == pytest.approx(full.deviation)


def test_exchange_rates_and_second_opinions_of_rows(monkeypatch):
    """A table with a yardstick shows how many real photos teach as much as each row; columns that
    no row fills are left out.
    """
    table = small_table()
    one, other = (r.key for r in table.rows)
    stick = tuple(dataclasses.replace(table.rows[0], photos=n) for n in (10, 40))
    monkeypatch.setattr(tables, "yardstick", lambda name: stick if name == "small" else ())
    assert len({one, *(r.key for r in stick)}) == 3
    found = {
        (one, 0): result(key=one, accuracy=0.4, second_opinion=0.25, second_opinion_chosen=0.5),
        (other, 0): result(key=other, accuracy=0.7),
    }
    assert (
        report.lines(table, range(1), found)[0].worth is None
    )  # the yardstick is not measured yet
    found |= {(r.key, 0): result(key=r.key, accuracy=a) for r, a in zip(stick, (0.3, 0.5))}
    first, second = report.lines(table, range(1), found)
    assert (first.worth.photos, first.worth.bound) == (20, "") and str(
        second.worth
    ) == "> 40"  # halfway in the logarithm
    assert first.cells()[6:8] == ("25 / 50%", "20") and second.cells()[6:8] == ("", "> 40")
    assert "second opinion" in report.markdown(
        table, [first, second]
    ) and "second opinion" not in report.markdown(table, [second])
    assert json.loads(json.dumps(report.data(table, [first])))["rows"][0]["worth"] == {
        "photos": 20,
        "bound": "",
    }


def test_the_page_keeps_every_word_around_a_table(tmp_path):
    page = tmp_path / "results.md"
    first, last = report.markers("small")
    page.write_text(f"Before\n\n{first}\nold\n{last}\n\nAfter: ± 3\n", encoding="utf-8")
    table = small_table()
    found = {(table.rows[1].key, 0): result(key=table.rows[1].key)}
    for _ in range(2):  # writing twice changes nothing
        report.write_page(
            {"small": report.markdown(table, report.lines(table, range(3), found))}, page
        )
        assert (
            page.read_text(encoding="utf-8")
            == f"""Before

{first}

|  | accuracy | seeds | images | pixels | time |
| --- | --: | --: | --: | --: | --: |
| α_kr 0 | not yet measured | 0 |  |  |  |
| α_kr 0.1 | 50.00 | 1 | 3 | 2,352 | 2 s |

    python -m kgen table small

{last}

After: ± 3
"""
        )
    with raises(TableError, "no-markers", page, "'other'", *report.markers("other"), table="other"):
        report.write_page({"other": "x"}, page)


def test_the_results_page_has_a_place_for_every_table():
    page = report.PAGE.read_text(encoding="utf-8")
    for name in tables.NAMES:
        first, last = report.markers(name)
        assert page.count(first) == page.count(last) == 1 and page.index(first) < page.index(last)


def test_pace_learns_from_runs_of_the_same_work():
    """A row that ran takes its own mean; a row with twice the work that never ran takes twice as
    long.
    """
    one, twice = grain(), grain(epochs=6, warmup=0.34)
    rows = [row("one", one), row("twice", twice)]
    assert estimated_work(twice) == pytest.approx(2 * estimated_work(one))
    pace = Pace(rows)
    assert pace.seconds([rows[0].key]) is None and pace.seconds([]) == 0
    for seconds in (10.0, 14.0):
        pace.add(result(key=rows[0].key, seconds=seconds))
    pace.add(result(key="of no table", seconds=1e6))
    assert pace.seconds([rows[0].key]) == 12 and pace.seconds(
        [r.key for r in rows]
    ) == pytest.approx(36)


def test_the_work_of_a_recipe_counted_step_by_step():
    recipe = grain(resolutions=(20, 28), batches=(6, 4))
    made, learnt = 0.0, 0.0
    for _ in range(recipe.epochs):
        for side, batch in ((20, 6), (28, 4)):
            for _ in range(recipe.generator_steps):
                made += batch * side * side
    for _ in range(recipe.total_student_steps):
        learnt += recipe.student_batch * (20 * 20 + 28 * 28) / 2
    assert estimated_work(recipe) == pytest.approx(made + 0.1 * learnt)


# --- the command ----------------------------------------------------------------------------------


def shell(*words):
    return subprocess.run(
        [sys.executable, "-m", "kgen", "table", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_the_command_lists_and_shows(tmp_path):
    results = Results(tmp_path / "runs.jsonl")
    first = tables.get("ladder-1").rows[0]
    for seed, accuracy in enumerate((0.5, 0.6)):
        results.append(result(key=first.key, seed=seed, accuracy=accuracy, seconds=60.0))
    listed = shell("--json", "--runs", results.path)
    found = {d["table"]: d for d in map(json.loads, listed.stdout.splitlines())}
    assert listed.returncode == 0 and tuple(found) == tables.NAMES
    assert (found["ladder-1"]["runs"], found["ladder-1"]["of"]) == (2, 15) and found["ladder-1"][
        "seconds_left"
    ] > 0
    shown = shell("ladder-1", "--show", "--json", "--runs", results.path)
    lines = json.loads(shown.stdout)["rows"]
    assert (
        shown.returncode == 0
        and lines[0]["accuracy"] == pytest.approx(0.55)
        and lines[0]["n"] == 2
        and lines[1]["n"] == 0
    )
    assert len(results.read()) == 2  # nothing was run
