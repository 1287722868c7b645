"""The rule that stops hopeless trials early. A pure function of accuracy curves."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 3
"""How many trials must have finished before another one can be stopped."""
MARGIN = 0.05
RULE = (
    "Stop a run if it has taken at least half of its student steps and its accuracy is below the"
    " median of the finished runs at the same step by more than --margin. Needs three finished"
    " runs."
)


@dataclass(frozen=True)
class Point:
    """A test of a student: after `steps` student steps, the share of images classified correctly
    (or like the teacher, if they are not `real`).
    """

    steps: int
    share: float
    n: int
    real: bool


@dataclass(frozen=True)
class Verdict:
    """Why a trial is hopeless."""

    point: Point
    median: float
    finished: int

    def __str__(self) -> str:
        return (
            f"{self.point.share:.1%} after {self.point.steps:,} student steps; the median of"
            f" {self.finished} finished runs at that step is {self.median:.1%}."
        )


def judge(
    point: Point,
    total_steps: int,
    finished: Sequence[Sequence[Point]],
    margin: float = MARGIN,
) -> Verdict | None:
    """Whether a trial with this newest test, out of `total_steps` student steps, is hopeless.

    `finished`: the curves of finished trials. Each is represented by its last test up to that step,
    if it has one of the same kind (on real images, or on synthetic ones).
    """
    if 2 * point.steps < total_steps:
        return None
    shares = [
        earlier[-1].share
        for curve in finished
        if (earlier := [p for p in curve if p.steps <= point.steps and p.real == point.real])
    ]
    if len(shares) < FEWEST:
        return None
    median = statistics.median(shares)
    return Verdict(point, median, len(shares)) if point.share < median - margin else None
