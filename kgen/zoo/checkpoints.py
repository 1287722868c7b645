"""Reads untrusted weights: names → tensors, and never code. Independent of networks.

`weights_only=True` keeps a pickle from running code, but not from allocating 64 GB. So the file's
structure is checked before torch reads it, and torch's result afterwards; limits on memory and time
in between are up to the caller (`kgen.preflight.limits`), who does this in a child process. A file
that cannot be read in this way is rejected.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from kgen.zoo.zoo import ZooError

SUFFIXES = (".safetensors", ".pt", ".pth", ".th")
MAX_BYTES = 4 * 2**30
"""Limit on a file, and on its tensors together: twice the size of the largest image classifiers in
full precision.
"""
MAX_TENSORS = 20_000
MAX_PICKLE_BYTES = 8 * 2**20
"""Limit on the bytes that list the tensors of a .pt file: about 200 per tensor."""
MAX_NAME_LENGTH = 300
MIN_TORCH = "2.10"
"""Earlier versions have two holes in `weights_only` (CVE-2025-32434, CVE-2026-24747)."""
ALLOWED_DTYPES = {
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
}
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Where training scripts store the weights inside a checkpoint, most specific first."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""Prefixes that DataParallel, torch.compile and Lightning add to every name."""
SAVE_HINT = "save the weights only: torch.save(model.state_dict(), 'weights.pt')"


class CheckpointError(ZooError):
    """A rejected weights file; the message is one sentence with the reason and what to do."""

    code = "checkpoint"


class Checkpoint(NamedTuple):
    """The contents of a weights file."""

    tensors: dict[str, Tensor]
    """In the order of the file."""
    kind: str
    """The file format, for display."""
    metadata: dict[str, str]
    """Of a .safetensors file; empty for a .pt."""
    notes: tuple[str, ...]
    """What was stripped to get at the tensors."""


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pt or .pth file, by name. Raises CheckpointError."""
    return open_checkpoint(path).tensors


def open_checkpoint(path: str | Path, suffix: str | None = None) -> Checkpoint:
    """Like `read`, with format, metadata and notes. Raises CheckpointError.

    `suffix`: the file type, if the name does not show it.
    """
    path = Path(path)
    suffix = (path.suffix if suffix is None else suffix).lower()
    _check_file(path, suffix)
    found = _safetensors(path) if suffix == ".safetensors" else _torch_file(path)
    _check_tensors(path, found.tensors)
    return found


def _check_file(path: Path, suffix: str) -> None:
    if suffix not in SUFFIXES:
        raise CheckpointError(
            f"{path} {f'ends in {suffix!r}' if suffix else 'has no suffix'}; expected a weights"
            f" file: {', '.join(SUFFIXES)}.",
            code="unsupported-format",
            file=str(path),
        )
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist or is not a file; give the file with the teacher's weights.",
            code="no-file",
            file=str(path),
        )
    if not os.access(path, os.R_OK):
        raise CheckpointError(
            f"{path} is not readable; change its permissions, or copy it.",
            code="unreadable",
            file=str(path),
        )
    size = path.stat().st_size
    if not size:
        raise CheckpointError(
            f"{path} is empty; copy or download it again.",
            code="empty",
            file=str(path),
        )
    if size > MAX_BYTES:
        raise CheckpointError(
            f"{path} is {size / 2**30:.1f} GB, above the limit of {MAX_BYTES / 2**30:.0f} GB;"
            f" {SAVE_HINT} (optimizer states take up two thirds of a checkpoint).",
            code="too-large",
            file=str(path),
        )


# --- .safetensors ---------------------------------------------------------------------------------


def _safetensors(path: Path) -> Checkpoint:
    """Read with the format's own library.

    It checks the header's length, gaps and overlaps, and allocates no more than the file's size.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt", device="cpu") as file:
            names = list(file.keys())
            _check_count(path, len(names))
            return Checkpoint(
                {name: file.get_tensor(name) for name in names},
                "safetensors",
                dict(file.metadata() or {}),
                (),
            )
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({_short_message(error)}); copy or"
            " download it again.",
            code="damaged",
        ) from None


# --- .pt, .pth and .th ----------------------------------------------------------------------------


