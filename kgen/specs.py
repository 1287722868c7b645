"""Reads the specs in the headers of our safetensors files, without any tensor and without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kgen.errors import KGenError
from kgen.events import TeacherCard


class ZooError(KGenError, ValueError):
    """An unknown or unreadable teacher or student; the message says what to do."""

    code = "zoo"


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
                raise ValueError("its header is not a list of tensors")
            return found.get("__metadata__") or {}
    except (OSError, ValueError, RecursionError, struct.error) as error:
        raise ZooError(
            f"{path} cannot be read as a safetensors file: {error}.",
            code="unreadable",
            file=str(path),
        ) from None


def about(path: Path) -> dict[str, Any]:
    """The metadata that we wrote to one of our files; empty for other files.

    Raises ZooError if it is invalid.
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
                raise ValueError("its class names are not a list of strings")
        return found
    except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ZooError):
            raise
        raise ZooError(
            f"{path} has an invalid card ({str(error).partition(chr(10))[0][:120]}); write the file"
            " again.",
            code="invalid-card",
            file=str(path),
        ) from None


def read_spec(
    path: Path,
    required: str = "card",
    message: str = (
        "has no teacher card; write it with `python -m kgen teach` or `python -m kgen preflight`"
    ),
) -> dict[str, Any]:
    """The spec to rebuild the network of one of our files; `required`: a field that
    it must have.

    Raises ZooError.
    """
    found = about(path)
    if required not in found:
        raise ZooError(f"{path} {message}.")
    return found
