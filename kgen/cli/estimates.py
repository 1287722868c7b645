"""Prints what a run will cost before it starts."""

from __future__ import annotations

import json
from dataclasses import asdict

from kgen.engine.engine import Distillation
from kgen.engine.estimate import Estimate, estimate
from kgen.phrases import size, time_span
from kgen.recipe.recipe import Recipe


def estimate_of(distillation: Distillation) -> Estimate:
    """What a run will cost. The other processes of the run wait."""
    with distillation.world.while_others_wait():
        return estimate(
            distillation.setting,
            distillation.state.formats,
            concurrent=distillation.concurrent,
        )


def print_estimate(recipe: Recipe, as_json: bool) -> int:
    """Print what a run of the recipe will cost; returns the exit code."""
    found = estimate_of(Distillation(recipe))
    print(json.dumps(asdict(found)) if as_json else describe_estimate(found))
    return 0


def describe_estimate(e: Estimate) -> str:
    """An estimate as a sentence."""
    parts = [f"Takes about {time_span(e.seconds)} on this machine"]
    if e.memory is not None:
        parts.append(f"{size(e.memory)} of memory")
    parts += [f"{size(e.folder)} on disk", f"a pool of {size(e.pool)}"]
    if e.network:
        parts.append(f"{size(e.network)} sent by each process")
    return f"{', '.join(parts)}."
