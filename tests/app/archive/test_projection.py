"""The 2-D layout compared with a slow loop; old points never move; fitting runs in another
process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.archive import projection
from app.archive.projection import Fitter, Layout
from kgen.system.paths import ROOT
from kgen.zoo import zoo
from tests.support.errors import raises
from tests.support.serving import until
from tests.support.unprivileged import without_user


@pytest.fixture
def layout() -> Layout:
    rng = np.random.default_rng(1)
    return Layout(
        rng.normal(size=(80, 6)).astype(np.float32),
        rng.random((80, 2)).astype(np.float32),
        np.arange(80) % 4,
    )


def slow_place(layout: Layout, point: np.ndarray, k: int = 5) -> np.ndarray:
    by_distance = sorted(
        (float(np.sqrt(((point - e) ** 2).sum())), i)
        for i, e in enumerate(layout.embedding.astype(np.float64))
    )[:k]
    total = sum(1 / d for d, _ in by_distance)
    return sum(layout.xy[i] * (1 / d) / total for d, i in by_distance)


def test_points_are_placed_as_the_slow_loop_places_them(layout):
    points = np.random.default_rng(2).normal(size=(30, 6)).astype(np.float32)
    assert np.allclose(
        layout.project(points),
        [slow_place(layout, p.astype(np.float64)) for p in points],
        atol=1e-5,
    )


def test_an_example_lies_on_itself_even_in_half_precision(layout):
    layout = Layout(
        (layout.embedding * 40).astype(np.float16).astype(np.float32), layout.xy, layout.labels
    )
    assert np.array_equal(layout.project(layout.embedding.astype(np.float16)), layout.xy)


def test_a_point_does_not_depend_on_the_points_beside_it(layout):
    points = np.random.default_rng(3).normal(size=(50, 6)).astype(np.float32)
    together = layout.project(points)
    assert np.allclose([layout.project(p[None])[0] for p in points], together, atol=1e-6)
    assert (together >= 0).all() and (together <= 1).all(), (
        "a mean of positions never leaves the map"
    )


def test_nearest_is_sorted_and_right():
    rng = np.random.default_rng(4)
    points, among = rng.normal(size=(9, 5)) + 100, rng.normal(size=(33, 5)) + 100
    index, distance = projection.nearest(points, among, 3)
    slow = np.sqrt(((points[:, None] - among[None]) ** 2).sum(2))
    assert np.array_equal(index, slow.argsort(1)[:, :3]) and np.allclose(
        distance, np.sort(slow, 1)[:, :3], atol=1e-4
    )
    assert projection.nearest(points, among[:2], 5)[0].shape == (9, 2)


def small_reference(path: Path, n: int = 3) -> Path:
    rng = np.random.default_rng(0)
    save_file(
        {
            "embedding": rng.normal(size=(n, 6)).astype(np.float16),
            "labels": np.arange(n),
            "images": np.zeros((n, 1, 8, 8), np.uint8),
        },
        path,
    )
    return path


def test_a_fitter_writes_a_layout_that_can_be_read(tmp_path):
    fitter = Fitter(
        small_reference(tmp_path / "reference.safetensors"), tmp_path / "layout.safetensors", "abc"
    )
    until = time.monotonic() + 60
    while fitter.poll() == "fitting" and time.monotonic() < until:
        time.sleep(0.05)
    assert fitter.poll() == "ready"
    layout = projection.load(tmp_path / "layout.safetensors", "abc")
    assert (
        layout.xy.shape == (3, 2)
        and layout.embedding.shape == (3, 6)
        and layout.images.shape == (3, 1, 8, 8)
    )
    assert projection.load(tmp_path / "layout.safetensors", "another teacher's") is None
    fitter.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_numba_has_a_place_of_its_own_where_site_packages_is_read_only(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)

    def place() -> str | None:
        fitter = Fitter(tmp_path / "not there", tmp_path / "out.safetensors")
        environ = Path(f"/proc/{fitter._process.pid}/environ")
        words = until("it has an environment", environ.read_bytes, 10).split(b"\0")
        found = dict(word.decode().split("=", 1) for word in words if b"=" in word)
        cache = found.get("NUMBA_CACHE_DIR")
        assert cache is None or Path(cache).is_dir()
        fitter.close()
        return cache

    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))
    if os.geteuid() == 0:
        assert place() is None, "it is writable"
    with without_user():
        assert place() == str(tmp_path / "home" / "numba")
        (tmp_path / "file").touch()
        monkeypatch.setenv("KGEN_HOME", str(tmp_path / "file" / "home"))
        temporary = place()
    assert temporary and not Path(temporary).exists()


def test_a_fitter_that_fails_takes_too_long_or_is_closed_leaves_no_process(tmp_path, monkeypatch):
    fails = Fitter(tmp_path / "not there", tmp_path / "out.safetensors")
    monkeypatch.setattr(projection, "FIT_SECONDS", -1.0)
    late = Fitter(
        small_reference(tmp_path / "reference.safetensors"), tmp_path / "late.safetensors"
    )
    assert late.poll() == "failed" and not (tmp_path / "late.safetensors").exists()
    closed = Fitter(tmp_path / "reference.safetensors", tmp_path / "closed.safetensors")
    closed.close()
    assert closed._process.returncode is not None and late._process.returncode is not None
    assert fails._process.wait(60) == 2 and fails.poll() == "failed"
    closed.close()


def test_rows_that_are_not_numbers_are_left_out_and_bad_files_refused(tmp_path):
    embedding = np.ones((4, 6), np.float16)
    embedding[2] = np.nan
    np.savez(tmp_path / "r.npz", embedding=embedding, labels=np.arange(4))
    assert projection.fit_file(tmp_path / "r.npz", tmp_path / "out.safetensors") == 3
    assert load_file(tmp_path / "out.safetensors")["labels"].tolist() == [0, 1, 3]
    np.savez(tmp_path / "bad.npz", labels=np.arange(4))
    with raises(
        projection.LayoutError, "no-embedding", tmp_path / "bad.npz", lacking=["embedding"]
    ):
        projection.fit_file(tmp_path / "bad.npz", tmp_path / "out.safetensors")
    (tmp_path / "broken").write_bytes(b"nonsense")
    assert (
        projection.load(tmp_path / "broken") is None
        and projection.load(tmp_path / "missing") is None
    )


@pytest.mark.parametrize(
    "teacher", [t for t in zoo.TEACHERS if zoo.card(t).data == "fashion-mnist"]
)
def test_a_bundled_layout_belongs_to_its_teacher_and_keeps_classes_together(teacher):
    layout = projection.load(projection.bundled(teacher), zoo.checksum(teacher))
    assert layout is not None, (
        f"recreate it: python -m app.archive.projection fit REFERENCE"
        f" assets/{teacher}.layout.safetensors --teacher {teacher}"
    )
    assert (
        layout.images.shape[1:] == (1, 28, 28)
        and layout.xy.min() >= 0
        and layout.xy.max() <= 1
        and len(layout.xy) >= 200
    )

    # neighbors on the map share a class about as often as neighbors among the embeddings
    def purity(where: np.ndarray) -> float:
        index, _ = projection.nearest(where, where, 6)
        return float((layout.labels[index[:, 1:]] == layout.labels[:, None]).mean())

    assert purity(layout.xy) > 0.8 * purity(layout.embedding) > 0.5


def test_the_app_never_imports_torch_umap_or_numba():
    """In a fresh interpreter, as the app starts; only app.main imports gradio."""
    modules = (
        "app.live.view, app.live.state, app.live.plan, app.web.publish,"
        " app.live.format, app.live.narration, app.archive.sheets, app.archive.projection,"
        " app.process.child, app.archive.archive,"
        " app.process.follow, app.process.runs, app.web.guard, app.pages.routes,"
        " app.process.teacher_checks, app.pages.teacher_routes, app.pages.folder_routes"
    )
    code = f"""
