"""A batch's pictures and numbers in the form the page needs: contact sheets, groups, samples,
reference examples.

Pure functions from arrays to JSON-able dictionaries. Images are sent as lossless PNG at native size
and enlarged by the browser. Values that are not finite are never replaced without a warning.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from app.archive.projection import Layout, nearest
from kgen.events import PARTS

COLUMNS = 5
"""Tiles shown per class."""
REFERENCE_COLUMNS = 20
TILES_BYTES = 1_000_000
"""Target size of a sheet with all images of a batch, as far as scaling allows."""
SMALLEST, MOST_SMALL = 48, 2
"""Smallest side to which images in progress are scaled down, and how far over the limit they may
then be in total (a factor).
"""
Arrays = dict[str, np.ndarray]


def png_bytes(pixels: np.ndarray) -> bytes:
    """u8 [h,w] or [h,w,3] → a PNG, lossless."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=6)
    return file.getvalue()


def png(pixels: np.ndarray) -> str:
    """The same, as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()


def picture(image: np.ndarray) -> np.ndarray:
    """u8 [c,h,w] → [h,w] for one channel, else [h,w,3]: the first three channels, repeating the
    last if there are two.
    """
    if len(image) == 1:
        return image[0]
    return np.moveaxis(image[[0, 1, min(2, len(image) - 1)]], 0, -1)


def sheet(
    images: np.ndarray, rows: Sequence[int], columns: Sequence[int], shape: tuple[int, int]
) -> str:
    """A sheet of tiles as a data URI."""
    return png(tiled(images, rows, columns, shape))


def tiled(
    images: np.ndarray, rows: Sequence[int], columns: Sequence[int], shape: tuple[int, int]
) -> np.ndarray:
    """Tiles [n,c,e,e] at their rows and columns on a sheet of shape (rows, columns), as a picture;
    empty cells are black.
    """
    n, c, h, w = images.shape
    canvas = np.zeros((c, shape[0] * h, shape[1] * w), np.uint8)
    for image, row, column in zip(images, rows, columns):
        canvas[:, row * h : (row + 1) * h, column * w : (column + 1) * w] = image
    return picture(canvas)


def maps(batch: Arrays) -> np.ndarray:
    """[B,h,w]: the teacher's maps; [B,0,0] if the teacher has none."""
    return batch["cam"] if "cam" in batch else np.zeros((len(batch["images"]), 0, 0), np.float16)


def tiles_of(labels: np.ndarray, classes: int, most: int = COLUMNS) -> list[tuple[int, int, int]]:
    """(position in the batch, class, column): the first few images of each class, class by
    class.
    """
    return [
        (int(pos), c, column)
        for c in range(classes)
        for column, pos in enumerate(np.flatnonzero(labels == c)[:most])
    ]


