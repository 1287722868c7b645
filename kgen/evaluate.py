"""Accuracy on real images: argmax over the selected classes, at the teacher's full resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from kgen.data.data import RealImages
from kgen.events import Score

MAX_CONFUSIONS = 2_000
BATCH, BATCH_VALUES = 500, 2**24
"""Images per forward pass, and the limit on their total values: 111 of 3 × 224 × 224, 2 of 3 × 1200
× 1600.
"""


def batch_slices(shape: tuple[int, ...]) -> Iterator[slice]:
    """Consecutive slices of n images [n,c,h,w], each small enough for a forward pass."""
    n, *image = shape
    size = min(BATCH, max(1, BATCH_VALUES // math.prod(image)))
    return (slice(i, min(n, i + size)) for i in range(0, n, size))


@torch.no_grad()
def score(
    logits_of: Callable[[Tensor], Tensor],
    data: RealImages,
    selected: list[int],
    *,
    device: torch.device | str = "cpu",
) -> Score:
    """Accuracy among the selected classes (indices into the network's logits and the data's
    labels).

    Images of other classes are ignored. Raises ValueError if no image is left.
    """
    data = data.take(np.flatnonzero(np.isin(data.labels, selected)))
    if not len(data):
        raise ValueError(f"no real image of the selected classes in {data.name}")
    columns, k = torch.tensor(selected, device=device), len(selected)
    position = {c: i for i, c in enumerate(selected)}
    labels = torch.tensor([position[c] for c in data.labels.tolist()], device=device)
    pairs = []
    for batch in batch_slices(data.images.shape):
        images = torch.from_numpy(data.images[batch]).to(device).float() / 255
        pairs.append(labels[batch] * k + logits_of(images)[:, columns].argmax(1))
    distinct, occurrences = torch.cat(pairs).cpu().unique(return_counts=True)
    counts = torch.bincount(labels.cpu(), minlength=k)
    correct = distinct // k == distinct % k
    hits = torch.zeros(k, dtype=torch.int64).index_add_(
        0, distinct[correct] % k, occurrences[correct]
    )
    shares = [round(h / n, 4) if n else None for h, n in zip(hits.tolist(), counts.tolist())]
    return Score(
        accuracy=int(hits.sum()) / len(data),
        per_class=shares,
        confusion=confusion(distinct[~correct], occurrences[~correct], k),
        n=len(data),
    )


def confusion(pairs: Tensor, occurrences: Tensor, k: int) -> list[tuple[int, int, int]]:
    """Wrong answers, as class · k + predicted class, with their counts; see `Score.confusion`."""
    most_frequent = occurrences.argsort(descending=True, stable=True)[:MAX_CONFUSIONS]
    return [
        (pair // k, pair % k, n)
        for pair, n in zip(pairs[most_frequent].tolist(), occurrences[most_frequent].tolist())
    ]
