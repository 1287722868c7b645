"""Compare the cost of several resolutions with that of one, at equal pixels (the paper reports 1.3×
to 1.6×).

    python benchmarks/resolutions.py [RECIPE] [--sides 28 20] [--threads N] [--rounds N] [--device
    auto]

A round consists of one iteration at the first side alone (batch B), one iteration at each of the
sides with its share of the same pixels, and the same number of student steps from each pool. Rounds
are interleaved in one process; the result is the ratio of the medians.
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
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from kgen.engine.setting import Setting
from kgen.engine.state import LoopState
from kgen.engine.student_training import StudentTrainer
from kgen.engine.synthesis import Synthesis
from kgen.recipes import recipes

STUDENT_STEPS = 30


class Contender:
    """Makes a recipe's iterations and student steps one round at a time."""

    def __init__(self, recipe):
        self.recipe, self.setting = recipe, Setting(recipe)
        self.state = LoopState(self.setting)
        self.learner = StudentTrainer(self.setting, self.state)

    def images(self) -> int:
        """Run one epoch's iterations; returns the number of pixels generated."""
        pixels = 0
        for _ in self.recipe.resolutions:
            made = Synthesis(self.setting, self.state, self.state.snapshot())
            for _ in range(self.recipe.generator_steps):
                made.step()
            made.store(made.measure(self.state.snapshot()))
            self.state.iterations += 1
            pixels += made.images.shape[0] * made.scale.side**2
        return pixels

    def steps(self) -> None:
        for _ in range(STUDENT_STEPS):
            self.learner.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("recipe", nargs="?", default="fashion-live")
    parser.add_argument("--sides", nargs="+", type=int, default=[28, 20])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    base = recipes.get(args.recipe).replace(
        iterations=1, epochs=1000, device=args.device, pool_policy="fifo"
    )
    one, many = (
        Contender(base.replace(resolutions=sides)) for sides in (args.sides[:1], args.sides)
    )
    times: dict[str, dict[Contender, list[float]]] = {
        "images": {one: [], many: []},
        "student": {one: [], many: []},
    }
    pixels = {}

    def timed(work) -> float:
        start = time.perf_counter()
        work()
        if one.setting.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for i in range(args.rounds + 1):
        for who in (one, many):
            images = timed(lambda who=who: pixels.update({who: who.images()}))
            student = timed(who.steps)
            if i:  # the first round is a warm-up
                times["images"][who].append(images)
                times["student"][who].append(student)
    print(
        f"{args.recipe}, {args.threads} threads, {one.setting.device_title()}, {args.rounds} rounds"
    )
    print(
        f"pixels per iteration: {pixels[one]:,} at {args.sides[:1]}, {pixels[many]:,} at"
        f" {args.sides} ({pixels[many] / pixels[one]:.3f})"
    )
    times["both"] = {
        who: [sum(pair) for pair in zip(times["images"][who], times["student"][who])]
        for who in (one, many)
    }
    for what, by in times.items():
        a, b = (statistics.median(by[who]) for who in (one, many))
        print(f"{what:<8} one resolution {a:7.2f} s   several {b:7.2f} s   ratio {b / a:.3f}")


if __name__ == "__main__":
    main()
