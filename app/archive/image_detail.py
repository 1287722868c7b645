"""One image of a run in full: the image, its map, its loss relative to its batch, how it was made,
and its neighbors in the teacher's embedding.

Functions from an opened file to JSON-able dictionaries. Nothing about other images is computed here
except distances.
"""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np

from app.archive import sheets
from app.archive.batchfile import (
    BatchFile,
    BatchFileError,
    rounded_shares,
    significant,
    thumbnail_size,
    to_json,
)
from app.archive.projection import nearest
from app.archive.samples import RunBatches
from kgen.journal.reading import JournalError
from kgen.phrases import count
from kgen.terms import BY_NAME

NEIGHBORS = 7
MAX_COMPARED, MAX_FILES = 20_000, 400
"""Limits on the synthetic images and iterations searched for neighbors from other classes; a longer
run is sampled evenly.
"""
MAX_WIDTH = 8192
MAX_FRAME_BYTES = 4 << 20
"""Limit on the bytes in all frames of an image together; larger ones are scaled down."""
Arrays = dict[str, np.ndarray]


def picture(image: np.ndarray, factor: int = 1) -> str:
    return sheets.png(sheets.picture(sheets.downscale(image, factor)))


def image_detail(
    batches: RunBatches, iteration: int, pos: int, real: Arrays | None
) -> dict[str, Any]:
    """Everything in the image's own file about it, and the nearest real examples. Raises
    JournalError, BatchFileError.
    """
    columns = batches.columns(iteration)
    with BatchFile(batches.path, iteration) as batch_file:
        if pos >= batch_file.n:
            raise BatchFileError(
                f"Iteration {iteration + 1:,} has {count(batch_file.n, 'image')}, not {pos + 1:,}."
            )
        cam, embedding = batch_file.row("cam", pos, 3), batch_file.row("embedding", pos, 2)
        warnings: list[str] = []
        finite = {
            name: [v for v in to_json(values) if v is not None]
            for name, values in columns.parts.items()
        }
        if any(len(values) < batch_file.n for values in finite.values()):
            warnings.append("Some loss values in this batch are not numbers and are left out.")
        detail = {
            "iteration": iteration,
            "pos": pos,
            "c": int(columns.labels[pos]),
            "n": batch_file.n,
            "side": batch_file.side,
            "channels": batch_file.channels,
            "image": picture(batch_file.image(pos)),
            "entered": bool(columns.entered[pos]),
            "p": to_json(columns.p)[pos],
            "s": to_json(columns.s)[pos],
            "map": [0, 0] if cam is None else list(cam.shape),
            "cam": (
                []
                if cam is None
                else finite_or_zero(cam, "the map", warnings).round(4).ravel().tolist()
            ),
            "parts": {name: to_json(values)[pos] for name, values in columns.parts.items()},
            "batch": finite,
            "shared": batch_wide_terms(columns.parts),
            "teacher_top": top_classes(batch_file, "teacher", pos),
            "student_top": top_classes(batch_file, "student", pos),
            "judge_top": top_classes(batch_file, "judge", pos),
            "rank": to_json(columns.rank)[pos],
            **generation_frames(batch_file, pos),
            "nearest": _nearest_real(embedding, real, warnings),
            "before": _previous(batches, iteration, pos),
            "after": [iteration, pos + 1] if pos + 1 < batch_file.n else [iteration + 1, 0],
        }
    return detail | ({"warning": " ".join(dict.fromkeys(warnings))} if warnings else {})


def batch_wide_terms(parts: dict[str, np.ndarray]) -> list[str]:
    """Terms with one value for the whole batch, like BN statistics. A term that is zero for every
    image may just be a hinge that is inactive for all of them.
    """
    return [
        name
        for name, values in parts.items()
        if len(values) > 1
        and np.isfinite(values).all()
        and (values == values[0]).all()
        and (values[0] or (name in BY_NAME and BY_NAME[name].per_batch))
    ]


def finite_or_zero(values: np.ndarray, label: str, warnings: list[str]) -> np.ndarray:
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        warnings.append(f"Values of {label} that were not numbers are shown as 0.")
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def top_classes(batch_file: BatchFile, network: str, pos: int) -> list[list] | None:
    """[[class of the teacher, probability], …], most likely first; None if not stored."""
    classes, p = (
        batch_file.row(f"{network}_top", pos, 2),
        batch_file.row(f"{network}_top_p", pos, 2),
    )
    if classes is None or p is None or classes.shape != p.shape:
        return None
    return [
        [int(c), v]
        for c, v in zip(classes[:5].tolist(), to_json(rounded_shares(p[:5])))
        if v is not None
    ]