def group(
    batch: Arrays,
    iteration: int,
    classes: int,
    *,
    before: int,
    after: int,
    layout: Layout | None = None,
    history: bool = True,
    most_bytes: int | None = None,
) -> dict[str, Any]:
    """The tiles of a batch to show, with their maps and, on request, the frames from their making.

    Args:
        before, after: images in the pool before and after this batch. most_bytes: if the sheet
        would have more pixels than this, show fewer per class, then smaller
            ones.
    """
    images, labels = batch["images"], batch["labels"]
    present = np.unique(labels[labels < classes]).tolist()
    each = int(np.prod(images.shape[1:])) * len(present)
    most, shrink = COLUMNS, 1
    if most_bytes is not None:
        most = int(np.clip(most_bytes // max(1, each), 1, COLUMNS))
        shrink = shrinking(images.shape[-1], each * most / most_bytes)
    tiles = tiles_of(labels, classes, most)
    if most_bytes is not None and shrink > 1:
        tiles = tiles[: max(1, MOST_SMALL * most_bytes // (each // len(present) // shrink**2))]
    at = np.array([t[0] for t in tiles], int)
    # classes without images in the batch take no room: of a thousand classes, that is most
    place = {c: row for row, c in enumerate(dict.fromkeys(t[1] for t in tiles))}
    rows, columns = [place[t[1]] for t in tiles], [t[2] for t in tiles]
    width, height = max(columns, default=0) + 1, max(1, len(place))
    odd: list[str] = []
    sure = _finite(batch["confidence"][at], "the teacher's confidence", odd)
    cam = _finite(maps(batch)[at], "the class activation maps", odd)
    out = {
        "iteration": iteration,
        "side": int(images.shape[-1]),
        "channels": int(images.shape[1]),
        "map": list(cam.shape[1:]),
        "tiles": [
            {"pos": pos, "c": c, "p": round(float(p), 4)} for (pos, c, _), p in zip(tiles, sure)
        ],
        "columns": width,
        "rows": height,
        "sheet": sheet(shrunk(images[at], shrink), rows, columns, (height, width)),
        "cam": (
            base64.b64encode(
                np.clip(np.rint(cam * 100), -32768, 32767).astype("<i2").tobytes()
            ).decode()
        ),
        "images_before": before,
        "images_after": after,
    }
    if layout is not None:
        out |= _places(layout, batch["embedding"][at], odd)
    if history and "previews" in batch:
        out["frames"] = _frames(batch, at, rows, columns, (height, width))
    if odd:
        out["warning"] = " ".join(odd)
    return out


def shrinking(side: int, excess: float) -> int:
    """The integer to divide a side by for `excess` times fewer pixels, keeping a side of at least
    SMALLEST.
    """
    wanted = int(np.ceil(np.sqrt(max(1.0, excess))))
    return max(
        (n for n in range(1, wanted + 1) if side % n == 0 and side // n >= SMALLEST), default=1
    )


def shrunk(images: np.ndarray, by: int) -> np.ndarray:
    """u8 […,h,w] → […,⌈h/by⌉,⌈w/by⌉], means of square blocks, padded at the far edges."""
    if by == 1:
        return images
    *n, h, w = images.shape
    padded = np.pad(images, [(0, 0) for _ in n] + [(0, -h % by), (0, -w % by)], mode="edge")
    return (
        padded.reshape(*n, padded.shape[-2] // by, by, -1, by)
        .mean((-3, -1))
        .round()
        .astype(np.uint8)
    )


def _frames(
    batch: Arrays, at: np.ndarray, rows: list[int], columns: list[int], shape: tuple[int, int]
) -> list[dict[str, Any]]:
    """One sheet per stored step, with tiles in the same cells as on the group's sheet."""
    index = {int(pos): i for i, pos in enumerate(batch["preview_positions"])}
    there = [
        (index[int(pos)], row, column)
        for pos, row, column in zip(at, rows, columns)
        if int(pos) in index
    ]
    if not there:
        return []
    which, r, c = (list(x) for x in zip(*there))
    return [
        {"step": int(step), "sheet": sheet(frame[which], r, c, shape)}
        for step, frame in zip(batch["preview_steps"], batch["previews"])
    ]


def points(
    batch: Arrays, iteration: int, layout: Layout, columns: Mapping[str, int]
) -> dict[str, Any]:
    """Every image of a batch as a row: its class, position, the teacher's confidence, and loss
    terms. `columns`: term → its column in the file.
    """
    odd: list[str] = []
    parts = _finite(batch["parts"], "the loss parts", odd)
    return {
        "iteration": iteration,
        "c": batch["labels"].tolist(),
        **_places(layout, batch["embedding"], odd),
        "p": _rounded(_finite(batch["confidence"], "", odd)),
        **{name: _rounded(parts[:, at]) for name, at in columns.items()},
    }


def tiles(batch: Arrays, iteration: int) -> dict[str, Any]:
    """Every image of a batch on one sheet, twenty per row, in file order; large ones are scaled
    down.
    """
    images = batch["images"]
    small = shrunk(images, shrinking(images.shape[-1], images.nbytes / TILES_BYTES))
    n, columns = len(small), min(len(small), REFERENCE_COLUMNS)
    places, rows = [divmod(i, columns) for i in range(n)], -(-n // columns)
    return {
        "iteration": iteration,
        "side": int(images.shape[-1]),
        "columns": columns,
        "rows": rows,
        "c": batch["labels"].tolist(),
        "sheet": sheet(small, [r for r, _ in places], [c for _, c in places], (rows, columns)),
    }


def sample(
    batch: Arrays,
    iteration: int,
    pos: int,
    *,
    layout: Layout | None,
    reference: Arrays | None,
    terms: Sequence[str] = PARTS,
) -> dict[str, Any]:
    """Everything about one image. `terms`: names of the file's loss columns. Raises IndexError if
    the position is not in the batch.
    """
    if not 0 <= pos < len(batch["images"]):
        raise IndexError(pos)
    odd: list[str] = []
    parts = _finite(batch["parts"][pos], "the loss parts", odd)
    out = {
        "iteration": iteration,
        "pos": pos,
        "c": int(batch["labels"][pos]),
        "p": round(float(_finite(batch["confidence"][pos], "the teacher's confidence", odd)), 4),
        "image": png(picture(batch["images"][pos])),
        "cam": _rounded(_finite(maps(batch)[pos], "the class activation map", odd)),
        "map": list(maps(batch).shape[1:]),
        "parts": dict(zip(terms, _rounded(parts))),
        "entered": bool(batch["entered"][pos]),
        "teacher_top": _top(batch, "teacher", pos, odd),
        "student_top": _top(batch, "student", pos, odd),
    }
    embedding = batch["embedding"][pos : pos + 1]
    if layout is not None:
        out |= {k: v[0] for k, v in _places(layout, embedding, odd).items()}
    if reference is not None and len(reference["labels"]):
        index, distance = nearest(
            _finite(embedding, "the embedding", odd), reference["embedding"], 3
        )
        out["nearest"] = [
            {"i": int(i), "c": int(reference["labels"][i]), "d": round(float(d), 4)}
            for i, d in zip(index[0], distance[0])
        ]
    if odd:
        out["warning"] = " ".join(dict.fromkeys(odd))
    return out


def reference(arrays: Arrays, layout: Layout | None) -> dict[str, Any]:
    """The real examples on one sheet, twenty per row, in file order; gray if a bundle came without
    their pixels.
    """
    labels = arrays["labels"]
    n, columns = len(labels), REFERENCE_COLUMNS
    images = arrays.get("images", np.full((n, 1, 8, 8), 128, np.uint8))
    places = [divmod(i, columns) for i in range(n)]
    out = {
        "n": n,
        "side": int(images.shape[-1]),
        "channels": int(images.shape[1]),
        "columns": columns,
        "sheet": sheet(
            images,
            [p[0] for p in places],
            [p[1] for p in places],
            (max(1, -(-n // columns)), columns),
        ),
        "c": labels.tolist(),
        "pixels": "images" in arrays,
    }
    return out | (_places(layout, arrays["embedding"], []) if layout is not None else {})


def _places(layout: Layout, embedding: np.ndarray, odd: list[str]) -> dict[str, list[float]]:
    xyz = layout.place3(_finite(embedding, "the embedding", odd))
    return {name: _rounded(xyz[:, i]) for i, name in enumerate("xyz")}


def _top(batch: Arrays, who: str, pos: int, odd: list[str]) -> list[list]:
    shares = _finite(batch[f"{who}_top_p"][pos], f"the {who}'s probabilities", odd)
    return [[int(c), round(float(p), 4)] for c, p in zip(batch[f"{who}_top"][pos], shares)]


def _rounded(values: np.ndarray) -> list:
    return np.round(values.astype(np.float64), 4).tolist()


def _finite(values: np.ndarray, what: str, odd: list[str]) -> np.ndarray:
    """The values as f32; non-finite ones become 0 and are reported in `odd`."""
    values = np.asarray(values, np.float32)
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        odd.append(f"Values of {what} that were not numbers, shown as 0: {wrong:,}.")
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return values
