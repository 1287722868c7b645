"""Selected images of a class as files: one PNG with all of them, or a ZIP of PNGs with a table of
their losses, created while it is sent.
"""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from app.archive import sheets
from app.archive.batchfile import BatchFile, BatchFileError, thumbnail_size
from app.archive.samples import RunBatches, canvas
from kgen.journal.bundle import Pipe
from kgen.journal.reading import JournalError

MAX_GRID, MAX_ZIP = 2_500, 20_000
"""Limits on the images in one PNG and in one ZIP."""
LEADING_COLUMNS = (
    "file",
    "iteration",
    "position",
    "class",
    "side",
    "in_pool",
    "teacher_confidence",
    "student_confidence",
)
TRAILING_COLUMNS = ("judge_confidence", "judge_rank")
"""Columns of the table before and after those of the loss terms."""


def slug(name: str) -> str:
    """A class's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "class"


def grid(batches: RunBatches, images: list[tuple[int, int]]) -> bytes:
    """A PNG, filled row by row. Raises JournalError, BatchFileError."""
    cell = max(
        (
            thumbnail_size(batches.columns(iteration).side)[1]
            for iteration in {iteration for iteration, _ in images}
        ),
        default=1,
    )
    columns = max(1, math.ceil(math.sqrt(1.5 * len(images))))
    return sheets.png_bytes(
        sheets.picture(canvas(batches, images, cell, columns, max(1, -(-len(images) // columns))))
    )


def archive(batches: RunBatches, images: list[tuple[int, int]], name: str) -> Iterator[bytes]:
    """The bytes of a ZIP, piece by piece: full-size PNGs, file by file, and losses.csv in the
    requested order.
    """
    pipe = Pipe()
    table = io.StringIO()
    writer = csv.DictWriter(
        table,
        (*LEADING_COLUMNS, *batches.terms, *TRAILING_COLUMNS),
        restval="",
        lineterminator="\r\n",
    )
    writer.writeheader()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as zip_file:
        for row in (_row(batches, iteration, pos, name) for iteration, pos in images):
            writer.writerow(row)
        zip_file.writestr(zipfile.ZipInfo("losses.csv"), table.getvalue(), zipfile.ZIP_DEFLATED)
        yield pipe.drain()
        for iteration, positions in _by_file(images).items():
            try:
                with BatchFile(batches.path, iteration) as batch_file:
                    for pos in positions:
                        zip_file.writestr(
                            zipfile.ZipInfo(_file_name(iteration, pos, name)),
                            sheets.png_bytes(sheets.picture(batch_file.image(pos))),
                        )
                        yield pipe.drain()
            except (
                JournalError,
                BatchFileError,
            ):  # deleted in the meantime: the table still lists it
                continue
    yield pipe.drain()


def _by_file(images: list[tuple[int, int]]) -> dict[int, list[int]]:
    positions: dict[int, list[int]] = {}
    for iteration, pos in sorted(images):
        positions.setdefault(iteration, []).append(pos)
    return positions


def _file_name(iteration: int, pos: int, name: str) -> str:
    return f"{iteration + 1:06d}-{pos + 1:04d}-{slug(name)}.png"


def _row(batches: RunBatches, iteration: int, pos: int, name: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "file": _file_name(iteration, pos, name),
        "iteration": iteration + 1,
        "position": pos + 1,
        "class": spreadsheet_safe(name),
    }
    try:
        columns = batches.columns(iteration)
    except (JournalError, BatchFileError):
        return row
    numbers = {
        "teacher_confidence": columns.p[pos],
        "student_confidence": columns.s[pos],
        **{k: v[pos] for k, v in columns.parts.items()},
        "judge_confidence": columns.judge[pos],
        "judge_rank": columns.rank[pos],
    }
    return (
        row
        | {"side": columns.side, "in_pool": int(columns.entered[pos])}
        | {k: float(v) for k, v in numbers.items() if v == v}
    )


def spreadsheet_safe(text: str) -> str:
    """Text that a spreadsheet will not read as a formula; runs may come from anywhere."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
