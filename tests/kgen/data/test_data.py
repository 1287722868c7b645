"""Real images: the IDX format byte by byte, folders and CIFAR as people download them, and a
sentence for every way in which files can be wrong.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct

import numpy as np
import pytest

from kgen.data import catalogue, classes, data
from kgen.data.folders import ImageFiles
from tests.support.errors import raises


def idx(array: np.ndarray) -> bytes:
    """The format as documented: two zeros, type 8 (u8), rank, each side as big-endian 32 bits, then
    the bytes.
    """
    return (
        bytes([0, 0, 8, array.ndim])
        + b"".join(struct.pack(">i", n) for n in array.shape)
        + array.tobytes()
    )


@pytest.fixture
def images():
    return np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)


def write(folder, images, labels, zipped=True):
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        raw = idx(array)
        name = f"train-{kind}-ubyte" + (".gz" if zipped else "")
        (folder / name).write_bytes(gzip.compress(raw) if zipped else raw)


@pytest.mark.parametrize("zipped", [True, False])
def test_idx(tmp_path, images, zipped):
    write(tmp_path, images, np.array([5, 0, 9], dtype=np.uint8), zipped)
    found = data.training_set("fashion-mnist", tmp_path)
    assert np.array_equal(found.images, images[:, None]) and found.images.dtype == np.uint8
    assert found.labels.tolist() == [5, 0, 9] and found.labels.dtype == np.int64 and len(found) == 3


def test_wrong_files_are_a_sentence(tmp_path, images):
    with raises(data.DataError, "no-images", "train-images-idx3-ubyte.gz", file=str(tmp_path)):
        data.training_set("fashion-mnist", tmp_path)
    write(tmp_path, images, np.array([1, 2], dtype=np.uint8))
    with raises(data.DataError, "damaged", tmp_path, "2 labels", images=3, labels=2):
        data.training_set("fashion-mnist", tmp_path)
    with raises(data.DataError, "no-data", tmp_path / "nowhere", "--download"):
        data.training_set("fashion-mnist", tmp_path / "nowhere")
    with raises(data.DataError, "unknown-data", "'cifar'", "fashion-mnist", name="cifar"):
        data.training_set("cifar")
    with raises(data.DataError, "unknown-data", "'cifar'", "fashion-mnist", name="cifar"):
        data.test_set("cifar")


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-5],
        lambda b: b"no gzip at all",
        lambda b: gzip.compress(gzip.decompress(b)[:-3]),
        lambda b: b"",
    ],
)
def test_damaged_files_are_a_sentence(tmp_path, images, damage):
    write(tmp_path, images, np.array([5, 0, 9], dtype=np.uint8))
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with raises(data.DataError, "damaged", file, file=str(file)):
        data.training_set("fashion-mnist", tmp_path)


def test_bundled_test_set():
    real = data.test_set("fashion-mnist")
    assert (
        real.images.shape == (10_000, 1, 28, 28)
        and np.bincount(real.labels).tolist() == [1000] * 10
    )
    assert abs(real.images.mean() / 255 - 0.2868) < 1e-3  # the well-known mean


def test_stratified_is_fixed_and_fair():
    real = data.test_set("fashion-mnist")
    some = real.stratified(200, (1, 4, 7))
    assert np.bincount(some.labels, minlength=10).tolist() == [0, 66, 0, 0, 66, 0, 0, 66, 0, 0]
    assert np.array_equal(some.images, real.stratified(200, (1, 4, 7)).images)
    assert not np.array_equal(some.images, real.stratified(200, (1, 4, 7), seed=1).images)
    few = real.stratified(4)  # fewer than classes: one image each of some
    assert len(few) == len(set(few.labels.tolist())) == 4 and np.array_equal(
        few.labels, real.stratified(4).labels
    )
    assert len(np.unique(real.stratified(2000).images.reshape(2000, -1), axis=0)) > 1990


def test_split_holds_out_the_same_images_and_loses_none():
    n = data.HOLDOUT + 100
    whole = data.RealImages(
        "x", np.arange(n, dtype=np.int32)[:, None, None, None], np.zeros(n, np.int64), ("a",)
    )
    part, held_out = data.split(whole)
    assert len(held_out) == data.HOLDOUT and len(part) == 100
    assert sorted([*part.images.ravel(), *held_out.images.ravel()]) == list(range(n))
    assert np.array_equal(held_out.images, data.split(whole)[1].images)


# --- data that people download --------------------------------------------------------------------


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    data.test_set.cache_clear()
    yield tmp_path
    data.test_set.cache_clear()


def picture(path, array, mode="RGB"):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).convert(mode).save(path)


@pytest.mark.parametrize("name", catalogue.DATA)
def test_what_was_not_fetched_is_a_sentence_with_its_place(name, home):
    folder = str(home / "data" / name)
    with raises(data.DataError, "no-data", catalogue.DATA[name].title, name=name) as told:
        data.test_set(name)
    text = str(told.value)
    assert text.count(folder) >= 2
    if 'python -c "' in text:
        compile(text.partition('python -c "')[2].rpartition('"')[0], "told", "exec")


def test_a_folder_of_wordnet_names(home):
    """Imagenette as torchvision unpacks it: labels by class, photographs scaled to 256 on the short
    side and center-cropped.
    """
    place = home / "data" / "imagenette" / "imagenette2" / "val"
    noise = np.random.default_rng(0)
    for label, wnid in enumerate(classes.wnids("imagenette")):
        for i in range(1 + label % 2):
            flat = np.full((300, 400, 3), (20 * label, 100 * i, 7), np.uint8)
            picture(place / wnid / f"{i}.png", flat)
    exact = noise.integers(
        0, 256, (256, 256, 3), dtype=np.uint8
    )  # needs no scaling, so it is only cropped
    picture(place / "n01440764" / "0.png", exact)
    (place / "n01440764" / "notes.txt").write_text("no image")
    (place / "n99999999").mkdir()
    real = data.test_set("imagenette")
    assert (
        len(real) == 15
        and real.images.shape == (15, 3, 224, 224)
        and real.classes == classes.names("imagenette")
    )
    assert np.bincount(real.labels).tolist() == [1, 2] * 5 and real.labels.dtype == np.int64
    assert np.array_equal(real.images[0], exact[16:240, 16:240].transpose(2, 0, 1))
    for i in range(1, 15):
        second = 100 * (real.labels[:i] == real.labels[i]).any()
        assert np.array_equal(
            real.images[i],
            np.broadcast_to(
                np.array([20 * real.labels[i], second, 7], np.uint8)[:, None, None], (3, 224, 224)
            ),
        )
    some = real.stratified(5, (2, 3))
    assert some.images.shape == (3, 3, 224, 224) and some.labels.tolist() == [2, 3, 3]


def test_a_folder_of_class_texts_in_grey_and_stretched(home):
    """Megapixel MNIST, following its instructions: subfolders named in words, one channel, 1500 ×
    1500 whatever the file's size.
    """
    place = home / "data" / "megapixel-mnist" / "test"
    for label, word in enumerate(classes.names("megapixel-mnist")):
        picture(place / word / "a.PNG", np.full((50, 60), 10 * label, np.uint8), "L")
    real = data.test_set("megapixel-mnist")
    assert real.images.shape == (10, 1, 1500, 1500)
    assert (real.images[7] == 70).all() and real.images[2:4].shape == (2, 1, 1500, 1500)


def test_a_folder_that_lacks_a_class_or_an_image_is_a_sentence(home):
    place = home / "data" / "traffic-signs" / "test"
    for word in ("no speed limit", "speed limit 50", "speed limit 70"):
        picture(place / word / "a.png", np.zeros((12, 16, 3), np.uint8))
    with raises(data.DataError, "no-data", place, "'speed limit 80'", "Katharopoulos"):
        data.test_set("traffic-signs")
    (place / "speed limit 80").mkdir()
    with raises(data.DataError, "no-data", f"{place / 'speed limit 80'} has no image"):
        data.test_set("traffic-signs")
    picture(place / "speed limit 80" / "a.jpg", np.zeros((12, 16, 3), np.uint8))
    assert data.test_set("traffic-signs").images[0].shape == (3, 1200, 1600)


def test_image_files_are_read_as_an_array(tmp_path, monkeypatch):
    """Every kind of indexing that the engine uses, compared with the array itself."""
    images = np.random.default_rng(1).integers(0, 256, (6, 3, 5, 7), dtype=np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, image in zip(paths, images):
        picture(path, image.transpose(1, 2, 0))
    files = ImageFiles(paths, 3, (5, 7), crop=False)
    assert files.shape == images.shape and len(files) == 6 and files.dtype == images.dtype
    for index in (
        3,
        -1,
        slice(1, 4),
        slice(4, 99),
        np.array([5, 0, 0]),
        np.array([True, False] * 3),
    ):
        assert np.array_equal(files[index], images[index])
    monkeypatch.setattr("kgen.data.folders.MAX_DECODED_BYTES", 3 * 5 * 7 * 2)
    large = files[np.array([4, 2, 1])]
    assert (
        isinstance(large, ImageFiles)
        and np.array_equal(large[:], images[[4, 2, 1]])
        and isinstance(files[np.array([4, 2])], np.ndarray)
    )
    (tmp_path / "0.png").write_bytes(b"no image")
    with raises(data.DataError, "not-an-image", paths[0], file=str(paths[0])):
        files[0]


@pytest.mark.parametrize(
    ("name", "folder", "file", "key"),
    [
        ("cifar10", "cifar-10-batches-py", "test_batch", "labels"),
        ("cifar100", "cifar-100-python", "test", "fine_labels"),
    ],
)
def test_cifar_in_torchvisions_layout(name, folder, file, key, home, monkeypatch):
    """A small copy with its own checksums; a copy with a different checksum is not read."""
    import torchvision.datasets as tv

    kind = {"cifar10": tv.CIFAR10, "cifar100": tv.CIFAR100}[name]
    images = np.random.default_rng(2).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    place = home / "data" / name / folder
    place.mkdir(parents=True)
    (place / file).write_bytes(pickle.dumps({"data": images.reshape(4, -1), key: [3, 1, 9, 1]}))
    (place / kind.meta["filename"]).write_bytes(
        pickle.dumps({kind.meta["key"]: list(classes.names(name))})
    )
    with raises(data.DataError, "no-data", place.parent, "download=True", name=name):
        data.test_set(name)

    def checksum(path):
        return hashlib.md5((place / path).read_bytes()).hexdigest()

    monkeypatch.setattr(kind, "train_list", [])
    monkeypatch.setattr(kind, "test_list", [[file, checksum(file)]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": checksum(kind.meta["filename"])})
    real = data.test_set(name)
    assert (
        np.array_equal(real.images, images)
        and real.labels.tolist() == [3, 1, 9, 1]
        and real.classes == classes.names(name)
    )
