"""Trials of a sweep without an engine: run folders with predictable tests, in milliseconds.

As a script, it is a child with the protocol of `python -m kgen run - --control`. The student's
accuracy is the recipe's weight kr plus a thousandth of the seed; half of it at half of the steps.
The weight tv decides what goes wrong: 1 refuses, 2 crashes, 3 fails.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kgen import events
from kgen.journal.journal import Journal
from kgen.recipe.recipe import Recipe, parse
from kgen.recipes import recipes
from kgen.sweep import grid
from kgen.sweep.grid import Axis, Sweep

COMMAND = (sys.executable, "-m", "tests.support.sweeping")
TESTS = 4


def recipe(**changes) -> Recipe:
    return recipes.tiny().replace(**{"weights.kr": 0.5} | changes)


def accuracy(r: Recipe) -> float:
    return r.weights.kr + r.seed / 1000


def evaluated(r: Recipe, test: int, real: bool = True) -> events.Evaluated:
    """Test 1 to TESTS, the last after all student steps."""
    share = accuracy(r) * min(1.0, 0.5 * test / TESTS + 0.25 * (test // (TESTS // 2)))
    return events.Evaluated(
        t=float(test),
        epoch=0,
        iteration=0,
        step=r.total_student_steps * test // TESTS - 1,
        student=events.Score(accuracy=share, n=2_000, real=real),
        pool_images=20,
        budget_used=0.5,
    )


def ended(r: Recipe, reason: str = "done", real: bool = True, t: float = 5.0) -> events.RunFinished:
    share = {"accuracy" if real else "agreement": accuracy(r)}
    return events.RunFinished(t=t, reason=reason, n=10_000 if real else 90, **share)


def record(path: Path, r: Recipe, tests: int = TESTS, end: events.Event | None = None, **info):
    """A run folder with some tests, and the run's end if there is one."""
    journal = Journal.create(path, r, device="cpu", teacher_sha256="of no teacher", **info)
    for test in range(1, tests + 1):
        journal.write(evaluated(r, test))
    if end:
        journal.write(end)
    journal.close()
    return path


def record_sweep(folder: Path, write_run: Callable[[Path, Recipe], object]) -> Sweep:
    """A sweep of two fields and two seeds: seven runs made by `write_run`, one not started."""
    axes = (Axis("weights.kr", (0.1, 0.5)), Axis("generator_steps", (2, 3)))
    sweep = grid.write(folder, Sweep(recipe(), axes, (0, 1)))
    for trial in sweep.trials[:-1]:
        write_run(folder / trial.name, trial.recipe)
    return sweep


def tell(kind: str, **more) -> None:
    print(json.dumps({"kind": kind, **more}), flush=True)


def main() -> int:
    tell("ready")
    order = json.loads(sys.stdin.readline())
    if "resume" in order:
        path = Path(order["resume"])
        r = parse((path / "recipe.json").read_bytes())
        journal = Journal.reopen(path, 0, 0)
    else:
        r = parse(order["recipe"])
        if r.weights.tv == 1:
            tell("error", text="This recipe cannot be run here.", code="conflict")
            return 2
        journal = Journal.create(order["folder"], r, device="cpu", teacher_sha256="of no teacher")
    tell("started", folder=str(journal.path))
    controls: queue.Queue = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            controls.put(json.loads(line))
        controls.put({"do": "stop", "id": 1})

    threading.Thread(target=listen, daemon=True).start()
    for test in range(1, TESTS + 1):
        journal.write(evaluated(r, test))
        if r.weights.tv == 2:
            print("RuntimeError: the machine is on fire", file=sys.stderr, flush=True)
            os._exit(3)
        if r.weights.tv == 3:
            journal.write(events.RunFailed(cause="A loss is not finite.", remedy="Lower it."))
            return 1
        pause = float(os.environ.get("KGEN_TEST_PAUSE", "0.05"))
        end = time.monotonic() + (pause if test < TESTS else 0)
        while time.monotonic() < end or not controls.empty():
            try:
                control = controls.get(timeout=0.01)
            except queue.Empty:
                continue
            journal.write(
                events.Control(
                    id=control["id"], action="stop", state="stopping", why=control.get("why")
                )
            )
            journal.write(ended(r, "stopped"))
            return 0
    journal.write(ended(r))
    return 0


if __name__ == "__main__":
    sys.exit(main())
