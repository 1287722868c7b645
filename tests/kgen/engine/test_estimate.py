"""What a run is predicted to cost, against what it then costs and against plain arithmetic."""

from __future__ import annotations

import pytest
from PIL import Image

from kgen.cli.estimates import cost_of
from kgen.engine.engine import Distillation
from kgen.engine.estimate import Estimate, _Probe, _Seconds, estimate
from kgen.engine.setting import Setting
from kgen.engine.state import LoopState
from kgen.phrases import size, time_span
from kgen.recipe.recipe import Recipe
from tests.support.small import mini

TEN_EPOCHS = {
    "epochs": 10,
    "iterations": 3,
    "generator_steps": 7,
    "student_steps": 5,
    "evaluate_every": 5,
    "warmup": 0.2,
}
SHORT = {"epochs": 2, "iterations": 1, "schedule": "sequential", "evaluate_on": "none"}


def predict(recipe: Recipe) -> tuple[Distillation, Estimate]:
    run = Distillation(recipe)
    return run, estimate(run.setting, run.state.formats, concurrent=run.concurrent)


def probe(**changes: object) -> _Probe:
    setting = Setting(mini(**changes))
    return _Probe(setting, LoopState(setting).formats)


def test_the_bytes_are_those_of_the_run():
    run, found = predict(mini(**SHORT, views=2))
    written = 0
    for event in run:
        if event.kind == "batch_synthesised":
            written += sum(a.nbytes for a in event.arrays.values())
    pool = run.state.pool
    columns = [
        column
        for buffer in pool.buffers.values()
        for column in (buffer.images, buffer.labels, buffer.origin, *buffer.extras.values())
    ]
    per_image = sum(column[: len(pool)].nbytes for column in columns) / len(pool)
    assert found.pool == per_image * len(pool)
    students = 4 * sum(t.nbytes for t in run.state.student.state_dict().values())
    assert written <= found.folder <= 1.05 * written + students


def test_an_estimate_leaves_the_run_as_it_is():
    plain = Distillation(mini(**SHORT))
    run, _ = predict(mini(**SHORT))
    list(plain), list(run)
    expected = plain.state.tensors()
    assert all(expected[name].equal(found) for name, found in run.state.tensors().items())


def test_the_time_of_a_sequential_run_is_the_sum_of_its_parts():
    found = probe(**TEN_EPOCHS)
    t = _Seconds(generator_step=1, batch=10, student_step=100, test=1000, tests_once=50)
    images, student = 10 * 3 * (7 * 1 + 10), 8 * (5 * 100 + 1000)
    assert found._total(t, concurrent=False) == images + student + 50


@pytest.mark.parametrize(("student_step", "slower"), [(100, "student"), (1, "generator")])
def test_concurrently_the_slower_side_counts(student_step, slower):
    found = probe(**TEN_EPOCHS)
    t = _Seconds(generator_step=1, batch=10, student_step=student_step, test=0, tests_once=0)
    images, student = 3 * (7 * 1 + 10), 5 * student_step
    assert (student > images) == (slower == "student")
    expected = 2 * images + images + 7 * max(images, student) + student
    assert found._total(t, concurrent=True) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"resolutions": [28, 16]},
        {"source": "pixels"},
        {"weights.aed": 5.0, "embedding": "center", "batch": 20},
        {"schedule": "concurrent"},
        {"evaluate_on": "none"},
        {"classes": [1]},
    ],
    ids=str,
)
def test_every_kind_of_run_can_be_estimated(changes):
    _, found = predict(mini(**changes))
    assert found.seconds > 0 and found.pool > 0 and found.folder > 0 and found.network == 0
    assert found.memory is None or found.memory > 2**26


def test_sizes_and_times_as_text():
    assert [size(n) for n in (0, 400, 68_000, 12e6, 1.34e9, 2e13)] == [
        "0.0 kB",
        "0.4 kB",
        "68 kB",
        "12 MB",
        "1.3 GB",
        "20,000 GB",
    ]
    assert [time_span(s) for s in (0.2, 75, 300, 9000)] == ["1 s", "75 s", "5 min", "2.5 h"]


def test_a_few_real_images_of_one_class_are_enough(tmp_path):
    (tmp_path / "Bag").mkdir()
    for i in range(3):
        Image.new("L", (28, 28), 80 * i).save(tmp_path / "Bag" / f"{i}.png")
    _, found = predict(mini(real_images=str(tmp_path)))
    assert found.seconds > 0


def test_an_estimate_ends_when_it_is_no_longer_wanted():
    run = Distillation(mini())
    assert cost_of(run, lambda: False) == ""
    assert cost_of(run, lambda: True).startswith("Estimated cost: about")


def test_a_failed_estimate_is_no_reason_not_to_run(monkeypatch):
    run = Distillation(mini())
    monkeypatch.setattr("kgen.engine.estimate.StudentTrainer.step", lambda self: 1 / 0)
    assert "could not be estimated (ZeroDivisionError)" in cost_of(run, lambda: True)
