"""Terminal output of runs: a progress bar, plain lines or JSON, and the handling of Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.progress import Progress

from kgen import events
from kgen.cli.console import console, progress_bar
from kgen.cli.image_progress import LINE_SECONDS, ImageProgress, describe
from kgen.distributed.launch import launch_command
from kgen.engine.controls import Controls
from kgen.phrases import count, duration

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]

QUIET_SECONDS = 30.0
"""Longest time that a run may go without writing a line to a log."""


class RunDisplay:
    """Shows events: as a progress bar on a terminal, as plain lines in a pipe, as JSON on
    request.
    """

    def __init__(self, as_json: bool, iterations: int, generator_steps: int):
        self.as_json, self.iterations = as_json, iterations
        self.generator_steps = generator_steps  # per iteration
        self.bar: Progress | None = None
        self.status, self.completed = "", 0.0
        self.teacher = ""
        self._first: tuple[float, float] | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> RunDisplay:
        if console.is_terminal and not self.as_json:
            self.bar = progress_bar()
            self.bar.start()
            self.task = self.bar.add_task("images and student", total=1, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def on_event(self, e: events.Event) -> None:
        if self.as_json:
            print(e.to_json(), flush=True)
            return
        if isinstance(e, events.RunStarted):
            formats = f", {e.computing}" if e.formats else ""
            self.line(
                f"{e.name}: teacher {e.teacher.title}, {count(len(e.classes), 'class')}, budget"
                f" {count(e.budget_images, 'image')}, on {e.device}{formats}"
            )
        elif isinstance(e, events.Warned):
            self.line(f"Warning: {e.text} {e.remedy}")
        elif isinstance(e, events.Evaluated):
            n = e.student.n
            metric = (
                ("of all {}" if e.final else "of {}").format(count(n, "real image"))
                if e.student.real
                else f"agreement with the teacher on {count(n, 'held-out synthetic image')}"
            )
            self.status = (
                f"student {e.student.accuracy:.1%} {metric},"
                f" {count(e.pool_images, 'synthetic image')}"
            )
            self.teacher = f", teacher {e.teacher.accuracy:.2%}" if e.teacher else ""
            self.line(
                f"{e.t:7.1f} s  {self.status}"
                + (f" (teacher {e.teacher.accuracy:.1%})" if e.teacher else "")
            )
        elif isinstance(e, events.RunFailed):
            location = "" if e.step is None else f" at step {e.step}"
            self.line(f"The run stopped{location}: {e.cause} {e.remedy}")
        elif isinstance(e, events.RunFinished):
            self.line(
                f"{'Done' if e.reason == 'done' else 'Stopped'} after {e.t:.1f} s."
                + (
                    f" Accuracy on {count(e.n or 0, 'real image')}: student"
                    f" {e.accuracy:.2%}{self.teacher}."
                    if e.accuracy is not None
                    else ""
                )
                + (
                    f" The student agrees with the teacher on {e.agreement:.2%} of"
                    f" {count(e.n or 0, 'held-out synthetic image')}; there were no real ones."
                    if e.agreement is not None
                    else ""
                )
            )
        if e.iteration is None:
            return
        completed, note = float(e.iteration + (e.kind == "batch_synthesised")), ""
        if isinstance(e, events.GeneratorStep) and e.step is not None:
            # a batch is complete only once its images are in the pool
            completed += min((e.step + 1) / self.generator_steps, 0.99)
            note = f"generator step {e.step + 1} of {self.generator_steps}"
        # a student's events name the previous iteration: the bar must not go back
        self.completed = max(self.completed, completed)
        self._first = self._first or (e.t, self.completed)
        if self.bar:
            progress = f"{int(self.completed)} of {count(self.iterations, 'iteration')}"
            self.bar.update(
                self.task,
                completed=self.completed,
                total=self.iterations,
                note=self.status or ", ".join(filter(None, (progress, note))),
            )
        elif time.monotonic() - self._last_line >= QUIET_SECONDS:
            parts = [f"{int(self.completed)} of {count(self.iterations, 'iteration')}", note]
            parts.append(self._time_left(e.t))
            self.line(f"{e.t:7.1f} s  {', '.join(filter(None, parts))}")

    def _time_left(self, t: float) -> str:
        """An estimate based on the speed since the first event; empty while nothing is known."""
        since, before = self._first or (t, self.completed)
        if t <= since or self.completed <= before:
            return ""
        seconds = (t - since) / (self.completed - before) * (self.iterations - self.completed)
        return f"{duration(seconds)} left"

    def on_progress(self, activity: str, done: int, total: int) -> None:
        """The progress of an evaluation on real images; see `Distillation`. May be called from
        another thread.
        """
        text = "" if done == total else describe(activity, done, total)
        if self.bar:
            self.bar.update(self.task, note=text or self.status)
        elif not self.as_json and text and time.monotonic() - self._last_line >= LINE_SECONDS:
            self.line(text)

    def note(self, text: str) -> None:
        """Say on a terminal what is being done before the run begins."""
        if self.bar:
            self.bar.update(self.task, note=text)

    def line(self, text: str) -> None:
        self._last_line = time.monotonic()
        if self.bar:
            self.bar.console.print(text)
        else:
            print(text, flush=True)


def watch(build: Callable, as_json: bool, checkpoint_every: float) -> int:
    """Run what `build(**options)` returns (a Runner) in the foreground; returns the exit code.

    Ctrl-C asks it to stop, a second one forces it.
    """
    from kgen.cli.estimates import cost_of  # needs torch

    controls = Controls()
    interrupted = threading.Event()

    def on_interrupt(*_: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        console.print("Stopping at the next step; press Ctrl-C again to quit immediately.")
        controls.send("stop")

    signal.signal(signal.SIGINT, on_interrupt)
    display: RunDisplay | ImageProgress

    def on_progress(activity: str, done: int, total: int) -> None:
        if activity == "checking" and interrupted.is_set():
            raise KeyboardInterrupt
        (display.show if isinstance(display, ImageProgress) else display.on_progress)(
            activity, done, total
        )

    try:
        with ImageProgress(quiet=as_json) as display:
            runner = build(
                controls=controls,
                checkpoint_seconds=checkpoint_every,
                on_message=console.print,
                on_progress=on_progress,
            )
    except KeyboardInterrupt:
        console.print("Stopped before the run began.")
        return 130
    recipe = runner.distillation.recipe
    with RunDisplay(as_json, recipe.total_iterations, recipe.generator_steps) as display:
        runner.on_event = display.on_event
        try:
            if runner.resumed_at is None and not as_json:
                display.note("estimating the cost")
                if cost := cost_of(runner.distillation, lambda: not interrupted.is_set()):
                    display.line(cost)
                display.note("")
            elif not as_json:
                display.line(
                    f"{recipe.name}: continuing after {runner.resumed_at} of"
                    f" {count(display.iterations, 'iteration')}"
                )
            last = runner.run()
        except KeyboardInterrupt:
            last = None
        if not as_json:
            display.line(f"Run folder: {runner.journal.path}")
    if last is None or (last.kind == "run_finished" and last.reason == "stopped"):
        processes = runner.distillation.world.size
        command = launch_command(processes, "resume", str(runner.journal.path))
        console.print(f"Resume with: {command}", soft_wrap=True)
        return 130
    return 1 if last.kind == "run_failed" else 0


def print_line(text: str) -> None:
    print(text, flush=True)
