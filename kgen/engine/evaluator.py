"""Evaluates student and teacher on the same images, during a run and at its end.

Independent of schedules and events.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from kgen.data.class_folders import unreadable_remark
from kgen.data.data import DataError, RealImages
from kgen.data.folders import Progress
from kgen.engine.setting import Setting
from kgen.engine.state import LoopState
from kgen.engine.student_view import PoolSample, sample_pool, student_view
from kgen.evaluate import guessing_remark, score
from kgen.events import Score
from kgen.teachers import Teacher

IMAGES_DURING_RUN = 2_000
"""How many real images an evaluation before the end of the run uses."""
NO_EVALUATION = "The run continues without this test; python -m kgen evaluate can repeat it."


class Evaluation(NamedTuple):
    """The outcome of one evaluation."""

    warnings: list[tuple[str, str]]
    """(text, remedy): images that could not be read, a teacher that guesses"""
    fields: dict[str, Any] | None
    """Fields of an `Evaluated` event; None if no image could be read."""


class Evaluator:
    """Evaluates the student of one run.

    Args:
        teacher: answers for real images; a clone, since the student may have a thread of its own.
        student_lock: held while the pool is read.
    """

    def __init__(
        self,
        setting: Setting,
        state: LoopState,
        teacher: Teacher,
        student_lock: threading.RLock,
    ):
        self.setting, self.state, self.teacher = setting, state, teacher
        self.student_lock = student_lock
        self._teacher_scores: dict[int, Score] = {}
        """Number of images → the teacher's score; kept, because the teacher does not change."""
        self._sample: RealImages | None = None
        """The real images for evaluations during the run, decoded once."""
        self._named_guessing = False
        """Whether a warning has said that the teacher is no better than chance."""
        self._named_unreadable: set[str] = set()
        """Files of real images that a warning has named."""

    def skip_warnings_so_far(self) -> None:
        """Never warn again about the real images that are already known to be unreadable."""
        if self.setting.real:
            self._named_unreadable.update(self.setting.real.unreadable)

    def run(
        self, final: bool, report: Callable[[str], Progress], elsewhere: PoolSample | None = None
    ) -> Evaluation:
        """Evaluate on all real images (`final`), or on a stratified sample of them.

        Without real images: the student's agreement with the teacher on held-out synthetic ones.
        `report`: the progress function of an activity; whatever it raises ends the evaluation.
        `elsewhere`: samples of the other processes' pools.
        """
        s = self.state
        was_training = s.student.training
        s.student.eval()
        try:
            try:
                student_score, teacher_score = self._scores(final, report)
            except DataError as error:  # a drive was disconnected, for example
                return Evaluation([(str(error), NO_EVALUATION)], None)
            with self.student_lock:
                sample = sample_pool(s.pool, self.setting.world.size) + (elsewhere or [])
            arrays = student_view(self.setting, s, sample, self.setting.reference_images)
        finally:
            s.student.train(was_training)
        fields = {
            "student": student_score,
            "teacher": teacher_score,
            "final": final,
            "file": f"students/{s.student_steps:07d}.safetensors",
            "arrays": arrays,
        }
        warnings = self._unreadable_warnings()
        remark = teacher_score and guessing_remark(teacher_score)
        if remark and not self._named_guessing:
            self._named_guessing = True
            warnings.append(remark)
        return Evaluation(warnings, fields)

    def _scores(self, final: bool, report: Callable[[str], Progress]) -> tuple[Score, Score | None]:
        setting, student, real = self.setting, self.state.student, self.setting.real
        if real is None:
            return self.state.held_out.score(student), None
        if not final:
            if self._sample is None:
                self._sample = real.stratified(
                    IMAGES_DURING_RUN, tuple(setting.selected), on_progress=report("reading")
                )
            real = self._sample
        mean, std = setting.teacher.mean, setting.teacher.std
        student_score = score(
            lambda x: student((x - mean) / std),
            real,
            setting.selected,
            device=setting.device,
            on_progress=report("student"),
        )
        if len(real) not in self._teacher_scores:
            self._teacher_scores[len(real)] = setting.teacher_score(
                real, self.teacher, report("teacher")
            )
        return student_score, self._teacher_scores[len(real)]

    def _unreadable_warnings(self) -> list[tuple[str, str]]:
        """Names the real images that have turned out to be unreadable since the last warning."""
        real = self.setting.real
        found = real.unreadable if real else {}
        new = {f: found[f] for f in list(found) if f not in self._named_unreadable}
        self._named_unreadable.update(new)
        return [unreadable_remark(new)] if new else []