def _torch_file(path: Path) -> Checkpoint:
    if torch.__version__ < TorchVersion(MIN_TORCH):
        raise CheckpointError(
            f"{path} cannot be read safely with torch {torch.__version__}; install torch"
            f" {MIN_TORCH} or later.",
            code="unsupported-version",
            needed=str(MIN_TORCH),
        )
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"  # torch uses the same test
    if zipped:
        _check_zip(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # at least thirteen types occur
        raise _load_error(path, error) from None
    tensors, notes = _unwrap(path, content)
    return Checkpoint(
        tensors, "torch" if zipped else "torch, as written before version 1.6", {}, notes
    )


def _check_zip(path: Path) -> None:
    """Check the archive's directory before anything is unpacked.

    torch never compresses, so a compressed member was not written by torch.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, NotImplementedError, RecursionError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} is a damaged .pt file ({_short_message(error)}); copy or download it again.",
            code="damaged",
        ) from None
    if len(members) > MAX_TENSORS + 100:
        raise CheckpointError(
            f"{path} has {len(members):,} parts, above the limit of {MAX_TENSORS:,}; {SAVE_HINT}.",
            code="too-many",
            count=len(members),
        )
    names = [m.filename for m in members]
    invalid = [
        n for n in names if n.startswith("/") or "\\" in n or ".." in n.split("/") or "\0" in n
    ]
    if invalid or len(set(names)) != len(names) or len({n.partition("/")[0] for n in names}) > 1:
        raise CheckpointError(
            f"{path} was not written by torch.save: its parts have invalid names"
            f" ({(invalid or names)[0]!r}); {SAVE_HINT}.",
            code="invalid-name",
            name=(invalid or names)[0],
        )
    inner = {n.partition("/")[2]: m for n, m in zip(names, members)}
    if "constants.pkl" in inner or any(n.startswith("code/") for n in inner):
        raise CheckpointError(
            f"{path} is a TorchScript program, which is code; in the Python environment"
            f" that created it, {SAVE_HINT}.",
            code="executable",
        )
    if any(m.compress_type != zipfile.ZIP_STORED for m in members):
        raise CheckpointError(
            f"{path} is compressed, which torch.save never does, and could expand without limit;"
            f" unpack it, or {SAVE_HINT}.",
            code="invalid-compression",
        )
    if sum(m.file_size for m in members) > path.stat().st_size:
        raise CheckpointError(
            f"{path} is damaged: its parts overlap; copy or download it again.",
            code="overlapping",
        )
    if "data.pkl" not in inner:
        raise CheckpointError(
            f"{path} is a ZIP archive, but was not written by torch.save (no data.pkl); give the"
            " .pt file itself.",
            code="not-a-checkpoint",
        )
    if inner["data.pkl"].file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{path} has a table of contents of {inner['data.pkl'].file_size / 2**20:.0f} MB, above"
            f" the limit of {MAX_PICKLE_BYTES // 2**20} MB; {SAVE_HINT}.",
            code="too-large",
        )


def _load_error(path: Path, error: Exception) -> CheckpointError:
    """Convert one of torch's exceptions to one of ours."""
    text = str(error)
    if isinstance(error, MemoryError) or "allocate" in text:
        return CheckpointError(
            f"{path} needs more memory than its size justifies; it is damaged or malicious, so get"
            " it from another source.",
            code="too-large",
        )
    if match := re.search(r"GLOBAL ([\w.]+)", text):
        return CheckpointError(
            f"{path} tries to run code from {match[1]!r} when it is read; it is rejected because"
            f" that code could do anything; if you trust it, {SAVE_HINT}.",
            code="executable",
            found=match[1],
        )
    if "TorchScript" in text:
        return CheckpointError(
            f"{path} is a TorchScript program, which is code; in the Python environment"
            f" that created it, {SAVE_HINT}.",
            code="executable",
        )
    if "legacy .tar" in text:
        return CheckpointError(
            f"{path} has a format older than torch 0.1.10; load and save it with a newer torch.",
            code="unsupported-version",
        )
    return CheckpointError(
        f"{path} is damaged or was not written by torch.save ({_short_message(error)}); copy or"
        f" download it again, or {SAVE_HINT}.",
        code="damaged",
    )


def _short_message(error: Exception) -> str:
    """The relevant line of an exception, short enough for a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = next(
        (line for line in lines if line.startswith(("Unsupported", "PytorchStreamReader"))),
        lines[0] if lines else "",
    )
    if message.startswith("Weights only load failed"):
        message = "not weights only"
    message = re.sub(r"[^\x20-\x7e]", "?", message.partition(". ")[0])
    return (
        f"{type(error).__name__}: {message[:100].rstrip('. ')}" if message else type(error).__name__
    )


def _unwrap(path: Path, content: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The innermost dictionary of names → tensors, without a prefix shared by all names."""
    notes = []
    for _ in range(4):
        inner = next(
            (w for w in WRAPPERS if isinstance(content, dict) and isinstance(content.get(w), dict)),
            None,
        )
        if inner is None:
            break
        content = content[inner]
        notes.append(f"taken from {inner!r}")
    if not isinstance(content, dict) or not content:
        raise CheckpointError(
            f"{path} contains {'nothing' if content == {} else type(content).__name__}; expected a"
            f" dictionary of tensors; {SAVE_HINT}.",
            code="no-tensors",
        )
    _check_count(path, len(content))
    for name, value in content.items():
        if not isinstance(name, str) or type(value) not in (Tensor, torch.nn.Parameter):
            kind = type(value).__name__
            raise CheckpointError(
                f"{path} contains {_name(name)}, which is not a tensor but {kind}, and no weights"
                f" under {', '.join(map(repr, WRAPPERS))}; {SAVE_HINT}.",
                code="no-tensors",
                name=str(name)[:60],
            )
    tensors: dict[str, Tensor] = {name: value.detach() for name, value in content.items()}
    while prefix := next(
        (p for p in PREFIXES if all(n.startswith(p) and n != p for n in tensors)), None
    ):
        tensors = {name.removeprefix(prefix): t for name, t in tensors.items()}
        notes.append(f"{prefix!r} stripped from every name")
    return tensors, tuple(notes)


# --- both -----------------------------------------------------------------------------------------


def _check_count(path: Path, count: int) -> None:
    if count > MAX_TENSORS:
        raise CheckpointError(
            f"{path} has {count:,} tensors, above the limit of {MAX_TENSORS:,}; {SAVE_HINT}.",
            code="too-many",
            count=count,
        )


def _name(name: object) -> str:
    return repr(name)[:60]


def _check_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Check type, layout and actual size of all tensors first: later checks read every number."""
    if not tensors:
        raise CheckpointError(
            f"{path} contains no tensors; {SAVE_HINT}.",
            code="no-tensors",
        )
    total = 0
    for name, t in tensors.items():
        if len(name) > MAX_NAME_LENGTH or not name.isprintable():
            raise CheckpointError(
                f"{path} has a tensor with the invalid name {_name(name)}; expected at most"
                f" {MAX_NAME_LENGTH} printable characters; {SAVE_HINT}.",
                code="invalid-name",
            )
        if t.dtype not in ALLOWED_DTYPES:
            raise CheckpointError(
                f"{path}: tensor {_name(name)} has dtype {t.dtype}; convert it to"
                " torch.float32 and save it again.",
                code="unsupported-dtype",
                tensor=name,
            )
        if t.layout is not torch.strided or t.device.type != "cpu" or t.is_quantized:
            raise CheckpointError(
                f"{path}: tensor {_name(name)} is sparse, quantized or empty; convert it with"
                " .dequantize() or .to_dense() and save it again.",
                code="unsupported-layout",
                tensor=name,
            )
        size = t.numel() * t.element_size()
        repeated = any(n > 1 and step == 0 for n, step in zip(t.shape, t.stride()))
        if repeated or size > t.untyped_storage().nbytes():
            raise CheckpointError(
                f"{path}: tensor {_name(name)} has {t.numel():,} numbers but stores fewer; copy it"
                " with .clone() and save it again.",
                code="unsupported-layout",
                tensor=name,
            )
        total += size
    if total > MAX_BYTES:
        raise CheckpointError(
            f"{path}: its tensors total {total / 2**30:.1f} GB, above the limit of"
            f" {MAX_BYTES / 2**30:.0f} GB; {SAVE_HINT}.",
            code="too-large",
        )
    for name, t in tensors.items():
        if t.is_floating_point() and not bool(torch.isfinite(t).all()):
            raise CheckpointError(
                f"{path}: tensor {_name(name)} has numbers that are not finite: its training"
                " diverged; use an earlier checkpoint.",
                code="not-finite",
                tensor=name,
            )
