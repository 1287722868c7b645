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
from pathlib import Path
from typing import Any, BinaryIO

from kgen.files import sync_folder
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

LARGEST = 16 << 30
"""Limit on the total bytes of a bundle's files."""
LARGEST_MANIFEST = 32 << 20
LARGEST_DIRECTORY = 6 << 20
"""Limit on the bytes of the ZIP's central directory, which zipfile reads completely before any
check.
"""
SMALL = 1 << 20
"""Limit on the bytes of a text that is read at once; texts up to this size may compress arbitrarily
well.
"""
LARGEST_JOURNAL = 512 << 20
FOREIGN = "is not a run bundle; give a file that `python -m kgen bundle` created"


def unbundle(
    file: str | Path, folder: str | Path, *, largest: int = LARGEST, label: str | None = None
) -> Path:
    """Open a bundle as a new run in `folder`. → the run.

    It keeps its name, with a number appended if the name is taken. Raises BundleError, and then
    leaves nothing behind.

    Args:
        largest: limit on the total bytes of its files.
        label: name of the file in errors; by default its file name.
    """
    file, folder = Path(file), Path(folder)
    label = label or file.name
    temporary = folder / f".opening-{secrets.token_hex(6)}"
    try:
        with file.open("rb") as opened:
            manifest = _unpack(opened, label, temporary, largest)
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


def _unpack(opened: BinaryIO, label: str, into: Path, largest: int) -> dict[str, Any]:
    """Check everything that can be checked in advance, then write and verify the files. →
    manifest.
    """
    packed_size = _check_directory(opened, label)
    with zipfile.ZipFile(opened) as archive:
        manifest = _manifest(archive, label)
        files = manifest["files"]
        _check(archive, files, packed_size, label, largest)
        into.mkdir(parents=True)
        for made in FOLDERS:
            (into / made).mkdir()
        for name in files:
            _extract(archive, name, files[name], into / name, label)
    _check_run(into, label)
    _write(
        into / BUNDLE_MANIFEST,
        [json.dumps({k: v for k, v in manifest.items() if k != "files"}, indent=1).encode()],
    )
    now = int(time.time())
    for name, when in (("recipe.json", manifest["began"]), ("events.jsonl", manifest["ended"])):
        if (into / name).is_file() and 0 < when <= now:
            os.utime(into / name, (when, when))
    return manifest


def _check_directory(opened: BinaryIO, label: str) -> int:
    """Check, from the end of the ZIP alone, that its directory is small enough. → size of the
    ZIP.
    """
    size = opened.seek(0, os.SEEK_END)
    opened.seek(max(0, size - 98))
    tail = opened.read()
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
    if count > MAX_FILES + 1 or length > LARGEST_DIRECTORY:
        raise BundleError(
            f"{label} names {count:,} files; the limit is {MAX_FILES:,}.",
            code="too-many-files",
            count=count,
            limit=MAX_FILES,
        )
    return size


def _manifest(archive: zipfile.ZipFile, label: str) -> dict[str, Any]:
    """The bundle's manifest, with every field converted to its expected type."""
    try:
        info = archive.getinfo(MANIFEST)
        if (
            max(info.file_size, info.compress_size) > LARGEST_MANIFEST
            or info.compress_type != zipfile.ZIP_STORED
        ):
            raise ValueError
        told = json.loads(archive.read(info))
        files = {name: (int(f["size"]), str(f["sha256"])) for name, f in told["files"].items()}
        if told["format"] != FORMAT:
            raise ValueError
        version = int(told["version"])
        kept = {
            "format": FORMAT,
            "version": version,
            "kgen": str(told["kgen"])[:40],
            "run": str(told["run"]),
            "began": int(told["began"]),
            "ended": int(told["ended"]),
            "left_out": [str(what)[:40] for what in told["left_out"]][:10],
            "files": files,
        }
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise BundleError(f"{label} {FOREIGN}.", code="not-a-bundle") from None
    if version > VERSION:
        raise BundleError(
            f"{label} was made by a newer version of K-Gen Explorer ({kept['kgen']}); update this"
            " one to open it.",
            code="newer-version",
            version=kept["kgen"],
        )
    return kept


