"""The exchange rate of a run: the measurements of `kgen.worth.worth` in the run folder, and the
rate.

Independent of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kgen.journal.reading import Run
from kgen.phrases import count

FILE = "worth.json"
"""The name of the file in the run folder."""
MAX_POINTS, MAX_BYTES = 100, 1 << 20
"""Limits on the number of points and the bytes of the file; one that exceeds them is not ours."""


class Point(BaseModel):
    """One student: what it was trained on, and its accuracy on real test images."""

    model_config = ConfigDict(frozen=True)

    images: int = Field(gt=0)
    real: bool
    """Whether these are real photos rather than the run's pool."""
    accuracy: float = Field(ge=0, le=1)


class Worth(BaseModel):
    """The measurements so far."""

    n: int
    """Real test images behind each accuracy."""
    steps: int
    """Student steps in each training run."""
    seed: int
    photos: str | None = None
    """The folder of real training images, if it is not the teacher's own training set."""
    pool: str = ""
    """The state of the run's pool that was measured."""
    points: list[Point] = Field(default_factory=list, max_length=MAX_POINTS)

    @property
    def synthetic(self) -> Point | None:
        return next((point for point in self.points if not point.real), None)

    @property
    def photographs(self) -> list[Point]:
        """The students trained on real photos, fewest photos first."""
        return sorted(
            (point for point in self.points if point.real), key=lambda point: point.images
        )

    @property
    def rate(self) -> Rate | None:
        """None until the pool and the photos have been measured."""
        real = self.photographs
        return (
            exchange(self.synthetic.accuracy, [(p.images, p.accuracy) for p in real])
            if self.synthetic and real
            else None
        )

    def same_measure(self, other: Worth) -> bool:
        """Whether points of the two are comparable."""
        return self.model_dump(exclude={"points", "pool"}) == other.model_dump(
            exclude={"points", "pool"}
        )


@dataclass(frozen=True)
class Rate:
    """How many real photos teach as much.

    `bound`: "" for a measured number; otherwise the number of photos is "fewer" or "more" than
    `photos`.
    """

    photos: int
    bound: str = ""

    def __str__(self) -> str:
        return f"{ {'': '', 'fewer': '< ', 'more': '> '}[self.bound] }{self.photos:,}"


def exchange(accuracy: float, curve: Sequence[tuple[int, float]]) -> Rate:
    """Where a curve of (real photos, accuracy), fewest photos first, reaches an accuracy.

    Interpolates linearly in the logarithm of the photos. More photos never count as worse: an
    accuracy below that of fewer photos is raised to it.
    """
    photos = np.array([n for n, _ in curve])
    reached = np.maximum.accumulate([a for _, a in curve])
    if accuracy < reached[0]:
        return Rate(int(photos[0]), "fewer")
    if accuracy > reached[-1]:
        return Rate(int(photos[-1]), "more")
    i = int(np.searchsorted(reached, accuracy))  # the first that reaches it
    if reached[i] == accuracy:
        return Rate(int(photos[i]))
    share = (accuracy - reached[i - 1]) / (reached[i] - reached[i - 1])
    return Rate(round(math.exp(np.interp(share, [0, 1], np.log(photos[i - 1 : i + 1])))))


def read(run: Run) -> Worth | None:
    """The exchange rate stored in the run folder; None if there is none, or it is unreadable."""
    file = run.path / FILE
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        return Worth.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def summary(worth: Worth) -> str:
    """The result as a sentence; empty if there is none yet."""
    rate, pool = worth.rate, worth.synthetic
    if not rate or not pool:
        return ""
    verb = {"": "as much as", "fewer": "less than", "more": "more than"}[rate.bound]
    return (
        f"These {pool.images:,} synthetic images teach {verb} {count(rate.photos, 'real photo')}."
    )
