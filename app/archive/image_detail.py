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
from app.archive.batchfile import BatchFile, BatchFileError, shares, significant, thumb_of, to_json
from app.archive.projection import nearest
from app.archive.samples import Album
from kgen.journal.reading import JournalError

NEAREST = 7
MOST_COMPARED, MOST_FILES = 20_000, 400
"""Most synthetic images and iterations to search for neighbors from other classes; a longer run is
sampled evenly.
"""
MOST_WIDTH = 8192
FRAME_BYTES = 4 << 20
"""Most bytes in all frames of an image together; larger ones are scaled down."""
Arrays = dict[str, np.ndarray]


def picture(image: np.ndarray, by: int = 1) -> str:
    return sheets.png(sheets.picture(sheets.shrunk(image, by)))


def specimen(album: Album, iteration: int, pos: int, real: Arrays | None) -> dict[str, Any]:
    """Everything in the image's own file about it, and the nearest real examples. Raises
    JournalError, BatchFileError.
    """
    columns = album.columns(iteration)
    with BatchFile(album.path, iteration) as opened:
        if pos >= opened.n:
            raise BatchFileError(
                f"Iteration {iteration + 1:,} has {opened.n:,} images, not {pos + 1:,}."
            )
        cam, embedding = opened.row("cam", pos, 3), opened.row("embedding", pos, 2)
        odd: list[str] = []
        finite = {
            name: [v for v in to_json(values) if v is not None]
            for name, values in columns.parts.items()
        }
        if any(len(values) < opened.n for values in finite.values()):
            odd.append("Some loss values in this batch are not numbers and are left out.")
        out = {
            "iteration": iteration,
            "pos": pos,
            "c": int(columns.labels[pos]),
            "n": opened.n,
            "side": opened.side,
            "channels": opened.channels,
            "image": picture(opened.image(pos)),
            "entered": bool(columns.entered[pos]),
            "p": to_json(columns.p)[pos],
            "s": to_json(columns.s)[pos],
            "map": [0, 0] if cam is None else list(cam.shape),
            "cam": (
                [] if cam is None else finite_or_zero(cam, "the map", odd).round(4).ravel().tolist()
            ),
            "parts": {name: to_json(values)[pos] for name, values in columns.parts.items()},
            "batch": finite,
            "shared": shared(columns.parts),
            "teacher_top": top(opened, "teacher", pos),
            "student_top": top(opened, "student", pos),
            "judge_top": top(opened, "judge", pos),
            "rank": to_json(columns.rank)[pos],
            **making(opened, pos),
            "nearest": _nearest(embedding, real, odd),
            "before": _before(album, iteration, pos),
            "after": [iteration, pos + 1] if pos + 1 < opened.n else [iteration + 1, 0],
        }
    return out | ({"warning": " ".join(dict.fromkeys(odd))} if odd else {})


def shared(parts: dict[str, np.ndarray]) -> list[str]:
    """Terms with one value for the whole batch, like BN statistics. If all are zero, it is just a
    hinge that is inactive for every image.
    """
    return [
        name
        for name, values in parts.items()
        if len(values) > 1
        and np.isfinite(values).all()
        and (values == values[0]).all()
        and (name == "bn" or values[0])
    ]


def finite_or_zero(values: np.ndarray, what: str, odd: list[str]) -> np.ndarray:
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        odd.append(f"Values of {what} that were not numbers are shown as 0.")
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def top(opened: BatchFile, who: str, pos: int) -> list[list] | None:
    """[[class of the teacher, probability], …], likeliest first; None if not stored."""
    classes, p = opened.row(f"{who}_top", pos, 2), opened.row(f"{who}_top_p", pos, 2)
    if classes is None or p is None or classes.shape != p.shape:
        return None
    return [
        [int(c), v] for c, v in zip(classes[:5].tolist(), to_json(shares(p[:5]))) if v is not None
    ]


