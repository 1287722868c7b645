"""The named recipes: every one can be read back, neighbors on the ladder differ in one switch,
Table 8 as the paper prints it.
"""

from __future__ import annotations

import pytest

from kgen import embeddings
from kgen.cli.recipe_argument import read_recipe
from kgen.data import catalogue
from kgen.engine.setting import Setting, select_classes
from kgen.nets import architectures
from kgen.recipe.recipe import Recipe, parse
from kgen.recipes import paper, recipes, resolutions
from kgen.zoo import zoo

LADDER = [name for name in recipes.NAMES if name.startswith("fashion-ladder")]

# Table 8, typed from the paper: sides and batches of K-Gen-S and K-Gen, factor of S, I, g, E
TABLE_8 = {
    "imagenette": ((96,), (100,), (96, 112), (50, 40), 50, 5, 100, 100),
    "imagewoof": ((96,), (100,), (96, 112), (50, 40), 50, 5, 100, 100),
    "imagenet1k": ((112,), (200,), (112, 128), (200, 150), 200, 20, 100, 400),
    "cifar10": ((28,), (260,), (28, 32), (130, 100), 2, 20, 40, 400),
    "cifar100": ((28,), (260,), (28, 32), (130, 100), 2, 20, 40, 400),
    "tiny-imagenet": ((32,), (200,), (32, 48), (200, 100), 50, 5, 100, 100),
    "traffic-signs": ((112,), (260,), (112, 128), (200, 150), 50, 5, 100, 100),
    "megapixel-mnist": ((112,), (260,), (112, 128), (200, 150), 50, 5, 100, 100),
}


@pytest.mark.parametrize("name", recipes.NAMES)
def test_every_recipe_reads_back_and_names_what_there_is(name):
    recipe = recipes.get(name)
    assert (
        parse(recipe.to_json()) == recipe
        and recipe.name == name
        and len(recipes.describe(name)) > 40
    )
    assert recipe.student in {*zoo.STUDENTS, *architectures.NAMES}
    card, classes = zoo.card(recipe.teacher), zoo.classes(recipe.teacher)
    assert (
        len(select_classes(recipe, classes)) == len(recipe.classes or classes)
        and max(recipe.resolutions) <= card.side
    )
    assert recipe.batch_sizes(recipe.sides(1)) and recipe.budget_pixels(
        card.n_train, card.side
    ) >= sum(e**2 for e in recipe.resolutions)


@pytest.mark.parametrize(
    ("architecture", "side", "cell", "smallest", "used"),
    [
        ("SmallCNN", 28, 4, 8, 28),  # small: the whole image
        ("resnet18", 64, 32, 8, 64),  # 32 pixels would be a single cell
        ("resnet18", 224, 32, 32, 64),
        ("efficientnet_b2", 260, 29, 32, 64),  # 260 / 9 cells: not a stride
        ("vit_small_patch14_dinov2", 224, 14, 28, 112),  # a multiple of 14 and of 16
        ("deit_tiny_patch16_224", 224, 16, 224, 224),  # takes one size only
        ("resnet18", 128, None, None, 64),
    ],
)
@pytest.mark.parametrize("n_train", [3, 300, 1_000_000])
def test_a_quick_run_suits_any_teacher(architecture, side, cell, smallest, used, n_train):
    card = zoo.card("fashion-cnn").model_copy(
        update={
            "architecture": architecture,
            "side": side,
            "cell": cell,
            "smallest": smallest,
            "n_train": n_train,
            "name": "x",
        }
    )
    recipe = recipes.quick(card)
    assert (recipe.resolutions, recipe.sides(resolutions.patch(card))) == ((used,), (used,))
    images = recipe.budget_pixels(n_train, side) // used**2
    assert images >= 60 or recipe.ratio == 1


def test_a_custom_run_has_images_that_suit_its_teacher():
    settings = ["teacher=imagenette-slim"]
    recipe = read_recipe("custom", settings, None, None)
    assert recipe.resolutions == recipes.quick(zoo.card("imagenette-slim")).resolutions == (32,)
    small = read_recipe("custom", [*settings, "resolutions=28"], None, None)
    assert small.resolutions == (28,) and "resolutions=[28]" in recipes.command(small)
    assert read_recipe("custom", [], None, None) == Recipe()


def test_groups_hold_every_name_once_and_the_laptop_comes_first():
    assert [n for names in recipes.GROUPS.values() for n in names] == list(recipes.NAMES) and len(
        set(recipes.NAMES)
    ) == len(recipes.NAMES)
    assert recipes.NAMES[:3] == ("fashion-live", "fashion-long", "tiny")


def fields(recipe: Recipe) -> dict:
    return {
        path: value
        for path, value in recipes.changes(recipe.replace(name="other")).items()
        if path != "name"
    }


def test_rungs_of_the_ladder_are_one_switch_apart():
    switches = [
        {"resolutions", "batch"},
        {"weights.kr"},
        {"weights.ed", "weights.aed"},
        {"resolutions"},
    ]
    rungs = [fields(recipes.get(name)) for name in LADDER]
    assert len(rungs) == len(switches) + 1
    for below, above, switch in zip(rungs, rungs[1:], switches):
        assert {k for k in below.keys() | above.keys() if below.get(k) != above.get(k)} <= switch
        assert below != above
    last = recipes.get(LADDER[-1])
    assert last.resolutions == (20, 24) and (
        last.weights.kr,
        last.weights.ed,
        last.weights.aed,
    ) == (0.1, 10, 5)
    first = recipes.get(LADDER[0])
    assert first.resolutions == (28,) and not first.diverse and first.weights.kr == 0


