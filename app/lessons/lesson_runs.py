"""Runs of lessons: those already in the folder, and those a lesson starts, one after the other.

Any finished run with exactly the lesson's recipe counts, no matter who started it. The only state
here is which run comes next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.archive.run_reader import CONTENT_ERRORS
from app.lessons import metrics
from app.lessons.lessons import Lesson
from app.process.runs import RunError, Runs
from app.web.errors import Missing
from kgen.journal.reading import JournalError, open_run
from kgen.recipe.recipe import Recipe, RecipeError
from kgen.system.files import fingerprint
from kgen.zoo import zoo

POLL_SECONDS = 0.3


class LessonRuns:
    """Thread-safe."""

    def __init__(self, runs: Runs):
        self.runs = runs
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._next: tuple[str, str] | None = None
        """(lesson, the variant that follows the current run)."""

    def find(self, lesson: Lesson, variant: str) -> Path | None:
        """The newest finished run of exactly this recipe, or the recording."""
        names = list(self.runs.archive.names())
        if variant == "a" and lesson.recording in names:
            names.remove(lesson.recording)
            names.append(lesson.recording)
        recipe_key = _recipe_key(lesson.recipe_for(variant))
        return next(
            (self.runs.folder / name for name in names if self._facts(name) == (recipe_key, True)),
            None,
        )

    def _facts(self, name: str) -> tuple[str, bool]:
        path = self.runs.folder / name
        try:
            return _facts(
                path, (fingerprint(path / "events.jsonl"), fingerprint(path / "recipe.json"))
            )
        except OSError:  # deleted in the meantime
            return "", False

    def start(self, lesson: Lesson, again: bool = False) -> str:
        """Start the missing runs (`again`: all of them); returns the first one's name. Raises
        RunError.
        """
        missing = [v for v in lesson.variants if again or self.find(lesson, v) is None]
        if not missing:
            raise RunError(
                "This lesson's runs are already in the folder.",
                code="exists",
            )
        name = self.runs.start(lesson.recipe_for(missing[0]))
        with self._lock:
            self._next = (lesson.slug, missing[1]) if len(missing) > 1 else None
        if len(missing) > 1:
            threading.Thread(
                target=self._follow, args=(lesson, missing[1], name), name="lesson", daemon=True
            ).start()
        return name

    def _follow(self, lesson: Lesson, variant: str, previous: str) -> None:
        """Starts B when A has finished, unless someone stopped A or started something else."""
        try:
            while self.runs.name == previous and self.runs.active:
                time.sleep(POLL_SECONDS)
            if self.runs.name == previous and self._facts(previous)[1]:
                self.runs.start(lesson.recipe_for(variant))
        except (RunError, OSError):
            # another run has started, or the app is closing; the page offers to run what is missing
            pass
        finally:
            with self._lock:
                if self._next == (lesson.slug, variant):
                    self._next = None

    def state(self, lesson: Lesson) -> dict[str, Any]:
        """Which runs exist, which one is in progress, and every number that the text needs."""
        paths = {v: self.find(lesson, v) for v in lesson.variants}
        runs: dict[str, Any] = {v: None for v in paths}
        values: dict[str, dict[str, Any]] = {}
        for variant, path in paths.items():
            if path is not None:
                try:
                    info = open_run(path).info
                    runs[variant] = {
                        "run": path.name,
                        "attempt": int(info.get("attempt", 1)),
                        "id": str(info.get("id", "")),
                    }
                    with self._reading:  # once, no matter how many ask
                        values[variant] = _numbers(
                            path, (fingerprint(path / "events.jsonl"), info.get("id"))
                        )
                except (JournalError, OSError, TypeError, ValueError):
                    runs[variant] = None
        texts = {
            f"{v}.{n}": metrics.format_value(metrics.NUMBERS[n].kind, values[v][n])
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
                if active and recipe and _recipe_key(lesson.recipe_for(v)) == _recipe_key(recipe)
            ),
            None,
        )
        with self._lock:
            following = self._next[1] if self._next and self._next[0] == lesson.slug else None
        return {
            "runs": runs,
            "numbers": texts,
            "outcome": lesson.outcome(values) if len(values) == len(lesson.variants) else None,
            "going": going,
            "following": following,
        }

    def figures(self, name: str, lessons: Iterable[Lesson]) -> dict[str, Any]:
        """Figures of a finished run of one of these lessons. Raises Missing."""
        recipe, finished = self._facts(name)
        if not finished or all(
            recipe != _recipe_key(lesson.recipe_for(v))
            for lesson in lessons
            for v in lesson.variants
        ):
            raise Missing("Figures are only available for finished lesson runs.", code="unfinished")
        try:
            path = self.runs.archive.path(name)
            return metrics.figures(open_run(path))
        except (JournalError, OSError, *CONTENT_ERRORS):
            raise Missing("This run's images cannot be read.", code="unreadable") from None


def _recipe_key(recipe: Recipe) -> str:
    """What must be equal: everything except the name and how much of the run is recorded."""
    recipe = zoo.resolved(recipe)
    return recipe.model_copy(update={"name": "x", "journal_pixels": 0}).model_dump_json()


@lru_cache(maxsize=2048)
def _facts(path: Path, key: tuple) -> tuple[str, bool]:
    """(recipe, finished); read again when a file has changed."""
    try:
        run = open_run(path)
        return _recipe_key(run.recipe), run.finished
    except (JournalError, RecipeError, OSError, ValueError):
        return "", False


@lru_cache(maxsize=64)
def _numbers(path: Path, key: tuple) -> dict[str, Any]:
    return metrics.numbers(open_run(path))
