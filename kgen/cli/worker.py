"""The child process that runs the engine for the app and for sweeps, driven by JSON lines.

It warms up, receives a recipe on one line, and then obeys control lines. It prints JSON lines
{"kind": ready | started | error | waiting | progress, …} and writes the run to its folder.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from kgen.engine.controls import Controls
from kgen.errors import DiskError, KGenError
from kgen.recipe.recipe import Recipe, RecipeError, parse
from kgen.recipes import recipes

PROGRESS_SECONDS = 0.3
"""Minimum seconds between two messages about the progress of a test on real images."""


def run_controlled(checkpoint_every: float) -> int:
    """Run the recipe and folder on the first line of input, then obey control lines.

    End of input means stop. Returns the exit code.
    """
    from kgen.engine.engine import Distillation
    from kgen.journal.runner import Runner, RunnerOptions

    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C in the app's terminal reaches us too; the app decides what to do

    def send_message(kind: str, **fields: Any) -> None:
        print(json.dumps({"kind": kind, **fields}), flush=True)

    # while nobody is waiting, load the data, warm up the kernels, and make torch import what its
    # first optimizer needs (1.5 s)
    Distillation(recipes.get("fashion-live"))
    send_message("ready")
    line = sys.stdin.readline()
    if not line.strip():
        return 0
    try:
        recipe, folder = _parse_command(line)
    except RecipeError as error:
        send_message("error", text=str(error), code=error.code)
        return 2
    except (ValueError, KeyError, TypeError) as error:
        send_message(
            "error", text=f"The first line of input is not a recipe and a folder: {error!r}."
        )
        return 2
    controls = Controls()
    threading.Thread(target=read_controls, args=(controls, send_message), daemon=True).start()
    last_progress = 0.0

    def on_progress(activity: str, done: int, total: int) -> None:
        nonlocal last_progress
        if activity == "checking" and controls.stop_pending():
            raise KGenError(
                "The run was stopped while its real images were being checked.", code="interrupted"
            )
        if done == total or time.monotonic() - last_progress >= PROGRESS_SECONDS:
            last_progress = time.monotonic()
            send_message("progress", activity=activity, done=done, total=total)

    options: RunnerOptions = {
        "checkpoint_seconds": checkpoint_every,
        "on_message": lambda text: send_message("waiting", text=text),
    }
    try:
        if recipe is None:
            runner = Runner.resume(folder, controls=controls, on_progress=on_progress, **options)
        else:
            runner = Runner.new(
                recipe, folder, controls=controls, on_progress=on_progress, **options
            )
    except KGenError as error:
        send_message("error", text=str(error), code=error.code)
        return 2
    except OSError as error:
        send_message("error", text=str(error))
        return 2
    send_message("started", folder=str(runner.journal.path))
    try:
        last = runner.run()
    except DiskError as error:
        send_message("error", text=str(error), code=error.code)
        return 1
    return 1 if last.kind == "run_failed" else 0


def _parse_command(line: str) -> tuple[Recipe | None, str]:
    """(recipe, folder) of a new run, or (None, folder) of a run to resume."""
    command = json.loads(line)
    if "resume" in command:
        return None, str(command["resume"])
    return parse(command["recipe"]), str(command["folder"])


def read_controls(controls: Controls, send_message: Callable[..., None]) -> None:
    """Forward control lines until input ends, which means stop."""
    for line in sys.stdin:
        try:
            command = json.loads(line)
            controls.send(command["do"], command.get("unit"), command.get("id"), command.get("why"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            send_message("error", text=f"Not a control line: {error}")
    controls.send("stop")
