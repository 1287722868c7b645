"""A teacher classifies an image once; if anything that could change its answer changes, it does so
again.
"""

from __future__ import annotations

import os

import pytest

from kgen import answers
from kgen.answers import Answers
from kgen.data import data
from kgen.evaluate import score
from kgen.zoo import zoo
from tests.support.errors import raises
from tests.support.pictures import photo_folder, png_header

FASHION = zoo.classes("fashion-cnn")
CHOSEN = [FASHION.index("Bag"), FASHION.index("Coat"), FASHION.index("Sneaker")]


class Teacher:
    """Counts the images that it is shown."""

    def __init__(self):
        self.asked = 0

    def __call__(self, images):
        self.asked += len(images)
        return images.flatten(1)[:, :10]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path):
    return photo_folder(tmp_path / "photos", ("Bag", "Coat", "Sneaker"), 20)


def ask(folder, selected=CHOSEN, teacher="0123", part=None, on_progress=lambda done, total: None):
    real = data.image_folder(folder, FASHION, zoo.card("fashion-cnn"), tuple(selected))
    network = Teacher()
    known = Answers(teacher, selected, real.images)
    shown = real if part is None else real.take(part)
    found = score(network, shown, list(selected), answers=known, on_progress=on_progress)
    return found, network.asked


def test_the_second_time_nothing_is_asked(folder):
    first, asked = ask(folder)
    assert asked == first.n == 60
    assert ask(folder) == (first, 0)


def test_a_part_is_not_asked_again(folder):
    assert ask(folder, part=range(0, 60, 2))[1] == 30
    found, asked = ask(folder, part=range(0, 60, 4))
    assert (found.n, asked) == (15, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: {"teacher": "4567"},
        lambda folder: {"selected": CHOSEN[:2]},
        lambda folder: os.utime(folder / "Bag" / "0.png", (1, 1)),
        lambda folder: (folder / "Coat" / "3.png").unlink(),
    ],
)
def test_what_could_change_an_answer_asks_again(folder, change):
    ask(folder)
    found, asked = ask(folder, **(change(folder) or {}))
    assert asked == found.n > 0


def test_an_interrupted_evaluation_keeps_its_answers(folder, monkeypatch):
    monkeypatch.setattr("kgen.evaluate.BATCH", 32)

    def stop(done, total):
        if done >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(folder, on_progress=stop)
    found, asked = ask(folder)
    assert (found.n, asked) == (60, 28)
    assert found == ask(folder)[0]


def test_a_file_that_cannot_be_read_is_tried_again(folder):
    file = folder / "Bag" / "0.png"
    good, times = file.read_bytes(), (1, 1)
    file.write_bytes(png_header(28, 28).ljust(len(good), b"\0"))
    os.utime(file, times)
    first, asked = ask(folder)
    assert first.n == asked == 59
    assert ask(folder) == (first, 0)
    file.write_bytes(good)  # of the same size and time, like a file on a drive that is back
    os.utime(file, times)
    found, asked = ask(folder)
    assert (found.n, asked) == (60, 1)


def test_a_drive_that_was_away_is_asked_again_when_it_is_back(folder, tmp_path):
    def unplug(done, total):
        if folder.exists():
            folder.rename(tmp_path / "away")

    with raises(data.DataError, "no-images"):
        ask(folder, on_progress=unplug)
    (tmp_path / "away").rename(folder)
    found, asked = ask(folder)
    assert (found.n, asked) == (60, 60)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\1\0"])
def test_a_damaged_cache_is_as_good_as_none(folder, content):
    first, _ = ask(folder)
    for file in answers.folder().iterdir():
        file.write_bytes(content)
    assert ask(folder) == (first, 60) and ask(folder) == (first, 0)


def test_a_cache_that_cannot_be_written_costs_nothing(folder, tmp_path):
    (tmp_path / "home").write_text("not a folder")
    assert ask(folder)[1] == ask(folder)[1] == 60


def test_old_answers_make_room(folder, monkeypatch):
    monkeypatch.setattr(answers, "MAX_FILES", 2)
    for teacher in "abc":
        ask(folder, teacher=teacher)
    assert len(list(answers.folder().iterdir())) == 2 and ask(folder, teacher="c")[1] == 0
