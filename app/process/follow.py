"""One thread that reads the current run's folder and publishes snapshots, no matter how many people
watch.

It folds events with `app.live.state`, lets `app.process.exhibits` look at the other files, and
swaps one reference to an immutable, already compressed response. The only thing it writes into a
run is the layout that the exhibits request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.live import view
from app.live.state import ENDED, State, fold
from app.live.view import Situation
from app.process.child import Child
from app.process.exhibits import Exhibits
from app.web.publish import Published, publish
from kgen.journal.reading import BUNDLE_MANIFEST, JournalError, Run, Tail, being_written, open_run
from kgen.recipe.recipe import Recipe
from kgen.zoo import zoo

POLL = 0.1
IDLE_POLL = 0.5
PUBLISH = 0.2
"""Minimum seconds between two snapshots."""
STALE = 2.0
"""How often to publish the age of the last event while a running engine is silent."""
STOP_SECONDS = 10.0
LAST_TEST_SECONDS = 60.0


class Follower:
    """Follows one run folder until closed.

    Args:
        path: the run folder; it may not exist yet if a child is about to create it.
        recipe: what it runs.
        before: what is known about the run without events (`app.live.plan.before`).
        child: the engine that writes it; None for a run without one.
        show: receives each new snapshot.
        ended: called once, when the child has ended.
    """

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        before: dict[str, Any],
        child: Child | None,
        show: Callable[[Published], None],
        ended: Callable[[], None] = lambda: None,
    ):
        self.path, self.recipe, self.before, self.child = path, recipe, before, child
        self._show, self._ended = show, ended
        self.state, self.fault = State(), ""
        self.stage = "starting" if child else "interrupted"
        self._attempt, self._id, self._events = 0, "", 0
        self._elsewhere = False
        self._waiting: dict[str, Any] | None = None
        self._waiting_since: int | None = None
        self._run: Run | None = None
        self._tail: Tail | None = None
        self._text, self._over = "", False
        self._stop_at: float | None = None
        self._heard = self._shown = time.monotonic()
        self._changed = True
        self.exhibits = Exhibits(path)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"follow {path.name}", daemon=True)

    def start(self) -> None:
        try:
            self._turn(force=True)
        except Exception as error:  # noqa: BLE001  as in the loop
            self._confess(error)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5)
        self.exhibits.close()

    @property
    def elsewhere(self) -> bool:
        """Is the run controlled by a process that is not ours?"""
        return self._elsewhere

    @property
    def _going(self) -> bool:
        return (self.stage == "live" and not self._over) or self._elsewhere

    @property
    def phase(self) -> str:
        return view.phase_of(self.state, Situation(run=self.path.name, stage=self._stage_now()))

    def stop_asked(self) -> None:
        """Someone pressed Stop: show that, and terminate the child if it does not respond."""
        self._stop_at = self._stop_at or time.monotonic() + STOP_SECONDS
        self._changed = True  # the engine may take a step to respond

    # --- the thread ------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._end.wait(
            POLL if self._going or (self.child and not self._over) else IDLE_POLL
        ):
            try:
                self._turn()
                if self.fault:
                    self.fault, self._changed = "", True
            except Exception as error:  # noqa: BLE001  show any error; the run continues
                self._confess(error)
                self._end.wait(1.0)

    def _confess(self, error: Exception) -> None:
        text = (
            str(error)
            if isinstance(error, (JournalError, OSError))
            else f"Error in the app ({type(error).__name__}: {error})."
        )
        if text != self.fault or self._changed:
            self.fault = text
            try:
                self._publish()
            except Exception:  # noqa: BLE001  the snapshot itself failed: show a minimal one
                self._show(
                    publish(
                        view.snapshot(
                            State(),
                            Situation(run=self.path.name, stage="starting", error=text),
                            self.before,
                        )
                    )
                )
        self._tail, self._run = None, None  # start reading from the beginning

    def _turn(self, force: bool = False) -> None:
        code = (
            self.child.code if self.child else None
        )  # check this first: what it wrote before it ended is read below
        try:
            self._hear_child()
            self._look_elsewhere()
            self._read()
            self._look()
        finally:
            # even if something cannot be read or drawn, always notice the child's end and an
            # unanswered Stop
            self._watch_child(code)
        now = time.monotonic()
        silent = self._going and now - self._shown >= STALE
        if force or ((self._changed or silent) and now - self._shown >= PUBLISH):
            self._publish()

    def _watch_child(self, code: int | None) -> None:
        if self.child and code is not None and not self._over:
            self._child_ended(self.child)
        # after it has responded, only the last test is left, which takes time on a slow machine
        patience = LAST_TEST_SECONDS if self.state.phase == "stopping" else 0.0
        if (
            self._stop_at
            and self.child
            and time.monotonic() > self._stop_at + patience
            and code is None
        ):
            self.child.terminate()
            self._text = (
                f"The engine did not respond to Stop within {STOP_SECONDS:.0f} seconds, so it was"
                " terminated."
            )

    def _look_elsewhere(self) -> None:
        """Without a child at work, another process may have resumed the run."""
        elsewhere = (self.child is None or self._over) and being_written(self.path)
        if elsewhere != self._elsewhere:
            self._elsewhere, self._changed = elsewhere, True

    def _hear_child(self) -> None:
        if not self.child:
            return
        waiting = self._still_waiting(self.child)
        if self.stage == "starting" and self.child.last_message("started"):
            self.stage, self._changed = "live", True
            self._run, self._tail = None, None
        text = (
            str(waiting.get("text", ""))
            if waiting and self.stage == "live" and time.monotonic() - self._heard > 1.0
            else ""
        )
        if text != self._text and not self._over and not (self._stop_at and self._text):
            self._text, self._changed = text, True

    def _still_waiting(self, child: Child) -> dict[str, Any] | None:
        """The engine's last message about waiting; None once an event has followed it."""
        said = child.last_message("waiting")
        if said is not self._waiting:
            # events of this turn may be older than the message
            self._waiting, self._waiting_since = said, None
        elif said and self._waiting_since is None:
            self._waiting_since = self._events
        return said if self._waiting_since in (None, self._events) else None

    def _child_ended(self, child: Child) -> None:
        self._over = self._changed = True
        if self.state.phase not in ENDED or self.stage == "starting":
            self._text = self._text or child.death()
            self.stage = "died" if self.stage == "live" else "refused"
            if self.stage == "refused":
                self._text = self._text or "The engine ended before the run started."
        self._ended()

    # --- reading ---------------------------------------------------------------------------------

    def _read(self) -> None:
        """Fold new events."""
        if self._run is None or self._tail is None:
            if not (self.path / "recipe.json").is_file():
                return
            self._run = open_run(self.path)
            self._tail = self._run.tail()
        restarted, new = self._tail.read()
        if restarted:
            self.state, self._events = State(), 0
            self.exhibits.begin_anew()
            info = self._run.info
            self._attempt, self._id = int(info.get("attempt", 1)), str(info.get("id", ""))
        for event in new:
            self.state = fold(self.state, event)
            self._events += 1
        if new:
            self._heard, self._changed = time.monotonic(), True

    def _look(self) -> None:
        """Look at the other files: the batch being made, the layout."""
        if (
            self._run is not None
            and self.state.started is not None
            and self.exhibits.look(self._run, self.state)
        ):
            self._changed = True

    # --- publishing ------------------------------------------------------------------------------

    def _stage_now(self) -> str:
        if self._elsewhere:
            return "live"
        return (
            "stopping" if self._stop_at and self.stage == "live" and not self._over else self.stage
        )

    def _situation(self) -> Situation:
        stage = self._stage_now()
        waiting = self._text if stage == "live" and not (self._over or self._elsewhere) else ""
        return Situation(
            run=self.path.name,
            id=self._id,
            attempt=self._attempt,
            stage=stage,
            text=self._text,
            error=self.fault,
            waiting=waiting,
            checkpoint=self._checkpoint(),
            student_ready=(self.path / "student.safetensors").is_file(),
            layout=self.exhibits.layout_state,
            updated=time.monotonic() - self._heard,
            preview=self.exhibits.making,
            controlled_externally=self._elsewhere,
            imported=(self.path / BUNDLE_MANIFEST).is_file(),
        )

    def _checkpoint(self) -> int | None:
        """Iterations in the last checkpoint of a run that is not in progress."""
        if self.phase in view.ACTIVE or not (self.path / "recipe.json").is_file():
            return None
        if (self.path / BUNDLE_MANIFEST).is_file() and not (
            self.path / "checkpoint" / "state.safetensors"
        ).is_file():
            return None  # imported without its checkpoint
        try:
            return int(zoo.header(self.path / "checkpoint" / "state.safetensors")["iterations"])
        except (zoo.ZooError, KeyError, ValueError):
            return 0

    def _publish(self) -> None:
        answer = publish(view.snapshot(self.state, self._situation(), self.before))
        self._shown, self._changed = time.monotonic(), False
        if not self._end.is_set():
            self._show(answer)
