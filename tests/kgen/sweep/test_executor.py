"""Executing a sweep's runs, with stand-ins for the children: failures, Ctrl-C, two processes, and
hopeless runs that are stopped early.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from kgen.sweep import grid, trials
from kgen.sweep.executor import Options, execute
from kgen.sweep.grid import Axis, Sweep
from tests.support.sweeping import COMMAND, ended, recipe, record

OPTIONS = Options(workers=2, command=COMMAND)


def sweep(folder, *axes: Axis, seeds=(0,), **changes) -> Sweep:
    return grid.write(folder, Sweep(recipe(**changes), axes, seeds))


def states(folder, s: Sweep) -> dict[str, str]:
    return {name: run.state for name, run in trials.progress_of(folder, s).items()}


def attempts(folder, name: str) -> int:
    return json.loads((folder / name / "run.json").read_text())["attempt"]


@pytest.mark.slow
def test_a_failure_does_not_end_the_sweep(tmp_path):
    s = sweep(tmp_path, Axis("weights.tv", (0.0, 1.0, 2.0, 3.0)))
    updates = list(execute(tmp_path, s, OPTIONS))
    why = {u.trial.name: u.fields["why"] for u in updates if u.kind == "failed"}
    assert "cannot be run here" in why["tv-1_seed-0"]
    assert "on fire" in why["tv-2_seed-0"]
    assert "not finite" in why["tv-3_seed-0"]
    assert Counter(u.kind for u in updates)["started"] == 4
    assert states(tmp_path, s) == {
        "tv-0_seed-0": "done",
        "tv-1_seed-0": "waiting",
        "tv-2_seed-0": "interrupted",
        "tv-3_seed-0": "failed",
    }
    assert not (tmp_path / "tv-1_seed-0").exists(), "a run that was refused leaves nothing"
    assert "| 0 | 50.00 |" in (tmp_path / "results.md").read_text(encoding="utf-8")

    again = list(execute(tmp_path, s, OPTIONS))
    begun = {u.trial.name: u.fields["resumed"] for u in again if u.kind == "started"}
    assert begun == {"tv-1_seed-0": False, "tv-2_seed-0": True}, "failed runs need --retry-failed"
    assert attempts(tmp_path, "tv-0_seed-0") == 1


@pytest.mark.slow
def test_an_interrupt_leaves_runs_to_continue(tmp_path, monkeypatch):
    s = sweep(tmp_path, seeds=(0, 1, 2))
    monkeypatch.setenv("KGEN_TEST_PAUSE", "20")
    asked, kinds = [], Counter()
    for update in execute(tmp_path, s, OPTIONS, asked.__len__):
        kinds[update.kind] += 1
        if kinds["evaluated"] == 2 and not asked:
            asked.append(1)
    assert kinds["interrupted"] == 2 and kinds["started"] == 2
    assert Counter(states(tmp_path, s).values()) == {"interrupted": 2, "waiting": 1}

    monkeypatch.setenv("KGEN_TEST_PAUSE", "0")
    updates = list(execute(tmp_path, s, OPTIONS))
    resumed = {u.trial.name: u.fields["resumed"] for u in updates if u.kind == "started"}
    assert resumed == {"seed-0": True, "seed-1": True, "seed-2": False}
    assert set(states(tmp_path, s).values()) == {"done"}


@pytest.mark.slow
def test_a_hopeless_run_is_stopped_and_stays_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("KGEN_TEST_PAUSE", "5")
    s = sweep(tmp_path, Axis("weights.kr", (0.1, 0.8)), seeds=(0, 1, 2))
    for trial in s.trials:
        if trial.values == (0.8,):
            record(tmp_path / trial.name, trial.recipe, end=ended(trial.recipe))
    hopeless = Options(workers=3, stop_hopeless=True, command=COMMAND)
    updates = list(execute(tmp_path, s, hopeless))
    stopped = [u for u in updates if u.kind == "stopped"]
    assert {u.trial.name for u in stopped} == {f"kr-0.1_seed-{i}" for i in range(3)}
    assert all("the median of 3 finished runs" in u.fields["why"] for u in stopped)
    assert states(tmp_path, s)["kr-0.1_seed-0"] == "stopped"
    assert not [u for u in execute(tmp_path, s, hopeless) if u.kind == "started"]


@pytest.mark.slow
def test_two_processes_share_a_sweep(tmp_path):
    s = sweep(tmp_path, seeds=tuple(range(6)))
    one, two = (execute(tmp_path, s, OPTIONS) for _ in range(2))
    updates = []
    for stream in (one, two):  # both have begun before either continues
        updates.append(next(stream))
    updates += [*one, *two]
    started = [u.trial.name for u in updates if u.kind == "started"]
    assert sorted(started) == sorted(t.name for t in s.trials)
    assert {attempts(tmp_path, name) for name in started} == {1}
    assert set(states(tmp_path, s).values()) == {"done"}
