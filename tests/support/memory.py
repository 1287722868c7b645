"""The peak memory that a piece of code needs, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
{before}
start = peak()
{code}
print(peak() - start)
"""


def peak_megabytes(code: str, *arguments: object, before: str = "") -> float:
    """How much the peak grows while the code runs. `before`: code to run first, such as imports
    and the first use of everything. Skips the test if the system does not report the peak.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux reports the peak memory of a process")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(before=before, code=code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) / 1024
