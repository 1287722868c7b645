"""A teacher's answers on image files, kept from one run to the next.

Classifying 4,000 photos takes minutes. The answers depend only on the teacher's weights, the
files, and the selected classes, so they are stored under a fingerprint of all three in
`$KGEN_HOME/answers`. A cache that cannot be read or written is ignored. A file that cannot be read
has no answer: its drive may be back next time, with the same files.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kgen.data.folders import ImageFiles
from kgen.system import files
from kgen.system.paths import HomeError, home, writable_home

UNKNOWN = -1
"""Not classified yet. Answers are positions in the selected classes."""
MAX_FILES = 64
"""How many sets of answers are kept; the least recently used ones are deleted."""


def folder() -> Path:
    return home() / "answers"


class Answers:
    """Answers of one teacher on one set of images, i32 [n].

    Args:
        teacher: the checksum of its file.
        selected: the classes that it chooses from.
        images: the whole set; a selection of it is addressed by position.
    """

    def __init__(self, teacher: str, selected: Sequence[int], images: ImageFiles):
        self.values = np.full(len(images), UNKNOWN, np.int32)
        self._path: Path | None = None
        self._changed = False
        with contextlib.suppress(OSError, ValueError, EOFError):
            key = repr((teacher, list(selected), images.fingerprint()))
            self._path = folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.npy"
            stored = np.load(self._path, allow_pickle=False)
            is_similar = stored.shape == self.values.shape and stored.dtype == self.values.dtype
            if is_similar and ((stored >= UNKNOWN) & (stored < len(selected))).all():
                self.values = stored
                self._path.touch()

    def known(self, positions: np.ndarray) -> np.ndarray:
        """The answers on these images, `UNKNOWN` where there is none."""
        return self.values[positions]

    def put(self, positions: np.ndarray, values: np.ndarray) -> None:
        self.values[positions] = values
        self._changed = True

    def save(self) -> None:
        """Stores what is new, if there is room."""
        if not self._changed or self._path is None:
            return
        data = io.BytesIO()
        np.save(data, self.values)
        with contextlib.suppress(OSError, HomeError):
            writable_home()
            self._path.parent.mkdir(exist_ok=True)
            files.write_durably(self._path, data.getvalue(), sync=False)
            self._changed = False
            stored = sorted(self._path.parent.glob("*.npy"), key=lambda p: p.stat().st_mtime)
            for oldest in stored[:-MAX_FILES]:
                oldest.unlink(missing_ok=True)
