"""The files that a person sees in a folder or a ZIP file.

What systems and tools put there for themselves is ignored: hidden files and folders, thumbnails,
recycle bins. It knows nothing about images or classes, and it writes nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NamedTuple

from kgen.data.images import MAX_FILE_BYTES, DataError, ImageSource, Unreadable

_INTERNAL = {
    "__macosx",  # macOS, in ZIP files
    "@eadir",  # Synology
    "#recycle",
    "#snapshot",
    "@recycle",  # QNAP
    "@recently-snapshot",
    "$recycle.bin",  # Windows
    "system volume information",
    "thumbs.db",
    "desktop.ini",
    "lost+found",
    "__pycache__",
}
"""Names in lowercase that are hidden from people although they do not start with a dot."""


READ_BYTES = 2**16
MAX_DEPTH = 30
"""How deeply folders may be nested; in a ZIP file, each level costs only two bytes."""
_TOO_DEEP = f"more than {MAX_DEPTH} folders deep"


class MemberState(NamedTuple):
    """Values that change with the contents of a file in a ZIP file."""

    st_size: int
    checksum: int


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raises zipfile's errors as `Unreadable`: their texts contain the member's path."""
    try:
        yield
    except NotImplementedError:
        raise Unreadable("its compression method is not supported; unpack the ZIP file") from None
    except RuntimeError:
        raise Unreadable("it is encrypted; unpack the ZIP file") from None
    except Exception as error:  # whatever a decompressor raises; bzip2, an OSError
        if isinstance(error, MemoryError) or getattr(error, "errno", None):
            raise
        raise Unreadable("the ZIP file is damaged here") from None


class _Unpacked(io.RawIOBase):
    """A file in a ZIP file, unpacked at most `READ_BYTES` at a time."""

    def __init__(self, stream: IO[bytes]):
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with _translated():
            found = self._stream.read(min(len(buffer), READ_BYTES))
        buffer[: len(found)] = found
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with _translated():  # zipfile reads what is skipped
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()
        super().close()


class Member:
    """A file in a ZIP file, with the part of `Path`'s interface that reading an image needs."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str):
        self._archive, self._info, self._name = archive, info, name

    def __str__(self) -> str:
        return f"{self._archive.filename}/{self._name}"

    @property
    def name(self) -> str:
        return PurePosixPath(self._name).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self._name).suffix

    def resolve(self) -> str:
        """Identifies it among all files, as `Path.resolve` does."""
        return str(self)

    def open(self, mode: Literal["rb"] = "rb", /) -> IO[bytes]:
        """Its contents, unpacked while they are read. This and reading raise OSError and
        Unreadable.
        """
        if self._info.file_size > MAX_FILE_BYTES:
            raise Unreadable(f"larger than {MAX_FILE_BYTES >> 20} MB")
        with _translated():
            stream = self._archive.open(self._info)
        assert isinstance(stream, zipfile.ZipExtFile)
        stream.MAX_SEEK_READ = READ_BYTES  # to skip bytes, zipfile unpacks 16 MB at a time
        return io.BufferedReader(
            _Unpacked(stream), READ_BYTES
        )  # seeking backward unpacks it again from the start

    def stat(self) -> MemberState:
        return MemberState(self._info.file_size, self._info.CRC)


def state(source: ImageSource) -> tuple[int, int]:
    """Values that change with the contents of a file: its size and modification time. Raises
    OSError.
    """
    if isinstance(source, Member):
        return source.stat()
    found = os.stat(str(source))
    return found.st_size, found.st_mtime_ns


@dataclass
class Listing:
    """The visible files of a folder or a ZIP file."""

    source: Path
    files: list[tuple[tuple[str, ...], Path | Member]] = field(default_factory=list)
    """(names of its folders and its own, below `source`; the file), in the order of the names."""
    folders: set[tuple[str, ...]] = field(default_factory=set)
    """Every folder below `source`, including empty ones."""
    closed: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason): folders and links that cannot be opened."""

    def below(self, root: tuple[str, ...]) -> list[tuple[tuple[str, ...], Path | Member]]:
        """The files below a folder, with names relative to it."""
        n = len(root)
        return [(parts[n:], file) for parts, file in self.files if parts[:n] == root]

    def subfolders(self, root: tuple[str, ...] = ()) -> list[str]:
        """Names of the folders directly in a folder."""
        return sorted(f[-1] for f in self.folders if len(f) == len(root) + 1 and f[:-1] == root)


