"""The run folder, for reading: by any number of processes, during the run or afterward.

It depends on files, recipes and events, not on torch (only `read_checkpoint` imports it, on call).
`kgen.journal.journal` writes the folder. Every file that an event names exists; `attempt` in
run.json tells readers that a resume has cut events, so that they start over.
"""

from __future__ import annotations

import collections
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_arrays

from kgen.errors import KGenError
from kgen.events import Event, RunFinished, RunStarted, from_json
from kgen.recipe.recipe import Recipe, RecipeError, parse
from kgen.system.files import is_locked
from kgen.system.paths import typed_path

if TYPE_CHECKING:
    from torch import Tensor

RECIPE_FILE = "recipe.json"
"""The file that makes a folder a run."""
MAX_FILE_BYTES, MAX_VIEW_BYTES = 1 << 30, 64 << 20
"""Size limits in bytes: of a file of arrays, and of one in students/."""
BLOCK_BYTES = 4 << 20
"""Bytes of events to read at once, so that a long run needs little memory."""
FOLDERS = ("batches", "checkpoint", "students")
"""Subfolders of every run folder, in the order in which they are created."""
RUN_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,118}[A-Za-z0-9_-])?")
"""Valid names of runs in a folder of runs; names with ".." are rejected too."""
BUNDLE_MANIFEST = "bundle.json"
"""In a run opened from a bundle (`kgen.journal.unbundle`): the bundle's manifest."""


class JournalError(KGenError, ValueError):
    """A folder that is not a run, or a damaged one; the message names the file and what to do."""

    code = "journal"


