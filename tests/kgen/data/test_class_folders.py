"""Folders and ZIP files as people have them: which subfolder is which class, what is left out."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image

from kgen.data import class_folders, listing
from kgen.data.images import DataError
from tests.support.errors import raises

PETS = ("cat", "dog", "guinea pig")


def put(root, *names):
    """Empty files: matching opens no image."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


def found(source, names=PETS, selected=None):
    """{class: its images below the source}, and the report."""
    labels = range(len(names)) if selected is None else selected
    paths, of, report = class_folders.match(listing.list_files(source), names, labels)
    classes = {}
    for path, label in zip(paths, of):
        relative = str(path)[len(str(source)) + 1 :].replace(os.sep, "/")
        classes.setdefault(names[label], []).append(relative)
    return classes, report


def test_what_systems_and_tools_leave_behind_is_not_seen(tmp_path):
    put(
        tmp_path,
        "cat/1.png",
        "cat/._1.png",
        "cat/.DS_Store",
        "cat/Thumbs.db",
        "cat/.ipynb_checkpoints/1-checkpoint.png",
        "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg",
        "cat/notes.txt",
        "dog/1.jpg",
        "#recycle/dog/2.jpg",
        "$RECYCLE.BIN/3.jpg",
        "__MACOSX/cat/._1.png",
        ".git/cat/1.png",
    )
    (tmp_path / "cat" / "odd.png").mkdir()
    classes, report = found(tmp_path)
    assert classes == {"cat": ["cat/1.png"], "dog": ["dog/1.jpg"]}
    assert not report.ignored and report.missing == ("guinea pig",)


def test_images_in_folders_of_a_class_belong_to_it(tmp_path):
    put(tmp_path, "cat/2019/1.png", "cat/odd.png/2.JPEG", "dog/1.webp")
    assert found(tmp_path)[0] == {
        "cat": ["cat/2019/1.png", "cat/odd.png/2.JPEG"],
        "dog": ["dog/1.webp"],
    }


