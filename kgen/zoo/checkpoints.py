"""Reads untrusted weights: names → tensors, and never code. Independent of networks.

A file's contents decide how it is read, not its name. A training script's checkpoint may hold
several sets of weights, such as a network's and their moving average; all of them are found, and
the network decides later which one fits (`kgen.zoo.placing`). Limits on memory and time are up to
the caller (`kgen.preflight.limits`), who does this in a child process. A file that cannot be read
without running code is rejected.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kgen.zoo import filetypes, folding, torch_files
from kgen.zoo.torch_files import KEYS, MAX_TENSORS, SAVE_HINT, CheckpointError, relevant_line

MAX_BYTES = 4 * 2**30
"""Size limit of a file, and of all its tensors together: twice the size of the largest image
classifiers in full precision.
"""
MAX_NAME_LENGTH = 300
MAX_SETS = 20
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
TRAINING = frozenset(
    [
        "optim",
        "optimizer",
        "optimizers",
        "sched",
        "scheduler",
        "schedulers",
        "scaler",
        "gradscaler",
        "callbacks",
        "loops",
        "rng",
        "rngs",
        "random",
    ]
)
"""Words in the names of a checkpoint's entries that belong to the training process rather than to a
network.
"""
AVERAGED = frozenset(
    ["ema", "swa", "average", "averaged", "averages", "averaging", "momentum", "teacher", "target"]
)
"""Words in the names of weights that accompany a network's own: a moving average, or another
network.
"""


class WeightSet(NamedTuple):
    """One dictionary of names → tensors in a file."""

    name: str
    """Its keys in the file, joined by dots, such as "state_dict"; empty for the file itself."""
    tensors: dict[str, Tensor]
    """In the file's order."""
    folded: tuple[str, ...] = ()
    """Which weights were stored in parts, such as weight norm's (`kgen.zoo.folding`)."""


class Checkpoint(NamedTuple):
    """The contents of a weights file."""

    sets: tuple[WeightSet, ...]
    """Most likely first; at least one."""
    kind: str
    """The file format, for display."""
    metadata: dict[str, str]
    """Of a .safetensors file; empty for a .pt."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The most likely weights."""
        return self.sets[0].tensors


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by name.

    Raises CheckpointError, also if any number in them is infinite or NaN.
    """
    found = open_checkpoint(path)
    check_numbers(Path(path), found.tensors)
    return found.tensors


def open_checkpoint(path: str | Path) -> Checkpoint:
    """All weights in a file. Their layout has been checked, but not their numbers. Raises
    CheckpointError.
    """
    path = Path(path)
    _check_file(path)
    kind = filetypes.kind(path)
    if isinstance(kind, filetypes.Kind):
        raise CheckpointError(
            f"{path} is {kind.title}; {kind.remedy}.", code="not-a-checkpoint", found=kind.name
        )
    if kind == filetypes.SAFETENSORS:
        return _safetensors(path)
    zipped = kind == filetypes.ZIP
    sets = _weight_sets(path, torch_files.load(path, zipped))
    return Checkpoint(sets, "torch" if zipped else "torch, as written before version 1.6", {})


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder; choose the file in it with the teacher's weights.",
            code="no-file",
            file=str(path),
        )
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist or is not a file; choose the file with the teacher's weights.",
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


def _safetensors(path: Path) -> Checkpoint:
    """Read with the format's own library.

    It checks the header's length, gaps and overlaps, and allocates no more than the file's size.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt", device="cpu") as file:
            names = list(file.keys())
            _check_count(path, len(names))
            tensors = {name: file.get_tensor(name) for name in names}
            metadata = dict(file.metadata() or {})
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({relevant_line(error)}); copy or"
            " download it again.",
            code="damaged",
        ) from None
    return Checkpoint((_checked(path, "", tensors),), "safetensors", metadata)


# --- the weights in a checkpoint ------------------------------------------------------------------


def _weight_sets(path: Path, content: Any) -> tuple[WeightSet, ...]:
    """All valid dictionaries of tensors in what torch read."""
    found = {name: tensors for name, tensors in _dictionaries(content) if tensors}
    if not found:
        raise _no_weights(path, content)
    _check_count(path, sum(map(len, found.values())))
    sets, errors = [], []
    for name in sorted(found, key=_likelihood)[:MAX_SETS]:
        try:
            sets.append(_checked(path, name, found[name]))
        except CheckpointError as error:
            errors.append(error)
    if not sets:
        raise errors[0]
    return tuple(sets)


