"""Reading run folders for the page: one opened run, its layout, and pieces of it as ready JSON bytes.

Nothing here runs or changes a run. What a piece says can never change (a finished iteration of an attempt),
so the routes let browsers keep it for ever; that is why an attempt that is over is refused. A folder may be
deleted and made again under its name: only an answer to an address with the run's own id is kept.
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
from typing import Any, NamedTuple

from app import projection, sheets
from app.moments import Moments
from app.pieces import Pieces
from app.projection import Layout
from app.publish import encode
from app.student_space import StudentSpace
from kgen import events, zoo
from kgen.events import PARTS
from kgen.reading import NAME, JournalError, Run, open_run

MOST_OPEN = 6
"""Four side by side, the one in the Studio, and one more."""
MOST_TESTS = 500
MOST_VIEWS = 1000
HOSTILE = (AttributeError, KeyError, ValueError, IndexError, TypeError, OverflowError)
"""What reading arrays and events raises where they hold something else than a run's."""
FOREIGN = "This file of the run holds something else than it should."


class Missing(LookupError):
    """What was asked for is not there; one sentence."""


def layout_of(run: Run) -> Layout | None:
    """The layout of a run's teacher: the bundled one, else the one that was fitted for this run."""
    checksum = run.info.get("teacher_sha256")
    teacher = run.recipe.teacher
    found = projection.load(projection.bundled(teacher), checksum) if teacher in zoo.TEACHERS else None
    return found or projection.load(run.path / projection.LAYOUT, checksum)


def without_place(error: JournalError, folder: Path) -> str:
    """What is wrong, without where on this machine the runs lie."""
    return str(error).replace(f"{folder}{os.sep}", "")


@functools.cache
def bundled_reference(teacher: str) -> bytes:
    """The real examples of a bundled teacher's layout, encoded: what is shown before any run."""
    layout = projection.load(projection.bundled(teacher))
    if layout is None or layout.images is None:
        raise Missing(f"There are no bundled examples for {teacher}.")
    arrays = {"images": layout.images, "labels": layout.labels, "embedding": layout.embedding}
    return encode(sheets.reference(arrays, layout))


def slim(test: events.Evaluated) -> events.Evaluated:
    """Without what only the newest test is asked for, which may be thousands of numbers."""
    scores = {who: score.model_copy(update={"confusion": []}) for who in ("student", "teacher") if getattr(score := getattr(test, who), "confusion", None)}
    return test.model_copy(update=scores) if scores else test


class Story(NamedTuple):
    """What events say of a run: how it began, iterations done, tests, the last event's kind."""

    started: events.RunStarted | None
    done: int
    tests: tuple[events.Evaluated, ...]
    last: str
    count: int
    """Of all tests; `tests` are the newest."""


class OpenRun:
    """One attempt of a run, with what is read again and again kept. Safe from any thread."""

    def __init__(self, run: Run, attempt: int, id: str = ""):
        self.run, self.attempt, self.id = run, attempt, id
        self.layout: Layout | None = None
        self.reference: dict | None = None
        self._lock = threading.Lock()
        self._tail = run.tail()
        self._moments = Moments()
        self._space, self._views = StudentSpace(), []
        self._looking = threading.Lock()
        """Held while students' views are read, which other pieces need not wait for."""
        self._tests: list[events.Evaluated] = []
        self._count = 0
        self._last = ""

    def refresh(self) -> OpenRun:
        """Look again for what may come later: the reference examples, and a layout that is being fitted."""
        with self._lock:
            self.reference = self.run.reference() if self.reference is None else self.reference
            self.layout = layout_of(self.run) if self.layout is None else self.layout
        return self

    def moments(self) -> Moments:
        """Everything that was told until now; only what is new since the last time is read."""
        with self._lock:
            anew, new = self._tail.read()
            if anew:
                self._moments, self._tests, self._count = Moments(), [], 0
            for event in new:
                self._moments.add(event)
                self._last = event.kind
                if isinstance(event, events.Evaluated):
                    self._tests = [*map(slim, self._tests[-MOST_TESTS:]), event]
                    self._count += 1
            return self._moments

    def story(self) -> Story:
        """What the events say so far. Raises JournalError."""
        state = self.moments().state
        with self._lock:
            return Story(state.started, state.iterations_done, tuple(self._tests), self._last, self._count)

    def student_view(self, test: int) -> bytes:
        """The student's picture at its test `test`, from 1, encoded. Raises Missing; reads no test twice, and none in vain."""
        moments = self.moments()
        files, started = moments.views[:MOST_VIEWS], moments.state.started
        if started is None or not 0 < test <= len(files):
            raise Missing(f"The student's view was kept of {len(files)} tests of this run, not of {test}.")
        with self._looking:
            for file in files[len(self._views) : test]:
                try:
                    seen = self._space.add(self.run.array_file(file), started.radii)
                    self._views.append(encode(seen | {"test": len(self._views) + 1}))
                except JournalError as error:
                    self._views.append(error)
                except HOSTILE:  # a run from elsewhere may hold anything
                    self._views.append(Missing(FOREIGN))
            found = self._views[test - 1]
        if isinstance(found, Exception):
            raise found
        return found


