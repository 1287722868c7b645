"""One attempt of a run, opened for the page: its events so far, its layout, its student's views.
Nothing is read twice.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from app.archive import projection
from app.archive.projection import Layout
from app.archive.student_space import StudentSpace
from app.live.moments import Moments
from app.web.errors import Missing
from app.web.publish import encode
from kgen import events
from kgen.journal.reading import JournalError, Run
from kgen.phrases import count
from kgen.zoo import zoo

MAX_TESTS = 500
MAX_VIEWS = 1000
CONTENT_ERRORS = (AttributeError, KeyError, ValueError, IndexError, TypeError, OverflowError)
"""What reading arrays and events may raise if they have unexpected contents."""
UNEXPECTED_CONTENTS = "A file of this run has unexpected contents."


def layout_of(run: Run) -> Layout | None:
    """The bundled layout of a run's teacher, or else the one fitted for this run."""
    checksum = run.info.get("teacher_sha256")
    teacher = run.recipe.teacher
    found = (
        projection.load(projection.bundled(teacher), checksum) if teacher in zoo.TEACHERS else None
    )
    return found or projection.load(run.path / projection.LAYOUT, checksum)


def drop_confusion(test: events.Evaluated) -> events.Evaluated:
    """Drops what only the newest test needs, which may be thousands of numbers."""
    scores = {
        network: score.model_copy(update={"confusion": []})
        for network in ("student", "teacher")
        if getattr(score := getattr(test, network), "confusion", None)
    }
    return test.model_copy(update=scores) if scores else test


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run according to its events: its start, iterations done, tests, the last event's kind."""

    started: events.RunStarted | None
    iterations_done: int
    tests: tuple[events.Evaluated, ...]
    last_kind: str
    test_count: int
    """Number of all tests; `tests` are the newest."""


class OpenRun:
    """One attempt of a run, which keeps what is read often. Thread-safe."""

    def __init__(self, run: Run, attempt: int, id: str = "", name: str = ""):
        self.run, self.attempt, self.id = run, attempt, id
        self.name = name or run.path.name
        """What the page calls it."""
        self.layout: Layout | None = None
        self.reference: dict[str, np.ndarray] | None = None
        self._lock = threading.Lock()
        self._tail = run.tail()
        self._moments = Moments()
        self._space = StudentSpace()
        self._views: list[bytes | Exception] = []
        """Encoded, one per test; an exception if it cannot be read."""
        self.view_bytes = 0
        self._views_lock = threading.Lock()
        """Held while student views are read, so that other pieces need not wait for them."""
        self._tests: list[events.Evaluated] = []
        self._test_count = 0
        self._last_kind = ""

    def is_pinned_by(self, id: str | None) -> bool:
        """Whether an address with this id names this very run, so what it returns never changes.

        A run without an id has none in its address.
        """
        return (id or "") == self.id

    def refresh(self) -> OpenRun:
        """Look again for what may appear later: reference examples, and a layout being fitted."""
        with self._lock:
            self.reference = self.run.reference() if self.reference is None else self.reference
            self.layout = layout_of(self.run) if self.layout is None else self.layout
        return self

    def moments(self) -> Moments:
        """Everything known so far; reads only what is new since the last call."""
        with self._lock:
            for restarted, new_events in self._tail.blocks():
                if restarted:
                    self._moments, self._tests, self._test_count = Moments(), [], 0
                for event in new_events:
                    self._moments.add(event)
                    self._last_kind = event.kind
                    if isinstance(event, events.Evaluated):
                        self._tests = [*map(drop_confusion, self._tests[-MAX_TESTS:]), event]
                        self._test_count += 1
            return self._moments

    def summary(self) -> RunSummary:
        """What the events say so far. Raises JournalError."""
        state = self.moments().state
        with self._lock:
            return RunSummary(
                state.started,
                state.iterations_done,
                tuple(self._tests),
                self._last_kind,
                self._test_count,
            )

    def student_view(self, test: int) -> bytes:
        """The student's view at a test (counted from 1), encoded. Raises Missing. Reads each test
        at most once, and only when needed.
        """
        moments = self.moments()
        files, started = moments.views[:MAX_VIEWS], moments.state.started
        if started is None or not 0 < test <= len(files):
            raise Missing(
                f"This run has the student's view for {count(len(files), 'test')}; there is"
                f" no test {test}.",
                code="unknown-test",
            )
        with self._views_lock:
            for file in files[len(self._views) : test]:
                try:
                    positions = self._space.add(self.run.array_file(file), started.radii)
                    view = encode(positions | {"test": len(self._views) + 1})
                    self._views.append(view)
                    self.view_bytes += len(view)
                except JournalError as error:
                    self._views.append(error)
                except CONTENT_ERRORS:  # a run from elsewhere may contain anything
                    self._views.append(Missing(UNEXPECTED_CONTENTS, code="damaged"))
            stored = self._views[test - 1]
        if isinstance(stored, Exception):
            raise stored
        return stored
