"""Real data sets on this machine: which exist, what accuracy on them means, and how to add one.

Nothing is downloaded unless requested. A data set is stored in `kgen.data.catalogue.data_folder`:
one subfolder per class in `train` and `test`, or as torchvision unpacks it. `kgen.data.data` reads
it; this module writes it, completely or not at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kgen.data import catalogue, classes, data, images, listing
from kgen.data.class_folders import Places
from kgen.data.folders import DataError
from kgen.data.images import Unreadable
from kgen.phrases import closest, did_you_mean
from kgen.system import connection
from kgen.system.files import portable_name
from kgen.system.paths import writable_home

MAX_IMAGE_BYTES = 64 << 20
"""Size limit of an image file in bytes."""
CHECK_SIZE = (32, 32)
"""Size to which an image is decoded to find out whether it can be read."""
IDX = re.compile(r"(?:.*-)?(train|t10k)-(images-idx3|labels-idx1)-ubyte(\.gz)?$")

IDX_SETS = ("fashion-mnist", "mnist")
"""Data sets stored as two files per split rather than as folders."""


@dataclass(frozen=True)
class Card:
    """What is known about a data set before it is downloaded."""

    name: str
    title: str
    license: str
    honest: str
    """What accuracy on it means, and for which teachers."""
    source: str
    """Its source, and the size of the download."""


_IMAGENET = "ImageNet's terms (non-commercial research)"
_SUBSET = (
    "A fair test of teachers trained on its own training images. All of its photos, including the"
    " validation photos, are ImageNet training images, except for the files named"
    " ILSVRC2012_val_*: for a teacher trained on ImageNet, only those are used."
)
_OWN = "A fair test of any teacher that was not trained on its test images."
CARDS = {
    card.name: card
    for card in (
        Card(
            "fashion-mnist",
            "Fashion-MNIST",
            "MIT",
            "The test images are bundled; no teacher or student was trained on them.",
            "torchvision, 30 MB, or Debian's dataset-fashion-mnist",
        ),
        Card(
            "cifar10",
            "CIFAR-10",
            "none stated; published for research",
            _OWN,
            "torchvision, 170 MB",
        ),
        Card(
            "cifar100",
            "CIFAR-100",
            "none stated; published for research",
            _OWN,
            "torchvision, 169 MB",
        ),
        Card("mnist", "MNIST", "none stated; published for research", _OWN, "torchvision, 12 MB"),
        Card(
            "tiny-imagenet",
            "Tiny ImageNet",
            _IMAGENET,
            "A fair test of teachers trained on its own training images, which come from ImageNet.",
            "cs231n.stanford.edu, 248 MB",
        ),
        Card("imagenette", "Imagenette", _IMAGENET, _SUBSET, "torchvision, 1.6 GB (160 px: 99 MB)"),
        Card("imagewoof", "Imagewoof", _IMAGENET, _SUBSET, "fast.ai, 1.3 GB"),
        Card(
            "imagenet1k",
            "ImageNet-1k",
            _IMAGENET,
            "A fair test of networks trained on ImageNet, measured on its validation images.",
            "image-net.org, account required",
        ),
    )
}
"""Data set → its card; the first is bundled."""


@dataclass
class Installed:
    """A data set on this machine: images per split, or why it cannot be read."""

    card: Card
    train: int = 0
    test: int = 0
    missing: str = ""

    def to_json(self) -> dict:
        return {**vars(self.card), "train": self.train, "test": self.test, "missing": self.missing}


@dataclass
class AddedImages:
    """What `add` copied, and what it skipped."""

    folder: Path
    train: Counter = field(default_factory=Counter)
    """Class → images."""
    test: Counter = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    unknown: Counter = field(default_factory=Counter)
    """Folder that matches no class → images."""


def card(name: str) -> Card:
    """The card of a data set; DataError if it is unknown."""
    if name not in CARDS:
        raise DataError(
            f"Unknown data set {name!r}."
            f" {did_you_mean(name, list(CARDS), 'python -m kgen data list')}",
            code="unknown-data",
            name=name,
            meant=closest(name, list(CARDS)),
        )
    return CARDS[name]


def installed(name: str) -> Installed:
    """What is on this machine; image files are counted, not opened."""
    status = Installed(card(name))
    for split, read in (("train", data.training_set), ("test", data.test_set)):
        try:
            setattr(status, split, len(read(name)))
        except DataError as error:
            status.missing = status.missing or str(error)
    return status


def check(name: str) -> Iterator[tuple[str, int, int, str]]:
    """Decode every image.

    Yields (split, images checked, images in total, problem with the latest one or "").
    """
    card(name)
    checked = 0
    for split, read in (("train", data.training_set), ("test", data.test_set)):
        try:
            real = read(name)
        except DataError:
            continue
        checked += len(real)
        for i in range(len(real)):
            try:
                real.images[i]
                yield split, i + 1, len(real), ""
            except DataError as error:
                yield split, i + 1, len(real), str(error)
    if not checked:
        raise DataError(
            installed(name).missing,
            code="no-data",
            name=name,
        )


def add(
    name: str, source: Path, split: str = "test", replace: bool = False
) -> Iterator[tuple[int, int] | AddedImages]:
    """Copy a folder or ZIP with class subfolders to the data set's location.

    Yields (files done, files in total), then `AddedImages`. Subfolders are named after the class or
    its WordNet ID, at any depth; another folder named train, val or test determines the split,
    otherwise it is `split`. Files that are not images are skipped and reported. Raises DataError if
    there is no image of the data set, and then leaves the location unchanged.
    """
    card(name)
    folder = catalogue.data_folder(name)
    if folder.exists() and not replace:
        raise DataError(
            f"{folder} already exists; pass --replace to replace it.",
            code="exists",
            file=str(folder),
        )
    found = _list(source)
    places = Places(found, classes.names(name))
    writable_home()
    staging = folder.parent / f".adding-{secrets.token_hex(6)}"
    added = AddedImages(folder)
    try:
        staging.mkdir(parents=True)
        for i, (parts, file) in enumerate(found.files):
            _copy_image(name, PurePosixPath(*parts), file, places, staging, split, added)
            yield i + 1, len(found.files)
        if name in IDX_SETS:
            for prefix, counts in (("train", added.train), ("t10k", added.test)):
                if real := data.idx(name, staging, prefix):
                    counts.update(real.classes[label] for label in real.labels.tolist())
            if not added.train and not added.test:
                raise DataError(
                    f"{source} has no {CARDS[name].title} images and labels: expected files"
                    " named train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, and the same"
                    " for t10k.",
                    code="no-images",
                    file=str(source),
                )
        if not any(staging.iterdir()):
            examples = ", ".join(list(added.unknown)[:3]) or "none"
            raise DataError(
                f"{source} has no {CARDS[name].title} images: expected one subfolder per class,"
                f" named like {classes.names(name)[0]!r} or by WordNet ID; found: {examples}.",
                code="no-images",
                file=str(source),
                found=examples,
            )
        _put_in_place(staging, folder)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}.",
            code="unwritable",
            file=str(error.filename or folder),
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    data.test_set.cache_clear()
    yield added


def get(name: str) -> None:
    """Download through torchvision, which shows its own progress and verifies the files.

    Raises DataError if that is not possible.
    """
    card(name)
    writable_home()
    folder = catalogue.data_folder(name)
    try:
        if name == "imagenette":
            from torchvision.datasets import Imagenette

            Imagenette(str(folder), split="val", size="160px", download=True)
        elif name.startswith("cifar") or name in IDX_SETS:
            data.training_set(name, download=True)
        else:
            raise DataError(
                f"{catalogue.data_instructions(name, 'no automatic download')} Then: python -m kgen"
                f" data add {name} PATH",
                code="no-data",
                name=name,
            )
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            folder.rmdir()  # a failed download leaves it empty
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        advice, facts = connection.explain("https://", error)
        raise DataError(
            f"{CARDS[name].title} could not be downloaded ({reason}). {advice}{' ' * bool(advice)}"
            f"If you have a copy, run python -m kgen data add {name} PATH",
            code="download-failed",
            name=name,
            **facts,
        ) from None


def _put_in_place(staging: Path, folder: Path) -> None:
    """Replace a folder. If that fails, such as on Windows while one of its files is open, the old
    one stays. Raises OSError.
    """
    old = folder.parent / f".replaced-{secrets.token_hex(6)}"
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(staging, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _list(source: Path) -> listing.Listing:
    """Every visible file in a folder or ZIP file."""
    if not source.exists():
        raise DataError(
            f"{source} is neither a folder nor a ZIP file (it does not exist).",
            code="not-a-folder",
            file=str(source),
        )
    return listing.list_files(source)


def _copy_image(
    name: str,
    path: PurePosixPath,
    file: Path | listing.Member,
    places: Places,
    staging: Path,
    split: str,
    added: AddedImages,
) -> None:
    """Store one file in its class's folder, if it is an image of a class.

    Only its base name comes from the source.
    """
    if name in IDX_SETS:
        if found := IDX.match(path.name):
            target = staging / f"{found[1]}-{found[2]}-ubyte{found[3] or ''}"
            _copy(path, file, target, added)
        return
    if not images.is_image(path.name):
        return
    label, found_split = places.of(path.parts[:-1])
    if label is None:
        added.unknown[path.parts[-2] if len(path.parts) > 1 else path.name] += 1
        return
    class_folder = (classes.wnids(name) or classes.names(name))[label]
    image_split = found_split or split
    folder = staging / image_split / class_folder
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / portable_name(path.name)
    if target.exists():
        target = folder / f"{secrets.token_hex(4)}-{target.name}"
    if not _copy(path, file, target, added):
        return
    try:
        images.decode(target, 3, CHECK_SIZE, crop=False, margin=1.0)
    except DataError as error:
        target.unlink(missing_ok=True)
        added.unreadable.append(f"{path} ({error.fields['reason']})")
        return
    (added.train if image_split == "train" else added.test)[class_folder] += 1


def _copy(
    path: PurePosixPath, file: Path | listing.Member, target: Path, added: AddedImages
) -> bool:
    """Copy a file that is small enough to be an image. If it cannot be read, it is added to the
    unreadable ones. Raises OSError if the copy cannot be written.
    """
    try:
        if listing.state(file)[0] > MAX_IMAGE_BYTES:
            raise Unreadable(f"larger than {MAX_IMAGE_BYTES >> 20} MB")
        with file.open("rb") as stream:
            content = stream.read()
    except (OSError, Unreadable) as error:
        reason = getattr(error, "strerror", None) or error
        added.unreadable.append(f"{path} ({reason})")
        return False
    target.write_bytes(content)
    return True