def list_files(source: Path) -> Listing:
    """Lists a folder or a ZIP file. Raises DataError if it is neither."""
    listing = Listing(source)
    if source.is_file():
        _list_archive(listing)
    else:
        try:
            _list_folder(listing, source, (), set())
        except OSError as error:
            raise DataError(
                f"{source} cannot be read as a folder of images ({error.strerror or error}).",
                code="unreadable",
                file=str(source),
            ) from None
    listing.files.sort(key=lambda file: file[0])
    return listing


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not meant for people."""
    return name.startswith(".") or name.lower() in _INTERNAL


def _list_folder(
    listing: Listing, folder: Path, parts: tuple[str, ...], above: set[tuple[int, int]]
) -> None:
    """Adds the contents of a folder. Links to folders are followed, but never in circles."""
    found = folder.stat()
    if found.st_ino and (found.st_dev, found.st_ino) in above:
        return
    above = above | {(found.st_dev, found.st_ino)}
    with os.scandir(folder) as entries:
        found_entries = list(entries)
    for entry in found_entries:
        inner = (*parts, entry.name)
        try:
            if _is_hidden_entry(entry):
                continue
            if entry.is_dir() and len(inner) > MAX_DEPTH:
                listing.closed.append((entry.path, _TOO_DEEP))
            elif entry.is_dir():
                listing.folders.add(inner)
                _list_folder(listing, Path(entry.path), inner, above)
            elif entry.is_file():
                listing.files.append((inner, Path(entry.path)))
        except OSError as error:
            listing.closed.append((entry.path, error.strerror or str(error)))


def _is_hidden_entry(entry: os.DirEntry[str]) -> bool:
    """Hidden by its name, or marked as hidden for Explorer or Finder."""
    if is_hidden(entry.name):
        return True
    if sys.platform not in ("win32", "darwin"):
        return False
    found = entry.stat(follow_symlinks=False)
    return bool(
        getattr(found, "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN
        or getattr(found, "st_flags", 0) & stat.UF_HIDDEN
    )


def _list_archive(listing: Listing) -> None:
    try:
        archive = zipfile.ZipFile(listing.source)
    except (OSError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, UnicodeError):
            reason = "a file name in it is not valid text"
        raise DataError(
            f"{listing.source} is neither a folder nor a ZIP file ({reason}).",
            code="not-a-folder",
            file=str(listing.source),
        ) from None
    too_deep: dict[str, None] = {}
    for info in archive.infolist():
        name = _member_name(info)
        parts = tuple(p for p in PurePosixPath(name).parts if p not in ("/", ".", ".."))
        if not parts or any(map(is_hidden, parts)):
            continue
        folders = parts if info.is_dir() else parts[:-1]
        if len(folders) > MAX_DEPTH:
            too_deep[f"{listing.source}/{'/'.join(folders[:MAX_DEPTH])}"] = None
            continue
        listing.folders.update(folders[:n] for n in range(1, len(folders) + 1))
        if not info.is_dir():
            listing.files.append((parts, Member(archive, info, "/".join(parts))))
    listing.closed += [(folder, _TOO_DEEP) for folder in too_deep]


def _member_name(info: zipfile.ZipInfo) -> str:
    """The name, even if it is in UTF-8 without being marked as such, as macOS writes it."""
    name = info.filename
    if not info.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")
