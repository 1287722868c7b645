"""Runs of lessons: those that are in the folder already, and those that a lesson starts, one after
the other.

A lesson's run is any finished run of exactly its recipe, whoever started it. Nothing is kept here
but what comes next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.archive.run_reader import HOSTILE
from app.lessons import metrics
from app.lessons.lessons import Lesson
from app.process.runs import RunError, Runs
from app.web.errors import Missing
from kgen.files import mark
from kgen.journal.reading import JournalError, open_run
from kgen.recipe.recipe import Recipe, RecipeError

LOOK_SECONDS = 0.3


class LessonRuns:
    """Safe from any thread."""

    def __init__(self, runs: Runs):
        self.runs = runs
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._next: tuple[str, str] | None = None
        """(lesson, the variant that follows the run that is going)."""

    def found(self, lesson: Lesson, variant: str) -> Path | None:
        """A finished run of exactly this recipe, the newest; or the recording."""
        names = list(self.runs.archive.names())
        if variant == "a" and lesson.recording in names:
            names.remove(lesson.recording)
            names.append(lesson.recording)
        wanted = _same(lesson.made(variant))
        return next(
            (self.runs.folder / name for name in names if self._facts(name) == (wanted, True)), None
        )

    def _facts(self, name: str) -> tuple[str, bool]:
        path = self.runs.folder / name
        try:
            return _facts(path, (mark(path / "events.jsonl"), mark(path / "recipe.json")))
        except OSError:  # deleted meanwhile
            return "", False

    def start(self, lesson: Lesson, again: bool = False) -> str:
        """Start what the lesson lacks (`again`: all of it); the first one's name. Raises
        RunError.
        """
        wanted = [v for v in lesson.variants if again or self.found(lesson, v) is None]
        if not wanted:
            raise RunError("The runs of this lesson are in the folder already.")
        name = self.runs.start(lesson.made(wanted[0]))
        with self._lock:
            self._next = (lesson.slug, wanted[1]) if len(wanted) > 1 else None
        if len(wanted) > 1:
            threading.Thread(
                target=self._follow, args=(lesson, wanted[1], name), name="lesson", daemon=True
            ).start()
        return name

    def _follow(self, lesson: Lesson, variant: str, after: str) -> None:
        """B when A has reached its end; not where somebody stopped it or turned to something
        else.
        """
        try:
            while self.runs.name == after and self.runs.active:
                time.sleep(LOOK_SECONDS)
            if self.runs.name == after and self._facts(after)[1]:
                self.runs.start(lesson.made(variant))
        except (RunError, OSError):
            # another run has begun, or the app is closing; the page offers to run what is missing
            pass
        finally:
            with self._lock:
                if self._next == (lesson.slug, variant):
                    self._next = None

    def state(self, lesson: Lesson) -> dict[str, Any]:
        """Which of its runs are there, what is going, and every number that the text has a place
        for.
        """
        paths = {v: self.found(lesson, v) for v in lesson.variants}
        told: dict[str, Any] = {v: None for v in paths}
        values: dict[str, dict[str, Any]] = {}
        for variant, path in paths.items():
            if path is not None:
                try:
                    info = open_run(path).info
                    told[variant] = {
                        "run": path.name,
                        "attempt": int(info.get("attempt", 1)),
                        "id": str(info.get("id", "")),
                    }
                    with self._reading:  # once, however many ask
                        values[variant] = _numbers(
                            path, (mark(path / "events.jsonl"), info.get("id"))
                        )
                except (JournalError, OSError, TypeError, ValueError):
                    told[variant] = None
        texts = {
            f"{v}.{n}": metrics.write(metrics.NUMBERS[n].kind, values[v][n])
            for v in values
            for n in lesson.numbers
        }
        if len(values) == 2:
            texts |= {
                f"difference.{n}": metrics.difference(
                    metrics.NUMBERS[n].kind, values["a"][n], values["b"][n]
                )
                for n in lesson.numbers
            }
        active, recipe = self.runs.active, self.runs.recipe
        going = next(
            (
                v
                for v in lesson.variants
                if active and recipe and _same(lesson.made(v)) == _same(recipe)
            ),
            None,
        )
        with self._lock:
            following = self._next[1] if self._next and self._next[0] == lesson.slug else None
        return {
            "runs": told,
            "numbers": texts,
            "outcome": lesson.outcome(values) if len(values) == len(lesson.variants) else None,
            "going": going,
            "following": following,
        }

    def figures(self, name: str, lessons: Iterable[Lesson]) -> dict[str, Any]:
        """Of a finished run of one of these lessons. Raises Missing."""
        recipe, finished = self._facts(name)
        if not finished or all(
            recipe != _same(lesson.made(v)) for lesson in lessons for v in lesson.variants
        ):
            raise Missing("Figures are drawn of the finished runs of lessons.")
        try:
            path = self.runs.archive.path(name)
            return metrics.figures(open_run(path))
        except (JournalError, OSError, *HOSTILE):
            raise Missing("The images of this run cannot be read.") from None


def _same(recipe: Recipe) -> str:
    """What has to agree: everything but what the run is called and how much of its making is
    kept.
    """
    return recipe.model_copy(update={"name": "x", "journal_pixels": 0}).model_dump_json()


@lru_cache(maxsize=2048)
def _facts(path: Path, key: tuple) -> tuple[str, bool]:
    """(recipe, reached its end); read again where a file has changed."""
    try:
        run = open_run(path)
        return _same(run.recipe), run.finished
    except (JournalError, RecipeError, OSError, ValueError):
        return "", False


@lru_cache(maxsize=64)
def _numbers(path: Path, key: tuple) -> dict[str, Any]:
    return metrics.numbers(open_run(path))
