"""Reads one iteration's file, and only what is requested: columns of all images, single images,
maps, and frames that show how they were made.

A run may come from elsewhere, so shapes are read from the file's header and checked before any
array is loaded: no file can make the app use more than a few megabytes. Anything missing from an
older file is None. It knows nothing about other iterations.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from kgen.errors import KGenError
from kgen.events import PARTS
from kgen.journal.reading import JournalError

MAX_IMAGES, MAX_SIDE, MAX_CHANNELS = 4096, 1024, 4
MAX_VALUES = 1 << 23
"""Limit on the values in an array that is read whole."""
THUMBNAIL_SIDE = 64
"""Larger images are scaled down to at most this side in grids."""


class BatchFileError(KGenError, ValueError):
    """Not a valid file of an iteration; the message is one sentence."""

    code = "batch"


@dataclass(frozen=True, slots=True)
class PerImage:
    """What is known about each image of an iteration, f64 [n] each; nan if unknown. Rounded as on
    the page.
    """

    labels: np.ndarray
    """i64: positions in the run's classes."""
    side: int
    entered: np.ndarray
    p: np.ndarray
    """The teacher's probability of the pseudo-label."""
    s: np.ndarray
    """The student's; nan if the label is not among its top five."""
    parts: dict[str, np.ndarray]
    judge: np.ndarray
    """The judge's probability of the pseudo-label."""
    rank: np.ndarray
    """The pseudo-label's rank among all classes the judge knows; 1 is the most likely (0 in the
    file).
    """

    @property
    def nbytes(self) -> int:
        return self.labels.nbytes * (6 + len(self.parts)) + self.entered.nbytes


