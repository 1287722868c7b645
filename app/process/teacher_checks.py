"""The check of a teacher that somebody brings to the page: an order in words, its rows as they are
found. No torch.

One at a time. `kgen.preflight.request.inspect` does it in a process of its own, so a hostile file
cannot take the app along. Here an order of the page's becomes one of the engine's, and the engine's
words become the page's.
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

from app.web.uploads import Refused, Uploads
from kgen.data import classes
from kgen.nets import architectures
from kgen.preflight import request
from kgen.preflight.request import PreflightError, PreflightRequest
from kgen.zoo import zoo

LABELS = {
    "arch": "Architecture",
    "classes": "Class names",
    "mean": "Mean",
    "std": "Std",
    "side": "Side",
    "n-train": "Training images",
    "data": "Real test images",
    "by-order": "By order",
    "half": "Half precision",
}
"""Options of the command line, as the form calls them."""
SETTINGS = {"bn_scale": "as the page's recipes do", "embedding": "in the rail, below “More”"}
"""Where the page has a setting that the command line takes with --set."""
CLOSE_SECONDS = 5.0


class TeacherChecks:
    """The newest check, and the file that was uploaded for it. Safe from any thread but `take`,
    which is for one event loop.

    Args:
        folder: for uploads; it is this object's own.
        inspect: what checks; tests put a stand-in here.
    """

    def __init__(self, folder: Path, inspect: Callable = request.inspect):
        self._folder = folder.absolute()
        self._uploads = Uploads(self._folder)
        self._inspect = inspect
        self._lock = threading.Lock()
        self._id = ""
        self._found: dict[str, Any] = {"done": True}
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen | None = None
        self._closed = False

    async def take(self, name: str, chunks: AsyncIterator[bytes], announced: int = 0) -> str:
        """Keep a file for a check; its token. Raises Refused."""
        self._refuse_second()
        return await self._uploads.take(name, chunks, announced)

    def begin(self, asked: Any) -> str:
        """Start a check; its id. Raises Refused for an order that is none, or while another check
        is going.
        """
        try:
            order = self._order(asked)
            if order.save:
                request.check_name(order.save)
        except PreflightError as error:
            raise Refused(in_words(str(error))) from None
        with self._lock:
            self._refuse_second()
            self._id = secrets.token_urlsafe(8)
            self._found = {"rows": [], "done": False, "ok": False, "error": None, "saved": None}
            self._thread = threading.Thread(
                target=self._check, args=(order,), name="check", daemon=True
            )
            self._thread.start()
            return self._id

    def found(self, id: str) -> dict[str, Any]:
        """What a check has found so far: rows, done, ok, error (a sentence), saved (the teacher's
        name).
        """
        with self._lock:
            if not self._id or id != self._id:
                raise Refused("That check is not known any more; check again.", 404)
            return self._found | {"rows": list(self._found["rows"])}

    def close(self) -> None:
        """End the check that is going, and delete the upload."""
        self._closed = True
        if self._child is not None:
            self._child.kill()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
        self._uploads.clear()

    def _refuse_second(self) -> None:
        if not self._found["done"]:
            raise Refused("A check is going already; it ends within a minute.", 409)

    def _order(self, asked: Any) -> PreflightRequest:
        if not isinstance(asked, dict):
            raise Refused("That is no order for a check; expected the fields of the form.")
        fields = {name: value for name, value in asked.items() if value not in (None, "")}
        if ("file" in fields) == ("path" in fields):
            raise Refused("Choose a file, or type the path of one on this machine.")
        path = (
            self._uploads.path(fields.pop("file")) if "file" in fields else _typed(fields["path"])
        )
        for name in ("mean", "std"):
            if isinstance(fields.get(name), str):
                fields[name] = _numbers(LABELS[name], fields[name])
        if isinstance(fields.get("classes"), str):
            fields["classes"] = request.listed(fields["classes"])
        return request.order(fields | {"path": str(path)})

    def _check(self, order: PreflightRequest) -> None:
        """On a thread of its own: what the child says, until it has ended."""
        try:
            for message in self._inspect(order, began=self._began):
                self._take(message, order.path)
        except Exception as error:  # ours to mend, but whoever asked is owed a sentence
            self._add(error=f"The check itself failed ({type(error).__name__}); please report it.")
        if self._found["saved"]:
            self._uploads.clear()
        self._add(done=True)

    def _began(self, child: subprocess.Popen) -> None:
        self._child = child
        if self._closed:
            child.kill()

    def _take(self, message: dict[str, Any], path: str) -> None:
        def say(text: str) -> str:
            """Without the place of an upload."""
            name = Path(path).name
            return in_words(
                text.replace(path, name) if Path(path).is_relative_to(self._folder) else text
            ).replace(f"{self._folder}{os.sep}", "")

        if message["kind"] == "row":
            row = {name: message[name] for name in ("name", "status", "finding", "advice")}
            self._add(
                rows=[
                    *self._found["rows"],
                    row | {name: say(row[name]) for name in ("finding", "advice")},
                ]
            )
        elif message["kind"] == "report":
            self._add(ok=message["ok"], saved=message["saved"] and Path(message["saved"]).stem)
        else:
            self._add(error=say(message["text"]))

    def _add(self, **more: Any) -> None:
        with self._lock:
            self._found = self._found | more


def known() -> dict[str, list[str]]:
    """What the form suggests: names of architectures, and of data sets."""
    return {"architectures": [*zoo.STUDENTS, *architectures.NAMES], "data": list(classes.known())}


def in_words(text: str) -> str:
    """A sentence for the command line, as one for the page: fields by their labels."""
    text = re.sub(r"--(arch|classes) (?=\w)", "", text)
    text = re.sub(
        r"--set (([\w.]+)=[\w.]*\w)",
        lambda found: f"“{found[1]}” {SETTINGS.get(found[2], 'on the command line')}",
        text,
    )
    return re.sub(
        r"--([a-z][a-z-]*[a-z])", lambda found: f"“{LABELS.get(found[1], found[1])}”", text
    )


def _typed(path: Any) -> Path:
    """A path that a person typed: any file of this machine, which the child looks at."""
    if not isinstance(path, str) or len(path) > 4096 or not path.isprintable():
        raise Refused("The path of the file should be one line of text.")
    try:
        return Path(path.strip().strip('"')).expanduser()
    except RuntimeError:
        raise Refused(f"The path {path[:60]!r} begins with a user who is not known here.") from None


def _numbers(what: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise Refused(
            f"{what} is {text[:60]!r}; expected a number a channel with commas between, such as"
            " 0.485, 0.456, 0.406."
        ) from None
