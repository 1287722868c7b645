"""A run's events as columns that can be compared with another run's: every point knows its pixels,
seconds and generator steps.

Pure and bounded: one event at a time, and at most MAX_POINTS points per column no matter how long
the run is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from app.live.state import Curve
from kgen import events
from kgen.events import STUDENT_PARTS
from kgen.recipe.recipe import Recipe

MAX_POINTS = 300
COORDINATES = ("pixels", "t", "step")
"""A point's coordinates: pixels in the pool, seconds by the run's clock, generator steps."""
MAX_PENDING_STEPS = 10_000
"""Limit on the generator steps waiting for their batch to end; no recipe can have more in one."""
MAX_NAMES, MAX_NAME_LENGTH = 1_000, 120
Row = tuple[tuple[float, ...], tuple[float, ...]]
"""A point's coordinates, and its values."""


class Means:
    """An unbounded series as at most MAX_POINTS rows, each the mean of equally many consecutive
    ones, at the coordinates of the last of them.

    Dropping rows instead would alias the sawtooth of a loss (each batch starts over) into spurious
    waves.
    """

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._pending: list[Row] = []
        self._group_size = 1

    def add(self, coordinates: tuple[float, ...], values: Iterable[float]) -> None:
        self._pending.append((coordinates, tuple(values)))
        if len(self._pending) == self._group_size:
            self._rows.append(self._mean(self._pending))
            self._pending = []
        if len(self._rows) >= MAX_POINTS:
            self._rows = [self._mean(self._rows[i : i + 2]) for i in range(0, MAX_POINTS, 2)]
            self._group_size *= 2

    @staticmethod
    def _mean(rows: list[Row]) -> Row:
        return rows[-1][0], tuple(
            sum(column) / len(rows) for column in zip(*(values for _, values in rows))
        )

    def rows(self, extra: Iterable[Row] = ()) -> list[tuple[float, ...]]:
        """`extra`: rows that are not part of the series yet."""
        rest = [*self._pending, *extra]
        group_size = max(self._group_size, math.ceil(len(rest) / (MAX_POINTS - len(self._rows))))
        means = [self._mean(rest[i : i + group_size]) for i in range(0, len(rest), group_size)]
        return [(*coordinates, *values) for coordinates, values in (*self._rows, *means)]


