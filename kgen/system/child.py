"""A child process that runs the engine: the same command a person would type, controlled through
standard input.

It exchanges lines of JSON without knowing what they mean. A small thread always reads standard
output, and standard error goes to a file, so a talkative child never blocks on a full pipe.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from kgen.system.paths import ROOT

COMMAND = (sys.executable, "-m", "kgen", "run", "-", "--control")
LOG_BYTES = 1_000_000
"""The next child overwrites a log longer than this."""
# A child gets its own session (POSIX) or process group (Windows): Ctrl-C in the terminal must only
# reach the process that started it.
if sys.platform == "win32":
    OWN_SESSION, NEW_GROUP = False, subprocess.CREATE_NEW_PROCESS_GROUP
else:
    OWN_SESSION, NEW_GROUP = True, 0

_SIGNAL_CAUSES = {
    "SIGKILL": (
        "it was killed by the system or by another process, most likely because the machine ran out"
        " of memory"
    ),
    "SIGSEGV": "it crashed inside a library",
    "SIGBUS": "it crashed inside a library, or the disk is full",
    "SIGABRT": "a library aborted it",
    "SIGTERM": "it was terminated by another process",
    "SIGINT": "it was interrupted from the keyboard",
    "SIGHUP": "its terminal was closed",
}
_NTSTATUS_CAUSES = {
    0xC0000005: "it crashed inside a library",
    0xC0000017: "the machine ran out of memory",
    0xC000013A: "it was interrupted from the keyboard",
}


class Child:
    """One engine process. `messages` collects what it said, in order.

    Args:
        log: file for its standard error; None discards it.
        command: what to start; tests pass a stand-in.
        env: environment variables that differ from those of this process.
    """

    def __init__(
        self,
        log: Path | None,
        command: tuple[str, ...] = COMMAND,
        env: Mapping[str, str] | None = None,
    ):
        self.messages: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._write = threading.Lock()
        self._log, self._log_start = log, 0
        errors = self._open_log()
        try:
            self._process = subprocess.Popen(
                list(command),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors or subprocess.DEVNULL,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **(env or {})},
                start_new_session=OWN_SESSION,
                creationflags=NEW_GROUP,
            )
        finally:
            if errors:
                errors.close()
        assert self._process.stdin and self._process.stdout, "both are pipes"
        self._input, self._output = self._process.stdin, self._process.stdout
        self._reader = threading.Thread(target=self._read, name="engine output", daemon=True)
        self._reader.start()

    def _open_log(self) -> IO[bytes] | None:
        if self._log is None:
            return None
        try:
            overwrite = self._log.exists() and self._log.stat().st_size > LOG_BYTES
            file = self._log.open("wb" if overwrite else "ab")
            self._log_start = file.seek(0, os.SEEK_END)
            return file
        except OSError:
            self._log = None
            return None

    def _read(self) -> None:
        for line in self._output:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # printed by a library
            if isinstance(message, dict):
                with self._changed:
                    self.messages.append(message)
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended and all its output has been read."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(1.0)
        elif not self._reader.is_alive():  # it closed its output, so it is about to exit
            try:
                code = self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                pass
        return code

    def last_message(self, kind: str) -> dict[str, Any] | None:
        """The last message of this kind."""
        return next((m for m in reversed(self.messages) if m.get("kind") == kind), None)

    def wait_for(self, *kinds: str, timeout: float) -> dict[str, Any] | None:
        """The first message of one of these kinds; None if time runs out or the child ends
        first.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                message = next((m for m in self.messages if m.get("kind") in kinds), None)
                remaining = deadline - time.monotonic()
                if message or remaining <= 0 or not self._reader.is_alive():
                    return message
                self._changed.wait(min(remaining, 0.5))

    def send(self, message: dict[str, Any]) -> bool:
        """Write one line to its standard input; False if it is gone."""
        with self._write:
            try:
                self._input.write(json.dumps(message).encode() + b"\n")
                self._input.flush()
                return True
            except (OSError, ValueError):
                return False

    def end_input(self) -> None:
        """Tell it to finish on its own."""
        with self._write:
            try:
                self._input.close()
            except OSError:
                pass

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def close(self, timeout: float) -> None:
        """Close its input, wait `timeout` for it to finish on its own, then terminate it. Returns
        when it has ended.
        """
        self.end_input()
        for stop, grace in (
            (None, timeout),
            (self._process.terminate, 2.0),
            (self._process.kill, 5.0),
        ):
            if stop and self._process.poll() is None:
                stop()
            try:
                self._process.wait(grace)
                break
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(1.0)
        if not self._reader.is_alive():
            self._output.close()

    @property
    def error(self) -> str:
        """The error that it ended with, if it reported one."""
        last = self.messages[-1] if self.messages else {}
        return str(last.get("text", "")) if last.get("kind") == "error" else ""

    @property
    def ending(self) -> str:
        """Its exit code or signal, in a sentence."""
        return f"It exited with {describe_exit(self._process.returncode or 0)}."

    def exit_message(self) -> str:
        """How it ended, in a sentence: its own last error if it reported one, otherwise the exit
        code or signal and the log's last line.
        """
        if self.error:
            return self.error
        last = self._last_log_line()
        return self.ending + (f" Last line of the log: {last}" if last else "")

    def _last_log_line(self) -> str:
        if self._log is None or (self._process.returncode or 0) < 0:
            return ""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, size - 4000))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def describe_exit(code: int) -> str:
    """How a process ended, from its exit code (POSIX: negative signal; Windows: NTSTATUS)."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"{name}: {_SIGNAL_CAUSES.get(name, 'it was terminated by a signal')}"
    if code & 0xFFFFFFFF in _NTSTATUS_CAUSES:
        return f"exit code {code & 0xFFFFFFFF:#x}: {_NTSTATUS_CAUSES[code & 0xFFFFFFFF]}"
    return f"exit code {code}"
