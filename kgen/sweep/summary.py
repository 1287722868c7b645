"""A sweep's results: mean and spread over the seeds of each configuration, as CSV and Markdown.

Only finished runs count. Runs that were stopped early are listed, but their accuracy would distort
a mean.
"""

from __future__ import annotations

import collections
import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgen.phrases import count
from kgen.sweep.grid import Sweep, text
from kgen.sweep.trials import Progress
from kgen.system.files import write_durably
from kgen.tables.report import markdown_table, mean_and_deviation, percent

STATES = ("running", "interrupted", "waiting", "stopped", "failed")
"""States of runs without a result, in the order in which they are listed."""
STATE_TITLES = {"stopped": "stopped early", "waiting": "not started"}


@dataclass(frozen=True)
class Line:
    """A configuration and its results: means over its finished runs, with the sample standard
    deviation if there are two or more; None if there is nothing to average.
    """

    values: tuple[Any, ...]
    seeds: tuple[int, ...]
    """The seeds of the finished runs."""
    accuracy: float | None
    """On `real_images` real images."""
    accuracy_deviation: float | None
    accuracy_runs: int
    real_images: int
    agreement: float | None
    """With the teacher, on synthetic images, of runs without real ones."""
    agreement_deviation: float | None
    agreement_runs: int
    seconds: float | None
    states: dict[str, int]
    """How many runs are in each state."""

    @property
    def open_states(self) -> str:
        """The runs without a result: "1 running, 2 not started"; empty if all are finished."""
        return ", ".join(
            f"{self.states[state]} {STATE_TITLES.get(state, state)}"
            for state in STATES
            if self.states.get(state)
        )


def lines(sweep: Sweep, progress: Mapping[str, Progress]) -> list[Line]:
    """One line per configuration, in the order of the grid."""
    table = []
    for values in sweep.configurations:
        runs = [(seed, progress[sweep.trial_name(values, seed)]) for seed in sweep.seeds]
        done = [(seed, run) for seed, run in runs if run.state == "done"]
        real = [run for _, run in done if run.accuracy is not None]
        accuracies = [run.accuracy for run in real if run.accuracy is not None]
        agreements = [run.agreement for _, run in done if run.agreement is not None]
        table.append(
            Line(
                values,
                tuple(seed for seed, _ in done),
                *mean_and_deviation(accuracies),
                len(accuracies),
                max((run.n for run in real), default=0),
                *mean_and_deviation(agreements),
                len(agreements),
                statistics.fmean(run.seconds for _, run in done) if done else None,
                dict(collections.Counter(run.state for _, run in runs)),
            )
        )
    return table


def cells(sweep: Sweep, table: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Header and rows as text; columns that are empty in every line are omitted."""
    header = [*sweep.labels, "accuracy", "real images", "agreement", "runs", "time", "other runs"]
    rows = [
        [
            *map(text, line.values),
            "" if line.accuracy is None else percent(line.accuracy, line.accuracy_deviation),
            f"{line.real_images:,}" if line.real_images else "",
            "" if line.agreement is None else percent(line.agreement, line.agreement_deviation),
            str(len(line.seeds)),
            "" if line.seconds is None else f"{line.seconds:.0f} s",
            line.open_states,
        ]
        for line in table
    ]
    columns = [
        i
        for i, name in enumerate(header)
        if i < len(sweep.labels) or name == "runs" or any(row[i] for row in rows)
    ]
    return [header[i] for i in columns], [[row[i] for i in columns] for row in rows]


def markdown(sweep: Sweep, table: Sequence[Line]) -> str:
    """The results as a page."""
    header, rows = cells(sweep, table)
    total = sum(sum(line.states.values()) for line in table)
    done = sum(len(line.seeds) for line in table)
    varied = ", ".join(f"`{axis.field}`" for axis in sweep.axes) or "the seed only"
    left = {i for i, name in enumerate(header) if name == "other runs" or i < len(sweep.labels)}
    return (
        f"# Sweep of {_plain(sweep.recipe.name)}\n\n"
        f"Varied: {varied}. {done:,} of {count(total, 'run')} finished.\n\n"
        + markdown_table(header, ([_plain(cell) for cell in row] for row in rows), left)
        + "\n\nAccuracy: the student's at the end of a run, in percent of the real images, mean ±"
        " sample standard deviation over the finished runs. Agreement: with the teacher, on"
        " held-out synthetic images, for runs without real ones. Time: mean of the finished"
        " runs.\n"
    )


def _plain(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def results_csv(sweep: Sweep, table: Sequence[Line]) -> str:
    """One row per configuration; shares between 0 and 1."""
    return _csv(
        [
            *(axis.field for axis in sweep.axes),
            *("runs", "accuracy_mean", "accuracy_sd", "accuracy_runs", "real_images"),
            *("agreement_mean", "agreement_sd", "agreement_runs", "seconds_mean"),
            *STATES,
        ],
        (
            [
                *map(text, line.values),
                *(len(line.seeds), line.accuracy, line.accuracy_deviation, line.accuracy_runs),
                *(line.real_images, line.agreement, line.agreement_deviation),
                *(line.agreement_runs, line.seconds),
                *(line.states.get(state, 0) for state in STATES),
            ]
            for line in table
        ),
    )


def trials_csv(sweep: Sweep, progress: Mapping[str, Progress]) -> str:
    """One row per run; shares between 0 and 1."""
    return _csv(
        [
            *("run", *(axis.field for axis in sweep.axes), "seed", "state"),
            *("accuracy", "agreement", "images", "seconds", "why"),
        ],
        (
            [
                *(trial.name, *map(text, trial.values), trial.seed, run.state),
                *(run.accuracy, run.agreement, run.n or None, run.seconds or None, run.why),
            ]
            for trial in sweep.trials
            for run in (progress[trial.name],)
        ),
    )


def _csv(header: Sequence[str], rows: Any) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def write(folder: Path, sweep: Sweep, progress: Mapping[str, Progress]) -> None:
    """Replace `results.md`, `results.csv`, and `trials.csv`. Raises OSError."""
    table = lines(sweep, progress)
    for name, content in (
        ("results.md", markdown(sweep, table)),
        ("results.csv", results_csv(sweep, table)),
        ("trials.csv", trials_csv(sweep, progress)),
    ):
        write_durably(folder / name, content.encode())
