"""Sweeps over HTTP: the list, one sweep, its runs on the other pages, and what is refused."""

from __future__ import annotations

import shutil
import sys

import pytest

from app.library import sweeps
from kgen.sweep import grid
from tests.support import standin
from tests.support.errors import refused
from tests.support.served import served
from tests.support.sweeping import accuracy, ended, record, record_sweep

STANDIN = (sys.executable, "-m", "tests.support.standin")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "CACHE_SECONDS", 0.0)
    record_sweep(tmp_path / "runs" / "grid", lambda path, r: record(path, r, end=ended(r)))
    return tmp_path / "runs"


@pytest.fixture
def client(folder):
    with served(folder, STANDIN) as client:
        yield client


def test_a_sweep_is_listed_and_its_runs_are_not(client):
    (row,) = client.get("/kg/sweeps").json()["sweeps"]
    assert row["name"] == "grid" and row["fields"] == ["weights.kr", "generator_steps"]
    assert row["runs"] == 8 and row["states"] == {"done": 7, "waiting": 1}
    assert client.get("/kg/runs").json()["runs"] == []


def test_a_sweep_has_its_runs_with_their_values_and_results(client, folder):
    found = client.get("/kg/sweeps/grid").json()
    assert [axis["values"] for axis in found["axes"]] == [["0.1", "0.5"], ["2", "3"]]
    assert found["seeds"] == [0, 1]
    trials = grid.read(folder / "grid").trials
    for trial, run in zip(trials, found["runs"]):
        values = [axis["values"][i] for axis, i in zip(found["axes"], run["at"])]
        assert (*map(float, values), run["seed"]) == (*trial.values, trial.seed)
    first, last = found["runs"][0], found["runs"][-1]
    assert first["share"] == pytest.approx(accuracy(trials[0].recipe)) and first["n"] == 10_000
    assert first["run"] == "grid.kr-0.1_generator_steps-2_seed-0"
    assert last == {
        **{"run": None, "seed": 1, "state": "waiting", "share": None, "real": False},
        **{"n": 0, "seconds": 0.0, "at": [1, 1]},
    }


def test_a_run_of_a_sweep_is_inspected_but_not_changed(client, folder):
    name = "grid.kr-0.1_generator_steps-2_seed-0"
    path = folder / "grid" / name.partition(".")[2]
    shutil.rmtree(path)
    standin.write_run(path, **{"weights.kr": 0.1, "generator_steps": 2})
    overview = client.get(f"/kg/inspect/{name}")
    assert overview.status_code == 200 and overview.json()["run"] == name
    for action, said in {
        "open": {},
        "delete": {},
        "rename": {"to": "x"},
        "note": {"note": "x"},
    }.items():
        answer = client.post(f"/kg/runs/{name}/{action}", json=said)
        assert answer.headers["x-kgen-code"] == "part-of-sweep", action
    assert path.is_dir()


def test_a_folder_of_runs_that_is_a_sweep_is_listed_under_its_own_name(tmp_path):
    record_sweep(tmp_path / "grid", lambda path, r: record(path, r, end=ended(r)))
    with served(tmp_path / "grid", STANDIN) as client:
        assert [row["name"] for row in client.get("/kg/sweeps").json()["sweeps"]] == ["grid"]
        found = client.get("/kg/sweeps/grid").json()["runs"][0]["run"]
        assert found == "kr-0.1_generator_steps-2_seed-0"
        assert found in {row["name"] for row in client.get("/kg/runs").json()["runs"]}


def test_unknown_and_damaged_sweeps_are_refused(client, folder):
    refused(client.get("/kg/sweeps/nothing"), 404, "unknown-sweep")
    (folder / "grid" / "sweep.json").write_text("{}")
    refused(client.get("/kg/sweeps/grid"), 404, "damaged")
    assert client.get("/kg/sweeps").json()["sweeps"] == []


@pytest.mark.parametrize("name", ["grid.", ".kr", "grid..", "nothing.kr-0", "grid.sweep"])
def test_a_name_that_is_not_a_run_of_a_sweep_is_refused(client, name):
    refused(client.get(f"/kg/inspect/{name}"), 404, "unknown-run")
