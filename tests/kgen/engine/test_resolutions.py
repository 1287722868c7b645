"""Several resolutions (Eq. 7): equal pixels per batch, a shared budget, taking turns, and sides
rounded with a warning.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import kgen
from kgen.engine.engine import Distillation
from kgen.engine.warnings import warnings_of
from kgen.pool import MemoryPool
from kgen.recipe.recipe import Recipe, RecipeError
from tests.support.errors import raises
from tests.support.small import mini


def test_batches_share_pixels_equally():
    r = Recipe(resolutions=(96, 112), batch=100)
    assert r.batch_sizes((96, 112)) == (50, 37)  # the paper prints [50, 40]
    for sides in ((96,), (28, 14), (20, 24, 28)):
        sizes = Recipe(resolutions=sides, batch=200).batch_sizes(sides)
        pixels = [b * e * e for b, e in zip(sizes, sides)]
        assert max(pixels) - min(pixels) <= max(sides) ** 2
        assert sum(pixels) == pytest.approx(200 * sides[0] ** 2, rel=0.03)
    assert Recipe(resolutions=(112, 128), batches=(200, 150)).batch_sizes((112, 128)) == (200, 150)
    with raises(RecipeError, "conflict", field="batches"):
        Recipe().replace(resolutions=(16, 28), batches=(10,))


@pytest.mark.slow
def test_iterations_take_turns_and_the_budget_holds():
    recipe = mini(resolutions=(28, 16), batch=24, epochs=4, ratio=0.0016)
    d = Distillation(recipe)
    events = list(d)
    started, made = events[0], [e for e in events if e.kind == "batch_synthesised"]
    assert [e.resolution for e in made] == [28, 16] * 8 and recipe.total_iterations == 16
    assert [(s.side, s.batch, s.map_size) for s in started.scales] == [
        (28, 12, (7, 7)),
        (16, 37, (4, 4)),
    ]
    for e, side, batch in zip(made, [28, 16] * 8, [12, 37] * 8):
        assert e.arrays["images"].shape == (batch, 1, side, side) and e.arrays["cam"].shape == (
            batch,
            side // 4,
            side // 4,
        )
        assert e.epoch == e.iteration // 4
    budget = int(0.0016 * 60_000 * 28 * 28)
    buffers = d.state.pool.buffers
    for e in made:
        assert e.pool_pixels <= budget
    assert {side: len(s) for side, s in buffers.items()} == {
        28: budget // 2 // 784,
        16: budget // 2 // 256,
    }
    assert (
        started.budget_images == sum(s.budget_images for s in started.scales) == len(d.state.pool)
    )
    per_epoch = Counter(e.epoch for e in events if e.kind == "generator_step")
    assert set(per_epoch.values()) == {2 * 2 * recipe.generator_steps}
    assert sum(1 for e in events if e.kind == "iteration_started") == 16
    assert (
        d.state.student_steps == recipe.total_student_steps == 3 * 4
    )  # the first epoch is warm-up


def test_student_batches_have_one_resolution_in_proportion_to_pixels():
    pool = MemoryPool(100_000, "fifo", sides=(8, 16))
    pool.add(torch.zeros(30, 1, 8, 8, dtype=torch.uint8), torch.zeros(30, dtype=torch.int64))
    pool.add(torch.zeros(30, 1, 16, 16, dtype=torch.uint8), torch.zeros(30, dtype=torch.int64))
    rng = torch.Generator().manual_seed(0)
    drawn = Counter(pool.sample_buffer(rng).side for _ in range(4000))
    assert drawn[16] / 4000 == pytest.approx(256 / (256 + 64), abs=0.03)
    images, labels = pool.sample(5, rng)
    assert len(images) == len(labels) == 5
    with pytest.raises(ValueError, match="side 8, 16, not"):
        pool.add(torch.zeros(1, 1, 12, 12, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))


def test_one_generator_and_optimiser_for_each():
    d = Distillation(mini(resolutions=(28, 16)))
    generators = d.state.generators
    assert list(generators) == [28, 16]
    owned = [
        {id(p) for g in o.param_groups for p in g["params"]}
        for o in d.state.generator_optimizers.values()
    ]
    assert owned == [{id(p) for p in g.parameters()} for g in generators.values()]
    assert not torch.equal(generators[28].to_image.weight, generators[16].to_image.weight)


@pytest.mark.parametrize(
    ("asked", "deep", "made"),
    [((30,), False, (28,)), ((9, 27), False, (8, 24)), ((50,), True, (48,))],
)
def test_sides_are_snapped_with_a_message(asked, deep, made):
    d = Distillation(mini(resolutions=asked, deep=deep, ratio=0.01))
    assert d.setting.sides == made
    said = [text for text, _ in warnings_of(d.setting)]
    for a, m in zip(asked, made):
        assert any(f"{a} × {a}" in text and f"{m} × {m}" in text for text in said)


def test_a_map_of_one_cell_gets_a_warning():
    setting = Distillation(mini(resolutions=(8, 16), ratio=0.01, **{"weights.kr": 0.1})).setting
    usual = warnings_of(setting)
    setting.scales = (replace(setting.scales[0], map_size=(1, 1)), setting.scales[1])
    setting.card = setting.card.model_copy(update={"cell": 8})
    [(text, remedy)] = set(warnings_of(setting)).difference(usual)
    assert "8 × 8" in text and "16 × 16" not in text
    assert "16 × 16" in remedy and "weights.kr=0" in remedy
    setting.card = setting.card.model_copy(update={"cell": None})  # nothing is known about it
    [(_, remedy)] = set(warnings_of(setting)).difference(usual)
    assert "16 × 16" not in remedy and "weights.kr=0" in remedy
    setting.recipe = setting.recipe.replace(**{"weights.kr": 0.0})
    assert warnings_of(setting) == usual


def test_sides_that_become_one_are_refused():
    with raises(
        RecipeError, "duplicate-resolution", "[29, 30]", "[28, 28]", unit=4, sides=[28, 28]
    ):
        Distillation(mini(resolutions=(29, 30)))
    assert Distillation(mini(resolutions=(29, 30), source="pixels")).setting.sides == (
        29,
        30,
    )  # pixels need no generator


def test_budget_that_holds_no_image_of_one_side_is_refused():
    with raises(RecipeError, "too-small", "28 × 28", field="ratio", side=28):
        Distillation(mini(resolutions=(12, 28), ratio=0.00002))


@pytest.mark.slow
def test_both_schedules_teach_from_both_resolutions():
    for schedule in ("sequential", "concurrent"):
        events = list(kgen.distill(mini(resolutions=(28, 20), schedule=schedule)))
        assert events[-1].kind == "run_finished" and np.isfinite(events[-1].accuracy)