class Run:
    """A run folder, for reading. Opening it changes nothing."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._events = self.path / "events.jsonl"
        if not (self.path / RECIPE_FILE).is_file():
            problem = (
                "does not exist"
                if not self.path.exists()
                else f"is not a run folder (it has no {RECIPE_FILE})"
            )
            raise JournalError(
                f"{self.path} {problem}; choose a folder that `python -m kgen run --out` created.",
                code="not-a-run",
                file=str(self.path),
            )
        try:
            self.recipe: Recipe = parse((self.path / RECIPE_FILE).read_bytes())
        except RecipeError as error:
            raise JournalError(
                f"{self.path / RECIPE_FILE}: {error}",
                code=error.code,
                **error.fields,
            ) from None

    def recipe_here(self, real: str | Path | None = None) -> Recipe:
        """The recipe for this machine: with the real images in `real` if that is given.

        Raises JournalError if the recorded path to real images does not exist here. It may be a
        path from another system, or just the folder's name, which is all that a bundle contains.
        """
        if real is not None:
            return self.recipe.replace(real_images=typed_path(str(real)))
        path = self.recipe.real_images
        if path is not None and not (Path(path).is_absolute() and os.path.exists(path)):
            raise JournalError(
                f"{self.path} is tested on real images in {path}, which does not exist on this"
                " machine. Specify the folder that holds them here: --real FOLDER.",
                code="other-machine",
                file=path,
                option="--real",
            )
        return self.recipe

    @property
    def info(self) -> dict[str, Any]:
        """The current run.json: versions, device, threads, attempt."""
        try:
            return json.loads((self.path / "run.json").read_bytes())
        except (OSError, ValueError) as error:
            raise JournalError(
                f"{self.path / 'run.json'} cannot be read: {error}.",
                code="unreadable",
                file=str(self.path / "run.json"),
            ) from None

    def events(self) -> Iterator[Event]:
        """Every event so far.

        An incomplete last line is ignored; damage elsewhere raises JournalError with its offset,
        after the events before it.
        """
        try:
            data = self._events.read_bytes()
        except FileNotFoundError:
            return
        for event, _ in _parse(self._events, data, 0):
            yield event

    def verify(self, size: int) -> None:
        """Check that the first `size` bytes of the events are intact. JournalError gives the offset
        of any damage.
        """
        if size:
            with self._events.open("rb") as file:
                for _ in _parse(self._events, file.read(size), 0):
                    pass

    def tail(self) -> Tail:
        return Tail(self)

    def follow(self, poll: float = 0.2) -> Iterator[Event]:
        """Yield events as they arrive until the run finishes or fails.

        Starts over if the run was resumed.
        """
        tail = self.tail()
        while True:
            _, new = tail.read()
            yield from new
            if new and new[-1].kind in ("run_finished", "run_failed"):
                return
            time.sleep(poll)

    def batch(self, iteration: int, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
        """The arrays of a finished iteration.

        With `names`, reads only the named arrays that exist. Raises JournalError if the file is
        missing or damaged.
        """
        file = self.path / "batches" / f"{iteration:06d}.safetensors"
        return _load(file) if names is None else _load_some(file, names)

    def array_file(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a file that an event names, such as students/0000330.safetensors.

        Raises JournalError.
        """
        folder, _, file = name.partition("/")
        if folder not in FOLDERS or not re.fullmatch(r"[0-9]{1,9}\.safetensors", file):
            raise JournalError(
                f"{self.path} refers to a file named {name[:80]!r}, which is invalid.",
                code="invalid-name",
                name=name[:80],
            )
        return _load(self.path / folder / file, max_bytes=MAX_VIEW_BYTES)

    def iterations(self) -> list[int]:
        """The finished iterations, from 0."""
        return sorted(
            int(file.stem)
            for file in (self.path / "batches").glob("*.safetensors")
            if file.stem.isdigit()
        )

    def batches(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """(iteration, arrays) of every finished iteration, in order."""
        for iteration in self.iterations():
            yield iteration, self.batch(iteration)

    def preview(self) -> dict[str, np.ndarray] | None:
        """The latest snapshot of the batch in progress; None if there is none."""
        return _load_or_none(self.path / "preview.safetensors")

    def student(self) -> Path:
        """The file of the trained student. JournalError explains why there is none."""
        file = self.path / "student.safetensors"
        if not file.is_file():
            if self.finished:
                raise JournalError(
                    f"{self.path} has no student: a run with a single class does not train one.",
                    code="no-student",
                )
            if being_written(self.path):
                raise JournalError(
                    f"{self.path} is still running, so it has no student yet; wait, or stop it"
                    " first.",
                    code="busy",
                    file=str(self.path),
                )
            raise JournalError(
                f"{file} does not exist: the run has not finished, or student training never began."
                f" Try `python -m kgen resume {self.path}`.",
                code="unfinished",
                file=str(file),
            )
        return file

    def reference(self) -> dict[str, np.ndarray] | None:
        """Real examples for comparison; None if there are none."""
        return _load_or_none(self.path / "reference.safetensors")

    @property
    def started(self) -> RunStarted | None:
        """The run's first event; None before it is written."""
        first = next(iter(self.events()), None)
        return first if isinstance(first, RunStarted) else None

    @property
    def last_event(self) -> Event | None:
        """The latest event; None before the first."""
        latest = collections.deque(self.events(), maxlen=1)
        return latest[0] if latest else None

    @property
    def end(self) -> RunFinished | None:
        """The last event of a run that reached its end, rather than being stopped."""
        last = self.last_event
        return last if isinstance(last, RunFinished) and last.reason == "done" else None

    @property
    def finished(self) -> bool:
        """Whether the run reached its end, rather than being stopped."""
        return self.end is not None


def open_run(path: str | Path) -> Run:
    """Open a run folder for reading. Raises JournalError for anything else."""
    return Run(path)


class Tail:
    """Reads events.jsonl incrementally; each call to `read` reads only what is new."""

    def __init__(self, run: Run):
        self._file, self._run = run.path / "events.jsonl", run
        self._offset, self._attempt = 0, None

    def read(self, max_bytes: int = -1) -> tuple[bool, list[Event]]:
        """(restarted, new events in the next `max_bytes` bytes).

        Restarted: discard all earlier events; the list begins at the start. Raises JournalError
        with the offset for a damaged line that is not the last, once everything before it has been
        read.
        """
        attempt = self._run.info.get("attempt", 1)
        try:
            size = self._file.stat().st_size
        except FileNotFoundError:
            return False, []
        restarted = attempt != self._attempt or size < self._offset
        if restarted:
            self._offset, self._attempt = 0, attempt
        if size == self._offset:
            return restarted, []
        with self._file.open("rb") as file:
            file.seek(self._offset)
            data = file.read(max_bytes)
        if len(data) == max_bytes and b"\n" not in data:
            raise JournalError(
                f"{self._file} is damaged at byte {self._offset}: no line in a run is longer than"
                f" {max_bytes:,} bytes.",
                code="damaged",
                offset=self._offset,
            )
        events = []
        try:
            for event, offset in _parse(self._file, data, self._offset):
                events.append(event)
                self._offset = offset
        except JournalError:
            if not events:
                raise
        return restarted, events

    def blocks(self) -> Iterator[tuple[bool, list[Event]]]:
        """Everything new, as from `read`, one block at a time."""
        while True:
            restarted, new = self.read(BLOCK_BYTES)
            yield restarted, new
            if not new:
                return


def _parse(file: Path, data: bytes, offset: int) -> Iterator[tuple[Event, int]]:
    """(event, offset after it) for each complete line of `data`, which begins at `offset`.

    JournalError at a damaged line.
    """
    complete, *_ = data.rpartition(b"\n")
    for line in complete.split(b"\n") if complete else []:
        try:
            event = from_json(line)
        except ValidationError:
            raise JournalError(
                f"{file} is damaged at byte {offset}: this line is not an event. `python -m kgen"
                " resume` goes back to the last checkpoint if the damage is after it.",
                code="damaged",
                file=str(file),
                offset=offset,
            ) from None
        offset += len(line) + 1
        yield event, offset


class Checkpoint(NamedTuple):
    """What a resume starts from.

    The engine's tensors, the offset in events.jsonl, finished iterations, seconds run.
    """

    tensors: dict[str, Tensor] | None = None
    offset: int = 0
    iterations: int = 0
    t: float = 0.0


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The last complete checkpoint; an empty one before the first.

    Raises JournalError for a damaged file.
    """
    folder = open_run(path).path
    file = folder / "checkpoint" / "state.safetensors"
    if not file.is_file():
        if (folder / BUNDLE_MANIFEST).is_file():  # starting over would delete the bundle's contents
            raise JournalError(
                f"{folder} was opened from a bundle without a checkpoint, so it cannot be resumed;"
                " ask for a bundle made with --with-checkpoint.",
                code="no-checkpoint",
            )
        return Checkpoint()
    try:
        with safe_open(file, "pt") as f:
            metadata = f.metadata()
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  safe_open is not a dictionary
            return Checkpoint(
                tensors, int(metadata["offset"]), int(metadata["iterations"]), float(metadata["t"])
            )
    except (SafetensorError, KeyError, ValueError) as error:
        raise JournalError(
            f"{file} is damaged ({error}); the run cannot be resumed, but its images and events are"
            " intact.",
            code="damaged",
            file=str(file),
        ) from None


def being_written(path: str | Path) -> bool:
    """Whether a process (this one included) holds the run folder's lock."""
    if not (Path(path) / "lock").is_file():
        return False
    try:
        return is_locked(Path(path))
    except OSError:  # a folder that is not writable has no writer
        return False


def _load(file: Path, max_bytes: int = MAX_FILE_BYTES) -> dict[str, np.ndarray]:
    try:
        if file.stat().st_size > max_bytes:
            raise JournalError(
                f"{file} is larger than any file that a run writes.",
                code="too-large",
                file=str(file),
            )
        return load_arrays(file.read_bytes())
    except FileNotFoundError:
        raise JournalError(f"{file} is missing.", code="no-file", file=str(file)) from None
    except (OSError, SafetensorError) as error:
        raise JournalError(
            f"{file} cannot be read: {error}.", code="unreadable", file=str(file)
        ) from None


def _load_some(file: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with safe_open(file, "np") as f:
            available = f.keys()
            return {name: f.get_tensor(name) for name in names if name in available}
    except FileNotFoundError:
        raise JournalError(f"{file} is missing.", code="no-file", file=str(file)) from None
    except (OSError, SafetensorError) as error:
        raise JournalError(
            f"{file} cannot be read: {error}.", code="unreadable", file=str(file)
        ) from None


def _load_or_none(file: Path) -> dict[str, np.ndarray] | None:
    try:
        return _load(file)
    except JournalError:
        return None
