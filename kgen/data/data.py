"""Real images for evaluation, and for training teachers. Distillation itself never reads them.

Fashion-MNIST's 10,000 test images ship in `assets/`. Its training images come from Debian's package
`dataset-fashion-mnist`, from a folder, or, only on request, from torchvision's download. Test
images of the paper's other data sets are read from where the user put them (see
`kgen.data.catalogue`); nothing is downloaded.
"""

from __future__ import annotations

import functools
import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kgen.data import catalogue, class_folders, classes, folders, listing
from kgen.data.class_folders import FolderReport
from kgen.data.folders import (
    MARGIN,
    ImageFiles,
    Progress,
    ignore_progress,
    list_images,
)
from kgen.data.folders import DataError as DataError
from kgen.events import TeacherCard
from kgen.system import paths

SYSTEM_FOLDERS = (Path("/usr/share/datasets/fashion-mnist"),)
IMAGES_PER_REPORT = 50
SMALL_SIDE = 64
"""For teachers of up to this side, in pixels, no margin is cropped off: in data sets like MNIST and
CIFAR, the object fills the frame."""
HOLDOUT = 5_000
"""Training images held out from all bundled teachers; recipes are tuned on them."""

FASHION_CLASSES = classes.names("fashion-mnist")


@dataclass(frozen=True)
class RealImages:
    """Images u8 [n,c,h,w] (image files are decoded on access), labels i64 [n], and class names."""

    name: str
    images: np.ndarray | ImageFiles
    labels: np.ndarray
    classes: tuple[str, ...]
    report: FolderReport | None = None
    """What was found in the user's own folder."""
    positions: np.ndarray | None = None
    """Which images of the whole set these are; None for all of them."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """File → why it cannot be read. Shared by all selections; grows as images are decoded."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray, on_progress: Progress = ignore_progress) -> RealImages:
        """Some of the images. If they are few enough to be decoded now, files that cannot be read
        are left out.
        """
        index = np.arange(len(self))[index]
        if not isinstance(self.images, ImageFiles):
            return self._select(self.images[index], index)
        if len(index) * math.prod(self.images.shape[1:]) > folders.MAX_DECODED_BYTES:
            return self._select(self.images.select(index), index)
        parts, kept = [np.empty((0, *self.images.shape[1:]), np.uint8)], [index[:0]]
        for first in range(0, len(index), IMAGES_PER_REPORT):
            on_progress(first, len(index))
            part = index[first : first + IMAGES_PER_REPORT]
            images, readable = self.read(part)
            parts.append(images)
            kept.append(part[readable])
        return self._select(np.concatenate(parts), np.concatenate(kept))

    def _select(self, images: np.ndarray | ImageFiles, index: np.ndarray) -> RealImages:
        positions = index if self.positions is None else self.positions[index]
        return replace(self, images=images, labels=self.labels[index], positions=positions)

    def read(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images u8 [m,c,h,w] and their positions in `index` [m], without files that cannot be
        read.
        """
        if isinstance(self.images, ImageFiles):
            return self.images.read(index, self.unreadable)
        return self.images[index], np.arange(len(index))

    def stratified(
        self,
        n: int,
        selected: tuple[int, ...] | None = None,
        seed: int = 0,
        on_progress: Progress = ignore_progress,
    ) -> RealImages:
        """A fixed subset of about `n` images with equal shares of the selected classes.

        All classes by default; if n is smaller than their number, one image each of n classes.
        """
        selected = tuple(range(len(self.classes))) if selected is None else selected
        rng = np.random.default_rng(seed)
        if n < len(selected):  # one image each of some classes
            selected = tuple(np.sort(rng.permutation(selected)[:n]).tolist())
        share = max(1, n // len(selected))
        indices = [rng.permutation(np.flatnonzero(self.labels == c))[:share] for c in selected]
        return self.take(np.sort(np.concatenate(indices)), on_progress)


def _read_idx(path: Path) -> np.ndarray:
    """Read an IDX file, gzipped or not (MNIST's format: big-endian header, then u8)."""
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if path.suffix == ".gz" else raw
        rank = data[3]
        shape = np.frombuffer(data, ">i4", rank, 4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, zlib.error, IndexError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); download the data set again.",
            code="damaged",
            file=str(path),
        ) from None


def _fashion(folder: Path, prefix: str) -> RealImages:
    found = idx("fashion-mnist", folder, prefix)
    if found is None:
        raise DataError(
            f"{folder} has no {prefix}-images-idx3-ubyte.gz and {prefix}-labels-idx1-ubyte.gz: it"
            " is not a copy of Fashion-MNIST.",
            code="no-images",
            file=str(folder),
        )
    return found


def idx(name: str, folder: Path, prefix: str) -> RealImages | None:
    """Images and labels of a split ("train", "t10k") in MNIST's layout.

    None if either of the two files is missing.
    """

    def read(kind: str) -> np.ndarray | None:
        files = (folder / f"{prefix}-{kind}-ubyte{suffix}" for suffix in (".gz", ""))
        return next((_read_idx(file) for file in files if file.is_file()), None)

    images, labels = read("images-idx3"), read("labels-idx1")
    if images is None or labels is None:
        return None
    if images.ndim != 3 or len(images) != len(labels):
        raise DataError(
            f"{folder}: {images.shape} images but {len(labels)} labels; download it again.",
            code="damaged",
            file=str(folder),
            images=len(images),
            labels=len(labels),
        )
    return RealImages(name, images[:, None].copy(), labels.astype(np.int64), classes.names(name))


def _mnist(folder: Path, train: bool = False, download: bool = False) -> RealImages:
    """From the location used by `kgen data add`, or by torchvision."""
    from torchvision.datasets import MNIST

    if download:
        MNIST(str(folder), train=train, download=True)
    prefix = "train" if train else "t10k"
    found = idx("mnist", folder, prefix) or idx("mnist", folder / "MNIST" / "raw", prefix)
    if found is None:
        raise DataError(
            catalogue.data_instructions("mnist", f"no {prefix}-images-idx3-ubyte.gz in {folder}"),
            code="no-data",
            name="mnist",
        )
    return found


def _cifar(name: str, folder: Path, train: bool = False, download: bool = False) -> RealImages:
    """Test or training images in torchvision's layout.

    These are pickles, which torchvision reads only if their checksums match the published ones.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    try:
        found = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name](
            str(folder), train=train, download=download
        )
    except RuntimeError:
        raise DataError(
            catalogue.data_instructions(name, f"no complete copy in {folder}"),
            code="no-data",
            name=name,
        ) from None
    except OSError as error:  # includes failed downloads
        raise DataError(
            catalogue.data_instructions(
                name, f"{folder}: {getattr(error, 'reason', None) or error.strerror or error}"
            ),
            code="no-data",
            name=name,
        ) from None
    images = np.ascontiguousarray(found.data.transpose(0, 3, 1, 2))
    return RealImages(name, images, np.array(found.targets, dtype=np.int64), classes.names(name))


def _from_folder(
    name: str, folder: Path, train: bool = False, side: int | None = None
) -> RealImages:
    """Test or training images from one subfolder per class, resized to `side` pixels.

    Subfolders are named by class text or WordNet ID.
    """
    facts, texts = catalogue.DATA[name], classes.names(name)
    candidates = facts.train_folders if train else facts.test_folders
    root = next((folder / p for p in candidates if (folder / p).is_dir()), None)
    if root is None:
        raise DataError(
            catalogue.data_instructions(name, f"no folder {folder / candidates[0]}"),
            code="no-data",
            name=name,
        )
    wnids = classes.wnids(name)
    folder_names: list[tuple[str, ...]] = (
        list(zip(wnids, texts)) if wnids else [(t,) for t in texts]
    )
    try:
        paths, labels = list_images(root, folder_names)
    except ValueError as error:
        raise DataError(
            catalogue.data_instructions(name, str(error)),
            code="no-data",
            name=name,
        ) from None
    size = facts.size if side in (None, facts.side) else (side, side)
    return RealImages(
        name,
        ImageFiles(paths, facts.channels, size, facts.crop, 1.0 if train else MARGIN),
        labels,
        texts,
    )


def held_out_photographs(selected: Sequence[int], side: int) -> RealImages | None:
    """Imagenette and Imagewoof photographs that no ImageNet network was trained on.

    None if a selected class has none. Both sets, including their validation folders, consist of
    ImageNet's *training* images, except for the files named ILSVRC2012_val_*. `selected` are
    ImageNet labels.
    """
    wnids = classes.wnids("imagenet1k") or ()
    sets = [
        (catalogue.DATA[name], catalogue.data_folder(name)) for name in ("imagenette", "imagewoof")
    ]
    folders = [
        folder / subfolder
        for facts, folder in sets
        for subfolder in (*facts.test_folders, *facts.train_folders)
    ]
    found = {
        c: [
            path
            for subfolder in folders
            for path in sorted((subfolder / wnids[c]).glob("ILSVRC2012_val_*"))
        ]
        for c in selected
    }
    if not found or not all(found.values()):
        return None
    labels = np.repeat(
        np.array(list(found), dtype=np.int64), [len(paths) for paths in found.values()]
    )
    files = ImageFiles(
        [path for paths in found.values() for path in paths], 3, (side, side), crop=True
    )
    return RealImages("held-out photographs", files, labels, classes.names("imagenet1k"))


def images_for_teacher(card: TeacherCard, selected: Sequence[int] = ()) -> RealImages:
    """Real test images of a teacher's data set at the teacher's side.

    Raises DataError with instructions if they are missing. For ImageNet, `held_out_photographs` are
    used instead if they cover all `selected` classes.
    """
    try:
        return test_set(card.data, side=card.side)
    except DataError:
        substitute = (
            held_out_photographs(selected, card.side) if card.data == "imagenet1k" else None
        )
        if substitute is None:
            raise
        return substitute


def image_folder(
    folder: str | Path,
    names: tuple[str, ...],
    card: TeacherCard,
    selected: tuple[int, ...],
    on_progress: Progress = ignore_progress,
) -> RealImages:
    """The user's own test images, scaled and center-cropped: a folder or ZIP file with one
    subfolder per class (see `kgen.data.class_folders.match`).

    For teachers of up to SMALL_SIDE pixels, the short side is scaled to the teacher's, so an image
    of the teacher's size is used as it is; larger photographs lose their margin first.

    All headers are checked; images that cannot be read are left out and named in the report.
    Raises DataError if there is no image of a selected class.
    """
    path = Path(paths.typed_path(str(folder)))
    files, labels, report = class_folders.match(listing.list_files(path), names, selected)
    for i, reason in reversed(folders.check_headers(files, on_progress).items()):
        report.unreadable[str(files[i])] = reason
        del files[i], labels[i]
    report.recount(names[label] for label in labels)
    if not files:
        unreadable, _ = class_folders.unreadable_remark(report.unreadable, report.source)
        raise DataError(
            f"{unreadable} No images are left in {path}.",
            code="no-images",
            file=str(path),
        )
    return RealImages(
        path.name,
        ImageFiles(
            files,
            card.channels,
            (card.side, card.side),
            crop=True,
            margin=1.0 if card.side <= SMALL_SIDE else MARGIN,
        ),
        np.array(labels, dtype=np.int64),
        names,
        report,
        unreadable=report.unreadable,
    )


@functools.cache
def test_set(name: str, folder: Path | None = None, side: int | None = None) -> RealImages:
    """The real test images of a data set. Raises DataError with instructions if they are missing.

    `folder`: their location, if not the one of `kgen.data.catalogue`. `side`: of the images, if not
    the data set's own.
    """
    if name == "fashion-mnist":
        return _fashion(paths.ASSETS / "fashion-mnist", "t10k")
    if name not in catalogue.DATA:
        raise DataError(
            f"Unknown data set {name!r}; test images are known for: fashion-mnist,"
            f" {', '.join(catalogue.DATA)}.",
            code="unknown-data",
            name=name,
        )
    folder = folder or catalogue.data_folder(name)
    if name == "mnist":
        return _mnist(folder)
    return _cifar(name, folder) if _pickled(name, folder) else _from_folder(name, folder, side=side)


def _pickled(name: str, folder: Path) -> bool:
    """Whether a data set is read as torchvision's pickles; CIFAR can also be stored as image
    folders.
    """
    return name.startswith("cifar") and not any(
        (folder / part).is_dir() for part in ("test", "train")
    )


def images_for_run(
    folder: str | None,
    card: TeacherCard,
    names: tuple[str, ...],
    selected: tuple[int, ...],
    on_progress: Progress = ignore_progress,
) -> RealImages:
    """The real test images for evaluating a finished student.

    From the user's folder if given, otherwise from the teacher's data set. Raises DataError.
    """
    if folder is not None:
        return image_folder(folder, names, card, selected, on_progress)
    if card.data is None:
        raise DataError(
            f"No real test images are known for {card.title}; specify a folder with one subfolder"
            " per class: --real FOLDER.",
            code="unknown-data",
            name=card.title,
        )
    try:
        return images_for_teacher(card, selected)
    except DataError as error:
        raise DataError(
            f"{error} Or specify your own folder, one subfolder per class: --real FOLDER.",
            code=error.code,
            **error.fields,
        ) from None


def training_set(
    name: str, folder: str | Path | None = None, download: bool = False, side: int | None = None
) -> RealImages:
    """The full real training split (for `kgen teach` and `kgen worth`).

    Downloads only if `download` is True. `side` as in `test_set`.
    """
    if download and not folder:
        paths.writable_home()
    if name in catalogue.DATA:
        location = Path(folder or catalogue.data_folder(name))
        if name == "mnist":
            return _mnist(location, True, download)
        return (
            _cifar(name, location, True, download)
            if _pickled(name, location)
            else _from_folder(name, location, True, side)
        )
    if name != "fashion-mnist":
        raise DataError(
            f"Unknown data set {name!r}; training images are known for: fashion-mnist,"
            f" {', '.join(catalogue.DATA)}.",
            code="unknown-data",
            name=name,
        )
    if folder and Path(folder).is_dir():
        return _fashion(Path(folder), "train")
    for location in () if folder else (catalogue.data_folder(name), *SYSTEM_FOLDERS):
        if found := idx(name, location, "train"):
            return found
    if download:
        from torchvision.datasets import FashionMNIST

        root = Path(folder or paths.home())
        FashionMNIST(str(root), train=True, download=True)
        return _fashion(root / "FashionMNIST" / "raw", "train")
    raise DataError(
        "Fashion-MNIST's training images are not on this machine"
        + (f" (looked in {folder})" if folder else "")
        + ": install Debian's package dataset-fashion-mnist, set a folder with --data, or allow"
        " the download with --download (30 MB).",
        code="no-data",
        name="fashion-mnist",
    )


def split(train: RealImages, seed: int = 0) -> tuple[RealImages, RealImages]:
    """Split training images into the teacher's part and a held-out part of HOLDOUT images.

    The split is the same on every machine. DataError for a data set without held-out images.
    """
    if train.name in catalogue.DATA:
        raise DataError(
            f"Teachers for {train.name} are trained on all of its training images, so none are held"
            " out; evaluate on its test images (in a recipe: set evaluate_on to 'test').",
            code="no-held-out",
            name=train.name,
        )
    order = np.random.default_rng(seed).permutation(len(train))
    return train.take(np.sort(order[HOLDOUT:])), train.take(np.sort(order[:HOLDOUT]))