def _dictionaries(content: Any) -> list[tuple[str, dict[str, Tensor]]]:
    """(keys, tensors) of the content itself, of its entries, and of their entries."""
    found: list[tuple[str, dict[str, Tensor]]] = []
    level = [("", content)]
    for _ in range(3):
        below: list[tuple[str, Any]] = []
        for name, value in level:
            if type(value) not in (dict, OrderedDict):
                continue
            entries = [(key, v) for key, v in value.items() if isinstance(key, str)]
            tensors = {k: v.detach() for k, v in entries if _is_tensor(v)}
            # a metric kept as a tensor of one number is not a set of weights
            found.append((name, tensors if any(t.ndim for t in tensors.values()) else {}))
            below += [(f"{name}.{key}" if name else key, v) for key, v in entries]
        level = below
    return found


def _is_tensor(value: Any) -> bool:
    return type(value) in (Tensor, torch.nn.Parameter)


def _likelihood(name: str) -> tuple[int, int]:
    """Sorts the sets: a network's own weights first, by the usual names of their keys."""
    last = name.rpartition(".")[2]
    usual = KEYS.index(last) if last in KEYS else len(KEYS)
    return rank(name), usual


def rank(name: str) -> int:
    """0 for a network's own weights, by their name; 1 for those that accompany them; 2 for the
    training process.
    """
    found = words(name)
    return 2 if found & TRAINING else 1 if found & AVERAGED else 0


def words(name: str) -> set[str]:
    """The words of a name, in lower case: "model_EMA.netG" → model, ema, net, g."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def _no_weights(path: Path, content: Any) -> CheckpointError:
    if type(content) in (dict, OrderedDict) and content:
        entries = ", ".join(
            f"{_name(key)} ({'a Python object' if kind == 'Ignored' else kind})"
            for key, value in list(content.items())[:4]
            for kind in [type(value).__name__]
        )
        more = f", and {len(content) - 4} more" if len(content) > 4 else ""
        found = f"no weights, only {entries}{more}"
    else:
        kind = type(content).__name__
        found = "nothing" if content == {} else f"an object of type {kind}, not weights by name"
    return CheckpointError(
        f"{path} contains {found}; expected a dictionary of tensors; {SAVE_HINT}.",
        code="no-tensors",
    )


# --- any file's tensors ---------------------------------------------------------------------------


def _check_count(path: Path, count: int) -> None:
    if count > MAX_TENSORS:
        raise CheckpointError(
            f"{path} has {count:,} tensors, above the limit of {MAX_TENSORS:,}; {SAVE_HINT}.",
            code="too-many",
            count=count,
        )


def _name(name: object) -> str:
    return repr(name)[:60]


def _checked(path: Path, name: str, tensors: dict[str, Tensor]) -> WeightSet:
    """Check type, layout and actual size of all tensors first: later checks read every number."""
    if not tensors:
        raise CheckpointError(f"{path} contains no tensors; {SAVE_HINT}.", code="no-tensors")
    total = 0
    for key, t in tensors.items():
        if len(key) > MAX_NAME_LENGTH or not key.isprintable():
            raise CheckpointError(
                f"{path} has a tensor with the invalid name {_name(key)}; expected at most"
                f" {MAX_NAME_LENGTH} printable characters; {SAVE_HINT}.",
                code="invalid-name",
            )
        if t.dtype not in ALLOWED_DTYPES:
            raise CheckpointError(
                f"{path}: tensor {_name(key)} has dtype {t.dtype}; convert it to"
                " torch.float32 and save it again.",
                code="unsupported-dtype",
                tensor=key,
            )
        if t.layout is not torch.strided or t.device.type != "cpu" or t.is_quantized:
            raise CheckpointError(
                f"{path}: tensor {_name(key)} is sparse, quantized, or empty; convert it with"
                " .dequantize() or .to_dense() and save it again.",
                code="unsupported-layout",
                tensor=key,
            )
        size = t.numel() * t.element_size()
        repeated = any(n > 1 and step == 0 for n, step in zip(t.shape, t.stride()))
        if repeated or size > t.untyped_storage().nbytes():
            raise CheckpointError(
                f"{path}: tensor {_name(key)} has {t.numel():,} numbers but stores fewer; copy it"
                " with .clone() and save it again.",
                code="unsupported-layout",
                tensor=key,
            )
        total += size
    if total > MAX_BYTES:
        raise CheckpointError(
            f"{path}: its tensors total {total / 2**30:.1f} GB, above the limit of"
            f" {MAX_BYTES / 2**30:.0f} GB; {SAVE_HINT}.",
            code="too-large",
        )
    return WeightSet(name, *folding.fold(tensors))


def check_numbers(path: Path, tensors: dict[str, Tensor]) -> None:
    """Raises CheckpointError for a tensor with a number that is infinite or NaN."""
    for name, t in tensors.items():
        if t.is_floating_point() and not bool(torch.isfinite(t).all()):
            raise CheckpointError(
                f"{path}: tensor {_name(name)} has numbers that are not finite: its training"
                " diverged; use an earlier checkpoint.",
                code="not-finite",
                tensor=name,
            )
