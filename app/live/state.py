"""A run's events, folded into one immutable state. Pure: no files, no clock, no threads.

`fold(state, event)` takes one event at a time, so a live run, a replay and a late joiner all arrive
at the same state. Memory stays bounded no matter how long the run is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from app.live import format, scales
from app.live import timeline_events as marks
from app.live.scales import Scale
from kgen import events
from kgen.events import STUDENT_PARTS, Event
from kgen.recipe.recipe import held_out_count, warmup_epochs

MOST_POINTS = 300
MOST_WARNINGS = 5
ENDED = ("finished", "stopped", "failed")
OPINION = ("chosen", "top1", "top5")
"""Shares of a batch that the judge classifies as intended: among the chosen classes, among all the
classes it knows, and among its five likeliest.
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """At most MOST_POINTS rows of an endless series, evenly thinned; the first and the newest are
    always kept.
    """

    kept: tuple[tuple[float, ...], ...] = ()
    newest: tuple[float, ...] | None = None
    stride: int = 1
    seen: int = 0

    def add(self, *row: float) -> Curve:
        if self.seen % self.stride:
            return replace(self, newest=row, seen=self.seen + 1)
        kept, stride = (*self.kept, row), self.stride
        if len(kept) >= MOST_POINTS:
            kept, stride = kept[::2], 2 * stride
        return Curve(kept, row, stride, self.seen + 1)

    def rows(self) -> tuple[tuple[float, ...], ...]:
        return (
            self.kept
            if self.newest is None or self.kept[-1] is self.newest
            else (*self.kept, self.newest)
        )


@dataclass(frozen=True, slots=True)
class State:
    """Everything the events say about a run. Unless noted, steps and iterations count what is
    done.
    """

    started: events.RunStarted | None = None
    phase: str = "empty"
    t: float = 0.0
    iteration: int | None = None
    """The iteration in progress, from 0."""
    step: int = -1
    """Its last finished generator step, from 0."""
    iterations_done: int = 0
    student_step: int = 0
    pool_images: int = 0
    budget_used: float = 0.0
    activity: str = "generator"
    accuracy: Curve = field(default_factory=Curve)
    """Images, share, moment (the generator steps done by then)."""
    loss: Curve = field(default_factory=Curve)
    """Images, the weighted terms of the generator's loss, moment."""
    student_loss: Curve = field(default_factory=Curve)
    """Images, the weighted STUDENT_PARTS, moment."""
    opinion: Curve = field(default_factory=Curve)
    """Images, OPINION, moment: the judge's verdict on each finished batch."""
    marks: tuple[marks.Mark, ...] = ()
    best: tuple[int, float] | None = None
    """Moment and share of the best test."""
    views: int = 0
    """Tests for which the student's view was kept."""
    last_accuracy: float | None = None
    teacher_accuracy: float | None = None
    n: int = 0
    final: bool = False
    warnings: tuple[tuple[str, str], ...] = ()
    failure: events.RunFailed | None = None
    finish: events.RunFinished | None = None
    generator_cost: float | None = None
    """Seconds per generator step, excluding pauses."""
    student_cost: float | None = None
    generator_mark: tuple[int, int, float] | None = None
    student_mark: tuple[int, float] | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        return self.started.recipe if self.started else {}

    @property
    def sequential(self) -> bool:
        """Do generator and student take turns? This is the engine's schedule, which may differ from
        the recipe's.
        """
        return self.started is None or self.started.schedule == "sequential"

    @property
    def tested_on(self) -> str:
        """test, validation (held-out training images) or synthetic (no real images)."""
        if self.recipe.get("evaluate_on") == "validation":  # older runs lack the field
            return "validation"
        return self.started.tested_on if self.started else "test"

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The resolutions; iteration i uses number i modulo their count."""
        return scales.of_run(self.started) if self.started else ()

    @property
    def epoch_iterations(self) -> int:
        """Batches per epoch: the recipe's iterations at each resolution."""
        return self.recipe["iterations"] * len(self.recipe["resolutions"]) if self.started else 0

    @property
    def iterations(self) -> int:
        return self.recipe["epochs"] * self.epoch_iterations if self.started else 0

    @property
    def warmup_iterations(self) -> int:
        return warmup_epochs(self.recipe["warmup"], self.recipe["epochs"]) * self.epoch_iterations

    @property
    def all_made(self) -> bool:
        return self.started is not None and self.iterations_done >= self.iterations

    @property
    def generator_step(self) -> int:
        """Generator steps done in the whole run so far."""
        making = (
            self.step + 1
            if self.iteration is not None and self.iteration >= self.iterations_done
            else 0
        )
        return self.iterations_done * self.recipe.get("generator_steps", 0) + making

    @property
    def chosen_some(self) -> bool:
        return self.recipe.get("classes") is not None


