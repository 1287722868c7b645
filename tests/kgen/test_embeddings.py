"""Class embeddings: radii in closed form, the factor that makes them, and what is missing by name."""

from __future__ import annotations

import pytest
import torch

from kgen import embeddings
from kgen.data import FASHION_CLASSES


def slow_smallest(table):
    k, d = table.shape
    return min(sum((table[i, j].item() - table[m, j].item()) ** 2 for j in range(d)) / d for i in range(k) for m in range(i))


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
    assert embeddings.radii(table) == (pytest.approx(0.015, rel=1e-5), pytest.approx(0.03, rel=1e-5))
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
    with pytest.raises(embeddings.EmbeddingError, match="same text"):
        embeddings.rescale(table)
    with pytest.raises(embeddings.EmbeddingError, match="same text"):
        embeddings.class_table(("Bag", "Coat", "Bag"))


def test_one_row_stays_as_it_is():
    one = torch.tensor([[1.0, 2.0]])
    assert embeddings.rescale(one) is one


def test_missing_text_is_named():
    with pytest.raises(embeddings.EmbeddingError, match="giraffe.*kgen embed"):
        embeddings.class_table(("Bag", "giraffe"))


def test_written_table_is_read_back(tmp_path, rng):
    vectors = torch.nn.functional.normalize(torch.randn(3, 16, generator=rng), dim=1)
    file = tmp_path / "table.safetensors"
    embeddings.write_table(["a", "b", "c"], vectors, file)
    table = embeddings.class_table(("c", "a"), file)
    torch.testing.assert_close(torch.nn.functional.normalize(table, dim=1), vectors[[2, 0]], rtol=2e-3, atol=2e-3)
