"""Compare what `run --estimate` predicts with what the run then takes.

    python benchmarks/costs.py [RECIPE …] [--set FIELD=VALUE …]

Prints, for each recipe, seconds, peak memory, and bytes of the run folder: predicted, measured, and
their ratio. Each number comes from a process of its own. The machine must be otherwise idle.
Needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kgen.phrases import size

DEFAULT = ("fashion-live", "cifar10-live", "imagenette-live", "imagenet-peek")


def kgen(*arguments: str) -> tuple[list[str], int]:
    """The lines that a command prints, and its peak memory in bytes. Raises SystemExit."""
    command = [sys.executable, "-m", "kgen", *arguments]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(arguments)} ended with status {status}")
        output.seek(0)
        lines = output.read().decode().splitlines()
    return lines, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("recipes", nargs="*", default=DEFAULT)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()
    settings = [word for setting in args.settings for word in ("--set", setting)]
    print(f"{'recipe':<18} {'':<8} {'predicted':>10} {'measured':>10} {'ratio':>6}")
    for recipe in args.recipes:
        predicted = json.loads(kgen("run", recipe, *settings, "--estimate", "--json")[0][-1])
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            lines, memory = kgen("run", recipe, *settings, "--out", str(run), "--json")
            on_disk = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
        seconds = json.loads(lines[-1])["t"]
        for name, found, text in (
            ("seconds", seconds, lambda n: f"{n:.1f}"),
            ("memory", memory, size),
            ("folder", on_disk, size),
        ):
            ratio = predicted[name] / found if predicted[name] is not None else float("nan")
            print(
                f"{recipe:<18} {name:<8} {text(predicted[name] or 0):>10} {text(found):>10}"
                f" {ratio:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
