"""Reads what torch.save wrote, without running any code in it.

`weights_only=True` keeps a pickle from running code, but not from allocating 64 GB. So an archive's
structure is checked before torch reads it. Of the types that are not weights, only those in
`kgen.zoo.harmless` are allowed, as empty objects; a file with any other type is rejected, with the
lines of Python that convert it on a machine that trusts it.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.torch_version import TorchVersion

from kgen.zoo import harmless
from kgen.zoo.zoo import ZooError

MAX_TENSORS = 20_000
MAX_PICKLE_BYTES = 8 * 2**20
"""Limit on the bytes that list the tensors of a .pt file: about 200 per tensor."""
MIN_TORCH = "2.10"
"""Earlier versions have two holes in `weights_only` (CVE-2025-32434, CVE-2026-24747)."""
SAVE_HINT = "save the weights only: torch.save(model.state_dict(), 'weights.pt')"
KEYS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "weights",
    "state_dict_ema",
    "model_ema",
    "ema",
)
"""Where training scripts store the weights inside a checkpoint, most common first."""
MAX_NAMED = 3
"""How many types of a rejected file its message names."""


class CheckpointError(ZooError):
    """A rejected weights file; the message is one sentence with the reason and what to do.

    Its field `lines`, if any, is Python code that converts the file where it was made.
    """

    code = "checkpoint"


def load(path: Path, zipped: bool) -> Any:
    """What the file contains. Raises CheckpointError.

    Only the structure of an archive has been checked by then, not the tensors.
    """
    if torch.__version__ < TorchVersion(MIN_TORCH):
        raise CheckpointError(
            f"{path} cannot be read safely with torch {torch.__version__}; install torch"
            f" {MIN_TORCH} or later.",
            code="unsupported-version",
            needed=str(MIN_TORCH),
        )
    pickle = _check_zip(path) if zipped else b""
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals(harmless.ALLOWED),
            path.open("rb") as file,  # given a path, torch would go by the suffix
        ):
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # at least thirteen types of exception occur
        raise _load_error(path, error, pickle) from None


def _check_zip(path: Path) -> bytes:
    """Check the archive's directory before anything is unpacked. → its pickle.

    torch never compresses, so a compressed member was not written by torch.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, NotImplementedError, RecursionError, zipfile.BadZipFile):
        raise CheckpointError(
            f"{path} is a damaged .pt file, perhaps incomplete; copy or download it again.",
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
    inner = {n.partition("/")[2]: m for n, m in zip(names, members)}
    if "data.pkl" not in inner and not invalid:
        raise CheckpointError(
            f"{path} is a ZIP archive, but was not written by torch.save (no data.pkl); unpack it"
            " and use the .pt file itself.",
            code="not-a-checkpoint",
            found="zip",
        )
    if invalid or len(set(names)) != len(names) or len({n.partition("/")[0] for n in names}) > 1:
        raise CheckpointError(
            f"{path} was not written by torch.save: its parts have invalid names"
            f" ({(invalid or names)[0]!r}); {SAVE_HINT}.",
            code="invalid-name",
            name=(invalid or names)[0],
        )
    if "constants.pkl" in inner or any(n.startswith("code/") for n in inner):
        raise _torchscript(path)
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
    if inner["data.pkl"].file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{path} has a table of contents of {inner['data.pkl'].file_size / 2**20:.0f} MB, above"
            f" the limit of {MAX_PICKLE_BYTES // 2**20} MB; {SAVE_HINT}.",
            code="too-large",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(inner["data.pkl"])
    except Exception:  # damaged; torch says how
        return b""


def _torchscript(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is a TorchScript program, which is code; convert it on a machine that trusts it:"
        f" {SAVE_HINT}.",
        code="executable",
        found="torchscript",
        lines=(
            "import torch",
            f"model = torch.jit.load({path.name!r}, map_location='cpu')",
            "torch.save(model.state_dict(), 'weights.pt')",
        ),
    )


def _load_error(path: Path, error: Exception, pickle: bytes) -> CheckpointError:
    """Convert one of torch's exceptions to one of ours. `pickle`: of an archive."""
    text = str(error)
    if isinstance(error, MemoryError) or "allocate" in text:
        return CheckpointError(
            f"{path} needs more memory than its size allows; it is damaged or malicious, so get it"
            " from another source.",
            code="too-large",
        )
    if match := re.search(r"GLOBAL ([\w.]+)", text):
        return _refused_types(path, match[1], pickle)
    if "TorchScript" in text:
        return _torchscript(path)
    if "legacy .tar" in text:
        return CheckpointError(
            f"{path} has a format older than torch 0.1.10; load and save it with a newer torch.",
            code="unsupported-version",
        )
    return CheckpointError(
        f"{path} is damaged or was not written by torch.save ({relevant_line(error)}); copy or"
        f" download it again, or {SAVE_HINT}.",
        code="damaged",
    )


def _refused_types(path: Path, first: str, pickle: bytes) -> CheckpointError:
    """The file contains objects whose types could run code when they are read.

    Args:
        first: the type that stopped torch.
        pickle: its instructions, if known, which name the others.
    """
    types = dict.fromkeys([first, *_unsafe_globals(path, pickle)])
    load = f"({path.name!r}, map_location='cpu', weights_only=False)"
    if any(name.startswith("torch.nn.") for name in types) and not _is_dictionary(pickle):
        return CheckpointError(
            f"{path} is a whole pickled model ({_listed(types)}), which runs code when it is read;"
            f" if you trust it, {SAVE_HINT}.",
            code="executable",
            found="pickled-model",
            types=list(types),
            lines=(
                "import torch",
                f"model = torch.load{load}",
                "torch.save(model.state_dict(), 'weights.pt')",
            ),
        )
    key = next((k for k in KEYS if _string(k) in pickle), KEYS[0])
    weights = f"checkpoint[{key!r}]"
    if any(name.startswith("torch.nn.") for name in types):
        weights += ".state_dict()"  # a model inside a dictionary
    return CheckpointError(
        f"{path} tries to run code from {_listed(types)} when it is read, which is rejected because"
        f" that code could do anything; if you trust it, {SAVE_HINT}.",
        code="executable",
        found=first,
        types=list(types),
        lines=(
            "import torch",
            f"checkpoint = torch.load{load}",
            f"torch.save({weights}, 'weights.pt')",
        ),
    )


def _unsafe_globals(path: Path, pickle: bytes) -> list[str]:
    """The types that torch would not read, in an archive; their order in the file is lost."""
    if not pickle:
        return []
    try:
        with torch.serialization.safe_globals(harmless.ALLOWED):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it knows fewer pickle instructions than torch.load
        return []
    return sorted(name for name in found if re.fullmatch(r"[\w.]+", name))


def _is_dictionary(pickle: bytes) -> bool:
    return pickle[2:3] == b"}" or pickle[2:].startswith(b"ccollections\nOrderedDict")


def _string(text: str) -> bytes:
    """A string as pickle writes it."""
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def _listed(types: dict[str, None]) -> str:
    """Some of the types, torch's own last."""
    names = sorted(types, key=lambda name: (name.startswith("torch."), len(name)))
    first = ", ".join(repr(name[:80]) for name in names[:MAX_NAMED])
    return first + (f", and {len(names) - MAX_NAMED} more types" if len(names) > MAX_NAMED else "")


def relevant_line(error: Exception) -> str:
    """The relevant line of an exception, short enough for a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = next(
        (line for line in lines if line.startswith(("Unsupported", "PytorchStreamReader"))),
        lines[0] if lines else "",
    )
    if message.startswith("Weights only load failed"):
        message = "not weights only"
    message = re.sub(r"[^\x20-\x7e]", "?", message.partition(". ")[0])
    message = message[:100].rstrip(". ")
    # a single word, such as a missing key, says nothing by itself
    return message if " " in message else f"{type(error).__name__} {message}".strip()
