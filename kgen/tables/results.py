"""Finished runs of the tables: one JSON line each in an append-only file.

`kgen.tables.tables` defines the `key` of a line.
"""

from __future__ import annotations

import errno
import os
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from kgen.recipe.recipe import Recipe
from kgen.system.files import sync_file
from kgen.tables.tables import Row, TableError

STUDENT_COST = 0.1
"""Cost of a pixel in a student step relative to one in a generator step, roughly as measured with
stored views; used only to estimate durations.
"""


class Result(BaseModel):
    """The result of a run.

    `accuracy` is the student's at the end, on `n` real test images; `seconds` is wall time on one
    thread.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    seed: int
    label: str
    accuracy: float
    n: int
    seconds: float
    images: int
    """Synthetic images in the pool at the end, and their pixels."""
    pixels: int
    student_steps: int
    torch: str
    second_opinion: float | None = None
    """Share of all synthetic images that the judge classifies as intended, among all of its
    classes; None without a judge.
    """
    second_opinion_chosen: float | None = None
    """The same among the selected classes only."""


class Results:
    """The results file. Every `read()` rereads it; a process appends whole lines or nothing."""

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> dict[tuple[str, int], Result]:
        """(key, seed) → result; the last one counts if a run has two. Ignores an incomplete last
        line.

        Raises TableError with the line number for an invalid line before the last.
        """
        try:
            complete, _, _ = self.path.read_bytes().rpartition(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise TableError(
                f"{self.path} cannot be read: {error.strerror or error}.",
                code="unreadable",
                file=str(self.path),
            ) from None
        found = {}
        for number, line in enumerate(complete.split(b"\n") if complete else [], 1):
            try:
                result = Result.model_validate_json(line)
            except ValidationError:
                raise TableError(
                    f"{self.path}, line {number}, is not a run's result. Delete the line; its run"
                    " is then repeated.",
                    code="damaged",
                    file=str(self.path),
                    line=number,
                ) from None
            found[result.key, result.seed] = result
        return found

    def append(self, result: Result) -> None:
        """Append one line, synced to disk when this returns.

        Raises TableError if it cannot be written; the file is then unchanged.
        """
        line = result.model_dump_json(exclude_none=True).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+", buffering=0) as file:
                file.seek(0)
                end = file.read().rfind(b"\n") + 1  # at most an incomplete line follows
                file.truncate(end)
                if file.write(line) != len(line):
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                sync_file(file.fileno())
        except OSError as error:
            raise TableError(
                f"{self.path} cannot be written: {error.strerror or error}. Earlier runs are"
                " saved.",
                code="unwritable",
                file=str(self.path),
            ) from None


def estimated_work(recipe: Recipe) -> float:
    """A run's duration, up to a factor: pixels that pass through a network in all its steps."""
    sides = recipe.sides()
    pixels = [b * e * e for b, e in zip(recipe.batch_sizes(sides), sides)]
    generator = recipe.epochs * recipe.iterations * recipe.generator_steps * sum(pixels)
    student = (
        recipe.total_student_steps * recipe.student_batch * statistics.fmean(e * e for e in sides)
    )
    return generator + STUDENT_COST * student


class Timed(Protocol):
    """A finished run of a row."""

    @property
    def key(self) -> str: ...

    @property
    def seconds(self) -> float: ...


class Pace:
    """Estimates durations from finished runs: of the same recipe, otherwise of any, in proportion
    to their work.
    """

    def __init__(self, rows: Iterable[Row], results: Iterable[Timed] = ()):
        self._work = {row.key: estimated_work(row.recipe) for row in rows}
        self._seconds: dict[str, list[float]] = {}
        for result in results:
            self.add(result)

    def add(self, result: Timed) -> None:
        if result.key in self._work:
            self._seconds.setdefault(result.key, []).append(result.seconds)

    def seconds(self, keys: Iterable[str]) -> float | None:
        """Total duration of runs of these rows, one after another; None before any has finished."""
        keys = list(keys)
        if not keys:
            return 0.0
        if not self._seconds:
            return None
        rate = statistics.median(
            statistics.fmean(s) / self._work[k] for k, s in self._seconds.items()
        )
        return sum(
            statistics.fmean(self._seconds[k]) if k in self._seconds else rate * self._work[k]
            for k in keys
        )
