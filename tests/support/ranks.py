"""The processes of a run on one machine: `python -m tests.support.ranks N [--kill RANK] ARGUMENTS`.

Every process is a fork that executes `kgen ARGUMENTS`, or with ARGUMENTS "gradients FILE" compares
gradients; the parent imports torch once and never computes. Unlike torchrun, it leaves the others
alone when one of them ends. Prints the exit codes by rank as JSON, after at most LIMIT seconds.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from kgen.__main__ import main
from kgen.cli import process_commands  # noqa: F401  imported once, before forking

LIMIT = 60.0
TIMEOUT = 20.0
"""Seconds after which a process considers another one lost."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fork(work: Callable[[], None], rank: int, size: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    status = 1
    try:
        torch.set_num_threads(1)
        work()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(children: list[int], kill: int | None, checkpoint: Path | None) -> list[int]:
    """Exit codes, negative for signals; processes left after LIMIT are killed."""
    codes: dict[int, int] = {}
    end = time.monotonic() + LIMIT
    while len(codes) < len(children):
        for rank, child in enumerate(children):
            if rank in codes:
                continue
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                codes[rank] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end or (rank == kill and checkpoint and checkpoint.exists()):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    return [codes[rank] for rank in range(len(children))]


def compare_gradients(file: str) -> None:
    """Writes what one step of two processes did to a student, for the test to compare."""
    from kgen.distributed.processes import Processes
    from tests.support import gradients

    world = Processes("cpu", TIMEOUT)
    found = gradients.after_steps(world)
    if world.leads:
        torch.save(found, file)
        world.end()
    else:
        world.await_end()


if __name__ == "__main__":
    size, arguments = int(sys.argv[1]), sys.argv[2:]
    victim = None
    if arguments[0] == "--kill":
        victim, arguments = int(arguments[1]), arguments[2:]
    sys.argv = ["kgen", *arguments]
    compares = arguments[0] == "gradients"
    folder = Path(arguments[arguments.index("--out") + 1]) if "--out" in arguments else None
    port = free_port()
    children = [
        fork((lambda: compare_gradients(arguments[1])) if compares else main, rank, size, port)
        for rank in range(size)
    ]
    codes = wait(children, victim, folder and folder / "checkpoint" / "state.safetensors")
    print(json.dumps(codes), flush=True)
