"""Files uploaded by the page: streamed to the app's own folder, one at a time. It knows nothing
about their contents.

The page never learns a file's path; it gets a token. Anything left over from an earlier session is
deleted on startup.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from app.web.errors import Refused
from kgen.system.files import portable_name

MAX_BYTES = 2 * 2**30
RESERVED_BYTES = 2**30
"""Disk space to leave free, because a run needs room too."""


class Uploads:
    """At most one file, in `folder`, which it owns. For one event loop."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._stored: tuple[str, Path] | None = None
        self._busy = False
        self.clear()

    def path(self, token: str) -> Path:
        """The path of a token's file. Raises Refused if it is gone."""
        if self._stored is None or self._stored[0] != token or not self._stored[1].is_file():
            raise Refused(
                "The file is no longer here. Please choose it again.",
                410,
                code="no-file",
            )
        return self._stored[1]

    async def store(self, name: str, chunks: AsyncIterator[bytes], content_length: int = 0) -> str:
        """Store a file, replacing the previous one, completely or not at all; returns its token.
        Raises Refused.

        Args:
            content_length: the announced size in bytes; the actual bytes are counted all the same.
        """
        name = portable_name(name)
        if self._busy:
            raise Refused(
                "Another file is being uploaded. Wait until it is done.",
                409,
                code="busy",
            )
        self._check_space(content_length, content_length)
        self.clear()
        token = secrets.token_urlsafe(16)
        path = self._folder / token / name
        self._busy = True
        try:
            path.parent.mkdir(parents=True)
            size = 0
            with path.open("xb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    self._check_space(size, len(chunk))
                    await run_in_threadpool(file.write, chunk)
            if not size:
                raise Refused(
                    "The file is empty. Copy or download it again.",
                    code="empty",
                )
        except OSError as error:
            self.clear()
            raise Refused(
                f"The file cannot be saved: {error.strerror or 'the disk rejected it'}.",
                507,
                code="unwritable",
            ) from None
        except BaseException:  # including a page that closes halfway
            self.clear()
            raise
        finally:
            self._busy = False
        self._stored = token, path
        return token

    def clear(self) -> None:
        """Delete the stored file."""
        self._stored = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def discard(self, path: Path) -> None:
        """Delete the stored file if it is this one. Another may have arrived in the meantime."""
        if self._stored is not None and self._stored[1] == path:
            self.clear()

    def _check_space(self, size: int, additional: int) -> None:
        """Reject a file that exceeds the limit or the available disk space."""
        if size > MAX_BYTES:
            raise Refused(
                f"The file is larger than {MAX_BYTES / 2**30:.0f} GB, too large to upload. Enter"
                " its path instead.",
                413,
                code="too-large",
            )
        parent = next(folder for folder in (self._folder, *self._folder.parents) if folder.exists())
        if shutil.disk_usage(parent).free - additional < RESERVED_BYTES:
            raise Refused(
                "There is not enough disk space for that file. Free up some space, or enter"
                " the file's path instead.",
                507,
                code="disk-full",
            )
