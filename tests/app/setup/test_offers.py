"""What the page offers for a teacher: the bundled ones, and a user's own."""

import pytest

from app.setup import form, offers
from kgen.data import catalogue
from kgen.events import TeacherCard
from kgen.recipes import resolutions
from kgen.zoo import zoo


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A teacher of 12 classes at 64 × 64 whose names have no embedding."""
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    card = TeacherCard(
        name="mine",
        title="Mine",
        architecture="resnet18-cifar",
        parameters=1,
        channels=3,
        side=64,
        features=512,
        n_train=5_000,
    )
    catalogue.teacher_file("mine").parent.mkdir()
    network = zoo.build("resnet18-cifar", {}, 0, 3, 12, 64)
    spec = {
        "card": card.model_dump(),
        "architecture": "resnet18-cifar",
        "classes": [f"kind {i}" for i in range(12)],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    zoo.save_network(network, catalogue.teacher_file("mine"), spec)
    return offers.offer("mine")


def test_bundled_teachers_come_first_and_brought_ones_follow(brought):
    assert offers.teachers() == (
        "fashion-cnn",
        "fashion-vit",
        "cifar10-cnn",
        "imagenette-slim",
        "imagenet-lite0",
        "imagenet-lite2",
        "mine",
    )


@pytest.mark.parametrize(
    ("teacher", "sides", "small", "recipes"),
    [
        ("fashion-cnn", (16, 20, 24, 28), 20, ("fashion-live", "fashion-long")),
        ("fashion-vit", (16, 20, 24, 28), 20, ("fashion-vit",)),
        ("cifar10-cnn", (16, 20, 24, 28, 32), 20, ("cifar10-live", "cifar10-long")),
        (
            "imagenette-slim",
            (32, 48, 64, 80, 96, 112, 128),
            64,
            ("imagenette-live", "imagenette-long"),
        ),
        ("imagenet-lite0", (64, 96, 112, 128, 160, 192, 224), 112, ("imagenet-peek",)),
    ],
)
def test_what_suits_a_bundled_teacher(teacher, sides, small, recipes):
    offer = offers.offer(teacher)
    assert (offer.sides, offer.small, offer.recipes) == (sides, small, recipes)
    assert offer.costs[-1] == 1


def test_a_brought_teacher_has_a_recipe_that_it_can_follow(brought):
    assert brought.sides == (16, 32, 48, 64) and brought.small == 32
    base = brought.base("imagenet-peek")
    assert (base.teacher, base.resolutions, base.embedding, base.evaluate_on) == (
        "mine",
        (32,),
        "auto",
        "auto",
    )
    assert base.classes == tuple(f"kind {i}" for i in range(10))
    assert base.budget_pixels(5_000, 64) >= 100 * 32 * 32
    values = form.write(base)
    assert form.read(values) == base.replace(schedule="concurrent", batch=base.batch_at(32))


@pytest.mark.parametrize(
    ("cell", "side", "has_key_region"), [(16, 32, True), (32, 64, True), (64, 64, False)]
)
def test_a_new_teachers_map_has_several_cells_or_no_target(brought, cell, side, has_key_region):
    card = brought.card.model_copy(update={"cell": cell})
    offer = offers.Offer("mine", card, brought.classes)
    base = offer.base("imagenet-peek")
    assert offer.small == side and base.resolutions == (side,)
    assert (base.weights.kr > 0) == has_key_region


def test_the_page_is_told_names_and_card(brought):
    told = brought.to_json()
    assert told["classes"][3] == "kind 3" and told["card"]["title"] == "Mine" and told["full"] == 64
    assert told["card"]["accuracy"] is None and told["student"]["name"]


def test_a_teacher_that_is_changed_is_seen(brought):
    spec = zoo.read_spec(catalogue.teacher_file("mine")) | {
        "classes": [f"sort {i}" for i in range(12)]
    }
    zoo.save_network(
        zoo.build("resnet18-cifar", {}, 0, 3, 12, 64), catalogue.teacher_file("mine"), spec
    )
    assert offers.offer("mine").classes[0] == "sort 0"


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"__metadata__": {"kgen": "3"}}',
        b'{"__metadata__": {"kgen": "{\\"card\\": {}}"}}',
        b"junk",
    ],
)
def test_a_file_that_cannot_be_read_is_left_out(brought, header):
    place = catalogue.teacher_file("broken")
    place.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "broken" not in offers.teachers() and "mine" in offers.teachers()


@pytest.mark.parametrize(
    ("architecture", "side", "patch", "sides"),
    [
        ("torchvision:resnet18", 224, 1, (64, 96, 112, 128, 160, 192, 224)),
        ("mobilevit_s", 256, 1, (80, 112, 128, 144, 176, 224, 256)),
        ("inception_v3", 299, 1, (80, 128, 144, 176, 208, 256, 288)),
        ("resnet18-cifar", 50, 1, (16, 32, 48)),
        ("wrn-16-1", 30, 1, (16, 20, 24, 28)),
        ("deit_tiny_patch16_224", 224, 16, (64, 96, 112, 128, 160, 192, 224)),
        ("vit_small_patch14_dinov2", 224, 14, (112, 224)),
        ("SmallViT", 28, 4, (16, 20, 24, 28)),
    ],
)
def test_sides_are_what_generator_and_teacher_can_make(architecture, side, patch, sides):
    card = TeacherCard(
        name="x",
        title="X",
        architecture=architecture,
        parameters=1,
        channels=3,
        side=side,
        features=8,
        n_train=100,
    )
    assert resolutions.patch(card) == patch and offers.Offer("x", card, ("a", "b")).sides == sides


def test_the_smallest_image_that_it_bears_is_the_smallest_offered():
    card = TeacherCard(
        name="x",
        title="X",
        architecture="densenet121",
        parameters=1,
        channels=3,
        side=224,
        features=8,
        n_train=100,
        smallest=100,
    )
    assert offers.Offer("x", card, ("a", "b")).sides == (112, 128, 160, 192, 224)
