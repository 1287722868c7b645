"""The recorded runs that come with the app, so that a page without runs has something to show. They
are runs like any other.
"""

from __future__ import annotations

from pathlib import Path

from kgen.journal.bundle import BundleError
from kgen.journal.unbundle import unbundle
from kgen.system.paths import ASSETS

FOLDER = ASSETS / "recordings"
NAMES = ("fashion-live", "imagenet-peek")
"""The page opens with the last one."""
RUNS = tuple(f"recorded-{name}" for name in NAMES)
"""Their names as runs. The form does not follow them: Start runs the default recipe, which takes
three minutes.
"""


def unpack(folder: Path) -> bool:
    """Unpack the recordings into a folder without runs; False if none can be unpacked, and then the
    page opens without one.
    """
    return any([_unpack(FOLDER / f"{name}.kgen", folder) for name in NAMES])


def _unpack(file: Path, folder: Path) -> bool:
    try:
        unbundle(file, folder)
    except (BundleError, OSError):
        return False
    return True
