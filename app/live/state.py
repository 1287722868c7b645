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
from kgen.system.paths import last_part
from kgen.terms import STUDENT

MAX_POINTS = 300
MAX_WARNINGS = 5
ENDED = ("finished", "stopped", "failed")
OPINION = ("chosen", "top1", "top5")
"""Shares of a batch that the judge classifies as intended: among the chosen classes, among all the
classes it knows, and among its top five.
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """At most MAX_POINTS rows of an unbounded series, evenly thinned; the first and the newest are
    always kept.
    """

    thinned: tuple[tuple[float, ...], ...] = ()
    newest: tuple[float, ...] | None = None
    stride: int = 1
    count: int = 0

    def add(self, *row: float) -> Curve:
        if self.count % self.stride:
            return replace(self, newest=row, count=self.count + 1)
        thinned, stride = (*self.thinned, row), self.stride
        if len(thinned) >= MAX_POINTS:
            thinned, stride = thinned[::2], 2 * stride
        return Curve(thinned, row, stride, self.count + 1)

    def rows(self) -> tuple[tuple[float, ...], ...]:
        return (
            self.thinned
            if self.newest is None or self.thinned[-1] is self.newest
            else (*self.thinned, self.newest)
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
    test_size: int = 0
    final: bool = False
    warnings: tuple[tuple[str, str], ...] = ()
    failure: events.RunFailed | None = None
    finish: events.RunFinished | None = None
    generator_cost: float | None = None
    """Seconds per generator step, excluding pauses."""
    student_cost: float | None = None
    first_cost: float | None = None
    """The generator's cost at the end of the first epoch in which the student trains."""
    slowdown: float | None = None
    """The generator's cost at the end of the last iteration, divided by `first_cost`."""
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
        return self.started.test_kind if self.started else "test"

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The resolutions; see `resolution`."""
        return scales.of_run(self.started) if self.started else ()

    @property
    def processes(self) -> int:
        return (self.started and self.started.processes) or 1

    def resolution(self, iteration: int) -> int:
        """Index of an iteration's resolution, which changes once every process has made a batch."""
        return iteration // self.processes % len(self.scales)

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
    def generation_done(self) -> bool:
        return self.started is not None and self.iterations_done >= self.iterations

    @property
    def generator_step(self) -> int:
        """Generator steps done in the whole run so far."""
        current_steps = (
            self.step + 1
            if self.iteration is not None and self.iteration >= self.iterations_done
            else 0
        )
        return self.iterations_done * self.recipe.get("generator_steps", 0) + current_steps

    @property
    def has_class_subset(self) -> bool:
        return self.recipe.get("classes") is not None


def fold(state: State, event: Event) -> State:
    """The state after one more event. A NaN or infinity becomes a warning and never a point."""
    event = _without_path(state, event)
    after = _FOLDS[type(event)](state, event)
    return replace(after, t=event.t, marks=marks.add_marks(state, after, event))


def _without_path(state: State, event: Event) -> Event:
    """The event without the path to the user's real images, which warnings of old runs contain."""
    path = state.recipe.get("real_images")
    for name in ("text", "cause"):
        if path and path in (text := getattr(event, name, None) or ""):
            event = event.model_copy(update={name: text.replace(path, last_part(path))})
    return event


def _run_started(state: State, event: events.RunStarted) -> State:
    score = event.card_score
    return State(
        started=event,
        phase="running",
        teacher_accuracy=score.accuracy if score else None,
        test_size=score.n if score else 0,
    )


def _iteration_started(state: State, event: events.IterationStarted) -> State:
    return replace(
        state,
        iteration=event.iteration,
        step=-1,
        activity="generator",
        generator_mark=(event.iteration or 0, -1, event.t),
    )


def _generator_step(state: State, event: events.GeneratorStep) -> State:
    iteration, step = event.iteration or 0, event.step or 0
    state = replace(
        state,
        iteration=iteration,
        step=step,
        activity="generator",
        generator_mark=(iteration, step, event.t),
        generator_cost=_cost(state.generator_cost, state.generator_mark, iteration, step, event.t),
    )
    non_finite = [name for name, value in event.parts.items() if not math.isfinite(value)]
    for name in non_finite:
        state = _warn(
            state,
            f"The loss term “{events.term_title(state.started, name)}” was not a number at"
            f" generator step {step + 1} of iteration {iteration + 1}.",
            "A learning rate or a weight is probably too high. Start again with a lower one.",
        )
    if non_finite or not state.started:
        return state
    weight = state.started.term_weight
    return replace(
        state,
        loss=state.loss.add(
            _images_at(state, iteration, step),
            *(weight(k) * event.parts.get(k, 0.0) for k in state.started.term_names),
            state.generator_step,
        ),
    )


