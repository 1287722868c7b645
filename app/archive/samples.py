"""All images of one class in a run: columns to sort and filter by, contact sheets and mean images,
in pieces of several iterations.

A finished iteration never changes, so neither does a piece. Each iteration's file is read once for
its columns, which are kept as long as there is room. Sorting and filtering exist here for downloads
and in `static/store/image_filter.js` for the page, with the same rules.
"""

from __future__ import annotations

import base64
import itertools
import math
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.archive import sheets
from app.archive.batchfile import BatchFile, BatchFileError, PerImage, thumb_of, to_json
from kgen.events import PARTS
from kgen.journal.reading import JournalError

TILES = 256
"""Approximate number of a class's images in a piece."""
MOST_ITERATIONS, MOST_TILES = 128, 4096
"""Most iterations and images in a piece."""
KEPT_BYTES = 64 << 20
"""Most bytes of columns to keep."""
MEAN_SIDE = 112
MOST_SIDES = 8
OTHERS = ("p", "s", "judge", "rank", "side", "pool")
"""What images can be sorted and filtered by, besides iteration and loss terms."""
CONDITION = re.compile(
    r"([a-z][a-z0-9]{0,11}):(-?[0-9.]{0,16}(?:e-?[0-9]{1,2})?):(-?[0-9.]{0,16}(?:e-?[0-9]{1,2})?)"
)
MOST_CONDITIONS = 12


