"""What was known at each moment of a run, collected in columns in one pass over its events. Pure:
no files, no clock.

A moment is a number of generator steps into the run, and includes every event before the next
generator step. So a moment can no longer change once a later step has been reported or the run has
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

MAX_STEPS = 4_000_000
"""Limit on the generator steps in a run: ten times the paper's longest."""
N = TypeVar("N", int, float)


class Moments:
    """One entry per moment in each column, a few bytes each."""

    def __init__(self) -> None:
        self.state = State()
        self._student, self._pool, self._tests, self._budget_used = (
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
        moment = state.generator_step
        if moment > min(MAX_STEPS, state.started.generator_steps if state.started else 0):
            return
        self.state = state
        if event.kind == "run_started":
            self._scores[0] = (None, state.test_size)
        if event.kind == "evaluated" and state.last_accuracy is not None:
            self._scores.append((state.last_accuracy, state.test_size))
        if event.kind == "evaluated" and event.file:
            self.views.append(event.file)
        _record(self._student, moment, state.student_step)
        _record(self._pool, moment, state.pool_images)
        _record(self._tests, moment, len(self._scores) - 1)
        _record(self._budget_used, moment, state.budget_used)
        _record(self._views, moment, len(self.views))

    @property
    def classes(self) -> int:
        return len(self.state.started.classes) if self.state.started else 0

    def pool(self, iterations: int) -> int:
        """Images in the pool after this many iterations."""
        moment = iterations * self.state.recipe.get("generator_steps", 0)
        return self._pool[moment] if 0 < moment < len(self._pool) else 0

    def of_iteration(self, iteration: int, steps: Iterable[int]) -> dict[str, Any]:
        """What was known after these steps of an iteration (from 0; the step count itself means its
        end). `final`: it can no longer change.

        Raises IndexError for an iteration that has not ended.
        """
        steps_per_iteration = self.state.recipe.get("generator_steps", 0)
        if not self.state.started or not 0 <= iteration < self.state.iterations_done:
            raise IndexError(iteration)
        final = (
            len(self._pool) > (iteration + 1) * steps_per_iteration + 1 or self.state.phase in ENDED
        )
        return {
            "iteration": iteration,
            "final": final,
            "steps": [
                self._snapshot(iteration, step, steps_per_iteration)
                for step in steps
                if 0 <= step <= steps_per_iteration
            ],
        }

    def _snapshot(self, iteration: int, step: int, steps_per_iteration: int) -> dict[str, Any]:
        # the last step shares its moment with what followed, so it shows what was known just before
        ended = step == steps_per_iteration
        moment = min(
            iteration * steps_per_iteration
            + (steps_per_iteration if ended else min(step + 1, steps_per_iteration - 1)),
            len(self._pool) - 1,
        )
        share, n = self._scores[self._tests[moment]]
        past = replace(
            self.state,
            phase="running",
            iteration=iteration,
            step=min(step, steps_per_iteration - 1),
            iterations_done=iteration + ended,
            student_step=self._student[moment],
            pool_images=self._pool[moment],
            budget_used=self._budget_used[moment],
            last_accuracy=share,
            test_size=n or self._scores[0][1],
            failure=None,
            finish=None,
        )
        new_images = self.pool(iteration + 1) - self.pool(iteration)
        return {
            "step": step,
            "at": moment,
            "student_step": past.student_step,
            "used_images": past.pool_images,
            "used": round(past.budget_used, 4),
            "accuracy": share,
            "n": n,
            "views": self._views[moment],
            "sentence": narration.replay_sentence(past, new_images if ended else None),
        }


def _record(column: array[N], moment: int, value: N) -> None:
    """What is known at a moment. Moments that were skipped get the value of the one before them."""
    column.extend([column[-1] if column else 0] * (moment + 1 - len(column)))
    column[moment] = value
