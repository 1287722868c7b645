"""Writing files whole: a temporary name, fsync, rename, fsync of the folder. Old or new, never
half.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

ATTEMPTS = 20


def write_durably(path: Path, data: bytes, *, sync: bool = True, attempts: int = ATTEMPTS) -> None:
    """Replace `path` by `data`; after a crash it holds the old bytes or the new ones.

    Tried `attempts` times, a tenth of a second apart, where a reader holds the file (Windows).
    Raises OSError; the old file is then intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        for attempt in range(attempts):
            try:
                os.replace(temporary, path)
                break
            except PermissionError:
                if attempt == attempts - 1 or os.name != "nt":
                    raise
                time.sleep(0.1)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename last. Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Of a file's content, read piece by piece. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def mark(file: Path) -> tuple[int, int, int] | None:
    """Another one for other content: time, size and inode of a file; None where there is none.
    Raises OSError but for that.
    """
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def write_folder(path: Path, files: dict[str, bytes]) -> None:
    """Make the folder `path`, which must not exist or be empty, with these files in it; all of them
    or none. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.mkdir()
        for name, data in files.items():
            write_durably(temporary / name, data)
        if path.is_dir():
            path.rmdir()
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


class Locked(OSError):
    """Another process holds the lock."""


class FolderLock:
    """Held by the one process that writes into a folder; the system lets go of it when that process
    ends, however.

    Raises Locked if it is held already, after `attempts` a tenth of a second apart: a reader that
    only asks holds it for a moment.
    """

    def __init__(self, folder: Path, attempts: int = 5):
        self._file = (folder / "lock").open("a+b")
        for attempt in range(attempts):
            try:
                return self._take()
            except OSError:
                if attempt < attempts - 1:
                    time.sleep(0.1)
        self._file.close()
        raise Locked(f"{folder} is being written by another process")

    def _take(self) -> None:
        if os.name == "nt":
            import msvcrt

            self._file.seek(0)
            msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        self._file.close()
