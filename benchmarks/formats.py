"""Measure how much each precision and memory format speeds up the bundled teachers, students and
generators on this machine.

    python benchmarks/formats.py [--threads N] [--rounds N]

Times one forward and backward pass in each format, in interleaved rounds in one process. Prints the
speedup over single precision in NCHW (medians), and that of a whole generator step in the formats
that the engine would choose. Uses CUDA if available.
"""

from __future__ import annotations

import os

for _name, _value in {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
}.items():
    os.environ.setdefault(_name, _value)

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn

from kgen import precision
from kgen.engine.setting import Setting
from kgen.engine.state import LoopState
from kgen.engine.synthesis import Synthesis
from kgen.events import format_name
from kgen.precision import PLAIN, Format, set_format
from kgen.recipe.recipe import Recipe
from kgen.recipes import recipes

WORK = {
    "fashion-cnn": recipes.get("fashion-live"),
    "fashion-vit": recipes.get("fashion-vit"),
    "cifar10-cnn": recipes.get("cifar10-live"),
    "imagenette-slim": recipes.get("imagenette-live"),
    "imagenet-lite0": (
        recipes.get("imagenet-peek").replace(
            source="noise", generator_crop=1.0, crop_curriculum=False
        )
    ),
}
"""Teacher → a recipe that provides the batch, side and student."""
Name = TypeVar("Name")


def medians(parts: dict[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """Median seconds of each part over interleaved rounds, after a warm-up round."""
    times: dict[Name, list[float]] = {name: [] for name in parts}
    for _ in range(rounds + 1):
        for name, work in parts.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def passes(
    network: nn.Module, x: torch.Tensor, formats: list[Format]
) -> dict[Format, Callable[[], object]]:
    """For each format, a function that runs a forward and backward pass of a copy."""

    def work(format: Format) -> Callable[[], object]:
        trial = copy.deepcopy(network)
        set_format(trial, format)
        return lambda: precision.apply(trial, trial, x).sum().backward()

    return {format: work(format) for format in formats}


def step(recipe: Recipe, formats: dict[str, Format]) -> Callable[[], object]:
    """A function that takes a whole generator step in these formats."""
    setting = Setting(recipe.replace(generator_steps=10_000, judge="none", evaluate_on="none"))
    synthesis = Synthesis(setting, LoopState(setting, formats), None)
    return synthesis.step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    torch.set_num_threads(args.threads)
    for name, recipe in WORK.items():
        recipe = recipe.replace(
            precision="auto", memory_format="auto", evaluate_on="none", judge="none"
        )
        setting = Setting(recipe)
        state, formats = (
            LoopState(setting, dict.fromkeys(precision.NETWORKS, PLAIN)),
            precision.candidates(recipe, setting.device),
        )
        side, batch = setting.sides[0], recipe.batch
        images = torch.rand(
            batch, setting.card.channels, side, side, device=setting.device, requires_grad=True
        )
        code = torch.randn(batch, recipe.noise_width, device=setting.device)
        print(f"{name}, {batch} images at {side} × {side}, {setting.device_title()}")
        chosen = {}
        for network, x, part in (
            (setting.teacher.network, images, "teacher"),
            (state.student.train(), images.detach(), "student"),
            (state.generators[side], code, "generator"),
        ):
            found = medians(passes(network, x, formats), args.rounds)
            chosen[part] = precision.choose(found)
            print(
                f"  {part:<10}"
                + "   ".join(
                    f"{format_name(*format)} {found[PLAIN] / seconds:4.2f}×"
                    for format, seconds in found.items()
                )
            )
        before, after = medians(
            {
                "plain": step(recipe, dict.fromkeys(precision.NETWORKS, PLAIN)),
                "chosen": step(recipe, chosen),
            },
            args.rounds,
        ).values()
        print(
            "  a whole generator step,"
            f" {', '.join(f'{part} {format_name(*format)}' for part, format in chosen.items())}:"
            f" {before / after:.2f}×"
        )


if __name__ == "__main__":
    main()
