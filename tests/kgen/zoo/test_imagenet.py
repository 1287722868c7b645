"""The bundled ImageNet teacher on photographs that ship in packages: does the wrapper feed it what
it was trained on?
"""

from pathlib import Path

import pytest
import skimage
import sklearn.datasets
import torch

import kgen
from kgen import embeddings
from kgen.data import classes
from kgen.data.folders import ImageFiles
from kgen.zoo import zoo

SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.datasets.__file__).parent / "images"
PHOTOS = [
    (SKIMAGE / "chelsea.png", {"tiger cat", "tabby", "Egyptian cat"}),
    (SKIMAGE / "coffee.png", {"espresso", "cup"}),
    (SKIMAGE / "camera.png", {"tripod"}),
    (SKIMAGE / "rocket.jpg", {"missile", "projectile"}),
    (SKLEARN / "china.jpg", {"palace"}),
    (SKLEARN / "flower.jpg", {"daisy"}),
]


@pytest.fixture(scope="module")
def teacher():
    return kgen.load_teacher("imagenet-lite0")


@pytest.mark.parametrize(("photo", "names"), PHOTOS, ids=[p.name for p, _ in PHOTOS])
def test_photographs_are_named(teacher, photo, names):
    images = torch.from_numpy(ImageFiles([photo], 3, (224, 224), crop=True)[:]).float() / 255
    assert teacher.classes[int(teacher.logits(images).argmax())] in names


@pytest.mark.parametrize("side", [112, 96])
def test_a_cat_is_a_cat_in_small(teacher, side):
    images = (
        torch.from_numpy(ImageFiles([PHOTOS[0][0]], 3, (side, side), crop=True)[:]).float() / 255
    )
    assert teacher.classes[int(teacher.logits(images).argmax())] in PHOTOS[0][1]


def test_its_card_says_what_it_is(teacher):
    card = zoo.card("imagenet-lite0")
    assert (card.channels, card.side, card.data, card.accuracy) == (3, 224, "imagenet1k", None)
    assert sum(p.numel() for p in teacher.network.parameters()) == card.parameters
    assert teacher.classes == classes.names("imagenet1k") and len(set(teacher.classes)) == 1000
    assert teacher.map_kind == "cam" and teacher.has_batch_norm
    assert embeddings.class_table(teacher.classes).shape == (1000, embeddings.WIDTH)
