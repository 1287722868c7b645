"""Where an embedding is drawn on the page: a fitted 2-D layout of real examples, and new points
placed among them.

A point is placed by its nearest neighbors in the layout, so placing it never moves another point.
Fitting (UMAP) runs in a separate process, `python -m app.archive.projection fit REFERENCE OUT`,
which also makes the bundled layouts. The app never imports numba, because numba crashes the whole
process if threads collide in it.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from kgen.errors import KGenError
from kgen.nets.own_code import child_environment
from kgen.system.files import write_durably
from kgen.system.paths import ASSETS, ROOT, HomeError, writable_home
from kgen.zoo import zoo

NEIGHBORS = 5
MAX_EXAMPLES = 2_000
FIT_SECONDS = 180.0
LAYOUT = "layout.safetensors"


class LayoutError(KGenError, ValueError):
    """An unusable layout or reference file; the message is one sentence."""

    code = "layout"


@dataclass(frozen=True)
class Layout:
    """Real examples and their positions: embedding f32 [n,d], xy f32 [n,2] in 0..1; images u8
    [n,c,l,l] if stored.
    """

    embedding: np.ndarray
    xy: np.ndarray
    labels: np.ndarray
    images: np.ndarray | None = None

    @functools.cached_property
    def heights(self) -> np.ndarray:
        """The height of each example in three dimensions, f32 [n] in 0..1: the main direction of
        what x and y do not show.
        """
        return height(self.embedding, self.xy)

    def project_3d(self, points: np.ndarray, k: int = NEIGHBORS) -> np.ndarray:
        """[m,d] → [m,3]: x and y as in `project`, and the height from the same neighbors."""
        index, weight = self._neighbors(points, k)
        xyz = np.concatenate([self.xy, self.heights[:, None]], 1)
        return (xyz[index] * weight[:, :, None]).sum(1).astype(np.float32)

    def project(self, points: np.ndarray, k: int = NEIGHBORS) -> np.ndarray:
        """[m,d] → [m,2]: the mean position of the k nearest examples, weighted by 1/distance. An
        example maps to its own position.
        """
        index, weight = self._neighbors(points, k)
        return (self.xy[index] * weight[:, :, None]).sum(1).astype(np.float32)

    def _neighbors(self, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        index, distance = nearest(points, self.embedding, k)
        weight = 1.0 / np.maximum(distance, 1e-6)
        exact = distance < 1e-6
        weight = np.where(exact.any(1, keepdims=True), exact, weight)
        return index, weight / weight.sum(1, keepdims=True)


def height(embedding: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """[n,d], [n,2] → f32 [n] in 0..1: the first principal component of the embedding after removing
    what is linear in x and y.
    """
    if len(embedding) < 4:
        return np.full(len(embedding), 0.5, np.float32)
    centered = embedding.astype(np.float64) - embedding.mean(0)
    design = np.column_stack([np.ones(len(xy)), xy])
    residual = centered - design @ np.linalg.lstsq(design, centered, rcond=None)[0]
    _, _, rows = np.linalg.svd(residual, full_matrices=False)
    component = residual @ (rows[0] * np.sign(rows[0][np.abs(rows[0]).argmax()]))
    return ((component - component.min()) / max(np.ptp(component), 1e-9)).astype(np.float32)


def nearest(points: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(index [m,k], Euclidean distance [m,k]) of the k nearest `candidates`, nearest first."""
    points, candidates = points.astype(np.float32), candidates.astype(np.float32)
    k = min(k, len(candidates))
    squared = np.maximum(
        (points**2).sum(1)[:, None] + (candidates**2).sum(1)[None] - 2 * points @ candidates.T, 0
    )
    unsorted = np.argpartition(squared, k - 1, axis=1)[:, :k]
    # recompute without cancellation of large squares, so that an example's distance to itself is
    # exactly 0
    exact = np.sqrt(((points[:, None, :] - candidates[unsorted]) ** 2).sum(2))
    order = np.argsort(exact, axis=1, kind="stable")
    return np.take_along_axis(unsorted, order, 1), np.take_along_axis(exact, order, 1)


def bundled(teacher: str) -> Path:
    """Path of the layout of a zoo teacher, if it has one."""
    return ASSETS / f"{teacher}.layout.safetensors"


def load(path: Path, checksum: str | None = None) -> Layout | None:
    """A layout file; None if it is missing, damaged, or made for another version of the teacher."""
    try:
        fitted_for = zoo.header(path).get("teacher_sha256")
        arrays = load_arrays(path.read_bytes())
        if checksum and fitted_for and fitted_for != checksum:
            return None
        return Layout(
            arrays["embedding"].astype(np.float32),
            arrays["xy"],
            arrays["labels"],
            arrays.get("images"),
        )
    except Exception:  # noqa: BLE001  if a layout is missing or broken, a new one is fitted
        return None


# --- fitting: the only part that needs umap ------------------------------------------------------


def fit(embedding: np.ndarray, seed: int = 0) -> np.ndarray:
    """UMAP to 2-D, stretched to 0..1 on both axes. [n,d] → f32 [n,2]. Bit-reproducible on one
    machine.
    """
    if len(embedding) < 4:
        return np.linspace(0.25, 0.75, len(embedding), dtype=np.float32)[:, None].repeat(2, 1)
    import umap

    reducer = umap.UMAP(
        n_neighbors=min(15, len(embedding) - 1),
        min_dist=0.3,
        random_state=seed,
        n_jobs=1,
        init="spectral" if len(embedding) > 20 else "random",
    )
    xy = np.asarray(reducer.fit_transform(embedding.astype(np.float32)), np.float64)
    low, high = xy.min(0), xy.max(0)
    return ((xy - low) / np.maximum(high - low, 1e-9)).astype(np.float32)


