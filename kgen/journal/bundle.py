"""A run as a single file for another machine: a ZIP of the run folder with sizes and checksums.

`chunks` yields its bytes incrementally, so that it needs neither much memory nor a second copy on
disk; the manifest comes last, when all checksums are known. `kgen.journal.unbundle` opens a bundle.
The user's own real images and the checkpoint are left out unless requested; the path to those
images is always reduced to the folder's name. Depends on files, not on torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from kgen import __version__
from kgen.errors import KGenError
from kgen.journal.reading import Run, being_written, open_run
from kgen.system.files import sync_file, sync_folder
from kgen.system.paths import last_part

FORMAT, VERSION = "kgen run", 2
MANIFEST = "manifest.json"
SUFFIX = ".kgen"
TEXTS = ("recipe.json", "run.json", "events.jsonl", "note.txt")
"""Deflated; everything else barely compresses and is stored as is."""
ARRAYS = ("reference.safetensors", "layout.safetensors", "student.safetensors")
CHECKPOINT = "checkpoint/state.safetensors"
SERIES = re.compile(r"(batches|students)/[0-9]{6,9}\.safetensors", re.ASCII)
"""Numbered files, of which a run has many."""
WITH_REAL_IMAGES = ("reference.safetensors", "layout.safetensors")
WITH_RECIPE = ("recipe.json", "events.jsonl")
MAX_COMPRESSION = 100
"""Text compresses by less than this factor; a bundle in which it expands more is rejected."""
MAX_FILES = 50_000
CHUNK_BYTES = 1 << 20


class BundleError(KGenError, ValueError):
    """A bundle that cannot be made or opened; the message says why and, if possible, what to do."""

    code = "bundle"


def is_known(name: str) -> bool:
    """Whether a bundle may contain a file of this name."""
    return name in (*TEXTS, *ARRAYS, CHECKPOINT) or SERIES.fullmatch(name) is not None


def write(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    real_images: bool = False,
    checkpoint: bool = False,
) -> Path:
    """Write the bundle of a run, by default next to it; completely or not at all. → the file.

    Raises BundleError, JournalError.
    """
    path = Path(folder).resolve() if Path(folder).name in ("", "..") else Path(folder)
    out = path.with_name(path.name + SUFFIX) if out is None else Path(out)
    if os.path.lexists(out):
        raise BundleError(
            f"{out} already exists; delete it, or choose another file with --out.",
            code="exists",
            file=str(out),
        )
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for chunk in chunks(path, real_images=real_images, checkpoint=checkpoint):
                file.write(chunk)
            file.flush()
            sync_file(file.fileno())
        os.replace(temporary, out)
        sync_folder(out.parent)
    except OSError as error:
        raise BundleError(
            f"{out} cannot be written: {error.strerror or error}; choose another file with --out.",
            code="unwritable",
            file=str(out),
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return out


def chunks(
    folder: str | Path, *, real_images: bool = False, checkpoint: bool = False
) -> Iterator[bytes]:
    """The bytes of a run's bundle. Raises BundleError or JournalError before the first one."""
    run = open_run(folder)
    if being_written(run.path):
        raise BundleError(
            f"The run {run.path.name} is in progress; stop it first, or wait for it.",
            code="busy",
            run=run.path.name,
        )
    omit_real_images = run.recipe.real_images is not None and not real_images
    names = _names(run, checkpoint)
    if len(names) > MAX_FILES:
        raise BundleError(
            f"The run {run.path.name} has {len(names):,} files; a bundle is limited to"
            f" {MAX_FILES:,}.",
            code="too-many",
            count=len(names),
            limit=MAX_FILES,
        )
    return _zipped(run, names, omit_real_images)


def _names(run: Run, checkpoint: bool) -> list[str]:
    """The files of a run to bundle. Leaves out the batch in progress, the lock and foreign
    files.
    """
    series = (
        f"{folder}/{file.name}"
        for folder in ("batches", "students")
        for file in (run.path / folder).glob("*.safetensors")
    )
    names = (
        *TEXTS,
        *ARRAYS,
        *((CHECKPOINT,) if checkpoint else ()),
        *sorted(name for name in series if is_known(name)),
    )
    return [name for name in names if (run.path / name).is_file()]


