"""Prints what a run will cost before it starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import torch

from kgen.distributed.launch import ProcessLost
from kgen.engine.engine import Distillation
from kgen.engine.estimate import Estimate, estimate
from kgen.phrases import size, time_span
from kgen.recipe.recipe import Recipe


class Abandoned(Exception):
    """The estimate is no longer wanted, because the run has been asked to stop."""


def cost_of(distillation: Distillation, is_wanted: Callable[[], bool]) -> str:
    """What a run will cost, as a sentence; empty if it is no longer wanted. A failed estimate is
    no reason not to run. Meanwhile, the other processes of the run wait.
    """

    def between_steps() -> None:
        distillation.world.heartbeat()
        if not is_wanted():
            raise Abandoned

    try:
        with distillation.world.while_others_wait():
            return describe_estimate(_estimate(distillation, between_steps))
    except Abandoned:
        return ""
    except ProcessLost:
        raise
    except Exception as error:  # whatever is wrong with the recipe, the run reports it
        return f"The cost of this run could not be estimated ({type(error).__name__})."


def print_estimate(recipe: Recipe, as_json: bool) -> int:
    """Print what a run of the recipe will cost; returns the exit code."""
    found = _estimate(Distillation(recipe))
    print(json.dumps(asdict(found)) if as_json else describe_estimate(found))
    return 0


def seconds_of(recipe: Recipe, threads: int) -> float:
    """How long a run of the recipe will take on this many threads. Raises KGenError."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _estimate(Distillation(recipe)).seconds
    finally:
        torch.set_num_threads(before)


def _estimate(
    distillation: Distillation, between_steps: Callable[[], None] = lambda: None
) -> Estimate:
    return estimate(
        distillation.setting,
        distillation.state.formats,
        concurrent=distillation.concurrent,
        between_steps=between_steps,
    )


def describe_estimate(e: Estimate) -> str:
    """An estimate as one line of text."""
    parts = [f"Estimated cost: about {time_span(e.seconds)} on this machine"]
    if e.memory is not None:
        parts.append(f"{size(e.memory)} of memory")
    parts += [f"{size(e.folder)} on disk", f"a pool of {size(e.pool)}"]
    if e.network:
        parts.append(f"{size(e.network)} sent by each process")
    return f"{', '.join(parts)}."