def fit_file(reference: Path, out: Path, teacher_sha256: str = "") -> int:
    """Fit a layout to a reference file (embedding, labels, images if any), or to the synthetic
    images in a folder of batches; returns the number of examples."""
    if reference.is_dir():
        arrays = _load_batches(reference)
    elif reference.suffix == ".npz":
        with np.load(reference) as file:
            arrays = {k: file[k] for k in file.files}
    else:
        arrays = load_arrays(reference.read_bytes())
    if missing := {"embedding", "labels"} - arrays.keys():
        raise LayoutError(
            f"{reference} has no {' or '.join(sorted(missing))}; expected a run's"
            " reference.safetensors.",
            code="no-embedding",
            lacking=sorted(missing),
        )
    finite_rows = np.flatnonzero(np.isfinite(arrays["embedding"]).all(1))[:MAX_EXAMPLES]
    if not len(finite_rows):
        raise LayoutError(
            f"{reference} has no embedding with only finite numbers.",
            code="not-finite",
        )
    layout: dict[str, np.ndarray] = {
        k: np.ascontiguousarray(arrays[k][finite_rows])
        for k in ("embedding", "labels", "images")
        if k in arrays
    }
    layout["embedding"] = layout["embedding"].astype(np.float16)
    layout["xy"] = fit(layout["embedding"])
    method = json.dumps({"method": "UMAP", "n_neighbors": 15, "min_dist": 0.3, "seed": 0})
    write_durably(out, save_arrays(layout, {"teacher_sha256": teacher_sha256, "layout": method}))
    return len(finite_rows)


def _load_batches(folder: Path) -> dict[str, np.ndarray]:
    """Embeddings and labels of a run's newest batches, MAX_EXAMPLES or a few more."""
    batches: list[dict[str, np.ndarray]] = []
    for path in sorted(folder.glob("*.safetensors"), reverse=True):
        batches.append(load_arrays(path.read_bytes()))
        if sum(len(batch["labels"]) for batch in batches) >= MAX_EXAMPLES:
            break
    if not batches:
        raise LayoutError(
            f"{folder} has no batches of images.",
            code="no-images",
        )
    return {k: np.concatenate([batch[k] for batch in batches]) for k in ("embedding", "labels")}


if sys.platform == "win32":
    LOW_PRIORITY = subprocess.BELOW_NORMAL_PRIORITY_CLASS
else:
    LOW_PRIORITY = 0  # --nice does this in the command itself


class Fitter:
    """One fit in a separate low-priority process, killed if it takes too long or the app closes.

    It is a new command rather than a fork: numba does not survive a fork, and `multiprocessing`
    would import launch.py again.
    """

    def __init__(self, reference: Path, out: Path, teacher_sha256: str = ""):
        command = [
            sys.executable,
            "-m",
            "app.archive.projection",
            "fit",
            str(reference),
            str(out),
            "--checksum",
            teacher_sha256,
            "--nice",
        ]
        single_threaded = {
            name: "1"
            for name in (
                "NUMBA_NUM_THREADS",
                "OMP_NUM_THREADS",
                "OPENBLAS_NUM_THREADS",
                "MKL_NUM_THREADS",
            )
        }
        self._temporary: tempfile.TemporaryDirectory | None = None
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=child_environment() | single_threaded | self._cache_variable(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=LOW_PRIORITY,
            start_new_session=sys.platform != "win32",
        )
        self._deadline = time.monotonic() + FIT_SECONDS

    def _cache_variable(self) -> dict[str, str]:
        """Where numba stores what it compiles, if the user has not said where and umap's own folder
        is not writable; without such a place, umap cannot even be imported. numba executes what it
        finds there, so it must be a folder that no one else can write to.
        """
        spec = importlib.util.find_spec("umap")
        places = (spec and spec.submodule_search_locations) or ()
        if "NUMBA_CACHE_DIR" in os.environ or any(os.access(place, os.W_OK) for place in places):
            return {}
        try:
            folder = writable_home() / "numba"
            folder.mkdir(mode=0o700, exist_ok=True)
        except (HomeError, OSError):
            self._temporary = tempfile.TemporaryDirectory(prefix="kgen-")
            return {"NUMBA_CACHE_DIR": self._temporary.name}
        return {"NUMBA_CACHE_DIR": str(folder)}

    def poll(self) -> str:
        """fitting, ready or failed."""
        code = self._process.poll()
        if code is None and time.monotonic() > self._deadline:
            self.close()
            return "failed"
        return "fitting" if code is None else "ready" if code == 0 else "failed"

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._temporary:
            self._temporary.cleanup()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app.archive.projection", description=__doc__.partition("\n\n")[0]
    )
    command = parser.add_subparsers(required=True).add_parser(
        "fit", help="fit a layout to real examples with UMAP"
    )
    command.add_argument(
        "reference",
        type=Path,
        help=(
            "a run's reference.safetensors, an .npz with embedding, labels, images, or a folder of"
            " batches"
        ),
    )
    command.add_argument(
        "out", type=Path, help="file to write, for example assets/fashion-cnn.layout.safetensors"
    )
    command.add_argument(
        "--teacher",
        help="name of the teacher that made the embeddings; its checksum is stored in the file",
    )
    command.add_argument("--checksum", default="", help="the checksum itself, instead of --teacher")
    command.add_argument("--nice", action="store_true", help="run at low priority")
    args = parser.parse_args(arguments)
    if args.nice and hasattr(os, "nice"):
        os.nice(10)
    try:
        n = fit_file(
            args.reference,
            args.out,
            zoo.checksum(args.teacher) if args.teacher else args.checksum,
        )
    except (LayoutError, zoo.ZooError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {n} examples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
