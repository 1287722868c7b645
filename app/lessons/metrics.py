"""A finished run's results as numbers and small pictures, for lessons to fill into their texts.
They come from the run folder only.

A number is None if the run has nothing of the kind (a teacher without batch norm, no student).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from app.archive import sheets
from app.live.format import SHARE_DIGITS, percent, percentage
from kgen import events
from kgen.journal.reading import JournalError, Run
from kgen.recipe.recipe import warmup_epochs

Kind = Literal["percent", "count", "real", "seconds", "text"]
ROWS, MOST_CLASSES = 3, 10


@dataclass
class Read:
    """What one pass over a run collects to make numbers and pictures."""

    started: events.RunStarted | None = None
    last: events.Evaluated | None = None
    pool: events.BatchSynthesized | None = None
    seconds: float = 0.0
    ends: list[events.GeneratorStep] = field(default_factory=list)
    """The last generator step of each iteration."""
    begin: events.GeneratorStep | None = None
    agreement: dict[int, list[float]] = field(default_factory=dict)
    """Indexed by generator step."""
    tests: list[tuple[int, float]] = field(default_factory=list)
    """(student steps done, share classified correctly)."""
    steps: list[events.StudentStep] = field(default_factory=list)
    first: dict[str, np.ndarray] | None = None
    newest: dict[str, np.ndarray] | None = None
    kept: int = 0
    different: int = 0

    def part(self, name: str) -> float | None:
        """A term of the generator's loss at the end of an iteration, unweighted, averaged over the
        iterations in which it was active.
        """
        values = [e.parts.get(name, 0.0) for e in self.ends]
        if (
            name in ("adv", "aed") and self.started is not None
        ):  # off during warm-up, or entirely; afterward, 0 is a valid value
            recipe = self.started.recipe
            warm = warmup_epochs(recipe["warmup"], recipe["epochs"])
            on = recipe["weights"][name] > 0
            values = [v for v, e in zip(values, self.ends) if on and (e.epoch or 0) >= warm]
            return float(np.mean(values)) if values else None
        return float(np.mean(values)) if any(values) else None


@dataclass(frozen=True)
class Number:
    title: str
    kind: Kind
    get: Callable[[Read], Any]


def _score(read: Read) -> float | None:
    return read.last.student.accuracy if read.last else None


def _hardest(read: Read) -> tuple[str, float] | None:
    if not read.last or not read.started:
        return None
    known = [
        (share, name)
        for share, name in zip(read.last.student.per_class, read.started.classes)
        if share is not None
    ]
    return min(known)[::-1] if known else None


def _divergence(read: Read) -> float | None:
    adv = read.part("adv")
    return None if adv is None else -adv


def _speckle(read: Read) -> float | None:
    if read.newest is None:
        return None
    images = read.newest["images"].astype(np.float32)
    return float(
        (np.abs(np.diff(images, axis=2)).mean() + np.abs(np.diff(images, axis=3)).mean()) / 2
    )


def _within(read: Read) -> float | None:
    """How much the images of a class vary: a pixel's standard deviation within a class, averaged
    over pixels and classes.
    """
    if read.newest is None:
        return None
    images, labels = read.newest["images"].astype(np.float32), read.newest["labels"]
    return float(np.mean([images[labels == c].std(0).mean() for c in np.unique(labels)]))


def _below(read: Read) -> float | None:
    """Share of the map's cells that are below the target."""
    target = _target(read)
    if target is None or read.newest is None or read.newest.get("cam", np.zeros(0)).size == 0:
        return None
    cam = read.newest["cam"].astype(np.float32)
    return float((cam < target).mean()) if cam.shape[1:] == target.shape else None


def _target(read: Read) -> np.ndarray | None:
    """The target at the newest batch's resolution."""
    if read.started is None or read.newest is None:
        return None
    side = read.newest["images"].shape[-1]
    found = next(
        (scale.target for scale in read.started.scales if scale.side == side), read.started.target
    )
    return np.array(found, np.float32) if found and found[0] else None


def _mean_agreement(read: Read, at: Callable) -> float | None:
    return float(np.mean(read.agreement[at(read.agreement)])) if read.agreement else None


