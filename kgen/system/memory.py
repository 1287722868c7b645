"""How much memory this process has used, and how much is left. Independent of torch."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

STATUS, REFRESH = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def free_memory() -> int | None:
    """Bytes of memory still available; None if the system does not report it."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return (
            int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
        )
    return None


def reset_peak() -> None:
    """Reset what `peak_memory` reports, if the system supports it."""
    with contextlib.suppress(OSError):
        REFRESH.write_text("5")


def peak_memory() -> int | None:
    """Peak memory of this process in bytes; None if the system does not report it."""
    if (peak := own_status("VmHWM")) is not None or resource is None:
        return peak
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_bytes if os.uname().sysname == "Darwin" else peak_bytes * 1024


def own_status(field: str) -> int | None:
    """A size that Linux reports about this process, in bytes; None elsewhere."""
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