def _check(
    archive: zipfile.ZipFile,
    files: dict[str, tuple[int, str]],
    packed_size: int,
    label: str,
    largest: int,
) -> None:
    """Check names, kinds and sizes before anything is written."""
    infos = {info.filename: info for info in archive.infolist()}
    if len(infos) != len(archive.infolist()):
        raise BundleError(
            f"{label} contains the same file twice.",
            code="twice",
        )
    strange = next(
        (name for name in (*infos, *files) if name != MANIFEST and not is_known(name)), None
    )
    if strange is not None:
        raise BundleError(
            f"{label} contains {strange[:60]!r}, which is not a file of a run.",
            code="file-name",
            name=strange[:60],
        )
    if infos.keys() != {*files, MANIFEST}:
        name = min(infos.keys() ^ {*files, MANIFEST})
        raise BundleError(
            f"{label} is incomplete: {name} is"
            f" {'not in its manifest' if name in infos else 'missing'}.",
            code="manifest",
            name=name,
        )
    for name, (size, _) in files.items():
        info = infos[name]
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
            raise BundleError(
                f"{label} contains {name} as a link, a device or encrypted; a bundle may contain"
                " plain files only.",
                code="not-plain",
                name=name,
            )
        if info.file_size != size or size < 0:
            raise BundleError(
                f"{label} is damaged: the size of {name} does not match the manifest; copy it"
                " again.",
                code="size",
                name=name,
            )
        packed = zipfile.ZIP_DEFLATED if name in TEXTS else zipfile.ZIP_STORED
        grows = size > max(SMALL, MAX_COMPRESSION * info.compress_size)
        if grows or info.compress_type not in (packed, zipfile.ZIP_STORED):
            raise BundleError(
                f"{label} contains {name} in an invalid compression format.",
                code="compression",
                name=name,
            )
        if name in TEXTS and size > (LARGEST_JOURNAL if name == "events.jsonl" else SMALL):
            raise BundleError(
                f"{label} contains {name} with {size:,} bytes, which is more than a run can have.",
                code="file-too-large",
                name=name,
                size=size,
            )
    if sum(info.compress_size for info in infos.values()) > packed_size:
        raise BundleError(
            f"{label} contains overlapping files; a valid bundle stores each byte once.",
            code="overlap",
        )
    total = sum(size for size, _ in files.values())
    if total > largest:
        raise BundleError(
            f"{label} contains {total / 2**30:,.1f} GB of files; the limit is"
            f" {largest / 2**30:,.1f} GB.",
            code="too-large",
        )
    if RECIPE_FILE not in files or "run.json" not in files:
        raise BundleError(
            f"{label} {FOREIGN}: it has no {RECIPE_FILE} or no run.json.",
            code="not-a-run",
        )


def _extract(
    archive: zipfile.ZipFile, name: str, told: tuple[int, str], to: Path, label: str
) -> None:
    size, digest = told[0], hashlib.sha256()

    def contents():
        left = size
        with archive.open(name) as file:
            while piece := file.read(CHUNK_BYTES):
                left -= len(piece)
                if left < 0:
                    break
                digest.update(piece)
                yield piece

    _write(to, contents())
    if digest.hexdigest() != told[1]:
        raise BundleError(
            f"{label} is damaged: {name} does not match the manifest; copy it again.",
            code="damaged",
            name=name,
        )


def _write(to: Path, contents) -> None:
    with to.open("xb") as file:
        for piece in contents:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


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
            code="recipe",
        ) from None
    except (ValueError, RecursionError):
        raise BundleError(
            f"{label} contains an invalid run.json.",
            code="run-json",
        ) from None


def _settle(temporary: Path, folder: Path, wanted: str) -> Path:
    """Rename the finished folder to its final name, with a number appended if that is taken."""
    name = wanted if RUN_NAME.fullmatch(wanted) and ".." not in wanted else "run"
    for n in itertools.count(1):
        path = folder / (name if n == 1 else f"{name[:100]}-{n}")
        if os.path.lexists(path):
            continue
        try:
            os.rename(temporary, path)
        except OSError:
            if os.path.lexists(path):  # another process was faster
                continue
            raise
        sync_folder(folder)
        return path
    raise AssertionError
