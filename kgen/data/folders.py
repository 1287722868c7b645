"""A folder of image files, one subfolder a class, as an array whose images are decoded when they
are asked for.

Fifty thousand images of ImageNet are 7.5 GB of pixels: a run wants 2,000 of them and an evaluation
500 at a time. It knows no data set; `kgen.data.data` says where one lies and how large its images
are.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kgen.errors import KGenError

SUFFIXES = (".png", ".jpg", ".jpeg")
SELECTION = 2**29
"""Bytes of pixels up to which a selection of images is decoded at once; a larger one stays files.
"""
MARGIN = 256 / 224
"""Short side of a photograph before the crop, over the crop's side, as networks for ImageNet are
tested.
"""


class DataError(KGenError, ValueError):
    """Real data is missing or is not what it should be; the message says what to do."""

    code = "data"


class ImageFiles:
    """Images as u8 [n,c,h,w], read like NumPy: `files[3]`, `files[10:20]` and small selections are
    decoded arrays.

    Args:
        paths: the files.
        channels: 1 (grey) or 3 (RGB).
        size: height and width that each image is brought to.
        crop: keep the proportions, scale to `margin`, and cut out the middle; otherwise stretch.
        margin: short side before the crop, over the crop's side.
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

    def __getitem__(self, index) -> np.ndarray | ImageFiles:
        """DataError for a file that is no image."""
        wanted = np.arange(len(self.paths))[index]
        if wanted.ndim == 0:
            return self._decode(self.paths[wanted])
        chosen = [self.paths[i] for i in wanted]
        if (
            not isinstance(index, slice)
            and len(chosen) * self.channels * self.size[0] * self.size[1] > SELECTION
        ):
            return ImageFiles(chosen, self.channels, self.size, self.crop, self.margin)
        decoded = np.empty((len(chosen), self.channels, *self.size), np.uint8)
        with ThreadPoolExecutor(
            min(8, os.cpu_count() or 1)
        ) as pool:  # Pillow lets go of the interpreter while it decodes
            for i, image in enumerate(pool.map(self._decode, chosen)):
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
        ) as error:  # Pillow raises OSError, SyntaxError, ValueError, and one of its own for bombs
            raise DataError(
                f"{path} is no image that can be read ({error}); replace it, or take it out of the"
                " folder."
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
    """Which class each subfolder is: {label: its folder}, and the names of those that are none.

    Args:
        classes: names that a class's subfolder may have, in the order of the labels; case, and _ -
            / for a space, do not matter.
    Raises DataError for a folder that is not there, or two that are one class.
    """
    try:
        places = sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read as a folder of images ({error.strerror or error})."
        ) from None
    label_of = {plain(name): label for label, names in enumerate(classes) for name in names}
    known: dict[int, Path] = {}
    for place in places:
        label = label_of.get(plain(place.name))
        if label in known:
            raise DataError(
                f"{place} and {known[label]} are the same class; put their images into one folder."
            )
        if label is not None:
            known[label] = place
    return known, tuple(p.name for p in places if plain(p.name) not in label_of)


def plain(name: str) -> str:
    """T-shirt, t_shirt → "t shirt"."""
    return " ".join(name.casefold().translate(str.maketrans("_-/\\", "    ")).split())


def list_images(folder: Path, classes: list[tuple[str, ...]]) -> tuple[list[Path], np.ndarray]:
    """The image files of each class, sorted by name, and their labels i64 [n].

    Args:
        folder: has one subfolder a class; others are left alone.
        classes: names that a class's subfolder may have, in the order of the labels.
    Raises ValueError naming the first class that has no subfolder or no image.
    """
    paths, labels = [], []
    for label, names in enumerate(classes):
        place = next((folder / n for n in names if (folder / n).is_dir()), None)
        found = image_files(place) if place else []
        if not found:
            wanted = " or ".join(repr(n) for n in names)
            raise ValueError(
                f"{place or folder} has no {'image' if place else f'subfolder {wanted}'}"
            )
        paths += found
        labels += [label] * len(found)
    return paths, np.array(labels, dtype=np.int64)
