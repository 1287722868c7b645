"""Opens an untrusted bundle (`kgen.journal.bundle`) as a run in a folder of runs.

It is opened completely or not at all, and nothing in the file is trusted. Only file names that a
run can have are accepted, sizes and checksums must match the manifest, and everything is written to
a temporary folder that is renamed at the very end.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
import shutil
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from kgen.journal.bundle import (
    CHUNK_BYTES,
    FORMAT,
    MANIFEST,
    MAX_COMPRESSION,
    MAX_FILES,
    TEXTS,
    VERSION,
    BundleError,
    is_known,
)
from kgen.journal.reading import BUNDLE_MANIFEST, FOLDERS, RECIPE_FILE, RUN_NAME
from kgen.recipe.recipe import RecipeError, parse
from kgen.system.files import sync_file, sync_folder

MAX_TOTAL_BYTES = 16 << 30
"""Limit on the total bytes of a bundle's files."""
MAX_MANIFEST_BYTES = 32 << 20
MAX_DIRECTORY_BYTES = 6 << 20
"""Limit on the bytes of the ZIP's central directory, which zipfile reads completely before any
check.
"""
MAX_TEXT_BYTES = 1 << 20
"""Limit on the bytes of a text that is read at once; texts up to this size may compress arbitrarily
well.
"""
MAX_JOURNAL_BYTES = 512 << 20
FOREIGN = "is not a run bundle; choose a file that `python -m kgen bundle` created"


