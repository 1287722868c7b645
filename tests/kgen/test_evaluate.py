"""Accuracy against counting by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from kgen.data.data import DataError, RealImages
from kgen.evaluate import batch_slices, confusion, guessing_remark, score, short_slices
from kgen.events import Score
from tests.support.errors import names, raises


@pytest.fixture
def real():
    rng = np.random.default_rng(0)
    labels = np.array([0] * 30 + [1] * 11 + [2] * 7 + [3] * 1)
    return RealImages(
        "x", rng.integers(0, 256, (49, 1, 2, 3), dtype=np.uint8), labels, ("a", "b", "c", "d")
    )


@pytest.mark.parametrize(
    ("per_class", "n", "guesses"),
    [
        ([0.9, 0.8, 0.7], 3000, False),
        ([0.0, 0.0, 0.0], 6, True),
        ([1.0, 0.0, 0.0], 3000, True),  # always the same answer
        ([0.36, 0.34, 0.33], 3000, True),  # the margin is 0.017
        ([0.4, 0.38, 0.36], 3000, False),
        ([0.5, 0.5, 0.25], 12, False),  # few images: perhaps luck
        ([0.5, 0.5, *[None] * 8], 3000, False),  # among ten classes that is no chance
        ([0.0, None, None], 12, False),  # one class: always the same answer would be right
        ([], 10_000, False),  # a published accuracy
    ],
)
def test_a_teacher_that_guesses_is_named(per_class, n, guesses):
    shares = [share for share in per_class if share is not None]
    accuracy = sum(shares) / max(1, len(shares))
    remark = guessing_remark(Score(accuracy=accuracy, per_class=per_class, n=n))
    assert (remark is not None) == guesses
    if remark:
        assert names(remark[0], f"{n:,}") and names(remark[0], len(shares))


def test_the_remark_names_the_number_that_it_compares():
    text, _ = guessing_remark(Score(accuracy=0.9, per_class=[1.0, 0.0], n=100))
    assert names(text, "90.0%") and names(text, "50.0%")


@pytest.fixture
def weight():
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [2, 0], [3], [1, 3, 2]])
@pytest.mark.parametrize("values", [2**24, 7 * 6])
def test_score_is_a_count(real, weight, chosen, values, monkeypatch):
    monkeypatch.setattr("kgen.evaluate.BATCH_VALUES", values)
    found = score(lambda x: x.flatten(1) @ weight.T, real, chosen)
    hits, counts, wrong = dict.fromkeys(chosen, 0), dict.fromkeys(chosen, 0), Counter()
    for image, label in zip(real.images, real.labels):
        if label not in chosen:
            continue
        logits = (image.astype(np.float32) / 255).ravel() @ weight.numpy().T
        guess = max(chosen, key=lambda c: logits[c])  # among the chosen classes only
        counts[label] += 1
        hits[label] += guess == label
        wrong[chosen.index(label), chosen.index(guess)] += guess != label
    assert found.n == sum(counts.values()) and found.real
    assert found.accuracy == pytest.approx(sum(hits.values()) / found.n)
    assert found.per_class == pytest.approx([hits[c] / counts[c] for c in chosen], abs=1e-4)
    assert {(a, b): n for a, b, n in found.confusion} == {pair: n for pair, n in wrong.items() if n}
    assert [n for *_, n in found.confusion] == sorted(
        (n for *_, n in found.confusion), reverse=True
    )


def test_the_most_frequent_confusions_are_reported(monkeypatch):
    monkeypatch.setattr("kgen.evaluate.MAX_CONFUSIONS", 2)
    assert confusion(torch.tensor([1, 2, 6]), torch.tensor([1, 5, 4]), 3) == [(0, 2, 5), (2, 0, 4)]


def test_no_image_of_the_chosen_classes(real):
    with raises(DataError, "no-images", "x", name="x"):
        score(lambda x: x.flatten(1), real.take(np.arange(5)), [2])


@pytest.mark.parametrize(
    ("image", "most"),
    [((1, 28, 28), 500), ((3, 224, 224), 111), ((3, 1200, 1600), 2), ((3, 4000, 4000), 1)],
)
def test_a_forward_pass_holds_few_large_images(image, most):
    parts = list(batch_slices((1001, *image)))
    assert [i for part in parts for i in range(1001)[part]] == list(range(1001))
    assert max(part.stop - part.start for part in parts) == most
    short = list(short_slices((1001, *image)))
    assert [i for part in short for i in range(1001)[part]] == list(range(1001))
    assert max(part.stop - part.start for part in short) == (most if most in (1, 2, 500) else 32)
