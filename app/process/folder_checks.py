"""Checking the folder of real images that someone enters on the page: `python -m kgen data check -`
in a separate process, so damaged images cannot crash the app and a large folder does not block it.

One at a time; a new check ends the previous one. Thread-safe.
"""

from __future__ import annotations

import secrets
import sys
import threading
from typing import Any

from app.process.child import Child
from app.web.errors import Refused
from kgen.system.paths import PathError, typed_path

COMMAND = (sys.executable, "-m", "kgen", "data", "check", "-")


class FolderChecks:
    """The newest check.

    Args:
        command: performs it; tests pass a stand-in.
    """

    def __init__(self, command: tuple[str, ...] = COMMAND):
        self._command = command
        self._lock = threading.Lock()
        self._id = ""
        self._child: Child | None = None

    def start(self, payload: Any) -> str:
        """Start a check of {folder, teacher}; returns its id. Raises Refused."""
        request = _parse(payload)
        with self._lock:
            self._end()
            try:
                self._child = Child(None, self._command)
            except OSError as error:
                raise Refused(
                    f"The check could not be started: {error.strerror or error}.",
                    503,
                    code="start-failed",
                ) from None
            self._child.send(request)
            self._child.end_input()
            self._id = secrets.token_urlsafe(8)
            return self._id

    def report(self, id: str) -> dict[str, Any]:
        """The state of a check: done, checked, total, error (a sentence), and report, which is what
        `kgen.data.class_folders.FolderReport.to_json` returns, with its remarks.
        """
        with self._lock:
            child = self._child
            if child is None or id != self._id:
                raise Refused("That check no longer exists.", 404, code="unknown-check")
        code = child.code  # first: what it wrote before it ended is read below
        error, report = child.last_message("error"), child.last_message("report")
        progress = child.last_message("progress") or {"done": 0, "total": 0}
        text = str(error["text"]) if error else None
        if code is not None and not error and not report:
            text = "The check ended without a result; `python -m kgen data check` may show why."
        return {
            "done": bool(text or report),
            "checked": progress["done"],
            "total": progress["total"],
            "error": text,
            "report": report,
        }

    def close(self) -> None:
        """End the check in progress."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._child is not None:
            self._child.terminate()
            self._child.close(0)
            self._child = None


def _parse(payload: Any) -> dict[str, Any]:
    """The validated request; the child checks what it refers to."""
    fields = payload if isinstance(payload, dict) else {}
    folder, teacher = fields.get("folder"), fields.get("teacher")
    if not isinstance(teacher, str):
        raise Refused(
            "Invalid check request: expected the fields of the form.", code="invalid-request"
        )
    try:
        path = typed_path(folder)
    except PathError as error:
        raise Refused(str(error), code=error.code) from None
    if not path:
        raise Refused("Enter the path of a folder or ZIP file.", code="invalid-path")
    return {"folder": path, "teacher": teacher}
