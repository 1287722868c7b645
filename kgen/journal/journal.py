"""The run folder, for writing: the interface between the engine and everything else.

One process writes it with this module; any number of processes read it (`kgen.journal.reading`).
Depends on files, recipes and events, not on torch (only `write_checkpoint` imports it, on call).
The order of writes is batch, event, checkpoint, so every file that an event names exists. A resume
goes back to the last complete checkpoint and cuts `events.jsonl` at its offset; `attempt` in
run.json tells readers to start over.
"""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays

from kgen import events
from kgen.journal.reading import FOLDERS, RECIPE_FILE, JournalError, Run, open_run
from kgen.recipe.recipe import Recipe
from kgen.system.files import FolderLock, Locked, is_text, sync_file, sync_folder, write_durably

if TYPE_CHECKING:
    from torch import Tensor

PREVIEW_SECONDS = 0.25
HISTORY_AXES = {"previews": 1, "preview_confidence": 1, "preview_positions": 0}
"""Arrays of a batch's step-by-step history, and the axis of their images."""


class Journal:
    """The writing side of a run folder, for one process at a time; see `create` and `reopen`.

    On an OSError from the operating system (disk full, read-only), nothing is left half-written.
    """

    def __init__(self, path: Path, offset: int):
        self.path = path
        self._lock = FolderLock(path)
        try:
            self._events = (path / "events.jsonl").open("ab", buffering=0)
        except OSError:
            self._lock.release()
            raise
        try:
            self._events.truncate(offset)
            self.drive_warnings = tuple(_drive_warnings(path, self._lock))
        except BaseException:  # Ctrl-C as well
            self.close()
            raise
        self._offset = offset
        self._last_preview = 0.0
        self._preview_bytes = 0
        self.run = Run(path)

    @staticmethod
    def require_free(path: str | Path) -> None:
        """Raises JournalError if no new run folder can have this path. Creates nothing."""
        path = Path(path)
        if not is_text(path):
            raise JournalError(
                f"The name of the run folder {path} contains bytes that are not valid text, so"
                " other programs could not open its files; choose another name with --out.",
                code="invalid-name",
                file=str(path),
            )
        if path.exists() and not _is_unfinished(path):
            raise JournalError(
                f"{path} already exists and is not empty; choose another folder with --out, or"
                " resume the run in it.",
                code="exists",
                file=str(path),
            )

    @classmethod
    def create(cls, path: str | Path, recipe: Recipe, **info: Any) -> Journal:
        """A new run folder. JournalError if it already exists and is not empty.

        A folder created here becomes a run when its recipe is written.
        """
        path = Path(path)
        cls.require_free(path)
        try:
            for subfolder in FOLDERS:
                (path / subfolder).mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            write_durably(
                path / "run.json",
                _json(_versions() | info | {"attempt": 1, "id": secrets.token_hex(6)}),
            )
            write_durably(path / RECIPE_FILE, recipe.to_json().encode())
            return cls(path, 0)
        except OSError as error:
            raise JournalError(
                f"{_write_error(path, error)} Choose another folder with --out.",
                code="unwritable",
                file=str(path),
            ) from None

    @classmethod
    def reopen(
        cls,
        path: str | Path,
        offset: int,
        iterations: int,
        recipe: Recipe | None = None,
        **changes: Any,
    ) -> Journal:
        """Go back to a checkpoint: cut the events at its offset, drop later batches, increment
        `attempt`. `recipe`: replaces the recorded one, whose real images are elsewhere now.
        `changes`: entries of run.json.
        """
        run = open_run(path)
        file = run.path / "events.jsonl"
        size = (
            file.stat().st_size if file.exists() else 0
        )  # 0 if killed between recipe.json and the first event
        if size < offset:
            raise JournalError(
                f"{run.path / 'events.jsonl'} has {size} bytes, but the checkpoint was written at"
                f" {offset}: the file was truncated by something else.",
                code="damaged",
                size=size,
                expected=offset,
            )
        try:
            journal = cls(run.path, offset)
        except Locked:
            raise JournalError(
                f"{run.path} is being written by another process; wait until it ends to resume"
                " this run.",
                code="busy",
                run=str(run.path),
            ) from None
        except OSError as error:
            raise JournalError(
                _write_error(run.path, error), code="unwritable", file=str(run.path)
            ) from None
        try:
            journal._rewind(iterations, changes)
            if recipe is not None and recipe != run.recipe:
                write_durably(run.path / RECIPE_FILE, recipe.to_json().encode())
        except BaseException as error:
            journal.close()
            if isinstance(error, OSError):
                raise JournalError(
                    _write_error(run.path, error), code="unwritable", file=str(run.path)
                ) from None
            raise
        return journal

    def _rewind(self, iterations: int, changes: dict[str, Any]) -> None:
        """Drop everything after the checkpoint, and tell readers to start over."""
        run = self.run
        _remove_leftovers(run.path)
        for file in (run.path / "batches").glob("*.safetensors"):
            if file.stem.isdigit() and int(file.stem) >= iterations:
                file.unlink()
            else:
                self._preview_bytes += _preview_size(file)
        evaluated_files = {e.file for e in run.events() if e.kind == "evaluated"}
        (run.path / "students").mkdir(exist_ok=True)  # runs from earlier versions have none
        for file in (run.path / "students").glob("*.safetensors"):
            if f"students/{file.name}" not in evaluated_files:
                file.unlink()
        for leftover in (run.path / "preview.safetensors", run.path / "student.safetensors"):
            leftover.unlink(missing_ok=True)
        info = run.info
        write_durably(
            run.path / "run.json",
            _json(info | _versions() | changes | {"attempt": info.get("attempt", 1) + 1}),
        )

    def write(self, event: events.Event) -> None:
        """Journal one event, after writing its arrays to files."""
        if event.kind == "run_started" and event.arrays:
            write_durably(
                self.path / "reference.safetensors", save_arrays(_contiguous(event.arrays))
            )
        previews = (
            self._write_batch(event, event.arrays)
            if event.kind == "batch_synthesised" and event.arrays
            else 0
        )
        if event.kind == "evaluated" and event.file and event.arrays:
            write_durably(self.path / event.file, save_arrays(_contiguous(event.arrays)))
        if event.kind == "generator_step" and event.preview:
            self._write_preview(event.preview)
        self._append(event.to_json().encode() + b"\n")
        self._preview_bytes += previews  # counted once, even if a full disk made us retry

    def _append(self, line: bytes) -> None:
        """Append the whole line or, on a full disk, nothing."""
        try:
            written = self._events.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._events.truncate(self._offset)
            raise
        self._offset += len(line)

    def _write_batch(self, event: events.BatchSynthesized, arrays: events.Arrays) -> int:
        """Write a batch; returns the bytes of previews in it."""
        assert event.iteration is not None
        arrays = dict(arrays)
        previews = arrays["previews"]
        recipe = self.run.recipe
        budget = (
            recipe.journal_pixels * (event.iteration + 1) // recipe.total_iterations
        )  # spread evenly over the run
        frames = max(0, budget - self._preview_bytes) // previews[:, 0].nbytes
        for name, axis in HISTORY_AXES.items():
            arrays[name] = arrays[name].take(range(min(frames, previews.shape[1])), axis=axis)
        if not frames:
            for name in (*HISTORY_AXES, "preview_steps"):
                arrays.pop(name)
        write_durably(self.path / event.file, save_arrays(_contiguous(arrays)))
        return arrays["previews"].nbytes if frames else 0

    def _write_preview(self, preview: Callable[[], events.Arrays]) -> None:
        """Write a preview at most four times a second, unsynced; skip it while a reader holds the
        file.
        """
        now = time.monotonic()
        if now - self._last_preview < PREVIEW_SECONDS:
            return
        self._last_preview = now
        try:
            write_durably(
                self.path / "preview.safetensors",
                save_arrays(_contiguous(preview())),
                sync=False,
                attempts=1,
            )
        except PermissionError:
            pass

    def write_checkpoint(self, tensors: dict[str, Tensor], iterations: int, t: float) -> None:
        """Replace the checkpoint atomically.

        It includes the matching offset in events.jsonl and the run's elapsed time.
        """
        from safetensors.torch import save

        sync_file(self._events.fileno())
        metadata = {"offset": str(self._offset), "iterations": str(iterations), "t": str(t)}
        write_durably(self.path / "checkpoint" / "state.safetensors", save(tensors, metadata))

    def write_student(self, data: bytes) -> None:
        write_durably(self.path / "student.safetensors", data)

    def close(self) -> None:
        self._events.close()
        self._lock.release()


