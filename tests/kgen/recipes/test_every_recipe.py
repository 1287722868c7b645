"""Every named recipe runs an epoch of warm-up and one of learning, with a few small images.

Those for teachers that are not bundled run on stand-ins: random networks of the right kind,
channels and classes, and random "real" images. Their ids say so. These tests check that a recipe's
parts fit together and that what it switches on is used; they say nothing about accuracy.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch

import kgen
from kgen import embeddings
from kgen.data import catalogue, data
from kgen.engine import state
from kgen.engine.setting import select_classes
from kgen.journal.runner import Runner
from kgen.nets.small_cnn import SmallResNet, seeded
from kgen.nets.vit import small_vit
from kgen.recipes import recipes
from kgen.teachers import Teacher
from kgen.zoo import zoo
from tests.support.small import few_images

SIDE = 24
"""Full resolution of a stand-in."""
NAMES = [
    pytest.param(n, id=n if recipes.get(n).teacher in zoo.TEACHERS else f"{n}, stand-in")
    for n in recipes.NAMES
]

_load_teacher, _build_student = zoo.load_teacher, state.build_student
_class_table = functools.cache(embeddings.class_table)


def stand_in(kind: str, channels: int, classes: int, seed: int):
    """A random network: a transformer for a transformer, else a CNN."""
    if "deit" in kind:
        return seeded(
            small_vit, seed, channels, classes, side=SIDE, patch=4, dim=8, depth=1, heads=2
        )
    return seeded(SmallResNet, seed, channels, classes, width=4, blocks=(1, 1))


@functools.cache
def load_teacher(name: str) -> Teacher:
    if name not in catalogue.TEACHERS:
        return _load_teacher(name)
    about, card = zoo.spec(name), zoo.card(name)
    network = stand_in(card.architecture, card.channels, len(about["classes"]), 1)
    card = card.model_copy(
        update={
            "title": f"stand-in for {card.title}",
            "side": SIDE,
            "n_train": 1000,
            "features": network.num_features,
        }
    )
    return Teacher(
        network,
        card,
        tuple(about["classes"]),
        torch.tensor(about["mean"]),
        torch.tensor(about["std"]),
    )


def build_student(name: str, channels: int, classes: int, seed: int, *more, **options):
    return (
        _build_student(name, channels, classes, seed, *more, **options)
        if name in zoo.STUDENTS
        else stand_in(name, channels, classes, seed)
    )


@functools.cache
def real_images(name: str, side: int = 0) -> data.RealImages:
    """One random image per class at the side of a stand-in, or of a bundled teacher."""
    if name not in catalogue.DATA:
        return few_images(name)
    names = kgen.zoo.classes(
        next(t for t, facts in catalogue.TEACHERS.items() if facts.data == name)
    )
    images = np.random.default_rng(0).integers(
        0, 256, (len(names), catalogue.DATA[name].channels, SIDE, SIDE), dtype=np.uint8
    )
    return data.RealImages(name, images, np.arange(len(names)), names)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr(zoo, "load_teacher", load_teacher)
    monkeypatch.setattr(state, "build_student", build_student)
    monkeypatch.setattr(data, "test_set", real_images)
    monkeypatch.setattr(embeddings, "class_table", _class_table)


def shrunk(name: str) -> kgen.Recipe:
    """Two epochs of one iteration per resolution, the first of them warm-up; fields that say how,
    not how much, stay.
    """
    recipe = recipes.get(name)
    small = {
        "epochs": 2,
        "warmup": 0.5,
        "iterations": 1,
        "generator_steps": 1,
        "student_steps": 1,
        "batch": 6,
        "student_batch": 4,
        "width": 4,
        "noise_width": 8,
        "views": min(recipe.views, 1),
        "ratio": 0.05,
        "evaluate_every": 0,
        "schedule": "sequential",
    }
    if recipe.teacher in catalogue.TEACHERS:
        small["resolutions"] = (16, 20)[: len(recipe.resolutions)]
    if recipe.batches:
        small["batches"] = (6, 4)
    return recipe.replace(**small)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_recipe_runs(name):
    recipe = shrunk(name)
    seen = list(kgen.distill(recipe))
    card, w, sides = load_teacher(recipe.teacher).card, recipe.weights, recipe.resolutions
    chosen = select_classes(recipe, load_teacher(recipe.teacher).classes)
    assert (seen[-1].kind, seen[-1].reason, seen[-1].n) == (
        "run_finished",
        "done",
        np.isin(real_images(card.data).labels, chosen).sum(),
    )

    made = [e for e in seen if e.kind == "batch_synthesised"]
    assert [e.resolution for e in made] == list(sides) * 2 and [e.epoch for e in made] == [0] * len(
        sides
    ) + [1] * len(sides)
    batches = recipe.batch_sizes(sides)
    for e, size in zip(made, batches * 2):
        images = e.arrays["images"]
        assert (
            images.shape == (size, card.channels, e.resolution, e.resolution) and images.std() > 0
        )
        assert np.isfinite(e.arrays["parts"]).all() and e.arrays["parts"].shape == (size, 7)

    steps = [e for e in seen if e.kind == "generator_step"]
    weights = w.model_dump()
    for e in steps:
        on = {
            part: a
            for part, a in weights.items()
            if a and part in e.parts and not (e.epoch == 0 and part in ("adv", "aed"))
        }
        assert e.loss == pytest.approx(
            sum(a * e.parts[part] for part, a in on.items()), rel=1e-4, abs=1e-5
        )
        assert all(math.isfinite(v) for v in e.parts.values())
        assert (e.parts["tv"] > 0, e.parts["l2"] > 0) == (w.tv > 0, w.l2 > 0)
        assert (
            e.parts["bn"] > 0 or "deit" in recipe.teacher or "vit" in recipe.teacher
        )  # a transformer has no batch norm
        if recipe.adv_mask == "none":  # otherwise it may be 0 by chance
            assert (e.parts["adv"] != 0) == (
                e.epoch == 1 and w.adv > 0
            )  # there is no student in warm-up
    assert len(steps) == 2 * len(sides)
    (learnt,) = [e for e in seen if e.kind == "student_step"]
    assert set(learnt.parts) == ({"kl", "ed"} if w.ed else {"kl"}) and learnt.parts["kl"] > 0
    assert learnt.loss == pytest.approx(
        learnt.parts["kl"] + w.ed * learnt.parts.get("ed", 0), rel=1e-4
    )


@pytest.mark.slow
def test_the_papers_own_networks_with_weights_where_a_person_puts_them(tmp_path, monkeypatch):
    """No stand-ins except for the weights: WRN-40-2 teaches WRN-16-1, and the exported student
    comes back.
    """
    monkeypatch.setattr(zoo, "load_teacher", _load_teacher)
    monkeypatch.setattr(state, "build_student", _build_student)
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    catalogue.teacher_file("cifar10-wrn-40-2").parent.mkdir()
    zoo.save_network(
        zoo.build("wrn-40-2", {}, 1, 3, 10, 32), catalogue.teacher_file("cifar10-wrn-40-2"), {}
    )
    recipe = shrunk("cifar10-w402-w161-kgen").replace(ratio=1e-3)
    runner = Runner.new(recipe, tmp_path / "run")
    assert runner.run().reason == "done"
    student, trained = (
        zoo.load_student(tmp_path / "run" / "student.safetensors"),
        runner.distillation.state.student,
    )
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(student(x), trained.eval()(x))
    assert sum(p.numel() for p in student.parameters()) == 175_066


def test_as_many_stand_ins_as_recipes_of_the_paper():
    """So that an id without the word really ran on a bundled teacher."""
    bundled = [n for n in recipes.NAMES if recipes.get(n).teacher in zoo.TEACHERS]
    assert (
        len(bundled) == 18
        and sum(str(p.id).endswith("stand-in") for p in NAMES) == len(recipes.NAMES) - 18
    )
    assert load_teacher("cifar10-wrn-40-2").card.title == "stand-in for WRN-40-2 on CIFAR-10"
