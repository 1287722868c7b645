"""The sweeps in the runs folder, for the Runs page: a list, and one sweep with all its runs.

A sweep is a folder with a `sweep.json` (`kgen.sweep`), which may be the runs folder itself. Nothing
here changes one.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from app.archive.archive import Archive
from app.live.format import SHARE_DIGITS
from app.web.errors import Missing
from kgen.journal.reading import RUN_NAME
from kgen.sweep import grid, trials
from kgen.sweep.grid import Sweep, SweepError, Trial, text
from kgen.sweep.trials import Progress

CACHE_SECONDS = 2.0
"""How long a sweep's progress is reused, for everyone who asks."""


class Sweeps:
    """Thread-safe."""

    def __init__(self, archive: Archive):
        self._archive, self._lock = archive, threading.Lock()
        self._progress: dict[Path, tuple[float, Sweep, dict[str, Progress]]] = {}

    def rows(self) -> list[dict[str, Any]]:
        """Every sweep that can be read, newest first."""
        found = []
        for name, folder in self._folders().items():
            try:
                sweep, progress = self._read(folder)
                began = (folder / grid.FILE).stat().st_mtime
            except (Missing, OSError):
                continue
            found.append(
                {
                    "name": name,
                    "recipe": sweep.recipe.name,
                    "fields": [axis.field for axis in sweep.axes],
                    "runs": len(sweep.trials),
                    "states": Counter(run.state for run in progress.values()),
                    "began": int(began),
                }
            )
        return sorted(found, key=lambda row: row["began"], reverse=True)

    def one(self, name: str) -> dict[str, Any]:
        """A sweep with its axes and all its runs. Raises Missing."""
        folder = self._folders().get(name)
        if folder is None:
            raise Missing("There is no sweep with that name.", code="unknown-sweep")
        sweep, progress = self._read(folder)
        positions = [{text(v): i for i, v in enumerate(axis.values)} for axis in sweep.axes]
        return {
            "name": name,
            "recipe": sweep.recipe.name,
            "axes": [
                {"field": axis.field, "label": label, "values": list(map(text, axis.values))}
                for axis, label in zip(sweep.axes, sweep.labels)
            ],
            "seeds": list(sweep.seeds),
            "runs": [
                self._run(folder, trial, progress[trial.name])
                | {"at": [at[text(v)] for at, v in zip(positions, trial.values)]}
                for trial in sweep.trials
            ],
        }

    def _run(self, folder: Path, trial: Trial, progress: Progress) -> dict[str, Any]:
        inside = folder != self._archive.folder
        name = f"{folder.name}.{trial.name}" if inside else trial.name
        share = progress.agreement if progress.accuracy is None else progress.accuracy
        known = progress.state != "waiting" and RUN_NAME.fullmatch(name)
        return {
            "run": name if known else None,
            "seed": trial.seed,
            "state": progress.state,
            "share": None if share is None else round(share, SHARE_DIGITS),
            "real": progress.accuracy is not None,
            "n": progress.n,
            "seconds": round(progress.seconds, 1),
        }

    def _folders(self) -> dict[str, Path]:
        """Every sweep by name."""
        folder = self._archive.folder
        try:
            inside = {
                path.name: path
                for path in folder.iterdir()
                if RUN_NAME.fullmatch(path.name) and ".." not in path.name and grid.is_sweep(path)
            }
        except OSError:
            return {}
        own = folder.resolve().name
        return {own: folder} | inside if grid.is_sweep(folder) else inside

    def _read(self, folder: Path) -> tuple[Sweep, dict[str, Progress]]:
        with self._lock:
            read_at, sweep, progress = self._progress.get(folder, (0.0, None, {}))
            if sweep is None or time.monotonic() - read_at > CACHE_SECONDS:
                try:
                    sweep = grid.read(folder)
                    progress = trials.progress_of(folder, sweep)
                except SweepError as error:
                    raise Missing(
                        "This sweep cannot be shown, because its file sweep.json is damaged.",
                        code="damaged",
                    ) from error
                self._progress[folder] = (time.monotonic(), sweep, progress)
            return sweep, progress
