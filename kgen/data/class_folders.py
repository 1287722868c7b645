"""Which folder holds the images of which class, and a report of what was matched and left out.

Works on names only: it opens no image (`kgen.data.images`) and knows no teacher.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kgen.data import classes, images
from kgen.data.images import DataError
from kgen.data.listing import Listing, Member
from kgen.phrases import count, first_few

TEST = ("test", "testing", "val", "valid", "validation", "eval")
TRAIN = ("train", "training")
"""Folder names that mark the split of their images, preferred ones first."""
SIMILAR = 0.75
"""How similar the name of a folder must be to a class's to be considered a misspelling."""
MAX_COMPARISONS = 20_000
"""Bounds the search for misspellings: with a thousand classes, 20 folders get a suggestion."""
LOOSE = "images outside the subfolders"
"""Stands for images that are in no class's folder."""
NOT_SELECTED = "not selected"
OTHER_SPLIT = "another split; a run uses only one"
EXPECTED = (NOT_SELECTED, OTHER_SPLIT)
"""Reasons that are no surprise, so no remark mentions them."""
Folder = tuple[str, ...]
"""The names of a folder and of those that contain it, below the source."""
_WNID = re.compile(r"(n\d{8})[-_ ]", re.IGNORECASE)
MAX_WRAPPERS = 8
"""How many folders may enclose the one with the classes."""


@dataclass(frozen=True)
class ClassRow:
    """A class and what was found for it."""

    name: str
    folders: tuple[str, ...]
    """Its folders, below the source; empty if there is none, or if its images are in no folder."""
    images: int


@dataclass(frozen=True)
class IgnoredRow:
    """A folder whose images are not used."""

    folder: str
    """Below the source."""
    images: int
    reason: str


@dataclass
class FolderReport:
    """What was done with the files of a folder. Grows when a file turns out to be unreadable."""

    source: str
    split: str = ""
    """The folder of the split whose images are used, below the source; empty without splits."""
    classes: tuple[ClassRow, ...] = ()
    """The selected classes, in their order."""
    ignored: tuple[IgnoredRow, ...] = ()
    unsupported: Counter[str] = field(default_factory=Counter)
    """Suffix → files of a format that cannot be read."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """File → why it cannot be read."""
    closed: tuple[tuple[str, str], ...] = ()
    """(path, reason): folders and links that cannot be opened."""
    mixed: tuple[str, ...] = ()
    """Names of splits that are inside the class folders (`Bag/train`), if one is for training."""

    @property
    def images(self) -> int:
        """Images of the selected classes."""
        return sum(row.images for row in self.classes)

    @property
    def missing(self) -> tuple[str, ...]:
        """Selected classes without an image."""
        return tuple(row.name for row in self.classes if not row.images)

    def recount(self, names: Iterable[str]) -> None:
        """Corrects the numbers of images; `names`: the class of each image that is left."""
        counts = Counter(names)
        self.classes = tuple(replace(row, images=counts[row.name]) for row in self.classes)

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "split": self.split,
            "images": self.images,
            "classes": [vars(row) | {"folders": list(row.folders)} for row in self.classes],
            "ignored": [vars(row) for row in self.ignored],
            "unsupported": dict(self.unsupported),
            "unreadable": [
                {"file": file, "reason": reason} for file, reason in self.unreadable.items()
            ],
            "closed": [{"folder": folder, "reason": reason} for folder, reason in self.closed],
        }

    def remarks(self, *, public: bool = False) -> list[tuple[str, str]]:
        """What may come as a surprise: (a sentence, what to do about it).

        `public`: for the journal of a run, which its viewers can read and which is part of its
        bundle. Paths and the names of folders that are not classes may be private, so they are left
        out.
        """
        found = []
        if self.split and Path(self.split).name.lower() in TRAIN:
            source, split = self.source, self.split
            if public:
                source, split = "The folder of real images", Path(self.split).name
            found.append(
                (
                    f"{source} has no test or val folder with classes, so the images in {split} are"
                    " used. If the teacher was trained on them, its accuracy on them means little.",
                    "Provide images that it was not trained on.",
                )
            )
        if self.mixed:
            found.append(
                (
                    f"The class folders contain folders named {_some(self.mixed)}, and all of their"
                    " images are used. If the teacher was trained on some of them, its accuracy on"
                    " them means little.",
                    "Put the class folders inside the split's folder, as in test/CLASS.",
                )
            )
        strangers = [row for row in self.ignored if row.images and row.reason not in EXPECTED]
        if strangers:
            n = sum(row.images for row in strangers)
            text = (
                f"{count(n, 'real image')} in {count(len(strangers), 'folder')}"
                f" {'is' if n == 1 else 'are'} not used"
            )
            reasons = _some([f"{row.folder} ({row.reason})" for row in strangers])
            remedy = "Name the subfolders after the classes"
            found.append(
                (
                    f"{text}.",
                    f"{remedy}; python -m kgen data check lists those that are not used.",
                )
                if public
                else (f"{text}: {reasons}.", f"{remedy}.")
            )
        if self.missing:
            empty = [row.name for row in self.classes if row.folders and not row.images]
            absent = [name for name in self.missing if name not in empty]
            places = [f"No folder: {_some(absent)}."] if absent else []
            places += [f"Folder without images: {_some(empty)}."] if empty else []
            found.append(
                (
                    f"{len(self.missing)} of {count(len(self.classes), 'selected class')}"
                    f" {'has' if len(self.missing) == 1 else 'have'} no real test images; accuracy"
                    f" covers only the others. {' '.join(places)}",
                    "Add the missing images, or select only the other classes.",
                )
            )
        if self.unsupported:
            kinds = [f"{n:,} {suffix}" for suffix, n in self.unsupported.most_common()]
            found.append(
                (
                    f"Files in a format that cannot be read are left out: {_some(kinds)}.",
                    "Save them as JPEG or PNG.",
                )
            )
        if self.closed and public:
            n = len(self.closed)
            verb = "is" if n == 1 else "are"
            text = f"{count(n, 'folder')} cannot be opened and {verb} left out."
            found.append((text, "python -m kgen data check lists them."))
        elif self.closed:
            places = [f"{folder} ({reason})" for folder, reason in self.closed]
            found.append(
                (
                    f"Folders and links that cannot be opened are left out: {_some(places)}.",
                    "If they contain images that should be used, copy those to another folder.",
                )
            )
        if self.unreadable:
            found.append(unreadable_remark(self.unreadable, None if public else self.source))
        return found


def unreadable_remark(unreadable: dict[str, str], source: str | None = None) -> tuple[str, str]:
    """Names files that cannot be read: (a sentence, what to do about it).

    With `source`, by their path below it; otherwise by their own names, without folders.
    """

    def shown(file: str) -> str:
        return file.removeprefix(source).lstrip("/" + os.sep) if source else Path(file).name

    places = [f"{shown(file)} ({reason})" for file, reason in unreadable.items()]
    verb = "is" if len(places) == 1 else "are"
    return (
        f"{count(len(places), 'real image')} cannot be read and {verb} left out: {_some(places)}.",
        "Replace or remove the named files.",
    )


def normalize_name(name: str) -> str:
    """T-shirt, t_shirt → "t shirt"; also the same letters in another Unicode form."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(text.translate(str.maketrans("_-/\\", "    ")).split())


