"""What the page offers for a teacher: the bundled ones, and one that a person brought."""

import pytest

from app import offers
from app.panels import form
from kgen import catalogue, zoo
from kgen.events import TeacherCard


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A teacher of 12 classes of 64 × 64 whose names have no embedding."""
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    card = TeacherCard(name="mine", title="Mine", architecture="resnet18-cifar", parameters=1, channels=3, side=64, features=512, n_train=5_000)
    catalogue.teacher_file("mine").parent.mkdir()
    network = zoo.build("resnet18-cifar", {}, 0, 3, 12, 64)
    spec = {"card": card.model_dump(), "architecture": "resnet18-cifar", "classes": [f"kind {i}" for i in range(12)], "mean": [0.5] * 3, "std": [0.25] * 3}
    zoo.save_network(network, catalogue.teacher_file("mine"), spec)
    return offers.offer("mine")


def test_bundled_teachers_come_first_and_brought_ones_follow(brought):
    assert offers.teachers() == ("fashion-cnn", "fashion-vit", "imagenet-lite0", "mine")


@pytest.mark.parametrize(("teacher", "sides", "small", "recipes"), [
    ("fashion-cnn", (16, 20, 24, 28), 20, ("fashion-live", "fashion-long")),
    ("fashion-vit", (16, 20, 24, 28), 20, ("fashion-vit",)),
    ("imagenet-lite0", (64, 96, 112, 128, 160, 192, 224), 112, ("imagenet-peek",)),
])
def test_what_suits_a_bundled_teacher(teacher, sides, small, recipes):
    offer = offers.offer(teacher)
    assert (offer.sides, offer.small, offer.recipes) == (sides, small, recipes)
    assert offer.costs[-1] == 1


def test_a_brought_teacher_has_a_recipe_that_it_can_follow(brought):
    assert brought.sides == (32, 48, 64) and brought.small == 32
    base = brought.base("imagenet-peek")
    assert (base.teacher, base.resolutions, base.embedding, base.evaluate_on) == ("mine", (32,), "centre", "auto")
    assert base.classes == tuple(f"kind {i}" for i in range(10))
    assert base.budget_pixels(5_000, 64) >= 100 * 32 * 32
    values = form.write(base)
    assert form.read(values) == base.replace(schedule="concurrent", batch=base.batch_at(32))


def test_the_page_is_told_names_and_card(brought):
    told = brought.told()
    assert told["classes"][3] == "kind 3" and told["card"]["title"] == "Mine" and told["full"] == 64
    assert told["card"]["accuracy"] is None and told["student"]["name"]


def test_a_teacher_that_is_changed_is_seen(brought):
    spec = zoo.read_spec(catalogue.teacher_file("mine")) | {"classes": [f"sort {i}" for i in range(12)]}
    zoo.save_network(zoo.build("resnet18-cifar", {}, 0, 3, 12, 64), catalogue.teacher_file("mine"), spec)
    assert offers.offer("mine").classes[0] == "sort 0"