def _batch_synthesised(state: State, event: events.BatchSynthesized) -> State:
    opinion, shares = (
        state.opinion,
        ([getattr(event.judged, name) for name in OPINION] if event.judged else []),
    )
    if shares and all(map(math.isfinite, shares)):
        opinion = opinion.add(
            event.pool_images,
            *shares,
            ((event.iteration or 0) + 1) * state.recipe.get("generator_steps", 0),
        )
    iterations_done, first_cost = (event.iteration or 0) + 1, state.first_cost
    if iterations_done >= state.warmup_iterations + state.epoch_iterations:
        first_cost = first_cost or state.generator_cost
    return replace(
        state,
        iterations_done=iterations_done,
        first_cost=first_cost,
        slowdown=(state.generator_cost or 0.0) / first_cost if first_cost else None,
        pool_images=event.pool_images,
        budget_used=event.budget_used,
        opinion=opinion,
        student_mark=(state.student_step, event.t) if state.sequential else state.student_mark,
    )


def _student_step(state: State, event: events.StudentStep) -> State:
    done = (event.step or 0) + 1
    mark = state.student_mark and (0, *state.student_mark)
    state = replace(
        state,
        student_step=done,
        activity="student",
        student_mark=(done, event.t),
        student_cost=_cost(state.student_cost, mark, 0, done, event.t),
    )
    if not all(map(math.isfinite, (event.loss, *event.parts.values()))):
        return _warn(
            state,
            f"The student's loss was not a number at step {format.number(done)}.",
            "Lower the student's learning rate and start again.",
        )
    recipe_weights = state.recipe.get("weights", {})
    weights = {t.name: recipe_weights.get(t.name, 0.0) if t.weighted else 1.0 for t in STUDENT}
    return replace(
        state,
        student_loss=state.student_loss.add(
            state.pool_images,
            *(weights[k] * event.parts.get(k, 0.0) for k in STUDENT_PARTS),
            state.generator_step,
        ),
    )


def _evaluated(state: State, event: events.Evaluated) -> State:
    state = replace(state, views=state.views + bool(event.file))
    if not math.isfinite(event.student.accuracy):
        return _warn(
            state,
            "The student's accuracy was not a number.",
            "Stop the run and lower the student's learning rate.",
        )
    teacher = (
        event.teacher.accuracy
        if event.teacher and math.isfinite(event.teacher.accuracy)
        else state.teacher_accuracy
    )
    share, moment = event.student.accuracy, state.generator_step
    return replace(
        state,
        accuracy=state.accuracy.add(event.pool_images, share, moment),
        last_accuracy=share,
        best=(moment, share) if state.best is None or share > state.best[1] else state.best,
        teacher_accuracy=teacher,
        test_size=event.student.n,
        final=event.final,
    )


def _control(state: State, event: events.Control) -> State:
    state = replace(
        state,
        phase=event.state if state.phase not in ENDED else state.phase,
        generator_mark=None,
        student_mark=None,
    )
    return _warn(state, event.text, "") if event.text else state


def _warning(state: State, event: events.Warned) -> State:
    return _warn(state, event.text, event.remedy)


def _run_failed(state: State, event: events.RunFailed) -> State:
    return replace(state, phase="failed", failure=event)


def _run_finished(state: State, event: events.RunFinished) -> State:
    return replace(state, phase="finished" if event.reason == "done" else "stopped", finish=event)


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
    return replace(state, warnings=(*rest, (text, remedy))[-MAX_WARNINGS:])


def _cost(
    previous: float | None, mark: tuple[int, int, float] | None, group: int, step: int, t: float
) -> float | None:
    """Seconds per step, smoothed. Measured only between two reports with no pause and no other work
    between them.
    """
    if mark is None or mark[0] != group or step <= mark[1] or t <= mark[2]:
        return previous
    measured = (t - mark[2]) / (step - mark[1])
    return measured if previous is None else previous + 0.15 * (measured - previous)


def _images_at(state: State, iteration: int, step: int) -> float:
    """Where a generator step falls on the image axis: the pool plus the finished share of the
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
    scales, index = state.scales, state.resolution(iteration)
    batch = scales[index].batch
    new_images = batch - (held_out_count(batch) if state.tested_on == "synthetic" else 0)
    after = min(state.started.budget_images, state.pool_images + new_images)
    if state.recipe["pool_policy"] == "spread":
        rounds, turn = state.iterations // len(scales), state.processes * len(scales)
        done = [
            iteration // turn * state.processes
            + min(state.processes, max(0, iteration % turn + 1 - k * state.processes))
            for k in range(len(scales))
        ]
        after = min(
            after, sum(scale.budget * n // max(1, rounds) for scale, n in zip(scales, done))
        )
    return max(after, state.pool_images)
