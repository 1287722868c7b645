"""Finds out whether this process is one of several, started by torchrun or `accelerate launch`.

Does not import torch.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from kgen.errors import KGenError
from kgen.system import shell

TIMEOUT_SECONDS = 60.0
"""How long a process waits for another one by default."""


class ProcessError(KGenError, RuntimeError):
    """The processes of a run cannot work together."""

    code = "processes"


class ProcessLost(ProcessError):
    """Another process of the run has ended or is not responding."""

    code = "process-lost"


class Launch(NamedTuple):
    """This process among those that a launcher started."""

    rank: int
    size: int
    local_rank: int
    """Among the processes on this machine."""


def launch_command(processes: int, *arguments: str) -> str:
    """The command that runs kgen in this many processes on one machine."""
    command = "python" if processes == 1 else f"torchrun --nproc-per-node {processes}"
    return shell.join([*command.split(), "-m", "kgen", *arguments])


def launched() -> Launch:
    """What the launcher wrote into the environment; rank 0 of 1 without a launcher."""
    rank, size, local_rank = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    return Launch(rank, size, local_rank) if "MASTER_ADDR" in os.environ else Launch(0, 1, 0)
