"""Reads the runs being compared, keeps the folded state, and flips switches. Thread-safe.

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
from app.setup.differences import replicates
from app.setup.switches import Switch, switches
from app.web.errors import Missing
from app.web.publish import encode
from kgen.journal.reading import JournalError, open_run
from kgen.system.files import fingerprint
from kgen.worth.exchange import Rate
from kgen.zoo.zoo import ZooError

MAX_CACHED = 12
NOTE_TIMEOUT = 10.0
"""How long to wait until a new run's folder exists, so that a note can be put there."""
UNEXPECTED_CONTENTS = "This run's files have unexpected contents."
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
        self._tail, self.error = self.run.tail(), ""
        self.mark: tuple[int, ...] | None = None

    def refresh(self) -> None:
        file_mark = fingerprint(self.run.path / "events.jsonl")
        if file_mark == self.mark:
            return
        self.error = ""
        try:
            for restarted, new_events in self._tail.blocks():
                if restarted:
                    self.columns = Columns(self.run.recipe)
                for event in new_events:
                    self.columns.add(event)
        except JournalError as error:  # what precedes the damage is shown
            self.error = without_folder(error, self.run.path.parent)
        self.mark = file_mark

    def to_json(self) -> tuple[dict[str, Any], bool]:
        """(JSON for the page, whether it is final)."""
        return (
            self.columns.to_json() | {"classes": list(self.columns.classes)},
            self.columns.state == "finished" and not self.error,
        )


def _synchronized(method: Callable) -> Callable:
    @functools.wraps(method)
    def locked(self: Comparisons, *args: Any) -> Any:
        with self._lock:
            return method(self, *args)

    return locked


