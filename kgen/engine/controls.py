"""Pause, resume, step and stop: a queue of commands, and a gate that both threads pass.

The gate holds a thread at its next step boundary. It is independent of training.
"""

from __future__ import annotations

import collections
import threading
from typing import Any, Literal

from kgen.distributed.world import World

Unit = Literal["generator", "iteration", "student"]
ACTIONS = ("pause", "resume", "step", "stop")
UNITS = ("generator", "iteration", "student")


class Controls:
    """Receives commands from any thread: `controls.send("pause")`."""

    def __init__(self) -> None:
        self._queue: collections.deque[dict[str, Any]] = collections.deque()
        self._next = 0
        self.changed = threading.Condition()

    def send(
        self,
        action: str,
        unit: str | None = None,
        id: str | int | None = None,
        why: str | None = None,
    ) -> str | int:
        """Queue one command and return its id. Raises ValueError for an unknown command.

        `why`: the reason for a stop, which is journaled.
        """
        if action not in ACTIONS:
            raise ValueError(f"unknown control {action!r}; expected one of {', '.join(ACTIONS)}")
        if action == "step" and (unit or "generator") not in UNITS:
            raise ValueError(f"unknown unit {unit!r}; expected one of {', '.join(UNITS)}")
        if id is not None and not isinstance(id, (int, str)):
            raise ValueError(f"id {id!r} is neither a number nor a string")
        if why is not None and not isinstance(why, str):
            raise ValueError(f"the reason {why!r} is not a string")
        with self.changed:
            self._next += 1
            id = self._next if id is None else id
            self._queue.append({"id": id, "do": action, "unit": unit or "generator", "why": why})
            self.changed.notify_all()
        return id

    def pop_command(self) -> dict[str, Any] | None:
        with self.changed:
            return self._queue.popleft() if self._queue else None

    def stop_pending(self) -> bool:
        """Whether a stop is still queued."""
        with self.changed:
            return any(command["do"] == "stop" for command in self._queue)


class Gate:
    """Holds and releases the generator and student threads.

    With a `single_thread`, a step of the other kind runs the schedule until one such step is
    done, which preserves Algorithm 1's order; with two threads, it runs only that thread.
    """

    def __init__(self, controls: Controls, single_thread: bool):
        self.controls, self.single_thread = controls, single_thread
        self.lock = controls.changed
        self.state: Literal["running", "paused", "stopping"] = "running"
        self.step_unit: str | None = None
        self.pending_command: dict[str, Any] | None = None
        """The command to answer once it has taken effect."""
        self.active: set[str] = set()
        """Threads that are inside a step."""

    def process_commands(self) -> list[dict[str, Any]]:
        """Take the queued commands and return the answers that are due: {id, action, text}, and why
        for a stop.

        Called by the main thread.
        """
        answers: list[dict[str, Any]] = []
        while (self.pending_command is None or self.controls.stop_pending()) and (
            command := self.controls.pop_command()
        ):
            action = command["do"]
            if self.pending_command:  # a stop queued behind it takes precedence
                answers.append(
                    {
                        "id": self.pending_command["id"],
                        "action": self.pending_command["do"],
                        "text": "The run was stopped first.",
                    }
                )
                self.pending_command = self.step_unit = None
            if self.state == "stopping":
                answers.append(
                    {
                        "id": command["id"],
                        "action": action,
                        "text": None if action == "stop" else "The run is stopping.",
                    }
                )
            elif action == "stop":
                self.state = "stopping"
                answers.append(
                    {
                        "id": command["id"],
                        "action": "stop",
                        "text": None,
                        "why": command["why"],
                    }
                )
            elif action == "resume":
                self.state, self.step_unit = "running", None
                answers.append({"id": command["id"], "action": "resume", "text": None})
            elif action == "pause":
                self.state, self.step_unit, self.pending_command = "paused", None, command
            elif self.state != "paused":
                answers.append(
                    {
                        "id": command["id"],
                        "action": "step",
                        "text": "Pause first: single steps need a paused run.",
                    }
                )
            else:
                self.step_unit, self.pending_command = command["unit"], command
        with self.lock:
            self.lock.notify_all()
            if self.pending_command and self.step_unit is None and not self.active:
                answers.append(
                    {
                        "id": self.pending_command["id"],
                        "action": self.pending_command["do"],
                        "text": None,
                    }
                )
                self.pending_command = None
        return answers

    def reject_step(self, text: str) -> list[dict[str, Any]]:
        """Abandon the requested step, saying why; returns the answer to send, if any."""
        if self.step_unit is None or self.pending_command is None:
            return []
        answer = {
            "id": self.pending_command["id"],
            "action": self.pending_command["do"],
            "text": text,
        }
        self.step_unit = self.pending_command = None
        return [answer]

    def try_enter(self, kind: str) -> bool:
        """Whether this thread may take one step now; if so, it is inside until `leave`."""
        with self.lock:
            step_kind = "generator" if self.step_unit == "iteration" else self.step_unit
            allowed = self.state == "running" or (
                self.state == "paused"
                and self.step_unit is not None
                and (self.single_thread or step_kind == kind)
            )
            if allowed:
                self.active.add(kind)
            return allowed

    def leave(self, kind: str, *finished: str) -> None:
        """End the step.

        `finished` names the units that it completed ("generator", "iteration", "student").
        """
        with self.lock:
            self.active.discard(kind)
            if self.step_unit in finished:
                self.step_unit = None
            self.lock.notify_all()

    def wait(self, seconds: float = 0.05) -> None:
        with self.lock:
            self.lock.wait(seconds)


class LedGate(Gate):
    """The gate of one of several processes, each with one thread. They all follow rank 0's."""

    def __init__(self, controls: Controls, world: World):
        super().__init__(controls, single_thread=True)
        self.world = world

    def process_commands(self) -> list[dict[str, Any]]:
        """Rank 0's answers; the other ranks follow and answer nothing. Collective."""
        answers = super().process_commands() if self.world.leads else []
        own = (self.state, self.step_unit, self.pending_command is not None)
        self.state, self.step_unit, pending = self.world.lead(own)
        if not self.world.leads:
            self.pending_command = {"id": 0, "do": "step"} if pending else None
        return answers
