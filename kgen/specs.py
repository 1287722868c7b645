"""What a safetensors file of ours says of itself, in its header. No tensor is read, and no torch
needed.
"""

from __future__ import annotations

import difflib
import json
import struct
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kgen.errors import KGenError
from kgen.events import TeacherCard


class ZooError(KGenError, ValueError):
    """A teacher or student that is not known or cannot be read; the message says what to do."""

    code = "zoo"


def nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.4)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def header(path: str | Path) -> dict[str, Any]:
    """The metadata of a safetensors file: 8 bytes of length, then JSON. Raises ZooError."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 10_000_000:
                raise ValueError("header too long")
            found = json.loads(file.read(length))
            if not isinstance(found, dict) or not isinstance(found.get("__metadata__") or {}, dict):
                raise ValueError("its header is no list of tensors")
            return found.get("__metadata__") or {}
    except (OSError, ValueError, RecursionError, struct.error) as error:
        raise ZooError(f"{path} cannot be read as a safetensors file: {error}.") from None


def about(path: Path) -> dict[str, Any]:
    """What we wrote into a file of ours; empty for a file of others. Raises ZooError for one that
    makes no sense.
    """
    try:
        found = json.loads(header(path).get("kgen") or "{}")
        if not isinstance(found, dict):
            raise ValueError("expected an object")
        if "card" in found:
            TeacherCard.model_validate(found["card"])
            if not isinstance(found["classes"], list) or not all(
                isinstance(name, str) for name in found["classes"]
            ):
                raise ValueError("the names of its classes are no list of texts")
        return found
    except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ZooError):
            raise
        raise ZooError(
            f"{path} carries a card that cannot be read ({str(error).partition(chr(10))[0][:120]});"
            " write the file again."
        ) from None


def read_spec(
    path: Path,
    sign: str = "card",
    lack: str = (
        "carries no teacher card; write it with"
        " `python -m kgen teach` or `python -m kgen preflight`"
    ),
) -> dict[str, Any]:
    """What is needed to build the network of a file of ours; `sign`: the field that it has to have.
    Raises ZooError.
    """
    found = about(path)
    if sign not in found:
        raise ZooError(f"{path} {lack}.")
    return found
