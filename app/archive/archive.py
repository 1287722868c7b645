"""Reading run folders for the page: every run by name, and pieces of it as encoded JSON.

Nothing here runs or changes a run. A piece (a finished iteration of an attempt) never changes, so
browsers may cache it forever; that is why requests for an earlier attempt are rejected. A folder
may be deleted and recreated under the same name, so only responses to an address with the run's own
id are cached.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.archive import projection, sheets
from app.archive.run_reader import CONTENT_ERRORS, UNEXPECTED_CONTENTS, Missing, OpenRun
from app.web.lru import ResponseCache
from app.web.publish import encode
from kgen.errors import KGenError
from kgen.events import term_names
from kgen.journal.reading import RUN_NAME, JournalError, open_run
from kgen.phrases import count
from kgen.sweep.grid import is_sweep

MAX_OPEN = 24
"""Limit on the runs kept open: reopening one reads all its events again, and an audience may view
this many at once.
"""
MAX_VIEW_BYTES = 64 << 20
"""Limit on the bytes of students' views kept by all open runs together."""
MAX_CACHE_BYTES = 8 << 20
"""Limit on the bytes of encoded pieces: some forty iterations, made once for all viewers. Browsers
cache what they have seen.
"""


def without_folder(error: KGenError, folder: Path) -> str:
    """The error message without the path of the run folder on this machine."""
    return str(error).replace(f"{folder}{os.sep}", "")


@functools.cache
def bundled_reference(teacher: str) -> bytes:
    """The real examples in a bundled teacher's layout, encoded; shown before any run."""
    layout = projection.load(projection.bundled(teacher))
    if layout is None or layout.images is None:
        raise Missing(
            f"There are no bundled examples for {teacher}.",
            code="no-examples",
        )
    arrays = {"images": layout.images, "labels": layout.labels, "embedding": layout.embedding}
    return encode(sheets.reference(arrays, layout))


