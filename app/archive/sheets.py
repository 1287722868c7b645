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
MAX_TILES_BYTES = 1_000_000
"""Target size of a sheet with all images of a batch, as far as scaling allows."""
MIN_SIDE, MAX_EXCESS = 48, 2
"""Smallest side to which images in progress are scaled down, and how far over the limit they may
then be in total, as a factor.
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
    return png(tile(images, rows, columns, shape))


def tile(
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


def tiles_of(labels: np.ndarray, classes: int, limit: int = COLUMNS) -> list[tuple[int, int, int]]:
    """(position in the batch, class, column): the first few images of each class, class by
    class.
    """
    return [
        (int(pos), c, column)
        for c in range(classes)
        for column, pos in enumerate(np.flatnonzero(labels == c)[:limit])
    ]


def group(
    batch: Arrays,
    iteration: int,
    classes: int,
    *,
    before: int,
    after: int,
    layout: Layout | None = None,
    include_frames: bool = True,
    max_bytes: int | None = None,
) -> dict[str, Any]:
    """The tiles of a batch to show, with their maps and, on request, the frames that show how they
    were made.

    Args:
        before, after: images in the pool before and after this batch. most_bytes: if the sheet
        would have more pixels than this, show fewer per class, then smaller
            ones.
    """
    images, labels = batch["images"], batch["labels"]
    present_classes = np.unique(labels[labels < classes]).tolist()
    column_bytes = int(np.prod(images.shape[1:])) * len(present_classes)
    per_class, factor = COLUMNS, 1
    if max_bytes is not None:
        per_class = int(np.clip(max_bytes // max(1, column_bytes), 1, COLUMNS))
        factor = shrink_factor(images.shape[-1], column_bytes * per_class / max_bytes)
    tiles = tiles_of(labels, classes, per_class)
    if max_bytes is not None and factor > 1:
        tiles = tiles[
            : max(1, MAX_EXCESS * max_bytes // (column_bytes // len(present_classes) // factor**2))
        ]
    positions = np.array([t[0] for t in tiles], int)
    # classes without images in the batch take no room; with a thousand classes, most have none
    row_of = {c: row for row, c in enumerate(dict.fromkeys(t[1] for t in tiles))}
    rows, columns = [row_of[t[1]] for t in tiles], [t[2] for t in tiles]
    width, height = max(columns, default=0) + 1, max(1, len(row_of))
    warnings: list[str] = []
    confidence = _finite(batch["confidence"][positions], "the teacher's confidence", warnings)
    cam = _finite(maps(batch)[positions], "the class activation maps", warnings)
    data = {
        "iteration": iteration,
        "side": int(images.shape[-1]),
        "channels": int(images.shape[1]),
        "map": list(cam.shape[1:]),
        "tiles": [
            {"pos": pos, "c": c, "p": round(float(p), 4)}
            for (pos, c, _), p in zip(tiles, confidence)
        ],
        "columns": width,
        "rows": height,
        "sheet": sheet(downscale(images[positions], factor), rows, columns, (height, width)),
        "cam": (
            base64.b64encode(
                np.clip(np.rint(cam * 100), -32768, 32767).astype("<i2").tobytes()
            ).decode()
        ),
        "images_before": before,
        "images_after": after,
    }
    if layout is not None:
        data |= _coordinates(layout, batch["embedding"][positions], warnings)
    if include_frames and "previews" in batch:
        data["frames"] = _frames(batch, positions, rows, columns, (height, width))
    if warnings:
        data["warning"] = " ".join(warnings)
    return data


def shrink_factor(side: int, excess: float) -> int:
    """The integer to divide a side by for `excess` times fewer pixels, keeping a side of at least
    MIN_SIDE.
    """
    needed = int(np.ceil(np.sqrt(max(1.0, excess))))
    return max(
        (n for n in range(1, needed + 1) if side % n == 0 and side // n >= MIN_SIDE), default=1
    )


def downscale(images: np.ndarray, factor: int) -> np.ndarray:
    """u8 […,h,w] → […,⌈h/factor⌉,⌈w/factor⌉], means of square blocks, padded at the far edges."""
    if factor == 1:
        return images
    *n, h, w = images.shape
    padded = np.pad(images, [(0, 0) for _ in n] + [(0, -h % factor), (0, -w % factor)], mode="edge")
    return (
        padded.reshape(*n, padded.shape[-2] // factor, factor, -1, factor)
        .mean((-3, -1))
        .round()
        .astype(np.uint8)
    )


def _frames(
    batch: Arrays,
    positions: np.ndarray,
    rows: list[int],
    columns: list[int],
    shape: tuple[int, int],
) -> list[dict[str, Any]]:
    """One sheet per stored step, with tiles in the same cells as on the group's sheet."""
    index = {int(pos): i for i, pos in enumerate(batch["preview_positions"])}
    stored = [
        (index[int(pos)], row, column)
        for pos, row, column in zip(positions, rows, columns)
        if int(pos) in index
    ]
    if not stored:
        return []
    frame_indices, tile_rows, tile_columns = (list(x) for x in zip(*stored))
    return [
        {"step": int(step), "sheet": sheet(frame[frame_indices], tile_rows, tile_columns, shape)}
        for step, frame in zip(batch["preview_steps"], batch["previews"])
    ]


