"""A trial's progress, from its run folder alone: a sweep keeps no other record of its runs."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from kgen import events
from kgen.journal.reading import RECIPE_FILE, JournalError, being_written, open_run
from kgen.recipe.recipe import Recipe
from kgen.sweep.grid import Sweep, Trial
from kgen.sweep.stopping import Point
from kgen.system.files import fingerprint

HOPELESS = "hopeless"
"""The id of the control that stops a hopeless trial."""
State = Literal["waiting", "running", "interrupted", "done", "stopped", "failed"]
NEEDED = tuple(
    f'"kind":"{kind}"'.encode() for kind in ("evaluated", "control", "run_finished", "run_failed")
)
MACHINE_FIELDS = {"name", "embedding", "real_images", "classes"}
"""Fields whose values in a run folder may differ from the recipe that the run was started with."""


@dataclass(frozen=True)
class Progress:
    """A trial's state and results; None for what it does not have (yet)."""

    state: State = "waiting"
    accuracy: float | None = None
    """The student's, on `n` real images; for a stopped trial, at the moment it was stopped."""
    agreement: float | None = None
    """With the teacher, on `n` synthetic images, if there are no real ones."""
    n: int = 0
    seconds: float = 0.0
    why: str = ""
    """Why it failed or was stopped."""
    curve: tuple[Point, ...] = ()
    resumable: bool = True
    """Whether a failed run can be tried again."""

    @property
    def over(self) -> bool:
        """Whether no process will continue it by itself."""
        return self.state in ("done", "stopped", "failed")


def progress(folder: Path, trial: Trial) -> Progress:
    """The progress of a trial in a sweep's folder."""
    path = folder / trial.name
    if not (path / RECIPE_FILE).is_file():
        return Progress()
    key = tuple(fingerprint(path / name) for name in (RECIPE_FILE, "events.jsonl"))
    recipe, found = _read(path, key)
    if recipe is not None and (other := _differences(recipe, trial.recipe)):
        return Progress(
            "failed",
            why=f"Its folder contains a different run (different {other}).",
            resumable=False,
        )
    if found.state == "interrupted" and being_written(path):
        return replace(found, state="running")
    return found


def _differences(recipe: Recipe, wanted: Recipe) -> str:
    fields = (f for f in Recipe.model_fields if f not in MACHINE_FIELDS)
    return ", ".join(f for f in fields if getattr(recipe, f) != getattr(wanted, f))


def progress_of(folder: Path, sweep: Sweep) -> dict[str, Progress]:
    """The progress of every trial, by name."""
    return {trial.name: progress(folder, trial) for trial in sweep.trials}


def point(event: events.Evaluated) -> Point | None:
    """A test of a student during a run; None for the test at its end, which has no step."""
    score = event.student
    return (
        None if event.step is None else Point(event.step + 1, score.accuracy, score.n, score.real)
    )


@functools.lru_cache(maxsize=20_000)
def _read(path: Path, key: tuple) -> tuple[Recipe | None, Progress]:
    """A run folder's recipe and progress. `key` changes with its files."""
    try:
        recipe = open_run(path).recipe
    except JournalError as error:
        return None, Progress("failed", why=str(error), resumable=False)
    curve: list[Point] = []
    hopeless: str | None = None
    last: events.Event | None = None
    for event in _milestones(path / "events.jsonl"):
        last = event
        if isinstance(event, events.Evaluated) and (test := point(event)):
            curve.append(test)
        elif isinstance(event, events.Control) and event.id == HOPELESS:
            hopeless = event.why or ""
    found = Progress(seconds=last.t if last else 0.0, curve=tuple(curve))
    if isinstance(last, events.RunFailed):
        return recipe, replace(found, state="failed", why=f"{last.cause} {last.remedy}".strip())
    if not isinstance(last, events.RunFinished) or (last.reason == "stopped" and hopeless is None):
        return recipe, replace(found, state="interrupted")
    return recipe, replace(
        found,
        state="done" if last.reason == "done" else "stopped",
        accuracy=last.accuracy,
        agreement=last.agreement,
        n=last.n,
        why=hopeless or "",
    )


def _milestones(file: Path) -> list[events.Event]:
    """The events that a trial's state depends on. Reads a long run's file without parsing each of
    its steps.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return []
    complete, *_ = data.rpartition(b"\n")
    lines = complete.split(b"\n")
    found = []
    for i, line in enumerate(lines):
        if line and (i == len(lines) - 1 or any(kind in line for kind in NEEDED)):
            try:
                found.append(events.from_json(line))
            except ValidationError:  # the run's own page says where it is damaged
                continue
    return found
