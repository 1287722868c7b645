"""The engine in every process except rank 0: the same schedule, without events.

It makes its own batches and its part of every student batch. Rank 0 handles tests, the run folder
and controls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from kgen import events
from kgen.engine.engine import Distillation, Stopped
from kgen.engine.synthesis import Diverged, Synthesis


class Follower(Distillation):
    """One process of a run, other than the first; takes the arguments of `Distillation`."""

    def run(self) -> None:
        """Take part in the run until it ends. LeaderEnded if rank 0 ends it early."""
        try:
            stopped = False
            try:
                for _ in self._sequentially():
                    pass
            except Stopped:
                stopped = True
            for _ in self._finish(stopped):
                pass
        except Diverged:  # of the student: the same in every process, and reported by rank 0
            pass

    def synthesize(self) -> Iterator[events.Event]:
        """Make this process's batch of a round, if there is one, and send it to rank 0."""
        yield from self._wait_for_turn("generator")
        has_batch = self.world.rank < self.setting.rounds.width(self.state.iterations)
        try:
            synthesis = self._new_synthesis() if has_batch else None
        finally:
            self.gate.leave("generator")
        diverged: Diverged | None = None
        for step in range(self.recipe.generator_steps):
            yield from self._wait_for_turn("generator")
            last = step == self.recipe.generator_steps - 1
            try:
                if synthesis and not diverged:
                    try:
                        synthesis.step()
                    except Diverged as error:  # rank 0 learns of it at the end of the round
                        diverged = error
                if last:
                    self._send(synthesis, diverged)
                    self.state.average_generators()
            finally:
                self.gate.leave("generator", "generator", *(["iteration"] if last else []))

    def _send(self, synthesis: Synthesis | None, diverged: Diverged | None) -> None:
        if synthesis and not diverged:
            self.world.gather(*self._store(synthesis))
            return
        self.state.add_to_centers(
            torch.zeros(0, self.setting.card.features, device=self.setting.device),
            torch.zeros(0, dtype=torch.int64),
        )
        self.state.iterations += self.setting.rounds.width(self.state.iterations)
        facts = {"diverged": (diverged.term, diverged.step, diverged.value)} if diverged else None
        self.world.gather(facts, {})

    def _evaluate(self, *, final: bool, **coordinates: int) -> list[events.Event]:
        self.world.lead()
        self._samples_elsewhere()
        outcome: Any = self.world.lead()
        if outcome == "stopped":
            raise Stopped
        return []
