"""The run everyone sees and the processes behind it: a warm spare, start, resume, controls,
shutdown.

One run at a time. The engine is a child process that gets what a person would type. What it does is
read back from its run folder (`app.process.follow`), so the only state here is which folder it is.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.archive import projection
from app.archive.archive import Archive
from app.live import narration, view
from app.live.plan import public_plan
from app.live.state import State
from app.live.view import Situation
from app.process import recording
from app.process.child import Child
from app.process.exports import Exports
from app.process.follow import Follower
from app.web.errors import Missing
from app.web.notifier import Notifier
from app.web.publish import Published, publish
from kgen.engine.controls import ACTIONS, UNITS
from kgen.errors import KGenError
from kgen.journal.reading import JournalError, being_written, open_run
from kgen.nets import own_code
from kgen.recipe.recipe import Recipe
from kgen.recipes import recipes
from kgen.system import shell
from kgen.zoo import zoo

DEFAULT = "fashion-live"
START_TIMEOUT = 2.0
"""How long Start waits for the engine to reject a run, so it can report that right away."""
CLOSE_TIMEOUT = 6.0


class RunError(KGenError, RuntimeError):
    """A request that cannot be carried out; the message is one sentence for the user."""

    code = "run"


class Runs:
    """The current run of a folder of runs. Thread-safe.

    Args:
        folder: contains the run folders; new ones are created here.
        command: how to start a child process; tests pass a stand-in.
        recorded: add the recorded runs to a folder without runs.
    """

    def __init__(
        self, folder: Path, command: tuple[str, ...] | None = None, recorded: bool = False
    ):
        self.folder = Path(folder).absolute()
        self.archive = Archive(self.folder)
        self.exports = Exports()
        self._command = (command,) if command else ()
        self._lock = threading.RLock()
        self._spare: Child | None = None
        self._child: Child | None = None
        self._follower: Follower | None = None
        self._previous: Path | None = None
        self._ids = itertools.count(1)
        self._closed = False
        bundled = projection.load(projection.bundled(recipes.get(DEFAULT).teacher))
        self._empty = publish(
            view.snapshot(
                State(),
                Situation(layout="ready" if bundled else "none"),
                public_plan(recipes.get(DEFAULT)),
            )
        )
        self._snapshot, self.notifier = self._empty, Notifier()
        self._attach_newest(recorded)

    # --- current state ---------------------------------------------------------------------------

    @property
    def live(self) -> Published:
        """The newest snapshot, encoded."""
        return self._snapshot

    @property
    def name(self) -> str | None:
        follower = self._follower
        return follower.path.name if follower else None

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of the current run."""
        follower = self._follower
        return follower.recipe if follower else None

    @property
    def active(self) -> bool:
        """Is a run in progress: starting, running, paused or stopping?"""
        follower = self._follower
        return follower is not None and follower.phase in view.ACTIVE

    # --- actions ---------------------------------------------------------------------------------

    def check_folder(self) -> None:
        """Raises RunError if runs cannot be written to the folder."""
        try:
            self.archive.prepare()
        except OSError as error:
            raise RunError(
                f"The runs folder {self.folder} is not writable: {error.strerror}. Make it writable"
                " for this user, or start the app with --runs and another folder.",
                code="unwritable",
                file=str(self.folder),
            ) from None

    def warm(self) -> None:
        """Keep an engine ready, so that Start responds right away."""
        with self._lock:
            if (
                not self._closed
                and not self.active
                and (self._spare is None or self._spare.code is not None)
            ):
                if self._spare:
                    self._spare.close(0)
                self._spare = self._spawn()

    def start(self, recipe: Recipe, label: str = "") -> str:
        """Start a run; returns its name, which starts with `label` or the recipe's name. Raises
        RunError if a run is in progress or this one cannot be started.
        """
        with self._lock:
            self._require_idle()
            _require_no_own_code(recipe, recipes.command(recipe))
            self.check_folder()
            name = self.archive.free_name(label or recipe.name)
            path = self.folder / name
            follower, child = self._launch(
                path, recipe, {"recipe": recipe.model_dump(mode="json"), "folder": str(path)}
            )
        self._await_start(follower, child)
        return name

    def resume(self, name: str) -> str:
        """Resume an unfinished run. Raises RunError if it does not exist or another run is in
        progress.
        """
        with self._lock:
            self._require_idle()
            path, recipe = self._locate(name)
            command = f"python -m kgen resume {shell.quote(str(path))}"
            _require_no_own_code(recipe, command)
            _require_real_images(path, command)
            self.check_folder()
            follower, child = self._launch(path, recipe, {"resume": str(path)})
        self._await_start(follower, child)
        return name

    def show(self, name: str) -> str:
        """Show an existing run to everyone. Raises RunError if another one is in progress."""
        with self._lock:
            if name != self.name:
                self._require_idle()
                path, _ = self._locate(name)
                self._detach()
                # without an empty state in between: a page that follows a link would take it for
                # the presenter's choice, and drop the link's image and moment
                try:
                    self._attach(path)
                except BaseException:
                    self._publish(self._empty)
                    raise
        return name

    @contextlib.contextmanager
    def released(self, name: str) -> Iterator[Path]:
        """A run's folder, released so it can be renamed or deleted; shown again if it still exists.
        Raises RunError, Missing.
        """
        with self._lock:
            path, is_shown = self.archive.own_path(name), name == self.name
            if is_shown and self.active:
                raise RunError(
                    f"The run {name} is in progress. Stop it first.",
                    code="busy",
                    run=name,
                )
            if is_shown:
                self._detach()
                self._publish(self._empty)
            try:
                if being_written(path):
                    raise RunError(
                        f"Another process is writing to run {name}. Try again when it is done.",
                        code="busy",
                        run=name,
                    )
                yield path
            finally:
                if is_shown and (path / "recipe.json").is_file():
                    self._attach(path)

    def control(self, action: str, unit: str | None = None) -> None:
        """pause, resume, step (one generator step, iteration or student step) or stop."""
        if action not in ACTIONS or unit not in (None, *UNITS):
            raise RunError("Unknown run command.", code="unknown-command")
        with self._lock:
            child, follower = self._child, self._follower
            if follower and follower.controlled_externally:
                raise RunError(narration.ELSEWHERE, code="busy")
            if child is None or follower is None or not self.active:
                raise RunError(
                    "No run is in progress. Press Start first.",
                    code="no-run",
                )
            if not child.send({"id": next(self._ids), "do": action, "unit": unit or "generator"}):
                raise RunError(
                    "The engine has just exited. The page will show why in a moment.",
                    code="finished",
                )
            if action == "stop":
                follower.stop_requested()

    def close(self) -> None:
        """Close the run's input, allow a few seconds for a checkpoint, then terminate the child."""
        with self._lock:
            self._closed = True
            child, spare = self._child, self._spare
            self._child = self._spare = None
            follower = self._follower
        self.exports.close()
        if child:
            child.end_input()
        if spare:
            spare.close(0)  # it has nothing to save, and may still be importing torch
        if child:
            child.close(CLOSE_TIMEOUT)
        if follower:
            follower.close()

    # --- internals -------------------------------------------------------------------------------

    def _spawn(self) -> Child:
        try:
            self.folder.mkdir(
                parents=True, exist_ok=True
            )  # for the log; Start reports it if the folder cannot be created
        except OSError:
            pass
        try:
            return Child(
                self.folder / "engine.log" if self.folder.is_dir() else None, *self._command
            )
        except OSError as error:
            raise RunError(
                f"The engine could not be started: {error.strerror or error}.",
                code="start-failed",
            ) from None

    def _next_child(self) -> Child:
        spare, self._spare = self._spare, None
        if spare and spare.code is None:
            return spare
        if spare:
            spare.close(0)
        return self._spawn()

    def _launch(
        self, path: Path, recipe: Recipe, message: dict[str, Any]
    ) -> tuple[Follower, Child]:
        """Send a child its request and follow it; the caller holds the lock."""
        child = self._next_child()
        previous, previous_child = self._follower, self._child
        self._previous = previous.path if previous else None
        if previous:
            previous.close()
        if previous_child:
            previous_child.close(
                2.0
            )  # first, because it may still lock the very folder being resumed
        if not child.send(message):
            child.close(0)
            child = self._spawn()
            child.send(message)
        self._child = child
        follower = Follower(
            path, recipe, public_plan(recipe), child, self._publish, self._after_end
        )
        self._follower = follower
        follower.start()
        return follower, child

    def _await_start(self, follower: Follower, child: Child) -> None:
        """An early rejection becomes an error for the user who asked; a later one is shown on the
        page.
        """
        message = child.wait_for("started", "error", timeout=START_TIMEOUT)
        if message is None and child.code is not None:
            message = {
                "kind": "error",
                "text": "The engine could not be started. " + child.exit_message(),
            }
        if message and message.get("kind") == "error":
            child.close(2.0)
            with self._lock:
                if self._follower is follower:
                    follower.close()
                    self._follower = self._child = None
                    self._publish(self._empty)
                    if self._previous and self._previous.is_dir():
                        self._attach(self._previous)
            reason = str(message.get("code") or "start-failed")
            raise RunError(
                str(message.get("text") or "The engine rejected this run."),
                code=reason,
            )

    def _publish(self, snapshot: Published) -> None:
        self._snapshot = snapshot
        self.notifier.notify()

    def _after_end(self) -> None:
        """Warm up a new spare now that no run needs the time. Called from the follower's thread,
        which must not wait for the lock.
        """

        def warm() -> None:
            try:
                self.warm()
            except RunError:
                pass  # the next Start tries again and reports why it fails

        threading.Thread(target=warm, name="warm", daemon=True).start()

    def _attach_newest(self, recorded: bool) -> None:
        """Show the newest run, resumable or not, or the recorded one if there is no other."""
        names = list(self.archive.names())
        if recorded and not names and recording.unpack(self.folder):
            names = list(self.archive.names())
        for name in names:
            try:
                return self._attach(self.folder / name)
            except (ValueError, OSError):  # JournalError among them
                continue  # damaged or from another version; try the next newest

    def _locate(self, name: str) -> tuple[Path, Recipe]:
        try:
            path = self.archive.own_path(name)
            return path, open_run(path).recipe
        except (Missing, JournalError) as error:
            raise RunError(str(error), code=error.code, **error.fields) from None

    def _detach(self) -> None:
        """Let go of the current run. The caller holds the lock, has checked that no run is in
        progress, and publishes what is shown instead.
        """
        follower, child = self._follower, self._child
        self._follower = self._child = None
        if follower:
            follower.close()
        if child:
            child.close(2.0)

    def _attach(self, path: Path) -> None:
        """Show a run that has no engine."""
        recipe = open_run(path).recipe
        self._follower = Follower(path, recipe, public_plan(recipe), None, self._publish)
        self._follower.start()

    def _require_idle(self) -> None:
        if self._closed:
            raise RunError(
                "The app is closing.",
                code="closing",
            )
        follower = self._follower
        if follower is None or not self.active:
            return
        advice = "Stop it first, or watch it: everyone sees the same run."
        raise RunError(
            f"A run is already in progress ({self.name})."
            f" {narration.ELSEWHERE if follower.controlled_externally else advice}",
            code="busy",
            run=self.name,
        )


def _require_real_images(path: Path, command: str) -> None:
    """The page cannot ask where a run's own real images are on this machine; the command can."""
    try:
        open_run(path).recipe_here()
    except JournalError:
        command += " --real FOLDER"
        raise RunError(
            f"The run {path.name} is tested on real images from another machine. To resume it with"
            f" a folder on this one, use {command}.",
            code="other-machine",
            run=path.name,
            command=command,
        ) from None


def _require_no_own_code(recipe: Recipe, command: str) -> None:
    """A network in a user's Python file runs only if they typed the command."""
    for name in (recipe.teacher, recipe.judge):
        try:
            architecture = zoo.card(name).architecture
        except (ValueError, KeyError):  # unknown, or "none"; the engine reports it
            continue
        if own_code.is_own(architecture):
            raise RunError(
                f"The network of {name} is built by {architecture}, your own Python file, which the"
                f" page does not run. On the command line, use {command}.",
                code="command-line-only",
                teacher=name,
                command=command,
            )
