"""The exchange rate: how many real photos teach as much as a run's synthetic images."""

from __future__ import annotations

import functools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file

from kgen.data import data
from kgen.data.data import DataError, RealImages
from kgen.engine.student_training import StudentTrainer as learners
from kgen.journal.reading import open_run
from kgen.journal.runner import Runner
from kgen.system import paths
from kgen.worth import worth
from kgen.worth.exchange import FILE, Point, Worth, exchange, read, summary
from kgen.worth.worth import Retraining, WorthError, downscale, measure, rebuild_pool, shares
from tests.support.errors import raises
from tests.support.small import few_images, mini


@functools.cache
def few_training_images(name: str, folder=None, download=False, side=None) -> RealImages:
    """No real training set is bundled; 400 of the test images stand in for one."""
    return data._fashion(paths.ASSETS / "fashion-mnist", "t10k").stratified(400, seed=7)


@pytest.fixture
def real(monkeypatch):
    monkeypatch.setattr(data, "test_set", few_images)
    monkeypatch.setattr(data, "training_set", few_training_images)


@pytest.fixture
def run(real, tmp_path):
    Runner.new(mini(), tmp_path / "run").run()
    return open_run(tmp_path / "run")


# --- where a curve reaches an accuracy ------------------------------------------------------------


def test_between_two_points_the_logarithm_decides():
    curve = [(10, 0.2), (40, 0.4), (160, 0.8)]
    assert exchange(0.3, curve).photos == 20 and exchange(0.6, curve).photos == 80
    assert [(r.photos, r.bound) for r in (exchange(a, curve) for a in (0.2, 0.4, 0.8))] == [
        (10, ""),
        (40, ""),
        (160, ""),
    ]
    assert [(r.photos, r.bound) for r in (exchange(0.1, curve), exchange(0.9, curve))] == [
        (10, "fewer"),
        (160, "more"),
    ]


def test_more_photos_never_count_as_worse():
    """At 20 photos the student was unlucky: what 10 teach, 20 teach too."""
    assert exchange(0.45, [(10, 0.4), (20, 0.3), (40, 0.5)]).photos == round(
        math.exp((math.log(20) + math.log(40)) / 2)
    )


@given(
    st.lists(st.integers(0, 100), min_size=2, max_size=6), st.integers(0, 100), st.integers(0, 100)
)
def test_a_better_student_is_never_worth_fewer_photos(reached, a, b):
    curve = [(10 * 2**i, r / 100) for i, r in enumerate(reached)]
    low, high = (exchange(x / 100, curve) for x in sorted((a, b)))
    assert low.photos <= high.photos and 10 <= low.photos <= curve[-1][0]


# --- what the students learn from -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pool_policy": "fifo"},
        {"pool_policy": "reservoir"},
        {"admit": "recognized"},
        {"resolutions": (20, 28), "batches": (12, 8)},
        {"evaluate_on": "none"},
    ],
)
def test_the_pool_is_what_the_run_had(real, tmp_path, changes):
    """Rebuilt from the batches, image by image; also if a part was held out to test the
    student on.
    """
    runner = Runner.new(mini(ratio=0.0004, **changes), tmp_path / "run")
    runner.run()
    had = runner.distillation.state.pool.buffers
    found = rebuild_pool(open_run(tmp_path / "run"), runner.distillation.setting)
    assert {side: len(buffer) for side, buffer in had.items() if len(buffer)} == {
        side: len(labels) for side, (_, labels) in found.items()
    }
    for side, (images, labels) in found.items():
        assert torch.equal(images, had[side].images) and torch.equal(
            labels, had[side].labels[: len(labels)]
        )


def test_photos_are_balanced_and_nested(real):
    retraining = Retraining(mini(classes=("Bag", "Coat", "Sandal")))
    photos = retraining.photos()
    assert set(photos.labels.tolist()) == set(retraining.setting.selected) and len(photos) == 3 * 40
    for n in range(3, 120):
        counts = np.unique(photos.labels[:n], return_counts=True)[1]
        assert len(counts) == 3 and counts.max() - counts.min() <= 1
    other = Retraining(mini(classes=("Bag", "Coat", "Sandal"), seed=1)).photos()
    assert not np.array_equal(photos.images[:3], other.images[:3])


