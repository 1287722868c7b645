"""Image files as an array that decodes images on access.

Fifty thousand ImageNet images are 7.5 GB of pixels, while a run needs 2,000 of them and an
evaluation 500 at a time. Independent of data sets: `kgen.data.data` knows their locations and image
sizes, and `kgen.data.class_folders` their classes.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import overload

import numpy as np

from kgen.data import images, listing
from kgen.data.images import DataError as DataError
from kgen.data.listing import Member

MAX_DECODED_BYTES = 2**29
"""A selection with up to this many bytes of pixels is decoded at once; larger ones stay files."""
MARGIN = 256 / 224
"""Short side of a photograph before the center crop, relative to the crop's side, as in the usual
ImageNet evaluation.
"""
HEADERS_PER_REPORT = 100
FILES_AT_ONCE, FILES_PER_TASK = 16, 100
"""Threads that ask a drive about files, and the files per task."""
IDENTITY_SAMPLE, IDENTITY_BYTES = 64, 2**16
"""How many files are read, and how much of each, to tell sets of images apart whose files have the
same names and sizes.
"""
DECODING = 2
"""Changes whenever the same file is decoded to different pixels; see `ImageFiles.fingerprint`."""
Progress = Callable[[int, int], None]
"""Receives the number of items done and their total; may raise to stop."""

ActivityProgress = Callable[[str, int, int], None]
"""The same, preceded by the activity: "checking", "reading", "student" or "teacher"."""


def ignore_activity(activity: str, done: int, total: int) -> None:
    """Reports nothing."""


def ignore_progress(done: int, total: int) -> None:
    """Reports nothing."""


class ImageFiles:
    """Images as u8 [n,c,h,w], indexed like NumPy.

    `files[3]`, `files[10:20]` and small selections return decoded arrays.

    Args:
        paths: the files, which may be in a ZIP file.
        channels: 1 (grayscale) or 3 (RGB).
        size: height and width to which each image is resized.
        crop: keep the aspect ratio, scale to `margin`, and crop the center; otherwise stretch.
        margin: short side before the crop, relative to the crop's side.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        paths: Sequence[Path | Member],
        channels: int,
        size: tuple[int, int],
        crop: bool,
        margin: float = MARGIN,
    ):
        self.paths, self.channels, self.size, self.crop, self.margin = (
            list(paths),
            channels,
            size,
            crop,
            margin,
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.paths), self.channels, *self.size

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int | slice) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: np.ndarray) -> np.ndarray | ImageFiles: ...

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray | ImageFiles:
        """Raises DataError for a file that is not an image."""
        indices = np.arange(len(self.paths))[index]
        if indices.ndim == 0:
            return self._decode(self.paths[indices])
        if not isinstance(index, slice) and len(indices) * self._image_bytes > MAX_DECODED_BYTES:
            return self.select(indices)
        decoded, kept = self.read(indices)
        if len(kept) < len(indices):
            failed = min(set(range(len(indices))) - set(kept.tolist()))
            self._decode(self.paths[indices[failed]])  # raises the error
        return decoded

    @property
    def _image_bytes(self) -> int:
        return self.channels * self.size[0] * self.size[1]

    def select(self, indices: np.ndarray) -> ImageFiles:
        """Some of the files, not decoded yet."""
        paths = [self.paths[i] for i in indices]
        return ImageFiles(paths, self.channels, self.size, self.crop, self.margin)

    def read(
        self, indices: np.ndarray, unreadable: dict[str, str] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images u8 [m,c,h,w] and their positions in `indices` [m].

        Files that cannot be read are left out, and added to `unreadable` with the reason.
        """
        decoded = np.empty((len(indices), self.channels, *self.size), np.uint8)
        kept: list[int] = []

        def decode(path: Path | Member) -> np.ndarray | DataError:
            try:
                return self._decode(path)
            except DataError as error:
                return error

        with ThreadPoolExecutor(
            min(8, os.cpu_count() or 1)
        ) as pool:  # Pillow releases the GIL while decoding
            for i, image in enumerate(pool.map(decode, (self.paths[i] for i in indices))):
                if isinstance(image, np.ndarray):
                    decoded[len(kept)] = image
                    kept.append(i)
                elif unreadable is not None:
                    unreadable[str(image.fields["file"])] = str(image.fields["reason"])
        return decoded[: len(kept)], np.array(kept, dtype=np.int64)

    def fingerprint(self) -> str:
        """Changes if any file is replaced, or is decoded differently. Raises OSError."""
        digest = hashlib.sha256(
            repr((DECODING, self.channels, self.size, self.crop, self.margin)).encode()
        )
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:  # a network drive takes a while for each
            parts = range(0, len(self.paths), FILES_PER_TASK)
            for states in pool.map(self._states, parts):
                digest.update(states)
        return digest.hexdigest()

    def identity(self, labels: np.ndarray) -> str:
        """Identifies the files wherever they are, also in a ZIP file: changes if one is added,
        removed, renamed, moved to another class, or has another size, or if the first bytes of one
        of IDENTITY_SAMPLE files change. Raises OSError, Unreadable.
        """
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            sizes = list(pool.map(lambda path: listing.state(path)[0], self.paths))
        # macOS writes accents in names as characters of their own, other systems do not
        names = [unicodedata.normalize("NFC", path.name) for path in self.paths]
        rows = list(zip(map(int, labels), names, sizes))
        order = sorted(range(len(rows)), key=rows.__getitem__)
        digest = hashlib.sha256(repr([rows[i] for i in order]).encode(errors="replace"))
        for i in order[:: max(1, -(-len(order) // IDENTITY_SAMPLE))]:
            with self.paths[i].open("rb") as file:
                digest.update(file.read(IDENTITY_BYTES))
        return digest.hexdigest()

    def _states(self, first: int) -> bytes:
        """The names and states of some of the files, from position `first`."""
        part = self.paths[first : first + FILES_PER_TASK]
        return repr([(str(path), *listing.state(path)) for path in part]).encode(errors="replace")

    def _decode(self, path: Path | Member) -> np.ndarray:
        """One file → u8 [c,h,w]."""
        return images.decode(path, self.channels, self.size, crop=self.crop, margin=self.margin)


def image_files(folder: Path) -> list[Path | Member]:
    """Every image that a person sees below a folder, sorted by name."""
    return [path for _, path in listing.list_files(folder).files if images.is_image(path.name)]


def check_headers(
    files: Sequence[Path | Member], on_progress: Progress = ignore_progress
) -> dict[int, str]:
    """Position of each file that cannot be read → why.

    Reads headers only, in parallel; it takes about a second per 5,000 files on a local disk.
    """
    found: dict[int, str] = {}
    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        for first in range(0, len(files), HEADERS_PER_REPORT):
            on_progress(first, len(files))
            part = files[first : first + HEADERS_PER_REPORT]
            for i, reason in enumerate(pool.map(images.problem, part)):
                if reason:
                    found[first + i] = reason
    on_progress(len(files), len(files))
    return found


def list_images(
    folder: Path, classes: list[tuple[str, ...]]
) -> tuple[list[Path | Member], np.ndarray]:
    """The image files of each class, sorted by name, and their labels i64 [n].

    Args:
        folder: has one subfolder per class; other subfolders are ignored.
        classes: accepted names of each class's subfolder, in the order of the labels.
    Raises ValueError naming the first class without a subfolder or an image.
    """
    paths: list[Path | Member] = []
    labels: list[int] = []
    for label, names in enumerate(classes):
        subfolder = next((folder / n for n in names if (folder / n).is_dir()), None)
        files = image_files(subfolder) if subfolder else []
        if not files:
            expected = " or ".join(repr(n) for n in names)
            raise ValueError(
                f"{subfolder or folder} has no {'image' if subfolder else f'subfolder {expected}'}"
            )
        paths += files
        labels += [label] * len(files)
    return paths, np.array(labels, dtype=np.int64)