@pytest.mark.parametrize(
    "folders, used",
    [
        (("train", "val", "test"), "test"),
        (("train", "val"), "val"),
        (("Training", "Validation"), "Validation"),
        (("train",), "train"),
        (("pets/train", "pets/test"), "pets/test"),
        (("pets",), "pets"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_splits_and_folders_around_them_are_understood(tmp_path, folders, used, form):
    names = [f"{folder}/{name}/1.png" for folder in folders for name in ("cat", "dog")]
    names.append("README.md")
    source = put(tmp_path / "a", *names) if form == "folder" else zipped(tmp_path / "a.zip", *names)
    classes, report = found(source)
    assert classes == {"cat": [f"{used}/cat/1.png"], "dog": [f"{used}/dog/1.png"]}
    assert report.split == ("" if used == "pets" else used)
    said = " ".join(text for text, _ in report.remarks())
    assert ("no test or val folder" in said) == (used == "train")


@pytest.mark.parametrize(
    "unlabeled", ["test/0.png", "pets/test/images/0.png", "test/unknown/0.png"]
)
def test_a_split_without_classes_is_passed_over(tmp_path, unlabeled):
    """Kaggle's and ImageNet's test images have no labels."""
    top = "pets/" if unlabeled.startswith("pets/") else ""
    put(tmp_path, unlabeled, f"{top}train/cat/1.png", f"{top}val/cat/2.png", f"{top}val/dog/3.png")
    classes, report = found(tmp_path)
    assert classes == {"cat": [f"{top}val/cat/2.png"], "dog": [f"{top}val/dog/3.png"]}
    assert report.split == f"{top}val"


@pytest.mark.parametrize(
    "folders, mixed",
    [
        (("train", "test"), ("test", "train")),
        (("Training",), ("training",)),
        (("test", "2019"), ()),
    ],
)
def test_splits_inside_the_classes_are_mixed_but_reported(tmp_path, folders, mixed):
    put(tmp_path, *(f"{name}/{folder}/1.png" for name in ("cat", "dog") for folder in folders))
    classes, report = found(tmp_path)
    assert len(classes["cat"]) == len(classes["dog"]) == len(folders)
    said = " ".join(text for text, _ in report.remarks())
    assert report.mixed == mixed and all(name in said for name in mixed)


def test_a_class_may_be_named_like_a_split(tmp_path):
    put(tmp_path, "train/1.png", "bus/1.png")
    assert set(found(tmp_path, ("train", "bus"))[0]) == {"train", "bus"}


def test_wordnet_ids_and_texts_name_the_same_classes(tmp_path):
    put(tmp_path, "n01440764/1.png", "English_springer/1.png")
    texts = ("tench", "English springer")
    ids = ("n01440764", "n02102040")
    assert [len(images) for images in found(tmp_path, texts)[0].values()] == [1, 1]
    assert [len(images) for images in found(tmp_path, ids)[0].values()] == [1, 1]


@pytest.mark.parametrize("between", ["-", "_", " "])
def test_a_wordnet_id_in_front_of_a_text_names_the_class(tmp_path, between):
    put(tmp_path, f"n01440764{between}tench/1.png", f"n02102040{between}some_dog/1.png")
    classes, report = found(tmp_path, ("tench", "English springer"))
    assert list(map(len, classes.values())) == [1, 1] and not report.ignored


def test_twenty_thousand_classes_are_matched_in_seconds(tmp_path):
    names = [f"species {i}" for i in range(20_000)]
    files = listing.Listing(tmp_path)
    files.folders = {(name.replace("species", "specie"),) for name in names[:1000]}
    files.folders |= {(name,) for name in names[1000:]}
    files.files = [((folder, "1.png"), tmp_path / folder / "1.png") for (folder,) in files.folders]
    start = time.process_time()
    paths, labels, report = class_folders.match(files, names, range(20_000))
    assert time.process_time() - start < 10  # a second where nothing else runs
    assert len(paths) == 19_000 and [path.parent.name for path in paths] == [
        names[label] for label in labels
    ]
    assert len(report.ignored) == len(report.missing) == 1000
    assert "did you mean species" in report.ignored[0].reason


def test_files_named_like_imagenets_need_no_folders(tmp_path):
    put(tmp_path, "n01440764_tench.JPEG", "n02102040_188.JPEG", "cover.png")
    classes, report = found(tmp_path, ("tench", "English springer"))
    assert list(map(len, classes.values())) == [1, 1]
    assert [(row.images, row.folder) for row in report.ignored] == [(1, class_folders.LOOSE)]


def test_letters_that_differ_in_case_are_different_where_an_exact_name_is_there(tmp_path):
    if os.path.normcase("A") == "a" or sys.platform == "darwin":
        pytest.skip("this file system has one folder for both")
    put(tmp_path / "both", "a/1.png", "A/1.png", "b/1.png", "B/1.png")
    both = {name: [f"{name}/1.png"] for name in "aAbB"}
    assert found(tmp_path / "both", ("a", "A", "b", "B"))[0] == both
    classes, report = found(tmp_path / "both", ("a", "b"))
    assert classes == {"a": ["a/1.png"], "b": ["b/1.png"]}
    assert [(row.folder, row.reason.split()[-1]) for row in report.ignored] == [
        ("A", "a"),
        ("B", "b"),
    ]
    put(tmp_path / "capital", "A/1.png")
    assert found(tmp_path / "capital", ("a", "A"))[0] == {"A": ["A/1.png"]}
    assert found(tmp_path / "capital", ("a", "b"))[0] == {"a": ["A/1.png"]}


def test_a_name_that_two_classes_could_mean_is_neither(tmp_path):
    put(tmp_path, "A-B/1.png", "c/1.png")
    classes, report = found(tmp_path, ("a b", "a_b", "c"))
    assert set(classes) == {"c"} and [row.folder for row in report.ignored] == ["A-B"]


def test_a_folder_that_only_resembles_twins_is_neither_and_both_are_suggested(tmp_path):
    put(tmp_path, "POLISH/1.png", "turkey/1.png")
    classes, report = found(tmp_path, ("Polish", "polish", "Turkey", "turkey"))
    assert classes == {"turkey": ["turkey/1.png"]}
    assert [(row.folder, row.reason) for row in report.ignored] == [
        ("POLISH", "not a class; did you mean Polish or polish?")
    ]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_the_same_however_they_are_stored(tmp_path, form):
    """macOS stores é as e and an accent; its ZIP files do not say that their names are UTF-8."""
    name = unicodedata.normalize(form, "Café")
    put(tmp_path / "a", f"{name}/1.png")
    assert set(found(tmp_path / "a", ("café", "bar"))[0]) == {"café"}
    file = zipped(tmp_path / "a.zip", f"{name}/1.png")
    file.write_bytes(unflagged(file.read_bytes()))
    assert not zipfile.ZipFile(file).infolist()[0].flag_bits & 0x800
    assert set(found(file, ("café", "bar"))[0]) == {"café"}


def unflagged(archive: bytes) -> bytes:
    """Without the marks for UTF-8, in the local header and in the directory."""
    data = bytearray(archive)
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset + 1] &= ~0x08
    return bytes(data)


def test_a_zip_of_macos_is_its_folders(tmp_path):
    source = zipped(
        tmp_path / "a.zip", "pets/cat/1.png", "__MACOSX/pets/cat/._1.png", "pets/dog/1.png"
    )
    classes, report = found(source)
    assert set(classes) == {"cat", "dog"} and not report.ignored


def test_what_is_not_used_is_reported_with_what_was_meant(tmp_path):
    put(
        tmp_path,
        "cat/1.png",
        "dogs/1.png",
        "dogs/2.png",
        "toaster/1.png",
        "3.png",
        "dog/1.png",
        "dog/x.heic",
    )
    classes, report = found(tmp_path, selected=(0, 2))
    assert classes == {"cat": ["cat/1.png"]}
    rows = {row.folder: (row.images, row.reason) for row in report.ignored}
    assert rows["dog"] == (1, "not selected") and rows["toaster"] == (1, "not a class")
    assert (
        rows["dogs"][0] == 2
        and rows["dogs"][1].endswith("dog?")
        and rows[class_folders.LOOSE][0] == 1
    )
    assert report.missing == ("guinea pig",) and not report.unsupported
    said = " ".join(text for text, _ in report.remarks())
    assert "dogs" in said and "4 real images" in said and "(not selected)" not in said
    assert found(tmp_path)[1].unsupported == {".heic": 1}


@pytest.mark.parametrize("n, verb", [(1, "is"), (2, "are")])
def test_the_verb_agrees_with_the_number(tmp_path, n, verb):
    put(tmp_path, "cat/1.png", *(f"toaster/{i}.png" for i in range(n)))
    [(said, _), *_] = found(tmp_path)[1].remarks()
    assert f" in 1 folder {verb} not used" in said


def test_what_a_run_says_names_no_path_and_no_folder_that_is_not_a_class(tmp_path):
    """Viewers read it, and it is passed on with the run."""
    put(
        tmp_path,
        "Mueller/train/cat/1.png",
        "Mueller/train/cat/Schmidt/2.png",
        "Mueller/train/Meier_Anna/1.png",
    )
    _, report = found(tmp_path)
    report.unreadable[str(tmp_path / "Mueller" / "train" / "cat" / "Schmidt" / "2.png")] = "empty"
    report.closed = (("Weber", "Permission denied"),)
    own = " ".join(text for text, _ in report.remarks())
    public = " ".join(text for text, _ in report.remarks(public=True))
    for private in (str(tmp_path), "Mueller", "Schmidt", "Meier_Anna", "Weber"):
        assert private in own and private not in public
    assert len(report.remarks()) == len(report.remarks(public=True)) == 5
    for fact in ("images in train", "1 real image in 1 folder is not", "2.png (empty)"):
        assert fact in public


def test_two_folders_of_one_class_are_refused(tmp_path):
    put(tmp_path, "guinea_pig/1.png", "Guinea-Pig/1.png")
    with raises(DataError, "duplicate-class", "guinea_pig", "Guinea-Pig"):
        found(tmp_path)


@pytest.mark.parametrize(
    "names, facts",
    [
        (("toaster/1.png", "toaster/2.png"), ["'cat'", "toaster with 2 images"]),
        (("cat/1.heic", "dog/2.heic"), ["2 .heic"]),
        (("1.png",), ["'cat'"]),
        (("1.png",), ["1 image outside"]),
        ((), ["'cat'", ".webp"]),
    ],
)
def test_a_folder_without_a_class_says_what_is_there(tmp_path, names, facts):
    source = put(tmp_path / "a", *names)
    source.mkdir(exist_ok=True)
    with raises(DataError, "no-images", source, *facts, file=str(source)):
        found(source)


def test_for_the_folder_of_one_class_the_one_around_it_is_suggested(tmp_path):
    put(tmp_path, "val/Guinea-pig/1.png")
    with raises(DataError, "no-images", meant=str(tmp_path / "val")):
        found(tmp_path / "val" / "Guinea-pig")


def test_a_split_that_is_not_used_and_an_empty_folder_are_mentioned(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/Hat/1.png")
    (tmp_path / "val" / "dog").mkdir()
    _, report = found(tmp_path)
    assert [(row.folder, row.images, row.reason) for row in report.ignored] == [
        ("val/Hat", 1, "not a class"),
        ("train", 2, class_folders.OTHER_SPLIT),
    ]
    assert [row.folders for row in report.classes] == [("val/cat",), ("val/dog",), ()]
    remarks = report.remarks(public=True)
    assert "train" not in str(remarks) and all(remedy for _, remedy in remarks)
    assert "No folder: guinea pig. Folder without images: dog." in remarks[-1][0]


def test_what_is_neither_folder_nor_zip_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    with raises(DataError, "not-a-folder", file=str(tmp_path / "a.txt")):
        listing.list_files(tmp_path / "a.txt")
    with raises(DataError, "unreadable", file=str(tmp_path / "nowhere")):
        listing.list_files(tmp_path / "nowhere")


def test_a_zip_with_a_file_name_that_is_not_valid_text_is_refused(tmp_path):
    source = zipped(tmp_path / "a.zip", "cat/é.png")
    source.write_bytes(source.read_bytes().replace("é".encode(), b"\xff\xfe"))
    with raises(DataError, "not-a-folder", source, "not valid text"):
        listing.list_files(source)


@pytest.mark.parametrize("form", [put, zipped])
def test_folders_nested_too_deeply_are_left_out_and_reported(tmp_path, form):
    """In a ZIP file of 64 KB, they could otherwise take gigabytes."""
    deep = "/".join("a" * 200)
    source = form(tmp_path / "b", f"cat/{deep}/1.png", f"cat/{deep}/2.png", "cat/3.png")
    found = listing.list_files(source)
    assert [parts for parts, _ in found.files] == [("cat", "3.png")]
    assert len(found.folders) <= listing.MAX_DEPTH
    [(place, reason)] = found.closed
    assert "folders deep" in reason and str(source) in place


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_links_are_followed_but_not_in_circles(tmp_path):
    put(tmp_path / "elsewhere", "1.png")
    put(tmp_path / "a", "dog/1.png")
    (tmp_path / "a" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "dog" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "dog" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert set(found(tmp_path / "a")[0]) == {"cat", "dog"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_that_leads_nowhere_costs_only_itself(tmp_path):
    put(tmp_path / "a", "cat/1.png", "dog/1.png")
    for name in ("ring.png", "dog/ring"):
        (tmp_path / "a" / name).symlink_to(tmp_path / "a" / name)
    classes, report = found(tmp_path / "a")
    assert classes == {"cat": ["cat/1.png"], "dog": ["dog/1.png"]}
    assert sorted(place for place, _ in report.closed) == [
        str(tmp_path / "a" / "dog" / "ring"),
        str(tmp_path / "a" / "ring.png"),
    ]


def test_a_zip_is_read_without_unpacking_it(tmp_path):
    """Also by several threads at once, as images are decoded."""
    from kgen.data.folders import ImageFiles, check_headers

    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, image in enumerate(pixels):
            with archive.open(f"cat/{i:02d}.png", "w") as file:
                Image.fromarray(image).save(file, "PNG")
        archive.writestr("dog/0.png", b"")
    paths, _, _ = class_folders.match(listing.list_files(tmp_path / "a.zip"), PETS, (0, 1))
    assert check_headers(paths) == {40: "the file is empty"}
    files = ImageFiles(paths[:40], 3, (8, 8), crop=False)
    assert np.array_equal(files[:], pixels.transpose(0, 3, 1, 2))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.zip"]