class Archive:
    """Every run of a folder, by name. Thread-safe."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock, self._responses = threading.Lock(), ResponseCache(MAX_CACHE_BYTES)
        self._open: OrderedDict[tuple[str, int, str], OpenRun] = OrderedDict()

    def path(self, name: str) -> Path:
        """The folder of a run. Raises Missing for anything but the name of an existing run.

        SWEEP.RUN is a run of a sweep in this folder (`kgen.sweep`).
        """
        for path in self._candidates(name):
            if (path / "recipe.json").is_file():
                return path
        raise Missing(
            "There is no run with that name.",
            code="unknown-run",
        )

    def own_path(self, name: str) -> Path:
        """The folder of a run that may be shown to everyone or changed, which excludes the runs of
        a sweep. Raises Missing.
        """
        path = self.path(name)
        if path.parent != self.folder:
            raise Missing(
                "A run of a sweep can be inspected and compared here, but it cannot be opened in"
                " the Studio or changed.",
                code="part-of-sweep",
            )
        return path

    def _candidates(self, name: str) -> Iterator[Path]:
        if not RUN_NAME.fullmatch(name) or ".." in name:
            return
        yield self.folder / name
        for dot in (i for i, character in enumerate(name) if character == "."):
            if is_sweep(sweep := self.folder / name[:dot]):
                yield sweep / name[dot + 1 :]

    def prepare(self) -> None:
        """Create the folder and check that it is writable. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(b"\0" * 4096)
            file.flush()

    def free_name(self, label: str) -> str:
        """recipe-date-time: unique, and a valid file name on any system."""
        slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40] or "run"
        name = f"{slug}-{time.strftime('%Y%m%d-%H%M%S')}"
        return next(
            n
            for n in itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
            if not os.path.lexists(self.folder / n)
        )

    def names(self) -> Iterator[str]:
        """Runs in the folder, most recently written first."""

        def modified(path: Path) -> float:
            try:
                return (path / "events.jsonl").stat().st_mtime
            except OSError:
                return 0.0

        try:
            paths = [
                p
                for p in self.folder.iterdir()
                if RUN_NAME.fullmatch(p.name) and (p / "recipe.json").is_file()
            ]
        except OSError:
            return
        yield from (p.name for p in sorted(paths, key=modified, reverse=True))

    def latest(self, name: str) -> OpenRun:
        """A run's current attempt. Raises Missing."""
        return self.open(name, None)

    def open(self, name: str, attempt: int | None, id: str | None = None) -> OpenRun:
        """Raises Missing if the run or attempt does not exist, or the run has another id."""
        try:
            run = open_run(self.path(name))
            info = run.info
            current, run_id = int(info.get("attempt", 1)), str(info.get("id", ""))
        except JournalError as error:
            raise Missing(without_folder(error, self.folder), code=error.code) from None
        if attempt is None:
            attempt = current
        if attempt != current:
            raise Missing(
                f"This run is now on attempt {current}; attempt {attempt} is over."
                " Reload the page.",
                code="other-attempt",
                attempt=current,
            )
        if id not in (None, run_id):
            raise Missing(
                "This is a different run with the same name. Reload the page.",
                code="other-run",
            )
        key = (name, attempt, run_id)
        with self._lock:
            opened = self._open.setdefault(key, OpenRun(run, attempt, run_id, name))
            self._open.move_to_end(key)
            while len(self._open) > MAX_OPEN or (
                len(self._open) > 1
                and sum(o.view_bytes for o in self._open.values()) > MAX_VIEW_BYTES
            ):
                self._open.popitem(last=False)
        return opened.refresh()

    def group(
        self, name: str, attempt: int, iteration: int, id: str | None = None
    ) -> tuple[bytes, bool]:
        """(encoded group, whether it may be cached forever)."""
        run = self.open(name, attempt, id)
        return self._cached(
            ("group", name, attempt, iteration), id, run, lambda: self._group(run, iteration)
        )

    def sample(
        self, name: str, attempt: int, iteration: int, pos: int, id: str | None = None
    ) -> tuple[bytes, bool]:
        run = self.open(name, attempt, id)
        return self._cached(
            ("sample", name, attempt, iteration, pos),
            id,
            run,
            lambda: self._sample(run, iteration, pos),
        )

    def moment(
        self, name: str, attempt: int, iteration: int, id: str | None = None
    ) -> tuple[bytes, bool]:
        """What was known at the stored steps of an iteration, and at its end."""
        run = self.open(name, attempt, id)
        try:
            steps = run.run.batch(iteration, ("preview_steps",)).get("preview_steps", ())
            moments = run.moments().of_iteration(
                iteration, [*map(int, steps), run.run.recipe.generator_steps]
            )
        except IndexError:
            raise Missing(
                f"Iteration {iteration + 1} has not ended yet.",
                code="unfinished",
            ) from None
        except JournalError as error:
            raise Missing(without_folder(error, self.folder), code=error.code) from None
        except CONTENT_ERRORS:
            raise Missing(UNEXPECTED_CONTENTS, code="damaged") from None
        return encode(moments), moments["final"] and run.is_pinned_by(id)

    def points(
        self, name: str, attempt: int, iteration: int, id: str | None = None
    ) -> tuple[bytes, bool]:
        """Every image of an iteration as a point in the teacher's view."""
        run = self.open(name, attempt, id)
        layout = run.layout
        if layout is None:
            raise Missing(
                "This run's images have no positions yet.",
                code="no-positions",
            )
        return self._cached(
            ("points", name, attempt, iteration),
            id,
            run,
            lambda: self._points(run, iteration, layout),
        )

    def student_view(
        self, name: str, attempt: int, test: int, id: str | None = None
    ) -> tuple[bytes, bool]:
        """The student's view at a test, counted from 1."""
        run = self.open(name, attempt, id)
        return self._or_missing(lambda: run.student_view(test)), run.is_pinned_by(id)

    def tiles(
        self, name: str, attempt: int, iteration: int, id: str | None = None
    ) -> tuple[bytes, bool]:
        """Every image of an iteration, on one sheet."""
        run = self.open(name, attempt, id)
        body, _ = self._cached(
            ("tiles", name, attempt, iteration),
            id,
            run,
            lambda: sheets.tiles(run.run.batch(iteration, ("images", "labels")), iteration),
        )
        return body, run.is_pinned_by(id)

    def reference(self, name: str, attempt: int, id: str | None = None) -> tuple[bytes, bool]:
        """The real examples of a run."""
        run = self.open(name, attempt, id)
        reference = run.reference
        if reference is None:
            raise Missing(
                "This run has no real examples.",
                code="no-examples",
            )
        return self._cached(
            ("reference", name, attempt),
            id,
            run,
            lambda: sheets.reference(reference, run.layout),
        )

    def _cached(
        self, key: tuple, id: str | None, run: OpenRun, make: Callable[[], dict[str, Any]]
    ) -> tuple[bytes, bool]:
        """(encoded, final): it is final if there is a layout and the address has the run's id."""
        has_layout = run.layout is not None
        final = has_layout and run.is_pinned_by(id)
        return (
            self._or_missing(
                lambda: self._responses.get((*key, run.id, has_layout), lambda: encode(make()))
            ),
            final,
        )

    def _or_missing(self, make: Callable[[], bytes]) -> bytes:
        try:
            return make()
        except JournalError as error:
            raise Missing(without_folder(error, self.folder), code=error.code) from None
        except CONTENT_ERRORS:  # a run from elsewhere may contain anything
            raise Missing(UNEXPECTED_CONTENTS, code="damaged") from None

    def _group(self, run: OpenRun, iteration: int) -> dict[str, Any]:
        batch, moments = run.run.batch(iteration), run.moments()
        return sheets.group(
            batch,
            iteration,
            moments.classes,
            before=moments.pool(iteration),
            after=moments.pool(iteration + 1),
            layout=run.layout,
        )

    def _points(self, run: OpenRun, iteration: int, layout: projection.Layout) -> dict[str, Any]:
        started = run.moments().state.started
        columns = {
            name: column
            for column, name in enumerate(term_names(started))
            if (started.term_weight(name) if started else 0)
        }
        return sheets.points(
            run.run.batch(iteration, ("labels", "embedding", "confidence", "parts")),
            iteration,
            layout,
            columns,
        )

    def _sample(self, run: OpenRun, iteration: int, pos: int) -> dict[str, Any]:
        batch = run.run.batch(iteration)
        try:
            started = run.moments().state.started
            return sheets.sample(
                batch,
                iteration,
                pos,
                layout=run.layout,
                reference=run.reference,
                terms=term_names(started),
            )
        except IndexError:
            raise Missing(
                f"Iteration {iteration + 1} has {count(len(batch['images']), 'image')},"
                f" not {pos + 1}.",
                code="unknown-image",
            ) from None
