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
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.live import narration, view
from app.live.state import ENDED, State, fold
from app.live.view import Situation
from app.process.child import Child
from app.process.exhibits import Exhibits
from app.web.publish import Published, publish
from kgen.journal.reading import BUNDLE_MANIFEST, JournalError, Run, Tail, being_written, open_run
from kgen.recipe.recipe import Recipe
from kgen.zoo import zoo

POLL_SECONDS = 0.1
IDLE_POLL_SECONDS = 0.5
PUBLISH_SECONDS = 0.2
"""Minimum seconds between two snapshots."""
STALE_SECONDS = 2.0
"""How often to publish the age of the last event while a running engine is silent."""
STOP_SECONDS = 10.0
LAST_TEST_SECONDS = 60.0


class Follower:
    """Follows one run folder until closed.

    Args:
        path: the run folder; it may not exist yet if a child is about to create it.
        recipe: what it runs.
        plan: what is known about the run without events (`app.live.plan.public_plan`).
        child: the engine that writes it; None for a run without one.
        on_snapshot: receives each new snapshot.
        on_end: called once, when the child has ended.
    """

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        plan: dict[str, Any],
        child: Child | None,
        on_snapshot: Callable[[Published], None],
        on_end: Callable[[], None] = lambda: None,
    ):
        self.path, self.recipe, self.plan, self.child = path, recipe, plan, child
        self._on_snapshot, self._on_end = on_snapshot, on_end
        self.state, self.error = State(), ""
        self.stage = "starting" if child else "interrupted"
        self._attempt, self._id, self._event_count = 0, "", 0
        self._controlled_externally = False
        self._waiting_message: dict[str, Any] | None = None
        self._waiting_since: int | None = None
        self._progress: dict[str, Any] | None = None
        self._progress_at = 0.0
        self._run: Run | None = None
        self._tail: Tail | None = None
        self._message = self._public_message = ""
        self._child_done = False
        self._stop_requested_at: float | None = None
        self._last_event_at = self._published_at = time.monotonic()
        self._changed = True
        self.exhibits = Exhibits(path)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"follow {path.name}", daemon=True)

    def start(self) -> None:
        try:
            self._poll(force=True)
        except Exception as error:  # noqa: BLE001  as in the loop
            self._report_error(error)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5)
        self.exhibits.close()

    @property
    def controlled_externally(self) -> bool:
        """Is the run controlled by a process that is not ours?"""
        return self._controlled_externally

    @property
    def _in_progress(self) -> bool:
        return (self.stage == "live" and not self._child_done) or self._controlled_externally

    @property
    def phase(self) -> str:
        return view.phase_of(self.state, Situation(run=self.path.name, stage=self._current_stage()))

    def stop_requested(self) -> None:
        """Someone pressed Stop: show that, and terminate the child if it does not respond."""
        self._stop_requested_at = self._stop_requested_at or time.monotonic() + STOP_SECONDS
        self._changed = True  # the engine may need one more step before it responds

    # --- the thread ------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._closed.wait(
            POLL_SECONDS
            if self._in_progress or (self.child and not self._child_done)
            else IDLE_POLL_SECONDS
        ):
            try:
                self._poll()
                if self.error:
                    self.error, self._changed = "", True
            except Exception as error:  # noqa: BLE001  show any error; the run continues
                self._report_error(error)
                self._closed.wait(1.0)

    def _report_error(self, error: Exception) -> None:
        text = (
            str(error)
            if isinstance(error, (JournalError, OSError))
            else f"Error in the app ({type(error).__name__}: {error})."
        )
        if text != self.error or self._changed:
            self.error = text
            try:
                self._publish()
            except Exception:  # noqa: BLE001  the snapshot itself failed: show a minimal one
                minimal = Situation(run=self.path.name, stage="starting", error=text)
                self._on_snapshot(self._snapshot(State(), minimal))
        self._tail, self._run = None, None  # start reading from the beginning

    def _poll(self, force: bool = False) -> None:
        code = (
            self.child.code if self.child else None
        )  # check this first: what it wrote before it ended is read below
        try:
            self._read_child()
            self._check_external_control()
            self._read_events()
            self._refresh_exhibits()
        finally:
            # even if something cannot be read or drawn, always notice the child's end and an
            # unanswered Stop
            self._watch_child(code)
        now = time.monotonic()
        is_stale = self._in_progress and now - self._published_at >= STALE_SECONDS
        if force or ((self._changed or is_stale) and now - self._published_at >= PUBLISH_SECONDS):
            self._publish()

    def _watch_child(self, code: int | None) -> None:
        if self.child and code is not None and not self._child_done:
            self._finish(self.child)
        # after it has responded, only the last test is left, which takes time on a slow machine
        grace = LAST_TEST_SECONDS if self.state.phase == "stopping" else 0.0
        if (
            self._stop_requested_at
            and self.child
            and time.monotonic() > self._stop_requested_at + grace
            and time.monotonic() > self._progress_at + STOP_SECONDS
            and code is None
        ):
            self.child.terminate()
            self._say(
                f"The engine did not respond to Stop within {STOP_SECONDS:.0f} seconds, so it was"
                " terminated."
            )

    def _check_external_control(self) -> None:
        """Without a child at work, another process may have resumed the run."""
        controlled_externally = (self.child is None or self._child_done) and being_written(
            self.path
        )
        if controlled_externally != self._controlled_externally:
            self._controlled_externally, self._changed = controlled_externally, True

    def _read_child(self) -> None:
        if not self.child:
            return
        waiting = self._current_waiting_message(self.child)
        if (progress := self.child.last_message("progress")) is not self._progress:
            self._progress, self._progress_at = progress, time.monotonic()
            self._changed = True
        if self.stage == "starting" and self.child.last_message("started"):
            self.stage, self._changed = "live", True
            self._run, self._tail = None, None
        text = (
            str(waiting.get("text", ""))
            if waiting and self.stage == "live" and time.monotonic() - self._last_event_at > 1.0
            else ""
        )
        if (
            text != self._message
            and not self._child_done
            and not (self._stop_requested_at and self._message)
        ):
            self._say(text)

    def _current_waiting_message(self, child: Child) -> dict[str, Any] | None:
        """The engine's last message about waiting; None once an event has followed it."""
        message = child.last_message("waiting")
        if message is not self._waiting_message:
            # events of this turn may be older than the message
            self._waiting_message, self._waiting_since = message, None
        elif message and self._waiting_since is None:
            self._waiting_since = self._event_count
        return message if self._waiting_since in (None, self._event_count) else None

    def _finish(self, child: Child) -> None:
        self._child_done = self._changed = True
        if self.state.phase not in ENDED or self.stage == "starting":
            if not self._message:
                self._say(child.exit_message(), child.exit_message(public=True))
            self.stage = "died" if self.stage == "live" else "refused"
        self._on_end()

    def _say(self, message: str, public: str | None = None) -> None:
        """Show a message from or about the engine. `public`: what viewers see instead."""
        self._message, self._changed = message, True
        self._public_message = message if public is None else public

    # --- reading ---------------------------------------------------------------------------------

    def _read_events(self) -> None:
        """Fold new events."""
        if self._run is None or self._tail is None:
            if not (self.path / "recipe.json").is_file():
                return
            self._run = open_run(self.path)
            self._tail = self._run.tail()
        restarted, new_events = self._tail.read()
        if restarted:
            self.state, self._event_count = State(), 0
            self.exhibits.restart()
            info = self._run.info
            self._attempt, self._id = int(info.get("attempt", 1)), str(info.get("id", ""))
        for event in new_events:
            self.state = fold(self.state, event)
            self._event_count += 1
        if new_events:
            self._last_event_at, self._changed = time.monotonic(), True

    def _refresh_exhibits(self) -> None:
        """Look at the other files: the batch being made, the layout."""
        if (
            self._run is not None
            and self.state.started is not None
            and self.exhibits.refresh(self._run, self.state)
        ):
            self._changed = True

    # --- publishing ------------------------------------------------------------------------------

    def _current_stage(self) -> str:
        if self._controlled_externally:
            return "live"
        return (
            "stopping"
            if self._stop_requested_at and self.stage == "live" and not self._child_done
            else self.stage
        )

    def _situation(self) -> Situation:
        stage = self._current_stage()
        waiting = (
            self._message
            if stage == "live" and not (self._child_done or self._controlled_externally)
            else ""
        )
        return Situation(
            run=self.path.name,
            id=self._id,
            attempt=self._attempt,
            stage=stage,
            text=self._message,
            error=self.error,
            waiting=waiting,
            progress=None if self._child_done else view.image_progress(self._progress),
            checkpoint=self._checkpoint(),
            student_ready=(self.path / "student.safetensors").is_file(),
            layout=self.exhibits.layout_state,
            updated=time.monotonic() - self._last_event_at,
            preview=self.exhibits.preview,
            controlled_externally=self._controlled_externally,
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

    def _snapshot(self, state: State, situation: Situation) -> Published:
        """The snapshot; viewers get a different one if an error may contain local paths."""
        public = replace(
            situation,
            text=self._public_message if situation.text else "",
            error=narration.FOR_THE_PRESENTER if situation.error else "",
        )
        return publish(
            view.snapshot(state, situation, self.plan),
            None if public == situation else view.snapshot(state, public, self.plan),
        )

    def _publish(self) -> None:
        snapshot = self._snapshot(self.state, self._situation())
        self._published_at, self._changed = time.monotonic(), False
        if not self._closed.is_set():
            self._on_snapshot(snapshot)