def unbundle(
    file: str | Path,
    folder: str | Path,
    *,
    max_bytes: int = MAX_TOTAL_BYTES,
    label: str | None = None,
) -> Path:
    """Open a bundle as a new run in `folder`. → the run.

    It keeps its name, with a number appended if the name is taken. Raises BundleError, and then
    leaves nothing behind.

    Args:
        max_bytes: limit on the total bytes of its files.
        label: name of the file in errors; by default its file name.
    """
    file, folder = Path(file), Path(folder)
    label = label or file.name
    temporary = folder / f".opening-{secrets.token_hex(6)}"
    try:
        with file.open("rb") as stream:
            manifest = _unpack(stream, label, temporary, max_bytes)
        return _settle(temporary, folder, manifest["run"])
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        struct.error,
    ) as error:
        raise BundleError(
            f"{label} is damaged ({error or type(error).__name__}); copy it again.",
            code="damaged",
        ) from None
    except OSError as error:
        raise BundleError(
            f"{label} cannot be opened: {error.strerror or error}.",
            code="unreadable",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpack(stream: BinaryIO, label: str, folder: Path, max_bytes: int) -> dict[str, Any]:
    """Check everything that can be checked in advance, then write and verify the files. →
    manifest.
    """
    archive_size = _check_directory(stream, label)
    with zipfile.ZipFile(stream) as archive:
        manifest = _manifest(archive, label)
        files = manifest["files"]
        _check(archive, files, archive_size, label, max_bytes)
        folder.mkdir(parents=True)
        for subfolder in FOLDERS:
            (folder / subfolder).mkdir()
        for name in files:
            _extract(archive, name, files[name], folder / name, label)
    _check_run(folder, label)
    _write(
        folder / BUNDLE_MANIFEST,
        [json.dumps({k: v for k, v in manifest.items() if k != "files"}, indent=1).encode()],
    )
    now = int(time.time())
    for name, modified in (("recipe.json", manifest["began"]), ("events.jsonl", manifest["ended"])):
        if (folder / name).is_file() and 0 < modified <= now:
            os.utime(folder / name, (modified, modified))
    return manifest


def _check_directory(stream: BinaryIO, label: str) -> int:
    """Check, from the end of the ZIP alone, that its directory is small enough. → size of the
    ZIP.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 98))
    tail = stream.read()
    if len(tail) < 22 or tail[-22:-18] != b"PK\5\6" or tail[-2:] != b"\0\0":
        raise BundleError(
            f"{label} {FOREIGN}. If it was cut short, copy it again.",
            code="not-a-bundle",
        )
    count, length = struct.unpack("<HL", tail[-12:-6])
    if len(tail) == 98 and tail[56:60] == b"PK\6\7":
        if tail[:4] != b"PK\6\6" or struct.unpack("<Q", tail[64:72])[0] != size - 98:
            raise BundleError(f"{label} {FOREIGN}.", code="not-a-bundle")
        count, length = struct.unpack("<QQ", tail[32:48])
    if count > MAX_FILES + 1 or length > MAX_DIRECTORY_BYTES:
        raise BundleError(
            f"{label} names {count:,} files; the limit is {MAX_FILES:,}.",
            code="too-many",
            count=count,
            limit=MAX_FILES,
        )
    return size


def _manifest(archive: zipfile.ZipFile, label: str) -> dict[str, Any]:
    """The bundle's manifest, with every field converted to its expected type."""
    try:
        info = archive.getinfo(MANIFEST)
        if (
            max(info.file_size, info.compress_size) > MAX_MANIFEST_BYTES
            or info.compress_type != zipfile.ZIP_STORED
        ):
            raise ValueError
        payload = json.loads(archive.read(info))
        files = {name: (int(f["size"]), str(f["sha256"])) for name, f in payload["files"].items()}
        if payload["format"] != FORMAT:
            raise ValueError
        version = int(payload["version"])
        manifest = {
            "format": FORMAT,
            "version": version,
            "kgen": str(payload["kgen"])[:40],
            "run": str(payload["run"]),
            "began": int(payload["began"]),
            "ended": int(payload["ended"]),
            "left_out": [str(what)[:40] for what in payload["left_out"]][:10],
            "files": files,
        }
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise BundleError(f"{label} {FOREIGN}.", code="not-a-bundle") from None
    if version > VERSION:
        raise BundleError(
            f"{label} was made by a newer version of K-Gen Explorer ({manifest['kgen']}); update"
            " this one to open it.",
            code="unsupported-version",
            version=manifest["kgen"],
        )
    return manifest


def _check(
    archive: zipfile.ZipFile,
    files: dict[str, tuple[int, str]],
    archive_size: int,
    label: str,
    max_bytes: int,
) -> None:
    """Check names, kinds and sizes before anything is written."""
    infos = {info.filename: info for info in archive.infolist()}
    if len(infos) != len(archive.infolist()):
        raise BundleError(
            f"{label} contains the same file twice.",
            code="duplicate-file",
        )
    unexpected = next(
        (name for name in (*infos, *files) if name != MANIFEST and not is_known(name)), None
    )
    if unexpected is not None:
        raise BundleError(
            f"{label} contains {unexpected[:60]!r}, which does not belong in a run.",
            code="unknown-file",
            name=unexpected[:60],
        )
    if infos.keys() != {*files, MANIFEST}:
        name = min(infos.keys() ^ {*files, MANIFEST})
        raise BundleError(
            f"{label} is incomplete: {name} is"
            f" {'not in its manifest' if name in infos else 'missing'}.",
            code="incomplete",
            name=name,
        )
    for name, (size, _) in files.items():
        info = infos[name]
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
            raise BundleError(
                f"{label} contains {name} as a link, a device, or an encrypted file; a bundle may"
                " contain only regular files.",
                code="not-a-file",
                name=name,
            )
        if info.file_size != size or size < 0:
            raise BundleError(
                f"{label} is damaged: the size of {name} does not match the manifest; copy it"
                " again.",
                code="damaged",
                name=name,
            )
        compression = zipfile.ZIP_DEFLATED if name in TEXTS else zipfile.ZIP_STORED
        expands = size > max(MAX_TEXT_BYTES, MAX_COMPRESSION * info.compress_size)
        if expands or info.compress_type not in (compression, zipfile.ZIP_STORED):
            raise BundleError(
                f"{label} contains {name} in an invalid compression format.",
                code="invalid-compression",
                name=name,
            )
        if name in TEXTS and size > (
            MAX_JOURNAL_BYTES if name == "events.jsonl" else MAX_TEXT_BYTES
        ):
            raise BundleError(
                f"{label} contains {name} with {size:,} bytes, which is more than a run can have.",
                code="too-large",
                name=name,
                size=size,
            )
    if sum(info.compress_size for info in infos.values()) > archive_size:
        raise BundleError(
            f"{label} contains overlapping files; a valid bundle stores each byte once.",
            code="overlapping",
        )
    total = sum(size for size, _ in files.values())
    if total > max_bytes:
        raise BundleError(
            f"{label} contains {total / 2**30:,.1f} GB of files; the limit is"
            f" {max_bytes / 2**30:,.1f} GB.",
            code="too-large",
        )
    if RECIPE_FILE not in files or "run.json" not in files:
        raise BundleError(
            f"{label} {FOREIGN}: it has no {RECIPE_FILE} or no run.json.",
            code="not-a-run",
        )


def _extract(
    archive: zipfile.ZipFile, name: str, expected: tuple[int, str], path: Path, label: str
) -> None:
    size, digest = expected[0], hashlib.sha256()

    def contents() -> Iterator[bytes]:
        remaining = size
        with archive.open(name) as file:
            while chunk := file.read(CHUNK_BYTES):
                remaining -= len(chunk)
                if remaining < 0:
                    break
                digest.update(chunk)
                yield chunk

    _write(path, contents())
    if digest.hexdigest() != expected[1]:
        raise BundleError(
            f"{label} is damaged: {name} does not match the manifest; copy it again.",
            code="damaged",
            name=name,
        )


def _write(path: Path, contents: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        for chunk in contents:
            file.write(chunk)
        file.flush()
        sync_file(file.fileno())


def _check_run(path: Path, label: str) -> None:
    """Check what readers rely on in recipe.json and run.json.

    Readers report any other damage when they come across it.
    """
    try:
        parse((path / RECIPE_FILE).read_bytes())
        info = json.loads((path / "run.json").read_bytes())
        if (
            not isinstance(info, dict)
            or type(info.get("attempt", 1)) is not int
            or not isinstance(info.get("teacher_sha256", ""), str)
        ):
            raise ValueError
    except RecipeError as error:
        raise BundleError(
            f"{label} contains an invalid recipe: {error}",
            code="invalid-recipe",
        ) from None
    except (ValueError, RecursionError):
        raise BundleError(
            f"{label} contains an invalid run.json.",
            code="invalid-run",
        ) from None


def _settle(temporary: Path, folder: Path, requested_name: str) -> Path:
    """Rename the finished folder to its final name, with a number appended if that is taken."""
    name = (
        requested_name
        if RUN_NAME.fullmatch(requested_name) and ".." not in requested_name
        else "run"
    )
    for n in itertools.count(1):
        path = folder / (name if n == 1 else f"{name[:100]}-{n}")
        if os.path.lexists(path):
            continue
        try:
            os.rename(temporary, path)
        except OSError:
            if os.path.lexists(path):  # another process got there first
                continue
            raise
        sync_folder(folder)
        return path
    raise AssertionError
