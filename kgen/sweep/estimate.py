"""How long the rest of a sweep will take, before and while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kgen.sweep.grid import Sweep, Trial
from kgen.sweep.trials import Progress
from kgen.tables import tables
from kgen.tables.results import Pace, Results
from kgen.tables.tables import Row, TableError
from kgen.zoo.zoo import ZooError


@dataclass(frozen=True)
class Estimate:
    """Seconds of work left, one run after another; None if nothing comparable was measured."""

    seconds: float | None
    basis: Literal["sweep", "published", "measured"]
    """What it is derived from: finished runs of this sweep; the runs behind the published tables,
    each on one thread of another machine; or a few steps of one of its runs on this machine.
    """


@dataclass(frozen=True)
class _Run:
    key: str
    seconds: float


def from_one(
    sweep: Sweep, progress: Mapping[str, Progress], trial: Trial, seconds: float
) -> Estimate:
    """The duration of all runs that are not over, if this one takes `seconds`."""
    rows = {t.values: Row(t.name, t.recipe) for t in sweep.trials}
    pace = Pace(rows.values(), [_Run(rows[trial.values].key, seconds)])
    left = [rows[t.values].key for t in sweep.trials if not progress[t.name].over]
    return Estimate(pace.seconds(left), "measured")


def remaining(sweep: Sweep, progress: Mapping[str, Progress]) -> Estimate:
    """The duration of all runs that are not over."""
    try:
        rows = {t.values: Row(t.name, t.recipe) for t in sweep.trials}
        finished = [
            _Run(rows[trial.values].key, progress[trial.name].seconds)
            for trial in sweep.trials
            if progress[trial.name].state == "done"
        ]
        left = [rows[t.values].key for t in sweep.trials if not progress[t.name].over]
    except ZooError:  # the run reports it
        return Estimate(None, "sweep")
    if finished:
        return Estimate(Pace(rows.values(), finished).seconds(left), "sweep")
    published = [
        row
        for table in tables.find("all")
        for row in table.rows
        if row.recipe.teacher == sweep.recipe.teacher and row.photos is None
    ]
    try:
        results = Results(tables.RUNS).read().values()
    except TableError:
        results = {}.values()
    return Estimate(Pace([*published, *rows.values()], results).seconds(left), "published")