@pytest.mark.parametrize("name", LADDER)
def test_rungs_make_as_many_pixels_as_each_other_and_more_than_the_pool_holds(name):
    """By counting: batches are whole images, so pixels may differ by half an image per batch."""
    recipe = recipes.get(name)
    sides = recipe.sides()
    made = sum(side**2 * batch for side, batch in zip(sides, recipe.batch_sizes(sides)))
    assert abs(made - 100 * 28**2) <= sum(sides) ** 2 / 2
    assert recipe.epochs * made > recipe.budget_pixels(60_000, 28)


@pytest.mark.parametrize(("ratio", "epochs"), [(0.005, 5), (0.01, 8), (0.05, 32)])
def test_tables_grow_with_the_ratio(ratio, epochs):
    recipe = recipes.fashion_table_at(ratio)
    assert (recipe.ratio, recipe.epochs, recipe.warmup_epochs) == (ratio, epochs, 1)
    assert recipe.total_student_steps == (epochs - 1) * 100 < recipe.evaluate_every
    assert recipe.total_iterations * recipe.batch * 28**2 > recipe.budget_pixels(60_000, 28)
    assert recipes.fashion_table() == recipes.fashion_table_at(0.01)


def test_student_steps_follow_the_ratio():
    recipe = recipes.get("imagenette-r34-r18-kgen-s")
    assert recipes.at_ratio(recipe, 0.2) == recipe.replace(ratio=0.2, student_steps=1000)
    assert recipes.at_ratio(recipe, 1e-6).student_steps == 1
    assert recipes.at_ratio(recipes.at_ratio(recipe, 0.1), recipe.ratio) == recipe


@pytest.mark.parametrize("pair", paper.PAIRS, ids=lambda pair: pair.name)
def test_table_8(pair):
    """Every constant of the table and of C.2 to C.4 against the paper's print."""
    sides, batch, several, batches, factor, iterations, steps, epochs = TABLE_8[pair.data]
    percent = {
        "cifar10": 100,
        "cifar100": 100,
        "tiny-imagenet": 100,
        "traffic-signs": 10,
        "megapixel-mnist": 10,
    }.get(pair.data, 5)
    single, both = recipes.get(f"{pair.name}-kgen-s"), recipes.get(f"{pair.name}-kgen")
    for r in (single, both):
        assert (r.student_steps, r.iterations, r.generator_steps, r.epochs, r.ratio) == (
            factor * percent,
            iterations,
            steps,
            epochs,
            percent / 100,
        )
        w = r.weights
        assert (w.ce, w.bn, w.adv, w.kr, w.ed, w.aed, w.tv, w.l2) == (
            0.5,
            10,
            1.3,
            0.1,
            10,
            5,
            0,
            0,
        )
        assert (r.radii.inner, r.radii.outer, r.target.kind, r.target.peak, r.target.sigma) == (
            0.015,
            0.03,
            "gaussian",
            1,
            2,
        )
        assert (r.bn_scale, r.source, r.up_first, r.deep, r.width, r.noise_width, r.warmup) == (
            "raw",
            "noise",
            True,
            False,
            64,
            1000,
            0.1,
        )
        student, generator = r.optimizers.student, r.optimizers.generator
        assert (student.name, student.lr, student.momentum, generator.name, generator.lr) == (
            "adamw",
            1e-3,
            0.9,
            "adam",
            4e-3,
        )
        assert r.epoch_iterations == iterations * len(r.resolutions)
    assert (single.resolutions, single.batch_sizes(sides), single.student_batch) == (
        sides,
        batch,
        batch[0],
    )
    assert (both.resolutions, both.batch_sizes(several), both.student_batch) == (
        several,
        batches,
        batches[0],
    )
    assert catalogue.TEACHERS[pair.teacher].data == pair.data


@pytest.mark.parametrize(
    "pair", [p for p in paper.PAIRS if "nayer" in paper.methods(p)], ids=lambda pair: pair.name
)
def test_baselines_work_at_full_resolution_with_as_many_pixels(pair):
    ours, side = paper.kgen_s(pair), catalogue.DATA[pair.data].side
    for method in ("nayer", "fast", "deepinversion"):
        r = recipes.get(f"{pair.name}-{method}")
        assert r.resolutions == (side,) and not r.diverse and r.weights.kr == 0
        assert abs(r.batch * side**2 - ours.batch * ours.resolutions[0] ** 2) <= side**2 / 2
        assert {"nayer": "noise", "fast": "latent", "deepinversion": "pixels"}[method] == r.source
        assert (r.feature_memory > 0) == (method == "fast") and (r.weights.tv > 0) == (
            method == "deepinversion"
        )


@pytest.mark.slow
def test_teachers_of_the_recipes_have_texts_in_the_bundled_table():
    for name in {recipes.get(n).teacher for n in recipes.NAMES}:
        table = embeddings.class_table(zoo.classes(name))
        assert len(table) == len(zoo.classes(name)) and embeddings.smallest_mse(
            table
        ) == pytest.approx(0.03, rel=1e-4)


@pytest.mark.parametrize("name", ["fashion-cnn", "cifar10-cnn", "imagenette-slim"])
def test_the_quick_run_of_a_teacher_needs_no_data_set(name, tmp_path, monkeypatch):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    assert Setting(recipes.quick(zoo.card(name))).student_total > 0