class Comparisons:
    def __init__(self, run_actions: RunActions):
        self.run_actions, self.runs, self.archive = (
            run_actions,
            run_actions.runs,
            run_actions.archive,
        )
        self._lock = threading.Lock()
        self._readings: OrderedDict[tuple, Reading] = OrderedDict()
        self._responses: OrderedDict[tuple, tuple] = OrderedDict()
        """names → (rows of the list, what was read, response)"""

    @_synchronized
    def to_json(self, names: list[str]) -> dict[str, Any]:
        """For the page: each run, and the comparison if there are several and all can be read.
        Computed once for all viewers.
        """
        listed = self.run_actions.listing.rows()
        rows = {row["name"]: row for row in listed}
        readings = [self._read_or_error(name) for name in names]
        key = [(r.id, r.mark) if isinstance(r, Reading) else r for r in readings]
        cached_rows, cached_key, response = self._responses.get(tuple(names), (None, None, {}))
        if cached_rows is listed and cached_key == key:
            return response
        runs, sides = [], []
        for letter, name, reading in zip(LETTERS, names, readings):
            if isinstance(reading, Reading):
                side = self._side(name, reading, rows)
                runs.append(
                    {"letter": letter, "name": name} | _run_json(side, reading, rows.get(name, {}))
                )
                sides.append(side)
            else:
                is_starting = (
                    name == self.runs.name and self.runs.active
                )  # its folder is about to be created
                runs.append(
                    {"letter": letter, "name": name}
                    | ({"state": "just starting"} if is_starting else {"fault": reading})
                )
        complete = (
            len(sides) == len(names) > 1
        )  # letters stand for runs, so a missing one would shift them
        response = (
            {
                "verdict": comparison.verdict(sides),
                "spread": comparison.spread(sides),
                "table": comparison_table.table(sides),
            }
            if complete
            else {}
        )
        response = {"runs": runs, **response}
        self._responses[tuple(names)] = (listed, key, response)
        while len(self._responses) > MAX_CACHED:
            self._responses.popitem(last=False)
        return response

    def _read_or_error(self, name: str) -> Reading | str:
        """A run's reading, or the reason why there is none."""
        try:
            return self._read(name)
        except (Missing, RunError) as error:
            return str(error)

    @_synchronized
    def csv(self, names: list[str]) -> str:
        """Raises Missing."""
        rows = {row["name"]: row for row in self.run_actions.listing.rows()}
        return comparison_table.as_csv([self._side(name, self._read(name), rows) for name in names])

    @_synchronized
    def columns(self, name: str, id: str) -> tuple[bytes, bool]:
        """(a run's columns, encoded; whether they may be cached forever). Raises Missing."""
        reading = self._read(name)
        if reading.id != id:
            raise Missing(
                "This is a different run with the same name. Reload the page.",
                code="other-run",
            )
        data, final = reading.to_json()
        return encode(data), final

    # --- one switch flipped ----------------------------------------------------------------------

    @_synchronized
    def switches(self, name: str) -> list[Switch]:
        reading = self._read(name)
        started, columns = reading.columns.started, reading.columns
        try:
            return switches(
                reading.run.recipe_here(),
                has_maps=started is None or started.map_kind != "none",
                has_batch_norm=not columns.iterations
                or not reading.run.recipe.weights.bn
                or "bn" in columns.active_terms,
            )
        except JournalError:
            raise RunError(
                "This run cannot be repeated here: it is tested on real images from another"
                " machine.",
                code="not-repeatable",
            ) from None
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
        new_run = self.runs.start(switch.recipe, f"{switch.recipe.name} {switch.title}")
        deadline = time.monotonic() + NOTE_TIMEOUT
        while time.monotonic() < deadline:
            try:
                self.run_actions.note(
                    new_run, f"{switch.recipe.name} with {switch.title}, compared with {name}"
                )
                break
            except (
                Missing,
                RunError,
            ):  # the engine is about to create the folder; the run is fine without a note too
                time.sleep(0.05)
        return new_run

    # --- internals -------------------------------------------------------------------------------

    def _read(self, name: str) -> Reading:
        path = self.archive.path(name)
        try:
            # a folder may be deleted and recreated under the same name, or the run may be resumed:
            # then this is a new reading
            key = (name, *(fingerprint(path / file) for file in ("run.json", "recipe.json")))
            reading = self._readings.pop(key, None) or Reading(path)
            self._readings[key] = reading
            while len(self._readings) > MAX_CACHED:
                self._readings.popitem(last=False)
            reading.refresh()
            return reading
        except JournalError as error:
            raise Missing(without_folder(error, self.archive.folder), code=error.code) from None
        except (OSError, *CONTENT_ERRORS):
            raise Missing(UNEXPECTED_CONTENTS, code="damaged") from None

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
        same = [
            (r["seed"], r["score"]["share"], r["name"])
            for r in rows.values()
            if replicates(r["replicate_key"], row.get("replicate_key", "-"))
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
            _one_per_seed(same, name),
            rate and Rate(**rate),
        )


def _one_per_seed(
    replicates: list[tuple[int, float, str]], first: str
) -> tuple[tuple[int, float], ...]:
    """Counts each seed once, preferring the run that is compared."""
    shares: dict[int, float] = {}
    for seed, share, _ in sorted(replicates, key=lambda replicate: replicate[2] != first):
        shares.setdefault(seed, share)
    return tuple(sorted(shares.items()))


def _teacher_accuracy(columns: Columns) -> float | None:
    """The teacher's accuracy on the same test."""
    test = columns.last_test
    return (
        test.teacher.accuracy
        if test and test.teacher and math.isfinite(test.teacher.accuracy)
        else None
    )


def _run_json(side: Side, reading: Reading, row: dict[str, Any]) -> dict[str, Any]:
    columns = side.columns
    return {
        "title": f"{side.recipe.name}, seed {side.recipe.seed}"[:120],
        "note": row.get("note", ""),
        "state": side.state,
        "teacher": side.teacher,
        "real": side.real,
        "id": reading.id,
        "attempt": reading.attempt,
        "classes": list(columns.classes),
        "budget": columns.budget,
        "picture": row.get("picture"),
        "ceiling": _teacher_accuracy(columns),
        "iterations": columns.iterations,
        "end": [columns.pixels, round(columns.t, 1), columns.steps],
        "fault": reading.error,
        # identifies what was read, so that the page fetches the columns only when there is
        # something new
        "key": (
            f"{reading.attempt}-{columns.steps}-{columns.student_steps}-{columns.iterations}"
            f"-{columns.tests[True].count + columns.tests[False].count}-{columns.state}"
        ),
    }
