"""Comparing runs in words: are they comparable, and is a difference larger than chance?

Pure: it works on what was read (`Side`). Accuracy on real images and agreement on synthetic ones
are never compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.archive.columns import Columns
from app.live.format import percent, percentage, points
from app.setup.differences import (
    MAX_TEXT,
    differing_fields,
    image_folders,
    labels,
    replicate_key,
    replicates,
    value,
)
from kgen.recipe.recipe import Recipe
from kgen.worth.exchange import Rate

LETTERS = "ABCD"
NON_CAUSES = ("name", "seed", "device")
"""Fields that do not count as the cause of a difference: the name, chance, and the device."""


@dataclass(frozen=True)
class Side:
    """One run, as read from its folder."""

    name: str
    recipe: Recipe
    columns: Columns
    state: str
    sha: str = ""
    """Checksum of its teacher."""
    replicates: tuple[tuple[int, float], ...] = ()
    """(seed, final share) of the finished runs with the same recipe, including this one if it has
    finished.
    """
    rate: Rate | None = None
    """Exchange rate: how many real photos teach as much; None if not measured."""

    @property
    def real(self) -> bool:
        """Was it tested on real images?"""
        test = self.columns.last_test
        return (
            test.student.real
            if test
            else self.columns.started is None or self.columns.started.tested_on != "synthetic"
        )

    @property
    def final(self) -> tuple[float, int] | None:
        return self.columns.last(self.real)

    @property
    def teacher(self) -> str:
        started = self.columns.started
        return (started.teacher.title if started else self.recipe.teacher)[:MAX_TEXT]


def verdict(sides: Sequence[Side]) -> dict[str, Any]:
    """{comparable, head, lines: [{same, text}]}."""
    lines: list[dict[str, Any]] = []

    def add_line(values: list, same: str, different: str, texts: list[str]) -> bool:
        known = [v for v in values if v]  # a run that is about to start has not reported yet
        equal = all(v == known[0] for v in known)
        lines.append(
            {
                "same": equal,
                "text": (
                    same.format(next((t for v, t in zip(values, texts) if v), texts[0]))
                    if equal
                    else f"{different}: {_by_letter(texts)}."
                ),
            }
        )
        return equal

    known = [s.sha or s.recipe.teacher for s in sides]
    titles = [s.teacher for s in sides]
    ambiguous = len(set(titles)) < len(set(known))  # different networks with the same name
    teachers = [f"{s.teacher} ({s.sha[:8]})" if ambiguous else s.teacher for s in sides]
    tests = [_test(s, all(s.state == "finished" for s in sides)) for s in sides]
    equal = [
        add_line(known, "Same teacher: {}.", "Different teachers", teachers),
        add_line(
            [s.columns.classes for s in sides],
            "Same classes: {}.",
            "Different classes",
            [_classes(s) for s in sides],
        ),
        add_line(
            [s.columns.budget for s in sides],
            "Same budget: {}.",
            "Different budgets",
            [_pixels(s.columns.budget) for s in sides],
        ),
        add_line(
            [f"{test} {f}" for test, f in zip(tests, image_folders([s.recipe for s in sides]))],
            "Tested on the same kind of images: {}.",
            "Tested on different images, so the numbers are not comparable",
            tests,
        ),
    ]
    seeds = add_line(
        [str(s.recipe.seed) for s in sides],
        "Same seed: {}.",
        "Different seeds",
        [str(s.recipe.seed) for s in sides],
    )
    fields = [f for f in differing_fields([s.recipe for s in sides]) if f not in NON_CAUSES]
    causes = [f"{labels()[f][0]} ({' / '.join(value(s.recipe, f) for s in sides)})" for f in fields]
    lines.append(
        {
            "same": not causes,
            "text": (
                "The recipes are otherwise identical."
                if not causes
                else (
                    f"One recipe field differs: {causes[0]}."
                    if len(causes) == 1
                    else (
                        f"{len(causes)} recipe fields differ, so a difference may have more than"
                        " one cause:"
                        f" {'; '.join(causes[:6])}"
                        f"{'; and more (see the table below)' if len(causes) > 6 else ''}."
                    )
                )
            ),
        }
    )
    filled = [s.columns.pixels for s in sides]
    uneven = any(abs(f - filled[0]) > 0.001 * max(filled) for f in filled)
    if all(equal[:3]) and uneven:
        lines.append(
            {
                "same": False,
                "text": (
                    f"Their pools are not equally full: {_by_letter([_pixels(f) for f in filled])}."
                ),
            }
        )
    unfinished = [(LETTERS[i], s.state) for i, s in enumerate(sides) if s.state != "finished"]
    if unfinished:
        lines.append(
            {
                "same": False,
                "text": " ".join(f"{letter} {_state_text(state)}." for letter, state in unfinished),
            }
        )
    topics = ["teachers", "classes", "budgets", "tests"]
    mismatched = [name for name, same in zip(topics, equal) if not same]
    if mismatched:
        head = f"Not directly comparable: {_join(mismatched)} differ."
    elif not seeds:
        head = "Comparable at equal budget, with different seeds: " + (
            "part of any difference may be due to chance."
            if causes
            else "any difference is due to chance."
        )
    else:
        head = (
            "Comparable: same budget, same seed."
            if causes
            else (
                "Same recipe, seed, and budget: any difference should come from the machine and"
                " threading only."
            )
        )
    if not mismatched and (unfinished or uneven):
        head += (
            " They are not equally far along: compare them at equal pixels, not at the end of each."
        )
    return {"comparable": not mismatched, "head": head, "lines": lines}


def spread(sides: Sequence[Side]) -> list[str]:
    """Is the difference between the first run and another one larger than the effect of the seed?
    One sentence for each other finished run.
    """
    sentences, a = [], sides[0]
    for letter, b in zip(LETTERS[1:], sides[1:]):
        if (
            not (a.replicates and b.replicates and a.state == b.state == "finished")
            or a.real != b.real
        ):
            continue
        if replicates(*(replicate_key(side.recipe, side.sha) for side in (a, b))):
            if len(a.replicates) > 1:
                sentences.append(
                    f"A and {letter} use the same recipe; over its {len(a.replicates)} seeds,"
                    f" {_kind(a)} is {mean(a)}."
                )
            continue
        gap = abs(
            statistics.fmean(share for _, share in a.replicates)
            - statistics.fmean(share for _, share in b.replicates)
        )
        deviations = [deviation(s) for s in (a, b) if len(s.replicates) > 1]
        if not deviations:
            sentences.append(
                f"A and {letter} differ by {points(gap)} points in {_kind(a)}. With one seed"
                " each, the spread is unknown: a difference of this size may be due to chance."
            )
        else:
            conclusion = (
                "within the spread over seeds, so this may be due to chance"
                if gap <= max(deviations)
                else "more than the spread over seeds"
            )
            sentences.append(
                f"Averaged over seeds, A's recipe reaches {mean(a)} {_seeds(a)} and {letter}'s"
                f" recipe {mean(b)} {_seeds(b)}: {points(gap)} points apart, {conclusion}."
            )
    return sentences


def mean(side: Side) -> str:
    """Mean and standard deviation over the seeds of a recipe; one seed has no spread."""
    average = statistics.fmean(share for _, share in side.replicates)
    several = len(side.replicates) > 1
    return f"{percentage(average)} ± {points(deviation(side))}%" if several else percent(average)


def _seeds(side: Side) -> str:
    return f"({len(side.replicates)} seeds)" if len(side.replicates) > 1 else "(one seed)"


def deviation(side: Side) -> float:
    return statistics.stdev(share for _, share in side.replicates)


def _kind(side: Side) -> str:
    return "accuracy" if side.real else "agreement"


def _by_letter(texts: Sequence[str]) -> str:
    return ", ".join(f"{letter} {text}" for letter, text in zip(LETTERS, texts))


def _join(names: Sequence[str]) -> str:
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def _classes(side: Side) -> str:
    started, names = side.columns.started, side.columns.classes
    if started is None or not names:
        return value(side.recipe, "classes")
    n = len(started.classes)
    return f"{n:,}" + (f" ({', '.join(names)[:MAX_TEXT]})" if n <= 10 else "")


def _pixels(n: int | None) -> str:
    return "not known yet" if n is None else f"{n:,} pixels"


def _test(side: Side, counted: bool) -> str:
    """What it was tested on. Intermediate tests use fewer images than the final one, so counts are
    shown only once all runs have finished.
    """
    test, started = side.columns.last_test, side.columns.started
    kind = "real images" if side.real else "held-out synthetic images"
    if side.real and started and started.test_kind == "validation":
        kind = "held-out real images"
    source = (
        f" of {value(side.recipe, 'real_images')}" if side.real and side.recipe.real_images else ""
    )
    return (f"{test.student.n:,} {kind}" if test and counted else kind) + source


def _state_text(state: str) -> str:
    return {
        "going": "is still in progress",
        "stopped": "was stopped early",
        "failed": "failed before the end",
    }.get(state, "was interrupted before the end")
