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


SHARED_STREAMS = ("shelf", "corner_student")
"""Streams that are the same in all processes of a run: they choose what all parts of a student
batch have in common.
"""


def stream_seed(seed: int, name: str, rank: int = 0) -> int:
    """A separate seed for each named stream: the first bytes of SHA-256("seed/name").

    Processes of other ranks have their own: "seed/name/rank 1".
    """
    text = f"{seed}/{name}" + (f"/rank {rank}" if rank else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")


def streams(seed: int, rank: int = 0) -> dict[str, torch.Generator]:
    """A generator for each named stream of one process."""
    return {
        name: torch.Generator().manual_seed(
            stream_seed(seed, name, 0 if name in SHARED_STREAMS else rank)
        )
        for name in STREAMS
    }