class Archive:
    """Every run of a folder, by name. Safe from any thread."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock, self._pieces = threading.Lock(), Pieces()
        self._open: OrderedDict[tuple[str, int, str], OpenRun] = OrderedDict()

    def path(self, name: str) -> Path:
        """The folder of a run. Raises Missing for anything but the plain name of one."""
        if not NAME.fullmatch(name) or ".." in name or not (self.folder / name / "recipe.json").is_file():
            raise Missing("There is no run of that name here.")
        return self.folder / name

    def prepare(self) -> None:
        """Make the folder and see whether it can be written. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(b"\0" * 4096)
            file.flush()

    def free_name(self, wanted: str) -> str:
        """recipe-date-time: unique, and a legal file name everywhere."""
        slug = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")[:40] or "run"
        name = f"{slug}-{time.strftime('%Y%m%d-%H%M%S')}"
        return next(n for n in itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2))) if not os.path.lexists(self.folder / n))

    def names(self) -> Iterator[str]:
        """Runs in the folder, the one written last first."""

        def newest(path: Path) -> float:
            try:
                return (path / "events.jsonl").stat().st_mtime
            except OSError:
                return 0.0

        try:
            paths = [p for p in self.folder.iterdir() if NAME.fullmatch(p.name) and (p / "recipe.json").is_file()]
        except OSError:
            return
        yield from (p.name for p in sorted(paths, key=newest, reverse=True))

    def latest(self, name: str) -> OpenRun:
        """The attempt that a run is at. Raises Missing."""
        return self.open(name, None)

    def open(self, name: str, attempt: int | None, id: str | None = None) -> OpenRun:
        """Raises Missing, in words, for a run or an attempt that is not there, or a run with another id."""
        try:
            run = open_run(self.path(name))
            info = run.info
            now, own = int(info.get("attempt", 1)), str(info.get("id", ""))
        except JournalError as error:
            raise Missing(without_place(error, self.folder)) from None
        if attempt is None:
            attempt = now
        if attempt != now:
            raise Missing(f"This run is at attempt {now}; attempt {attempt} is over. Reload the page.")
        if id not in (None, own):
            raise Missing("This is another run of the same name. Reload the page.")
        key = (name, attempt, own)
        with self._lock:
            opened = self._open.setdefault(key, OpenRun(run, attempt, own))
            self._open.move_to_end(key)
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return opened.refresh()

    def group(self, name: str, attempt: int, iteration: int, id: str | None = None) -> tuple[bytes, bool]:
        """(encoded group, may be kept for ever)."""
        run = self.open(name, attempt, id)
        return self._piece(("group", name, attempt, iteration), id, run, lambda: self._group(run, iteration))

    def sample(self, name: str, attempt: int, iteration: int, pos: int, id: str | None = None) -> tuple[bytes, bool]:
        run = self.open(name, attempt, id)
        return self._piece(("sample", name, attempt, iteration, pos), id, run, lambda: self._sample(run, iteration, pos))

    def moment(self, name: str, attempt: int, iteration: int, id: str | None = None) -> tuple[bytes, bool]:
        """What was known at the kept steps of an iteration, and at its end."""
        run = self.open(name, attempt, id)
        try:
            steps = run.run.batch(iteration, ("preview_steps",)).get("preview_steps", ())
            found = run.moments().of(iteration, [*map(int, steps), run.run.recipe.generator_steps])
        except IndexError:
            raise Missing(f"Iteration {iteration + 1} has not ended yet.") from None
        except JournalError as error:
            raise Missing(without_place(error, self.folder)) from None
        except HOSTILE:
            raise Missing(FOREIGN) from None
        return encode(found), found["final"] and (id or "") == run.id

    def points(self, name: str, attempt: int, iteration: int, id: str | None = None) -> tuple[bytes, bool]:
        """Every image of an iteration as a point of the teacher's view."""
        run = self.open(name, attempt, id)
        if run.layout is None:
            raise Missing("The images of this run have no places yet.")
        return self._piece(("points", name, attempt, iteration), id, run, lambda: self._points(run, iteration))

    def student_view(self, name: str, attempt: int, test: int, id: str | None = None) -> tuple[bytes, bool]:
        """The student's view at a test, counted from 1."""
        run = self.open(name, attempt, id)
        return self._in_words(lambda: run.student_view(test)), (id or "") == run.id

    def tiles(self, name: str, attempt: int, iteration: int, id: str | None = None) -> tuple[bytes, bool]:
        """Every image of an iteration, on one sheet."""
        run = self.open(name, attempt, id)
        body, _ = self._piece(("tiles", name, attempt, iteration), id, run, lambda: sheets.tiles(run.run.batch(iteration, ("images", "labels")), iteration))
        return body, (id or "") == run.id

    def reference(self, name: str, attempt: int, id: str | None = None) -> tuple[bytes, bool]:
        """The real examples of a run."""
        run = self.open(name, attempt, id)
        if run.reference is None:
            raise Missing("This run has no real examples.")
        return self._piece(("reference", name, attempt), id, run, lambda: sheets.reference(run.reference, run.layout))

    def _piece(self, key: tuple, id: str | None, run: OpenRun, make: Callable[[], dict[str, Any]]) -> tuple[bytes, bool]:
        """(encoded, final): final once the layout is there, for an address with the id."""
        whole = run.layout is not None
        final = whole and (id or "") == run.id  # a run without an id has none in its address either
        return self._in_words(lambda: self._pieces.get((*key, run.id, whole), lambda: encode(make()))), final

    def _in_words(self, make: Callable[[], bytes]) -> bytes:
        try:
            return make()
        except JournalError as error:
            raise Missing(without_place(error, self.folder)) from None
        except HOSTILE:  # a run from elsewhere may hold anything
            raise Missing(FOREIGN) from None

    def _group(self, run: OpenRun, iteration: int) -> dict[str, Any]:
        batch, moments = run.run.batch(iteration), run.moments()
        return sheets.group(batch, iteration, moments.classes, before=moments.pool(iteration), after=moments.pool(iteration + 1), layout=run.layout)

    def _points(self, run: OpenRun, iteration: int) -> dict[str, Any]:
        used = [name for name in PARTS if run.run.recipe.weights.model_dump().get(name)]
        return sheets.points(run.run.batch(iteration, ("labels", "embedding", "confidence", "parts")), iteration, run.layout, used)

    def _sample(self, run: OpenRun, iteration: int, pos: int) -> dict[str, Any]:
        batch = run.run.batch(iteration)
        try:
            return sheets.sample(batch, iteration, pos, layout=run.layout, reference=run.reference)
        except IndexError:
            raise Missing(f"Iteration {iteration + 1} has {len(batch['images'])} images, not {pos + 1}.") from None
