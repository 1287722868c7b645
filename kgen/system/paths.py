"""Locations of bundled files and of what the user downloads or creates.

No other module defines such paths.
"""

from __future__ import annotations

import os
from pathlib import Path

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


UNKNOWN_HOME = Path("$KGEN_HOME")
"""Stands in for the home folder if there is none: it contains nothing, and a message that shows it
still makes sense.
"""


class HomeError(KGenError):
    """There is no folder for downloaded teachers and data."""

    code = "no-home"


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
