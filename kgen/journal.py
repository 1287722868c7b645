"""The run folder: written by one process, read by any number. The interface between the engine and everything else.

It knows files, recipes and events, not torch (only `write_checkpoint` and `read_checkpoint` touch it, on call).
Order of writes: batch, event, checkpoint; so whatever an event names is there. A resume goes back to the last
whole checkpoint and cuts `events.jsonl` at its offset; `attempt` in run.json tells readers to fold anew.
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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from kgen import events
from kgen.files import FolderLock, Locked, write_durably
from kgen.recipe import Recipe, RecipeError, parse

if TYPE_CHECKING:
    from torch import Tensor

PREVIEW_SECONDS = 0.25
MARK = "recipe.json"


class JournalError(ValueError):
    """A folder that is no run, or a damaged one; the message names the file and what to do."""


class Run:
    """A run folder, for reading. Opening it changes nothing."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / MARK).is_file():
            what = "does not exist" if not self.path.exists() else f"is not a run folder (it has no {MARK})"
            raise JournalError(f"{self.path} {what}; give the folder that `python -m kgen run --out` made.")
        try:
            self.recipe: Recipe = parse((self.path / MARK).read_bytes())
        except RecipeError as error:
            raise JournalError(f"{self.path / MARK}: {error}") from None

    @property
    def info(self) -> dict[str, Any]:
        """run.json as it stands: versions, device, threads, attempt."""
        try:
            return json.loads((self.path / "run.json").read_bytes())
        except (OSError, ValueError) as error:
            raise JournalError(f"{self.path / 'run.json'} cannot be read: {error}.") from None

    def events(self) -> Iterator[events.Event]:
        """Every event so far. A torn last line is left out; damage elsewhere raises JournalError with its offset."""
        yield from self.tail().read()[1]

    def tail(self) -> Tail:
        return Tail(self)

    def follow(self, poll: float = 0.2) -> Iterator[events.Event]:
        """Events as they come, until the run has finished or failed; begins anew when the run was resumed."""
        tail = self.tail()
        while True:
            _, new = tail.read()
            yield from new
            if new and new[-1].kind in ("run_finished", "run_failed"):
                return
            time.sleep(poll)

    def batch(self, iteration: int) -> dict[str, np.ndarray]:
        """The arrays of a finished iteration. Raises JournalError if it is missing or damaged."""
        return _load(self.path / "batches" / f"{iteration:06d}.safetensors")

    def batches(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """(iteration, arrays) of every finished iteration, in order."""
        for file in sorted((self.path / "batches").glob("*.safetensors")):
            if file.stem.isdigit():
                yield int(file.stem), _load(file)

    def preview(self) -> dict[str, np.ndarray] | None:
        """The batch being made, as last seen; None where there is none."""
        return _load_or_none(self.path / "preview.safetensors")

    def reference(self) -> dict[str, np.ndarray] | None:
        """Real examples for comparison; None where there are none."""
        return _load_or_none(self.path / "reference.safetensors")

    @property
    def last_event(self) -> events.Event | None:
        """The newest event; None before the first."""
        told = self.tail().read()[1]
        return told[-1] if told else None

    @property
    def finished(self) -> bool:
        """Did the run reach its end (not merely stop)?"""
        last = self.last_event
        return last is not None and last.kind == "run_finished" and last.reason == "done"


def open_run(path: str | Path) -> Run:
    """Open a run folder for reading. Raises JournalError for anything else."""
    return Run(path)


class Tail:
    """Reads events.jsonl piece by piece; each call to `read` costs what is new."""

    def __init__(self, run: Run):
        self._file, self._run = run.path / "events.jsonl", run
        self._offset, self._attempt = 0, None

    def read(self) -> tuple[bool, list[events.Event]]:
        """(began anew, new events). Began anew: forget what came before; the list holds everything from the start.

        Raises JournalError, with the offset, for a damaged line that is not the last.
        """
        attempt = self._run.info.get("attempt", 1)
        try:
            size = self._file.stat().st_size
        except FileNotFoundError:
            return False, []
        anew = attempt != self._attempt or size < self._offset
        if anew:
            self._offset, self._attempt = 0, attempt
        if size == self._offset:
            return anew, []
        with self._file.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        found = []
        whole, *_ = data.rpartition(b"\n")
        for line in whole.split(b"\n") if whole else []:
            try:
                found.append(events.from_json(line))
            except ValidationError:
                raise JournalError(
                    f"{self._file} is damaged at byte {self._offset}: this line is no event. "
                    "`python -m kgen resume` goes back to the last checkpoint if the damage lies after it."
                ) from None
            self._offset += len(line) + 1
        return anew, found


class Journal:
    """The writing side of a run folder. One process at a time; see `create` and `reopen`.

    Raises OSError from the operating system (disk full, read-only) with nothing half-written.
    """

    def __init__(self, path: Path, offset: int):
        self.path = path
        self._lock = FolderLock(path)
        try:
            self._events = (path / "events.jsonl").open("ab", buffering=0)
            self._events.truncate(offset)
        except OSError:
            self._lock.release()
            raise
        self._offset = offset
        self._last_preview = 0.0
        self._preview_bytes = 0
        self.run = Run(path)

    @classmethod
    def create(cls, path: str | Path, recipe: Recipe, **info: Any) -> Journal:
        """A new run folder. JournalError if something is there already; a folder made here appears with its recipe."""
        path = Path(path)
        if path.exists() and not _unborn(path):
            raise JournalError(f"{path} exists already and is not empty; choose another folder with --out, or resume the run in it.")
        try:
            (path / "batches").mkdir(parents=True, exist_ok=True)
            (path / "checkpoint").mkdir(exist_ok=True)
            remove_leftovers(path)
            write_durably(path / "run.json", _json(_versions() | info | {"attempt": 1, "id": secrets.token_hex(6)}))
            write_durably(path / MARK, recipe.to_json().encode())
            return cls(path, 0)
        except OSError as error:
            raise JournalError(f"{_unwritable(path, error)} Choose another one with --out.") from None

    @classmethod
    def reopen(cls, path: str | Path, offset: int, iterations: int) -> Journal:
        """Go back to a checkpoint: cut the events at its offset, drop later batches, raise `attempt`."""
        run = open_run(path)
        file = run.path / "events.jsonl"
        size = file.stat().st_size if file.exists() else 0  # killed between recipe.json and the first event
        if size < offset:
            raise JournalError(
                f"{run.path / 'events.jsonl'} has {size} bytes, but the checkpoint was written at {offset}: it was cut by hand."
            )
        try:
            journal = cls(run.path, offset)
        except Locked:
            raise JournalError(f"{run.path} is being written by another process; it cannot be resumed while that runs.") from None
        except OSError as error:
            raise JournalError(_unwritable(run.path, error)) from None
        try:
            journal._go_back(iterations)
        except BaseException as error:
            journal.close()
            if isinstance(error, OSError):
                raise JournalError(_unwritable(run.path, error)) from None
            raise
        return journal

    def _go_back(self, iterations: int) -> None:
        """Drop what came after the checkpoint, and tell readers to begin anew."""
        run = self.run
        for file in (run.path / "batches").glob("*.safetensors"):
            if file.stem.isdigit() and int(file.stem) >= iterations:
                file.unlink()
            else:
                self._preview_bytes += _preview_size(file)
        for leftover in (run.path / "preview.safetensors", run.path / "student.safetensors"):
            leftover.unlink(missing_ok=True)
        info = run.info
        write_durably(run.path / "run.json", _json(info | _versions() | {"attempt": info.get("attempt", 1) + 1}))

    def write(self, event: events.Event) -> None:
        """Journal one event; its arrays go to files first."""
        if event.kind == "run_started" and event.arrays:
            write_durably(self.path / "reference.safetensors", save_arrays(_contiguous(event.arrays)))
        if event.kind == "batch_synthesised" and event.arrays:
            self._write_batch(event)
        if event.kind == "generator_step" and event.preview:
            self._write_preview(event)
        self._append(event.to_json().encode() + b"\n")

    def _append(self, line: bytes) -> None:
        """The whole line or, on a full disk, nothing of it."""
        try:
            written = self._events.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._events.truncate(self._offset)
            raise
        self._offset += len(line)

    def _write_batch(self, event: events.BatchSynthesised) -> None:
        arrays = dict(event.arrays)
        if self._preview_bytes + arrays["previews"].nbytes > self.run.recipe.journal_pixels:
            for name in ("previews", "preview_steps", "preview_positions"):
                arrays.pop(name)
        write_durably(self.path / event.file, save_arrays(_contiguous(arrays)))
        self._preview_bytes += arrays["previews"].nbytes if "previews" in arrays else 0  # once, however often a full disk made us try

    def _write_preview(self, event: events.GeneratorStep) -> None:
        """At most four times a second, not synced; skipped when a reader holds the file."""
        now = time.monotonic()
        if now - self._last_preview < PREVIEW_SECONDS:
            return
        self._last_preview = now
        try:
            write_durably(self.path / "preview.safetensors", save_arrays(_contiguous(event.preview())), sync=False, attempts=1)
        except PermissionError:
            pass

    def write_checkpoint(self, tensors: dict[str, Tensor], iterations: int, t: float) -> None:
        """One file, replaced whole; holds the offset in events.jsonl that belongs to it, and the run's time."""
        from safetensors.torch import save

        os.fsync(self._events.fileno())
        meta = {"offset": str(self._offset), "iterations": str(iterations), "t": str(t)}
        write_durably(self.path / "checkpoint" / "state.safetensors", save(tensors, meta))

    def write_student(self, data: bytes) -> None:
        write_durably(self.path / "student.safetensors", data)

    def close(self) -> None:
        self._events.close()
        self._lock.release()


class Checkpoint(NamedTuple):
    """What a resume starts from: the engine's tensors, the offset in events.jsonl, finished iterations, seconds run."""

    tensors: dict[str, Tensor] | None = None
    offset: int = 0
    iterations: int = 0
    t: float = 0.0


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The last whole checkpoint; an empty one before the first. Raises JournalError for a damaged file."""
    file = open_run(path).path / "checkpoint" / "state.safetensors"
    if not file.is_file():
        return Checkpoint()
    try:
        with safe_open(file, "pt") as f:
            meta = f.metadata()
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  safe_open is no dictionary
            return Checkpoint(tensors, int(meta["offset"]), int(meta["iterations"]), float(meta["t"]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise JournalError(f"{file} is damaged ({error}); the run cannot be resumed, but its images and events are whole.") from None


def being_written(path: str | Path) -> bool:
    """Does a process (this one included) hold the run folder's lock?"""
    if not (Path(path) / "lock").is_file():
        return False
    try:
        FolderLock(Path(path), attempts=1).release()
    except Locked:
        return True
    except OSError:  # a folder that cannot be written has no writer
        return False
    return False


def remove_leftovers(path: Path) -> None:
    """Temporary files of a process that was killed."""
    for file in path.rglob(".*.tmp"):
        file.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> str:
    return f"The run folder {path} cannot be written: {error.strerror or error}."


def _unborn(path: Path) -> bool:
    """Empty, or left by a `create` that ended before recipe.json made a run of it."""
    if not path.is_dir():
        return False
    made = ["batches", "checkpoint", "run.json"]  # in this order
    found = sorted(f.name for f in path.iterdir() if not f.name.startswith((".run.json.", f".{MARK}.")))
    return found == made[: len(found)] and all((path / f).is_dir() and not any((path / f).iterdir()) for f in found[:2])


def _preview_size(file: Path) -> int:
    """Bytes of a batch's previews, from the file's header."""
    try:
        with safe_open(file, "np") as f:
            return math.prod(f.get_slice("previews").get_shape()) if "previews" in f.keys() else 0  # noqa: SIM118  safe_open is no dictionary
    except SafetensorError as error:
        raise JournalError(f"{file} cannot be read: {error}.") from None


def _load(file: Path) -> dict[str, np.ndarray]:
    try:
        return load_arrays(file.read_bytes())
    except FileNotFoundError:
        raise JournalError(f"{file} is missing.") from None
    except (OSError, SafetensorError) as error:
        raise JournalError(f"{file} cannot be read: {error}.") from None


def _load_or_none(file: Path) -> dict[str, np.ndarray] | None:
    try:
        return _load(file)
    except JournalError:
        return None


def _contiguous(arrays: events.Arrays) -> events.Arrays:
    return {k: np.ascontiguousarray(v) for k, v in arrays.items()}


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, indent=2).encode()


def _versions() -> dict[str, Any]:
    import importlib.metadata

    packages = {p: importlib.metadata.version(p) for p in ("torch", "numpy", "safetensors")}
    return {"python": sys.version.split()[0], "platform": platform.platform(), **packages}
