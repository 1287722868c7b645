"""The runs of a folder as a list: what each one is, how far it got, and a small picture.

Cheap no matter how long a run is: it reads the first line of its events and the last few, never all
of them, plus one batch for the picture, and again only when a file has changed. Nothing here
changes a run.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from app.archive import sheets
from app.archive.archive import Archive
from app.live.format import SHARE_DIGITS
from app.setup.differences import replicate_key
from app.web.errors import Missing
from kgen import events
from kgen.journal.reading import BUNDLE_MANIFEST, JournalError, Run, being_written, open_run
from kgen.system.files import fingerprint
from kgen.worth import exchange

NOTE = "note.txt"
MAX_NOTE = 500
WATCHED_FILES = ("events.jsonl", "run.json", "recipe.json", NOTE, exchange.FILE)
BLOCK_BYTES = 1 << 16
MAX_SEARCH_BYTES = 8 << 20
"""How many bytes from the end of the events to search for the last test and batch."""
CACHE_SECONDS = 1.0
"""Seconds for which a list is reused."""
TILES, TILE_COLUMNS = 10, 5
MAX_PICTURES = 256


class Listing:
    """Thread-safe.

    Args:
        current: the run everyone sees, and whether it is in progress.
    """

    def __init__(self, archive: Archive, current: Callable[[], tuple[str | None, bool]]):
        self._archive, self._current = archive, current
        self._lock = threading.Lock()
        self._facts: dict[str, tuple[tuple, dict[str, Any]]] = {}
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._rows: list[dict[str, Any]] = []
        self._read_at = -math.inf

    def invalidate(self) -> None:
        """Something was renamed, deleted or written: read again on the next request."""
        self._read_at = -math.inf

    def rows(self) -> list[dict[str, Any]]:
        """Every run, most recently written first."""
        with self._lock:
            if time.monotonic() - self._read_at > CACHE_SECONDS:
                self._read_at = time.monotonic()
                names = list(self._archive.names())
                self._facts = {
                    name: cached for name, cached in self._facts.items() if name in set(names)
                }
                self._rows = [row for name in names if (row := self._row(name))]
            return self._rows

    def _row(self, name: str) -> dict[str, Any] | None:
        path = self._archive.folder / name
        try:
            key = tuple(fingerprint(path / file) for file in WATCHED_FILES)
            cached = self._facts.get(name)
            if cached is None or cached[0] != key:
                cached = self._facts[name] = (key, facts(path))
        except OSError:  # deleted in the meantime
            return None
        row, (shown, active) = dict(cached[1]), self._current()
        # the follower already probes the lock of the shown run, and two probes may mistake each
        # other for an engine
        if active if name == shown else row["state"] == "interrupted" and being_written(path):
            row["state"] = "going"
        row["resumable"] = row["resumable"] and row["state"] != "going"
        return row | {"name": name, "shown": name == shown}

    def picture(self, name: str, key: str) -> bytes:
        """A PNG of a run's newest images, if `key` is the row's. Raises Missing."""
        path = self._archive.path(name)
        with self._lock:
            if key not in self._pictures:
                row = facts(path)
                if row["picture"] != key:
                    raise Missing("This run has newer images. Reload the page.", code="outdated")
                self._pictures[key] = thumbnail(
                    path / "batches" / f"{row['newest']:06d}.safetensors"
                )
                while len(self._pictures) > MAX_PICTURES:
                    self._pictures.popitem(last=False)
            self._pictures.move_to_end(key)
            return self._pictures[key]


def facts(path: Path) -> dict[str, Any]:
    """What a run's files say about it. Raises OSError if they are gone."""
    row = {
        "title": "",
        "recipe": "",
        "teacher": "",
        "classes": 0,
        "score": None,
        "teacher_score": None,
        "images": 0,
        "budget": 0,
        "used": 0.0,
        "seconds": 0.0,
        "state": "damaged",
        "note": note_of(path),
        "bytes": size_of(path),
        "began": int((path / "recipe.json").stat().st_mtime),
        "resumable": False,
        "own_images": False,
        "replicate_key": "",
        "seed": 0,
        "brought": (path / BUNDLE_MANIFEST).is_file(),
        "picture": None,
        "newest": None,
        "worth": None,
    }
    try:
        run = open_run(path)
        info = run.info
        sha = str(info.get("teacher_sha256", ""))
    except (JournalError, TypeError, AttributeError):
        return row
    recipe = run.recipe
    row |= {
        "title": f"{recipe.name}, seed {recipe.seed}",
        "recipe": recipe.name,
        "teacher": recipe.teacher,
        "own_images": recipe.real_images is not None,
        "state": "interrupted",
        "classes": len(recipe.classes or ()),
        "replicate_key": replicate_key(recipe, sha),
        "seed": recipe.seed,
    }
    started = first_event(run)
    if started is not None:
        known = started.card_score
        row |= {
            "teacher": started.teacher.title[:80],
            "classes": len(started.classes),
            "budget": started.budget_images,
            "teacher_score": _share(known.accuracy if known else None),
        }
    last, batch, test = newest_events(run)
    if last is not None:
        row |= {
            "seconds": round(last.t, 1) if math.isfinite(last.t) else 0.0,
            "state": _state(last),
        }
    if batch is not None:
        identity = f"{info.get('id', '')} {info.get('attempt', 1)} {batch.iteration} {path.name}"
        row |= {
            "images": batch.pool_images,
            "used": round(_share(batch.budget_used) or 0.0, 4),
            "newest": batch.iteration,
            "picture": hashlib.sha256(identity.encode()).hexdigest()[:16],
        }
    row["score"] = _score(last, test)
    row["worth"] = exchange_rate(run)
    if test is not None and test.teacher is not None:
        row["teacher_score"] = _share(test.teacher.accuracy)
    checkpoint = (path / "checkpoint" / "state.safetensors").is_file()
    row["resumable"] = (
        row["state"] != "finished"
        and (checkpoint or batch is None)
        and not (row["brought"] and not checkpoint)
    )
    return row


