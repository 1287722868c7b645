"""Runs that are tested on a person's own folder: bad files, a long test, and a Stop during it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kgen.__main__ import cli
from kgen.cli.recipe_argument import read_recipe
from kgen.engine.controls import Controls
from kgen.engine.engine import distill
from kgen.journal import bundle
from kgen.journal.journal import Journal
from kgen.journal.reading import JournalError, open_run
from kgen.journal.runner import Runner
from kgen.journal.unbundle import unbundle
from kgen.recipe.recipe import RecipeError
from kgen.worth import worth
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


@pytest.mark.slow
def test_an_opened_bundle_asks_where_the_images_are(tmp_path, folder, monkeypatch):
    """On another machine there is only the folder's name, whatever the current folder contains."""
    controls = Controls()
    made, _ = runner(tmp_path, folder, controls=controls, checkpoint_seconds=0.0)
    made.on_event = lambda event: controls.send("stop") if event.kind == "evaluated" else None
    assert made.run().reason == "stopped"
    bundle.write(tmp_path / "run", tmp_path / "run.kgen", real_images=True, checkpoint=True)
    there, moved = tmp_path / "there", tmp_path / "private" / "pictures"
    moved.parent.mkdir()
    folder.rename(moved)
    run = unbundle(tmp_path / "run.kgen", there)
    photo_folder(there / "photos", ("Bag", "Sneaker"), 1)
    monkeypatch.chdir(there)
    assert open_run(run).recipe.real_images == "photos"
    facts = {"file": "photos", "option": "--real"}
    for attempt in (Runner.resume, lambda path: next(worth.measure(open_run(path)))):
        with raises(JournalError, "other-machine", "--real FOLDER", **facts):
            attempt(run)
    before = (run / "events.jsonl").read_bytes()
    last = Runner.resume(run, real=Path("..") / "private" / "pictures").run()
    assert (last.reason, last.n) == ("done", 80) and before[:100] in (
        run / "events.jsonl"
    ).read_bytes()
    assert open_run(run).recipe == made.distillation.recipe.replace(real_images=str(moved))
    again = unbundle(bundle.write(run, tmp_path / "again.kgen"), tmp_path / "further")
    assert not any(b"private" in file.read_bytes() for file in again.glob("*.json*"))
    answer = CliRunner().invoke(cli, ["evaluate", str(again), "--json"])
    assert isinstance(answer.exception, JournalError) and answer.exception.code == "other-machine"
    answer = CliRunner().invoke(cli, ["evaluate", str(again), "--real", str(moved), "--json"])
    assert json.loads(answer.stdout)["n"] == 80


def stopped(tmp_path, folder):
    """A run on these images that was stopped at its first test."""
    controls = Controls()
    made, _ = runner(tmp_path, folder, controls=controls, checkpoint_seconds=0.0)
    made.on_event = lambda event: controls.send("stop") if event.kind == "evaluated" else None
    assert made.run().reason == "stopped"
    return tmp_path / "run"


def test_a_run_continues_only_with_the_images_that_it_started_with(tmp_path, folder):
    run = stopped(tmp_path, folder)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    fewer = photo_folder(tmp_path / "fewer", ("Bag", "Sneaker"), 10)
    as_many = photo_folder(tmp_path / "as-many", ("Sneaker", "Bag"), 40)
    for other, fact in (
        (fewer, "20 images, but the run started with 80"),
        (as_many, "files are different"),
    ):
        with raises(JournalError, "other-images", fact, "--real", "--other-images"):
            Runner.resume(run, real=other)
    (folder / "Bag" / "0.png").unlink()  # the recorded folder has changed
    with raises(JournalError, "other-images", "79 images, but the run started with 80"):
        Runner.resume(run)
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}

    found: list = []
    last = Runner.resume(run, real=fewer, other_images=True, on_event=found.append).run()
    assert (last.reason, last.n) == ("done", 20)
    [warning] = [e for e in found if e.kind == "warning" and "80" in e.text]
    assert str(tmp_path) not in warning.text and "not comparable" in warning.text
    assert open_run(run).info["real_images"]["n"] == 20  # what the next resume compares with


def test_the_same_images_elsewhere_are_the_same(tmp_path, folder):
    (folder / "Bag" / "0.png").rename(folder / "Bag" / "caf\u00e9.png")
    run = stopped(tmp_path, folder)
    identity = open_run(run).info["real_images"]
    with zipfile.ZipFile(tmp_path / "copy.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            name = Path("deeper", *file.relative_to(folder).parts).as_posix()
            archive.write(file, unicodedata.normalize("NFD", name))  # as macOS does
    shutil.rmtree(folder)
    last = Runner.resume(run, real=tmp_path / "copy.zip").run()
    assert (last.reason, last.n) == ("done", 80)
    assert open_run(run).info["real_images"] == identity
    fewer = photo_folder(tmp_path / "fewer", ("Bag", "Sneaker"), 10)
    for real, told in ((tmp_path / "copy.zip", False), (fewer, True)):
        answer = CliRunner().invoke(cli, ["evaluate", str(run), "--real", str(real)])
        assert answer.exit_code == 0
        assert ("20 images, but the run started with 80" in answer.stderr) == told


@pytest.mark.parametrize("path", ["photos", "C:\\photos" if os.name == "posix" else "/home/x"])
def test_a_path_of_another_machine_is_no_path_here(tmp_path, path):
    recipe = grain(real_images=path)
    Journal.create(tmp_path / "run", recipe).close()
    run = open_run(tmp_path / "run")
    assert run.recipe.real_images == path, "as recorded, whatever the current folder"
    with raises(JournalError, "other-machine", path, file=path, option="--real"):
        run.recipe_here()
    assert run.recipe_here(tmp_path) == recipe.replace(real_images=str(tmp_path))
    Journal.create(tmp_path / "plain", grain()).close()
    with raises(JournalError, "conflict", "--real", field="real_images"):
        Runner.resume(tmp_path / "plain", real=tmp_path)


def test_a_new_run_records_a_full_path(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made, _ = runner(tmp_path, "photos", checkpoint_seconds=9.0)
    made.journal.close()
    assert open_run(tmp_path / "run").recipe.real_images == str(folder)
    started = next(iter(distill(grain(classes=("Bag", "Sneaker"), real_images="'photos'"))))
    assert started.recipe["real_images"] == str(folder)
    read = read_recipe("tiny", ["real_images=photos"], None, None)
    assert read.real_images == str(folder)
    with raises(RecipeError, "invalid-path", "real_images", field="real_images"):
        read_recipe("tiny", ["real_images=a\nb"], None, None)


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
