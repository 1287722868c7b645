"""The results of a table's runs: mean and spread per row, for a terminal, Markdown or JSON."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table as Grid

from kgen.recipes import recipes
from kgen.system import paths
from kgen.system.files import write_durably
from kgen.tables import tables
from kgen.tables.results import Result
from kgen.tables.tables import Table, TableError
from kgen.worth.exchange import Rate, exchange

PAGE = paths.RESULTS_PAGE
COLUMNS = (
    "",
    "accuracy",
    "seeds",
    "images",
    "pixels",
    "time",
    "second opinion",
    "real photos",
    "paper",
)
"""Second opinion: share of synthetic images that an independent network classifies as intended,
among all of its classes / among the selected ones. Real photos: how many teach as much.
"""


@dataclass(frozen=True)
class Line:
    """A row of a table with its results: means over `n` seeds; None if nothing was measured."""

    label: str
    n: int
    seeds: tuple[int, ...]
    accuracy: float | None
    """Mean accuracy on the real test images; with two seeds or more, `deviation` is the sample
    standard deviation.
    """
    deviation: float | None
    images: float | None
    pixels: float | None
    seconds: float | None
    paper: float | None
    """Percent."""
    command: str
    second_opinion: tuple[float, float] | None = None
    """Shares of all synthetic images, among all of the judge's classes and among the selected ones;
    means over the runs with a judge.
    """
    worth: Rate | None = None
    """Exchange rate of the mean accuracy; None for a table without a yardstick, or until the
    yardstick is measured.
    """

    def cells(self) -> tuple[str, ...]:
        """The line as text, in the order of COLUMNS."""
        paper = "" if self.paper is None else f"{self.paper:.2f}"
        if self.accuracy is None:
            return (self.label, "not yet measured", "0", "", "", "", "", "", paper)
        return (
            self.label,
            percent(self.accuracy, self.deviation),
            str(self.n),
            f"{self.images:,.0f}",
            f"{self.pixels:,.0f}",
            f"{self.seconds:.0f} s",
            (
                ""
                if self.second_opinion is None
                else " / ".join(f"{100 * share:.0f}" for share in self.second_opinion) + "%"
            ),
            "" if self.worth is None else str(self.worth),
            paper,
        )


def lines(table: Table, seeds: range, results: dict[tuple[str, int], Result]) -> list[Line]:
    """One line per row, from the available runs with these seeds."""
    table_lines, yardstick = [], _yardstick(table, seeds, results)
    for row in table.rows:
        runs = [results[row.key, s] for s in seeds if (row.key, s) in results]
        mean: dict[str, float | None] = {
            f: statistics.fmean(getattr(r, f) for r in runs) if runs else None
            for f in ("images", "pixels", "seconds")
        }
        judged = [r.second_opinion for r in runs if r.second_opinion is not None]
        chosen = [r.second_opinion_chosen for r in runs if r.second_opinion_chosen is not None]
        accuracy, deviation = mean_and_deviation([r.accuracy for r in runs])
        table_lines.append(
            Line(
                row.label,
                len(runs),
                tuple(r.seed for r in runs),
                accuracy,
                deviation,
                paper=row.paper,
                command=recipes.command(row.recipe) if row.photos is None else table.command,
                second_opinion=(
                    (statistics.fmean(judged), statistics.fmean(chosen))
                    if judged and chosen
                    else None
                ),
                worth=exchange(accuracy, yardstick) if accuracy is not None and yardstick else None,
                **mean,
            )
        )
    return table_lines


def mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean, and with two values or more the sample standard deviation; None without them."""
    return (
        statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
    )


def percent(mean: float, deviation: float | None) -> str:
    """A mean share and its deviation as text, in percent: "82.10 ± 0.35"."""
    return f"{100 * mean:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def _yardstick(
    table: Table, seeds: range, results: dict[tuple[str, int], Result]
) -> list[tuple[int, float]]:
    """(real photos, mean accuracy) of the available runs, fewest photos first."""
    curve = []
    for row in tables.yardstick(table.name):
        runs = [results[row.key, s].accuracy for s in seeds if (row.key, s) in results]
        if runs and row.photos is not None:
            curve.append((row.photos, statistics.fmean(runs)))
    return curve


def _nonempty_columns(cells: list[tuple[str, ...]]) -> list[int]:
    """The columns that are not empty in every line."""
    return [i for i in range(len(COLUMNS)) if any(c[i] for c in cells)]


def grid(table: Table, table_lines: list[Line]) -> Grid:
    """The table for a terminal."""
    caption = (
        "\nThe paper's column is ResNet-34 → ResNet-18 on Imagenette at 5%: compare the order, not"
        " the values."
        if any(line.paper for line in table_lines)
        else ""
    )
    rich_table = Grid(
        title=f"{table.title} ({table.source})",
        caption=table.command + caption,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    cells = [line.cells() for line in table_lines]
    columns = _nonempty_columns(cells)
    for i in columns:
        rich_table.add_column(
            COLUMNS[i].replace(" ", "\n"),
            justify="right" if i else "left",
            no_wrap=bool(i),
            vertical="bottom",
        )
    for line in cells:
        rich_table.add_row(*(line[i] for i in columns))
    return rich_table


def data(table: Table, table_lines: list[Line]) -> dict[str, Any]:
    """The table for JSON."""
    return {
        "table": table.name,
        "title": table.title,
        "source": table.source,
        "command": table.command,
        "rows": [asdict(f) for f in table_lines],
    }


def markdown(table: Table, table_lines: list[Line]) -> str:
    """The table for the results page; columns that are empty in every line are omitted."""
    cells = [line.cells() for line in table_lines]
    columns = _nonempty_columns(cells)
    rows = [[line[i] for i in columns] for line in cells]
    return f"{markdown_table([COLUMNS[i] for i in columns], rows)}\n\n    {table.command}\n"


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (0,)
) -> str:
    """A table in Markdown; columns are aligned to the right, except those in `left`."""
    rule = ["---" if i in left else "--:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def markers(name: str) -> tuple[str, str]:
    """The two comments that enclose a table on the results page."""
    return (
        f"<!-- table {name}: written by `python -m kgen table all --markdown` -->",
        f"<!-- end of {name} -->",
    )


def write_page(texts: dict[str, str], path: Path = PAGE) -> None:
    """Put each table's Markdown between its marks; the rest of the page stays unchanged.

    Raises TableError if marks are missing.
    """
    try:
        page = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TableError(
            f"{path} cannot be read: {error.strerror or error}.",
            code="unreadable",
            file=str(path),
        ) from None
    for name, text in texts.items():
        first, last = markers(name)
        before, opened, rest = page.partition(first)
        _, closed, after = rest.partition(last)
        if not (opened and closed):
            raise TableError(
                f"{path} has no place for the table {name!r}. Add these two lines where it belongs:"
                f" {first} and {last}",
                code="no-markers",
                file=str(path),
                table=name,
            )
        page = f"{before}{first}\n\n{text}\n{last}{after}"
    write_durably(path, page.encode())
