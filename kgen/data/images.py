"""One image file as a viewer shows it: upright, eight bits, on white.

The only module of `kgen` that uses Pillow. It knows nothing about folders, classes, or data sets.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import IO, Literal, Protocol

import numpy as np
from PIL import Image, features

from kgen.errors import KGenError

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".jp2": "JPEG2000",
    ".avif": "AVIF",
}
"""Suffix → Pillow's name of its format. The contents may be any of these formats."""
_OPTIONAL = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
"""Formats that some builds of Pillow lack, with the feature that they need."""
_ELSEWHERE = (".heic", ".heif", ".jxl", ".svg", ".psd", ".dng", ".nef", ".cr2", ".cr3", ".arw")
"""Suffixes of common image formats that Pillow cannot read."""
MAX_PIXELS = 89_478_485
"""Limit on the pixels of a decoded image (268 MB as RGB); Pillow's own default for a warning."""
MAX_FILE_BYTES = 2**28
MAX_BYTES_AT_ONCE = 2**28
"""Limit on the estimated memory of all images that are read at the same time, and on the files that
are open; a single one may exceed it.
"""
BYTES_PER_PIXEL = 12
"""While an image is decoded, turned, and converted; Pillow stores RGB in 4 bytes."""
BYTES_PER_PROGRESSIVE_PIXEL = 6
"""A progressive JPEG is also kept as coefficients, at its full size."""
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → the operation that turns the image upright."""
_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND"}
"""First bytes of a format → bytes that are near its end unless the file was cut short."""
_TAIL_BYTES = 2**14
_NOT_IMAGES = (
    (b"version https://git-lfs", "a Git LFS pointer instead of the image; run git lfs pull"),
    (b"<!doctype", "a web page instead of an image"),
    (b"<html", "a web page instead of an image"),
    (b"%pdf", "a PDF instead of an image"),
)
"""What image files often turn out to be: their first bytes in lowercase, and a description."""


class DataError(KGenError, ValueError):
    """Real data is missing or invalid; the message says what to do."""

    code = "data"


class ImageSource(Protocol):
    """A file, or a file in a ZIP file; `str()` names it for people."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    def open(self, mode: Literal["rb"], /) -> IO[bytes]: ...

    def stat(self) -> _Sized: ...


class _Sized(Protocol):
    @property
    def st_size(self) -> int: ...


class _Budget:
    """Bytes that all threads together may use; each waits until its share is free."""

    def __init__(self, total: int):
        self._total, self._used = total, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def share(self, wanted: int) -> Iterator[None]:
        """A request for more than the total gets the whole budget and runs alone."""
        wanted = min(wanted, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._used + wanted <= self._total)
            self._used += wanted
        try:
            yield
        finally:
            with self._changed:
                self._used -= wanted
                self._changed.notify_all()


_files, _pixels = _Budget(MAX_BYTES_AT_ONCE), _Budget(MAX_BYTES_AT_ONCE)


class Unreadable(Exception):
    """Why an image cannot be shown; without paths, which may be private."""


@functools.cache
def suffixes() -> tuple[str, ...]:
    """Suffixes of the images that can be read with this Pillow, in lowercase."""
    supported = set(features.get_supported())
    return tuple(
        suffix
        for suffix, format in _FORMATS.items()
        if _OPTIONAL.get(format) is None or _OPTIONAL[format] in supported
    )


@functools.cache
def _formats() -> tuple[str, ...]:
    """Pillow's names of the formats that it may try."""
    return tuple(sorted({_FORMATS[suffix] for suffix in suffixes()}))


def is_image(name: str) -> bool:
    """Whether a file with this name can be read."""
    return name.lower().endswith(suffixes())


def is_unsupported_image(name: str) -> bool:
    """Whether people would call a file with this name an image, although it cannot be read."""
    return name.lower().endswith((*_FORMATS, *_ELSEWHERE)) and not is_image(name)


def decode(
    source: ImageSource, channels: int, size: tuple[int, int], *, crop: bool, margin: float
) -> np.ndarray:
    """One image as u8 [c,h,w]. Raises DataError for a file that cannot be shown.

    Args:
        channels: 1 (grayscale) or 3 (RGB).
        size: height and width.
        crop: keep the aspect ratio, scale to `margin` times the size, and crop the center;
            otherwise stretch.
    """
    height, width = size
    try:
        at_least = round(2 * margin * max(size))
        with _opened(source, at_least) as (image, needed), _pixels.share(needed):
            image = _upright(image)
            box = _center_box(image.size, (width, height), margin) if crop else None
            if box or image.size != (width, height):  # first: the rest is then cheap
                image = image.resize((width, height), Image.Resampling.BILINEAR, box)
            pixels = np.asarray(_on_white(image, "L" if channels == 1 else "RGB"))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and its own types
        reason = _reason(source, error)  # opens the file again
        raise DataError(
            f"{source} is not a readable image ({reason}); replace it, or remove it from the"
            " folder.",
            code="not-an-image",
            file=str(source),
            reason=reason,
        ) from None
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def problem(source: ImageSource) -> str | None:
    """Why an image cannot be read, according to its header; None if it can.

    Decodes a file only if it does not end as its format requires.
    """
    try:
        with _opened(source, at_least=256) as (image, needed):
            if not _ends_properly(source):
                with _pixels.share(needed):
                    image.load()
    except Exception as error:  # as in `decode`
        return _reason(source, error)
    return None