def fold(state: State, event: Event) -> State:
    """The state after one more event. A NaN or infinity becomes a warning and never a point."""
    after = _FOLDS[type(event)](state, event)
    return replace(after, t=event.t, marks=marks.marked(state, after, event))


def _run_started(state: State, e: events.RunStarted) -> State:
    if e.tested_on == "synthetic":  # no real images to be right about
        return State(started=e, phase="running")
    return State(
        started=e, phase="running", teacher_accuracy=e.teacher.accuracy, n=e.teacher.n_test
    )


def _iteration_started(state: State, e: events.IterationStarted) -> State:
    return replace(
        state,
        iteration=e.iteration,
        step=-1,
        activity="generator",
        generator_mark=(e.iteration or 0, -1, e.t),
    )


def _generator_step(state: State, e: events.GeneratorStep) -> State:
    iteration, step = e.iteration or 0, e.step or 0
    state = replace(
        state,
        iteration=iteration,
        step=step,
        activity="generator",
        generator_mark=(iteration, step, e.t),
        generator_cost=_cost(state.generator_cost, state.generator_mark, iteration, step, e.t),
    )
    odd = [name for name, value in e.parts.items() if not math.isfinite(value)]
    for name in odd:
        state = _warn(
            state,
            f"The loss term “{events.term_title(state.started, name)}” was not a number at"
            f" generator step {step + 1} of iteration {iteration + 1}.",
            "A learning rate or a weight is probably too high. Start again with a lower one.",
        )
    if odd or not state.started:
        return state
    weight = state.started.term_weight
    return replace(
        state,
        loss=state.loss.add(
            _images_at(state, iteration, step),
            *(weight(k) * e.parts.get(k, 0.0) for k in state.started.term_names),
            state.generator_step,
        ),
    )


def _batch_synthesised(state: State, e: events.BatchSynthesized) -> State:
    opinion, shares = (
        state.opinion,
        ([getattr(e.judged, name) for name in OPINION] if e.judged else []),
    )
    if shares and all(map(math.isfinite, shares)):
        opinion = opinion.add(
            e.pool_images,
            *shares,
            ((e.iteration or 0) + 1) * state.recipe.get("generator_steps", 0),
        )
    return replace(
        state,
        iterations_done=(e.iteration or 0) + 1,
        pool_images=e.pool_images,
        budget_used=e.budget_used,
        opinion=opinion,
        student_mark=(state.student_step, e.t) if state.sequential else state.student_mark,
    )


def _student_step(state: State, e: events.StudentStep) -> State:
    done = (e.step or 0) + 1
    mark = state.student_mark and (0, *state.student_mark)
    state = replace(
        state,
        student_step=done,
        activity="student",
        student_mark=(done, e.t),
        student_cost=_cost(state.student_cost, mark, 0, done, e.t),
    )
    if not all(map(math.isfinite, (e.loss, *e.parts.values()))):
        return _warn(
            state,
            f"The student's loss was not a number at step {format.number(done)}.",
            "Lower the student's learning rate and start again.",
        )
    weights = {"kl": 1.0, "ed": state.recipe.get("weights", {}).get("ed", 0.0)}
    return replace(
        state,
        student_loss=state.student_loss.add(
            state.pool_images,
            *(weights[k] * e.parts.get(k, 0.0) for k in STUDENT_PARTS),
            state.generator_step,
        ),
    )


