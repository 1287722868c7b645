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
COVERAGE = 0.98
"""Share of the points that must be inside the picture."""


def principal(
    vectors: np.ndarray, k: int = DIMENSIONS, leading: np.ndarray | None = None
) -> np.ndarray:
    """[n,d] → orthonormal [d,≤k]: `leading` first, then the directions of largest variance
    orthogonal to it. Signs are fixed so that the largest component is positive.
    """
    basis = np.zeros((vectors.shape[1], 0)) if leading is None else leading
    centered = vectors - vectors.mean(0)
    centered = centered - centered @ basis @ basis.T
    _, singular_values, rows = np.linalg.svd(centered, full_matrices=False)
    rows = rows[: k - basis.shape[1]][
        singular_values[: k - basis.shape[1]] > 1e-6 * max(1e-12, singular_values[0])
    ]
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(1)])
    return np.concatenate([basis, (rows * signs[:, None]).T], 1)


def procrustes_rotation(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The orthogonal [k,k] matrix that brings `points` [n,k] closest to `target` [n,k], rotating
    about their means (Procrustes).
    """
    u, _, v = np.linalg.svd((points - points.mean(0)).T @ (target - target.mean(0)))
    return u @ v


class StudentSpace:
    """Adds tests in order; each depends only on those before it."""

    def __init__(self) -> None:
        self._half_extent = 0.0
        self._basis: np.ndarray | None = None
        self._previous: tuple[dict[tuple[int, int], np.ndarray], np.ndarray] | None = None

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
                    principal(np.concatenate([embedding, reference]), leading=axes)
                    if axes.shape[1] < DIMENSIONS
                    else axes
                )
            basis, center, kind = self._basis, anchors.mean(0), "anchors"
        else:
            all_points = np.concatenate([embedding, reference])
            basis, center, kind = principal(all_points), all_points.mean(0), "principal"
        positions, real, anchor_points = (
            _padded((v - center) @ basis) for v in (embedding, reference, anchors)
        )
        if kind == "principal" and self._previous is not None:
            previous, previous_real = self._previous
            common = [i for i, image in enumerate(images) if image in previous]
            current, matching = (
                positions[common],
                np.array([previous[images[i]] for i in common]).reshape(-1, DIMENSIONS),
            )
            if len(previous_real) == len(real):
                current, matching = (
                    np.concatenate([current, real]),
                    np.concatenate([matching, previous_real]),
                )
            if len(current) > DIMENSIONS:
                rotation = procrustes_rotation(current, matching)
                positions, real = positions @ rotation, real @ rotation
        self._previous = (dict(zip(images, positions)), real)
        extents = [np.quantile(np.abs(p).max(1), COVERAGE) for p in (positions, real) if len(p)]
        d = embedding.shape[1]
        scaled_radii = (
            [float(np.sqrt(d * r)) for r in radii] if radii and len(anchors) > 1 else None
        )
        if scaled_radii:
            extents.append(np.abs(anchor_points).max() + scaled_radii[1])
        self._half_extent = max(
            self._half_extent, 1.05 * max(extents, default=1.0), 1e-6
        )  # only grows, so that no test looks larger than the one before

        def columns(p: np.ndarray) -> dict[str, list[float]]:
            p = np.round(0.5 + 0.5 * p / self._half_extent, 4)
            return dict(zip("xyz", p.T.tolist()))

        out: dict[str, Any] = {
            "axes": kind,
            "iteration": view["iteration"].tolist(),
            "pos": view["pos"].tolist(),
            "c": view["labels"].tolist(),
            **columns(positions),
            "reference": columns(real),
            "half": round(float(self._half_extent), 4),
        }
        if len(anchors) > 1:
            out |= {
                "anchors": columns(anchor_points),
                "radii": scaled_radii
                and [round(0.5 * v / self._half_extent, 5) for v in scaled_radii],
            }
        return out


def _padded(points: np.ndarray) -> np.ndarray:
    return np.pad(points, ((0, 0), (0, DIMENSIONS - points.shape[1])))


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