def making(opened: BatchFile, pos: int) -> dict[str, Any]:
    """The image's stored steps before the one that was kept, as `frames`; or whether other images
    have any.
    """
    found = opened.frames(pos)
    kept = opened.array("kept_step", 1, -1)
    last = int(kept[0]) if kept is not None and len(kept) else None
    if found is None:
        return {"kept_step": last, "frames": [], "frames_kept": opened.has("previews")}
    steps, pixels, sure = found
    same = np.flatnonzero((pixels == opened.image(pos)).all((1, 2, 3)))
    if last is None and len(same):  # older runs do not say
        last = int(steps[same[-1]])
    before = np.ones(len(steps), bool) if last is None else steps < last
    out: dict[str, Any] = {"kept_step": last}
    steps, pixels, sure = steps[before], pixels[before], None if sure is None else sure[before]
    by = math.ceil(math.sqrt(max(1.0, pixels.nbytes / FRAME_BYTES)))
    return out | {
        "frames": [
            {
                "step": int(step),
                "p": None if sure is None else to_json(sure)[i],
                "image": picture(pixels[i], by),
            }
            for i, step in enumerate(steps)
        ]
    }


def _before(album: Album, iteration: int, pos: int) -> list[int] | None:
    """The previous image, which may be the last one of the previous iteration."""
    if pos:
        return [iteration, pos - 1]
    try:
        return [iteration - 1, len(album.columns(iteration - 1).labels) - 1] if iteration else None
    except (JournalError, BatchFileError):
        return None


def _nearest(
    embedding: np.ndarray | None, real: Arrays | None, odd: list[str]
) -> dict[str, Any] | None:
    """The nearest real examples, and how many were compared; None if there are none."""
    if (
        embedding is None
        or real is None
        or not len(real["labels"])
        or real["embedding"].shape[1:] != embedding.shape
    ):
        return None
    among = np.nan_to_num(real["embedding"].astype(np.float32))
    index, distance = nearest(finite_or_zero(embedding, "the embedding", odd)[None], among, NEAREST)
    images = real.get("images")
    return {
        "of": len(among),
        "pixels": images is not None,
        "found": [
            {
                "c": int(real["labels"][i]),
                "d": round(float(d), 4),
                "image": (
                    None if images is None else picture(images[i], thumb_of(images.shape[-1])[0])
                ),
            }
            for i, d in zip(index[0].tolist(), distance[0])
        ],
    }


def kin(album: Album, iteration: int, pos: int, end: int) -> dict[str, Any]:
    """The nearest images of other classes in the first `end` iterations, and the values there of
    terms that a batch shares. Raises JournalError, BatchFileError.
    """
    with BatchFile(album.path, iteration) as opened:
        if pos >= opened.n:
            raise BatchFileError(
                f"Iteration {iteration + 1:,} has {opened.n:,} images, not {pos + 1:,}."
            )
        own = opened.row("embedding", pos, 2)
        files = min(MOST_FILES, max(1, MOST_COMPARED // opened.n), end)
    if own is None or not 1 <= len(own) <= MOST_WIDTH:
        raise BatchFileError(
            "This run did not store the teacher's embeddings.",
            code="no-embedding",
        )
    own, c = np.nan_to_num(own.astype(np.float32)), int(album.columns(iteration).labels[pos])
    looked = sorted(
        {*np.linspace(0, end - 1, files).round().astype(int).tolist(), min(iteration, end - 1)}
    )
    compared = 0
    best: list[tuple[float, int, int, int]] = []
    """(distance, iteration, position, class), nearest first."""
    common: dict[str, list[float]] = {}
    for it in looked:
        try:
            columns = album.columns(it)
            with BatchFile(album.path, it) as opened:
                embedding = opened.array("embedding", 2)
        except (JournalError, BatchFileError):
            continue
        for name in shared(columns.parts):
            common.setdefault(name, []).append(float(columns.parts[name][0]))
        others = np.flatnonzero(columns.labels != c)
        if embedding is None or embedding.shape[1:] != own.shape or not len(others):
            continue
        compared += len(others)
        distance = np.sqrt(((embedding[others].astype(np.float32) - own) ** 2).sum(1))
        best = heapq.nsmallest(
            NEAREST,
            [
                *best,
                *(
                    (float(d), it, int(at), int(columns.labels[at]))
                    for d, at in zip(distance, others)
                    if math.isfinite(d)
                ),
            ],
        )
    found = []
    for d, it, at, label in best:
        with BatchFile(album.path, it) as opened:
            found.append(
                {
                    "it": it,
                    "pos": at,
                    "c": label,
                    "d": round(d, 4),
                    "image": picture(opened.image(at), thumb_of(opened.side)[0]),
                }
            )
    return {
        "found": found,
        "compared": compared,
        "looked": len(looked),
        "of": end,
        "shared": {name: significant(np.array(values)).tolist() for name, values in common.items()},
    }
