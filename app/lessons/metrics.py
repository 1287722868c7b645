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
from kgen.terms import BY_NAME

Kind = Literal["percent", "count", "real", "seconds", "text"]
MAX_ROWS, MAX_CLASSES = 3, 10


@dataclass
class RunData:
    """What one pass over a run collects to make numbers and pictures."""

    started: events.RunStarted | None = None
    last: events.Evaluated | None = None
    pool: events.BatchSynthesized | None = None
    seconds: float = 0.0
    last_steps: list[events.GeneratorStep] = field(default_factory=list)
    """The last generator step of each iteration."""
    first_step: events.GeneratorStep | None = None
    agreement: dict[int, list[float]] = field(default_factory=dict)
    """Indexed by generator step."""
    tests: list[tuple[int, float]] = field(default_factory=list)
    """(student steps done, share classified correctly)."""
    steps: list[events.StudentStep] = field(default_factory=list)
    first: dict[str, np.ndarray] | None = None
    newest: dict[str, np.ndarray] | None = None
    generated: int = 0
    distinct: int = 0

    def mean_term(self, name: str) -> float | None:
        """A term of the generator's loss at the end of an iteration, unweighted, averaged over the
        iterations in which it was active.
        """
        values = [e.parts.get(name, 0.0) for e in self.last_steps]
        # off during warm-up, or entirely; afterward, 0 is a valid value
        if "student" in BY_NAME[name].needs and self.started is not None:
            recipe = self.started.recipe
            warmup = warmup_epochs(recipe["warmup"], recipe["epochs"])
            on = recipe["weights"][name] > 0
            values = [v for v, e in zip(values, self.last_steps) if on and (e.epoch or 0) >= warmup]
            return float(np.mean(values)) if values else None
        return float(np.mean(values)) if any(values) else None


@dataclass(frozen=True)
class Number:
    title: str
    kind: Kind
    get: Callable[[RunData], Any]


def _score(data: RunData) -> float | None:
    return data.last.student.accuracy if data.last else None


def _hardest(data: RunData) -> tuple[str, float] | None:
    if not data.last or not data.started:
        return None
    known = [
        (share, name)
        for share, name in zip(data.last.student.per_class, data.started.classes)
        if share is not None
    ]
    return min(known)[::-1] if known else None


def _divergence(data: RunData) -> float | None:
    adv = data.mean_term("adv")
    return None if adv is None else -adv


def _speckle(data: RunData) -> float | None:
    if data.newest is None:
        return None
    images = data.newest["images"].astype(np.float32)
    return float(
        (np.abs(np.diff(images, axis=2)).mean() + np.abs(np.diff(images, axis=3)).mean()) / 2
    )


def _spread_within_class(data: RunData) -> float | None:
    """How much the images of a class vary: a pixel's standard deviation within a class, averaged
    over pixels and classes.
    """
    if data.newest is None:
        return None
    images, labels = data.newest["images"].astype(np.float32), data.newest["labels"]
    return float(np.mean([images[labels == c].std(0).mean() for c in np.unique(labels)]))


def _below_target(data: RunData) -> float | None:
    """Share of the map's cells that are below the target."""
    target = _target(data)
    if target is None or data.newest is None or data.newest.get("cam", np.zeros(0)).size == 0:
        return None
    cam = data.newest["cam"].astype(np.float32)
    return float((cam < target).mean()) if cam.shape[1:] == target.shape else None


def _target(data: RunData) -> np.ndarray | None:
    """The target at the newest batch's resolution."""
    if data.started is None or data.newest is None:
        return None
    side = data.newest["images"].shape[-1]
    target = next(
        (scale.target for scale in data.started.scales if scale.side == side), data.started.target
    )
    return np.array(target, np.float32) if target and target[0] else None


def _mean_agreement(data: RunData, select: Callable) -> float | None:
    return float(np.mean(data.agreement[select(data.agreement)])) if data.agreement else None


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
        "distinct images among those generated", "count", lambda r: r.distinct or None
    ),
    "made": Number("images generated", "count", lambda r: r.generated or None),
    "steps": Number("student steps", "count", lambda r: r.started and r.started.student_steps),
    "seconds": Number("time taken", "seconds", lambda r: r.seconds),
    "agreement_begin": Number(
        "label agreement at the first generator step", "percent", lambda r: _mean_agreement(r, min)
    ),
    "agreement": Number(
        "label agreement at the last generator step", "percent", lambda r: _mean_agreement(r, max)
    ),
    "ce": Number("L_ce, cross-entropy, at the last step", "real", lambda r: r.mean_term("ce")),
    "bn": Number(
        "L_bn, distance to the teacher's BN statistics, at the last step",
        "real",
        lambda r: r.mean_term("bn"),
    ),
    "kr": Number(
        "L_kr, evidence still missing, at the last step", "real", lambda r: r.mean_term("kr")
    ),
    "kr_begin": Number(
        "L_kr at the very first step",
        "real",
        lambda r: r.first_step and r.first_step.parts.get("kr"),
    ),
    "adv": Number(
        "divergence of student and teacher on new images (KL)",
        "real",
        _divergence,
    ),
    "aed": Number("L_aed, push, at the last step", "real", lambda r: r.mean_term("aed")),
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
    "within": Number(
        "spread of a pixel within a class (of 255 gray levels)", "real", _spread_within_class
    ),
    "below": Number("map cells below the target, last batch", "percent", _below_target),
}
"""The numbers a lesson can use."""


