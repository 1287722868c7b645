"""The student's view in a stable plane: what an orthonormal projection guarantees, and what
Procrustes undoes.
"""

from __future__ import annotations

import numpy as np
import pytest

from app.archive.student_space import StudentSpace, principal, procrustes_rotation

D, K, N, M = 16, 5, 40, 30
RADII = (0.015, 0.03)


def view(
    seed: int, turned: np.ndarray | None = None, anchors: bool = False
) -> dict[str, np.ndarray]:
    """A test's arrays: the same points whatever `turned` is, in a different coordinate system."""
    rng = np.random.default_rng(seed)
    spread = np.r_[5.0, 3.0, 2.0, np.full(D - 3, 0.1)]
    every = rng.normal(size=(N + M, D)) * spread
    every = every if turned is None else every @ turned
    found = {
        "iteration": np.arange(N) // 10,
        "pos": np.arange(N) % 10,
        "labels": np.arange(N) % K,
        "embedding": every[:N].astype(np.float16),
        "reference": every[N:].astype(np.float16),
    }
    return found | (
        {"anchors": np.random.default_rng(99).normal(size=(K, D)).astype(np.float16)}
        if anchors
        else {}
    )


def xyz(columns: dict) -> np.ndarray:
    return np.column_stack([columns["x"], columns["y"], columns["z"]])


def test_axes_are_orthonormal_and_those_of_the_largest_variance():
    vectors = view(0)["embedding"].astype(float)
    axes = principal(vectors)
    assert axes.shape == (D, 3) and np.allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    values = np.sort(np.linalg.eigvalsh(np.cov(vectors.T, bias=True)))[::-1]
    assert np.allclose(((vectors - vectors.mean(0)) @ axes).var(0), values[:3])
    assert (
        np.array_equal(axes, principal(vectors))
        and (np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0) > 0).all()
    )


def test_a_ball_round_an_anchor_becomes_a_disc_of_exactly_its_radius():
    space, seen = StudentSpace(), view(1, anchors=True)
    out = space.add(seen, RADII)
    axes = principal(seen["anchors"].astype(float))
    rng = np.random.default_rng(3)
    for r, told in zip(RADII, out["radii"]):
        sphere = rng.normal(size=(4_000, D))
        sphere *= np.sqrt(D * r) / np.linalg.norm(
            sphere, axis=1, keepdims=True
        )  # where the mean squared error is r
        assert np.allclose((sphere**2).mean(1), r)
        flat = np.linalg.norm(sphere @ axes[:, :2], axis=1)
        edge = axes[:, 0] * np.sqrt(D * r)
        assert flat.max() <= np.sqrt(D * r) + 1e-9 and np.linalg.norm(
            edge @ axes[:, :2]
        ) == pytest.approx(np.sqrt(D * r))
        assert told == pytest.approx(0.5 * np.sqrt(D * r) / out["half"], abs=1e-4)


def test_anchors_do_not_move_between_tests_but_for_the_scale():
    space = StudentSpace()
    first, second = space.add(view(1, anchors=True), RADII), space.add(view(2, anchors=True), RADII)
    a, b = ((xyz(out["anchors"]) - 0.5) * 2 * out["half"] for out in (first, second))
    assert (
        first["axes"] == "anchors"
        and np.allclose(a, b, atol=2e-4 * second["half"])
        and second["half"] >= first["half"]
    )


def test_a_turned_embedding_is_turned_back():
    """The game is off: the second test sees exactly the same points in a mirrored and rotated
    coordinate system.
    """
    q, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(D, D)))
    space = StudentSpace()
    first, second = space.add(view(4), None), space.add(view(4, turned=q), None)
    assert second["axes"] == "principal" and np.allclose(xyz(first), xyz(second), atol=5e-3)
    assert np.allclose(xyz(first["reference"]), xyz(second["reference"]), atol=5e-3)
    again = StudentSpace()
    assert again.add(view(4), None) == first and again.add(view(4, turned=q), None) == second, (
        "it depends on nothing else"
    )


def test_procrustes_is_the_best_turn():
    rng = np.random.default_rng(0)
    a, (q, _) = rng.normal(size=(30, 3)), np.linalg.qr(rng.normal(size=(3, 3)))
    assert np.allclose(a @ procrustes_rotation(a, a @ q), a @ q)


def test_few_classes_few_dimensions_and_invalid_numbers_are_no_obstacle():
    seen = view(5, anchors=True)
    two = seen | {"anchors": seen["anchors"][:2]}
    out = StudentSpace().add(two, RADII)
    assert len(out["anchors"]["x"]) == 2 and np.isfinite(xyz(out)).all()
    flat = {k: v[:, :2] if k in ("embedding", "reference") else v for k, v in view(6).items()}
    flat["embedding"][0] = np.nan
    assert set(StudentSpace().add(flat, None)["z"]) == {0.5}
    alone = {k: v for k, v in view(6).items() if k != "reference"}
    assert StudentSpace().add(alone, None)["reference"] == {"x": [], "y": [], "z": []}
