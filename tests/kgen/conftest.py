"""Fixtures for the engine's tests. Small networks, few real images, one thread; every oracle stays
intact.
"""

from __future__ import annotations

import pytest
import torch

from kgen.data import data
from kgen.zoo import zoo
from tests.support.small import few_images, mini


@pytest.fixture(autouse=True)
def one_thread():
    """Batches are so small here that a second thread would only wait (and other tests want the
    cores).
    """
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.fixture(scope="session")
def teacher():
    return zoo.load_teacher("fashion-cnn")


@pytest.fixture
def quick(monkeypatch):
    """Real accuracy on 100 images instead of 10,000; returns the small recipe for it."""
    monkeypatch.setattr(data, "test_set", few_images)
    return mini()
