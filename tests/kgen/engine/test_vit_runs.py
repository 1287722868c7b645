"""Whole runs on a vision transformer: maps, windows and both kinds of student, with an untrained
teacher made here.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kgen.data import data
from kgen.engine.engine import Distillation
from kgen.engine.warnings import warnings_of
from kgen.journal.runner import Runner
from kgen.zoo import teach, zoo
from tests.support.small import few_images, mini

PLAN = dataclasses.replace(teach.VIT, shape={"patch": 4, "dim": 16, "depth": 2, "heads": 2})


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A teacher's file as `kgen teach` writes it."""
    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    few = few_images("fashion-mnist")
    network = zoo.build(PLAN.architecture, PLAN.shape, 0, 1, 10, 28)
    zoo.save_network(network, path, teach.finish(network, few, few, few, PLAN))
    return str(path)


@pytest.fixture
def recipe(file, monkeypatch):
    monkeypatch.setattr(data, "test_set", few_images)
    return mini(teacher=file, ratio=0.5, batch=20, **{"weights.ed": 10.0, "weights.aed": 5.0})


@pytest.mark.parametrize("student", ["small-vit-20k", "small-cnn-20k"])
def test_a_run_at_two_resolutions(recipe, student):
    d = Distillation(recipe.replace(student=student, resolutions=(28, 12)))
    events = list(d)
    started, made = events[0], [e for e in events if e.kind == "batch_synthesised"]
    assert started.map_kind == "attention" and [s.map_size for s in started.scales] == [
        (7, 7),
        (3, 3),
    ]
    for e in made:
        assert e.arrays["cam"].shape[1] == e.resolution // 4
        assert (e.arrays["cam"] > 0).all()  # a share of attention, uniform = 1
        assert np.all(e.arrays["parts"][:, 2] == 0)  # no BatchNorm
    assert any("no BatchNorm layers" in e.text for e in events if e.kind == "warning")
    assert events[-1].kind == "run_finished" and d.state.student_steps == recipe.total_student_steps


def test_every_batch_has_its_own_window(recipe, monkeypatch):
    """12 × 12 pixels are 3 × 3 of 7 × 7 position embeddings: the steps of an iteration share a
    window, iterations do not.
    """
    d = Distillation(recipe.replace(resolutions=(12,), epochs=6, position_decay=0.0))
    seen = {}
    real = type(d.setting.teacher).__call__

    def watched(teacher, x, corner=None):
        if x.shape[-1] == 12:  # not the real examples, which are whole
            seen.setdefault(d.state.iterations, set()).add(corner)
        return real(teacher, x, corner)

    monkeypatch.setattr(type(d.setting.teacher), "__call__", watched)
    list(d)
    assert (
        all(len(corners) == 1 for i, corners in seen.items() if i < 12)
        and len(set().union(*seen.values())) > 3
    )


def test_sides_are_multiples_of_the_patch(recipe):
    d = Distillation(recipe.replace(resolutions=(27,), source="pixels"))
    assert d.setting.sides == (24,)
    assert any("27 × 27" in text and "24 × 24" in text for text, _ in warnings_of(d.setting))


def test_an_exported_vit_answers_as_the_trained_one(recipe, tmp_path):
    runner = Runner.new(recipe.replace(student="small-vit-20k"), tmp_path / "run")
    runner.run()
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    student = zoo.load_student(tmp_path / "run" / "student.safetensors")
    with torch.no_grad():
        assert torch.equal(student(x), runner.distillation.state.student.eval()(x))
