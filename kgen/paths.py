"""Locations of bundled files and of what the user downloads or creates.

No other module defines such paths.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that contains `kgen` and `app`: child processes start here."""
_INSTALLED = Path(__file__).resolve().parent / "_assets"
"""Where a wheel stores what a checkout has in `assets/`."""
ASSETS = _INSTALLED if _INSTALLED.is_dir() else ROOT / "assets"
"""Bundled teachers, embeddings, class names, images, lessons and recordings."""
TABLE_RUNS = (ASSETS if _INSTALLED.is_dir() else ROOT / "docs") / "tables" / "runs.jsonl"
"""Results of every run behind the published tables."""
RESULTS_PAGE = ROOT / "docs" / "results.md"


def home() -> Path:
    """The folder for downloaded teachers and data: $KGEN_HOME, by default ~/.cache/kgen."""
    return Path(os.environ.get("KGEN_HOME") or Path.home() / ".cache" / "kgen")