def generation_frames(batch_file: BatchFile, pos: int) -> dict[str, Any]:
    """The image's stored steps before the one that was kept, as `frames`; or whether other images
    have any.
    """
    frames = batch_file.frames(pos)
    kept_step = batch_file.array("kept_step", 1, -1)
    last = int(kept_step[0]) if kept_step is not None and len(kept_step) else None
    if frames is None:
        return {"kept_step": last, "frames": [], "frames_kept": batch_file.has("previews")}
    steps, pixels, confidence = frames
    matches = np.flatnonzero((pixels == batch_file.image(pos)).all((1, 2, 3)))
    if last is None and len(matches):  # older runs do not say
        last = int(steps[matches[-1]])
    earlier = np.ones(len(steps), bool) if last is None else steps < last
    out: dict[str, Any] = {"kept_step": last}
    steps, pixels, confidence = (
        steps[earlier],
        pixels[earlier],
        None if confidence is None else confidence[earlier],
    )
    factor = math.ceil(math.sqrt(max(1.0, pixels.nbytes / MAX_FRAME_BYTES)))
    return out | {
        "frames": [
            {
                "step": int(step),
                "p": None if confidence is None else to_json(confidence)[i],
                "image": picture(pixels[i], factor),
            }
            for i, step in enumerate(steps)
        ]
    }


def _previous(batches: RunBatches, iteration: int, pos: int) -> list[int] | None:
    """The previous image, which may be the last one of the previous iteration."""
    if pos:
        return [iteration, pos - 1]
    try:
        return (
            [iteration - 1, len(batches.columns(iteration - 1).labels) - 1] if iteration else None
        )
    except (JournalError, BatchFileError):
        return None


def _nearest_real(
    embedding: np.ndarray | None, real: Arrays | None, warnings: list[str]
) -> dict[str, Any] | None:
    """The nearest real examples, and how many were compared; None if there are none."""
    if (
        embedding is None
        or real is None
        or not len(real["labels"])
        or real["embedding"].shape[1:] != embedding.shape
    ):
        return None
    examples = np.nan_to_num(real["embedding"].astype(np.float32))
    index, distance = nearest(
        finite_or_zero(embedding, "the embedding", warnings)[None], examples, NEIGHBORS
    )
    images = real.get("images")
    return {
        "of": len(examples),
        "pixels": images is not None,
        "found": [
            {
                "c": int(real["labels"][i]),
                "d": round(float(d), 4),
                "image": (
                    None
                    if images is None
                    else picture(images[i], thumbnail_size(images.shape[-1])[0])
                ),
            }
            for i, d in zip(index[0].tolist(), distance[0])
        ],
    }


def neighbors(batches: RunBatches, iteration: int, pos: int, end: int) -> dict[str, Any]:
    """The nearest images of other classes in the first `end` iterations, and the values in those
    iterations of the terms that have one value per batch. Raises JournalError, BatchFileError.
    """
    with BatchFile(batches.path, iteration) as batch_file:
        if pos >= batch_file.n:
            raise BatchFileError(
                f"Iteration {iteration + 1:,} has {count(batch_file.n, 'image')}, not {pos + 1:,}."
            )
        query = batch_file.row("embedding", pos, 2)
        files = min(MAX_FILES, max(1, MAX_COMPARED // batch_file.n), end)
    if query is None or not 1 <= len(query) <= MAX_WIDTH:
        raise BatchFileError(
            "This run did not store the teacher's embeddings.",
            code="no-embedding",
        )
    query, c = np.nan_to_num(query.astype(np.float32)), int(batches.columns(iteration).labels[pos])
    searched = sorted(
        {*np.linspace(0, end - 1, files).round().astype(int).tolist(), min(iteration, end - 1)}
    )
    compared = 0
    best: list[tuple[float, int, int, int]] = []
    """(distance, iteration, position, class), nearest first."""
    shared_values: dict[str, list[float]] = {}
    for other_iteration in searched:
        try:
            columns = batches.columns(other_iteration)
            with BatchFile(batches.path, other_iteration) as batch_file:
                embedding = batch_file.array("embedding", 2)
        except (JournalError, BatchFileError):
            continue
        for name in batch_wide_terms(columns.parts):
            shared_values.setdefault(name, []).append(float(columns.parts[name][0]))
        others = np.flatnonzero(columns.labels != c)
        if embedding is None or embedding.shape[1:] != query.shape or not len(others):
            continue
        compared += len(others)
        distance = np.sqrt(((embedding[others].astype(np.float32) - query) ** 2).sum(1))
        best = heapq.nsmallest(
            NEIGHBORS,
            [
                *best,
                *(
                    (float(d), other_iteration, int(position), int(columns.labels[position]))
                    for d, position in zip(distance, others)
                    if math.isfinite(d)
                ),
            ],
        )
    found = []
    for d, other_iteration, position, label in best:
        with BatchFile(batches.path, other_iteration) as batch_file:
            found.append(
                {
                    "it": other_iteration,
                    "pos": position,
                    "c": label,
                    "d": round(d, 4),
                    "image": picture(
                        batch_file.image(position), thumbnail_size(batch_file.side)[0]
                    ),
                }
            )
    return {
        "found": found,
        "compared": compared,
        "looked": len(searched),
        "of": end,
        "shared": {
            name: significant(np.array(values)).tolist() for name, values in shared_values.items()
        },
    }
