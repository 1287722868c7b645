"""What was known at each moment of a run, collected in columns in one pass over its events. Pure:
no files, no clock.

A moment is a number of generator steps into the run, and includes every event before the next
generator step. So a moment can no longer change once a later step was reported or the run has
ended.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from app.live import narration
from app.live.state import ENDED, State, fold
from kgen.events import Event

MOST_STEPS = 4_000_000
"""Most generator steps in a run: ten times the paper's longest."""
N = TypeVar("N", int, float)


class Moments:
    """One entry per moment in each column, a few bytes each."""

    def __init__(self) -> None:
        self.state = State()
        self._student, self._pool, self._tests, self._used = (
            array("q"),
            array("q"),
            array("q"),
            array("d"),
        )
        self._scores: list[tuple[float | None, int]] = [(None, 0)]
        self._views = array("q")
        self.views: list[str] = []
        """Files of the student's view, one per test; older runs have none."""

    def add(self, event: Event) -> None:
        """Events beyond the planned steps, which only a damaged journal contains, are ignored."""
        state = fold(self.state, event)
        at = state.generator_step
        if at > min(MOST_STEPS, state.started.generator_steps if state.started else 0):
            return
        self.state = state
        if event.kind == "evaluated" and state.last_accuracy is not None:
            self._scores.append((state.last_accuracy, state.n))
        if event.kind == "evaluated" and event.file:
            self.views.append(event.file)
        _put(self._student, at, state.student_step)
        _put(self._pool, at, state.pool_images)
        _put(self._tests, at, len(self._scores) - 1)
        _put(self._used, at, state.budget_used)
        _put(self._views, at, len(self.views))

    @property
    def classes(self) -> int:
        return len(self.state.started.classes) if self.state.started else 0

    def pool(self, iterations: int) -> int:
        """Images in the pool after this many iterations."""
        at = iterations * self.state.recipe.get("generator_steps", 0)
        return self._pool[at] if 0 < at < len(self._pool) else 0

    def of(self, iteration: int, steps: Iterable[int]) -> dict[str, Any]:
        """What was known after these steps of an iteration (from 0; the step count itself means its
        end). `final`: it can no longer change.

        Raises IndexError for an iteration that has not ended.
        """
        each, started = self.state.recipe.get("generator_steps", 0), self.state.started
        if not started or not 0 <= iteration < self.state.iterations_done:
            raise IndexError(iteration)
        final = len(self._pool) > (iteration + 1) * each + 1 or self.state.phase in ENDED
        return {
            "iteration": iteration,
            "final": final,
            "steps": [
                self._at(iteration, step, each, started.teacher.n_test)
                for step in steps
                if 0 <= step <= each
            ],
        }

    def _at(self, iteration: int, step: int, each: int, n_test: int) -> dict[str, Any]:
        # the last step shares its moment with what followed, so it shows what was known just before
        ended = step == each
        at = min(
            iteration * each + (each if ended else min(step + 1, each - 1)), len(self._pool) - 1
        )
        share, n = self._scores[self._tests[at]]
        then = replace(
            self.state,
            phase="running",
            iteration=iteration,
            step=min(step, each - 1),
            iterations_done=iteration + ended,
            student_step=self._student[at],
            pool_images=self._pool[at],
            budget_used=self._used[at],
            last_accuracy=share,
            n=n or n_test,
            failure=None,
            finish=None,
        )
        entered = self.pool(iteration + 1) - self.pool(iteration)
        return {
            "step": step,
            "at": at,
            "student_step": then.student_step,
            "used_images": then.pool_images,
            "used": round(then.budget_used, 4),
            "accuracy": share,
            "n": n,
            "views": self._views[at],
            "sentence": narration.replayed(then, entered if ended else None),
        }


def _put(column: array[N], at: int, value: N) -> None:
    """What is known at a moment; moments in between know what the one before them knew."""
    column.extend([column[-1] if column else 0] * (at + 1 - len(column)))
    column[at] = value
