"""A run's student as one ZIP, made by `python -m kgen export` in a separate process, so that the
app does not need torch.

One at a time, on a separate thread, and the newest is kept: a whole class asking at once waits for
one export and blocks nobody else.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from app.process.child import NEW_GROUP, OWN_SESSION
from kgen.errors import ExportError
from kgen.journal.export import missing_packages
from kgen.nets.own_code import child_environment
from kgen.system.paths import ROOT

TIMEOUT = 240.0
"""Time limit for an export; a small student takes 10 s on two busy cores."""


class ExportFailed(ExportError):
    """The message is one sentence, without any path on this machine."""


class Bundle(NamedTuple):
    """A ZIP, and a sentence about what is missing from it."""

    body: bytes
    note: str = ""


class Exports:
    """Makes exports. Thread-safe; `close` cancels the one in progress.

    Args:
        command: the export command; tests pass a stand-in.
    """

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-m", "kgen", "export")):
        self._command = command
        self._thread = ThreadPoolExecutor(1, "export")
        self._process: subprocess.Popen | None = None
        self._cached: tuple[object, Bundle] | None = None
        self._closed = False

    async def get(self, run: Path) -> Bundle:
        """The ZIP of a run that has a student. Raises ExportFailed."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._get, run)

    def _get(self, run: Path) -> Bundle:
        try:
            weights = (run / "student.safetensors").stat()
        except OSError:
            raise ExportFailed(
                "This run's student is not ready yet. It is exported when the run ends.",
                code="unfinished",
            ) from None
        key = (run, weights.st_mtime_ns, weights.st_size)
        if self._cached is None or self._cached[0] != key:
            self._cached = key, self._export(run)
        return self._cached[1]

    def _export(self, run: Path) -> Bundle:
        note = f"{missing}." if (missing := missing_packages()) else ""
        with tempfile.TemporaryDirectory(prefix="kgen-", ignore_cleanup_errors=True) as folder:
            out = Path(folder) / f"{run.name}-student"
            if not note:
                note = self._run(run, out, "--onnx")
            if note and (failed := self._run(run, out)):
                raise ExportFailed(failed, code="export-failed")
            return Bundle(zip_folder(out), note)

    def _run(self, run: Path, out: Path, *options: str) -> str:
        """Export; returns an error as one sentence, or an empty string."""
        environment = {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}  # a run may be in progress
        self._process = subprocess.Popen(
            [*self._command, str(run), "--out", str(out), *options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=child_environment() | environment,
            start_new_session=OWN_SESSION,
            creationflags=NEW_GROUP,
        )
        if self._closed:
            self._process.kill()
        try:
            _, stderr = self._process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return (
                f"The export took more than {TIMEOUT / 60:.0f} minutes and was canceled. Try"
                " `python -m kgen export` when the machine is less busy."
            )
        if self._process.returncode == 0:
            return ""
        message = (stderr.strip().splitlines() or ["The export exited without a message."])[
            -1
        ].removeprefix("Error: ")
        for folder in (run.parent, out.parent):
            message = message.replace(f"{folder}{os.sep}", "")
        return message

    def close(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


def zip_folder(folder: Path) -> bytes:
    """A folder as a ZIP that unpacks into one folder of the same name. Weights hardly compress, so
    they are just stored.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")
    return buffer.getvalue()