@contextlib.contextmanager
def _opened(source: ImageSource, at_least: int) -> Iterator[tuple[Image.Image, int]]:
    """An image, not decoded yet, if it is within the limits, and the bytes that decoding it needs.

    `at_least`: pixels per side that are needed; a larger JPEG is decoded at a fraction of its size.
    """
    with (
        _files.share(source.stat().st_size),  # some formats are read as a whole
        source.open("rb") as stream,
        Image.open(stream, formats=_formats()) as image,
    ):
        stored = image.width * image.height
        image.draft(None, (at_least, at_least))
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise Image.DecompressionBombError
        coefficients = stored if image.info.get("progressive") else 0
        yield image, pixels * BYTES_PER_PIXEL + coefficients * BYTES_PER_PROGRESSIVE_PIXEL


def _upright(image: Image.Image) -> Image.Image:
    """The image as a viewer turns it, as L, RGB, or RGBA."""
    is_tiff = image.format == "TIFF"
    image.load()
    with contextlib.suppress(Exception):  # viewers ignore damaged EXIF data
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
        image = image if turn is None else image.transpose(turn)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return _eight_bits(np.asarray(image), has_no_white=is_tiff and image.mode == "I")
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "RGBA":
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image).convert("RGB")
    return image.convert(mode)


def _eight_bits(values: np.ndarray, has_no_white: bool) -> Image.Image:
    """16-bit integers, or floating-point values in [0,1], as 8 bits.

    `has_no_white`: 32-bit integers, which hold 16 bits in some files and 8 in others.
    """
    low, high = float(values.min()), float(values.max())
    top = 1.0 if values.dtype.kind == "f" else 65_535.0
    is_ambiguous = has_no_white and high <= 255
    if is_ambiguous or not (low >= 0 and high <= top):  # also false for NaN
        kind = " as 32-bit integers" if has_no_white else ""
        raise Unreadable(
            f"its values range from {low:g} to {high:g}{kind}; save it with 8 or 16 bits"
        )
    scaled = np.multiply(values, 255 / top, dtype=np.float32)
    return Image.fromarray(np.round(scaled, out=scaled).astype(np.uint8))


def _center_box(
    image: tuple[int, int], target: tuple[int, int], margin: float
) -> tuple[float, float, float, float]:
    """The part of an image that scaling to `margin` and cropping the center would leave.

    All sizes are width and height. Only this part is scaled, so a narrow strip costs no memory.
    """
    scale = max(margin * side / length for side, length in zip(target, image))
    scaled = [max(side, round(length * scale)) for side, length in zip(target, image)]
    first = [round((full - side) / 2) for full, side in zip(scaled, target)]
    left, top = (start * length / full for start, length, full in zip(first, image, scaled))
    right, bottom = (
        min(length, (start + side) * length / full)
        for start, side, length, full in zip(first, target, image, scaled)
    )
    return left, top, right, bottom


def _ends_properly(source: ImageSource) -> bool:
    with source.open("rb") as stream:
        start = stream.read(4)
        ending = next((end for magic, end in _ENDS.items() if start.startswith(magic)), b"")
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - _TAIL_BYTES))
        return ending in stream.read()


def _reason(source: ImageSource, error: Exception) -> str:
    """Why an image cannot be shown, in a few words."""
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, OSError) and error.strerror:  # its text would also contain the path
        return error.strerror
    if isinstance(error, (Image.DecompressionBombError, MemoryError)):
        return f"more than {MAX_PIXELS // 10**6} million pixels"
    try:
        with source.open("rb") as stream:
            start = stream.read(64)
    except Exception as failure:  # OSError, Unreadable, or too little memory
        return getattr(failure, "strerror", None) or str(failure)
    if not start:
        return "the file is empty"
    if start[4:11] in (b"ftyphei", b"ftyphev", b"ftypmif"):
        return "a HEIC image; save it as JPEG or PNG"
    found = next(
        (what for magic, what in _NOT_IMAGES if start.lower().lstrip().startswith(magic)), None
    )
    if found:
        return found
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if "truncated" in str(error).lower():
        return "the file is truncated"
    return str(error).split("\n")[0][:100].rstrip(".") or type(error).__name__
