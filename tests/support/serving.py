"""The app as a person starts it: `python launch.py`, a process with its own folder of runs and its
own children.

It knows nothing about the page. Every process of an app has a mark in its environment, so that
those left behind can be found, whatever their parent is by then (Linux: /proc).
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kgen.system.paths import ROOT

ADDRESS = re.compile(r"K-Gen Explorer is running at (\S+)")
START_SECONDS = 120.0
END_SECONDS = 20.0
MARK = "KGEN_TEST_APP"
T = TypeVar("T")


def until(what: str, look: Callable[[], T], seconds: float) -> T:
    """The first true result of `look`; the AssertionError says what was awaited."""
    end = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        assert time.monotonic() < end, f"not within {seconds:.0f} seconds: {what}"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class App:
    """A started app, which the caller must `end`. Its folder of runs is empty unless it should open
    on the recorded run. `further`: more arguments of launch.py.
    """

    def __init__(self, folder: Path, *further: str, recorded: bool = False):
        self.runs, self.home, self.out, self.errors = (
            folder / "runs",
            folder / "home",
            folder / "app.out",
            folder / "app.err",
        )
        self._mark = secrets.token_hex(8)
        command = [
            sys.executable,
            "launch.py",
            "--no-browser",
            "--port",
            str(free_port()),
            "--runs",
            str(self.runs),
            *further,
        ]
        command += [] if recorded else ["--no-recording"]
        with self.out.open("wb") as out, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env=os.environ | {MARK: self._mark, "KGEN_HOME": str(self.home)},
            )
        try:
            self.address = until("the app's address", self._said_address, START_SECONDS)
        except BaseException:
            self.end()
            raise

    def _said_address(self) -> str | None:
        assert self.process.poll() is None, (
            f"the app ended with {self.process.returncode}: {self.errors.read_text()}"
        )
        found = ADDRESS.search(self.out.read_text())
        return found and found[1]

    def processes(self) -> list[int]:
        """Everything of this app that is alive, the app included."""
        return [
            pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)
        ]

    def _is_ours(self, pid: int) -> bool:
        try:
            return f"{MARK}={self._mark}".encode() in Path(
                f"/proc/{pid}/environ"
            ).read_bytes().split(b"\0")
        except OSError:  # it has ended (a zombie's environment is empty), or is someone else's
            return False

    def engine(self) -> int:
        """The process id of the engine at work (there is no spare one while a run lasts)."""

        def is_engine(pid: int) -> bool:
            return b"\0kgen\0run\0-\0--control" in Path(f"/proc/{pid}/cmdline").read_bytes()

        (pid,) = (pid for pid in self.processes() if is_engine(pid))
        return pid

    def show(self, run: str) -> None:
        """Have every page show that run."""
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.address}kg/runs/{run}/open", b"", method="POST"),
            timeout=30,
        ) as answer:
            answer.read()

    def end(self) -> None:
        """SIGTERM, then harsher means; an AssertionError if any process is left behind (it is then
        killed).
        """
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        try:
            until("every process of the app has ended", lambda: not self.processes(), 10)
        except AssertionError:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            raise
