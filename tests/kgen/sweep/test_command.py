"""`python -m kgen sweep` as a shell sees it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from typer.testing import CliRunner

from kgen.__main__ import cli
from kgen.cli import estimates
from kgen.journal.reading import open_run
from kgen.recipe.recipe import RecipeError
from kgen.sweep import grid, trials
from kgen.sweep.grid import SweepError
from kgen.system.paths import ROOT
from kgen.zoo import zoo
from tests.support.errors import check
from tests.support.small import grain
from tests.support.sweeping import ended, recipe, record

COMMAND = [sys.executable, "-m", "kgen", "sweep"]


def invoke(*words):
    return CliRunner().invoke(cli, ["sweep", *map(str, words)], catch_exceptions=True)


@pytest.fixture
def recorded(tmp_path):
    """A sweep of two values, one of them finished."""
    folder = tmp_path / "s"
    s = grid.write(folder, grid.Sweep(recipe(), (grid.Axis("weights.kr", (0.1, 0.5)),), (0,)))
    trial = s.trials[0]
    record(folder / trial.name, trial.recipe, end=ended(trial.recipe))
    return folder


def test_a_dry_run_lists_runs_and_writes_nothing(tmp_path):
    words = ("tiny", "--over", "weights.kr=0,0.1", "--seeds", 2, "--out", tmp_path / "s")
    done = invoke(*words, "--dry-run")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:4] == [f"kr-{kr}_seed-{s}" for s in (0, 1) for kr in (0, 0.1)]
    assert "4 runs, 4 to do: " in done.stdout and not (tmp_path / "s").exists()
    *runs, last = map(json.loads, invoke(*words, "--dry-run", "--json").stdout.splitlines())
    assert runs[1] == {
        "run": "kr-0.1_seed-0",
        "values": {"weights.kr": 0.1},
        "seed": 0,
        "state": "waiting",
    }
    assert last["open"] == 4 and last["basis"] == "published" and last["seconds"] > 0


def test_a_dry_run_with_an_own_teacher_times_a_few_steps(tmp_path, monkeypatch):
    """No published table tells how long its runs take."""
    teacher = tmp_path / "mine.safetensors"
    shutil.copy(zoo.TEACHERS["fashion-cnn"], teacher)
    words = ("tiny", "--set", f"teacher={teacher}", "--over", "generator_steps=2,200")
    threads = torch.get_num_threads()
    done = invoke(*words, "--out", tmp_path / "s", "--dry-run", "--json")
    assert torch.get_num_threads() == threads
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["open"], last["basis"]) == (2, "measured") and last["seconds"] > 0
    monkeypatch.setattr(estimates, "seconds_of", lambda recipe, threads: 100.0)
    done = invoke(*words, "--out", tmp_path / "s", "--dry-run")
    assert "2 runs, 2 to do: about " in done.stdout and "a few steps of the first" in done.stdout
    assert not (tmp_path / "s").exists()


def test_a_dry_run_says_why_a_run_cannot_be_timed(tmp_path):
    done = invoke("tiny", "--set", "teacher=cifar100-vgg11", "--dry-run", "--out", tmp_path / "s")
    assert "1 run, 1 to do: unknown time" in done.stdout and "cifar100" in done.stderr
    teachers = "teacher=fashion-cnn,cifar100-vgg11"
    done = invoke("tiny", "--over", teachers, "--dry-run", "--out", tmp_path / "s")
    assert "2 runs, 2 to do: unknown time" in done.stdout and "cifar100" in done.stderr


def test_a_dry_run_of_a_finished_sweep_needs_no_teacher(tmp_path):
    base = recipe().replace(teacher="cifar100-vgg11")  # whose weights are not here
    sweep = grid.write(tmp_path / "s", grid.Sweep(base, (), (0,)))
    [trial] = sweep.trials
    record(tmp_path / "s" / trial.name, trial.recipe, end=ended(trial.recipe))
    done = invoke(tmp_path / "s", "--dry-run")
    assert done.exit_code == 0 and "nothing left to do" in done.stdout, done.exception


def test_the_folder_of_a_sweep_that_does_not_exist(recorded, monkeypatch):
    monkeypatch.chdir(recorded.parent)
    for words, facts in (
        (("ss", "--status"), ["ss: the folder does not exist", "'s'"]),
        (("runs/nothing",), ["runs/nothing: the folder does not exist"]),
        (("tiny", "--status"), ["runs/sweep-tiny: the folder does not exist"]),
    ):
        error = invoke(*words).exception
        assert isinstance(error, SweepError)
        check(error, "not-a-sweep", *facts)
    error = invoke("fashion-life").exception
    assert isinstance(error, RecipeError)
    check(error, "unknown-recipe", "'fashion-live'")


def test_status_shows_the_results_and_runs_nothing(recorded):
    done = invoke(recorded, "--status")
    assert done.exit_code == 0 and "10.00" in done.stdout and "1 not started" in done.stdout
    first, second = map(json.loads, invoke(recorded, "--status", "--json").stdout.splitlines())
    assert first["values"] == {"weights.kr": 0.1} and first["accuracy"] == 0.1
    assert second["accuracy"] is None and second["states"] == {"waiting": 1}
    assert not (recorded / "leases").exists()


def test_a_dry_run_of_more_values_counts_only_what_is_left(recorded):
    done = invoke(recorded, "--over", "weights.kr=1", "--seeds", 2, "--dry-run")
    assert "6 runs, 5 to do: under a minute" in done.stdout
    assert "kr-0.1_seed-0  (done)" in done.stdout


def test_the_recipe_of_a_sweep_is_fixed(recorded):
    error = invoke(recorded, "--set", "epochs=3").exception
    assert isinstance(error, SweepError)
    check(error, "conflict", recorded, "--set")
    error = invoke("tiny", "--over", "weights.ed=1", "--out", recorded, "--dry-run").exception
    assert isinstance(error, SweepError)
    check(error, "other-sweep", "weights.kr", "weights.ed", "--out")


@pytest.mark.slow
def test_a_sweep_that_was_killed_is_continued(tmp_path):
    file, folder = tmp_path / "grain.json", tmp_path / "sweep"
    file.write_text(grain(evaluate_on="none").to_json())
    words = [str(file), "--over", "weights.kr=0,0.1", "--out", str(folder), "--json"]
    begun = subprocess.Popen(
        [*COMMAND, *words, "--checkpoint-every", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    first = folder / "kr-0_seed-0"
    limit = time.monotonic() + 120
    while not list(first.glob("batches/*.safetensors")):
        assert begun.poll() is None and time.monotonic() < limit
        time.sleep(0.01)
    os.kill(begun.pid, signal.SIGKILL)
    begun.communicate()

    done = subprocess.run(
        [*COMMAND, *words, "--workers", "2"], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["kind"] == "sweep_started" and lines[-1]["kind"] == "sweep_finished"
    assert lines[-1]["states"] == {"done": 2}
    assert {x["run"] for x in lines if x["kind"] == "done"} >= {"kr-0.1_seed-0"}
    stored = grid.read(folder)
    for trial, run in zip(stored.trials, trials.progress_of(folder, stored).values()):
        assert run.state == "done" and run.agreement is not None and run.accuracy is None
        assert open_run(folder / trial.name).recipe.weights.kr == trial.values[0]
    assert "agreement" in (folder / "results.md").read_text(encoding="utf-8")
    before = (folder / "results.md").stat().st_mtime_ns
    assert invoke(folder).exit_code == 0, "nothing is left to do"
    assert (folder / "results.md").stat().st_mtime_ns >= before
