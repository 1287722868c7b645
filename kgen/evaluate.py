"""Accuracy on real images: argmax over the selected classes, at the teacher's full resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from kgen.answers import UNKNOWN, Answers
from kgen.data.data import DataError, RealImages
from kgen.data.folders import Progress, ignore_progress
from kgen.events import Score
from kgen.phrases import count

MAX_CONFUSIONS = 2_000
BATCH, BATCH_VALUES = 500, 2**24
"""Images per forward pass, and the limit on their total values: 111 of 3 × 224 × 224, 2 of 3 × 1200
× 1600.
"""

SHORT, LARGE_VALUES = 32, 2**15
"""Images per forward pass in `short_slices`, if each has more values than that."""


def batch_slices(shape: tuple[int, ...]) -> Iterator[slice]:
    """Consecutive slices of n images [n,c,h,w], each small enough for a forward pass."""
    n, *image = shape
    size = min(BATCH, max(1, BATCH_VALUES // math.prod(image)))
    return (slice(i, min(n, i + size)) for i in range(0, n, size))


def short_slices(shape: tuple[int, ...]) -> Iterator[slice]:
    """The same, for work that shows its progress and can be stopped: fewer large images at once."""
    n, *image = shape
    large = math.prod(image) > LARGE_VALUES
    for batch in batch_slices(shape):
        step = SHORT if large else BATCH
        for start in range(batch.start, batch.stop, step):
            yield slice(start, min(batch.stop, start + step))


@torch.no_grad()
def score(
    logits_of: Callable[[Tensor], Tensor],
    data: RealImages,
    selected: list[int],
    *,
    device: torch.device | str = "cpu",
    on_progress: Progress = ignore_progress,
    answers: Answers | None = None,
) -> Score:
    """Accuracy among the selected classes (indices into the network's logits and the data's
    labels).

    Images of other classes, and files that cannot be read, are ignored. `on_progress` is called
    before each batch, and may raise to stop. `answers`: known answers are used instead of running
    the network, and new ones are added. Raises DataError if no image is left.
    """
    index = np.flatnonzero(np.isin(data.labels, selected))
    columns, k = torch.tensor(selected, device=device), len(selected)
    position = {c: i for i, c in enumerate(selected)}
    labels = torch.tensor(
        [position[c] for c in data.labels[index].tolist()], dtype=torch.int64, device=device
    )
    pairs = [labels[:0]]
    try:
        for batch in short_slices((len(index), *data.images.shape[1:])):
            on_progress(batch.start, len(index))
            part = index[batch]
            positions = part if data.positions is None else data.positions[part]
            known = answers.known(positions) if answers else np.full(len(part), UNKNOWN)
            old, new = np.flatnonzero(known != UNKNOWN), np.flatnonzero(known == UNKNOWN)
            if len(old):
                found = torch.from_numpy(known[old].astype(np.int64)).to(device)
                pairs.append(labels[batch][torch.from_numpy(old).to(device)] * k + found)
            images, kept = data.read(part[new])
            if len(kept):
                pixels = torch.from_numpy(images).to(device).float() / 255
                found = logits_of(pixels)[:, columns].argmax(1)
                readable = new[kept]
                pairs.append(labels[batch][torch.from_numpy(readable).to(device)] * k + found)
                if answers:
                    answers.put(positions[readable], found.cpu().numpy())
    finally:
        if answers:
            answers.save()
    on_progress(len(index), len(index))
    distinct, occurrences = torch.cat(pairs).cpu().unique(return_counts=True)
    n = int(occurrences.sum())
    if not n:
        raise DataError(
            f"No real image of the selected classes in {data.name} can be read.",
            code="no-images",
            name=data.name,
        )
    counts = torch.zeros(k, dtype=torch.int64).index_add_(0, distinct // k, occurrences)
    correct = distinct // k == distinct % k
    hits = torch.zeros(k, dtype=torch.int64).index_add_(
        0, distinct[correct] % k, occurrences[correct]
    )
    shares = [round(h / m, 4) if m else None for h, m in zip(hits.tolist(), counts.tolist())]
    return Score(
        accuracy=int(hits.sum()) / n,
        per_class=shares,
        confusion=confusion(distinct[~correct], occurrences[~correct], k),
        n=n,
    )


def confusion(pairs: Tensor, occurrences: Tensor, k: int) -> list[tuple[int, int, int]]:
    """Wrong answers, as class · k + predicted class, with their counts; see `Score.confusion`."""
    most_frequent = occurrences.argsort(descending=True, stable=True)[:MAX_CONFUSIONS]
    return [
        (pair // k, pair % k, n)
        for pair, n in zip(pairs[most_frequent].tolist(), occurrences[most_frequent].tolist())
    ]


FEW = 30
"""With fewer images, an accuracy just above chance may be luck, but no remark says so."""


def guessing_remark(teacher: Score) -> tuple[str, str] | None:
    """A remark on a teacher that is not clearly better than chance: (a sentence, what to do).

    Compares the mean accuracy per class, because a network that always gives the same answer is as
    accurate as that class is frequent. None for a teacher that is better, or if that cannot be
    determined.
    """
    shares = [share for share in teacher.per_class if share is not None]
    if not teacher.real or len(shares) < 2:
        return None
    k = len(teacher.per_class)  # it chooses among all of them, even if some have no images
    chance, mean = 1 / k, sum(shares) / len(shares)
    margin = 2 * math.sqrt(chance * (1 - chance) / teacher.n) if teacher.n >= FEW else 0.0
    if mean > chance + margin:
        return None
    per_class = f", but only {mean:.1%} per class on average" if teacher.accuracy > mean else ""
    return (
        f"The teacher classifies {teacher.accuracy:.1%} of {count(teacher.n, 'real image')}"
        f" correctly{per_class}, which is not clearly better than guessing among {k} classes.",
        "Check its class names and their order, its mean and std, and that these images are what it"
        " was trained for.",
    )
