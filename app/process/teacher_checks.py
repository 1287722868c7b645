"""Checking a teacher that a user adds on the page: takes the form's request and collects the rows
of the report as they arrive. No torch.

One at a time. `kgen.preflight.request.inspect` runs in a separate process, so a hostile file cannot
crash the app. Here the page's request becomes an engine request, and the engine's messages are
rephrased for the page.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from app.setup.form import TITLES
from app.web.errors import Refused
from app.web.uploads import Uploads
from kgen.data import catalogue, classes
from kgen.errors import KGenError
from kgen.nets import architectures, own_code
from kgen.preflight import classnames, request
from kgen.preflight.request import PreflightError, PreflightRequest
from kgen.system import shell
from kgen.system.paths import HomeError, PathError, typed_path
from kgen.zoo import zoo

FORM_LABELS = {
    "arch": "Architecture",
    "arch-args": "Constructor arguments",
    "classes": "Class names",
    "mean": "Mean",
    "std": "Std",
    "side": "Side",
    "n-train": "Training images",
    "data": "Real test images",
    "weights": "Weights",
    "by-order": "Match by order",
    "half": "Half precision",
}
"""Command-line options → labels in the form. The form lacks the other options."""
OPTIONS = {"architecture": "arch", "arguments": "arch-args"}
"""Fields of a request → their options, if the names differ."""
_IN_SIDEBAR = "in the sidebar, under “More”"
SETTINGS = {
    "bn_scale": "as the page's recipes do",
    "embedding": _IN_SIDEBAR,
}
"""Where to find on the page what the command line sets with --set."""
_OPTION = re.compile(
    r"--set (?P<setting>(?P<name>[\w.]+)=[\w.]*\w)"
    r"|(?P<own>--arch \S*\.py(?::[\w…]+)?)"
    r"|(?P<value>--(?:arch|classes) (?=\w))"
    r"|--(?P<option>[a-z][a-z-]*[a-z])"
)
CLOSE_TIMEOUT = 5.0


class TeacherChecks:
    """The newest check, and the file uploaded for it. Thread-safe, except for
    `store_upload`, which belongs to one event loop.

    Args:
        folder: for uploads; this object owns it.
        inspect: performs the check; tests pass a stand-in.
    """

    def __init__(self, folder: Path, inspect: Callable = request.inspect):
        self._folder = folder.absolute()
        self._uploads = Uploads(self._folder)
        self._inspect = inspect
        self._lock = threading.Lock()
        self._id = ""
        self._report: dict[str, Any] = {"done": True}
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen | None = None
        self._closed = False

    async def store_upload(
        self, name: str, chunks: AsyncIterator[bytes], content_length: int = 0
    ) -> str:
        """Store a file for a check; returns its token. Raises Refused."""
        self._require_idle()
        return await self._uploads.store(name, chunks, content_length)

    def start(self, payload: Any) -> str:
        """Start a check; returns its id. Raises Refused if the request is invalid or another check
        is in progress.
        """
        try:
            preflight_request = self._parse_request(payload)
            if preflight_request.save:
                request.check_name(preflight_request.save)
        except (PreflightError, HomeError, PathError) as error:
            text, fields = rephrase(_with_label(error)), error.fields
            if error.code == "exists" and "file" in fields:  # an audience may see the page
                name = Path(fields["file"]).name
                text, fields = text.replace(fields["file"], name), fields | {"file": name}
            raise Refused(text, code=error.code, **fields) from None
        with self._lock:
            self._require_idle()
            self._id = secrets.token_urlsafe(8)
            self._report = {"rows": [], "done": False, "ok": False, "error": None, "saved": None}
            self._thread = threading.Thread(
                target=self._check, args=(preflight_request,), name="check", daemon=True
            )
            self._thread.start()
            return self._id

    def report(self, id: str) -> dict[str, Any]:
        """What a check has found so far: rows, done, ok, error (a sentence), saved (the teacher's
        name); at the end also weights (the choices in the file), taken (one of them), and normalize
        (mean and std of its Normalize layer).
        """
        with self._lock:
            if not self._id or id != self._id:
                raise Refused(
                    "That check no longer exists. Check again.",
                    404,
                    code="unknown-check",
                )
            return self._report | {"rows": list(self._report["rows"])}

    def close(self) -> None:
        """Cancel the check in progress and delete the upload."""
        self._closed = True
        if self._child is not None:
            self._child.kill()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT)
        self._uploads.clear()

    def _require_idle(self) -> None:
        if not self._report["done"]:
            raise Refused(
                "A check is already in progress. It will end within a minute.",
                409,
                code="busy",
            )

    def _parse_request(self, payload: Any) -> PreflightRequest:
        if not isinstance(payload, dict):
            raise Refused(
                "Invalid check request: expected the fields of the form.",
                code="invalid-request",
            )
        fields = {name: value for name, value in payload.items() if value not in (None, "")}
        typed = typed_path(fields.get("path", ""))
        if ("file" in fields) == bool(typed):
            raise Refused(
                "Choose a file, or enter the path of one on this machine.",
                code="no-choice",
            )
        path = self._uploads.path(fields.pop("file")) if "file" in fields else Path(typed)
        for name in ("mean", "std"):
            if isinstance(fields.get(name), str):
                fields[name] = _parse_numbers(FORM_LABELS[name], fields[name])
        file = fields.pop("classes_file", None)
        if isinstance(fields.get("classes"), str):
            names = classnames.parse_names(fields["classes"], file and Path(str(file)).name[:100])
            fields |= {"classes": names.names, "classes_from": names.source[:400]}
        parsed = request.parse_request(fields | {"path": str(path)})
        if own_code.is_own(parsed.architecture or ""):
            words = ("preflight", path.name, "--arch", str(parsed.architecture))
            command = f"python -m kgen {shell.join(words)} --classes … --save NAME"
            raise Refused(
                "The page does not run Python files. To check your own network and save it as a"
                f" teacher for runs on the command line, use {command}.",
                code="command-line-only",
            )
        return parsed

    def _check(self, preflight_request: PreflightRequest) -> None:
        """Runs on its own thread: collects what the child says until it ends."""
        try:
            for message in self._inspect(preflight_request, on_start=self._on_start):
                self._on_message(message, preflight_request.path)
        except Exception as error:  # an internal bug; still report it to the user
            self._update(
                error=f"The check itself failed ({type(error).__name__}). Please report this."
            )
        if self._report["saved"]:
            self._uploads.discard(Path(preflight_request.path))
        self._update(done=True)

    def _on_start(self, child: subprocess.Popen) -> None:
        self._child = child
        if self._closed:
            child.kill()

    def _on_message(self, message: dict[str, Any], path: str) -> None:
        def without_our_folders(text: str) -> str:
            """Removes the path of an upload, and where teachers are saved."""
            if Path(path).is_relative_to(self._folder):
                text = text.replace(path, Path(path).name)
            for folder in (self._folder, catalogue.teacher_file("").parent):
                text = text.replace(f"{folder}{os.sep}", "")
            return rephrase(text)

        if message["kind"] == "row":
            row = {name: message[name] for name in ("name", "status", "finding", "advice")}
            if message.get("lines"):
                row["lines"] = message["lines"]
            self._update(
                rows=[
                    *self._report["rows"],
                    row | {name: without_our_folders(row[name]) for name in ("finding", "advice")},
                ]
            )
        elif message["kind"] == "report":
            self._update(
                ok=message["ok"],
                saved=message["saved"] and Path(message["saved"]).stem,
                **{name: message.get(name) for name in ("weights", "taken", "normalize")},
            )
        else:
            self._update(error=without_our_folders(message["text"]))

    def _update(self, **changes: Any) -> None:
        with self._lock:
            self._report = self._report | changes


def suggestions() -> dict[str, list[str]]:
    """Suggestions for the form: names of architectures and data sets."""
    return {"architectures": [*zoo.STUDENTS, *architectures.NAMES], "data": list(classes.known())}


def rephrase(text: str) -> str:
    """Rephrases a command-line message for the page, using the form's labels. Whole commands, which
    are in backquotes, stay unchanged.
    """
    parts = text.split("`")
    parts[::2] = (_OPTION.sub(_on_the_page, part) for part in parts[::2])
    return "`".join(parts)


def _on_the_page(found: re.Match[str]) -> str:
    """What an option of the command line is called on the page."""
    if found["name"] in TITLES:  # it has a field in the form, so the label is enough
        return f"“{TITLES[found['name']]}” {_IN_SIDEBAR}"
    if found["setting"]:
        return f"“{found['setting']}” {SETTINGS.get(found['name'], 'on the command line')}"
    if found["own"]:
        return f"“{found['own']}” on the command line"
    if found["value"]:
        return ""
    if found["option"] == "real":
        return f"“{TITLES['real_images']}” {_IN_SIDEBAR}"
    label = FORM_LABELS.get(found["option"])
    return f"“{label}”" if label else f"“{found[0]}” on the command line"


def _with_label(error: KGenError) -> str:
    """The sentence about an invalid field, which starts with its name, using the form's label."""
    field = str(error.fields.get("field", ""))
    label = FORM_LABELS.get(OPTIONS.get(field, field.replace("_", "-")))
    return f"{label}{str(error).removeprefix(field)}" if label else str(error)


def _parse_numbers(label: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise Refused(
            f"{label} is {text[:60]!r}; expected one number per channel, separated by commas, such"
            " as 0.485, 0.456, 0.406.",
            code="invalid-value",
            field=label,
        ) from None
