"""The processes of a run on one machine: `python -m tests.support.ranks N [--signal NAME RANK]
[--diverge RANK] ARGUMENTS`. The signal is sent as soon as there is a checkpoint; a process that
diverges begins with a generator full of NaN.

Every process is a fork that executes `kgen ARGUMENTS`, or with ARGUMENTS "gradients FILE" compares
gradients; the parent imports torch and Accelerate once and never computes. Unlike torchrun, it
leaves the others alone when one of them ends. Prints the exit codes by rank as JSON, after at most
LIMIT seconds.
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

import accelerate  # noqa: F401  imported once, before forking, as are the next two
import torch
import torch._dynamo

from kgen.__main__ import main
from kgen.cli import process_commands  # noqa: F401

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


def wait(
    children: list[int], sent: signal.Signals | None, victim: int | None, checkpoint: Path | None
) -> list[int]:
    """Exit codes, negative for signals; processes left after LIMIT are killed, and so is a stopped
    one that is the last.
    """
    codes: dict[int, int] = {}
    stops = sent == signal.SIGSTOP
    end = time.monotonic() + LIMIT
    while len(codes) < len(children):
        for rank, child in enumerate(children):
            if rank in codes:
                continue
            pid, status = os.waitpid(child, os.WNOHANG)
            alone = stops and victim == rank and len(codes) == len(children) - 1
            if pid:
                codes[rank] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end or alone:
                os.kill(child, signal.SIGKILL)
            elif sent and rank == victim and checkpoint and checkpoint.exists():
                os.kill(child, sent)
                sent = None
        time.sleep(0.005)
    return [codes[rank] for rank in range(len(children))]


def spoil_generators() -> None:
    """In this process, every new generator is full of NaN."""
    from kgen.engine.state import LoopState

    make = LoopState.new_generators

    def make_spoiled(self: LoopState) -> None:
        make(self)
        for generator in self.generators.values():
            for parameter in generator.parameters():
                parameter.data.fill_(torch.nan)

    LoopState.new_generators = make_spoiled  # type: ignore[method-assign]


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
    sent = victim = None
    if arguments[0] == "--signal":
        sent, victim, arguments = signal.Signals[arguments[1]], int(arguments[2]), arguments[3:]
    diverging = None
    if arguments[0] == "--diverge":
        diverging, arguments = int(arguments[1]), arguments[2:]
    sys.argv = ["kgen", *arguments]
    compares = arguments[0] == "gradients"
    folder = Path(arguments[arguments.index("--out") + 1]) if "--out" in arguments else None
    port = free_port()

    def work() -> None:
        if os.environ["RANK"] == str(diverging):
            spoil_generators()
        if compares:
            compare_gradients(arguments[1])
        else:
            main()

    children = [fork(work, rank, size, port) for rank in range(size)]
    codes = wait(children, sent, victim, folder and folder / "checkpoint" / "state.safetensors")
    print(json.dumps(codes), flush=True)
