"""A snapshot prepared for everyone: encoded and compressed once, then never changed.

Viewers get a different one if it contains something that only the presenter may read.
"""

from __future__ import annotations

import gzip
import itertools
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

BOOT = secrets.token_hex(6)
"""Identifies this server process; a page that sees a new one reloads."""
_versions = itertools.count(1)


def encode(data: dict[str, Any]) -> bytes:
    """Compressed JSON. NaN or infinity is an error here, never null."""
    return gzip.compress(
        json.dumps(data, separators=(",", ":"), allow_nan=False).encode(), 1, mtime=0
    )


@dataclass(frozen=True)
class Published:
    """The response of /kg/live: compressed once, no matter how many ask."""

    etag: str
    body: bytes
    phase: str
    public: Published | None = None
    """What viewers get instead; None if it is the same."""

    @property
    def for_viewers(self) -> Published:
        return self.public or self


def publish(snapshot: dict[str, Any], public: dict[str, Any] | None = None) -> Published:
    """`public`: what viewers get instead, if that differs."""
    version = next(_versions)
    return Published(
        f'"{BOOT}-{version}"',
        encode({"boot": BOOT, "v": version, "at": round(time.time(), 3), **snapshot}),
        snapshot["phase"],
        publish(public) if public else None,
    )
