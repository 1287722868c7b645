"""Resource limits for a process that reads an untrusted file, and how much memory it used.

Independent of torch. The limits are the operating system's (`resource`): Linux enforces all of
them, macOS only processor time, Windows none. There, only the parent's time limit
(`kgen.preflight.request`) applies.
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
    resource = None  # type: ignore[assignment]

STATUS, REFRESH = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SLACK = 2**30 + 2**28 * (os.cpu_count() or 1)
"""Address space reserved for stacks and heaps of threads that have yet to start; hardly used."""


@contextlib.contextmanager
def limited(memory: int | None = None, seconds: float | None = None) -> Iterator[None]:
    """Limit additional memory in bytes and processor time in seconds; restores old limits on exit.

    Beyond the memory limit an allocation fails (MemoryError, or a library's version of it); beyond
    the time limit the system ends the process with SIGXCPU.
    """
    previous = []
    limits = {
        "RLIMIT_AS": (
            None if memory is None or not (now := _status("VmSize")) else now + memory + SLACK
        ),
        "RLIMIT_CPU": None if seconds is None else int(time.process_time() + seconds) + 1,
        "RLIMIT_CORE": 0,  # no core dump of a process that hits a limit
    }
    for name, value in limits.items():
        kind = getattr(resource, name, None)
        if kind is None or value is None:
            continue
        soft, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        if soft != resource.RLIM_INFINITY:
            value = min(value, soft)
        with contextlib.suppress(OSError, ValueError):  # a system without this limit
            resource.setrlimit(kind, (value, hard))
            previous.append((kind, (soft, hard)))
    try:
        yield
    finally:
        for kind, old in previous:
            resource.setrlimit(kind, old)


def free_memory() -> int | None:
    """Bytes of memory still available; None if the system does not report it."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return (
            int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
        )
    return None


def reset_peak() -> None:
    """Restart the count of `peak_memory`, if the system supports it."""
    with contextlib.suppress(OSError):
        REFRESH.write_text("5")


def peak_memory() -> int | None:
    """Peak memory of this process in bytes; None if the system does not report it."""
    if (peak := _status("VmHWM")) is not None or resource is None:
        return peak
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_bytes if os.uname().sysname == "Darwin" else peak_bytes * 1024


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
