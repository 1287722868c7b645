"""A snapshot made ready for everyone: encoded and compressed once, never changed afterwards."""

from __future__ import annotations

import gzip
import itertools
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

BOOT = secrets.token_hex(6)
"""This server process; a page that sees another one reloads."""
_versions = itertools.count(1)


def encode(data: dict[str, Any]) -> bytes:
    """Compressed JSON. A number that is none is an error here, never null."""
    return gzip.compress(
        json.dumps(data, separators=(",", ":"), allow_nan=False).encode(), 1, mtime=0
    )


@dataclass(frozen=True)
class Published:
    """What /kg/live answers: compressed once, however many ask."""

    etag: str
    body: bytes
    phase: str


def publish(snapshot: dict[str, Any]) -> Published:
    version = next(_versions)
    return Published(
        f'"{BOOT}-{version}"',
        encode({"boot": BOOT, "v": version, "at": round(time.time(), 3), **snapshot}),
        snapshot["phase"],
    )
