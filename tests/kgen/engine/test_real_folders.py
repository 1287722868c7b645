"""Runs that are tested on a person's own folder: bad files, a long test, and a Stop during it."""

from __future__ import annotations

import os
import sys

import pytest

from kgen.engine.controls import Controls
from kgen.journal.reading import open_run
from kgen.journal.runner import Runner
from kgen.recipe.recipe import RecipeError
from kgen.zoo import zoo
from tests.support.errors import raises
from tests.support.pictures import photo_folder, png_header
from tests.support.small import grain


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path):
    return photo_folder(tmp_path / "photos", ("Bag", "Sneaker"), 40)


def runner(tmp_path, folder, **more):
    recipe = grain(classes=("Bag", "Sneaker"), real_images=str(folder))
    found: list = []
    made = Runner.new(recipe, tmp_path / "run", on_event=found.append, **more)
    return made, found


@pytest.mark.slow
def test_bad_files_do_not_cost_a_run_and_are_named(tmp_path, folder):
    (folder / "Bag" / "empty.png").write_bytes(b"")
    (folder / "Bag" / "seems-good.png").write_bytes(png_header(28, 28))
    if sys.platform == "linux":  # others allow only names that are valid text
        (folder / "Bag" / os.fsdecode(b"no-text-\xff.png")).write_bytes(b"")
    (folder / "Hat").mkdir()
    made, events = runner(tmp_path, folder)
    last = made.run()
    assert (last.reason, last.n) == ("done", 80)
    said = " ".join(event.text for event in events if event.kind == "warning")
    assert "empty.png (the file is empty)" in said and said.count("seems-good.png") == 1
    tests = [event for event in events if event.kind == "evaluated"]
    assert tests[-1].student.n == tests[-1].teacher.n == 80


@pytest.mark.slow
def test_a_folder_that_disappears_does_not_cost_the_run(tmp_path, folder):
    made, events = runner(tmp_path, folder)
    made.distillation.on_trained = lambda: folder.rename(tmp_path / "unplugged")
    last = made.run()
    assert (last.kind, last.n, last.accuracy) == ("run_finished", 0, None)
    assert any("can be read" in event.text for event in events if event.kind == "warning")


@pytest.mark.slow
def test_the_student_is_written_before_its_last_test_which_can_be_stopped(tmp_path, folder):
    """Stop during that test: the student is saved, and a resumed run repeats the test."""
    controls, seen, student = Controls(), [], tmp_path / "run" / "student.safetensors"

    def on_progress(activity, done, total):
        seen.append((activity, done, total))
        if student.is_file():
            controls.send("stop")

    made, events = runner(tmp_path, folder, controls=controls, on_progress=on_progress)
    last = made.run()
    assert (last.reason, last.n) == ("stopped", 0) and not events[-1].accuracy
    assert seen[0] == ("checking", 0, 80) and ("checking", 80, 80) in seen
    assert ("teacher", 0, 80) in seen and seen[-1][0] == "student"
    zoo.load_classifier(student)
    assert not open_run(tmp_path / "run").finished
    again = Runner.resume(tmp_path / "run").run()
    assert (again.reason, again.n) == ("done", 80)


def test_a_stop_ends_the_check_of_the_files(tmp_path, folder):
    def on_progress(activity, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, folder, on_progress=on_progress)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["n04254777", "sock"])
def test_a_wordnet_id_selects_a_class(name):
    from kgen.engine.setting import select_classes

    recipe = grain(teacher="imagenet-lite0", classes=(name,))
    assert select_classes(recipe, zoo.classes("imagenet-lite0")) == [806]
    with raises(RecipeError, "unknown-class", "n00000000"):
        select_classes(recipe.replace(classes=("n00000000",)), zoo.classes("imagenet-lite0"))
