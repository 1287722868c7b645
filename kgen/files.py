"""Writing files whole: a temporary name, fsync, rename, fsync of the folder. Old or new, never half."""

from __future__ import annotations

import os
import time
from pathlib import Path

ATTEMPTS = 20


def write_durably(path: Path, data: bytes, *, sync: bool = True, attempts: int = ATTEMPTS) -> None:
    """Replace `path` by `data`; after a crash it holds the old bytes or the new ones.

    Tried `attempts` times, a tenth of a second apart, where a reader holds the file (Windows). Raises OSError; the old file is then intact.
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