def _drive_warnings(path: Path, lock: FolderLock) -> Iterator[tuple[str, str]]:
    """What the drive of a run folder lacks, and what to do about it."""
    if not lock.supported:
        yield (
            "The drive with this run has no file locks, so only a heartbeat file, updated every few"
            " seconds, keeps a second process from writing to the run.",
            "Resume, rename, or delete this run from only one place at a time.",
        )
    if not sync_folder(path):
        yield (
            "The drive with this run does not confirm that data is written, so a power failure may"
            " lose more than what came after the last checkpoint.",
            "Keep runs that matter on a local disk.",
        )


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of a killed process.

    Not while another process is writing, because they could be its own.
    """
    for file in path.rglob(".*.tmp"):
        file.unlink(missing_ok=True)


def _write_error(path: Path, error: OSError) -> str:
    return f"The run folder {path} cannot be written: {error.strerror or error}."


def _is_unfinished(path: Path) -> bool:
    """Whether it is empty, or left by a `create` that ended before recipe.json made it a run."""
    if not path.is_dir():
        return False
    entries = [*FOLDERS, "run.json"]  # in this order
    present = {
        f.name for f in path.iterdir() if not f.name.startswith((".run.json.", f".{RECIPE_FILE}."))
    }
    return present == set(entries[: len(present)]) and not any(
        any((path / f).iterdir()) for f in present & set(FOLDERS)
    )


def _preview_size(file: Path) -> int:
    """Bytes of a batch's previews, from the file's header."""
    try:
        with safe_open(file, "np") as f:
            return math.prod(f.get_slice("previews").get_shape()) if "previews" in f.keys() else 0  # noqa: SIM118  safe_open is not a dictionary
    except SafetensorError as error:
        raise JournalError(
            f"{file} cannot be read: {error}.",
            code="unreadable",
            file=str(file),
        ) from None


def _contiguous(arrays: events.Arrays) -> events.Arrays:
    return {k: np.ascontiguousarray(v) for k, v in arrays.items()}


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, indent=2).encode()


def _versions() -> dict[str, Any]:
    import importlib.metadata

    packages = {p: importlib.metadata.version(p) for p in ("torch", "numpy", "safetensors")}
    return {"python": sys.version.split()[0], "platform": platform.platform(), **packages}
