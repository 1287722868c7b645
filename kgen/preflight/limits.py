"""What a process that reads a stranger's file may use at most, and how much memory it used. Knows
no torch.

Limits are the system's own (`resource`): Linux keeps all of them, macOS processor time only,
Windows none. There the time limit of the parent (`kgen.preflight.request`) is what is left.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

STATUS, REFRESH = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SLACK = 2**30 + 2**28 * (os.cpu_count() or 1)
"""Address space for stacks and heaps of threads that have yet to start, which is reserved and
hardly used.
"""


@contextlib.contextmanager
def limited(memory: int | None = None, seconds: float | None = None) -> Iterator[None]:
    """At most so many bytes of memory more than now, and so many seconds of processor time; as
    before afterwards.

    Beyond the memory an allocation fails (MemoryError, or what a library makes of it); beyond the
    time the system ends the process with SIGXCPU.
    """
    before = []
    wanted = {
        "RLIMIT_AS": (
            None if memory is None or not (now := _status("VmSize")) else now + memory + SLACK
        ),
        "RLIMIT_CPU": None if seconds is None else int(time.process_time() + seconds) + 1,
        "RLIMIT_CORE": 0,  # no dump of a process that the limit ends
    }
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None or value is None:
            continue
        soft, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        if soft != resource.RLIM_INFINITY:
            value = min(value, soft)
        with contextlib.suppress(OSError, ValueError):  # a system that does not keep this limit
            resource.setrlimit(kind, (value, hard))
            before.append((kind, (soft, hard)))
    try:
        yield
    finally:
        for kind, old in before:
            resource.setrlimit(kind, old)


def free_memory() -> int | None:
    """Bytes that the system could still give; None where it does not say."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return (
            int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
        )
    return None


def forget_peak() -> None:
    """Let `peak_memory` count from here, where the system can."""
    with contextlib.suppress(OSError):
        REFRESH.write_text("5")


def peak_memory() -> int | None:
    """Most bytes of memory that this process had at a time; None where the system does not say."""
    if (peak := _status("VmHWM")) is not None or resource is None:
        return peak
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if os.uname().sysname == "Darwin" else most * 1024


def _status(field: str) -> int | None:
    with contextlib.suppress(OSError, ValueError, StopIteration):
        return (
            int(
                next(
                    line for line in STATUS.read_text().splitlines() if line.startswith(field + ":")
                ).split()[1]
            )
            * 1024
        )
    return None