class Pipe:
    """A write buffer for zipfile, emptied piece by piece."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def drain(self) -> bytes:
        data, self._data = bytes(self._data), bytearray()
        return data


def _zipped(run: Run, names: list[str], omit_real_images: bool) -> Iterator[bytes]:
    files: dict[str, dict[str, Any]] = {}
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name in names:
            size, digest = 0, hashlib.sha256()
            info = zipfile.ZipInfo(name)  # without a date: it is in the manifest
            info.compress_type, info.external_attr = (
                (zipfile.ZIP_DEFLATED if name in TEXTS else zipfile.ZIP_STORED),
                0o600 << 16,
            )
            with archive.open(info, "w", force_zip64=True) as target:
                for chunk in _contents(run, name, omit_real_images):
                    size += len(chunk)
                    digest.update(chunk)
                    target.write(chunk)
                    yield pipe.drain()
            files[name] = {"size": size, "sha256": digest.hexdigest()}
        archive.writestr(
            zipfile.ZipInfo(MANIFEST),
            json.dumps(_manifest(run, files, omit_real_images), indent=1).encode(),
        )
    yield pipe.drain()


def _contents(run: Run, name: str, omit_real_images: bool) -> Iterator[bytes]:
    """A file's bytes, without the pixels of the user's own real images and the path to them.

    BundleError if the file has disappeared in the meantime.
    """
    path = run.path
    try:
        if omit_real_images and name in WITH_REAL_IMAGES:
            yield without_images((path / name).read_bytes(), name)
            return
        if run.recipe.real_images and name in WITH_RECIPE:
            places = _places(path)
            with (path / name).open("rb") as file:
                for line in file:
                    yield _without_places(line, places)
            return
        with (path / name).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise BundleError(
            f"{name} of the run {path.name} cannot be read: {error.strerror or error}.",
            code="unreadable",
            file=name,
        ) from None


def _places(path: Path) -> list[str]:
    """The paths to real images in a run's recipe and in its first event, the longest first. They
    differ if the images have moved since the run began.
    """
    recipes = [json.loads((path / "recipe.json").read_bytes())]
    with (
        contextlib.suppress(OSError, ValueError, KeyError, TypeError),  # damaged, or none yet
        (path / "events.jsonl").open("rb") as file,
    ):
        recipes.append(json.loads(file.readline())["recipe"])
    places = {recipe.get("real_images") for recipe in recipes if isinstance(recipe, dict)}
    return sorted((p for p in places if isinstance(p, str)), key=len, reverse=True)


def _without_places(line: bytes, places: list[str]) -> bytes:
    """A line of JSON with only the last part of each path, also inside sentences.

    Padded with spaces: the offsets of the lines that follow stay the same.
    """
    shorter = line
    for path in places:
        name = last_part(path) or path
        for ascii_only in (True, False):
            old, new = (json.dumps(s, ensure_ascii=ascii_only)[1:-1].encode() for s in (path, name))
            shorter = shorter.replace(old, new)
    end = b"\n" if shorter.endswith(b"\n") else b""
    return shorter.removesuffix(end).ljust(len(line) - len(end)) + end


def without_images(data: bytes, name: str) -> bytes:
    """A file of real examples without their pixels; labels, embeddings, positions and metadata
    stay.
    """
    try:
        arrays = load_arrays(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__")
    except (SafetensorError, ValueError):
        raise BundleError(
            f"{name} is damaged, so its real images cannot be left out; delete it, or include the"
            " real images.",
            code="damaged",
            file=name,
        ) from None
    return save_arrays({k: v for k, v in arrays.items() if k != "images"}, metadata)


def _manifest(run: Run, files: dict[str, dict[str, Any]], omit_real_images: bool) -> dict[str, Any]:
    left_out = [
        part
        for part, omitted in (
            ("real images", omit_real_images),
            ("checkpoint", CHECKPOINT not in files),
        )
        if omitted
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "kgen": __version__,
        "run": run.path.resolve().name,
        **times(run.path),
        "left_out": left_out,
        "files": files,
    }


def times(path: Path) -> dict[str, int]:
    """When a run began and when it last wrote, in seconds since 1970, from its files'
    timestamps.
    """
    files = {"began": path / "recipe.json", "ended": path / "events.jsonl"}
    return {
        name: int(file.stat().st_mtime) if file.is_file() else 0 for name, file in files.items()
    }
