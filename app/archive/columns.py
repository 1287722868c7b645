"""A run's events as columns that can be compared with another run's: every point knows its pixels,
seconds and generator steps.

Pure and bounded: one event at a time, and at most MOST points per column no matter how long the run
is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from app.live.state import Curve
from kgen import events
from kgen.events import STUDENT_PARTS
from kgen.recipe.recipe import Recipe

MOST = 300
PLACE = ("pixels", "t", "step")
"""A point's coordinates: pixels in the pool, seconds by the run's clock, generator steps."""
MOST_WAITING = 10_000
"""Most generator steps waiting for their batch to end; no recipe can have more in one."""
MOST_NAMES, LONGEST = 1_000, 120
Row = tuple[tuple[float, ...], tuple[float, ...]]
"""A point's place, and its values."""


class Means:
    """An endless series as at most MOST rows, each the mean of equally many consecutive ones, at
    the coordinates of the last of them.

    Dropping rows instead would turn the sawtooth of a loss (each batch starts over) into waves that
    are not there.
    """

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._held: list[Row] = []
        self._each = 1

    def add(self, place: tuple[float, ...], values: Iterable[float]) -> None:
        self._held.append((place, tuple(values)))
        if len(self._held) == self._each:
            self._rows.append(self._mean(self._held))
            self._held = []
        if len(self._rows) >= MOST:
            self._rows = [self._mean(self._rows[i : i + 2]) for i in range(0, MOST, 2)]
            self._each *= 2

    @staticmethod
    def _mean(rows: list[Row]) -> Row:
        return rows[-1][0], tuple(
            sum(column) / len(rows) for column in zip(*(values for _, values in rows))
        )

    def rows(self, further: Iterable[Row] = ()) -> list[tuple[float, ...]]:
        """`further`: rows that are not part of the series yet."""
        rest = [*self._held, *further]
        each = max(self._each, math.ceil(len(rest) / (MOST - len(self._rows))))
        means = [self._mean(rest[i : i + each]) for i in range(0, len(rest), each)]
        return [(*place, *values) for place, values in (*self._rows, *means)]


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
        """real → (place…, share, n): accuracy on real images, or agreement on synthetic ones."""
        self.batches = Curve()
        self._judged = [0, 0.0, 0.0]
        """Images the judge has seen, and how many of them it classifies as intended, among the
        chosen classes and among all.
        """
        self._loss, self._student_loss = Means(), Means()
        self._waiting: list[tuple[float, int, tuple[float, ...]]] = []

    def add(self, e: events.Event) -> None:
        if math.isfinite(e.t):
            self.t = max(self.t, e.t)
        if isinstance(e, events.RunStarted):
            self.started = e
        elif isinstance(e, events.GeneratorStep):
            self.steps = max(
                self.steps, (e.iteration or 0) * self.recipe.generator_steps + (e.step or 0) + 1
            )
            values = tuple(e.parts.get(name, 0.0) for name in self.terms)
            self._waiting.append((e.t, self.steps, values))
            if len(self._waiting) > MOST_WAITING:
                self._let_go(self.pixels)
        elif isinstance(e, events.BatchSynthesized):
            self._let_go(e.pool_pixels)
            self.pixels, self.images, self.iterations = (
                e.pool_pixels,
                e.pool_images,
                (e.iteration or 0) + 1,
            )
            self.batches = self.batches.add(*self.place, e.iteration or 0)
            self._hear_judge(e)
        elif isinstance(e, events.StudentStep):
            self.student_steps = max(self.student_steps, (e.step or 0) + 1)
            self._student_loss.add(self.place, (e.parts.get(name, 0.0) for name in STUDENT_PARTS))
        elif isinstance(e, events.Evaluated):
            self._tested(e)
        elif isinstance(e, events.RunFinished | events.RunFailed):
            self.ended = e

    @property
    def terms(self) -> tuple[str, ...]:
        """The generator's loss terms."""
        return events.term_names(self.started)

    @property
    def place(self) -> tuple[float, float, float]:
        return self.pixels, round(self.t, 3), self.steps

    def _losses(self) -> list[tuple[float, ...]]:
        """Until a batch has ended, its steps are placed at the pool size before it."""
        return self._loss.rows(
            ((self.pixels, t, step), values) for t, step, values in self._waiting
        )

    def _let_go(self, after: int) -> None:
        """Places a batch's steps between the pool sizes before and after it."""
        n = len(self._waiting)
        for i, (t, step, values) in enumerate(self._waiting):
            self._loss.add(
                (round(self.pixels + (after - self.pixels) * (i + 1) / n), t, step), values
            )
        self._waiting = []

    def _hear_judge(self, e: events.BatchSynthesized) -> None:
        shares = (e.judged.chosen, e.judged.top1) if e.judged else ()
        if shares and all(map(math.isfinite, shares)) and self.started:
            n = next(
                (scale.batch for scale in self.started.scales if scale.side == e.resolution), 1
            )
            self._judged = [
                self._judged[0] + n,
                *(total + n * share for total, share in zip(self._judged[1:], shares)),
            ]

    def _tested(self, e: events.Evaluated) -> None:
        share, real = e.student.accuracy, e.student.real
        if not math.isfinite(share):
            return
        self.last_test = e
        self.tests[real] = self.tests[real].add(*self.place, share, e.student.n)
        if real not in self.best or share > self.best[real][0]:
            self.best[real] = (share, e.student.n)

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
            tuple(name[:LONGEST] for name in self.started.classes[:MOST_NAMES])
            if self.started
            else ()
        )

    @property
    def budget(self) -> int | None:
        """Pixels the pool may hold."""
        return self.started.budget_pixels if self.started else None

    def at(self, pixels: float, real: bool) -> tuple[float, int, int] | None:
        """(share, n, pixels) of the last test with at most this many pixels in the pool."""
        fitting = [row for row in self.tests[real].rows() if row[0] <= pixels]
        return (fitting[-1][3], int(fitting[-1][4]), int(fitting[-1][0])) if fitting else None

    def last(self, real: bool) -> tuple[float, int] | None:
        """(share, n) of the last test of a kind; for a finished run, its final result."""
        if isinstance(self.ended, events.RunFinished):
            told = self.ended.accuracy if real else self.ended.agreement
            if told is not None and math.isfinite(told):
                return told, self.ended.n
        newest = self.tests[real].newest
        return (newest[3], int(newest[4])) if newest else None

    @property
    def opinion(self) -> tuple[float, float] | None:
        """Shares of all images that the judge classifies as intended, among the chosen classes and
        among all; None without a judge.
        """
        n, *named = self._judged
        return (named[0] / n, named[1] / n) if n else None

    @property
    def uses(self) -> set[str]:
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
        odd: set[str] = set()

        def columns(names: Iterable[str], rows: Iterable[tuple]) -> dict[str, list]:
            names = (*PLACE, *names)
            table = list(zip(*rows)) or [()] * len(names)
            return {
                name: [_short(v, name, odd) for v in column] for name, column in zip(names, table)
            }

        uses = self.uses
        told = {
            "real": columns(("share", "n"), self.tests[True].rows()),
            "agreement": columns(("share", "n"), self.tests[False].rows()),
            "loss": _only(uses, columns(self.terms, self._losses())),
            "student_loss": _only(uses, columns(STUDENT_PARTS, self._student_loss.rows())),
            "batches": columns(("iteration",), self.batches.rows()),
            "end": [_short(v, "t", odd) for v in self.place],
        }
        warnings = [
            f"Values of {events.term_title(self.started, name)} that were not numbers are left out."
            for name in sorted(odd)
        ]
        return told | {"warnings": warnings}


def _only(uses: set[str], columns: dict[str, list]) -> dict[str, list]:
    return {name: column for name, column in columns.items() if name in PLACE or name in uses}


def _short(value: float, name: str, odd: set[str]) -> float | int | None:
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        odd.add(name)
        return None
    return float(f"{value:.6g}")
