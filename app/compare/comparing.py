"""Reads the runs being compared, keeps the folded state, and flips switches. Safe from any thread.

Events are read in blocks and folded right away, so a long run is read once and uses little memory;
later only new events are read. One lock is held while runs are read and compared, so that none of
them grows in between.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.archive.archive import without_folder
from app.archive.columns import Columns
from app.archive.run_reader import CONTENT_ERRORS
from app.compare import comparison, comparison_table
from app.compare.comparison import LETTERS, Side
from app.library.actions import RunActions
from app.process.runs import RunError
from app.setup.switches import Switch, switches
from app.web.errors import Missing
from app.web.publish import encode
from kgen.files import fingerprint
from kgen.journal.reading import JournalError, open_run
from kgen.worth.exchange import Rate
from kgen.zoo.zoo import ZooError

MOST_KEPT = 12
NOTE_SECONDS = 10.0
"""How long to wait for a new run's folder to put a note there."""
ODD = "This run's files have unexpected contents."
"""For errors other than JournalError: a run from elsewhere may contain anything."""


class Reading:
    """One run's events, as folded so far."""

    def __init__(self, path: Path):
        self.run = open_run(path)
        info = self.run.info
        self.id, self.attempt, self.sha = (
            str(info.get("id", ""))[:64],
            int(info.get("attempt", 1)),
            str(info.get("teacher_sha256", ""))[:64],
        )
        self.columns = Columns(self.run.recipe)
        self._tail, self.fault = self.run.tail(), ""
        self.mark: tuple[int, ...] | None = None

    def read_on(self) -> None:
        seen = fingerprint(self.run.path / "events.jsonl")
        if seen == self.mark:
            return
        self.fault = ""
        try:
            for restarted, new in self._tail.blocks():
                if restarted:
                    self.columns = Columns(self.run.recipe)
                for event in new:
                    self.columns.add(event)
        except JournalError as error:  # what precedes the damage is shown
            self.fault = without_folder(error, self.run.path.parent)
        self.mark = seen

    def to_json(self) -> tuple[dict[str, Any], bool]:
        """(for the page, is it final)."""
        return (
            self.columns.to_json() | {"classes": list(self.columns.classes)},
            self.columns.state == "finished" and not self.fault,
        )


def _alone(method: Callable) -> Callable:
    @functools.wraps(method)
    def locked(self: Comparisons, *args: Any) -> Any:
        with self._lock:
            return method(self, *args)

    return locked


