"""Runs of several processes over gloo, end to end.

Oracles: the recipe's own numbers, one process with the whole batch, an uninterrupted run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kgen.distributed.world import ALONE, World
from kgen.engine.setting import Setting
from kgen.journal.journal import JournalError
from kgen.journal.reading import open_run
from kgen.journal.runner import Runner
from kgen.recipe.recipe import Recipe
from kgen.system.paths import ROOT
from kgen.worth.worth import rebuild_pool
from tests.support import gradients
from tests.support.pictures import photo_folder
from tests.support.small import mini, same_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        importlib.util.find_spec("accelerate") is None, reason="the extra [multi] is not installed"
    ),
]


def small(**changes: Any) -> Recipe:
    return mini(name="small", device="cpu", evaluate_on="none", judge="none", **changes)


def ranks(*arguments: object) -> tuple[list[int], str, str]:
    """Exit codes by rank, and what all of them printed: (codes, stdout, stderr)."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "500"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.ranks", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    *output, codes = done.stdout.splitlines()
    return json.loads(codes), "\n".join(output), done.stderr


def write(recipe: Recipe, folder: Path) -> Path:
    file = folder / "small.json"
    file.write_text(recipe.to_json(), encoding="utf-8")
    return file


def test_torchrun_starts_a_run_of_two_processes(tmp_path):
    folder = tmp_path / "run"
    command = ["torch.distributed.run", "--nproc-per-node", "2", "-m", "kgen", "run"]
    recipe = write(small(schedule="concurrent"), tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", *command, str(recipe), "--out", str(folder), "--json"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]  # only rank 0 prints
    started = events[0]
    assert (started["processes"], started["schedule"]) == (2, "sequential")
    assert started["device"].startswith("2 × cpu")
    warnings = [e["text"] for e in events if e["kind"] == "warning"]
    assert any("2 processes" in text for text in warnings)  # concurrent is not available
    assert events[-1]["kind"] == "run_finished"


def check_run(folder: Path, recipe: Recipe, processes: int) -> None:
    """The folder holds the recipe's run, complete and readable, with images of every process."""
    run = open_run(folder)
    run.verify(0)
    events = list(run.events())
    batches = [e for e in events if e.kind == "batch_synthesised"]
    assert [e.iteration for e in batches] == list(range(recipe.total_iterations))
    assert [e.epoch for e in batches] == [
        i // recipe.epoch_iterations for i in range(recipe.total_iterations)
    ]
    started = [e for e in events if e.kind == "iteration_started"]
    assert [e.iteration for e in started] == [e.iteration for e in batches]
    images = [run.batch(e.iteration)["images"] for e in batches]
    assert all(len(found) == recipe.batch for found in images)
    for i, one in enumerate(images):  # no two processes make the same images
        assert not any((one == other).all() for other in images[:i])
    # the budget is exactly the recipe's
    budget = events[0].budget_images
    assert batches[-1].pool_images == sum(e.entered for e in batches) == budget
    assert [e.pool_images for e in batches] == [
        sum(e.entered for e in batches[: i + 1]) for i in range(len(batches))
    ]
    assert batches[-1].budget_used == pytest.approx(1, abs=1 / budget)
    steps = [e for e in events if e.kind == "student_step"]
    assert steps[-1].step == recipe.total_student_steps - 1
    end = events[-1]
    assert end.kind == "run_finished" and end.reason == "done"
    assert end.n == sum(max(1, recipe.batch // 10) for _ in batches)  # all ranks' held-out images
    assert 0 <= end.agreement <= 1
    assert {e.iteration % processes for e in batches if e.entered} == set(range(processes))
    sample = load_file(folder / events[-2].file)
    assert set((sample["iteration"] % processes).tolist()) == set(range(processes))


def test_four_processes_make_the_same_number_of_images(tmp_path):
    recipe = small(student_batch=16)  # 6 batches: two processes wait in the last round
    codes, _, errors = ranks(4, "run", write(recipe, tmp_path), "--out", tmp_path / "run")
    assert codes == [0, 0, 0, 0], errors
    check_run(tmp_path / "run", recipe, 4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An uninterrupted run of two processes."""
    folder = tmp_path_factory.mktemp("whole")
    codes, _, errors = ranks(2, "run", write(long(), folder), "--out", folder / "run")
    assert codes == [0, 0], errors
    return folder / "run"


def long() -> Recipe:
    """Long enough to be killed halfway; with everything that a resume has to restore."""
    return small(
        epochs=8, student_steps=20, views=2, feature_memory=0.5, embedding="center",
        average_generators=True,
        **{"weights.ed": 10.0, "weights.aed": 5.0},
    )  # fmt: skip


def test_a_run_of_two_processes_is_complete(whole):
    check_run(whole, long(), 2)
    setting = Setting(long())
    pool = rebuild_pool(open_run(whole), setting)
    [(images, _)] = pool.values()
    assert len(images) == setting.budget_images


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_run_which_can_be_resumed(tmp_path, whole, victim):
    folder, start = tmp_path / "run", time.monotonic()
    arguments = ["run", write(long(), tmp_path), "--checkpoint-every", 0, "--timeout", 20]
    codes, _, errors = ranks(2, "--signal", "SIGKILL", victim, *arguments, "--out", folder)
    assert time.monotonic() - start < 90
    assert codes[victim] == -9 and codes[1 - victim] == 1
    assert "Another process of this run has ended" in errors
    assert "Traceback" not in errors
    assert not (folder / "student.safetensors").exists()
    saved = load_file(folder / "checkpoint" / "state.safetensors")
    generator = {k: v for k, v in saved.items() if k.startswith("generator.")}
    assert generator and all(torch.equal(v, saved[f"rank.1.{k}"]) for k, v in generator.items())
    assert not torch.equal(saved["rng.noise"], saved["rank.1.rng.noise"])
    with pytest.raises(JournalError) as refused:
        Runner.resume(folder)
    assert refused.value.code == "other-processes"
    assert (refused.value.fields["processes"], refused.value.fields["found"]) == (2, 1)
    codes, _, errors = ranks(2, "resume", folder)
    assert codes == [0, 0], errors
    assert same_run(whole, folder) is None


def test_a_hanging_process_ends_the_run_after_the_timeout(tmp_path):
    folder = tmp_path / "run"
    arguments = ["run", write(long(), tmp_path), "--checkpoint-every", 0, "--timeout", 10]
    codes, _, errors = ranks(2, "--signal", "SIGSTOP", 1, *arguments, "--out", folder)
    assert codes == [1, -9]  # the hanging process was killed after the other had ended
    assert "has not responded for 10 seconds" in errors and "Traceback" not in errors
    assert not (folder / "student.safetensors").exists()


def test_ctrl_c_ends_all_processes_and_the_run_can_be_resumed(tmp_path, whole):
    folder = tmp_path / "run"
    arguments = ["run", write(long(), tmp_path), "--checkpoint-every", 0, "--out", folder]
    codes, _, errors = ranks(2, "--signal", "SIGINT", 0, *arguments)
    assert codes == [130, 0]
    assert f"torchrun --nproc-per-node 2 -m kgen resume {folder}" in errors
    codes, _, errors = ranks(2, "resume", folder)
    assert codes == [0, 0], errors
    assert same_run(whole, folder) is None


def test_a_loss_that_diverges_in_one_process_ends_the_run(tmp_path):
    folder = tmp_path / "run"
    arguments = ["run", write(small(), tmp_path), "--out", folder]
    codes, _, errors = ranks(2, "--diverge", 1, *arguments)
    assert codes == [1, 0], errors
    *_, last = open_run(folder).events()
    assert (last.kind, last.term, last.step) == ("run_failed", "ce", 0)


def test_with_two_resolutions_the_processes_make_the_same_one_at_a_time(tmp_path):
    folder, recipe = tmp_path / "run", small(resolutions=(28, 20))
    codes, _, errors = ranks(2, "run", write(recipe, tmp_path), "--out", folder)
    assert codes == [0, 0], errors
    batches = [e for e in open_run(folder).events() if e.kind == "batch_synthesised"]
    assert [e.resolution for e in batches] == [28, 28, 20, 20] * 3
    assert sum(s.budget_images for s in Setting(recipe).scales) == batches[-1].pool_images


def test_two_processes_continue_with_moved_real_images_but_not_with_others(tmp_path):
    classes = ("Bag", "Sneaker")
    images = photo_folder(tmp_path / "photos", classes, 10)
    tested = {"evaluate_on": "auto", "real_images": str(images), "evaluate_every": 1000}
    recipe = long().replace(classes=classes, **tested)
    folder = tmp_path / "run"
    arguments = ["run", write(recipe, tmp_path), "--checkpoint-every", 0, "--timeout", 20]
    codes, _, _ = ranks(2, "--signal", "SIGKILL", 1, *arguments, "--out", folder)
    assert codes == [1, -9]
    other = photo_folder(tmp_path / "others", classes, 3)
    codes, _, errors = ranks(2, "resume", folder, "--real", other)
    assert codes == [2, 0], errors
    assert errors.count("6 images, but the run started with 20") == 1 and "Traceback" not in errors
    moved = images.rename(tmp_path / "moved")
    codes, _, errors = ranks(2, "resume", folder, "--real", moved)
    assert codes == [0, 0], errors
    *_, last = open_run(folder).events()
    assert (last.kind, last.n) == ("run_finished", 20)


class Part(World):
    """One of two processes without the other: gradients of its part of a batch."""

    size = 2

    def __init__(self, rank: int):
        self.rank = rank


def test_gradients_are_those_of_one_process_with_the_whole_batch(tmp_path):
    codes, _, errors = ranks(2, "gradients", tmp_path / "two.pt")
    assert codes == [0, 0], errors
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    one = gradients.after_steps(ALONE)
    # LayerNorm: gradients, weights after three steps and losses are equal up to rounding
    assert two["layer norm"].keys() == one["layer norm"].keys()
    for name, value in one["layer norm"].items():
        torch.testing.assert_close(two["layer norm"][name], value, rtol=1e-4, atol=1e-5, msg=name)
    # BatchNorm normalizes each process's part by itself: the mean of the parts' gradients
    parts = [gradients.after_steps(Part(rank))["batch norm"] for rank in range(2)]
    names = [name for name in one["batch norm"] if name.startswith("gradient.")]
    for name in names:
        mean = (parts[0][name] + parts[1][name]) / 2
        torch.testing.assert_close(two["batch norm"][name], mean, rtol=1e-4, atol=1e-6, msg=name)
    vectors = [
        torch.cat([v[name].flatten() for name in names])
        for v in (two["batch norm"], one["batch norm"])
    ]
    similarity = torch.cosine_similarity(*vectors, dim=0)
    assert 0.5 < similarity < 0.9999  # close to, but not the gradient of the whole batch