def test_a_photo_is_scaled_without_aliasing():
    """A checkerboard of single pixels becomes gray at half its size."""
    board = (np.indices((28, 28)).sum(0) % 2 * 255).astype(np.uint8)[None, None]
    half = downscale(board, 14)
    assert (
        half.shape == (1, 1, 14, 14)
        and half.dtype == torch.uint8
        and half[..., 2:-2, 2:-2].float().sub(127.5).abs().max() < 3
    )
    assert torch.equal(downscale(board, 28), torch.from_numpy(board))


@given(
    st.dictionaries(st.sampled_from([16, 20, 28]), st.integers(1, 500), min_size=1),
    st.integers(1, 1000),
)
def test_shares_are_whole_and_in_proportion(counts, n):
    found = shares(counts, n)
    assert sum(found.values()) == n and all(
        abs(found[side] - n * count / sum(counts.values())) <= len(counts)
        for side, count in counts.items()
    )


# --- measuring ------------------------------------------------------------------------------------


def test_students_differ_only_in_their_images(real):
    """The same images teach the same student, whatever was trained before."""
    retraining = Retraining(mini())
    photos = retraining.photos()
    first = retraining.train_on_photos(photos, {28: 40})
    retraining.train_on_photos(photos, {28: 10})
    assert retraining.train_on_photos(photos, {28: 40}) == first
    assert Retraining(mini()).train_on_photos(photos, {28: 40}) == first


def test_more_images_than_one_forward_pass_holds(real, monkeypatch):
    retraining = Retraining(mini(views=2))
    photos = retraining.photos()
    whole = retraining.train_on_photos(photos, {28: 40})
    monkeypatch.setattr("kgen.evaluate.BATCH", 16)
    held = []
    monkeypatch.setattr(
        worth,
        "StudentTrainer",
        lambda setting, state: held.append(state.pool) or learners(setting, state),
    )
    assert 0 <= retraining.train_on_photos(photos, {28: 40}) <= 1 and 0 <= whole <= 1
    (buffer,) = held[0].buffers.values()
    assert (
        len(buffer) == 40
        and torch.equal(buffer.images, torch.from_numpy(photos.images[:40]))
        and buffer.extras["views"].shape[:2] == (40, 2)
    )


def test_weighing_keeps_each_point_and_goes_on(run, monkeypatch):
    answers, trained = iter((0.35, 0.6, 0.5, 0.4)), []

    def on(self, buffers, progress=None):
        trained.append(sum(len(labels) for _, labels in buffers.values()))
        return next(answers)

    monkeypatch.setattr(Retraining, "train_on", on)
    steps = measure(run)
    next(steps), next(steps), next(steps)
    steps.close()  # interrupted after the pool and as many photos
    assert trained == [60, 60] and [(p.images, p.real) for p in read(run).points] == [
        (60, False),
        (60, True),
    ]
    *_, found = measure(run)
    assert trained == [60, 60, 30, 15] and found == read(
        run
    )  # seven photos would be fewer than the classes
    assert (
        found.pool == "attempt 1, 6 iterations"
        and found.rate.bound == "fewer"
        and re.findall(r"\d+|less|more", summary(found)) == ["60", "less", "15"]
    )
    assert [*measure(run)][-1] == found and len(trained) == 4


