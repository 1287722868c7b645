"""The processes of a run on several devices: messages from rank 0, gathered batches, averages.

Every process executes the same engine. Rank 0 decides (pause, stop, checkpoint) and tells the
others in messages. Between two events of the engine, the first collective call is always a message,
so whenever rank 0 handles an event, the others are waiting for one. Messages and batches travel
over gloo, as JSON and safetensors; gradients over NCCL on CUDA.
"""

from __future__ import annotations

import contextlib
import datetime
import inspect
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kgen.data.folders import ActivityProgress
from kgen.distributed.launch import ProcessLost
from kgen.distributed.world import Part, World
from kgen.events import Arrays

FRAME = 1024
"""Bytes in the first part of a message; the rest of a longer message follows."""
COMMUNICATION = re.compile("gloo|nccl|connection|timed out|process ?group", re.IGNORECASE)
"""Occurs in those errors of a process group that have no class of their own."""
HEARTBEAT_SECONDS = 1.0
"""Shortest time between two heartbeats from rank 0 while it works alone."""


class LeaderEnded(Exception):
    """Rank 0 has ended the run; the other processes end too."""


class Processes(World):
    """One of several processes.

    Args:
        device: the kind of device that they compute on: "cpu" or "cuda".
        timeout: seconds after which a process that does not respond counts as lost.

    Raises ProcessLost if the processes do not find each other.
    """

    def __init__(self, device: str, timeout: float):
        from accelerate import PartialState  # only here: a single-process run does not need it

        self.timeout = timeout
        limit = datetime.timedelta(seconds=timeout)
        # avoids a warning about OMP_NUM_THREADS; torchrun sets it to 1 unless the user has set it
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
        with self._others_alive():
            state = PartialState(
                cpu=device == "cpu",
                backend="gloo" if device == "cpu" else "nccl",
                timeout=limit,
            )
            group = dist.new_group(backend="gloo", timeout=limit)
            assert isinstance(group, dist.ProcessGroup)  # because every process belongs to it
            self._messages = group
        self.rank, self.size = state.process_index, state.num_processes
        self._own_part: Callable[[], dict[str, Tensor]] = dict
        self._working_alone, self._last_heartbeat = False, 0.0
        self._lock = threading.Lock()
        """Held while a message is sent: a heartbeat may come from another thread."""

    # --- messages from rank 0 --------------------------------------------------------------------

    def lead(self, value: Any = None) -> Any:
        if self.leads:
            self._send("value", value)
            return value
        return self._receive()

    def end(self) -> None:
        """Rank 0: tell the others to end. Does nothing if they have ended already."""
        with contextlib.suppress(RuntimeError, ProcessLost):
            self._send("end")

    def close(self) -> None:
        """Leave the group; all other processes do so too."""
        dist.destroy_process_group()

    def await_end(self) -> None:
        """Others: wait until rank 0 ends the run."""
        with contextlib.suppress(LeaderEnded):
            while True:
                self._receive()

    @contextlib.contextmanager
    def while_others_wait(self) -> Iterator[None]:
        self._working_alone = True
        try:
            yield
        finally:
            with self._lock:
                self._working_alone = False

    def reporting(self, on_progress: ActivityProgress) -> ActivityProgress:
        def report(activity: str, done: int, total: int) -> None:
            self.heartbeat()
            on_progress(activity, done, total)

        return report if self.leads else on_progress

    def heartbeat(self) -> None:
        """Tell waiting processes, at most once a second, that rank 0 is still at work."""
        with self._lock:
            if self._working_alone and time.monotonic() - self._last_heartbeat >= HEARTBEAT_SECONDS:
                self._last_heartbeat = time.monotonic()
                self._broadcast(json.dumps({"kind": "working"}).encode())

    def _send(self, kind: str, value: Any = None) -> None:
        with self._lock:
            self._broadcast(json.dumps({"kind": kind, "value": value}).encode())

    def _receive(self) -> Any:
        """The value of the next message that has one."""
        while True:
            message = json.loads(self._broadcast())
            if message["kind"] == "end":
                raise LeaderEnded
            if message["kind"] == "checkpoint":
                self._send_part(b"null", save(self._own_part()))
            elif message["kind"] == "value":
                return message["value"]

    def _broadcast(self, data: bytes = b"") -> bytes:
        """Rank 0's bytes, on every process."""
        frame = torch.zeros(8 + FRAME, dtype=torch.uint8)
        if self.leads:
            frame[:8] = _bytes(len(data).to_bytes(8, "little"))
            frame[8 : 8 + min(FRAME, len(data))] = _bytes(data[:FRAME])
        with self._others_alive():
            dist.broadcast(frame, 0, group=self._messages)
            length = int.from_bytes(frame[:8].numpy().tobytes(), "little")
            start = frame[8 : 8 + min(FRAME, length)].numpy().tobytes()
            if length <= FRAME:
                return start
            rest = _bytes(data[FRAME:]) if self.leads else _empty(length - FRAME)
            dist.broadcast(rest, 0, group=self._messages)
        return start + rest.numpy().tobytes()

    # --- parts of all processes ------------------------------------------------------------------

    def gather(self, facts: Any, arrays: Arrays) -> list[Part]:
        if self.leads:
            found = [(facts, arrays)]
            for rank in range(1, self.size):
                sent, data = self._receive_part(rank)
                found.append((json.loads(sent), load_arrays(data)))
            return found
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._send_part(json.dumps(facts).encode(), save_arrays(contiguous))
        return []

    def collect(self) -> dict[str, Tensor]:
        self._send("checkpoint")
        return {
            f"rank.{rank}.{name}": tensor
            for rank in range(1, self.size)
            for name, tensor in load(self._receive_part(rank)[1]).items()
        }

    def contribute(self, own_part: Callable[[], dict[str, Tensor]]) -> None:
        self._own_part = own_part

    def _send_part(self, *parts: bytes) -> None:
        with self._others_alive():
            dist.send(torch.tensor([len(part) for part in parts]), 0, group=self._messages)
            for part in parts:
                dist.send(_bytes(part), 0, group=self._messages)

    def _receive_part(self, rank: int) -> tuple[bytes, bytes]:
        with self._others_alive():
            lengths = torch.zeros(2, dtype=torch.int64)
            dist.recv(lengths, rank, group=self._messages)
            parts = [_empty(length) for length in lengths.tolist()]
            for part in parts:
                dist.recv(part, rank, group=self._messages)
        first, second = (part.numpy().tobytes() for part in parts)
        return first, second

    # --- on the device ---------------------------------------------------------------------------

    @torch.no_grad()
    def sum(self, tensor: Tensor) -> None:
        with self._others_alive():
            dist.all_reduce(tensor)

    @torch.no_grad()
    def average(self, tensors: list[Tensor]) -> None:
        floating = [t for t in tensors if t.is_floating_point()]
        if not floating:
            return
        means = torch.cat([t.flatten() for t in floating])
        self.sum(means)
        for tensor, mean in zip(floating, (means / self.size).split([t.numel() for t in floating])):
            tensor.copy_(mean.view_as(tensor))

    def synchronized(self, network: nn.Module) -> nn.Module:
        self.lead()
        with self._others_alive():
            for parameter in network.parameters():
                dist.broadcast(parameter.detach(), 0)
        # every process has its own BatchNorm statistics, which a resume must keep
        known = inspect.signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers"  # from torch 2.14 on
        options: dict[str, Any] = {name if name in known else "broadcast_buffers": False}
        # the projection does not always take part in a step
        unused = len(list(network.children())) > 1
        return DistributedDataParallel(
            network, init_sync=False, find_unused_parameters=unused, **options
        )

    def communicating(self) -> AbstractContextManager[None]:
        return self._others_alive()

    @contextlib.contextmanager
    def _others_alive(self) -> Iterator[None]:
        """Turn what torch raises when another process is gone into one sentence."""
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and not COMMUNICATION.search(str(error)):
                raise
            raise ProcessLost(
                "Another process of this run has ended, or has not responded for"
                f" {self.timeout:.0f} seconds, so the run has stopped. Everything up to its last"
                " checkpoint is saved: resume the run with the same number of processes.",
                seconds=self.timeout,
                cause=str(error).partition("\n")[0],
            ) from None


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else _empty(0)


def _empty(length: int) -> Tensor:
    return torch.empty(length, dtype=torch.uint8)
