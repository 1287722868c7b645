"""The exchange rate of a run: what `kgen.worth.worth` measured and keeps in the run folder, and
what follows from it. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kgen.journal.reading import Run

FILE = "worth.json"
"""In the run folder."""
MOST_POINTS, LARGEST = 100, 1 << 20
"""Trainings, and bytes of the file; one with more is none of ours."""


class Point(BaseModel):
    """One student: what it learned from, and its accuracy on real test images."""

    model_config = ConfigDict(frozen=True)

    images: int = Field(gt=0)
    real: bool
    """Real photos, or the run's pool?"""
    accuracy: float = Field(ge=0, le=1)


class Worth(BaseModel):
    """What was measured so far."""

    n: int
    """Real test images behind each accuracy."""
    steps: int
    """Student steps of each training."""
    seed: int
    photos: str | None = None
    """The folder of real training images, where it is not the teacher's own training set."""
    pool: str = ""
    """Which state of the run's pool was measured."""
    points: list[Point] = Field(default_factory=list, max_length=MOST_POINTS)

    @property
    def synthetic(self) -> Point | None:
        return next((point for point in self.points if not point.real), None)

    @property
    def photographs(self) -> list[Point]:
        """Trainings on real photos, fewest first."""
        return sorted(
            (point for point in self.points if point.real), key=lambda point: point.images
        )

    @property
    def rate(self) -> Rate | None:
        """None until pool and photos have been measured."""
        real = self.photographs
        return (
            exchange(self.synthetic.accuracy, [(p.images, p.accuracy) for p in real])
            if self.synthetic and real
            else None
        )

    def same_measure(self, other: Worth) -> bool:
        """Can points of the two be compared?"""
        return self.model_dump(exclude={"points", "pool"}) == other.model_dump(
            exclude={"points", "pool"}
        )


@dataclass(frozen=True)
class Rate:
    """How many real photos teach as much. `bound`: "" for a measured number, or the photos are
    "fewer" or "more" than `photos`.
    """

    photos: int
    bound: str = ""

    def __str__(self) -> str:
        return f"{ {'': '', 'fewer': '< ', 'more': '> '}[self.bound] }{self.photos:,}"


def exchange(accuracy: float, curve: Sequence[tuple[int, float]]) -> Rate:
    """Where a curve of (real photos, accuracy), fewest photos first, reaches an accuracy; linear in
    the logarithm of the photos.

    More photos never count as worse: an accuracy below that of fewer photos is raised to it.
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
    """What the run folder tells of its exchange rate; None where nothing (readable) is there."""
    file = run.path / FILE
    try:
        if file.stat().st_size > LARGEST:
            return None
        return Worth.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def sentence(worth: Worth) -> str:
    """What was found, in words; empty before there is anything to say."""
    if not worth.rate:
        return ""
    verb = {"": "as much as", "fewer": "less than", "more": "more than"}[worth.rate.bound]
    return (
        f"These {worth.synthetic.images:,} synthetic images teach {verb} {worth.rate.photos:,} real"
        " photos."
    )
