"""Run the bundled recipes on a machine with little memory.

    sudo python benchmarks/memory_limit.py [RECIPE …] [--limit 4]

Every recipe runs to its end, with all of its batches, a full pool, and every test, in a control
group that may use `--limit` GiB, without swap. So that this takes minutes instead of hours, each
batch takes one generator step and each epoch one student step: peak memory is that of a step, a
stored batch, or a test, however many there are. Prints the peak memory of each process, next to
what `run --estimate` predicts for the whole recipe. Linux only; needs the right to create a control
group, and the data sets of the recipes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kgen.phrases import size

GROUPS = Path("/sys/fs/cgroup")
DEFAULT = (
    "fashion-live",
    "fashion-long",
    "fashion-vit",
    "fashion-lesson",
    "cifar10-live",
    "cifar10-long",
    "imagenette-live",
    "imagenette-long",
    "imagenet-peek",
)
SHORT = ("--set", "generator_steps=1", "--set", "student_steps=1")


@contextmanager
def control_group(limit: int) -> Iterator[Path]:
    """A control group, version 1 or 2, whose processes may use `limit` bytes in total."""
    first = (GROUPS / "memory").is_dir()
    group = (GROUPS / "memory" if first else GROUPS) / "kgen-memory-limit"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))
        swap = group / ("memory.memsw.limit_in_bytes" if first else "memory.swap.max")
        if swap.exists():
            swap.write_text(str(limit) if first else "0")
        yield group
    finally:
        group.rmdir()


def run(arguments: list[str], group: Path) -> tuple[int, int, str]:
    """(exit status, peak memory in bytes, output) of a kgen command in the control group."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kgen", *arguments],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        )
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return code, usage.ru_maxrss * 1024, output.read().decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("recipes", nargs="*", default=DEFAULT)
    parser.add_argument("--limit", type=float, default=4.0, help="GiB")
    args = parser.parse_args()
    with control_group(round(args.limit * 2**30)) as group:
        print(f"{'recipe':<18} {'predicted':>10} {'peak':>10}   ended")
        for recipe in args.recipes:
            _, _, output = run(["run", recipe, "--estimate", "--json"], group)
            predicted = json.loads(output.splitlines()[-1])["memory"]
            with tempfile.TemporaryDirectory() as folder:
                code, peak, output = run(["run", recipe, *SHORT, "--out", f"{folder}/run"], group)
            ended = "normally" if code == 0 else f"with {code}: {output.splitlines()[-1]}"
            print(f"{recipe:<18} {size(predicted):>10} {size(peak):>10}   {ended}", flush=True)


if __name__ == "__main__":
    main()
