"""The page's sentences about a run: the status line and alerts.

Pure functions of the folded state. Nothing here is markup; the page escapes what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.live.format import FEW_IMAGES, images, number, percent
from kgen.phrases import count

if TYPE_CHECKING:
    from app.live.view import Situation, State

Segments = list[dict[str, Any]]
READY = (
    "Ready. Press Start. The generator starts from noise, and the first images appear after about"
    " 3 seconds."
)
FOR_THE_PRESENTER = "The presenter’s page shows the reason."
"""Instead of a reason that may contain paths and names of folders on this machine."""
ELSEWHERE = "Another process controls this run. You can only watch it here."


def sentence(state: State, phase: str, situation: Situation) -> Segments:
    """What is happening now; `{"class": position}` stands for a class's name and color."""
    if phase == "empty":
        return [_text(READY)]
    if phase == "starting":
        if situation.progress:
            return [_text(f"Starting the run: {_image_progress(situation)}.")]
        action = (
            "Resuming the run"
            if state.started
            else "Starting the run: loading the teacher and the generator"
        )
        return [_text(action + ". The first images appear in a moment.")]
    if phase == "finished":
        return [
            _text(
                "Recorded: " + _result(state) if situation.imported else "Done: " + _result(state)
            )
        ]
    if phase == "stopped":
        return [
            _text(
                "Stopped"
                + position_text(state)
                + ". "
                + (_score(state, "The student") or saved_work(state, None))
            )
        ]
    if phase == "failed":
        return [_text("The run failed" + position_text(state) + ".")]
    if phase == "died":
        return [_text("The engine ended unexpectedly" + position_text(state) + ".")]
    if phase == "interrupted":
        return [
            _text(
                ("Stopped" if state.phase == "stopped" else "Interrupted")
                + position_text(state)
                + ". Press Resume to continue from there."
            )
        ]
    activity = _current_activity(state)
    if phase == "stopping" and situation.progress:
        return [
            _text(
                f"Stopping{position_text(state)}: {_image_progress(situation)}. Press Stop again to"
                " skip this test; the student is saved."
            )
        ]
    if phase == "stopping":
        return [
            _text(
                "Stopping"
                + position_text(state)
                + f": testing the student one last time on {test_kind(state)}."
            )
        ]
    if situation.progress and phase == "running" and (state.sequential or state.generation_done):
        text = _image_progress(situation)
        return [_text(f"{text[0].upper()}{text[1:]}. The student never trains on them.")]
    if phase == "paused":
        first, *rest = activity
        return [_text("Paused. " + first["text"]), *rest, *_student_progress(state)]
    return activity


def _image_progress(situation: Situation) -> str:
    """ "classifying the real images with the teacher: 1,200 of 3,925"."""
    progress = situation.progress
    if progress is None:
        return ""
    activity = {
        "checking": "checking the files of the real images",
        "reading": "reading real images",
        "student": "testing the student on the real images",
        "teacher": "classifying the real images with the teacher",
    }.get(progress.activity, "working on the real images")
    return f"{activity}: {number(progress.done)} of {number(progress.total)}"


def _student_progress(state: State) -> Segments:
    """How far the student is, if the sentence is about the generator although it has started."""
    learning = state.student_step > 0 and not (state.sequential and state.activity == "student")
    if state.started is None or state.generation_done or not learning:
        return []
    return [
        _text(
            f" The student has taken {number(state.student_step)} of"
            f" {count(state.started.student_steps, 'step')}."
        )
    ]


def _text(text: str) -> dict[str, str]:
    return {"text": text}


def _current_activity(state: State) -> Segments:
    started = state.started
    if started is None:
        return [_text("Starting the run.")]
    steps, sequential = started.recipe["generator_steps"], state.sequential
    warmup = state.iterations_done < state.warmup_iterations
    learning = state.student_step > 0 or not warmup
    if state.generation_done and state.student_step >= started.student_steps:
        test = f"Evaluating the student on {test_kind(state)}, which it never trains on."
        return [_text(test if state.student_step else "All images have been generated.")]
    if state.generation_done or (state.activity == "student" and sequential):
        prefix = "All images have been generated. " if state.generation_done else ""
        return [
            _text(
                f"{prefix}Student step {number(state.student_step)} of"
                f" {number(started.student_steps)}: learning to match the teacher on"
                f" {images(state.pool_images)}."
            )
        ]
    if state.iteration is None:
        return [_text("Starting: the generator starts from noise.")]
    waiting = warmup and started.student_steps
    prefix = "Warm-up: the student is not training yet. " if waiting else ""
    scales = state.scales
    size = f"{scales[state.resolution(state.iteration)].side}-pixel " if len(scales) > 1 else ""
    step = (
        f"{prefix}Generator step {number(max(1, state.step + 1))} of {number(steps)}: shaping"
        f" {size}images of "
    )
    ending = _other_classes(started.classes) + " until the teacher recognizes them."
    if learning and started.student_steps and state.pool_images:
        ending += (
            f" The student is waiting; the pool holds {images(state.pool_images)}."
            if sequential
            else f" The student is learning from {images(state.pool_images)}."
        )
    return [_text(step), {"class": state.iteration % len(started.classes)}, _text(ending)]


