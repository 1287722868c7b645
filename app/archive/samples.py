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
from app.archive.batchfile import BatchFile, BatchFileError, PerImage, thumbnail_size, to_json
from kgen.events import PARTS
from kgen.journal.reading import JournalError

TARGET_IMAGES = 256
"""Approximate number of a class's images in a piece."""
MAX_ITERATIONS, MAX_IMAGES = 128, 4096
"""Limit on the iterations and images in a piece."""
MAX_CACHE_BYTES = 64 << 20
"""Limit on the bytes of columns to keep."""
MEAN_SIDE = 112
MAX_SIDES = 8
IMAGE_PROPERTIES = ("p", "s", "judge", "rank", "side", "pool")
"""What images can be sorted and filtered by, besides iteration and loss terms."""
FILTER_PATTERN = re.compile(
    r"([a-z][a-z0-9]{0,11}):(-?[0-9.]{0,16}(?:e-?[0-9]{1,2})?):(-?[0-9.]{0,16}(?:e-?[0-9]{1,2})?)"
)
MAX_FILTERS = 12


def chunk_iterations(batch: int, classes: int) -> int:
    """Iterations in a piece."""
    return max(1, min(MAX_ITERATIONS, TARGET_IMAGES * max(1, classes) // max(1, batch)))


class ColumnCache:
    """Columns of finished iterations, of any run. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[Any, int], PerImage] = OrderedDict()
        self._size = 0

    def columns(
        self,
        key: Any,
        batch_file: BatchFile,
        class_indices: np.ndarray,
        terms: tuple[str, ...] = PARTS,
    ) -> PerImage:
        """`key`: the attempt of a run to which the file belongs."""
        cache_key = (key, batch_file.iteration)
        with self._lock:
            if cache_key in self._entries:
                self._entries.move_to_end(cache_key)
                return self._entries[cache_key]
        columns = batch_file.columns(class_indices, terms)
        with self._lock:
            if cache_key not in self._entries:
                self._entries[cache_key] = columns
                self._size += columns.nbytes
            while self._size > MAX_CACHE_BYTES and len(self._entries) > 1:
                self._size -= self._entries.popitem(last=False)[1].nbytes
        return columns

    def get(self, key: Any, iteration: int) -> PerImage | None:
        with self._lock:
            return self._entries.get((key, iteration))


@dataclass(frozen=True, slots=True)
class RunBatches:
    """The batches of one attempt of a run, up to some iteration."""

    path: Path
    key: Any
    cache: ColumnCache
    class_indices: np.ndarray
    terms: tuple[str, ...] = PARTS
    """The generator's loss terms, in the order of the files' columns."""

    def columns(self, iteration: int) -> PerImage:
        """Raises JournalError, BatchFileError."""
        columns = self.cache.get(self.key, iteration)
        if columns is None:
            with BatchFile(self.path, iteration) as batch_file:
                columns = self.cache.columns(self.key, batch_file, self.class_indices, self.terms)
        return columns

    def class_positions(
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
            positions = np.flatnonzero(columns.labels == c)[: MAX_IMAGES - count]
            count += len(positions)
            if len(positions):
                found.append((iteration, positions, columns))
        return found, lost


def class_samples(batches: RunBatches, c: int, first: int, end: int) -> dict[str, Any]:
    """A class's columns and mean images in iterations first … end − 1."""
    found, lost = batches.class_positions(c, first, end)
    data: dict[str, Any] = {"first": first, "end": end, "lost": lost}
    data["it"] = [iteration for iteration, positions, _ in found for _ in positions]
    data["pos"] = [int(i) for _, positions, _ in found for i in positions]
    data["side"] = [columns.side for _, positions, columns in found for _ in positions]
    data["pool"] = [int(v) for _, positions, columns in found for v in columns.entered[positions]]
    for name in ("p", "s"):
        data[name] = [
            v for _, positions, columns in found for v in to_json(getattr(columns, name)[positions])
        ]
    for name in ("judge", "rank"):
        if any(np.isfinite(getattr(columns, name)).any() for *_, columns in found):
            data[name] = [
                v
                for _, positions, columns in found
                for v in to_json(getattr(columns, name)[positions])
            ]
    for name in batches.terms:
        if any(name in columns.parts for *_, columns in found):
            data[name] = [
                v
                for _, positions, columns in found
                for v in (
                    to_json(columns.parts[name][positions])
                    if name in columns.parts
                    else [None] * len(positions)
                )
            ]
    cell, columns, rows = sheet_layout(found)
    return data | {"cell": cell, "columns": columns, "rows": rows, "means": _means(batches, found)}


def sheet_layout(found: list[tuple[int, np.ndarray, PerImage]]) -> tuple[int, int, int]:
    """(side of a cell, cells per row, rows) of a contact sheet."""
    count = sum(len(positions) for _, positions, _ in found)
    columns = max(1, math.ceil(math.sqrt(count)))
    return (
        max((thumbnail_size(batch_columns.side)[1] for *_, batch_columns in found), default=1),
        columns,
        max(1, -(-count // columns)),
    )


def class_sheet(batches: RunBatches, c: int, first: int, end: int) -> bytes:
    """A PNG of the same images in the same order, each at the top left of its cell."""
    found, _ = batches.class_positions(c, first, end)
    cell, columns, rows = sheet_layout(found)
    return sheets.png_bytes(
        sheets.picture(
            canvas(
                batches,
                [(iteration, int(i)) for iteration, positions, _ in found for i in positions],
                cell,
                columns,
                rows,
            )
        )
    )


def canvas(
    batches: RunBatches, images: list[tuple[int, int]], cell: int, columns: int, rows: int
) -> np.ndarray:
    """u8 [c,rows·cell,columns·cell]: images in reading order; each file is opened once."""
    out: np.ndarray | None = None
    order = sorted(range(len(images)), key=lambda k: images[k])
    for iteration, indices in itertools.groupby(order, key=lambda k: images[k][0]):
        with BatchFile(batches.path, iteration) as batch_file:
            factor = thumbnail_size(batch_file.side)[0]
            for k in indices:
                thumbnail = sheets.picture(sheets.downscale(batch_file.image(images[k][1]), factor))
                thumbnail = (
                    thumbnail[None] if thumbnail.ndim == 2 else np.moveaxis(thumbnail, -1, 0)
                )
                if out is None:
                    out = np.zeros((len(thumbnail), rows * cell, columns * cell), np.uint8)
                elif len(thumbnail) > len(out):
                    # gray images before color ones: no run mixes them, but a file may
                    out = np.repeat(out, 3, 0)
                y, x = divmod(k, columns)
                h, w = (min(cell, n) for n in thumbnail.shape[1:])
                out[:, y * cell : y * cell + h, x * cell : x * cell + w] = thumbnail[:, :h, :w]
    return np.zeros((1, rows * cell, columns * cell), np.uint8) if out is None else out


def _means(
    batches: RunBatches, found: list[tuple[int, np.ndarray, PerImage]]
) -> list[dict[str, Any]]:
    """The mean image at each resolution, in 1/256 of a gray level so that means of pieces can be
    combined.
    """
    sums: dict[tuple[int, int], tuple[np.ndarray, int]] = {}
    for iteration, positions, _ in found:
        with BatchFile(batches.path, iteration) as batch_file:
            factor = -(-batch_file.side // MEAN_SIDE)
            size = (batch_file.side, batch_file.channels)
            if size not in sums and len(sums) >= MAX_SIDES:
                continue
            for i in positions:
                image = sheets.downscale(batch_file.image(int(i)), factor).astype(np.float64)
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


def parse_filters(text: str, terms: tuple[str, ...] = PARTS) -> list[tuple[str, float, float]]:
    """ "kr:0.5:2,p::0.9" → [(name, low, high)]; an open end is infinite. Raises BatchFileError."""
    filters = []
    for part in text.split(",") if text else []:
        parsed = _parse_filter(part)
        _check_known(parsed[0], terms)
        filters.append(parsed)
    if len(filters) > MAX_FILTERS:
        raise BatchFileError(f"Use at most {MAX_FILTERS} image filters at once.")
    return filters


def _parse_filter(text: str) -> tuple[str, float, float]:
    if match := FILTER_PATTERN.fullmatch(text):
        try:
            return match[1], float(match[2] or "-inf"), float(match[3] or "inf")
        except ValueError:
            pass  # such as 1.2.3
    raise BatchFileError("Invalid image filter: expected NAME:LOW:HIGH, separated by commas.")


def parse_sort(text: str, terms: tuple[str, ...] = PARTS) -> tuple[str, bool]:
    """ "-kr" → ("kr", True): highest first. Raises BatchFileError."""
    name = text.removeprefix("-")
    _check_known(name, terms)
    return name, text.startswith("-")


def _check_known(name: str, terms: tuple[str, ...]) -> None:
    known = ("it", *terms, *IMAGE_PROPERTIES)
    if name not in known:
        raise BatchFileError(f"Unknown image property. Choose one of {', '.join(known)}.")


def select_images(
    batches: RunBatches,
    c: int,
    end: int,
    filters: list[tuple[str, float, float]],
    sort: tuple[str, bool],
    limit: int,
) -> tuple[list[tuple[int, int]], int]:
    """([(iteration, position)] of the first `limit`, total number). Unknown values match no filter
    and are sorted last.
    """
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for iteration in range(end):
        try:
            columns = batches.columns(iteration)
        except (JournalError, BatchFileError):
            continue
        positions = np.flatnonzero(columns.labels == c)
        for name, low, high in filters:
            values = _values(columns, name, iteration, positions)
            positions = positions[(values >= low) & (values <= high)]
        found.append(
            (
                np.full(len(positions), iteration),
                positions,
                _values(columns, sort[0], iteration, positions),
            )
        )
    if not found:
        return [], 0
    iterations, all_positions, sort_keys = (np.concatenate(x) for x in zip(*found))
    order = np.lexsort(
        (
            all_positions,
            iterations,
            np.where(np.isnan(sort_keys), np.inf, -sort_keys if sort[1] else sort_keys),
        )
    )
    return [(int(iterations[k]), int(all_positions[k])) for k in order[:limit]], len(order)


def _values(columns: PerImage, name: str, iteration: int, positions: np.ndarray) -> np.ndarray:
    if name in ("it", "side"):
        return np.full(len(positions), float(iteration if name == "it" else columns.side))
    if name == "pool":
        return columns.entered[positions].astype(np.float64)
    if name in ("p", "s", "judge", "rank"):
        return getattr(columns, name)[positions]
    return (
        columns.parts[name][positions] if name in columns.parts else np.full(len(positions), np.nan)
    )
