"""Measure the cost of a generator step and a student step, part by part.

    python benchmarks/steps.py [RECIPE] [--threads N] [--repeats N]

Prints medians over interleaved rounds in one process; rely on the shares and ratios, not on the
milliseconds.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("recipe", nargs="?", default="fashion-live")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = recipes.get(args.recipe).replace(generator_steps=10_000)
    setting = Setting(recipe)
    state = LoopState(setting)
    synthesis = Synthesis(setting, state, state.snapshot())
    synthesis.step()
    synthesis.steps_done = 0
    synthesis.store(synthesis.measure(state.snapshot()))
    learner, fresh = (
        StudentTrainer(setting, state),
        StudentTrainer(Setting(recipe.replace(views=0)), state),
    )
    images = synthesis.images.clone().requires_grad_()

    def generator_alone() -> None:
        made = state.generators[28](synthesis.source.noisy_layer(setting.table[synthesis.labels]))
        made.backward(torch.ones_like(made))

    def teacher_alone() -> None:
        setting.teacher.logits(images).sum().backward()

    def teacher_watched() -> None:
        probe = setting.teacher(images)
        (
            probe.logits.sum() + sum(mean.sum() + var.sum() for mean, var, *_ in probe.batch_norm)
        ).backward()

    parts = {
        "generator step": synthesis.step,
        "  generator, forward and backward": generator_alone,
        "  teacher, forward and backward": teacher_alone,
        "  the same with BatchNorm statistics": teacher_watched,
        "storing a batch with its views": lambda: synthesis.measure(state.snapshot()),
        "student step": learner.step,
        "    the same with a teacher pass": fresh.step,
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(args.repeats):
        for name, work in parts.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[2:]) for name, values in times.items()}
    whole = medians["generator step"]
    print(f"{args.recipe}, batch {recipe.batch}, {args.threads} threads, {setting.device_title()}")
    for name, seconds in medians.items():
        print(f"{name:<40} {1e3 * seconds:7.1f} ms   {seconds / whole:5.2f} of a generator step")
    rest = (
        whole
        - medians["  generator, forward and backward"]
        - medians["  the same with BatchNorm statistics"]
    )
    print(
        f"{'  losses, student, optimizers (the rest)':<40} {1e3 * rest:7.1f} ms  "
        f" {rest / whole:5.2f} of a generator step"
    )


if __name__ == "__main__":
    main()
