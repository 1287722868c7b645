"""Seeds and streams of random numbers.

Every draw comes from a named generator on the CPU and is then moved to the device.
"""

from __future__ import annotations

import hashlib

import torch

STREAMS = (
    "labels",
    "noise",
    "augment_generator",
    "augment_student",
    "pool",
    "student_batch",
    "views",
    "corner_generator",
    "corner_student",
    "shelf",
)
"""Named sources of random numbers. Seeds depend on these names, so they never change; "shelf" picks
the resolution of a student batch.
"""


def stream_seed(seed: int, name: str) -> int:
    """A separate seed for each named stream: the first bytes of SHA-256("seed/name")."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "little")


def streams(seed: int) -> dict[str, torch.Generator]:
    """A generator for each named stream."""
    return {name: torch.Generator().manual_seed(stream_seed(seed, name)) for name in STREAMS}
