"""Runs without real test images, and with a user's own folder of them."""

import numpy as np
import pytest
import torch
from PIL import Image

import kgen
from kgen.data.data import DataError, image_folder
from kgen.engine.heldout_agreement import MAX_IMAGES, HeldOut
from kgen.journal.reading import open_run, read_checkpoint
from kgen.journal.runner import Runner
from kgen.recipe.recipe import held_out_count
from kgen.recipes import recipes
from kgen.teachers import Teacher
from kgen.zoo import zoo
from tests.support.errors import raises

FASHION = zoo.classes("fashion-cnn")


def without(**changes):
    return recipes.get("tiny").replace(
        evaluate_on="none", device="cpu", schedule="sequential", **changes
    )


@pytest.mark.slow
def test_a_run_without_real_images_tells_agreement_and_no_accuracy():
    events = list(kgen.distill(without()))
    started, batches = events[0], [e for e in events if e.kind == "batch_synthesised"]
    assert started.tested_on == "synthetic" and started.arrays is None
    assert any("no real test images" in e.text for e in events if e.kind == "warning")
    tests = [e for e in events if e.kind == "evaluated"]
    assert tests and all(not e.student.real and e.teacher is None for e in tests)
    assert events[-1].accuracy is None and events[-1].agreement == tests[-1].student.accuracy
    assert tests[-1].student.n == sum(held_out_count(len(b.arrays["images"])) for b in batches)
    for batch in batches:  # the last tenth of a batch never enters the pool
        assert not batch.arrays["entered"][-held_out_count(len(batch.arrays["images"])) :].any()


def test_agreement_is_the_share_of_equal_answers():
    teacher = kgen.load_teacher("fashion-cnn")
    images = torch.randint(
        0, 256, (40, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    held = HeldOut(teacher, [2, 4, 6])
    held.add(images)
    assert held.score(teacher.network).accuracy == 1.0
    other = zoo.build_student("small-cnn-20k", 1, 10, seed=3).eval()
    with torch.no_grad():
        x = (images.float() / 255 - teacher.mean) / teacher.std
        mine, theirs = (f(x)[:, [2, 4, 6]].argmax(1).tolist() for f in (other, teacher.network))
    found = held.score(other)
    assert found.n == 40 and found.accuracy == pytest.approx(
        np.mean([a == b for a, b in zip(mine, theirs)])
    )


def test_only_the_newest_images_are_held():
    held = HeldOut(kgen.load_teacher("fashion-cnn"), list(range(10)))
    for _ in range(7):
        held.add(torch.zeros(100, 1, 28, 28, dtype=torch.uint8))
    assert len(held) == MAX_IMAGES


@pytest.mark.slow
def test_held_out_images_survive_a_resume(tmp_path):
    recipe = without()
    whole = Runner.new(recipe, tmp_path / "whole").run()
    half = Runner.new(recipe, tmp_path / "half", checkpoint_seconds=0)
    half.on_event = lambda event: (
        half.distillation.gate.controls.send("stop")
        if event.kind == "batch_synthesised" and event.iteration == 1
        else None
    )
    assert half.run().reason == "stopped" and read_checkpoint(tmp_path / "half").iterations == 2
    again = Runner.resume(tmp_path / "half").run()
    assert (again.agreement, again.n) == (whole.agreement, whole.n)
    assert (open_run(tmp_path / "half").path / "student.safetensors").read_bytes() == (
        tmp_path / "whole" / "student.safetensors"
    ).read_bytes()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in {"Trouser": 3, "ankle_BOOT": 2, "t_shirt": 0, "Spaceship": 1}.items():
        place = tmp_path / name
        place.mkdir()
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (40, 30), dtype=np.uint8)).save(place / f"{i}.png")
    return tmp_path


def test_a_folder_is_matched_by_name(folder):
    found = image_folder(folder, FASHION, zoo.card("fashion-cnn"), tuple(range(10)))
    assert found.labels.tolist() == [1, 1, 1, 9, 9] and found.images[:].shape == (5, 1, 28, 28)
    assert [row.folder for row in found.report.ignored] == ["Spaceship"]


def test_small_images_of_the_teachers_size_are_used_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    (tmp_path / "Bag").mkdir()
    Image.fromarray(pixels).save(tmp_path / "Bag" / "0.png")
    found = image_folder(tmp_path, FASHION, zoo.card("fashion-cnn"), tuple(range(10)))
    assert (np.asarray(found.images[:])[0, 0] == pixels).all()


@pytest.mark.slow
def test_a_run_is_tested_on_the_folder(folder):
    events = list(kgen.distill(without(real_images=str(folder))))
    last = next(e for e in reversed(events) if e.kind == "evaluated")
    assert (
        events[0].tested_on == "test"
        and last.student.n == 5
        and last.student.real
        and last.teacher.n == 5
    )
    assert last.student.per_class[0] is None and last.student.per_class[1] is not None
    said = " ".join(e.text for e in events if e.kind == "warning")
    assert "8 of 10 selected classes" in said and "1 real image in 1 folder is not used" in said
    assert "Spaceship" not in said and str(folder) not in said  # viewers read it


@pytest.mark.parametrize(
    "chosen, place, code", [((0, 2), "", "no-images"), ((1,), "missing", "unreadable")]
)
def test_a_folder_without_the_classes_is_refused(folder, chosen, place, code):
    with raises(DataError, code, folder / place, file=str(folder / place)):
        image_folder(folder / place, FASHION, zoo.card("fashion-cnn"), chosen)


@pytest.mark.slow
def test_missing_test_images_are_asked_for_or_done_without(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    peek = recipes.get("imagenet-peek").replace(
        device="cpu", epochs=1, generator_steps=1, student_steps=0, warmup=0.0
    )
    started = next(iter(kgen.distill(peek)))
    assert started.tested_on == "synthetic"
    with raises(DataError, "no-data", "ImageNet-1k", "evaluate_on", name="imagenet1k"):
        next(iter(kgen.distill(peek.replace(evaluate_on="test"))))


def test_validation_images_of_an_unknown_data_set_are_refused(monkeypatch):
    teacher = zoo.load_teacher("fashion-cnn")
    card = teacher.card.model_copy(update={"data": None})
    unknown = Teacher(teacher.network, card, teacher.classes, teacher.mean, teacher.std)
    monkeypatch.setattr(zoo, "load_teacher", lambda *args, **more: unknown)
    with raises(DataError, "unknown-data", card.title, field="evaluate_on", value="validation"):
        next(iter(kgen.distill(without().replace(evaluate_on="validation"))))