import {modules}, kgen.events, kgen.recipe, kgen.recipes, kgen.journal.journal, kgen.zoo
import kgen.data, sys
kgen.zoo.card('fashion-cnn')
app.live.plan.public_plan(kgen.recipes.get('fashion-live'))
app.archive.projection.load(app.archive.projection.bundled('fashion-cnn'))
print(sorted({{'torch', 'umap', 'numba', 'sklearn', 'gradio'}} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_height_is_what_the_plane_leaves_out_and_moves_nobody():
    """Three hidden coordinates: the plane shows two of them, so the height must be the third."""
    rng = np.random.default_rng(2)
    hidden = rng.random((60, 3))
    embedding = (hidden @ rng.normal(size=(3, 12))).astype(np.float32)
    layout = Layout(embedding, hidden[:, :2].astype(np.float32), np.zeros(60, int))
    assert (
        abs(np.corrcoef(layout.heights, hidden[:, 2])[0, 1]) > 0.99
        or np.linalg.matrix_rank(
            np.c_[hidden, layout.heights] - np.c_[hidden, layout.heights].mean(0), tol=1e-3
        )
        == 3
    )
    assert layout.heights.min() == 0 and layout.heights.max() == 1
    points = rng.normal(size=(20, 12)).astype(np.float32)
    placed = layout.project_3d(points)
    assert np.allclose(placed[:, :2], layout.project(points)) and np.allclose(
        layout.project_3d(embedding)[:, 2], layout.heights
    )
    assert np.array_equal(layout.project_3d(points[:5]), placed[:5]), "other points change nothing"
