"""Progress and results, from recorded run folders."""

from __future__ import annotations

import csv
import io
import statistics

import pytest

from kgen import events
from kgen.sweep import estimate, grid, summary, trials
from kgen.sweep.grid import Axis, Sweep
from kgen.sweep.trials import HOPELESS
from tests.support.sweeping import ended, evaluated, recipe, record

SWEEP = Sweep(recipe(), (Axis("weights.kr", (0.1, 0.5)),), (0, 1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """kr 0.1: two finished, one stopped as hopeless. kr 0.5: one finished without real images, one
    failed, one interrupted.
    """
    folder = tmp_path_factory.mktemp("sweep")
    grid.write(folder, SWEEP)
    for trial in SWEEP.trials:
        kr, seed, path = trial.values[0], trial.seed, folder / trial.name
        if (kr, seed) == (0.1, 2):
            record(path, trial.recipe, tests=2)
            stop = events.Control(id=HOPELESS, action="stop", state="stopping", why="Far below.")
            with (path / "events.jsonl").open("a") as file:
                file.write(f"{stop.to_json()}\n{ended(trial.recipe, 'stopped').to_json()}\n")
        elif (kr, seed) == (0.5, 1):
            record(path, trial.recipe, 1, events.RunFailed(cause="Not finite.", remedy="Lower."))
        elif (kr, seed) == (0.5, 2):
            record(path, trial.recipe, 1, ended(trial.recipe, "stopped"))
        else:
            record(path, trial.recipe, end=ended(trial.recipe, real=kr == 0.1, t=10.0 + seed))
    return folder


@pytest.fixture(scope="module")
def progress(folder):
    return trials.progress_of(folder, SWEEP)


def test_each_run_has_its_state(progress):
    assert [run.state for run in progress.values()] == [
        *("done", "done"),
        *("done", "failed"),
        *("stopped", "interrupted"),
    ]
    stopped, failed = progress["kr-0.1_seed-2"], progress["kr-0.5_seed-1"]
    assert stopped.why == "Far below." and stopped.accuracy == pytest.approx(0.102)
    assert failed.why == "Not finite. Lower."
    assert [p.steps for p in stopped.curve] == [2, 4], "8 student steps, tested four times"


def test_only_finished_runs_are_averaged(progress):
    low, high = summary.lines(SWEEP, progress)
    assert low.seeds == (0, 1) and low.real_images == 10_000 and low.agreement is None
    assert low.accuracy == pytest.approx(0.1005)
    assert low.accuracy_deviation == pytest.approx(statistics.stdev([0.1, 0.101]))
    assert low.seconds == 10.5 and low.open_states == "1 stopped early"
    assert high.accuracy is None and high.agreement == 0.5 and high.agreement_deviation is None
    assert high.open_states == "1 interrupted, 1 failed"


def test_the_files_say_the_same(folder, progress):
    summary.write(folder, SWEEP, progress)
    page = (folder / "results.md").read_text(encoding="utf-8")
    assert "| 0.1 | 10.05 ± 0.07 | 10,000 |  | 2 | 10 s | 1 stopped early |" in page
    assert "3 of 6 runs finished" in page
    low, high = csv.DictReader(io.StringIO((folder / "results.csv").read_text(encoding="utf-8")))
    assert float(low["accuracy_mean"]) == pytest.approx(0.1005) and low["stopped"] == "1"
    assert high["accuracy_mean"] == "" and float(high["agreement_mean"]) == 0.5
    rows = list(csv.DictReader(io.StringIO((folder / "trials.csv").read_text(encoding="utf-8"))))
    assert [row["state"] for row in rows] == [run.state for run in progress.values()]
    assert not list(folder.glob(".*")), "no temporary file is left"


def test_another_run_in_a_trials_folder_is_not_taken_for_it(tmp_path):
    trial = SWEEP.trials[0]
    record(tmp_path / trial.name, trial.recipe.replace(epochs=7), end=ended(trial.recipe))
    found = trials.progress(tmp_path, trial)
    assert found.state == "failed" and "epochs" in found.why and not found.resumable


def test_a_run_that_is_being_written_is_running(tmp_path):
    from kgen.journal.journal import Journal

    trial = SWEEP.trials[0]
    journal = Journal.create(tmp_path / trial.name, trial.recipe, teacher_sha256="")
    journal.write(evaluated(trial.recipe, 1))
    assert trials.progress(tmp_path, trial).state == "running"
    journal.close()
    assert trials.progress(tmp_path, trial).state == "interrupted"


def test_the_rest_takes_as_long_as_what_is_done(progress):
    left = estimate.remaining(SWEEP, progress)
    # the two rows have the same work: the interrupted run counts with its row's own time
    assert left.basis == "sweep" and left.seconds == pytest.approx(10.0)


def test_before_the_first_run_the_published_tables_are_the_measure():
    left = estimate.remaining(SWEEP, {t.name: trials.Progress() for t in SWEEP.trials})
    assert left.basis == "published" and left.seconds and left.seconds > 0