def span(batch: int, classes: int) -> int:
    """Iterations in a piece."""
    return max(1, min(MOST_ITERATIONS, TILES * max(1, classes) // max(1, batch)))


class Index:
    """Columns of finished iterations, of any run. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[Any, int], PerImage] = OrderedDict()
        self._bytes = 0

    def columns(
        self, key: Any, opened: BatchFile, class_indices: np.ndarray, terms: tuple[str, ...] = PARTS
    ) -> PerImage:
        """`key`: the attempt of a run to which the file belongs."""
        at = (key, opened.iteration)
        with self._lock:
            if at in self._held:
                self._held.move_to_end(at)
                return self._held[at]
        found = opened.columns(class_indices, terms)
        with self._lock:
            if at not in self._held:
                self._held[at] = found
                self._bytes += found.nbytes
            while self._bytes > KEPT_BYTES and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        return found

    def kept(self, key: Any, iteration: int) -> PerImage | None:
        with self._lock:
            return self._held.get((key, iteration))


@dataclass(frozen=True, slots=True)
class Album:
    """The batches of one attempt of a run, up to some iteration."""

    path: Path
    key: Any
    index: Index
    class_indices: np.ndarray
    terms: tuple[str, ...] = PARTS
    """The generator's loss terms, in the order of the files' columns."""

    def columns(self, iteration: int) -> PerImage:
        """Raises JournalError, BatchFileError."""
        kept = self.index.kept(self.key, iteration)
        if kept is None:
            with BatchFile(self.path, iteration) as opened:
                kept = self.index.columns(self.key, opened, self.class_indices, self.terms)
        return kept

    def places(
        self, c: int, first: int, end: int
    ) -> tuple[list[tuple[int, np.ndarray, PerImage]], list[int]]:
        """([(iteration, positions of the class's images, columns)], unreadable iterations)."""
        found, lost, count = [], [], 0
        for iteration in range(first, end):
            try:
                columns = self.columns(iteration)
            except (JournalError, BatchFileError):
                lost.append(iteration)
                continue
            at = np.flatnonzero(columns.labels == c)[: MOST_TILES - count]
            count += len(at)
            if len(at):
                found.append((iteration, at, columns))
        return found, lost


def piece(album: Album, c: int, first: int, end: int) -> dict[str, Any]:
    """A class's columns and mean images in iterations first … end − 1."""
    found, lost = album.places(c, first, end)
    out: dict[str, Any] = {"first": first, "end": end, "lost": lost}
    out["it"] = [iteration for iteration, at, _ in found for _ in at]
    out["pos"] = [int(i) for _, at, _ in found for i in at]
    out["side"] = [columns.side for _, at, columns in found for _ in at]
    out["pool"] = [int(v) for _, at, columns in found for v in columns.entered[at]]
    for name in ("p", "s"):
        out[name] = [v for _, at, columns in found for v in to_json(getattr(columns, name)[at])]
    for name in ("judge", "rank"):
        if any(np.isfinite(getattr(columns, name)).any() for *_, columns in found):
            out[name] = [v for _, at, columns in found for v in to_json(getattr(columns, name)[at])]
    for name in album.terms:
        if any(name in columns.parts for *_, columns in found):
            out[name] = [
                v
                for _, at, columns in found
                for v in (
                    to_json(columns.parts[name][at]) if name in columns.parts else [None] * len(at)
                )
            ]
    cell, columns, rows = frame(found)
    return out | {"cell": cell, "columns": columns, "rows": rows, "means": _means(album, found)}


def frame(found: list[tuple[int, np.ndarray, PerImage]]) -> tuple[int, int, int]:
    """(side of a cell, cells per row, rows) of a contact sheet."""
    count = sum(len(at) for _, at, _ in found)
    columns = max(1, math.ceil(math.sqrt(count)))
    return (
        max((thumb_of(columns_.side)[1] for *_, columns_ in found), default=1),
        columns,
        max(1, -(-count // columns)),
    )


def sheet(album: Album, c: int, first: int, end: int) -> bytes:
    """A PNG of the same images in the same order, each at the top left of its cell."""
    found, _ = album.places(c, first, end)
    cell, columns, rows = frame(found)
    return sheets.png_bytes(
        sheets.picture(
            canvas(album, [(it, int(i)) for it, at, _ in found for i in at], cell, columns, rows)
        )
    )


def canvas(
    album: Album, images: list[tuple[int, int]], cell: int, columns: int, rows: int
) -> np.ndarray:
    """u8 [c,rows·cell,columns·cell]: images in reading order; each file is opened once."""
    out: np.ndarray | None = None
    order = sorted(range(len(images)), key=lambda k: images[k])
    for iteration, places in itertools.groupby(order, key=lambda k: images[k][0]):
        with BatchFile(album.path, iteration) as opened:
            by = thumb_of(opened.side)[0]
            for k in places:
                small = sheets.picture(sheets.shrunk(opened.image(images[k][1]), by))
                small = small[None] if small.ndim == 2 else np.moveaxis(small, -1, 0)
                if out is None:
                    out = np.zeros((len(small), rows * cell, columns * cell), np.uint8)
                elif len(small) > len(out):
                    # gray images before color ones: no run makes these, but a file may have them
                    out = np.repeat(out, 3, 0)
                y, x = divmod(k, columns)
                h, w = (min(cell, n) for n in small.shape[1:])
                out[:, y * cell : y * cell + h, x * cell : x * cell + w] = small[:, :h, :w]
    return np.zeros((1, rows * cell, columns * cell), np.uint8) if out is None else out


def _means(album: Album, found: list[tuple[int, np.ndarray, PerImage]]) -> list[dict[str, Any]]:
    """The mean image at each resolution, in 1/256 of a gray level so that means of pieces can be
    combined.
    """
    sums: dict[tuple[int, int], tuple[np.ndarray, int]] = {}
    for iteration, at, _ in found:
        with BatchFile(album.path, iteration) as opened:
            by = -(-opened.side // MEAN_SIDE)
            size = (opened.side, opened.channels)
            if size not in sums and len(sums) >= MOST_SIDES:
                continue
            for i in at:
                image = sheets.shrunk(opened.image(int(i)), by).astype(np.float64)
                total, n = sums.get(size, (np.zeros_like(image), 0))
                sums[size] = (total + image, n + 1)
    return [
        {
            "side": side,
            "small": total.shape[-1],
            "channels": channels,
            "n": n,
            "data": base64.b64encode(np.rint(total / n * 256).astype("<u2").tobytes()).decode(),
        }
        for (side, channels), (total, n) in sorted(sums.items())
    ]


# --- sorted and filtered, for downloads -----------------------------------------------------------


def conditions(text: str, terms: tuple[str, ...] = PARTS) -> list[tuple[str, float, float]]:
    """ "kr:0.5:2,p::0.9" → [(name, low, high)]; an open end is infinite. Raises BatchFileError."""
    found = []
    for part in text.split(",") if text else []:
        condition = _condition(part)
        _check_known(condition[0], terms)
        found.append(condition)
    if len(found) > MOST_CONDITIONS:
        raise BatchFileError(f"Use at most {MOST_CONDITIONS} image filters at once.")
    return found


def _condition(text: str) -> tuple[str, float, float]:
    if match := CONDITION.fullmatch(text):
        try:
            return match[1], float(match[2] or "-inf"), float(match[3] or "inf")
        except ValueError:
            pass  # such as 1.2.3
    raise BatchFileError("Invalid image filter: expected NAME:LOW:HIGH, separated by commas.")


def ordering(text: str, terms: tuple[str, ...] = PARTS) -> tuple[str, bool]:
    """ "-kr" → ("kr", True): highest first. Raises BatchFileError."""
    name = text.removeprefix("-")
    _check_known(name, terms)
    return name, text.startswith("-")


def _check_known(name: str, terms: tuple[str, ...]) -> None:
    known = ("it", *terms, *OTHERS)
    if name not in known:
        raise BatchFileError(f"Unknown image property. Choose one of {', '.join(known)}.")


def chosen(
    album: Album,
    c: int,
    end: int,
    where: list[tuple[str, float, float]],
    sort: tuple[str, bool],
    most: int,
) -> tuple[list[tuple[int, int]], int]:
    """([(iteration, position)] of the first `most`, total number). Unknown values match no filter
    and are sorted last.
    """
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for iteration in range(end):
        try:
            columns = album.columns(iteration)
        except (JournalError, BatchFileError):
            continue
        at = np.flatnonzero(columns.labels == c)
        for name, low, high in where:
            values = _values(columns, name, iteration, at)
            at = at[(values >= low) & (values <= high)]
        found.append((np.full(len(at), iteration), at, _values(columns, sort[0], iteration, at)))
    if not found:
        return [], 0
    its, positions, keys = (np.concatenate(x) for x in zip(*found))
    order = np.lexsort(
        (positions, its, np.where(np.isnan(keys), np.inf, -keys if sort[1] else keys))
    )
    return [(int(its[k]), int(positions[k])) for k in order[:most]], len(order)


def _values(columns: PerImage, name: str, iteration: int, at: np.ndarray) -> np.ndarray:
    if name in ("it", "side"):
        return np.full(len(at), float(iteration if name == "it" else columns.side))
    if name == "pool":
        return columns.entered[at].astype(np.float64)
    if name in ("p", "s", "judge", "rank"):
        return getattr(columns, name)[at]
    return columns.parts[name][at] if name in columns.parts else np.full(len(at), np.nan)