def points(
    batch: Arrays, iteration: int, layout: Layout, columns: Mapping[str, int]
) -> dict[str, Any]:
    """Every image of a batch as a row: its class, position, the teacher's confidence, and loss
    terms. `columns`: term → its column in the file.
    """
    warnings: list[str] = []
    parts = _finite(batch["parts"], "the loss terms", warnings)
    return {
        "iteration": iteration,
        "c": batch["labels"].tolist(),
        **_coordinates(layout, batch["embedding"], warnings),
        "p": _rounded(_finite(batch["confidence"], "", warnings)),
        **{name: _rounded(parts[:, column]) for name, column in columns.items()},
    }


def tiles(batch: Arrays, iteration: int) -> dict[str, Any]:
    """Every image of a batch on one sheet, twenty per row, in file order; large ones are scaled
    down.
    """
    images = batch["images"]
    small = downscale(images, shrink_factor(images.shape[-1], images.nbytes / MAX_TILES_BYTES))
    n, columns = len(small), min(len(small), REFERENCE_COLUMNS)
    cells, rows = [divmod(i, columns) for i in range(n)], -(-n // columns)
    return {
        "iteration": iteration,
        "side": int(images.shape[-1]),
        "columns": columns,
        "rows": rows,
        "c": batch["labels"].tolist(),
        "sheet": sheet(small, [r for r, _ in cells], [c for _, c in cells], (rows, columns)),
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
    warnings: list[str] = []
    parts = _finite(batch["parts"][pos], "the loss terms", warnings)
    data = {
        "iteration": iteration,
        "pos": pos,
        "c": int(batch["labels"][pos]),
        "p": round(
            float(_finite(batch["confidence"][pos], "the teacher's confidence", warnings)), 4
        ),
        "image": png(picture(batch["images"][pos])),
        "cam": _rounded(_finite(maps(batch)[pos], "the class activation map", warnings)),
        "map": list(maps(batch).shape[1:]),
        "parts": dict(zip(terms, _rounded(parts))),
        "entered": bool(batch["entered"][pos]),
        "teacher_top": _top(batch, "teacher", pos, warnings),
        "student_top": _top(batch, "student", pos, warnings),
    }
    embedding = batch["embedding"][pos : pos + 1]
    if layout is not None:
        data |= {k: v[0] for k, v in _coordinates(layout, embedding, warnings).items()}
    if reference is not None and len(reference["labels"]):
        index, distance = nearest(
            _finite(embedding, "the embedding", warnings), reference["embedding"], 3
        )
        data["nearest"] = [
            {"i": int(i), "c": int(reference["labels"][i]), "d": round(float(d), 4)}
            for i, d in zip(index[0], distance[0])
        ]
    if warnings:
        data["warning"] = " ".join(dict.fromkeys(warnings))
    return data


def reference(arrays: Arrays, layout: Layout | None) -> dict[str, Any]:
    """The real examples on one sheet, twenty per row, in file order; gray if a bundle came without
    their pixels.
    """
    labels = arrays["labels"]
    n, columns = len(labels), REFERENCE_COLUMNS
    images = arrays.get("images", np.full((n, 1, 8, 8), 128, np.uint8))
    cells = [divmod(i, columns) for i in range(n)]
    data = {
        "n": n,
        "side": int(images.shape[-1]),
        "channels": int(images.shape[1]),
        "columns": columns,
        "sheet": sheet(
            images,
            [p[0] for p in cells],
            [p[1] for p in cells],
            (max(1, -(-n // columns)), columns),
        ),
        "c": labels.tolist(),
        "pixels": "images" in arrays,
    }
    return data | (_coordinates(layout, arrays["embedding"], []) if layout is not None else {})


def _coordinates(
    layout: Layout, embedding: np.ndarray, warnings: list[str]
) -> dict[str, list[float]]:
    xyz = layout.project_3d(_finite(embedding, "the embedding", warnings))
    return {name: _rounded(xyz[:, i]) for i, name in enumerate("xyz")}


def _top(batch: Arrays, network: str, pos: int, warnings: list[str]) -> list[list]:
    shares = _finite(batch[f"{network}_top_p"][pos], f"the {network}'s probabilities", warnings)
    return [[int(c), round(float(p), 4)] for c, p in zip(batch[f"{network}_top"][pos], shares)]


def _rounded(values: np.ndarray) -> list:
    return np.round(values.astype(np.float64), 4).tolist()


def _finite(values: np.ndarray, label: str, warnings: list[str]) -> np.ndarray:
    """The values as f32; non-finite ones become 0 and are reported in `warnings`."""
    values = np.asarray(values, np.float32)
    invalid = int((~np.isfinite(values)).sum())
    if invalid:
        warnings.append(f"Values of {label} that were not numbers, shown as 0: {invalid:,}.")
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return values