class Columns:
    """Folds the events of one run. `recipe` comes from the run folder and was checked when it was
    opened.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.started: events.RunStarted | None = None
        self.ended: events.RunFinished | events.RunFailed | None = None
        self.last_test: events.Evaluated | None = None
        self.best: dict[bool, tuple[float, int]] = {}
        """real → (share, n) of the best test."""
        self.pixels = self.images = self.steps = self.student_steps = self.iterations = 0
        self.t = 0.0
        self.tests = {True: Curve(), False: Curve()}
        """real → (coordinates…, share, n): accuracy on real images, agreement on synthetic ones."""
        self.batches = Curve()
        self._judge_totals = [0, 0.0, 0.0]
        """Images the judge has seen, and how many of them it classifies as intended, among the
        chosen classes and among all.
        """
        self._loss, self._student_loss = Means(), Means()
        self._pending_steps: list[tuple[float, int, tuple[float, ...]]] = []

    def add(self, event: events.Event) -> None:
        if math.isfinite(event.t):
            self.t = max(self.t, event.t)
        if isinstance(event, events.RunStarted):
            self.started = event
        elif isinstance(event, events.GeneratorStep):
            self.steps = max(
                self.steps,
                (event.iteration or 0) * self.recipe.generator_steps + (event.step or 0) + 1,
            )
            values = tuple(event.parts.get(name, 0.0) for name in self.terms)
            self._pending_steps.append((event.t, self.steps, values))
            if len(self._pending_steps) > MAX_PENDING_STEPS:
                self._flush(self.pixels)
        elif isinstance(event, events.BatchSynthesized):
            self._flush(event.pool_pixels)
            self.pixels, self.images, self.iterations = (
                event.pool_pixels,
                event.pool_images,
                (event.iteration or 0) + 1,
            )
            self.batches = self.batches.add(*self.coordinates, event.iteration or 0)
            self._add_judgment(event)
        elif isinstance(event, events.StudentStep):
            self.student_steps = max(self.student_steps, (event.step or 0) + 1)
            self._student_loss.add(
                self.coordinates, (event.parts.get(name, 0.0) for name in STUDENT_PARTS)
            )
        elif isinstance(event, events.Evaluated):
            self._add_test(event)
        elif isinstance(event, events.RunFinished | events.RunFailed):
            self.ended = event

    @property
    def terms(self) -> tuple[str, ...]:
        """The generator's loss terms."""
        return events.term_names(self.started)

    @property
    def coordinates(self) -> tuple[float, float, float]:
        return self.pixels, round(self.t, 3), self.steps

    def _losses(self) -> list[tuple[float, ...]]:
        """Until a batch has ended, its steps are placed at the pool size before it."""
        return self._loss.rows(
            ((self.pixels, t, step), values) for t, step, values in self._pending_steps
        )

    def _flush(self, after: int) -> None:
        """Places a batch's steps between the pool sizes before and after it."""
        n = len(self._pending_steps)
        for i, (t, step, values) in enumerate(self._pending_steps):
            self._loss.add(
                (round(self.pixels + (after - self.pixels) * (i + 1) / n), t, step), values
            )
        self._pending_steps = []

    def _add_judgment(self, event: events.BatchSynthesized) -> None:
        shares = (event.judged.chosen, event.judged.top1) if event.judged else ()
        if shares and all(map(math.isfinite, shares)) and self.started:
            n = next(
                (scale.batch for scale in self.started.scales if scale.side == event.resolution), 1
            )
            self._judge_totals = [
                self._judge_totals[0] + n,
                *(total + n * share for total, share in zip(self._judge_totals[1:], shares)),
            ]

    def _add_test(self, event: events.Evaluated) -> None:
        share, real = event.student.accuracy, event.student.real
        if not math.isfinite(share):
            return
        self.last_test = event
        self.tests[real] = self.tests[real].add(*self.coordinates, share, event.student.n)
        if real not in self.best or share > self.best[real][0]:
            self.best[real] = (share, event.student.n)

    # --- results ---------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """finished, stopped, failed, or open; events do not say whether an open run continues."""
        if isinstance(self.ended, events.RunFinished):
            return "finished" if self.ended.reason == "done" else "stopped"
        return "failed" if self.ended else "open"

    @property
    def classes(self) -> tuple[str, ...]:
        return (
            tuple(name[:MAX_NAME_LENGTH] for name in self.started.classes[:MAX_NAMES])
            if self.started
            else ()
        )

    @property
    def budget(self) -> int | None:
        """Pixels the pool may hold."""
        return self.started.budget_pixels if self.started else None

    def test_at(self, pixels: float, real: bool) -> tuple[float, int, int] | None:
        """(share, n, pixels) of the last test with at most this many pixels in the pool."""
        eligible = [row for row in self.tests[real].rows() if row[0] <= pixels]
        return (eligible[-1][3], int(eligible[-1][4]), int(eligible[-1][0])) if eligible else None

    def last(self, real: bool) -> tuple[float, int] | None:
        """(share, n) of the last test of a kind; for a finished run, its final result."""
        if isinstance(self.ended, events.RunFinished):
            score = self.ended.accuracy if real else self.ended.agreement
            if score is not None and math.isfinite(score):
                return score, self.ended.n
        newest = self.tests[real].newest
        return (newest[3], int(newest[4])) if newest else None

    @property
    def opinion(self) -> tuple[float, float] | None:
        """Shares of all images that the judge classifies as intended, among the chosen classes and
        among all; None without a judge.
        """
        n, *correct = self._judge_totals
        return (correct[0] / n, correct[1] / n) if n else None

    @property
    def active_terms(self) -> set[str]:
        """Loss terms that were ever nonzero. A teacher without BatchNorm has no such term."""
        pairs = [(self.terms, self._losses()), (STUDENT_PARTS, self._student_loss.rows())]
        return {
            name
            for names, rows in pairs
            for i, name in enumerate(names)
            if any(row[3 + i] for row in rows)
        }

    def to_json(self) -> dict[str, Any]:
        """For the page, as JSON. Non-finite numbers become null, and `warnings` says so."""
        non_finite: set[str] = set()

        def columns(names: Iterable[str], rows: Iterable[tuple]) -> dict[str, list]:
            names = (*COORDINATES, *names)
            table = list(zip(*rows)) or [()] * len(names)
            return {
                name: [_json_number(v, name, non_finite) for v in column]
                for name, column in zip(names, table)
            }

        active = self.active_terms
        data = {
            "real": columns(("share", "n"), self.tests[True].rows()),
            "agreement": columns(("share", "n"), self.tests[False].rows()),
            "loss": _select_terms(active, columns(self.terms, self._losses())),
            "student_loss": _select_terms(
                active, columns(STUDENT_PARTS, self._student_loss.rows())
            ),
            "batches": columns(("iteration",), self.batches.rows()),
            "end": [_json_number(v, "t", non_finite) for v in self.coordinates],
        }
        warnings = [
            f"Values of {events.term_title(self.started, name)} that were not numbers are left out."
            for name in sorted(non_finite)
        ]
        return data | {"warnings": warnings}


def _select_terms(active: set[str], columns: dict[str, list]) -> dict[str, list]:
    return {
        name: column for name, column in columns.items() if name in COORDINATES or name in active
    }


def _json_number(value: float, name: str, non_finite: set[str]) -> float | int | None:
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        non_finite.add(name)
        return None
    return float(f"{value:.6g}")