class BatchFile:
    """A context manager. Raises JournalError for a missing or damaged file, BatchFileError for one
    with unexpected contents.
    """

    def __init__(self, folder: Path, iteration: int):
        self._path = folder / "batches" / f"{iteration:06d}.safetensors"
        self.iteration = iteration

    def __enter__(self) -> BatchFile:
        try:
            self._file = safe_open(self._path, "np").__enter__()
        except FileNotFoundError:
            raise JournalError(f"{self._path} is missing.") from None
        except (OSError, SafetensorError) as error:
            raise JournalError(f"{self._path} cannot be read: {error}.") from None
        self._names = set(self._file.keys())
        try:
            self.n, self.channels, self.side, width = self._shape("images", 4, "U8")
            if not (
                self.n <= MAX_IMAGES
                and 1 <= self.channels <= MAX_CHANNELS
                and 1 <= self.side == width <= MAX_SIDE
            ):
                raise BatchFileError(
                    f"Iteration {iteration_name(self.iteration)} has images with an invalid shape."
                )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.__exit__(None, None, None)

    def has(self, name: str) -> bool:
        return name in self._names

    def array(self, name: str, dimensions: int, rows: int | None = None) -> np.ndarray | None:
        """A small array, read whole, with one row per image (or `rows`; -1 for any); None if the
        file does not have it.
        """
        if name not in self._names:
            return None
        shape = self._shape(name, dimensions)
        expected_rows = self.n if rows is None else rows
        if expected_rows not in (-1, shape[0]) or int(np.prod(shape, dtype=object)) > MAX_VALUES:
            raise BatchFileError(
                f"In iteration {iteration_name(self.iteration)}, “{name}” has an invalid shape."
            )
        return self._read(lambda: self._file.get_tensor(name))

    def row(self, name: str, pos: int, dimensions: int) -> np.ndarray | None:
        """One image's row of an array."""
        if name not in self._names:
            return None
        shape = self._shape(name, dimensions)
        if shape[0] != self.n or int(np.prod(shape[1:], dtype=object)) > MAX_VALUES:
            raise BatchFileError(
                f"In iteration {iteration_name(self.iteration)}, “{name}” has an invalid shape."
            )
        return self._read(lambda: self._file.get_slice(name)[pos : pos + 1])[0]

    def image(self, pos: int) -> np.ndarray:
        """u8 [c,e,e]."""
        return self._read(lambda: self._file.get_slice("images")[pos : pos + 1])[0]

    def columns(self, class_indices: np.ndarray, terms: tuple[str, ...] = PARTS) -> PerImage:
        """`class_indices`: the teacher's index of each of the run's classes; the student's answers
        use these indices. `terms`: what the columns of the loss are called.
        """
        unknown = np.full(self.n, np.nan)
        labels, parts = self.array("labels", 1), self.array("parts", 2)
        if labels is None or labels.dtype.kind not in "iu":
            raise BatchFileError(f"Iteration {iteration_name(self.iteration)} has no labels.")
        labels = labels.astype(np.int64)
        entered, p = self.array("entered", 1), self.array("confidence", 1)
        return PerImage(
            labels,
            self.side,
            np.zeros(self.n, bool) if entered is None else entered.astype(bool),
            unknown if p is None else rounded_shares(p),
            self._student(labels, class_indices),
            {} if parts is None else {k: significant(v) for k, v in zip(terms, parts.T)},
            *self._judge(unknown),
        )

    def _judge(self, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        confidence, rank = self.array("judge_confidence", 1), self.array("judge_rank", 1)
        if rank is not None and rank.dtype.kind not in "iu":
            raise BatchFileError(
                f"In iteration {iteration_name(self.iteration)}, “judge_rank” is not a count."
            )
        return unknown if confidence is None else rounded_shares(confidence), (
            unknown if rank is None else rank.astype(np.float64) + 1
        )

    def _student(self, labels: np.ndarray, class_indices: np.ndarray) -> np.ndarray:
        top, top_p = self.array("student_top", 2), self.array("student_top_p", 2)
        is_valid = (labels >= 0) & (labels < len(class_indices))
        result = np.full(self.n, np.nan)
        if top is None or top_p is None or top.shape != top_p.shape or not len(class_indices):
            return result
        hit = (top == class_indices[np.where(is_valid, labels, 0)][:, None]) & is_valid[:, None]
        matched = hit.any(1)
        result[matched] = rounded_shares(top_p)[hit.argmax(1)[:, None] == np.arange(top.shape[1])][
            matched
        ]
        return result

    def frames(self, pos: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
        """How one image was made: (steps [S], u8 [S,c,e,e], the teacher's confidence at each step
        or None); None if it was not stored.
        """
        positions, steps = (
            self.array("preview_positions", 1, -1),
            self.array("preview_steps", 1, -1),
        )
        if (
            positions is None
            or steps is None
            or "previews" not in self._names
            or not (positions == pos).any()
        ):
            return None
        shape = self._shape("previews", 5, "U8")
        if (
            shape[:2] != [len(steps), len(positions)]
            or shape[2:] != [self.channels, self.side, self.side]
            or len(steps) > 64
        ):
            raise BatchFileError(
                f"In iteration {iteration_name(self.iteration)}, “previews” has an invalid shape."
            )
        i = int(np.flatnonzero(positions == pos)[0])
        pixels = self._read(lambda: self._file.get_slice("previews")[:, i : i + 1])[:, 0]
        confidence = self.array("preview_confidence", 2, len(steps))
        return (
            steps.astype(np.int64),
            pixels,
            None
            if confidence is None or confidence.shape[1] != len(positions)
            else rounded_shares(confidence[:, i]),
        )

    def _shape(self, name: str, dimensions: int, dtype: str | None = None) -> list[int]:
        try:
            tensor = self._file.get_slice(name)
            shape, stored_dtype = list(tensor.get_shape()), tensor.get_dtype()
        except SafetensorError:
            raise BatchFileError(
                f"Iteration {iteration_name(self.iteration)} has no “{name}”."
            ) from None
        if len(shape) != dimensions or dtype not in (None, stored_dtype):
            raise BatchFileError(
                f"In iteration {iteration_name(self.iteration)}, “{name}” has an invalid shape."
            )
        return shape

    def _read(self, load: Any) -> np.ndarray:
        try:
            return load()
        except (
            OSError,
            SafetensorError,
            TypeError,
        ) as error:  # a number type that NumPy lacks
            raise JournalError(f"{self._path} cannot be read: {error}.") from None


def iteration_name(iteration: int) -> str:
    return f"{iteration + 1:,}"


def rounded_shares(values: np.ndarray) -> np.ndarray:
    """Probabilities with four digits; nan if not a number."""
    values = values.astype(np.float64)
    return np.where(np.isfinite(values), np.round(values, 4), np.nan)


def significant(values: np.ndarray) -> np.ndarray:
    """Five significant digits, as JSON will write them; nan if not a number."""
    return np.array(
        [
            float(f"{v:.5g}") if np.isfinite(v) else np.nan
            for v in values.astype(np.float64).tolist()
        ],
        np.float64,
    )


def to_json(values: np.ndarray) -> list[float | None]:
    """For JSON: nan becomes null."""
    return [v if v == v else None for v in values.tolist()]


def thumbnail_size(side: int) -> tuple[int, int]:
    """(by how much an image is scaled down in a grid, its side there)."""
    factor = -(-side // THUMBNAIL_SIDE)
    return factor, -(-side // factor)