NUMBERS: dict[str, Number] = {
    "accuracy": Number("student's accuracy on real test images", "percent", _score),
    "first_accuracy": Number(
        "student's accuracy at the first test",
        "percent",
        lambda r: r.tests[0][1] if r.tests else None,
    ),
    "teacher": Number(
        "teacher's accuracy on the same images",
        "percent",
        lambda r: r.last.teacher.accuracy if r.last and r.last.teacher else None,
    ),
    "tested": Number("real test images", "count", lambda r: r.last and r.last.student.n),
    "hardest": Number(
        "hardest class for the student", "text", lambda r: (_hardest(r) or (None,))[0]
    ),
    "hardest_accuracy": Number(
        "student's accuracy on that class", "percent", lambda r: (_hardest(r) or (None, None))[1]
    ),
    "images": Number(
        "synthetic images in the pool", "count", lambda r: r.pool and r.pool.pool_images
    ),
    "pixels": Number("pixels in the pool", "count", lambda r: r.pool and r.pool.pool_pixels),
    "different": Number(
        "distinct images among those generated", "count", lambda r: r.different or None
    ),
    "made": Number("images generated", "count", lambda r: r.kept or None),
    "steps": Number("student steps", "count", lambda r: r.started and r.started.student_steps),
    "seconds": Number("time taken", "seconds", lambda r: r.seconds),
    "agreement_begin": Number(
        "label agreement at the first generator step", "percent", lambda r: _mean_agreement(r, min)
    ),
    "agreement": Number(
        "label agreement at the last generator step", "percent", lambda r: _mean_agreement(r, max)
    ),
    "ce": Number("L_ce, cross-entropy, at the last step", "real", lambda r: r.part("ce")),
    "bn": Number(
        "L_bn, distance to the teacher's BN statistics, at the last step",
        "real",
        lambda r: r.part("bn"),
    ),
    "kr": Number("L_kr, evidence still missing, at the last step", "real", lambda r: r.part("kr")),
    "kr_begin": Number(
        "L_kr at the very first step", "real", lambda r: r.begin and r.begin.parts.get("kr")
    ),
    "adv": Number(
        "divergence of student and teacher on new images (KL)",
        "real",
        _divergence,
    ),
    "aed": Number("L_aed, push, at the last step", "real", lambda r: r.part("aed")),
    "ed_begin": Number(
        "L_ed, pull, at the first student step",
        "real",
        lambda r: r.steps[0].parts.get("ed") if r.steps else None,
    ),
    "ed": Number(
        "L_ed, pull, at the last student step",
        "real",
        lambda r: r.steps[-1].parts.get("ed") if r.steps else None,
    ),
    "kl": Number(
        "L_S, distance from the teacher's answers, at the last student step",
        "real",
        lambda r: r.steps[-1].parts.get("kl") if r.steps else None,
    ),
    "speckle": Number(
        "difference between neighboring pixels (of 255 gray levels)", "real", _speckle
    ),
    "within": Number("spread of a pixel within a class (of 255 gray levels)", "real", _within),
    "below": Number("map cells below the target, last batch", "percent", _below),
}
"""The numbers a lesson can use."""