def is_split(name: str) -> bool:
    """Whether a folder's name says that it contains a split of the images."""
    return normalize_name(name) in (*TEST, *TRAIN)


class Places:
    """The class and the split of any file of a listing, however its folders are arranged."""

    def __init__(self, listing: Listing, names: Sequence[str]):
        self._labels = _Labels(names)
        self._with_classes = self._labels.folders_with_classes(listing)

    def of(self, folder: Folder) -> tuple[int | None, str]:
        """(the label of the innermost class folder, or None; "train", "test", or "" for the
        outermost of the other folders that names a split).
        """
        at = [
            i
            for i, name in enumerate(folder)
            if self._labels.matches(name)
            and (not is_split(name) or folder[:i] in self._with_classes)
        ]
        label = self._labels.find(folder[at[-1]]) if at else None
        others = folder[: at[-1]] + folder[at[-1] + 1 :] if at else folder
        split = next((normalize_name(name) for name in others if is_split(name)), "")
        return label, split and ("train" if split in TRAIN else "test")


def match(
    listing: Listing, names: Sequence[str], selected: Sequence[int]
) -> tuple[list[Path | Member], list[int], FolderReport]:
    """The images of the selected classes, their labels, and what was done with the rest.

    Args:
        listing: a folder or ZIP file with one subfolder per class, also below `train`, `val` or
            `test`, or below a single folder; or with files named like ImageNet's, n01440764_….
        names: all classes of the teacher; a label is a position in it.
        selected: the labels to find.
    Raises DataError if there is no image of a selected class, or if two folders are the same class.
    """
    labels = _Labels(names)
    root, _ = _root(listing, labels, labels.folders_with_classes(listing))
    label_of = labels.of_folders(listing.subfolders(root), "/".join((str(listing.source), *root)))
    wanted = set(selected)
    paths: list[Path | Member] = []
    found: list[int] = []
    counts: Counter[int] = Counter()
    ignored: Counter[str] = Counter()
    unsupported: Counter[str] = Counter()
    splits_inside: set[str] = set()
    for parts, file in listing.below(root):
        folder = parts[0] if len(parts) > 1 else ""
        label = label_of.get(folder) if folder else labels.of_wnid(parts[0])
        if images.is_unsupported_image(file.name) and label in wanted:
            unsupported[file.suffix.lower()] += 1
        if not images.is_image(file.name):
            continue
        if label is None or label not in wanted:
            ignored[folder] += 1
            continue
        paths.append(file)
        found.append(label)
        counts[label] += 1
        splits_inside.update(map(normalize_name, parts[1:2] if len(parts) > 2 else ()))
    suggestions = max(1, MAX_COMPARISONS // len(names))
    unmatched = [name for name in listing.subfolders(root) if name not in label_of]
    others = [name for name, label in label_of.items() if label not in wanted]

    def below_source(folder: str) -> str:
        return "/".join((*root, folder))

    folder_of = {label: below_source(name) for name, label in label_of.items()}
    report = FolderReport(
        str(listing.source),
        split="/".join(root) if any(map(is_split, root)) else "",
        classes=tuple(
            ClassRow(names[c], (folder_of[c],) if c in folder_of else (), counts[c])
            for c in selected
        ),
        ignored=(
            *(
                IgnoredRow(
                    below_source(n), ignored[n], labels.why_unknown(n, suggest=i < suggestions)
                )
                for i, n in enumerate(unmatched)
            ),
            *(IgnoredRow(below_source(n), ignored[n], NOT_SELECTED) for n in others),
            *([IgnoredRow(LOOSE, ignored[""], "not in a class folder")] if ignored[""] else []),
            *_other_splits(listing, root),
        ),
        unsupported=unsupported,
        closed=tuple(listing.closed),
        mixed=tuple(name for name in (*TEST, *TRAIN) if name in splits_inside)
        if splits_inside.intersection(TRAIN)
        else (),
    )
    if not paths:
        raise _no_images(
            report, names, selected, inside=labels.find(listing.source.absolute().name)
        )
    return paths, found, report


def _other_splits(listing: Listing, root: Folder) -> list[IgnoredRow]:
    """The splits next to the one that contains the classes, with the number of their images."""
    at = next((i for i, name in enumerate(root) if is_split(name)), None)
    if at is None:
        return []
    rows = []
    for name in listing.subfolders(root[:at]):
        if name != root[at] and is_split(name):
            folder = (*root[:at], name)
            count = sum(images.is_image(file.name) for _, file in listing.below(folder))
            rows.append(IgnoredRow("/".join(folder), count, OTHER_SPLIT))
    return rows


def _no_images(
    report: FolderReport, names: Sequence[str], selected: Sequence[int], inside: int | None
) -> DataError:
    """Says what was expected and what was found instead.

    `inside`: the class after which the source itself is named.
    """
    loose = sum(row.images for row in report.ignored if row.folder == LOOSE)
    if loose and inside is not None:
        parent = str(Path(report.source).absolute().parent)
        return DataError(
            f"{report.source} is the folder of one class, {names[inside]!r}; use the folder that"
            f" contains it, {parent}.",
            code="no-images",
            file=report.source,
            meant=parent,
            found=[LOOSE],
        )
    examples = ", ".join(repr(names[c]) for c in selected[:3])
    strangers = [
        f"{row.folder} with {count(row.images, 'image')}"
        for row in report.ignored
        if row.images and row.folder != LOOSE
    ]
    strangers += [f"{count(loose, 'image')} outside the subfolders"] if loose else []
    kinds = [f"{n:,} {suffix}" for suffix, n in report.unsupported.most_common()]
    there = [
        *([f"Found: {_some(strangers)}."] if strangers else []),
        *([f"Files that cannot be read: {_some(kinds)}."] if kinds else []),
    ]
    return DataError(
        " ".join(
            [
                f"{report.source} has no images of any selected class: expected one subfolder per"
                f" class, named {examples}{' …' if len(selected) > 3 else ''}, with images"
                " (.png, .jpg, .webp …).",
                *there,
            ]
        ),
        code="no-images",
        file=report.source,
        found=[row.folder for row in report.ignored],
    )


class _Labels:
    """Finds the label of a folder's or a file's name."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        accepted = [(label, name) for label, name in enumerate(names)] + [
            (label, synonym)
            for label, name in enumerate(names)
            if (synonym := classes.synonym(name))
        ]
        self._exact = {name: label for label, name in reversed(accepted)}
        self._similar: dict[str, set[int]] = {}
        for label, name in accepted:
            self._similar.setdefault(normalize_name(name), set()).add(label)

    def _find(self, name: str) -> tuple[int | None, bool]:
        """(label, whether the name is exactly the class's)."""
        if name in self._exact:
            return self._exact[name], True
        similar = self._similar.get(normalize_name(name))
        if similar is None:
            return self.of_wnid(name), False
        return (next(iter(similar)) if len(similar) == 1 else None), False

    def of_wnid(self, name: str) -> int | None:
        """The label of a folder or file whose name starts with one of ImageNet's WordNet IDs:
        n01440764-tench, n01440764_10026.JPEG.
        """
        found = _WNID.match(name)
        is_known = found and classes.from_wnid(found[1]) != found[1]
        return self._exact.get(found[1].lower()) if found and is_known else None

    def find(self, name: str) -> int | None:
        """The label of a folder of this name."""
        return self._find(name)[0]

    def matches(self, name: str) -> bool:
        return self.find(name) is not None

    def folders_with_classes(self, listing: Listing) -> set[Folder]:
        """The folders that have a subfolder named after a class. A class may have the name of a
        split (CIFAR-100 has trains), so a subfolder that could be a split is no evidence.
        """
        return {
            folder[:-1]
            for folder in listing.folders
            if not is_split(folder[-1]) and self.matches(folder[-1])
        }

    def of_folders(self, folders: Sequence[str], place: str) -> dict[str, int]:
        """Folder → label.

        A folder with exactly a class's name takes precedence over one that differs in case, hyphens
        or spaces, which then does not count. Raises DataError if two folders match equally well.
        """
        found = {folder: self._find(folder) for folder in folders}
        exact = {label for label, is_exact in found.values() if is_exact}
        folder_of: dict[int, str] = {}
        for folder, (label, is_exact) in found.items():
            if label is None or (label in exact and not is_exact):
                continue
            if label in folder_of:
                raise DataError(
                    f"{place}/{folder} and {place}/{folder_of[label]} are the same class; put"
                    " their images into one folder.",
                    code="duplicate-class",
                    file=f"{place}/{folder}",
                )
            folder_of[label] = folder
        return {folder: label for label, folder in folder_of.items()}

    def why_unknown(self, folder: str, suggest: bool) -> str:
        label, _ = self._find(folder)
        if label is not None:
            return f"another folder is named exactly {self.names[label]}"
        if not suggest:
            return "not a class"
        known: dict[str, list[str]] = {}  # normalized → names, which may differ in case only
        for name in self.names:
            known.setdefault(normalize_name(name), []).append(name)
        meant = difflib.get_close_matches(normalize_name(folder), known, 1, SIMILAR)
        return "not a class" + (f"; did you mean {' or '.join(known[meant[0]])}?" if meant else "")


def _root(
    listing: Listing,
    labels: _Labels,
    with_classes: set[Folder],
    root: Folder = (),
    depth: int = MAX_WRAPPERS,
) -> tuple[Folder, bool]:
    """(the folder whose subfolders are the classes, `root` or one below it; True).

    If there is none: (where it was expected, False). A split without classes is skipped: the test
    images of many data sets have no labels.
    """
    if root in with_classes or _has_named_files(listing, root, labels):
        return root, True
    subfolders = listing.subfolders(root)
    splits = {normalize_name(name): name for name in reversed(subfolders)}
    inner = [splits[name] for name in (*TEST, *TRAIN) if name in splits]
    if not inner and len(subfolders) == 1:  # the only folder, which may enclose the others
        only = (*root, *subfolders)
        inner = (
            subfolders
            if listing.subfolders(only) or _has_named_files(listing, only, labels)
            else []
        )
    if not inner or not depth:
        return root, False
    places = [_root(listing, labels, with_classes, (*root, name), depth - 1) for name in inner]
    return next((place for place in places if place[1]), places[0])


def _has_named_files(listing: Listing, root: Folder, labels: _Labels) -> bool:
    """Whether a folder has files that are named after a class."""
    return any(
        len(parts) == 1 and labels.of_wnid(parts[0]) is not None for parts, _ in listing.below(root)
    )


def _some(items: Sequence[str]) -> str:
    """The first few items; the others are counted. A file name may contain bytes that are not valid
    text.
    """
    return first_few(items).encode("utf-8", "replace").decode()