def read(run: Run) -> RunData:
    """Raises JournalError for a damaged run."""
    data = RunData()
    newest_step: events.GeneratorStep | None = None
    for event in run.events():
        if isinstance(event, events.RunStarted):
            data = RunData(started=event)
        elif isinstance(event, events.GeneratorStep):
            data.first_step = data.first_step or event
            newest_step = event
            data.agreement.setdefault(event.step or 0, []).append(event.agreement)
        elif isinstance(event, events.BatchSynthesized):
            data.pool = event
            if newest_step is not None:
                data.last_steps.append(newest_step)
        elif isinstance(event, events.StudentStep):
            data.steps = [*data.steps[:1], event]
        elif isinstance(event, events.Evaluated):
            data.last = event
            data.tests.append(
                (
                    (
                        data.steps[-1].step + 1
                        if data.steps and data.steps[-1].step is not None
                        else 0
                    ),
                    event.student.accuracy,
                )
            )
        data.seconds = event.t
    seen: set[bytes] = set()
    iterations = run.iterations()
    for i in iterations:
        images = run.batch(i, ("images",))["images"]
        data.generated += len(images)
        seen.update(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
    data.distinct = len(seen)
    if iterations:
        data.first, data.newest = run.batch(iterations[0]), run.batch(iterations[-1])
    return data


def numbers(run: Run) -> dict[str, float | str | None]:
    """Every number in NUMBERS; None if this run does not have it. Raises JournalError."""
    data = _read(run)
    values = {name: number.get(data) for name, number in NUMBERS.items()}
    return {
        name: None if isinstance(v, float) and not math.isfinite(v) else v
        for name, v in values.items()
    }


def _read(run: Run) -> RunData:
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


def format_value(kind: Kind, value: Any) -> str:
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
    delta = (
        float(percentage(other) - percentage(one))
        if kind == "percent"
        else (
            float(format_value("real", other)) - float(format_value("real", one))
            if kind == "real"
            else other - one
        )
    )
    sign = "+" if delta > 1e-9 else "−" if delta < -1e-9 else "±"
    return (
        f"{sign}{abs(delta):.1f} points"
        if kind == "percent"
        else sign + format_value(kind, abs(delta))
    )


def figures(run: Run) -> dict[str, Any]:
    """Small pictures and curves, as JSON: the newest batch, how the first one was made, the mean
    map, agreement and accuracy.
    """
    data = _read(run)
    result: dict[str, Any] = {
        "agreement": [
            [step + 1, round(float(np.mean(values)), 4)]
            for step, values in sorted(data.agreement.items())
        ],
        "accuracy": [
            [steps, round(share, SHARE_DIGITS)]
            for steps, share in data.tests
            if math.isfinite(share)
        ],
        "teacher": data.last.teacher.accuracy if data.last and data.last.teacher else None,
        "steps": data.started.student_steps if data.started else 0,
    }
    if data.first is not None and data.newest is not None and data.started is not None:
        classes = data.started.classes[:MAX_CLASSES]
        tiles = [
            (pos, row, c)
            for pos, c, row in sheets.tiles_of(data.newest["labels"], len(classes), MAX_ROWS)
        ]
        result["images"] = _sheet(data.newest["images"], tiles, (MAX_ROWS, len(classes)))
        result["classes"] = classes
        cam, target = data.newest.get("cam"), _target(data)
        if cam is not None and cam.size and target is not None:
            result["cam"], result["target"] = [
                np.round(a.astype(np.float64), 2).tolist()
                for a in (cam.astype(np.float32).mean(0), target)
            ]
        result["making"] = _making(data.first, len(classes))
    return result


def _making(batch: dict[str, np.ndarray], classes: int) -> dict[str, Any] | None:
    """One image per class from the first batch, with a row for each stored step."""
    if (
        not {"previews", "preview_steps", "preview_positions"} <= batch.keys()
        or not batch["previews"].size
    ):
        return None
    position = {int(pos): i for i, pos in enumerate(batch["preview_positions"])}
    selected = [
        (position[pos], c)
        for pos, c, _ in sheets.tiles_of(batch["labels"], classes, 1)
        if pos in position
    ]
    frames = batch["previews"]
    images = np.concatenate([frame[[i for i, _ in selected]] for frame in frames])
    tiles = [
        (row * len(selected) + i, row, c)
        for row in range(len(frames))
        for i, (_, c) in enumerate(selected)
    ]
    return _sheet(images, tiles, (len(frames), classes)) | {
        "rows": [int(step) + 1 for step in batch["preview_steps"]]
    }


def _sheet(
    images: np.ndarray, tiles: list[tuple[int, int, int]], shape: tuple[int, int]
) -> dict[str, Any]:
    indices, rows, columns = (list(x) for x in zip(*tiles)) if tiles else ([], [], [])
    factor = sheets.shrink_factor(images.shape[-1], (images.shape[-1] / sheets.MIN_SIDE) ** 2)
    side = images.shape[-1] // factor
    return {
        "url": sheets.sheet(sheets.downscale(images[indices], factor), rows, columns, shape),
        "width": side * shape[1],
        "height": side * shape[0],
    }
