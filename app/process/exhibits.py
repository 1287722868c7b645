"""What the page shows besides a run's events: the batch being made, and the layout of the images.

Reads the run folder of one follower, on that follower's thread. It knows neither the engine's
process nor what is published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.archive import projection, run_reader, sheets
from app.archive.projection import Fitter
from app.live.state import ENDED, State, pool_after
from kgen.journal.reading import Run
from kgen.system.files import fingerprint

MIN_FIT_IMAGES = 60
"""Synthetic images needed to fit a layout if there are no real ones."""
MAX_PREVIEW_BYTES = 60_000
"""Limit on the pixels in the sheet of the batch being made, which is part of every snapshot."""


class Exhibits:
    """The pieces of one run folder that change during the run."""

    def __init__(self, path: Path):
        self.path = path
        self.preview: dict[str, Any] | None = None
        """The batch being made, as a group with its step; None if there is none."""
        self._preview_mark: tuple | None = None
        self._layout_status = "none"
        self._fitter: Fitter | None = None

    @property
    def layout_state(self) -> str:
        """none, fitting or ready."""
        return "none" if self._layout_status == "failed" else self._layout_status

    def restart(self) -> None:
        """A new attempt at the run: anything made after the checkpoint does not count."""
        self.preview = None

    def close(self) -> None:
        if self._fitter:
            self._fitter.close()

    def refresh(self, run: Run, state: State) -> bool:
        """Look again; returns whether there is anything new."""
        is_new = self._refresh_preview(run, state)
        return self._refresh_layout(run, state) or is_new

    def _layout_source(self, state: State) -> Path | None:
        """What to fit a layout to; None while there is too little."""
        reference = self.path / "reference.safetensors"
        images_made = state.iterations_done * min(
            (scale.batch for scale in state.scales), default=0
        )
        enough = images_made >= MIN_FIT_IMAGES or state.phase in ENDED and images_made
        return (
            reference
            if reference.is_file()
            else self.path / "batches"
            if state.tested_on == "synthetic" and enough
            else None
        )

    def _refresh_preview(self, run: Run, state: State) -> bool:
        try:
            file_mark = fingerprint(self.path / "preview.safetensors")
        except OSError:
            file_mark = None
        if file_mark is None or file_mark == self._preview_mark:
            outdated = (
                self.preview is not None and self.preview["iteration"] < state.iterations_done
            )
            if outdated:
                self.preview = None
            return outdated
        batch = run.preview()
        if batch is None or state.started is None:
            return False
        self._preview_mark, iteration = file_mark, int(batch["iteration"][0])
        if iteration < state.iterations_done:
            self.preview = None
            return False
        preview = sheets.group(
            batch,
            iteration,
            len(state.started.classes),
            before=state.pool_images,
            include_frames=False,
            max_bytes=MAX_PREVIEW_BYTES,
            after=pool_after(state, iteration),
        )
        self.preview = preview | {
            "step": int(batch["step"][0]),
            "steps": state.recipe["generator_steps"],
        }
        return True

    def _refresh_layout(self, run: Run, state: State) -> bool:
        """The bundled layout, or one fitted for this run in a separate process, from its real
        examples or else its first synthetic images.
        """
        if self._layout_status == "none":
            if run_reader.layout_of(run) is not None:
                self._layout_status = "ready"
            elif source := self._layout_source(state):
                self._fitter = Fitter(
                    source, self.path / projection.LAYOUT, str(run.info.get("teacher_sha256", ""))
                )
                self._layout_status = "fitting"
            return self._layout_status != "none"
        if self._fitter is None or self._layout_status != "fitting":
            return False
        status = self._fitter.poll()
        if status == "fitting":
            return False
        self._layout_status = (
            "ready" if status == "ready" and run_reader.layout_of(run) is not None else "failed"
        )
        return True
