"""Marks on the timeline: the moments of a run that people want to go back to. Pure.

A moment is a number of generator steps into the run. Tests are not marked here because the accuracy
curve already shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.live import format
from kgen import events

if TYPE_CHECKING:
    from app.live.state import State

MAX_MARKS = 60
HALF, FULL = 0.5, 0.999
Mark = tuple[int, str, str]
"""Generator steps done by then, the kind of mark, and a sentence about it."""


def add_marks(before: State, after: State, event: events.Event) -> tuple[Mark, ...]:
    """The marks after one more event: the earlier ones plus any that this event adds."""
    return (
        *after.marks,
        *((after.generator_step, kind, text) for kind, text in _new_marks(before, after, event)),
    )[-MAX_MARKS:]


def _new_marks(before: State, after: State, event: events.Event) -> Iterator[tuple[str, str]]:
    if isinstance(event, events.IterationStarted):
        iteration, generator_life = event.iteration or 0, after.recipe.get("generator_life", 0)
        learns = after.started is not None and after.started.student_steps > 0
        if iteration and iteration == after.warmup_iterations and learns:
            yield "warmup", "Warm-up ends: the student learns from here on."
        if (
            generator_life
            and iteration
            and iteration % (generator_life * after.epoch_iterations) == 0
        ):
            interval = f"{format.number(generator_life)} epochs"
            yield "reborn", f"A new generator starts; this happens every {interval}."
    elif (
        isinstance(event, events.BatchSynthesized)
        and before.budget_used < FULL <= after.budget_used
    ):
        yield "full", f"The budget is full: {format.images(after.pool_images)}."
    elif (
        isinstance(event, events.Evaluated)
        and after.last_accuracy is not None
        and after.last_accuracy >= HALF
        and all(kind != "half" for _, kind, _ in after.marks)
    ):
        yield "half", f"The student passes 50%, reaching {format.percent(after.last_accuracy)}."
    elif isinstance(event, events.Control) and after.phase != before.phase:
        yield {
            "paused": ("paused", "Paused."),
            "running": ("resumed", "Resumed."),
            "stopping": ("stop", "Stop was pressed."),
        }[event.state]
    elif isinstance(event, events.RunFailed):
        yield "failed", f"The run failed: {event.cause}"
    elif isinstance(event, events.Warned):
        yield "warning", event.text
