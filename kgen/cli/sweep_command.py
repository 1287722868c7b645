"""`python -m kgen sweep`: options and terminal output. `kgen.sweep.executor` executes the runs."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.progress import BarColumn, Progress, TaskID
from rich.table import Table as Grid

from kgen import __version__
from kgen.cli.console import console, text_column, text_console
from kgen.cli.progress import Json, print_line
from kgen.cli.recipe_argument import apply, read_recipe
from kgen.phrases import count, did_you_mean, duration
from kgen.recipe.recipe import Recipe, RecipeError
from kgen.sweep import estimate, grid, stopping, summary, trials
from kgen.sweep.executor import Options, Update, cores, execute
from kgen.sweep.grid import Axis, Sweep, SweepError, Trial
from kgen.system import shell
from kgen.zoo import zoo


def sweep(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe's name or JSON file, or the folder of a sweep to continue.",
        ),
    ],
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="FIELD=VALUE,VALUE",
            help="Vary a field; several of these make a grid: --over weights.kr=0,0.1,0.5",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Runs per configuration, with seeds 0, 1, 2, …; default: 1."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field in all runs."),
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="sequential or concurrent.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the sweep; default runs/sweep-NAME.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Runs at once; each gets an equal share of the cores."),
    ] = 1,
    stop_hopeless: Annotated[bool, typer.Option("--stop-hopeless", help=stopping.RULE)] = False,
    margin: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="For --stop-hopeless: 0.05 is five percentage points of accuracy."
        ),
    ] = stopping.MARGIN,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also continue runs that have failed.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Start no runs; only print the results so far.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Write nothing; list the runs and estimate their duration."),
    ] = False,
    checkpoint_every: Annotated[
        float, typer.Option("--checkpoint-every", min=0, help="Seconds between checkpoints.")
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Run a recipe with every combination of some values, and several seeds.

    Repeat the command to continue where it stopped. Several processes and machines may work on one
    folder at the same time.
    """
    folder, requested = _requested(source, over or [], seeds, settings or [], schedule, out, status)
    if dry_run:
        existing = grid.read(folder) if grid.is_sweep(folder) else None
        combined = grid.union(folder, existing, requested) if existing else requested
        return _show_plan(folder, combined, workers, as_json)
    if status:
        return _show_results(grid.read(folder), folder, as_json)
    for teacher in {trial.recipe.teacher for trial in requested.trials}:
        zoo.locate(teacher)
    stored = grid.write(folder, requested)
    stored.trials  # noqa: B018  the union may contain a combination that is not valid
    if stored.version != __version__ and not as_json:
        console.print(
            f"This sweep was started with version {stored.version}; the remaining runs use"
            f" {__version__}."
        )
    options = Options(
        workers=workers,
        threads=_threads(workers),
        stop_hopeless=stop_hopeless,
        margin=margin,
        retry_failed=retry_failed,
        checkpoint_seconds=checkpoint_every,
    )
    raise typer.Exit(_watch(folder, stored, options, as_json))