class Comparisons:
    def __init__(self, shelf: RunActions):
        self.shelf, self.runs, self.archive = shelf, shelf.runs, shelf.archive
        self._lock = threading.Lock()
        self._readings: OrderedDict[tuple, Reading] = OrderedDict()
        self._told: OrderedDict[tuple, tuple] = OrderedDict()
        """names → (rows of the list, what was read, response)"""

    @_alone
    def to_json(self, names: list[str]) -> dict[str, Any]:
        """For the page: each run, and the comparison if there are several and all can be read.
        Computed once for all viewers.
        """
        listed = self.shelf.listing.rows()
        rows = {row["name"]: row for row in listed}
        readings = [self._try(name) for name in names]
        key = [(r.id, r.mark) if isinstance(r, Reading) else r for r in readings]
        kept_rows, kept_key, found = self._told.get(tuple(names), (None, None, {}))
        if kept_rows is listed and kept_key == key:
            return found
        told, sides = [], []
        for letter, name, reading in zip(LETTERS, names, readings):
            if isinstance(reading, Reading):
                side = self._side(name, reading, rows)
                told.append(
                    {"letter": letter, "name": name} | _about(side, reading, rows.get(name, {}))
                )
                sides.append(side)
            else:
                beginning = (
                    name == self.runs.name and self.runs.active
                )  # its folder is about to be created
                told.append(
                    {"letter": letter, "name": name}
                    | ({"state": "just beginning"} if beginning else {"fault": reading})
                )
        whole = (
            len(sides) == len(names) > 1
        )  # letters stand for runs, so a missing one would shift them
        found = (
            {
                "verdict": comparison.verdict(sides),
                "spread": comparison.spread(sides),
                "table": comparison_table.table(sides),
            }
            if whole
            else {}
        )
        found = {"runs": told, **found}
        self._told[tuple(names)] = (listed, key, found)
        while len(self._told) > MOST_KEPT:
            self._told.popitem(last=False)
        return found

    def _try(self, name: str) -> Reading | str:
        """A run's reading, or the reason why there is none."""
        try:
            return self._read(name)
        except (Missing, RunError) as error:
            return str(error)

    @_alone
    def csv(self, names: list[str]) -> str:
        """Raises Missing."""
        rows = {row["name"]: row for row in self.shelf.listing.rows()}
        return comparison_table.as_csv([self._side(name, self._read(name), rows) for name in names])

    @_alone
    def columns(self, name: str, id: str) -> tuple[bytes, bool]:
        """(a run's columns, encoded; may they be cached forever). Raises Missing."""
        reading = self._read(name)
        if reading.id != id:
            raise Missing(
                "This is a different run with the same name. Reload the page.",
                code="other-run",
            )
        found, final = reading.to_json()
        return encode(found), final

    # --- one switch flipped ----------------------------------------------------------------------

    @_alone
    def switches(self, name: str) -> list[Switch]:
        reading = self._read(name)
        started, columns = reading.columns.started, reading.columns
        try:
            return switches(
                reading.run.recipe,
                has_maps=started is None or started.map_kind != "none",
                has_batch_norm=not columns.iterations
                or not reading.run.recipe.weights.bn
                or "bn" in columns.active_terms,
            )
        except ZooError as error:
            raise RunError(
                f"This run cannot be repeated here. {error}",
                code="not-repeatable",
            ) from None
        except (OSError, KeyError, ValueError):
            raise RunError(
                "This run cannot be repeated here: its teacher's file cannot be read.",
                code="not-repeatable",
            ) from None

    def flip(self, name: str, id: str) -> str:
        """Rerun with one switch flipped; returns the new run's name."""
        switch = next((s for s in self.switches(name) if s.id == id), None)
        if switch is None:
            raise RunError(
                "This run has no such switch.",
                code="unknown-switch",
            )
        if switch.recipe is None:
            raise RunError(
                switch.refused,
                code="unsupported-switch",
            )
        made = self.runs.start(switch.recipe, f"{switch.recipe.name} {switch.title}")
        end = time.monotonic() + NOTE_SECONDS
        while time.monotonic() < end:
            try:
                self.shelf.note(
                    made, f"{switch.recipe.name} with {switch.title}, compared with {name}"
                )
                break
            except (
                Missing,
                RunError,
            ):  # the engine is about to create the folder; the run is fine without a note too
                time.sleep(0.05)
        return made

    # --- internals -------------------------------------------------------------------------------

    def _read(self, name: str) -> Reading:
        path = self.archive.path(name)
        try:
            # a folder may be deleted and recreated under the same name, or the run may be resumed:
            # then this is a new reading
            key = (name, *(fingerprint(path / file) for file in ("run.json", "recipe.json")))
            reading = self._readings.pop(key, None) or Reading(path)
            self._readings[key] = reading
            while len(self._readings) > MOST_KEPT:
                self._readings.popitem(last=False)
            reading.read_on()
            return reading
        except JournalError as error:
            raise Missing(without_folder(error, self.archive.folder), code=error.code) from None
        except (OSError, *CONTENT_ERRORS):
            raise Missing(ODD, code="damaged") from None

    def _side(self, name: str, reading: Reading, rows: dict[str, dict]) -> Side:
        row = rows.get(name, {})
        state = reading.columns.state
        side = Side(
            name,
            reading.run.recipe,
            reading.columns,
            row.get("state", "interrupted") if state == "open" else state,
            reading.sha,
        )
        # runs with the same recipe and the same kind of test
        kin = [
            (r["seed"], r["score"]["share"], r["name"])
            for r in rows.values()
            if r["kin"] == row.get("kin", "-")
            and r["state"] == "finished"
            and r["score"]
            and r["score"]["real"] == side.real
        ]
        rate = (row.get("worth") or {}).get("rate")
        return Side(
            name,
            side.recipe,
            side.columns,
            side.state,
            side.sha,
            _one_a_seed(kin, name),
            rate and Rate(**rate),
        )


def _one_a_seed(kin: list[tuple[int, float, str]], first: str) -> tuple[tuple[int, float], ...]:
    """Counts each seed once, preferring the run that is compared."""
    found: dict[int, float] = {}
    for seed, share, _ in sorted(kin, key=lambda k: k[2] != first):
        found.setdefault(seed, share)
    return tuple(sorted(found.items()))


def _ceiling(c: Columns) -> float | None:
    """The teacher's accuracy on the same test."""
    test = c.last_test
    return (
        test.teacher.accuracy
        if test and test.teacher and math.isfinite(test.teacher.accuracy)
        else None
    )


def _about(side: Side, reading: Reading, row: dict[str, Any]) -> dict[str, Any]:
    c = side.columns
    return {
        "title": f"{side.recipe.name}, seed {side.recipe.seed}"[:120],
        "note": row.get("note", ""),
        "state": side.state,
        "teacher": side.teacher,
        "real": side.real,
        "id": reading.id,
        "attempt": reading.attempt,
        "classes": list(c.classes),
        "budget": c.budget,
        "picture": row.get("picture"),
        "ceiling": _ceiling(c),
        "iterations": c.iterations,
        "end": [c.pixels, round(c.t, 1), c.steps],
        "fault": reading.fault,
        # identifies what was read, so that the page fetches the columns only when there is
        # something new
        "key": (
            f"{reading.attempt}-{c.steps}-{c.student_steps}-{c.iterations}"
            f"-{c.tests[True].count + c.tests[False].count}-{c.state}"
        ),
    }
