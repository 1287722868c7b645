"""Adding data sets: folders and ZIP files as people have them, what is left out, and that a failure
leaves nothing behind.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from kgen.__main__ import cli
from kgen.data import catalogue, classes, collection, data
from kgen.system.files import portable_name
from kgen.zoo import zoo
from tests.support.errors import raises


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))
    data.test_set.cache_clear()
    yield tmp_path / "home"
    data.test_set.cache_clear()


def picture(color: int, side: int = 20) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), color, np.uint8)).save(out, "PNG")
    return out.getvalue()


def zipped(path, files: dict[str, bytes]):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def ten(split: str, keys, n: int = 2, top: str = "") -> dict[str, bytes]:
    return {
        f"{top}{split}{key}/{i}.png": picture(20 * label + i)
        for label, key in enumerate(keys)
        for i in range(n)
    }


def added(*args, **kwargs):
    *progress, end = collection.add(*args, **kwargs)
    assert [done for done, _ in progress] == list(range(1, len(progress) + 1))
    return end


def idx(array: np.ndarray) -> bytes:
    """In the format of MNIST's files: two zeros, type, number of axes, each axis in four bytes."""
    return gzip.compress(
        bytes([0, 0, 8, array.ndim])
        + np.array(array.shape, ">i4").tobytes()
        + array.astype(np.uint8).tobytes()
    )


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_are_read_back(tmp_path, home, name, monkeypatch):
    """Under the names that people give them; a part may be missing."""
    monkeypatch.setattr(data, "SYSTEM_FOLDERS", ())
    images, labels = np.arange(30 * 28 * 28).reshape(30, 28, 28) % 251, np.arange(30) % 10
    for part in ("train", "t10k"):
        (tmp_path / f"{name}-{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (tmp_path / f"{name}-{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    (tmp_path / "notes.txt").write_text("no image")
    end = added(name, tmp_path)
    assert end.train.total() == end.test.total() == 30 and end.train[classes.names(name)[3]] == 3
    train = data.training_set(name)
    assert (
        train.images.shape == (30, 1, 28, 28)
        and np.array_equal(train.images[:, 0], images)
        and np.array_equal(train.labels, labels)
    )
    if name == "mnist":
        assert len(data.test_set(name)) == 30 and data.test_set(name).classes[7] == "seven"
    only = tmp_path / "only"
    only.mkdir()
    for kind in ("images-idx3", "labels-idx1"):
        (only / f"t10k-{kind}-ubyte.gz").write_bytes(
            (tmp_path / f"{name}-t10k-{kind}-ubyte.gz").read_bytes()
        )
    assert added(name, only, replace=True).train.total() == 0
    with raises(data.DataError, "no-data", name=name):
        data.training_set(name)
    (only / "t10k-labels-idx1-ubyte.gz").unlink()
    with raises(data.DataError, "no-images", "MNIST", "train-images-idx3-ubyte.gz", file=str(only)):
        added(name, only, replace=True)


@pytest.mark.parametrize("top", ["", "imagenette2/"])
@pytest.mark.parametrize("named", ["wnid", "text"])
def test_a_zip_of_train_and_val_is_read_back(tmp_path, home, top, named):
    keys = (
        classes.wnids("imagenette")
        if named == "wnid"
        else [t.replace(" ", "_").upper() for t in classes.names("imagenette")]
    )
    file = zipped(tmp_path / "a.zip", ten("train/", keys, 3, top) | ten("val/", keys, 2, top))
    end = added("imagenette", file)
    assert (
        end.train.total() == 30
        and end.test.total() == 20
        and not end.unreadable
        and not end.unknown
    )
    test, train = data.test_set("imagenette", side=16), data.training_set("imagenette", side=16)
    assert test.images[:].shape == (20, 3, 16, 16) and len(train) == 30
    for label in range(
        10
    ):  # flat pictures survive scaling: the label's color is there, and no other
        assert sorted(test.images[:][test.labels == label][:, 0, 0, 0].tolist()) == [
            20 * label,
            20 * label + 1,
        ]
    found = collection.installed("imagenette")
    assert (found.train, found.test) == (30, 20)


def test_a_folder_without_splits_is_test_images_unless_said(tmp_path):
    for name, content in ten("", classes.names("cifar10")).items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert added("cifar10", tmp_path / "mine").test.total() == 20
    assert len(data.test_set("cifar10")) == 20
    assert added("cifar10", tmp_path / "mine", split="train", replace=True).train.total() == 20
    assert len(data.training_set("cifar10")) == 20


def test_what_is_neither_an_image_nor_a_class_is_left_out_and_named(tmp_path, home):
    files = ten("val/", classes.wnids("imagewoof"))
    files |= {
        "val/n02086240/broken.png": picture(1)[:50],
        "val/toaster/a.png": picture(3),
        "README.md": b"words",
        "val/n02086240/._a.png": b"mac",
    }
    end = added("imagewoof", zipped(tmp_path / "a.zip", files))
    assert end.test.total() == 20 and end.unknown == {"toaster": 1}
    assert len(end.unreadable) == 1 and end.unreadable[0].startswith("val/n02086240/broken.png")


def test_names_that_climb_out_of_the_archive_stay_inside(tmp_path, home):
    files = ten("val/", classes.wnids("imagenette")) | {
        "../../../evil/n01440764/x.png": picture(9),
        "/n01440764/y.png": picture(9),
    }
    added("imagenette", zipped(tmp_path / "a.zip", files))
    assert not list(tmp_path.rglob("evil")) and len(data.test_set("imagenette")) == 22
    outside = [p for p in tmp_path.rglob("*.png") if home not in p.parents]
    assert not outside


def test_a_class_may_be_named_like_a_split(tmp_path):
    """CIFAR-100 has trains."""
    names = ("train/train", "train/apple", "test/train", "test/apple", "val/apple/test")
    files = {f"{name}/{i}.png": picture(i) for i, name in enumerate(names)}
    files |= {"train/aple/9.png": picture(9), "train/8.png": picture(8)}
    end = added("cifar100", zipped(tmp_path / "a.zip", files))
    assert end.train == {"train": 1, "apple": 1} and end.test == {"train": 1, "apple": 2}
    assert end.unknown == {"aple": 1, "train": 1}
    files = {f"{name}/1.png": picture(1) for name in ("apple", "train", "bear")}
    end = added("cifar100", zipped(tmp_path / "b.zip", files), replace=True)
    assert end.test == {"apple": 1, "train": 1, "bear": 1} and not end.train


@pytest.mark.parametrize("name", ["C:evil.png", "con.png", "a:b.png", "sub\\x.png"])
def test_a_file_name_is_safe_on_any_system(tmp_path, home, name):
    files = ten("val/", classes.wnids("imagenette")) | {f"val/n01440764/{name}": picture(9)}
    added("imagenette", zipped(tmp_path / "a.zip", files))
    stored = [p.name for p in home.rglob("*.png")]
    assert len(stored) == 21 and all(portable_name(found) == found for found in stored)


def test_a_damaged_member_of_a_zip_is_left_out_and_named(tmp_path):
    labels, pixels = idx(np.arange(30) % 10), idx(np.zeros((30, 28, 28)))
    files = {
        f"{part}-{kind}-ubyte.gz": content
        for part in ("train", "t10k")
        for kind, content in (("images-idx3", pixels), ("labels-idx1", labels))
    }
    file = zipped(tmp_path / "a.zip", files)
    file.write_bytes(file.read_bytes().replace(labels, b"x" * len(labels), 1))
    end = added("mnist", file)
    assert end.test.total() == 30 and not end.train
    [line] = end.unreadable
    assert line.startswith("train-labels-idx1-ubyte.gz") and "damaged" in line


@pytest.mark.parametrize(
    "make, code, facts",
    [
        (
            lambda p: zipped(p / "a.zip", {"cat/a.png": picture(1)}),
            "no-images",
            ["Imagenette", "'tench'", "cat"],
        ),
        (lambda p: p / "nowhere.zip", "not-a-folder", []),
        (
            lambda p: (p / "text.zip").write_text("no zip") and p / "text.zip",
            "not-a-folder",
            [],
        ),
    ],
)
def test_a_failure_is_a_sentence_and_leaves_nothing(tmp_path, home, make, code, facts):
    source = make(tmp_path)
    with raises(data.DataError, code, source, *facts, file=str(source)):
        list(collection.add("imagenette", source))
    assert not (home / "data").exists() or not list((home / "data").iterdir())


def test_what_is_there_is_replaced_only_if_asked(tmp_path):
    file = zipped(tmp_path / "a.zip", ten("val/", classes.wnids("imagenette")))
    added("imagenette", file)
    with raises(data.DataError, "exists", catalogue.data_folder("imagenette"), "--replace"):
        list(collection.add("imagenette", file))
    more = zipped(tmp_path / "b.zip", ten("val/", classes.wnids("imagenette"), 5))
    assert (
        added("imagenette", more, replace=True).test.total() == 50
        and len(data.test_set("imagenette")) == 50
    )


@pytest.mark.parametrize("failing", ["old", "new"])
def test_a_replacement_that_fails_leaves_the_old_images(tmp_path, home, monkeypatch, failing):
    """As on Windows, where a folder with an open file cannot be renamed."""
    added("imagenette", zipped(tmp_path / "a.zip", ten("val/", classes.wnids("imagenette"))))
    folder = catalogue.data_folder("imagenette")
    before = {p: p.read_bytes() for p in folder.rglob("*.png")}
    replace = os.replace

    def held(source, target):
        if source == folder if failing == "old" else ".adding" in str(source):
            raise PermissionError(13, "Permission denied", str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", held)
    more = zipped(tmp_path / "b.zip", ten("val/", classes.wnids("imagenette"), 5))
    with raises(data.DataError, "unwritable"):
        added("imagenette", more, replace=True)
    assert {p: p.read_bytes() for p in folder.rglob("*.png")} == before
    assert list(folder.parent.iterdir()) == [folder]


def test_an_image_beyond_the_limit_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "MAX_IMAGE_BYTES", 150)
    files = ten("val/", classes.wnids("imagenette")) | {
        "val/n01440764/large.png": picture(1) + b"\0" * 200
    }
    end = added("imagenette", zipped(tmp_path / "a.zip", files))
    assert end.test.total() == 20 and len(end.unreadable) == 1


def test_the_commands(tmp_path, capsys):
    file = zipped(tmp_path / "a.zip", ten("val/", classes.wnids("imagenette")))
    cli(["data", "add", "imagenette", str(file), "--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert sum(told["test"].values()) == 20 and told["train"] == {}
    cli(["data", "check", "imagenette", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == {
        "name": "imagenette",
        "test": 20,
        "unreadable": [],
    }
    with raises(data.DataError, "conflict", "imagenette", "--teacher", field="teacher"):
        cli(["data", "check", "imagenette", "--teacher", "imagenet-lite0"], standalone_mode=False)
    cli(["data", "list", "--json"], standalone_mode=False)
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert (
        set(rows) == set(collection.CARDS)
        and rows["imagenette"]["test"] == 20
        and rows["fashion-mnist"]["test"] == 10_000
    )
    assert "ILSVRC2012_val_" in rows["imagenette"]["honest"] and rows["cifar100"][
        "missing"
    ].startswith("CIFAR-100 ")
    with raises(data.DataError, "unknown-data", "'imagenete'", "'imagenette'", meant="imagenette"):
        cli(["data", "add", "imagenete", str(file)], standalone_mode=False)


def test_an_imagenet_teacher_is_tested_on_photographs_it_never_saw(tmp_path):
    """Imagenette's images are ImageNet's training images, except for those from ImageNet's own
    validation set.
    """
    keys = classes.wnids("imagenette")
    files = ten("val/", keys) | {
        f"{part}/{key}/ILSVRC2012_val_{i:08d}.JPEG": picture(7 * i)
        for part in ("train", "val")
        for i, key in enumerate(keys)
    }
    added("imagenette", zipped(tmp_path / "a.zip", files))
    card, everything = zoo.card("imagenet-lite0"), classes.wnids("imagenet1k")
    chosen = [everything.index(k) for k in keys]
    real = data.images_for_teacher(card, chosen)
    assert (
        len(real) == 20
        and sorted(set(real.labels.tolist())) == chosen
        and real.images[:].shape == (20, 3, 224, 224)
    )
    with raises(data.DataError, "no-data", "ImageNet-1k", name="imagenet1k"):
        data.images_for_teacher(card, [*chosen, 1])  # one class more than they cover
    assert catalogue.data_folder("imagenet1k").exists() is False
