"""Actions on existing runs: rename, annotate, delete and undo, download and upload as one file.

A deleted run stays in a trash folder for a week. The archive checks names, `kgen.journal.unbundle`
checks bundles, and `Runs.released` rejects a run that is in progress.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.archive.archive import without_folder
from app.library.listing import MAX_NOTE, NOTE, Listing
from app.process.runs import RunError, Runs
from app.web.errors import Missing
from kgen.journal.bundle import BundleError, chunks
from kgen.journal.reading import RUN_NAME, JournalError
from kgen.journal.unbundle import unbundle
from kgen.system.files import sync_folder, write_durably

TRASH = ".trash"
TRASHED_NAME = re.compile(rf"({RUN_NAME.pattern})-([0-9]{{19}})", re.ASCII)
TRASH_SECONDS = 7 * 86_400
LEFTOVER_NAME = re.compile(r"\.(?:opening|incoming)-[0-9a-f]{12}", re.ASCII)
LEFTOVER_SECONDS = 86_400
MAX_UPLOAD_BYTES = 2 << 30
MAX_UNPACKED_BYTES = 4 << 30
MAX_DOWNLOADS = 4
STALL_TIMEOUT = 30.0
"""Seconds an upload may stall; only one is accepted at a time."""


def too_large() -> RunError:
    """The error for a bundle above MAX_UPLOAD_BYTES."""
    return RunError(
        f"The file is larger than {MAX_UPLOAD_BYTES >> 30} GB. Open it with `python -m kgen"
        " unbundle` instead.",
        code="too-large",
        limit=MAX_UPLOAD_BYTES,
    )


class RunActions:
    """The runs of a folder, not just the one being shown. Thread-safe; every method raises
    RunError or Missing.
    """

    def __init__(self, runs: Runs):
        self.runs, self.folder, self.archive = runs, runs.folder, runs.archive
        self.listing = Listing(runs.archive, lambda: (runs.name, runs.active))
        self._download_slots = threading.BoundedSemaphore(MAX_DOWNLOADS)
        self._upload_lock = threading.Lock()

    def rename(self, name: str, new_name: str) -> str:
        new_name = new_name.strip()
        if not RUN_NAME.fullmatch(new_name) or ".." in new_name:
            raise RunError(
                "A name may contain letters, digits, dots, dashes, and underscores, must start with"
                " a letter or digit, and is limited to 120 characters.",
                code="invalid-name",
            )
        if new_name == name:
            return new_name
        is_shown = self.runs.name == name
        with self.runs.released(name) as path:
            if os.path.lexists(self.folder / new_name):
                raise RunError(
                    f"The name {new_name} is already taken. Choose another one.",
                    code="exists",
                    name=new_name,
                )
            self._move(path, self.folder / new_name)
            if is_shown:
                self.runs.show(new_name)
        self.listing.invalidate()
        return new_name

    def note(self, name: str, text: str) -> str:
        """Store a note with the run; an empty one removes it. The run may be in progress."""
        text = "".join(
            c for c in text.replace("\r\n", "\n") if c.isprintable() or c == "\n"
        ).strip()
        if len(text) > MAX_NOTE:
            raise RunError(
                f"A note is limited to {MAX_NOTE} characters; this one has {len(text):,}.",
                code="too-long",
                length=len(text),
                limit=MAX_NOTE,
            )
        file = self.archive.own_path(name) / NOTE
        try:
            write_durably(file, text.encode()) if text else file.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"The note cannot be written: {error.strerror or error}.", code="unwritable"
            ) from None
        self.listing.invalidate()
        return name

    def delete(self, name: str) -> str:
        """Move a run to the trash; returns what `undo` needs."""
        with self.runs.released(name) as path:
            trashed = f"{name}-{time.time_ns():019d}"
            try:
                (self.folder / TRASH).mkdir(exist_ok=True)
            except OSError as error:
                raise RunError(
                    f"The run cannot be deleted: {error.strerror or error}.", code="unwritable"
                ) from None
            self._move(path, self.folder / TRASH / trashed)
        self.listing.invalidate()
        return trashed

    def undo(self, trashed: str) -> str:
        """Restore a deleted run; returns its name, numbered if the old one is taken."""
        match = TRASHED_NAME.fullmatch(trashed)
        if (
            not match
            or ".." in trashed
            or not (self.folder / TRASH / trashed / "recipe.json").is_file()
        ):
            raise Missing(
                "That run is no longer in the trash.",
                code="unknown-run",
            )
        names = itertools.chain([match[1]], (f"{match[1][:100]}-{n}" for n in itertools.count(2)))
        name = next(n for n in names if not os.path.lexists(self.folder / n))
        self._move(self.folder / TRASH / trashed, self.folder / name)
        self.listing.invalidate()
        return name

    def _move(self, path: Path, target: Path) -> None:
        try:
            os.rename(path, target)
            sync_folder(target.parent)
        except OSError as error:
            raise RunError(
                f"The run's folder cannot be moved: {error.strerror or error}.",
                code="unwritable",
            ) from None

    def purge(self) -> None:
        """Remove what was deleted more than a week ago, and remnants of interrupted uploads."""
        now = time.time()
        for path in _children(self.folder / TRASH):
            match = TRASHED_NAME.fullmatch(path.name)
            if match and now - int(match[2]) / 1e9 > TRASH_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        for path in _children(self.folder):
            if (
                LEFTOVER_NAME.fullmatch(path.name)
                and now - path.lstat().st_mtime > LEFTOVER_SECONDS
            ):
                (
                    shutil.rmtree(path, ignore_errors=True)
                    if path.is_dir()
                    else path.unlink(missing_ok=True)
                )

    def download(self, name: str, *, real_images: bool, checkpoint: bool) -> Download:
        path = self.archive.path(name)
        if name == self.runs.name and self.runs.active:
            raise RunError(
                f"The run {name} is in progress. Stop it first, or wait until it ends.",
                code="busy",
                run=name,
            )
        if not self._download_slots.acquire(blocking=False):
            raise RunError(
                "Other runs are being downloaded. Please try again in a moment.",
                code="busy",
            )
        try:
            return Download(
                chunks(path, real_images=real_images, checkpoint=checkpoint), self._download_slots
            )
        except (BundleError, JournalError) as error:
            self._download_slots.release()
            raise RunError(without_folder(error, self.folder), code=error.code) from None

    async def receive(self, body: AsyncIterator[bytes]) -> str:
        """Store, check and unpack an uploaded bundle; returns the new run's name."""
        if not self._upload_lock.acquire(blocking=False):
            raise RunError(
                "Another file is being opened. Please try again in a moment.",
                code="busy",
            )
        file = self.folder / f".incoming-{secrets.token_hex(6)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as out:
                async for chunk in _with_timeout(body):
                    await run_in_threadpool(out.write, chunk)
                    if out.tell() > MAX_UPLOAD_BYTES:
                        raise too_large()
            path = await run_in_threadpool(
                unbundle, file, self.folder, max_bytes=MAX_UNPACKED_BYTES, label="The file"
            )
        except BundleError as error:
            raise RunError(
                str(error),
                code=error.code,
                **error.fields,
            ) from None
        except (ClientDisconnect, asyncio.TimeoutError):
            raise RunError(
                "The upload was incomplete. Send the file again.",
                code="incomplete",
            ) from None
        except OSError as error:
            raise RunError(
                f"The file cannot be saved: {error.strerror or error}.", code="unwritable"
            ) from None
        finally:
            file.unlink(missing_ok=True)
            self._upload_lock.release()
        self.listing.invalidate()
        return path.name


class Download:
    """A bundle's bytes, for one pass; frees its slot when it ends, fails or is abandoned."""

    def __init__(self, chunks: Iterator[bytes], slot: threading.Semaphore):
        self._chunks = chunks
        self._slot: threading.Semaphore | None = slot

    def __iter__(self) -> Download:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()

    __del__ = close


async def _with_timeout(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of an upload. Raises asyncio.TimeoutError if none arrives for STALL_TIMEOUT
    seconds.
    """
    while True:
        try:
            yield await asyncio.wait_for(anext(body), STALL_TIMEOUT)
        except StopAsyncIteration:
            return


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
