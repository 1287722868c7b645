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
from app.archive.batchfile import BatchFile, BatchFileError, thumb_of
from app.archive.samples import Album, canvas
from kgen.journal.bundle import Pipe
from kgen.journal.reading import JournalError

MOST_GRID, MOST_ZIP = 2_500, 20_000
"""Most images in one PNG and in one ZIP."""
BEFORE = (
    "file",
    "iteration",
    "position",
    "class",
    "side",
    "in_pool",
    "teacher_confidence",
    "student_confidence",
)
AFTER = ("judge_confidence", "judge_rank")
"""Columns of the table before and after those of the loss terms."""


def slug(name: str) -> str:
    """A class's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "class"


def grid(album: Album, images: list[tuple[int, int]]) -> bytes:
    """A PNG, filled row by row. Raises JournalError, BatchFileError."""
    cell = max((thumb_of(album.columns(it).side)[1] for it in {it for it, _ in images}), default=1)
    columns = max(1, math.ceil(math.sqrt(1.5 * len(images))))
    return sheets.png_bytes(
        sheets.picture(canvas(album, images, cell, columns, max(1, -(-len(images) // columns))))
    )


def archive(album: Album, images: list[tuple[int, int]], name: str) -> Iterator[bytes]:
    """The bytes of a ZIP, piece by piece: full-size PNGs, file by file, and losses.csv in the
    requested order.
    """
    pipe = Pipe()
    table = io.StringIO()
    writer = csv.DictWriter(
        table, (*BEFORE, *album.terms, *AFTER), restval="", lineterminator="\r\n"
    )
    writer.writeheader()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as into:
        for row in (_row(album, it, pos, name) for it, pos in images):
            writer.writerow(row)
        into.writestr(zipfile.ZipInfo("losses.csv"), table.getvalue(), zipfile.ZIP_DEFLATED)
        yield pipe.drain()
        for it, positions in _by_file(images).items():
            try:
                with BatchFile(album.path, it) as opened:
                    for pos in positions:
                        into.writestr(
                            zipfile.ZipInfo(_file(it, pos, name)),
                            sheets.png_bytes(sheets.picture(opened.image(pos))),
                        )
                        yield pipe.drain()
            except (
                JournalError,
                BatchFileError,
            ):  # deleted in the meantime: the table still lists it
                continue
    yield pipe.drain()


def _by_file(images: list[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for it, pos in sorted(images):
        found.setdefault(it, []).append(pos)
    return found


def _file(iteration: int, pos: int, name: str) -> str:
    return f"{iteration + 1:06d}-{pos + 1:04d}-{slug(name)}.png"


def _row(album: Album, iteration: int, pos: int, name: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "file": _file(iteration, pos, name),
        "iteration": iteration + 1,
        "position": pos + 1,
        "class": plain(name),
    }
    try:
        columns = album.columns(iteration)
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


def plain(text: str) -> str:
    """A text that a spreadsheet will not read as a formula; runs may come from anywhere."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
