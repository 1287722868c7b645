"""The comparison table: recipe differences, results, and accuracy per class, for the page and as
CSV. Pure.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from app.archive.columns import Columns
from app.archive.downloads import spreadsheet_safe
from app.compare.comparison import Side, mean
from app.lessons.glossary import terms
from app.live import format
from app.setup.differences import differing_fields, labels, value

Cell = dict[str, Any]
Row = dict[str, Any]


def table(sides: Sequence[Side]) -> list[Row]:
    """Rows {part, label, tip, cells: [{text, note, value}]}; notes on later runs give the
    difference from the first.
    """
    recipes = [s.recipe for s in sides]
    rows = [
        _row("recipe", *labels()[f], [{"text": value(r, f)} for r in recipes])
        for f in differing_fields(recipes)
    ]
    for real, label in (
        (True, "Accuracy on real images"),
        (False, "Agreement with the teacher, synthetic images"),
    ):
        if not any(s.columns.tests[real].count for s in sides):
            continue
        equal = min(s.columns.pixels for s in sides)
        last, best = (
            [s.columns.last(real) for s in sides],
            [s.columns.best.get(real) for s in sides],
        )
        at_equal = [s.columns.test_at(equal, real) for s in sides]
        rows += [
            _row(
                "result",
                label,
                "The last test; for a finished run, the one at its end.",
                _shares(last),
            ),
            _row(
                "result",
                f"{'Accuracy' if real else 'Agreement'} at equal pixels",
                f"The last test with at most {equal:,} pixels in the pool, a size that every run"
                " has reached. Runs are tested at different pool sizes; each cell gives its own.",
                _shares(at_equal),
            ),
            _row(
                "result",
                "Best test",
                "The highest of all tests. Intermediate tests may use fewer images than the final"
                " one.",
                _shares(best),
            ),
            _row(
                "result",
                "Mean over seeds",
                "Mean ± standard deviation over finished runs in this folder that differ only in"
                " the seed.",
                [_mean(s, real) for s in sides],
            ),
        ]
    c = [s.columns for s in sides]
    if any(x.opinion for x in c):
        rows.append(
            _row(
                "result", "Second opinion", terms()["second-opinion"].tip, [_opinion(x) for x in c]
            )
        )
    if any(s.rate for s in sides):
        rows.append(
            _row(
                "result",
                "Exchange rate",
                terms()["exchange-rate"].tip,
                [_exchange(s) for s in sides],
            )
        )
    rows += [
        _row(
            "result",
            "Time",
            "Measured by the run's own clock.",
            [{"text": _seconds(x.t), "value": round(x.t, 1)} for x in c],
        ),
        _row(
            "result",
            "Images",
            "Synthetic images in the pool.",
            [{"text": f"{x.images:,}", "value": x.images} for x in c],
        ),
        _row(
            "result",
            "Pixels",
            "Total pixels of these images, and their share of the budget.",
            [
                {
                    "text": f"{x.pixels:,}",
                    "note": (
                        f"{format.half_up(100 * x.pixels / x.budget)}% of budget"
                        if x.budget
                        else ""
                    ),
                    "value": x.pixels,
                }
                for x in c
            ],
        ),
        _row(
            "result", "Generator steps", "", [{"text": f"{x.steps:,}", "value": x.steps} for x in c]
        ),
        _row(
            "result",
            "Student steps",
            "",
            [{"text": f"{x.student_steps:,}", "value": x.student_steps} for x in c],
        ),
        _row(
            "result",
            "Student parameters",
            "",
            [
                (
                    {
                        "text": f"{x.started.student_parameters:,}",
                        "value": x.started.student_parameters,
                    }
                    if x.started
                    else _empty_cell()
                )
                for x in c
            ],
        ),
    ]
    return rows + _by_class(sides)


def _by_class(sides: Sequence[Side]) -> list[Row]:
    """Accuracy per class at the last test, if all runs had the same kind of test."""
    if len({s.real for s in sides}) > 1:
        return []
    accuracies = []
    for s in sides:
        test = s.columns.last_test
        accuracies.append(dict(zip(s.columns.classes, test.student.per_class)) if test else {})
    names = dict.fromkeys(name for per_class in accuracies for name in per_class)
    return [
        _row(
            "class",
            name,
            "",
            _shares(
                [
                    (per_class[name], 0)
                    if name in per_class and _is_finite(per_class[name])
                    else None
                    for per_class in accuracies
                ]
            ),
        )
        for name in names
    ]


def _row(part: str, label: str, tip: str, cells: Iterable[Cell]) -> Row:
    return {
        "part": part,
        "label": label,
        "tip": tip,
        "cells": [{"note": "", "value": None} | cell for cell in cells],
    }


def _empty_cell() -> Cell:
    return {"text": "–"}


def _is_finite(x: float | None) -> bool:
    return x is not None and math.isfinite(x)


def _shares(scores: Sequence[tuple | None]) -> list[Cell]:
    """Percentages with the number of images (or counts if there are few), and the difference from
    the first in points.
    """
    first, cells = scores[0], []
    for i, score in enumerate(scores):
        if score is None:
            cells.append(_empty_cell())
            continue
        few = 0 < score[1] < format.FEW_IMAGES
        notes = [f"of {score[1]:,}"] if score[1] and not few else []
        if len(score) > 2 and any(other and other[2] != score[2] for other in scores):
            notes.append(f"at {score[2]:,} pixels")
        if i and first is not None:
            notes.insert(0, f"{format.points(score[0] - first[0]):+} points".replace("-", "−"))
        cells.append(
            {
                "text": f"{round(score[0] * score[1])} of {score[1]}"
                if few
                else format.percent(score[0]),
                "note": ", ".join(notes),
                "value": round(score[0], 6),
            }
        )
    return cells


def _opinion(columns: Columns) -> Cell:
    if columns.opinion is None:
        return _empty_cell()
    among_selected, among_all = columns.opinion
    title = columns.started.judge.title if columns.started and columns.started.judge else "a judge"
    return {
        "text": format.percent(among_selected),
        "note": f"{format.percent(among_all)} among all classes of {title[:80]}",
        "value": round(among_selected, 6),
    }


def _exchange(side: Side) -> Cell:
    if side.rate is None:
        return _empty_cell()
    return {
        "text": f"{side.rate} real photos",
        "value": None if side.rate.bound else side.rate.photos,
    }


def _mean(side: Side, real: bool) -> Cell:
    if side.real != real or not side.replicates:
        return _empty_cell()
    seeds = ", ".join(str(seed) for seed, _ in side.replicates[:8])
    note = (
        f"{len(side.replicates)} seeds: {seeds}"
        if len(side.replicates) > 1
        else f"seed {seeds} only, so no spread"
    )
    return {
        "text": mean(side),
        "note": note,
        "value": round(statistics.fmean(share for _, share in side.replicates), 6),
    }


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def as_csv(sides: Sequence[Side]) -> str:
    """The table for a spreadsheet: plain numbers (shares from 0 to 1), with notes in separate
    columns.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    names = [s.name for s in sides]
    writer.writerow(["part", "field", *names, *(f"note on {name}" for name in names)])
    for row in table(sides):
        cells = row["cells"]
        writer.writerow(
            [
                row["part"],
                spreadsheet_safe(row["label"]),
                *(spreadsheet_safe(c["text"]) if c["value"] is None else c["value"] for c in cells),
                *(spreadsheet_safe(c["note"]) for c in cells),
            ]
        )
    return buffer.getvalue()
