"""`python -m kgen worth`: its options and terminal output. `kgen.worth.worth` does the
measuring.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table as Grid

from kgen.cli.console import console, progress_bar, text_console
from kgen.cli.progress import Json, print_line
from kgen.journal.reading import open_run
from kgen.phrases import count
from kgen.system.paths import typed_path
from kgen.worth.exchange import Point, Worth, summary


def worth(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos",
            help=(
                "Folder of real training images, one subfolder per class; default: the training"
                " images of the teacher's data set."
            ),
        ),
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option(
            "--real",
            help=(
                "Folder of real test images, one subfolder per class; default: the recipe's, else"
                " the teacher's test set."
            ),
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how many real photos a run's synthetic images are worth.

    The results are stored in RUN/worth.json; repeat the command to continue where it stopped.
    """
    from kgen.worth.worth import measure

    run = open_run(folder)
    result: Worth | None = None
    with progress_bar(disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task("student", total=1, note="")
        training, test = (typed_path(str(path)) if path else None for path in (photos, real))
        seen: list[Point] = []
        for result in measure(
            run, training, test, lambda done, total: bar.update(task, completed=done, total=total)
        ):
            for point in result.points:
                if point not in seen:
                    seen.append(point)
                    _print_point(point, as_json)
    assert result is not None  # `measure` always yields results, even if only earlier ones
    rate = result.rate
    if as_json:
        print_line(
            json.dumps(
                result.model_dump()
                | {
                    "photos_worth": rate and rate.photos,
                    "bound": rate and rate.bound,
                }
            )
        )
        return
    text_console().print(_table(result))
    print_line(summary(result))


def _print_point(point: Point, as_json: bool) -> None:
    if as_json:
        print_line(point.model_dump_json())
    else:
        console.print(f"{_point_label(point)}: {point.accuracy:.1%}")


def _point_label(point: Point) -> str:
    return count(point.images, "real photo" if point.real else "synthetic image")


def _table(result: Worth) -> Grid:
    grid = Grid(
        "student trained on",
        "accuracy",
        box=SIMPLE,
        caption=(
            f"of {count(result.n, 'real test image')}, after {result.steps:,} steps each,"
            f" seed {result.seed}"
        ),
        caption_justify="left",
    )
    for point in sorted(result.points, key=lambda point: point.accuracy):
        grid.add_row(
            _point_label(point), f"{point.accuracy:.1%}", style="" if point.real else "bold"
        )
    return grid
