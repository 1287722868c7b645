"""Terminal output of the paper's tables: their list, the progress of their runs, and results."""

from __future__ import annotations

import json
from contextlib import closing

from rich.box import SIMPLE
from rich.progress import BarColumn, Progress
from rich.table import Table as Grid

from kgen.cli.console import console, text_column, text_console
from kgen.cli.progress import print_line
from kgen.phrases import count, duration
from kgen.tables import report
from kgen.tables.measure import Task, measure
from kgen.tables.results import Pace, Results
from kgen.tables.tables import Table


def watch_tables(tasks: list[Task], jobs: int, results: Results, pace: Pace) -> int:
    """Execute these runs, save each as it ends, and report; returns the exit code.

    Ctrl-C discards the runs in progress and keeps the finished ones.
    """
    remaining, running, failed = list(tasks), [], 0
    columns = (
        text_column("{task.completed:.0f}/{task.total:.0f} runs"),
        BarColumn(),
        text_column("{task.description}"),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with bar, closing(measure(tasks, jobs)) as stream:
        overall = bar.add_task("", total=len(tasks))
        try:
            for outcome in stream:
                name = f"{outcome.task.label}, seed {outcome.task.seed}"
                if outcome.began:
                    running.append(name)
                else:
                    running.remove(name)
                    remaining.remove(outcome.task)
                    line = f"{len(tasks) - len(remaining)}/{len(tasks)}  {name}: "
                    if outcome.result:
                        results.append(outcome.result)
                        pace.add(outcome.result)
                        line += (
                            f"{outcome.result.accuracy:.2%} after {outcome.result.seconds:.0f} s"
                        )
                    else:
                        failed += 1
                        line += f"failed. {outcome.error}"
                    console.print(line, soft_wrap=True)
                seconds_left = pace.seconds(task.row.key for task in remaining)
                if seconds_left is not None:
                    seconds_left /= max(1, min(jobs, len(remaining)))
                note = f"{duration(seconds_left)} left"
                bar.update(
                    overall,
                    completed=len(tasks) - len(remaining),
                    description=f"{note}; {' | '.join(running)}",
                )
                if not console.is_terminal and not outcome.began and remaining:
                    console.print(f"     {note}")
        except KeyboardInterrupt:
            saved = count(len(tasks) - len(remaining) - failed, "run")
            console.print(
                f"Stopped after {saved}, which {'is' if saved == '1 run' else 'are'} saved; repeat"
                " the command to continue with the rest."
            )
            return 130
    return 1 if failed else 0


def list_tables(
    tables: list[Table], seeds: int, jobs: int, results: Results, as_json: bool
) -> None:
    """List each table with how many of its runs are done, and how long the rest would take."""
    finished = results.read()
    pace = Pace((row for t in tables for row in t.rows), finished.values())
    grid = Grid(box=SIMPLE)
    for name in ("table", "what it shows", "paper", "runs", "time left"):
        grid.add_column(name, no_wrap=name == "table")
    for t in tables:
        runs = {(row.key, seed) for row in t.rows for seed in range(seeds)}
        seconds_left = pace.seconds(key for key, _ in runs - finished.keys())
        seconds_left = None if seconds_left is None else seconds_left / jobs
        if as_json:
            print_line(
                json.dumps(
                    {
                        "table": t.name,
                        "title": t.title,
                        "source": t.source,
                        "runs": len(runs & finished.keys()),
                        "of": len(runs),
                        "seconds_left": seconds_left,
                    }
                )
            )
        grid.add_row(
            t.name,
            t.title,
            t.source,
            f"{len(runs & finished.keys())} of {len(runs)}",
            duration(seconds_left) if seconds_left != 0 else "nothing",
        )
    if not as_json:
        text_console().print(grid)


def show_tables(tables: list[Table], seeds: int, results: Results, as_json: bool) -> None:
    """Show the results of the finished runs."""
    finished = results.read()
    for t in tables:
        lines = report.lines(t, range(seeds), finished)
        if as_json:
            print_line(json.dumps(report.data(t, lines)))
        else:
            text_console().print(report.grid(t, lines))