def _evaluated(state: State, e: events.Evaluated) -> State:
    state = replace(state, views=state.views + bool(e.file))
    if not math.isfinite(e.student.accuracy):
        return _warn(
            state,
            "The student's accuracy was not a number.",
            "Stop the run and lower the student's learning rate.",
        )
    teacher = (
        e.teacher.accuracy
        if e.teacher and math.isfinite(e.teacher.accuracy)
        else state.teacher_accuracy
    )
    share, at = e.student.accuracy, state.generator_step
    return replace(
        state,
        accuracy=state.accuracy.add(e.pool_images, share, at),
        last_accuracy=share,
        best=(at, share) if state.best is None or share > state.best[1] else state.best,
        teacher_accuracy=teacher,
        n=e.student.n,
        final=e.final,
    )


def _control(state: State, e: events.Control) -> State:
    state = replace(
        state,
        phase=e.state if state.phase not in ENDED else state.phase,
        generator_mark=None,
        student_mark=None,
    )
    return _warn(state, e.text, "") if e.text else state


def _warning(state: State, e: events.Warned) -> State:
    return _warn(state, e.text, e.remedy)


def _run_failed(state: State, e: events.RunFailed) -> State:
    return replace(state, phase="failed", failure=e)


def _run_finished(state: State, e: events.RunFinished) -> State:
    return replace(state, phase="finished" if e.reason == "done" else "stopped", finish=e)


_FOLDS: dict[type, Any] = {
    events.RunStarted: _run_started,
    events.IterationStarted: _iteration_started,
    events.GeneratorStep: _generator_step,
    events.BatchSynthesized: _batch_synthesised,
    events.StudentStep: _student_step,
    events.Evaluated: _evaluated,
    events.Control: _control,
    events.Warned: _warning,
    events.RunFailed: _run_failed,
    events.RunFinished: _run_finished,
}


def _warn(state: State, text: str, remedy: str) -> State:
    rest = tuple(w for w in state.warnings if w[0] != text)
    return replace(state, warnings=(*rest, (text, remedy))[-MOST_WARNINGS:])


def _cost(
    old: float | None, mark: tuple[int, int, float] | None, group: int, step: int, t: float
) -> float | None:
    """Seconds per step, smoothed. Measured only between two reports with no pause and no other work
    between them.
    """
    if mark is None or mark[0] != group or step <= mark[1] or t <= mark[2]:
        return old
    new = (t - mark[2]) / (step - mark[1])
    return new if old is None else old + 0.15 * (new - old)


def _images_at(state: State, iteration: int, step: int) -> float:
    """Where a generator step lies on the image axis: the pool plus the finished share of the
    current batch.
    """
    after = pool_after(state, iteration)
    return round(
        state.pool_images
        + (after - state.pool_images) * (step + 1) / state.recipe["generator_steps"],
        2,
    )


def pool_after(state: State, iteration: int) -> int:
    """Images the pool will hold after this iteration: all that fit, or the policy's share of each
    resolution's budget.
    """
    if state.started is None:
        return state.pool_images
    sizes, here = state.scales, iteration % len(state.scales)
    batch = sizes[here].batch
    offered = batch - (held_out_count(batch) if state.tested_on == "synthetic" else 0)
    after = min(state.started.budget_images, state.pool_images + offered)
    if state.recipe["pool_policy"] == "spread":
        rounds = state.iterations // len(sizes)
        done = [iteration // len(sizes) + (k <= here) for k in range(len(sizes))]
        after = min(after, sum(scale.budget * n // max(1, rounds) for scale, n in zip(sizes, done)))
    return max(after, state.pool_images)