def replay_sentence(state: State, new_images: int | None) -> Segments:
    """What was happening at an earlier moment.

    `new_images`: how many images went into the pool, once the batch was done.
    """
    started = state.started
    if started is None or state.iteration is None:
        return []
    position, steps = (
        f"Replay{position_text(state).replace(' at', ':', 1)}",
        state.recipe["generator_steps"],
    )
    student_status = (
        f" Student: {number(state.student_step)} of {count(started.student_steps, 'step')}"
        if state.student_step
        else ""
    )
    if student_status:
        student_status += (
            f", {percent(state.last_accuracy)} correct."
            if state.last_accuracy is not None and state.tested_on != "synthetic"
            else "."
        )
    if new_images is not None:
        return [
            _text(
                f"{position}, done. {images(new_images)} entered the pool, which now holds"
                f" {number(state.pool_images)}.{student_status}"
            )
        ]
    return [
        _text(
            f"{position}, generator step {number(state.step + 1)} of {number(steps)}: images of "
        ),
        {"class": state.iteration % len(started.classes)},
        _text(f"{_other_classes(started.classes)}.{student_status}"),
    ]


def _other_classes(classes: Sequence[str]) -> str:
    """What follows the name of the first class; all classes are generated at once."""
    n = len(classes) - 1
    return f" and {number(n)} more {'class' if n == 1 else 'classes'}" if n else ""


def position_text(state: State) -> str:
    """ " at iteration 26 of 50", or nothing before the first."""
    if state.started is None or state.iteration is None:
        return ""
    return f" at iteration {number(state.iteration + 1)} of {number(state.iterations)}"


def _result(state: State) -> str:
    return (
        _score(state, "the student")
        or f"{images(state.pool_images)} generated; no student was trained."
    )


def test_kind(state: State) -> str:
    """What the student is tested on."""
    return {
        "test": "real images",
        "validation": "held-out real images",
        "synthetic": "held-out synthetic images",
    }[state.tested_on]


def _score(state: State, subject: str) -> str:
    """ "the student classifies 82.4% of 10,000 real images correctly, …"; empty before any test."""
    finish, started = state.finish, state.started
    share, n = state.last_accuracy, state.test_size
    if finish is not None:
        last = finish.agreement if state.tested_on == "synthetic" else finish.accuracy
        share, n = (share, n) if last is None else (last, finish.n)
    if share is None or not math.isfinite(share) or started is None:
        return ""
    class_scope = f" of these {len(started.classes)} classes" if state.has_class_subset else ""
    if state.tested_on == "synthetic":
        agreement = f"{round(share * n)}" if n < FEW_IMAGES else percent(share)
        return (
            f"{subject} agrees with the teacher on {agreement} of {number(n)} {test_kind(state)}."
            " There is no real test set, so its true accuracy is unknown."
        )
    text = (
        f"{subject} classifies {percent(share)} of {number(n)} {test_kind(state)}{class_scope}"
        " correctly, without having been trained on any of them."
    )
    if state.teacher_accuracy is not None:
        text += f" The teacher reaches {percent(state.teacher_accuracy)}."
    return text


def saved_work(state: State, checkpoint: int | None) -> str:
    """What is saved, in words: no more than the last checkpoint holds if the run resumes from
    it.
    """
    if not state.iterations_done:
        return "No images had been finished yet, so nothing was lost."
    if checkpoint == 0:
        return "There is no checkpoint yet, so the run starts over."
    if checkpoint is not None and checkpoint < state.iterations_done:
        return (
            f"Everything up to iteration {number(checkpoint)} is saved; what came after it will be"
            " redone."
        )
    student = (
        f" and the student after {count(state.student_step, 'step')}" if state.student_step else ""
    )
    return f"All finished work is saved: {images(state.pool_images)}{student}."


def alert(state: State, phase: str, situation: Situation) -> dict[str, Any] | None:
    """What happened, the likely cause, what is saved, and what to press; None if all is well."""
    failure = _failure_alert(state, phase, situation)
    if failure and situation.error:
        return failure | {"text": f"{failure['text']} {situation.error}"}
    if failure:
        return failure
    if situation.waiting:
        return {"title": "The run is waiting.", "text": situation.waiting, "actions": []}
    if situation.error:
        return {
            "title": "The live view can’t read the run.",
            "text": f"{situation.error} The run itself continues, and the page keeps trying.",
            "actions": [],
        }
    return None


def _failure_alert(state: State, phase: str, situation: Situation) -> dict[str, Any] | None:
    """The alert for a run that did not end normally."""
    start = {"do": "start", "label": "Start again"}
    resume_point = (
        f"iteration {number(situation.checkpoint)}" if situation.checkpoint else "the start"
    )
    actions = (
        [{"do": "resume", "label": f"Resume from {resume_point}"}, start]
        if situation.checkpoint is not None
        else [start]
    )
    position, saved, failure = (
        position_text(state),
        saved_work(state, situation.checkpoint),
        state.failure,
    )
    if phase == "failed":
        if failure is None:
            return {"title": "The run could not start.", "text": situation.text, "actions": [start]}
        text = " ".join(p for p in (failure.cause, failure.remedy, saved) if p)
        return {"title": f"The run stopped{position}.", "text": text, "actions": actions}
    if phase == "died":
        return {
            "title": f"The engine ended unexpectedly{position}.",
            "text": f"{situation.text} {saved}".strip(),
            "actions": actions,
        }
    if phase == "interrupted" and state.phase == "stopped":
        return {
            "title": f"The last run was stopped{position}.",
            "text": "You can resume it from its last checkpoint. " + saved,
            "actions": actions,
        }
    if phase == "interrupted":
        text = "The app or the machine went down during the run. " + saved
        return {
            "title": f"The last run was interrupted{position}.",
            "text": text,
            "actions": actions,
        }
    return None
