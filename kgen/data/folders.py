"""A folder of image files with one subfolder per class, as an array that decodes images on access.

Fifty thousand ImageNet images are 7.5 GB of pixels, while a run needs 2,000 of them and an
evaluation 500 at a time. Independent of data sets: `kgen.data.data` knows their locations and image
sizes.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import overload

import numpy as np

from kgen.errors import KGenError

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_DECODED_BYTES = 2**29
"""A selection with up to this many bytes of pixels is decoded at once; larger ones stay files."""
MARGIN = 256 / 224
"""Short side of a photograph before the center crop, relative to the crop's side, as in the usual
ImageNet evaluation.
"""


class DataError(KGenError, ValueError):
    """Real data is missing or invalid; the message says what to do."""

    code = "data"


class ImageFiles:
    """Images as u8 [n,c,h,w], indexed like NumPy.

    `files[3]`, `files[10:20]` and small selections return decoded arrays.

    Args:
        paths: the files.
        channels: 1 (grayscale) or 3 (RGB).
        size: height and width to which each image is resized.
        crop: keep the aspect ratio, scale to `margin`, and crop the center; otherwise stretch.
        margin: short side before the crop, relative to the crop's side.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        paths: list[Path],
        channels: int,
        size: tuple[int, int],
        crop: bool,
        margin: float = MARGIN,
    ):
        self.paths, self.channels, self.size, self.crop, self.margin = (
            paths,
            channels,
            size,
            crop,
            margin,
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.paths), self.channels, *self.size

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int | slice) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: np.ndarray) -> np.ndarray | ImageFiles: ...

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray | ImageFiles:
        """Raises DataError for a file that is not an image."""
        indices = np.arange(len(self.paths))[index]
        if indices.ndim == 0:
            return self._decode(self.paths[indices])
        paths = [self.paths[i] for i in indices]
        if (
            not isinstance(index, slice)
            and len(paths) * self.channels * self.size[0] * self.size[1] > MAX_DECODED_BYTES
        ):
            return ImageFiles(paths, self.channels, self.size, self.crop, self.margin)
        decoded = np.empty((len(paths), self.channels, *self.size), np.uint8)
        with ThreadPoolExecutor(
            min(8, os.cpu_count() or 1)
        ) as pool:  # Pillow releases the GIL while decoding
            for i, image in enumerate(pool.map(self._decode, paths)):
                decoded[i] = image
        return decoded

    def _decode(self, path: Path) -> np.ndarray:
        """One file → u8 [c,h,w]."""
        from torchvision.datasets.folder import default_loader
        from torchvision.transforms import functional as F

        try:
            image = default_loader(os.fspath(path))
        except (
            Exception
        ) as error:  # Pillow raises OSError, SyntaxError, ValueError and its own types
            raise DataError(
                f"{path} is not a readable image ({error}); replace it, or remove it from the"
                " folder.",
                code="not-an-image",
                file=str(path),
            ) from None
        if self.channels == 1:
            image = F.rgb_to_grayscale(image)
        height, width = self.size
        if self.crop:
            scale = max(height * self.margin / image.height, width * self.margin / image.width)
            image = F.center_crop(
                F.resize(image, [round(image.height * scale), round(image.width * scale)]),
                [height, width],
            )
        elif image.size != (width, height):
            image = F.resize(image, [height, width])
        return F.pil_to_tensor(image).numpy()


def image_files(folder: Path) -> list[Path]:
    """Every image below a folder, sorted by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def match_folders(
    folder: Path, classes: list[tuple[str, ...]]
) -> tuple[dict[int, Path], tuple[str, ...]]:
    """Match subfolders to classes: {label: its folder}, and the names of unmatched subfolders.

    Args:
        classes: accepted names of each class's subfolder, in the order of the labels; case does not
            matter, and _ - / count as spaces.
    Raises DataError for a missing folder, or if two subfolders match the same class.
    """
    try:
        subfolders = sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read as a folder of images ({error.strerror or error}).",
            code="unreadable",
            file=str(folder),
        ) from None
    label_of = {
        normalize_name(name): label for label, names in enumerate(classes) for name in names
    }
    matched: dict[int, Path] = {}
    for subfolder in subfolders:
        label = label_of.get(normalize_name(subfolder.name))
        if label in matched:
            raise DataError(
                f"{subfolder} and {matched[label]} are the same class; put their images into one"
                " folder.",
                code="duplicate-class",
                file=str(subfolder),
            )
        if label is not None:
            matched[label] = subfolder
    return matched, tuple(p.name for p in subfolders if normalize_name(p.name) not in label_of)


def normalize_name(name: str) -> str:
    """T-shirt, t_shirt → "t shirt"."""
    return " ".join(name.casefold().translate(str.maketrans("_-/\\", "    ")).split())


def list_images(folder: Path, classes: list[tuple[str, ...]]) -> tuple[list[Path], np.ndarray]:
    """The image files of each class, sorted by name, and their labels i64 [n].

    Args:
        folder: has one subfolder per class; other subfolders are ignored.
        classes: accepted names of each class's subfolder, in the order of the labels.
    Raises ValueError naming the first class without a subfolder or an image.
    """
    paths, labels = [], []
    for label, names in enumerate(classes):
        subfolder = next((folder / n for n in names if (folder / n).is_dir()), None)
        files = image_files(subfolder) if subfolder else []
        if not files:
            expected = " or ".join(repr(n) for n in names)
            raise ValueError(
                f"{subfolder or folder} has no {'image' if subfolder else f'subfolder {expected}'}"
            )
        paths += files
        labels += [label] * len(files)
    return paths, np.array(labels, dtype=np.int64)
