"""The processes of a run, as its engine sees them. This module knows only single-process runs.

`kgen.distributed.processes` has the same interface for several. Independent of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from kgen.data.folders import ActivityProgress
from kgen.events import Arrays

if TYPE_CHECKING:
    from torch import Tensor, nn

Part = tuple[Any, Arrays]
"""What one process contributes: facts (JSON), and arrays."""


class World:
    """A single-process run. With several processes, methods marked *collective* must be called by
    all of them, in the same order.
    """

    rank, size = 0, 1
    """This process, and how many there are."""

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes the run folder, reports and handles controls."""
        return self.rank == 0

    def lead(self, value: Any = None) -> Any:
        """Rank 0's value (JSON), on every process. Collective."""
        return value

    def gather(self, facts: Any, arrays: Arrays) -> list[Part]:
        """All parts in the order of the ranks, on rank 0; empty on the others. Collective."""
        return [(facts, arrays)]

    def sum(self, tensor: Tensor) -> None:
        """Replace the tensor by its sum over all processes. Collective."""

    def average(self, tensors: list[Tensor]) -> None:
        """Replace floating-point tensors by their means over all processes. Collective."""

    def synchronized(self, network: nn.Module) -> nn.Module:
        """The network, with gradients averaged over all processes in each backward pass.
        Collective.
        """
        return network

    def communicating(self) -> AbstractContextManager[None]:
        """The context for a backward pass of a synchronized network."""
        return nullcontext()

    def while_others_wait(self) -> AbstractContextManager[None]:
        """Rank 0 works alone for a while; the others wait for its next message."""
        return nullcontext()

    def heartbeat(self) -> None:
        """Rank 0, while the others wait: tell them that it is still at work."""

    def reporting(self, on_progress: ActivityProgress) -> ActivityProgress:
        """The same callback, which also sends heartbeats to processes that wait."""
        return on_progress

    def collect(self) -> dict[str, Tensor]:
        """The other processes' part of a checkpoint, named "rank.1.…"; they are waiting."""
        return {}

    def contribute(self, own_part: Callable[[], dict[str, Tensor]]) -> None:
        """Set what this process sends in response to `collect`."""


ALONE = World()
