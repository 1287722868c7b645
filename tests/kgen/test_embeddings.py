"""Class embeddings: radii in closed form, the factor that produces them, and what is missing, by
name.
"""

from __future__ import annotations

import hashlib
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from kgen import embeddings
from kgen.data import classes
from kgen.data.data import FASHION_CLASSES
from kgen.zoo.zoo import header
from tests.support.errors import raises


def slow_smallest(table):
    k, d = table.shape
    return min(
        sum((table[i, j].item() - table[m, j].item()) ** 2 for j in range(d)) / d
        for i in range(k)
        for m in range(i)
    )


def test_radii_closed_form():
    """Corners of a triangle with sides 3, 4, 5 in the plane: the smallest MSE is 9/2."""
    table = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert embeddings.radii(table) == (pytest.approx(2.25), pytest.approx(4.5))


@pytest.mark.parametrize("k", [2, 5, 40])
def test_smallest_mse_is_the_slow_loops(k, rng):
    table = torch.randn(k, 6, generator=rng)
    assert embeddings.smallest_mse(table) == pytest.approx(slow_smallest(table))


def test_bundled_table():
    table = embeddings.class_table(FASHION_CLASSES)
    assert table.shape == (10, 384) and table.dtype == torch.float32
    assert slow_smallest(table.double()) == pytest.approx(0.03, rel=1e-5)
    assert embeddings.radii(table) == (
        pytest.approx(0.015, rel=1e-5),
        pytest.approx(0.03, rel=1e-5),
    )
    # unit vectors times one factor: every row has the same length (half precision)
    assert table.norm(dim=1).std() / table.norm(dim=1).mean() < 1e-3


def test_rows_follow_the_names():
    table = embeddings.class_table(FASHION_CLASSES)
    turned = embeddings.class_table(FASHION_CLASSES[::-1])
    assert torch.equal(table, turned.flip(0))


@pytest.mark.parametrize("k", [3, 60])
def test_duplicate_texts_are_refused(k, rng):
    table = torch.randn(k, 384, generator=rng)
    table[k - 1] = table[1]
    with raises(embeddings.EmbeddingError, "duplicate-text"):
        embeddings.rescale(table)
    with raises(embeddings.EmbeddingError, "duplicate-text"):
        embeddings.class_table(("Bag", "Coat", "Bag"))


def test_one_row_stays_as_it_is():
    one = torch.tensor([[1.0, 2.0]])
    assert embeddings.rescale(one) is one


def test_missing_text_is_named():
    with raises(
        embeddings.EmbeddingError, "no-embedding", "giraffe", "kgen embed", texts=["giraffe"]
    ):
        embeddings.class_table(("Bag", "giraffe"))


def test_written_table_is_read_back(tmp_path, rng):
    vectors = torch.nn.functional.normalize(torch.randn(3, 16, generator=rng), dim=1)
    file = tmp_path / "table.safetensors"
    embeddings.write_table(["a", "b", "c"], vectors, file)
    table = embeddings.class_table(("c", "a"), file)
    torch.testing.assert_close(
        torch.nn.functional.normalize(table, dim=1), vectors[[2, 0]], rtol=2e-3, atol=2e-3
    )


class Encoder:
    """In place of the text encoder: a unit vector derived from the text."""

    asked: list[str] = []

    def __init__(self, model, device, local_files_only):
        assert device == "cpu" and local_files_only, "nothing is downloaded"

    def encode(self, texts, normalize_embeddings):
        assert normalize_embeddings
        Encoder.asked += texts
        rows = [
            torch.randn(384, generator=torch.Generator().manual_seed(len(t) * 1000 + ord(t[0])))
            for t in texts
        ]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1).numpy()


@pytest.fixture
def encoder(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Encoder)
    )
    monkeypatch.setattr(Encoder, "asked", [])
    return Encoder


def test_new_texts_go_behind_the_old_rows_which_stay(tmp_path, encoder):
    file = tmp_path / "table.safetensors"
    assert embeddings.extend_table(["b", "a", "b"], file) == (2, 2)
    before = load_file(file)["embedding"]
    assert embeddings.extend_table(["a", "longer", "b", "c"], file) == (2, 4)
    after = load_file(file)["embedding"]
    assert encoder.asked == ["b", "a", "longer", "c"] == json.loads(header(file)["texts"])
    assert torch.equal(after[:2], before) and after.dtype == torch.float16
    torch.testing.assert_close(
        after[2:].float(),
        torch.from_numpy(Encoder("", "cpu", True).encode(["longer", "c"], True)),
        atol=1e-3,
        rtol=0,
    )
    whole = file.read_bytes()
    assert embeddings.extend_table(["c"], file) == (0, 4) and file.read_bytes() == whole


def test_tables_of_two_encoders_are_not_mixed(tmp_path, encoder):
    file = tmp_path / "table.safetensors"
    embeddings.write_table(["a"], torch.ones(1, 384), file, "another/encoder")
    with raises(
        embeddings.EmbeddingError,
        "other-encoder",
        file,
        embeddings.MODEL,
        found="another/encoder",
    ):
        embeddings.extend_table(["b"], file)
    assert encoder.asked == []


def test_without_the_encoder_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with raises(embeddings.EmbeddingError, "no-package", "pip install sentence-transformers"):
        embeddings.extend_table(["b"], tmp_path / "table.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_bundled_table_holds_every_class_text_and_the_first_ten_are_what_they_were():
    """Runs can be repeated bit for bit only while Fashion-MNIST's rows stay unchanged; their digest
    is from the first release.
    """
    table = load_file(embeddings.TABLE)["embedding"]
    assert json.loads(header(embeddings.TABLE)["texts"]) == classes.texts() and len(table) == len(
        classes.texts()
    )
    assert (
        hashlib.sha256(table[:10].numpy().tobytes()).hexdigest()
        == "9bb9e8830f77fcccdcf37c8732a712fdde8b3b77273599c893b526c5e18c139f"
    )
    assert (table.float().norm(dim=1) - 1).abs().max() < 1e-3
