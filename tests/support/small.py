"""What several test files share: a recipe that takes a fraction of a second, and ways to compare
two run folders.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from kgen.data import data
from kgen.recipe.recipe import Recipe
from kgen.recipes import recipes

_test_set = data.test_set


@functools.cache
def few_images(name: str, side: int | None = None) -> data.RealImages:
    return _test_set(name).stratified(100)


def mini(**changes) -> Recipe:
    """`tiny`, but even smaller: 3 epochs, warm-up included, of 2 batches of 12 images each."""
    small = {
        "epochs": 3,
        "iterations": 2,
        "generator_steps": 2,
        "student_steps": 4,
        "batch": 12,
        "student_batch": 8,
        "width": 4,
        "noise_width": 8,
        "evaluate_every": 3,
        "views": 0,
        "augment": "both",
    }
    return recipes.tiny().replace(**(small | changes))


def grain(**changes) -> Recipe:
    """The smallest recipe with a warm-up, two epochs of learning, and evaluations during and after
    them, for tests that need dozens of runs.
    """
    return mini(
        **(
            {
                "iterations": 1,
                "student_steps": 3,
                "batch": 6,
                "student_batch": 4,
                "evaluate_every": 2,
                "ratio": 0.0002,
            }
            | changes
        )
    )


def story(path: Path) -> list[dict]:
    """The events of a run folder without what may differ between equal runs: times, and the
    controls that people used.
    """
    lines = [json.loads(line) for line in (path / "events.jsonl").read_bytes().splitlines()]
    return [{k: v for k, v in e.items() if k != "t"} for e in lines if e["kind"] != "control"]


def same_run(one: Path, two: Path) -> str | None:
    """None if journal, batches and student of two run folders are equal bit for bit; otherwise, the
    first difference.
    """
    a, b = story(one), story(two)
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return f"event {i}: {x} is not {y}"
    if len(a) != len(b):
        return f"{len(a)} events, not {len(b)}"
    names = [sorted(f.name for f in (p / "batches").glob("*.safetensors")) for p in (one, two)]
    if names[0] != names[1]:
        return f"batches {names[0]}, not {names[1]}"
    for file in ("student.safetensors", *(f"batches/{n}" for n in names[0])):
        x, y = load_file(one / file), load_file(two / file)
        if x.keys() != y.keys():
            return f"{file}: {sorted(x)} is not {sorted(y)}"
        for name in x:
            if x[name].dtype != y[name].dtype or not torch.equal(x[name], y[name]):
                return f"{file}: {name} differs"
    return None


def stored(made):
    """A finished iteration, measured with the current student and put into the pool."""
    return made.store(made.measure(made.state.snapshot()))
