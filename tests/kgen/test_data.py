"""Real images: the IDX format byte by byte, and a sentence for every way in which files can be wrong."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from kgen import data


def idx(array: np.ndarray) -> bytes:
    """The format as documented: two zeros, type 8 (u8), rank, each side as big-endian 32 bits, then the bytes."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">i", n) for n in array.shape) + array.tobytes()


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
    with pytest.raises(data.DataError, match="no copy|not a copy"):
        data.training_set("fashion-mnist", tmp_path)
    write(tmp_path, images, np.array([1, 2], dtype=np.uint8))
    with pytest.raises(data.DataError, match="but 2 labels"):
        data.training_set("fashion-mnist", tmp_path)
    with pytest.raises(data.DataError, match="looked in"):
        data.training_set("fashion-mnist", tmp_path / "nowhere")
    with pytest.raises(data.DataError, match="known: fashion-mnist"):
        data.training_set("cifar")
    with pytest.raises(data.DataError, match="known: fashion-mnist"):
        data.test_set("cifar")


@pytest.mark.parametrize("damage", [lambda b: b[:-5], lambda b: b"no gzip at all", lambda b: gzip.compress(gzip.decompress(b)[:-3]), lambda b: b""])
def test_damaged_files_are_a_sentence(tmp_path, images, damage):
    write(tmp_path, images, np.array([5, 0, 9], dtype=np.uint8))
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(data.DataError, match="train-images-idx3-ubyte.gz"):
        data.training_set("fashion-mnist", tmp_path)


def test_bundled_test_set():
    real = data.test_set("fashion-mnist")
    assert real.images.shape == (10_000, 1, 28, 28) and np.bincount(real.labels).tolist() == [1000] * 10
    assert abs(real.images.mean() / 255 - 0.2868) < 1e-3  # the mean that everyone knows


def test_stratified_is_fixed_and_fair():
    real = data.test_set("fashion-mnist")
    some = real.stratified(200, (1, 4, 7))
    assert np.bincount(some.labels, minlength=10).tolist() == [0, 66, 0, 0, 66, 0, 0, 66, 0, 0]
    assert np.array_equal(some.images, real.stratified(200, (1, 4, 7)).images)
    assert not np.array_equal(some.images, real.stratified(200, (1, 4, 7), seed=1).images)
    assert len(np.unique(real.stratified(2000).images.reshape(2000, -1), axis=0)) > 1990


def test_split_holds_out_the_same_images_and_loses_none():
    n = data.HOLDOUT + 100
    whole = data.RealImages("x", np.arange(n, dtype=np.int32)[:, None, None, None], np.zeros(n, np.int64), ("a",))
    part, held_out = data.split(whole)
    assert len(held_out) == data.HOLDOUT and len(part) == 100
    assert sorted([*part.images.ravel(), *held_out.images.ravel()]) == list(range(n))
    assert np.array_equal(held_out.images, data.split(whole)[1].images)
