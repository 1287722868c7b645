"""Locations of bundled files and of what the user downloads or creates.

No other module defines such paths.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from kgen.errors import KGenError

ROOT = Path(__file__).resolve().parents[2]
"""The folder that contains `kgen` and `app`: child processes start here."""
_INSTALLED = Path(__file__).resolve().parents[1] / "_assets"
"""Where a wheel stores what a checkout has in `assets/`."""
ASSETS = _INSTALLED if _INSTALLED.is_dir() else ROOT / "assets"
"""Bundled teachers, embeddings, class names, images, lessons and recordings."""
TABLE_RUNS = (ASSETS if _INSTALLED.is_dir() else ROOT / "docs") / "tables" / "runs.jsonl"
"""Results of every run behind the published tables."""
RESULTS_PAGE = ROOT / "docs" / "results.md"


MAX_TYPED = 4096
"""Longest path that someone may type, in characters; no system allows longer ones."""
UNKNOWN_HOME = Path("$KGEN_HOME")
"""Stands in for the home folder if there is none: it contains nothing, and a message that shows it
still makes sense.
"""


class HomeError(KGenError):
    """There is no folder for downloaded teachers and data."""

    code = "no-home"


class PathError(KGenError, ValueError):
    """Typed text that cannot be a path."""

    code = "path"


def typed_path(text: Any) -> str:
    """The absolute path that a person means by the text they typed or pasted; "" if it is empty.

    Removes the quotes of "Copy as path" on Windows and of Linux file managers, and replaces ~. A
    relative path starts at the current folder of this process, so call this before the path
    is handed to another one. Raises PathError.
    """
    if (
        not isinstance(text, str)
        or len(text) > MAX_TYPED
        or re.search(r"[\0-\x1f\x7f]", text.strip())
    ):
        raise PathError("A path must be one line of text.", code="invalid-path")
    path = text.strip()
    if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":
        path = path[1:-1].strip()
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        raise PathError(f"The path {path[:60]!r} names an unknown user.", code="unknown-user")
    return expanded and os.path.abspath(expanded)


def last_part(path: str) -> str:
    """The name of a folder or file, without the rest of its path, which may be from any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def home() -> Path:
    """The folder for downloaded teachers and data: $KGEN_HOME, by default ~/.cache/kgen.

    UNKNOWN_HOME if the user has no home folder: to write there, call `writable_home`.
    """
    if chosen := os.environ.get("KGEN_HOME"):
        return Path(chosen)
    try:
        return Path.home() / ".cache" / "kgen"
    except RuntimeError:  # neither HOME nor an entry in the user database, as in some containers
        return UNKNOWN_HOME


def known_home() -> Path:
    """`home`. Raises HomeError if the user has none."""
    folder = home()
    if folder == UNKNOWN_HOME:
        raise HomeError(
            "This user has no home folder to store teachers and data in. Set KGEN_HOME to a"
            " folder for them."
        )
    return folder


def writable_home() -> Path:
    """`home`, after creating it. Raises HomeError."""
    folder = known_home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(
            f"The folder {folder} for teachers and data cannot be created:"
            f" {error.strerror or error}. Set KGEN_HOME to another folder.",
            code="unwritable",
            file=str(folder),
        ) from None
    return folder