def exchange_rate(run: Run) -> dict[str, Any] | None:
    """Its measured exchange rate; None if it was not measured."""
    measured = exchange.read(run)
    if measured is None:
        return None
    rate = measured.rate
    data = measured.model_dump(exclude={"photos"})  # nobody else needs the path on that machine
    return data | {"rate": rate and asdict(rate), "sentence": exchange.summary(measured)}


def first_event(run: Run) -> events.RunStarted | None:
    try:
        with (run.path / "events.jsonl").open("rb") as file:
            event = _event(file.readline(MAX_SEARCH_BYTES))
    except FileNotFoundError:
        return None
    return event if isinstance(event, events.RunStarted) else None


def newest_events(
    run: Run,
) -> tuple[events.Event | None, events.BatchSynthesized | None, events.Evaluated | None]:
    """The last event, batch and test, searching from the end."""
    last = batch = test = None
    for line in lines_backwards(run.path / "events.jsonl"):
        needed = (batch is None and b'"kind":"batch_synthesised"' in line) or (
            test is None and b'"kind":"evaluated"' in line
        )
        if last is not None and not needed:
            continue
        event = _event(line)
        last = last or event
        if isinstance(event, events.BatchSynthesized) and event.iteration is not None:
            batch = batch or event
        elif isinstance(event, events.Evaluated):
            test = test or event
        if batch and test:
            break
    return last, batch, test


def lines_backwards(file: Path) -> Iterator[bytes]:
    """The complete lines in the last MAX_SEARCH_BYTES bytes of a file, last one first."""
    try:
        opened = file.open("rb")
    except FileNotFoundError:
        return
    with opened:
        end = opened.seek(0, os.SEEK_END)
        farthest, partial = max(0, end - MAX_SEARCH_BYTES), b""
        while end > farthest:
            start = max(farthest, end - BLOCK_BYTES)
            opened.seek(start)
            data = opened.read(end - start) + partial
            partial, newline, rest = data.partition(b"\n") if start else (b"", b"\n", data)
            if not newline:
                partial, rest = data, b""
            yield from reversed([line for line in rest.split(b"\n") if line])
            end = start


def _event(line: bytes) -> events.Event | None:
    """None for an incomplete or damaged line: the Studio reports where; the list skips it."""
    try:
        return events.from_json(line)
    except ValidationError:
        return None


def _state(last: events.Event) -> str:
    if last.kind == "run_finished":
        return "finished" if last.reason == "done" else "stopped"
    return "failed" if last.kind == "run_failed" else "interrupted"


def _score(last: events.Event | None, test: events.Evaluated | None) -> dict[str, Any] | None:
    """The student's accuracy on real images, or else its agreement with the teacher."""
    if isinstance(last, events.RunFinished) and (share := _share(last.accuracy)) is not None:
        return {"share": share, "n": last.n, "real": True}
    if isinstance(last, events.RunFinished) and (share := _share(last.agreement)) is not None:
        return {"share": share, "n": last.n, "real": False}
    if test is not None and (share := _share(test.student.accuracy)) is not None:
        return {"share": share, "n": test.student.n, "real": test.student.real}
    return None


def _share(value: float | None) -> float | None:
    return round(value, SHARE_DIGITS) if value is not None and math.isfinite(value) else None


def note_of(path: Path) -> str:
    try:
        with (path / NOTE).open("rb") as file:
            return file.read(4 * MAX_NOTE).decode("utf-8", "replace")[:MAX_NOTE]
    except OSError:
        return ""


def size_of(path: Path) -> int:
    """Total size of a run's files; one that disappears in the meantime does not count."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def thumbnail(file: Path) -> bytes:
    """The first images of a few classes of a batch as one PNG. Raises Missing."""
    try:
        with safe_open(file, "np") as arrays:
            images, labels = arrays.get_tensor("images"), arrays.get_tensor("labels")
        present = np.unique(labels)
        per_class = -(-TILES // max(1, len(present)))
        positions = np.concatenate(
            [np.flatnonzero(labels == c)[:per_class] for c in present[:TILES]]
        )[:TILES]
        side = images.shape[-1]
        tiles = sheets.downscale(
            images[positions], sheets.shrink_factor(side, (side / sheets.MIN_SIDE) ** 2)
        )
        cells = [divmod(i, TILE_COLUMNS) for i in range(len(positions))]
        return sheets.png_bytes(
            sheets.tile(
                tiles,
                [p[0] for p in cells],
                [p[1] for p in cells],
                (cells[-1][0] + 1, min(len(positions), TILE_COLUMNS)),
            )
        )
    except (
        OSError,
        SafetensorError,
        ValueError,
        IndexError,
        TypeError,
    ):  # a file from elsewhere may contain anything
        raise Missing("This run's newest images cannot be read.", code="unreadable") from None
