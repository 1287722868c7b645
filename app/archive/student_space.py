"""The student's view at each test: projections of its embedding onto one stable plane (and space).
Pure; no files, no clock.

If the embedding in-out game is on, the anchors f_y determine the axes: the first principal
directions of the anchors form an orthonormal basis, so that a class's ball of radius √(d·r) becomes
a disk (in 3-D, a ball) of exactly that radius. If it is off, nothing is fixed: each test has its
own principal axes, rotated to match those of the previous test as closely as possible (orthogonal
Procrustes, on the real images and the synthetic ones that both tests include).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
DIMENSIONS = 3
MOST_SEEN = 0.98
"""Share of the points that must be inside the picture."""


def principal(
    vectors: np.ndarray, k: int = DIMENSIONS, given: np.ndarray | None = None
) -> np.ndarray:
    """[n,d] → orthonormal [d,≤k]: `given` first, then the directions of largest variance orthogonal
    to it. Signs are fixed so that the largest component is positive."""
    basis = np.zeros((vectors.shape[1], 0)) if given is None else given
    centred = vectors - vectors.mean(0)
    centred = centred - centred @ basis @ basis.T
    _, strength, rows = np.linalg.svd(centred, full_matrices=False)
    rows = rows[: k - basis.shape[1]][
        strength[: k - basis.shape[1]] > 1e-6 * max(1e-12, strength[0])
    ]
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(1)])
    return np.concatenate([basis, (rows * signs[:, None]).T], 1)


def turn(points: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The orthogonal [k,k] matrix that brings `points` [n,k] closest to `like` [n,k], rotating
    about their means (Procrustes).
    """
    u, _, v = np.linalg.svd((points - points.mean(0)).T @ (like - like.mean(0)))
    return u @ v


class StudentSpace:
    """Adds tests in order; each depends only on those before it."""

    def __init__(self) -> None:
        self._half = 0.0
        self._basis: np.ndarray | None = None
        self._before: tuple[dict[tuple[int, int], np.ndarray], np.ndarray] | None = None

    def add(self, view: Arrays, radii: tuple[float, float] | None) -> dict[str, Any]:
        """The next test's picture: positions in 0…1 of synthetic images, real images and anchors,
        and the radii on the same scale.
        """
        embedding, reference, anchors = (
            _finite(view.get(name, np.zeros((0, view["embedding"].shape[1]))))
            for name in ("embedding", "reference", "anchors")
        )
        images = list(zip(view["iteration"].tolist(), view["pos"].tolist()))
        if len(anchors) > 1:
            if (
                self._basis is None
            ):  # too few classes or dimensions: completed from the first such test
                axes = principal(anchors)
                self._basis = (
                    principal(np.concatenate([embedding, reference]), given=axes)
                    if axes.shape[1] < DIMENSIONS
                    else axes
                )
            basis, middle, kind = self._basis, anchors.mean(0), "anchors"
        else:
            every = np.concatenate([embedding, reference])
            basis, middle, kind = principal(every), every.mean(0), "principal"
        places, real, fixed = (
            _padded((v - middle) @ basis) for v in (embedding, reference, anchors)
        )
        if kind == "principal" and self._before is not None:
            known, real_before = self._before
            common = [i for i, image in enumerate(images) if image in known]
            mine, theirs = (
                places[common],
                np.array([known[images[i]] for i in common]).reshape(-1, DIMENSIONS),
            )
            if len(real_before) == len(real):
                mine, theirs = np.concatenate([mine, real]), np.concatenate([theirs, real_before])
            if len(mine) > DIMENSIONS:
                how = turn(mine, theirs)
                places, real = places @ how, real @ how
        self._before = (dict(zip(images, places)), real)
        reach = [np.quantile(np.abs(p).max(1), MOST_SEEN) for p in (places, real) if len(p)]
        d = embedding.shape[1]
        lengths = [float(np.sqrt(d * r)) for r in radii] if radii and len(anchors) > 1 else None
        if lengths:
            reach.append(np.abs(fixed).max() + lengths[1])
        self._half = max(
            self._half, 1.05 * max(reach, default=1.0), 1e-6
        )  # only grows, so that no test looks larger than the one before

        def columns(p: np.ndarray) -> dict[str, list[float]]:
            p = np.round(0.5 + 0.5 * p / self._half, 4)
            return dict(zip("xyz", p.T.tolist()))

        out: dict[str, Any] = {
            "axes": kind,
            "iteration": view["iteration"].tolist(),
            "pos": view["pos"].tolist(),
            "c": view["labels"].tolist(),
            **columns(places),
            "reference": columns(real),
            "half": round(float(self._half), 4),
        }
        if len(anchors) > 1:
            out |= {
                "anchors": columns(fixed),
                "radii": lengths and [round(0.5 * v / self._half, 5) for v in lengths],
            }
        return out


def _padded(points: np.ndarray) -> np.ndarray:
    return np.pad(points, ((0, 0), (0, DIMENSIONS - points.shape[1])))


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
