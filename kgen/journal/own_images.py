"""Which images of the user's own a run is tested on, so that a run continues with the same ones.

run.json records their number and a checksum. The checksum does not depend on where the folder is,
because a run may be resumed on another machine.
"""

from __future__ import annotations

from typing import Any

from kgen.data.data import RealImages
from kgen.data.folders import ImageFiles
from kgen.data.images import Unreadable
from kgen.journal.reading import Run
from kgen.phrases import count

FIELD = "real_images"
"""In run.json."""


def identify(real: RealImages | None) -> dict[str, Any]:
    """The entry of run.json: {FIELD: {"n", "sha256"}}; empty if the images are not the user's own,
    or cannot be read right now.
    """
    if real is None or real.report is None or not isinstance(real.images, ImageFiles):
        return {}
    try:
        return {FIELD: {"n": len(real), "sha256": real.images.identity(real.labels)}}
    except (OSError, Unreadable):
        return {}


def difference(run: Run, entry: dict[str, Any]) -> str:
    """A text that says how the images that `identify` returned this entry for differ from those
    that the run started with; empty if they do not, or if that is not known. It names no path,
    because viewers and bundles get it.
    """
    recorded, found = run.info.get(FIELD), entry.get(FIELD)
    if not found or not isinstance(recorded, dict) or recorded == found:
        return ""
    before = recorded.get("n")
    if type(before) is not int:
        return ""
    other = (
        "the same number of images, but the files are different"
        if before == found["n"]
        else f"{count(found['n'], 'image')}, but the run started with {before:,}"
    )
    return (
        f"These are not the real images that the run started with: there are {other}."
        " Accuracies before and after are not comparable."
    )
