"""Resource limits for a process that reads an untrusted file.

Independent of torch. The limits are the operating system's (`resource`): Linux enforces all of
them, macOS only processor time, Windows none. There, only the parent's time limit
(`kgen.preflight.request`) applies.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from kgen.system.memory import own_status

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

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
            None if memory is None or not (now := own_status("VmSize")) else now + memory + SLACK
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
