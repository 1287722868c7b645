"""Atomic file writes: temporary name, fsync, rename, fsync of the folder.

Network drives, container mounts and FUSE may lack fsync or locks. Files are then written without
them; code that keeps data there long term warns the user (`kgen.journal.journal`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

ATTEMPTS = 20
NOTE_SECONDS = 30.0
"""How long a heartbeat is valid, in place of a lock. Machines' clocks must differ by less.
"""
DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names, in lowercase, that Windows reserves for devices."""
UNSUPPORTED = {
    getattr(errno, name)
    for name in ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "ENOTTY", "ENOLCK")
    if hasattr(errno, name)
}
"""Errors that a drive raises for a call that it does not support."""


def portable_name(name: str) -> str:
    """A file's name, changed if some system would interpret it as something else: on Windows,
    `C:a.png` is on drive C, and `con.png` is the console.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-100:].strip(".")
    return f"_{plain}" if not plain or DEVICE_NAME.fullmatch(plain.lower()) else plain


def write_durably(path: Path, data: bytes, *, sync: bool = True, attempts: int = ATTEMPTS) -> None:
    """Replace `path` with `data`; after a crash it contains the old bytes or the new ones.

    Tries up to `attempts` times, a tenth of a second apart, while a reader holds the file
    (Windows). Raises OSError; the old file is then intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if sync:
                sync_file(file.fileno())
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


def sync_file(descriptor: int) -> bool:
    """Make what was written durable; False if the drive cannot. Raises any other OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def sync_folder(folder: Path) -> bool:
    """Make a rename durable; False if the drive cannot. Windows has no such call and needs none."""
    if os.name == "nt":
        return True
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be writable but not readable
        return False
    try:
        return sync_file(descriptor)
    finally:
        os.close(descriptor)


def is_text(path: str | Path) -> bool:
    """Whether the name is valid text; POSIX allows any bytes, but safetensors and JSON do not."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def sha256(path: Path) -> str:
    """SHA-256 of a file's contents, read in pieces. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(file: Path) -> tuple[int, int, int] | None:
    """A value that changes with the contents: time, size and inode of a file; None if there is no
    file.

    Raises any other OSError.
    """
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def write_folder(path: Path, files: dict[str, bytes]) -> None:
    """Create the folder `path` with these files, all of them or none. Raises OSError.

    The folder must not exist, or must be empty.
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
    """A lock held by the one process that writes to a folder.

    The system releases it when that process ends, for whatever reason. Raises Locked if it is still
    held after `attempts`, a tenth of a second apart, because a reader that only checks holds it for
    a moment. On a drive without locks, `supported` is False, and a heartbeat in the file replaces
    the lock; it is updated until `release` and expires `NOTE_SECONDS` after its process is gone.
    """

    def __init__(self, folder: Path, attempts: int = 5):
        self.supported = True
        self._released = threading.Event()
        self._path = folder / "lock"
        self._file = self._path.open("a+b")
        for attempt in range(attempts):
            try:
                return _lock(self._file)
            except (BlockingIOError, PermissionError):  # held: POSIX, Windows
                pass
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    self._file.close()
                    raise
                self.supported = False
                if not _is_noted(self._path):
                    return self._write_note()
            if attempt < attempts - 1:
                time.sleep(0.1)
        self._file.close()
        raise Locked(f"{folder} is being written by another process")

    def _write_note(self) -> None:
        try:
            self._file.truncate(0)
            self._file.write(f"{platform.node()} {os.getpid()}\n".encode())
            self._file.flush()
        except OSError:
            self._file.close()
            raise
        threading.Thread(target=self._renew_note, daemon=True).start()

    def _renew_note(self) -> None:
        while not self._released.wait(NOTE_SECONDS / 6):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def release(self) -> None:
        if not self.supported and not self._released.is_set():
            self._released.set()
            with contextlib.suppress(OSError):
                self._file.truncate(0)
        self._file.close()


def is_locked(folder: Path) -> bool:
    """Whether a process, this one included, holds the folder's lock. Raises OSError."""
    path = folder / "lock"
    with path.open("a+b") as file:
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            return True
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            return _is_noted(path)
    return False


def _lock(file: BinaryIO) -> None:
    """Lock a file until it is closed, without waiting. Raises OSError."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_noted(path: Path) -> bool:
    """Whether a lock file contains a heartbeat that was updated recently."""
    stat = path.stat()
    return stat.st_size > 0 and abs(time.time() - stat.st_mtime) < NOTE_SECONDS
