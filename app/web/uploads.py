"""Files that the page brings: streamed to a folder of the app's own, one kept at a time. Knows
nothing of what is in them.

The page never learns where a file lies; it gets a token. Whatever is left from an earlier life of
the app goes at its start.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from kgen.errors import KGenError
from kgen.preflight.request import RESERVED

SUFFIXES = (".safetensors", ".pt", ".pth", ".th")
MOST_BYTES = 2 * 2**30
SPARE_BYTES = 2**30
"""Of the disk stay free: a run beside it needs room."""


class Refused(KGenError, ValueError):
    """What the page asked for is not done; one sentence for a person, and the status of the
    answer.
    """

    code = "upload"

    def __init__(self, sentence: str, status: int = 400):
        super().__init__(sentence)
        self.status = status


class Uploads:
    """At most one file, in `folder`, which is its own. For one event loop."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._kept: tuple[str, Path] | None = None
        self._busy = False
        self.clear()

    def path(self, token: str) -> Path:
        """Where the file of a token lies. Raises Refused where it is gone."""
        if self._kept is None or self._kept[0] != token or not self._kept[1].is_file():
            raise Refused("The file is not here any more; choose it again.", 410)
        return self._kept[1]

    async def take(self, name: str, chunks: AsyncIterator[bytes], announced: int = 0) -> str:
        """Keep a file in the place of the one before, whole or not at all; its token. Raises
        Refused.

        Args:
            announced: bytes that are said to come; what comes is counted all the same.
        """
        name = _file_name(name)
        if self._busy:
            raise Refused("Another file is on its way; wait until it is here.", 409)
        self._check_room(announced, announced)
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
                    self._check_room(size, len(chunk))
                    await run_in_threadpool(file.write, chunk)
            if not size:
                raise Refused("The file is empty; copy or download it again.")
        except OSError as error:
            self.clear()
            raise Refused(
                f"The file cannot be kept: {error.strerror or 'the disk does not take it'}.", 507
            ) from None
        except BaseException:  # also the page that goes away in the middle
            self.clear()
            raise
        finally:
            self._busy = False
        self._kept = token, path
        return token

    def clear(self) -> None:
        """Delete what is there."""
        self._kept = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _check_room(self, size: int, more: int) -> None:
        """Refuse a file of more bytes than are taken, or more than the disk can spare."""
        if size > MOST_BYTES:
            raise Refused(
                f"The file has more than {MOST_BYTES / 2**30:.0f} GB, which is not uploaded; type"
                " its path instead.",
                413,
            )
        above = next(folder for folder in (self._folder, *self._folder.parents) if folder.exists())
        if shutil.disk_usage(above).free - more < SPARE_BYTES:
            raise Refused(
                "There is not enough room on the disk for that file; free some, or type its path"
                " instead.",
                507,
            )


def _file_name(name: str) -> str:
    """A name as any system takes it, with the suffix of a file of weights."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-100:].lstrip(".")
    suffix = Path(clean).suffix.lower()
    if suffix not in SUFFIXES:
        raise Refused(
            f"That file is called {name[-60:]!r}; expected a file of weights:"
            f" {', '.join(SUFFIXES)}."
        )
    return f"_{clean}" if RESERVED.fullmatch(clean.lower()) else clean
