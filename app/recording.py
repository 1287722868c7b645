"""The recorded run that comes with the app, so that a page without runs opens on something alive. It is a run like any other."""

from __future__ import annotations

from pathlib import Path

from kgen.bundle import BundleError
from kgen.unbundle import unbundle

FILE = Path(__file__).resolve().parent.parent / "assets" / "recordings" / "fashion-live.kgen"


def place(folder: Path) -> bool:
    """Open the recording as a run of a folder that has none yet; False where it cannot be: the page then opens without."""
    try:
        unbundle(FILE, folder)
    except (BundleError, OSError):
        return False
    return True
