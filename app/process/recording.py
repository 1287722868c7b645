"""The recorded runs that come with the app, so that a page without runs opens on something alive.
They are runs like any other.
"""

from __future__ import annotations

from pathlib import Path

from kgen.journal.bundle import BundleError
from kgen.journal.unbundle import unbundle
from kgen.paths import ASSETS

FOLDER = ASSETS / "recordings"
NAMES = ("fashion-live", "imagenet-peek")
"""The page opens on the last."""
RUNS = tuple(f"recorded-{name}" for name in NAMES)
"""What they are called as runs. The form does not follow them: Start makes the default, which takes
three minutes.
"""


def place(folder: Path) -> bool:
    """Open the recordings as runs of a folder that has none yet; False where none can be: the page
    then opens without.
    """
    return any([_place(FOLDER / f"{name}.kgen", folder) for name in NAMES])


def _place(file: Path, folder: Path) -> bool:
    try:
        unbundle(file, folder)
    except (BundleError, OSError):
        return False
    return True