@pytest.mark.slow
def test_real_trainings_end_to_end(run, capsys):
    from kgen.__main__ import cli

    with pytest.raises(SystemExit) as ended:
        cli(["worth", str(run.path), "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ended.value.code == 0 and lines[-1]["points"] == lines[:-1]
    found = read(run)
    assert (found.n, found.steps) == (100, run.recipe.total_student_steps)
    pool = sum(
        int(load_file(f)["entered"].sum()) for f in (run.path / "batches").glob("*.safetensors")
    )
    assert (
        pool == 60
        and found.synthetic.images == pool
        and [p.images for p in found.photographs] == [15, 30, 60]
    )
    assert lines[-1]["photos_worth"] == found.rate.photos
    with pytest.raises(SystemExit):
        cli(["worth", str(run.path)])
    assert summary(found) in capsys.readouterr().out


@pytest.mark.slow
def test_a_changed_measure_starts_over(run):
    old = Worth(n=7, steps=1, seed=0, points=[Point(images=24, real=True, accuracy=0.9)])
    (run.path / FILE).write_text(old.model_dump_json())
    assert next(measure(run)).points == []
    (run.path / FILE).write_text("{")
    assert read(run) is None and next(measure(run)).points == []


# --- what cannot be measured ----------------------------------------------------------------------


def test_refusals_say_what_is_missing(real, tmp_path, monkeypatch):
    with raises(WorthError, "no-student"):
        Retraining(mini(classes=("Bag",)))
    retraining = Retraining(mini())
    lacks = few_training_images("fashion-mnist")
    monkeypatch.setattr(
        data, "training_set", lambda *a, **k: lacks.take(np.flatnonzero(lacks.labels != 3))
    )
    with raises(DataError, "no-images", "Dress", lacking="Dress"):
        retraining.photos()
    Runner.new(mini(), tmp_path / "run").run()
    for file in (tmp_path / "run" / "batches").glob("*"):
        file.unlink()
    monkeypatch.setattr(data, "training_set", few_training_images)
    with raises(WorthError, "no-images", f"kgen resume {tmp_path / 'run'}"):
        list(measure(open_run(tmp_path / "run"), None))
    assert not (tmp_path / "run" / FILE).exists()


def test_without_test_images_nothing_is_measured(run, monkeypatch):
    def missing(*words, **options):
        raise DataError("They are not on this machine.", code="no-data", name="x")

    monkeypatch.setattr(data, "test_set", missing)
    with raises(DataError, "no-data", "They are not on this machine.", "--real FOLDER", name="x"):
        list(measure(run))
    assert not (run.path / FILE).exists()


def test_fewer_images_than_classes_are_refused(run, monkeypatch):
    lacks = few_training_images("fashion-mnist")
    monkeypatch.setattr(
        worth,
        "rebuild_pool",
        lambda run, setting: {28: (torch.zeros(7, 1, 28, 28, dtype=torch.uint8), torch.arange(7))},
    )
    with raises(WorthError, "too-few", images=7, photos=400, classes=10):
        list(measure(run))
    assert len(lacks) == 400


def test_a_student_that_diverges_is_reported(real, monkeypatch):
    retraining = Retraining(mini())
    step = learners.step

    def spoilt(self):
        step(self)
        self._loss_sums[0] = math.nan

    monkeypatch.setattr(learners, "step", spoilt)
    with raises(WorthError, "not-finite", "optimizers.student.lr"):
        retraining.train_on_photos(retraining.photos(), {28: 40})


def photo_folder(folder: Path, shade: int) -> Path:
    """Two images of each of two classes."""
    for c in ("Bag", "Coat"):
        (folder / c).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full((28, 28), shade + 10 * i, np.uint8)).save(
                folder / c / f"{i}.png"
            )
    return folder


def test_a_photo_that_is_tested_on_teaches_nobody(real, tmp_path):
    tested = photo_folder(tmp_path / "tested", 10)
    retraining = Retraining(mini(classes=("Bag", "Coat"), real_images=str(tested)))
    assert retraining.tested == 4
    with raises(DataError, "no-images", "Bag", lacking="Bag"):
        retraining.photos(str(tested))
    others = photo_folder(tmp_path / "others", 90)
    (others / "Bag" / "0.png").unlink()
    (others / "Bag" / "0.png").symlink_to(tested / "Bag" / "0.png")
    photos = retraining.photos(str(others))
    assert len(photos) == 3 and photos.images[:].min() >= 90


def test_a_resolution_may_get_no_photo(real):
    retraining = Retraining(mini(resolutions=(20, 28), batches=(12, 8)))
    assert 0 <= retraining.train_on_photos(retraining.photos(), {20: 10, 28: 0}) <= 1


@pytest.mark.slow
def test_a_changed_pool_is_measured_again_and_photos_are_kept(run):
    folder_points = [
        Point(images=60, real=False, accuracy=0.9),
        Point(images=60, real=True, accuracy=0.8),
    ]
    old = Worth(n=100, steps=8, seed=0, pool="attempt 1, 2 iterations", points=folder_points)
    (run.path / FILE).write_text(old.model_dump_json())
    assert next(measure(run)).points == folder_points[1:]
