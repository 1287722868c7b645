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
from kgen.files import fingerprint
from kgen.journal.reading import Run

FIT_IMAGES = 60
"""Synthetic images needed to fit a layout if there are no real ones."""
MAKING_BYTES = 60_000
"""Most pixels in the sheet of the batch being made, which is part of every snapshot."""


class Exhibits:
    """The pieces of one run folder that change during the run."""

    def __init__(self, path: Path):
        self.path = path
        self.making: dict[str, Any] | None = None
        """The batch being made, as a group with its step; None if there is none."""
        self._mark: tuple | None = None
        self._fitting = "none"
        self._fitter: Fitter | None = None

    @property
    def layout_state(self) -> str:
        """none, fitting or ready."""
        return "none" if self._fitting == "failed" else self._fitting

    def begin_anew(self) -> None:
        """A new attempt of the run: what was made after the checkpoint does not count."""
        self.making = None

    def close(self) -> None:
        if self._fitter:
            self._fitter.close()

    def look(self, run: Run, state: State) -> bool:
        """Look again; returns whether there is anything new."""
        new = self._look_at_preview(run, state)
        return self._look_for_layout(run, state) or new

    def _examples(self, state: State) -> Path | None:
        """What to fit a layout to; None as long as there is too little."""
        real = self.path / "reference.safetensors"
        made = state.iterations_done * min((scale.batch for scale in state.scales), default=0)
        enough = made >= FIT_IMAGES or state.phase in ENDED and made
        return (
            real
            if real.is_file()
            else self.path / "batches"
            if state.tested_on == "synthetic" and enough
            else None
        )

    def _look_at_preview(self, run: Run, state: State) -> bool:
        try:
            seen = fingerprint(self.path / "preview.safetensors")
        except OSError:
            seen = None
        if seen is None or seen == self._mark:
            over = self.making is not None and self.making["iteration"] < state.iterations_done
            if over:
                self.making = None
            return over
        batch = run.preview()
        if batch is None or state.started is None:
            return False
        self._mark, iteration = seen, int(batch["iteration"][0])
        if iteration < state.iterations_done:
            self.making = None
            return False
        making = sheets.group(
            batch,
            iteration,
            len(state.started.classes),
            before=state.pool_images,
            include_frames=False,
            max_bytes=MAKING_BYTES,
            after=pool_after(state, iteration),
        )
        self.making = making | {
            "step": int(batch["step"][0]),
            "steps": state.recipe["generator_steps"],
        }
        return True

    def _look_for_layout(self, run: Run, state: State) -> bool:
        """The bundled layout, or one fitted for this run in a separate process, from its real
        examples or else its first synthetic images.
        """
        if self._fitting == "none":
            if run_reader.layout_of(run) is not None:
                self._fitting = "ready"
            elif examples := self._examples(state):
                self._fitter = Fitter(
                    examples, self.path / projection.LAYOUT, str(run.info.get("teacher_sha256", ""))
                )
                self._fitting = "fitting"
            return self._fitting != "none"
        if self._fitter is None or self._fitting != "fitting":
            return False
        fitted = self._fitter.poll()
        if fitted == "fitting":
            return False
        self._fitting = (
            "ready" if fitted == "ready" and run_reader.layout_of(run) is not None else "failed"
        )
        return True