def read(run: Run) -> Read:
    """Raises JournalError for a damaged run."""
    found = Read()
    newest_step: events.GeneratorStep | None = None
    for e in run.events():
        if isinstance(e, events.RunStarted):
            found = Read(started=e)
        elif isinstance(e, events.GeneratorStep):
            found.begin = found.begin or e
            newest_step = e
            found.agreement.setdefault(e.step or 0, []).append(e.agreement)
        elif isinstance(e, events.BatchSynthesized):
            found.pool = e
            if newest_step is not None:
                found.ends.append(newest_step)
        elif isinstance(e, events.StudentStep):
            found.steps = [*found.steps[:1], e]
        elif isinstance(e, events.Evaluated):
            found.last = e
            found.tests.append(
                (
                    (
                        found.steps[-1].step + 1
                        if found.steps and found.steps[-1].step is not None
                        else 0
                    ),
                    e.student.accuracy,
                )
            )
        found.seconds = e.t
    seen: set[bytes] = set()
    iterations = run.iterations()
    for i in iterations:
        images = run.batch(i, ("images",))["images"]
        found.kept += len(images)
        seen.update(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
    found.different = len(seen)
    if iterations:
        found.first, found.newest = run.batch(iterations[0]), run.batch(iterations[-1])
    return found


def numbers(run: Run) -> dict[str, float | str | None]:
    """Every number in NUMBERS; None if this run does not have it. Raises JournalError."""
    it = _read(run)
    values = {name: number.get(it) for name, number in NUMBERS.items()}
    return {
        name: None if isinstance(v, float) and not math.isfinite(v) else v
        for name, v in values.items()
    }


def _read(run: Run) -> Read:
    try:
        return read(run)
    except (
        KeyError,
        ValueError,
        IndexError,
        TypeError,
    ) as error:  # a run from elsewhere may contain anything
        if isinstance(error, JournalError):
            raise
        raise JournalError("This run has unexpected contents.") from None


def write(kind: Kind, value: Any) -> str:
    """A number, formatted for people."""
    if value is None:
        return "–"
    if kind == "percent":
        return percent(value)
    if kind == "count":
        return f"{value:,.0f}"
    if kind == "seconds":
        return f"{value:.0f} s"
    if kind == "text":
        return str(value)[:80]
    return (
        f"{value:.0f}"
        if abs(value) >= 100
        else (
            f"{value:.1f}"
            if abs(value) >= 10
            else f"{value:.2f}"
            if abs(value) >= 0.1
            else f"{value:.2g}"
        )
    )


def difference(kind: Kind, one: Any, other: Any) -> str:
    """`other` minus `one`, both rounded as they are displayed: "−3.2 points"."""
    if one is None or other is None or kind == "text":
        return "–"
    d = (
        float(percentage(other) - percentage(one))
        if kind == "percent"
        else (
            float(write("real", other)) - float(write("real", one))
            if kind == "real"
            else other - one
        )
    )
    sign = "+" if d > 1e-9 else "−" if d < -1e-9 else "±"
    return f"{sign}{abs(d):.1f} points" if kind == "percent" else sign + write(kind, abs(d))


def figures(run: Run) -> dict[str, Any]:
    """Small pictures and curves, as JSON: the newest batch, how the first one was made, the mean
    map, agreement and accuracy.
    """
    it = _read(run)
    found: dict[str, Any] = {
        "agreement": [
            [step + 1, round(float(np.mean(values)), 4)]
            for step, values in sorted(it.agreement.items())
        ],
        "accuracy": [
            [steps, round(share, SHARE_DIGITS)] for steps, share in it.tests if math.isfinite(share)
        ],
        "teacher": it.last.teacher.accuracy if it.last and it.last.teacher else None,
        "steps": it.started.student_steps if it.started else 0,
    }
    if it.first is not None and it.newest is not None and it.started is not None:
        classes = it.started.classes[:MOST_CLASSES]
        tiles = [
            (pos, row, c)
            for pos, c, row in sheets.tiles_of(it.newest["labels"], len(classes), ROWS)
        ]
        found["images"] = _sheet(it.newest["images"], tiles, (ROWS, len(classes)))
        found["classes"] = classes
        cam, target = it.newest.get("cam"), _target(it)
        if cam is not None and cam.size and target is not None:
            found["cam"], found["target"] = [
                np.round(a.astype(np.float64), 2).tolist()
                for a in (cam.astype(np.float32).mean(0), target)
            ]
        found["making"] = _making(it.first, len(classes))
    return found


def _making(batch: dict[str, np.ndarray], classes: int) -> dict[str, Any] | None:
    """One image per class from the first batch, with a row for each stored step."""
    if (
        not {"previews", "preview_steps", "preview_positions"} <= batch.keys()
        or not batch["previews"].size
    ):
        return None
    position = {int(pos): i for i, pos in enumerate(batch["preview_positions"])}
    shown = [
        (position[pos], c)
        for pos, c, _ in sheets.tiles_of(batch["labels"], classes, 1)
        if pos in position
    ]
    frames = batch["previews"]
    images = np.concatenate([frame[[i for i, _ in shown]] for frame in frames])
    tiles = [
        (row * len(shown) + i, row, c)
        for row in range(len(frames))
        for i, (_, c) in enumerate(shown)
    ]
    return _sheet(images, tiles, (len(frames), classes)) | {
        "rows": [int(step) + 1 for step in batch["preview_steps"]]
    }


def _sheet(
    images: np.ndarray, tiles: list[tuple[int, int, int]], shape: tuple[int, int]
) -> dict[str, Any]:
    at, rows, columns = (list(x) for x in zip(*tiles)) if tiles else ([], [], [])
    by = sheets.shrink_factor(images.shape[-1], (images.shape[-1] / sheets.MIN_SIDE) ** 2)
    side = images.shape[-1] // by
    return {
        "url": sheets.sheet(sheets.downscale(images[at], by), rows, columns, shape),
        "width": side * shape[1],
        "height": side * shape[0],
    }
