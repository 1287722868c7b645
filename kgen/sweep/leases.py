"""Who works on which trial, when several processes or machines share one sweep's folder.

A lease is a file, `leases/TRIAL.N`, that its holder creates exclusively and renews every few
seconds. The trial belongs to the holder of the highest N. A lease that is released, or that nobody
has renewed for a minute, is succeeded by N + 1, which again only one process can create; no file is
ever deleted or replaced, so nobody can take away a lease that was just taken. Each process measures
on its own clock whether a lease is being renewed: the clocks of the machines need not agree.

The lock of a run folder (`kgen.system.files.FolderLock`) cannot do this: it exists only once the
engine has been loaded and, on some network drives, applies only within one machine. It remains the
second barrier: of two engines in one folder, the second refuses to start.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kgen.sweep.grid import SweepError

FOLDER = "leases"
EXPIRY_SECONDS = 60.0
"""How long a lease is valid without being renewed."""
RENEWALS = 6
"""How often a lease is renewed in that time."""
RELEASED = b"released\n"


class Leases:
    """This process's leases on the trials of a sweep. Raises SweepError if the folder cannot be
    written.
    """

    def __init__(
        self,
        sweep_folder: Path,
        expiry: float = EXPIRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._folder, self._expiry, self._clock = sweep_folder / FOLDER, expiry, clock
        self._held: dict[str, int] = {}
        self._lost: set[str] = set()
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        """By trial: (the newest lease and its last renewal; when this process first saw that)."""
        self._lock, self._closed = threading.Lock(), threading.Event()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self._folder, error) from None
        threading.Thread(target=self._renew, name="leases", daemon=True).start()

    def acquire(self, name: str) -> bool:
        """Take the lease on a trial; False if another process has it."""
        newest = self._newest(name)
        if newest and not self._is_free(name, newest):
            return False
        file = self._folder / f"{name}.{newest + 1}"
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        except OSError as error:
            raise _unwritable(file, error) from None
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(json.dumps({"host": platform.node(), "pid": os.getpid()}).encode())
        with self._lock:
            self._held[name] = newest + 1
        return True

    def release(self, name: str) -> None:
        """Let others have the trial; its run folder contains all that they need to continue it."""
        with self._lock:
            number = self._held.pop(name, None)
            lost = name in self._lost
            self._lost.discard(name)
        if number is not None and not lost:
            with contextlib.suppress(OSError):  # it then expires
                (self._folder / f"{name}.{number}").write_bytes(RELEASED)

    def lost(self, name: str) -> bool:
        """Whether a lease that this process held was taken over, because this process (or its
        machine) slept for longer than a lease is valid.
        """
        return name in self._lost

    def holder(self, name: str) -> str | None:
        """The machine that has the newest lease on a trial; None if it is released."""
        number = self._newest(name)
        owner = self._owner(name, number) if number else None
        return None if owner is None else owner.get("host", "another machine")

    def close(self) -> None:
        self._closed.set()
        for name in list(self._held):
            self.release(name)

    def _newest(self, name: str) -> int:
        """The number of the newest lease on a trial; 0 if there is none."""
        number = 0
        while (self._folder / f"{name}.{number + 1}").exists():
            number += 1
        return number

    def _is_free(self, name: str, number: int) -> bool:
        owner = self._owner(name, number)
        if owner is None:
            return True
        if owner.get("host") == platform.node() and not _is_alive(owner.get("pid")):
            return True
        try:
            renewed = (number, (self._folder / f"{name}.{number}").stat().st_mtime_ns)
        except OSError:
            return False
        now = self._clock()
        if self._seen.get(name, (None, 0.0))[0] != renewed:
            self._seen[name] = (renewed, now)
        return now - self._seen[name][1] > self._expiry

    def _owner(self, name: str, number: int) -> dict | None:
        """What a lease says about its holder; None if it is released."""
        try:
            data = (self._folder / f"{name}.{number}").read_bytes()
        except OSError:
            return {}
        if data == RELEASED:
            return None
        try:
            owner = json.loads(data)
        except ValueError:  # just created, not yet written
            return {}
        return owner if isinstance(owner, dict) else {}

    def _renew(self) -> None:
        while not self._closed.wait(self._expiry / RENEWALS):
            with self._lock:
                held = dict(self._held)
            for name, number in held.items():
                with contextlib.suppress(OSError):
                    if self._newest(name) > number:
                        self._lost.add(name)
                    else:
                        os.utime(self._folder / f"{name}.{number}")


def _unwritable(file: Path, error: OSError) -> SweepError:
    return SweepError(
        f"{file} cannot be written: {error.strerror or error}.", code="unwritable", file=str(file)
    )


def _is_alive(pid: object) -> bool:
    """Whether a process exists on this machine; True if that is unknown."""
    if not isinstance(pid, int) or pid <= 0:
        return True
    if sys.platform == "win32":
        import ctypes

        SYNCHRONIZE, INVALID_PARAMETER = 0x00100000, 87
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        process = kernel.OpenProcess(SYNCHRONIZE, False, pid)
        if not process:
            return ctypes.get_last_error() != INVALID_PARAMETER
        running = kernel.WaitForSingleObject(ctypes.c_void_p(process), 0) != 0
        kernel.CloseHandle(ctypes.c_void_p(process))
        return running
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # someone else's process
        pass
    return True
