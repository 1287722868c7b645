"""Pause, resume, step and stop: a mailbox for commands, and a gate that both threads pass.

The gate holds a thread at its next step boundary. It is independent of training.
"""

from __future__ import annotations

import collections
import threading
from typing import Any, Literal

Unit = Literal["generator", "iteration", "student"]
ACTIONS = ("pause", "resume", "step", "stop")
UNITS = ("generator", "iteration", "student")


class Controls:
    """Receives commands from any thread: `controls.send("pause")`."""

    def __init__(self) -> None:
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._next = 0
        self.changed = threading.Condition()

    def send(self, do: str, unit: str | None = None, id: str | int | None = None) -> str | int:
        """Queue one command and return its id. Raises ValueError for an unknown command."""
        if do not in ACTIONS:
            raise ValueError(f"unknown control {do!r}; expected one of {', '.join(ACTIONS)}")
        if do == "step" and (unit or "generator") not in UNITS:
            raise ValueError(f"unknown unit {unit!r}; expected one of {', '.join(UNITS)}")
        if id is not None and not isinstance(id, (int, str)):
            raise ValueError(f"id {id!r} is neither a number nor a string")
        with self.changed:
            self._next += 1
            id = self._next if id is None else id
            self._waiting.append({"id": id, "do": do, "unit": unit or "generator"})
            self.changed.notify_all()
        return id

    def take(self) -> dict[str, Any] | None:
        with self.changed:
            return self._waiting.popleft() if self._waiting else None

    def stop_waits(self) -> bool:
        """Whether a stop was sent that nobody has taken yet."""
        with self.changed:
            return any(command["do"] == "stop" for command in self._waiting)


class Gate:
    """Holds and releases the threads, of two kinds: generator and student.

    With one thread (`alone`), a step of the other kind runs the schedule until one such step is
    done, which preserves Algorithm 1's order; with two threads, it runs only that thread.
    """

    def __init__(self, controls: Controls, alone: bool):
        self.controls, self.alone = controls, alone
        self.lock = controls.changed
        self.state: Literal["running", "paused", "stopping"] = "running"
        self.until: str | None = None
        self.pending: dict[str, Any] | None = None
        """The command to answer once it has taken effect."""
        self.busy: set[str] = set()
        """Threads that are inside a step."""

    def apply(self) -> list[dict[str, Any]]:
        """Take the queued commands and return the answers that are due: {id, action, text}.

        Called by the main thread.
        """
        answers: list[dict[str, Any]] = []
        while (self.pending is None or self.controls.stop_waits()) and (
            command := self.controls.take()
        ):
            do = command["do"]
            if self.pending:  # a stop queued behind it takes precedence
                answers.append(
                    {
                        "id": self.pending["id"],
                        "action": self.pending["do"],
                        "text": "The run was stopped first.",
                    }
                )
                self.pending = self.until = None
            if self.state == "stopping":
                answers.append(
                    {
                        "id": command["id"],
                        "action": do,
                        "text": None if do == "stop" else "The run is stopping.",
                    }
                )
            elif do == "stop":
                self.state = "stopping"
                answers.append({"id": command["id"], "action": "stop", "text": None})
            elif do == "resume":
                self.state, self.until = "running", None
                answers.append({"id": command["id"], "action": "resume", "text": None})
            elif do == "pause":
                self.state, self.until, self.pending = "paused", None, command
            elif self.state != "paused":
                answers.append(
                    {
                        "id": command["id"],
                        "action": "step",
                        "text": "Pause first: single steps need a paused run.",
                    }
                )
            else:
                self.until, self.pending = command["unit"], command
        with self.lock:
            self.lock.notify_all()
            if self.pending and self.until is None and not self.busy:
                answers.append(
                    {"id": self.pending["id"], "action": self.pending["do"], "text": None}
                )
                self.pending = None
        return answers

    def refuse(self, text: str) -> list[dict[str, Any]]:
        """Abandon the requested step, saying why; returns the answer to send, if any."""
        if self.until is None or self.pending is None:
            return []
        answer = {"id": self.pending["id"], "action": self.pending["do"], "text": text}
        self.until = self.pending = None
        return [answer]

    def try_enter(self, kind: str) -> bool:
        """Whether this thread may make one step now; if so, it is inside until `leave`."""
        with self.lock:
            wanted = "generator" if self.until == "iteration" else self.until
            open_ = self.state == "running" or (
                self.state == "paused" and self.until is not None and (self.alone or wanted == kind)
            )
            if open_:
                self.busy.add(kind)
            return open_

    def leave(self, kind: str, *finished: str) -> None:
        """End the step.

        `finished` names the units that it completed ("generator", "iteration", "student").
        """
        with self.lock:
            self.busy.discard(kind)
            if self.until in finished:
                self.until = None
            self.lock.notify_all()

    def wait(self, seconds: float = 0.05) -> None:
        with self.lock:
            self.lock.wait(seconds)
