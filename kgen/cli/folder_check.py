"""`python -m kgen data check FOLDER`: which subfolder is which class, and what cannot be read.

The app runs the same command for the folder that someone enters on the page: it sends one JSON line
{"folder", "teacher"} and receives JSON lines {"kind": progress | report | error, …}. The report
covers all classes; the page shows the part that belongs to the selection.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from kgen.cli.console import console, text_console
from kgen.cli.image_progress import ImageProgress
from kgen.cli.progress import print_line
from kgen.data import collection, data
from kgen.data.class_folders import FolderReport
from kgen.data.data import DataError
from kgen.data.folders import Progress
from kgen.errors import KGenError
from kgen.phrases import count, did_you_mean, failed_check
from kgen.zoo import zoo

MAX_LISTED, MAX_MISSING = 20, 10
"""How many classes and folders a table on the terminal lists; the rest are counted."""
PROGRESS_SECONDS = 0.3
DECODED_AT_ONCE = 50


def check(folder: str, teacher: str | None, as_json: bool) -> int:
    """Check a folder or ZIP file, and print the result. Returns the exit code."""
    if teacher is None:
        raise DataError(
            f"{folder!r} is not a known data set. {did_you_mean(folder, list(collection.CARDS))} To"
            " check your own folder, name the teacher whose classes it has: --teacher NAME.",
            code="unknown-data",
            name=folder,
        )
    try:
        with ImageProgress(quiet=as_json) as bar:
            report = examine(folder, teacher, bar.activity("checking"), bar.activity("decoding"))
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    if as_json:
        print_line(json.dumps(report.to_json()))
    else:
        _print(report)
    return 1 if report.unreadable else 0


def examine(
    folder: str,
    teacher: str,
    on_header: Progress,
    on_decoded: Progress | None = None,
) -> FolderReport:
    """Match a folder with a teacher's classes, and check every image.

    Decodes the images if `on_decoded` is given; otherwise, only their headers are read. Raises
    DataError, ZooError.
    """
    names = zoo.classes(teacher)
    labels = tuple(range(len(names)))
    real = data.image_folder(folder, names, zoo.card(teacher), labels, on_header)
    assert real.report is not None  # the user's own folder always has one
    if on_decoded:
        left: list[int] = []
        for first in range(0, len(real), DECODED_AT_ONCE):
            on_decoded(first, len(real))
            part = np.arange(first, min(first + DECODED_AT_ONCE, len(real)))
            left += real.labels[part[real.read(part)[1]]].tolist()
        on_decoded(len(real), len(real))
        real.report.recount(names[label] for label in left)
    return real.report


def serve() -> int:
    """Perform the check described by one line of standard input; prints JSON lines. Returns the
    exit code.
    """
    last = 0.0

    def send(kind: str, **fields: Any) -> None:
        print_line(json.dumps({"kind": kind, **fields}))

    def on_progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            send("progress", done=done, total=total)

    try:
        request = json.loads(sys.stdin.readline())
        report = examine(request["folder"], request["teacher"], on_progress)
    except KGenError as error:
        send("error", text=str(error), code=error.code)
        return 2
    except OSError as error:
        send("error", text=f"{error.filename or 'A file'} cannot be read: {error.strerror}.")
        return 2
    except Exception as error:  # an internal bug; still report it to the user
        send("error", text=failed_check(error))
        return 2
    found = replace(report, classes=tuple(row for row in report.classes if row.images))
    # without the missing classes: only the page knows which ones are selected
    remarks = [{"text": text, "remedy": remedy} for text, remedy in found.remarks()]
    send("report", **report.to_json(), remarks=remarks)
    return 0


def _print(report: FolderReport) -> None:
    grid = Table("class", "folder", "images", box=SIMPLE)
    grid.columns[2].justify = "right"
    present = [row for row in report.classes if row.images]
    for row in present[:MAX_LISTED]:
        grid.add_row(Text(row.name), Text(", ".join(row.folders)), f"{row.images:,}")
    if len(present) > MAX_LISTED:
        rest = present[MAX_LISTED:]
        grid.add_row(f"{len(rest):,} more", "", f"{sum(row.images for row in rest):,}", style="dim")
    missing = [row for row in report.classes if not row.images]
    for row in missing[:MAX_MISSING]:
        where = f"{', '.join(row.folders)}: no images" if row.folders else "no folder"
        grid.add_row(Text(row.name), Text(where), "0", style="yellow")
    if len(missing) > MAX_MISSING:
        grid.add_row(f"{len(missing) - MAX_MISSING:,} more", "", "0", style="yellow")
    for ignored in report.ignored[:MAX_LISTED]:
        found = f"{ignored.folder}: {ignored.reason}"
        grid.add_row("not used", Text(found), f"{ignored.images:,}", style="dim")
    if len(report.ignored) > MAX_LISTED:
        grid.add_row("not used", f"{len(report.ignored) - MAX_LISTED:,} more", "", style="dim")
    text_console().print(grid)
    for text, remedy in report.remarks():
        console.print(f"Note: {text} {remedy}", soft_wrap=True)
    used = Path(report.source) / report.split if report.split else report.source
    print_line(
        f"{used}: {count(report.images, 'image')} of {len(present):,} of"
        f" {count(len(report.classes), 'class')}."
    )