def _threads(workers: int) -> int:
    """How many threads each run gets: an equal share of the cores."""
    return max(1, cores() // workers)


def _requested(
    source: str,
    over: list[str],
    seeds: int | None,
    settings: list[str],
    schedule: str | None,
    out: Path | None,
    status: bool,
) -> tuple[Path, Sweep]:
    """The sweep that the options describe, and its folder."""
    if Path(source).is_dir():
        folder = Path(source)
        existing = grid.read(folder)
        if settings or schedule or out:
            raise SweepError(
                f"The recipe of the sweep in {folder} is fixed; --set, --schedule, and --out are"
                " only for a new sweep.",
                code="conflict",
                file=str(folder),
            )
        base = existing.recipe
        axes = _axes(base, over)
        named = {axis.field for axis in axes}
        axes += [axis for axis in existing.axes if axis.field not in named]
        return folder, Sweep(base, tuple(axes), tuple(range(seeds or 0)) or existing.seeds)
    try:
        base = read_recipe(source, settings, None, schedule)
    except RecipeError as error:
        if error.code == "unknown-recipe" and (status or Path(source).name != source):
            raise _no_folder(source) from None
        raise
    folder = out or Path("runs") / f"sweep-{base.name}"
    return folder, Sweep(base, tuple(_axes(base, over)), tuple(range(seeds or 1)))


def _no_folder(source: str) -> SweepError:
    """The error for the folder of a sweep that does not exist."""
    folders = {Path(source).parent, Path("runs")}
    found = sorted(f.parent.as_posix() for d in folders for f in d.glob(f"*/{grid.FILE}"))
    hint = did_you_mean(source, found) if found else "Sweeps are usually in runs/sweep-RECIPE."
    return SweepError(
        f"There is no sweep in {source}: the folder does not exist. {hint}",
        code="not-a-sweep",
        file=source,
    )


def _axes(base: Recipe, over: list[str]) -> list[Axis]:
    """The axes; a value is checked together with the first values of the axes before it."""
    axes: list[Axis] = []
    for option in over:
        field, values = grid.parse_over(option)
        variants = [apply(base, [f"{field}={value}"]) for value in values]
        axis, base = grid.axis(field, variants), variants[0]
        if axis.field in {other.field for other in axes}:
            raise SweepError(
                f"--over {axis.field} is given twice; list all its values in one --over.",
                code="duplicate-value",
                field=axis.field,
            )
        axes.append(axis)
    return axes


# --- without running anything ---------------------------------------------------------------------


def _show_plan(folder: Path, planned: Sweep, workers: int, as_json: bool) -> None:
    progress = trials.progress_of(folder, planned)
    left = estimate.remaining(planned, progress)
    open_runs = sum(not run.over for run in progress.values())
    if left.seconds is None and open_runs:
        left = _measured(planned, progress, workers)
    for trial in planned.trials:
        state = progress[trial.name].state
        if as_json:
            values = {a.field: v for a, v in zip(planned.axes, trial.values)}
            print_line(
                json.dumps(
                    {"run": trial.name, "values": values, "seed": trial.seed, "state": state}
                )
            )
        else:
            title = summary.STATE_TITLES.get(state, state)
            print_line(trial.name if state == "waiting" else f"{trial.name}  ({title})")
    seconds = None if left.seconds is None else left.seconds / min(workers, max(1, open_runs))
    if as_json:
        facts = {"runs": len(planned.trials), "open": open_runs, "seconds": seconds}
        return print_line(json.dumps(facts | {"basis": left.basis}))
    at_once = f"with {count(workers, 'run')} at once"
    basis = {
        "sweep": f"judging by its finished runs, {at_once}",
        "measured": f"judging by a few steps of the first run on this machine, {at_once}",
        "published": "judging by the published tables, measured on one thread of another machine:"
        " yours may well differ by a factor of two",
    }[left.basis]
    if not open_runs:
        return print_line(f"{count(len(planned.trials), 'run')}; nothing left to do")
    print_line(
        f"{count(len(planned.trials), 'run')}, {open_runs} to do: "
        + ("unknown time" if seconds is None else f"{duration(seconds)}, {basis}")
    )


def _measured(
    planned: Sweep, progress: Mapping[str, trials.Progress], workers: int
) -> estimate.Estimate:
    """An estimate from a few steps of the first run, for a teacher with no finished runs."""
    from kgen.cli.estimates import seconds_of  # torch

    first = next(trial for trial in planned.trials if not progress[trial.name].over)
    console.print("No run with this teacher has finished yet, so a few steps are being timed.")
    try:
        seconds = seconds_of(first.recipe, _threads(workers))
        return estimate.from_one(planned, progress, first, seconds)
    except Exception as error:  # such as too little memory; the runs are listed all the same
        console.print(f"The time cannot be estimated: {error}", soft_wrap=True)
        return estimate.Estimate(None, "measured")


def _show_results(stored: Sweep, folder: Path, as_json: bool) -> None:
    progress = trials.progress_of(folder, stored)
    table = summary.lines(stored, progress)
    if as_json:
        for line in table:
            values = {a.field: v for a, v in zip(stored.axes, line.values)}
            print_line(json.dumps(asdict(line) | {"values": values}))
        return
    header, rows = summary.cells(stored, table)
    shown = Grid(box=SIMPLE, title=str(folder), title_justify="left")
    for i, name in enumerate(header):
        left = name == "other runs" or i < len(stored.axes)
        shown.add_column(name, justify="left" if left else "right", no_wrap=not left)
    for row in rows:
        shown.add_row(*row)
    text_console().print(shown)
    for trial in stored.trials:
        if (run := progress[trial.name]).state in ("failed", "stopped"):
            title = summary.STATE_TITLES.get(run.state, run.state)
            print_line(f"{trial.name}: {title}. {run.why}")


# --- running --------------------------------------------------------------------------------------


def _watch(folder: Path, stored: Sweep, options: Options, as_json: bool) -> int:
    """Execute the runs and report on them; returns the exit code."""
    before = trials.progress_of(folder, stored)
    counts = Counter[str](run.state for run in before.values())
    display = _Json() if as_json else _Terminal(folder, stored, before, options)
    display.begin(folder, stored, counts)
    ended: set[str] = set()
    with (
        _interrupts() as interrupts,
        display,
        closing(execute(folder, stored, options, interrupts.__len__)) as updates,
    ):
        for update in updates:
            display.show(update)
            if update.kind == "failed" and update.trial:
                ended.add(update.trial.name)
    after = trials.progress_of(folder, stored)
    failed = ended | {name for name, run in after.items() if run.state == "failed"}
    if not as_json:
        _show_results(stored, folder, False)
        print_line(f"Results: {folder / 'results.md'}, {folder / 'results.csv'}")
        if any(run.state == "failed" for run in after.values()):
            console.print("To continue failed runs, repeat the command with --retry-failed.")
    if interrupts:
        console.print(f"Continue with: python -m kgen sweep {shell.quote(str(folder))}")
    display.end(Counter[str](run.state for run in after.values()))
    return 130 if interrupts else 1 if failed else 0


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that grows with every Ctrl-C."""
    interrupts: list[int] = []

    def on_interrupt(*_: object) -> None:
        interrupts.append(1)
        console.print(
            "Stopping all runs at their next step; press Ctrl-C again to quit immediately."
            if len(interrupts) == 1
            else "Quitting."
        )

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)


class _Json:
    """Prints every update as one JSON line."""

    def __enter__(self) -> _Json:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, folder: Path, stored: Sweep, counts: Mapping[str, int]) -> None:
        facts = {"folder": str(folder), "runs": len(stored.trials), "states": dict(counts)}
        print_line(json.dumps({"kind": "sweep_started"} | facts))

    def show(self, update: Update) -> None:
        run = {"run": update.trial.name} if update.trial else {}
        print_line(json.dumps({"kind": update.kind} | run | update.fields))

    def end(self, counts: Mapping[str, int]) -> None:
        print_line(json.dumps({"kind": "sweep_finished", "states": dict(counts)}))


class _Terminal:
    """An overall bar and one line per worker; in a pipe, a line per run that ends."""

    def __init__(
        self,
        folder: Path,
        stored: Sweep,
        progress: Mapping[str, trials.Progress],
        options: Options,
    ):
        self._folder, self._sweep, self._options = folder, stored, options
        self._progress = dict(progress)
        self._failed: set[str] = set()
        """Runs that failed here; some of them before they had a folder."""
        self._bar = Progress(
            text_column("{task.description}"),
            BarColumn(),
            text_column("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._over = sum(run.over for run in progress.values())

    def __enter__(self) -> _Terminal:
        if not self._bar.disable:
            self._bar.start()
        total = len(self._sweep.trials)
        self._overall = self._bar.add_task("all runs", total=total, note=self._note())
        self._bar.update(self._overall, completed=self._over)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._bar.disable:
            self._bar.stop()

    def begin(self, folder: Path, stored: Sweep, counts: Mapping[str, int]) -> None:
        states = ", ".join(
            f"{n} {summary.STATE_TITLES.get(state, state)}" for state, n in counts.items()
        )
        workers, threads = self._options.workers, self._options.threads
        console.print(
            f"{folder}: {count(len(stored.trials), 'run')} ({states}); {workers} at a time, each on"
            f" {count(threads, 'thread')}",
            soft_wrap=True,
        )

    def show(self, update: Update) -> None:
        trial, fields = update.trial, update.fields
        if trial is None:
            hosts = " and ".join(fields["hosts"])
            where = f" on {hosts}" if hosts else ""
            return self._line(
                f"Waiting for other processes to finish {count(fields['runs'], 'run')}{where}"
            )
        if update.kind == "started":
            self._tasks[trial.name] = self._bar.add_task(
                trial.name, total=trial.recipe.total_iterations, note=""
            )
            if fields["resumed"]:
                self._line(f"{trial.name}: continuing")
        elif update.kind == "progress":
            self._bar.update(self._tasks[trial.name], completed=fields["done"])
        elif update.kind == "evaluated":
            note = f"{fields['share']:.1%}{'' if fields['real'] else ' agreement'}"
            self._bar.update(self._tasks[trial.name], note=note)
        elif update.kind == "message":
            self._line(f"{trial.name}: {fields['text']}")
        else:
            self._on_end(update, trial)

    def _on_end(self, update: Update, trial: Trial) -> None:
        fields = update.fields
        self._bar.remove_task(self._tasks.pop(trial.name))
        if update.kind != "interrupted":
            if update.kind == "failed":
                self._failed.add(trial.name)
            # other processes may have ended some of theirs as well
            self._progress = trials.progress_of(self._folder, self._sweep)
            over = {name for name, run in self._progress.items() if run.over}
            self._over = len(over | self._failed)
            self._bar.update(self._overall, completed=self._over, note=self._note())
        count = f"{self._over}/{len(self._sweep.trials)}  {trial.name}: "
        after = f" after {fields['seconds']:.0f} s"
        if update.kind == "failed":
            self._line(f"{count}failed. {fields['why']}")
        elif update.kind == "interrupted":
            self._line(f"{trial.name}: interrupted{after}")
        elif update.kind == "stopped":
            self._line(f"{count}stopped early: {fields['why']}")
        else:
            self._line(f"{count}{_result(update)}{after}")

    def _note(self) -> str:
        left = estimate.remaining(self._sweep, self._progress)
        if left.basis != "sweep" or left.seconds is None:
            return ""
        return f"{duration(left.seconds / self._options.workers)} left" if left.seconds else ""

    def _line(self, line: str) -> None:
        console.print(line, soft_wrap=True)

    def end(self, counts: Mapping[str, int]) -> None:
        pass


def _result(update: Update) -> str:
    fields = update.fields
    if fields["accuracy"] is not None:
        return f"{fields['accuracy']:.2%} of {count(fields['n'], 'real image')}"
    if fields["agreement"] is not None:
        return f"agreement {fields['agreement']:.2%} on {count(fields['n'], 'synthetic image')}"
    return "no student"
