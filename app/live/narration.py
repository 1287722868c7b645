"""The page's sentences about a run: the status line, alerts, and how a process ended.

Pure functions of the folded state. Nothing here is markup; the page escapes what it shows.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.live.format import FEW, images, number, percent

if TYPE_CHECKING:
    from app.live.view import Situation, State

Pieces = list[dict[str, Any]]
READY = (
    "Ready. Press Start. The generator begins with noise, and the first images appear after about"
    " 3 seconds."
)
ELSEWHERE = "Another process controls this run. You can only watch it here."
_ENDS = {
    "SIGKILL": "it was killed from outside, most likely because the machine ran out of memory",
    "SIGSEGV": "it crashed inside a library",
    "SIGBUS": "it crashed inside a library, or the disk is full",
    "SIGABRT": "a library aborted it",
    "SIGTERM": "it was terminated from outside",
    "SIGINT": "it was interrupted from the keyboard",
    "SIGHUP": "its terminal was closed",
}
_WINDOWS_ENDS = {
    0xC0000005: "it crashed inside a library",
    0xC0000017: "the machine ran out of memory",
    0xC000013A: "it was interrupted from the keyboard",
}


def exit_words(code: int) -> str:
    """How a process ended, from its exit code (POSIX: negative signal; Windows: NTSTATUS)."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"{name}: {_ENDS.get(name, 'it was ended by a signal')}"
    if code & 0xFFFFFFFF in _WINDOWS_ENDS:
        return f"exit code {code & 0xFFFFFFFF:#x}: {_WINDOWS_ENDS[code & 0xFFFFFFFF]}"
    return f"exit code {code}"


def sentence(state: State, phase: str, situation: Situation) -> Pieces:
    """What is happening now; `{"class": position}` stands for a class's name and color."""
    if phase == "empty":
        return [_text(READY)]
    if phase == "starting":
        begun = (
            "Resuming the run"
            if state.started
            else "Starting the run: loading the teacher and the generator"
        )
        return [_text(begun + ". The first images appear in a moment.")]
    if phase == "finished":
        return [
            _text(
                "Recorded: " + _reached(state) if situation.brought else "Done: " + _reached(state)
            )
        ]
    if phase == "stopped":
        return [
            _text(
                "Stopped"
                + where(state)
                + ". "
                + (_score(state, "The student") or kept(state, None))
            )
        ]
    if phase == "failed":
        return [_text("The run failed" + where(state) + ".")]
    if phase == "died":
        return [_text("The engine ended unexpectedly" + where(state) + ".")]
    if phase == "interrupted":
        return [
            _text(
                ("Stopped" if state.phase == "stopped" else "Interrupted")
                + where(state)
                + ". Press Resume to continue from there."
            )
        ]
    doing = _doing(state)
    if phase == "stopping":
        return [
            _text(
                "Stopping" + where(state) + f": testing the student one last time on {kind(state)}."
            )
        ]
    if phase == "paused":
        first, *rest = doing
        return [_text("Paused. " + first["text"]), *rest, *_beside(state)]
    return doing


def _beside(state: State) -> Pieces:
    """How far the student is, if the sentence is about the generator although it has started."""
    learning = state.student_step > 0 and not (state.sequential and state.activity == "student")
    if state.started is None or state.all_made or not learning:
        return []
    return [
        _text(
            f" The student has taken {number(state.student_step)} of"
            f" {number(state.started.student_steps)} steps."
        )
    ]


def _text(text: str) -> dict[str, str]:
    return {"text": text}


def _doing(state: State) -> Pieces:
    started = state.started
    if started is None:
        return [_text("Starting the run.")]
    steps, sequential = started.recipe["generator_steps"], state.sequential
    warmup = state.iterations_done < state.warmup_iterations
    learning = state.student_step > 0 or not warmup
    if state.all_made and state.student_step >= started.student_steps:
        test = f"Evaluating the student on {kind(state)}, which it never trains on."
        return [_text(test if state.student_step else "All images are done.")]
    if state.all_made or (state.activity == "student" and sequential):
        lead = "All images are done. " if state.all_made else ""
        return [
            _text(
                f"{lead}Student step {number(state.student_step)} of"
                f" {number(started.student_steps)}: learning to match the teacher on"
                f" {images(state.pool_images)}."
            )
        ]
    if state.iteration is None:
        return [_text("Starting: the generator begins with noise.")]
    lead = "Warm-up: only the pool grows. " if warmup and started.student_steps else ""
    sizes = state.scales
    size = f"{sizes[state.iteration % len(sizes)].side}-pixel " if len(sizes) > 1 else ""
    step = (
        f"{lead}Generator step {number(max(1, state.step + 1))} of {number(steps)}: shaping"
        f" {size}images of "
    )
    after = _others(started.classes) + " until the teacher recognizes them."
    if learning and started.student_steps and state.pool_images:
        after += (
            f" The student is waiting; the pool holds {images(state.pool_images)}."
            if sequential
            else f" The student is learning from {images(state.pool_images)}."
        )
    return [_text(step), {"class": state.iteration % len(started.classes)}, _text(after)]


def replayed(state: State, entered: int | None) -> Pieces:
    """What was happening at an earlier moment.

    `entered`: how many images went into the pool, once the batch was done.
    """
    started = state.started
    if started is None or state.iteration is None:
        return []
    at, steps = f"Replay{where(state).replace(' at', ':', 1)}", state.recipe["generator_steps"]
    stood = (
        f" Student: {number(state.student_step)} of {number(started.student_steps)} steps"
        if state.student_step
        else ""
    )
    if stood:
        stood += (
            f", {percent(state.last_accuracy)} correct."
            if state.last_accuracy is not None and state.tested_on != "synthetic"
            else "."
        )
    if entered is not None:
        return [
            _text(
                f"{at}, done. {images(entered)} entered the pool, which now holds"
                f" {number(state.pool_images)}.{stood}"
            )
        ]
    return [
        _text(f"{at}, generator step {number(state.step + 1)} of {number(steps)}: images of "),
        {"class": state.iteration % len(started.classes)},
        _text(f"{_others(started.classes)}.{stood}"),
    ]


def _others(classes: Sequence[str]) -> str:
    """What follows the name of the first class; all classes are generated at once."""
    n = len(classes) - 1
    return f" and {number(n)} more {'class' if n == 1 else 'classes'}" if n else ""


def where(state: State) -> str:
    """ " at iteration 26 of 50", or nothing before the first."""
    if state.started is None or state.iteration is None:
        return ""
    return f" at iteration {number(state.iteration + 1)} of {number(state.iterations)}"


def _reached(state: State) -> str:
    return (
        _score(state, "the student")
        or f"{images(state.pool_images)} were generated; no student was trained."
    )


def kind(state: State) -> str:
    """What the student is tested on."""
    return {
        "test": "real images",
        "validation": "held-out real images",
        "synthetic": "held-out synthetic images",
    }[state.tested_on]


def _score(state: State, who: str) -> str:
    """ "the student classifies 82.4% of 10,000 real images correctly, …"; empty before any test."""
    finish, started = state.finish, state.started
    share, n = state.last_accuracy, state.n
    if finish is not None:
        last = finish.agreement if state.tested_on == "synthetic" else finish.accuracy
        share, n = (share, n) if last is None else (last, finish.n)
    if share is None or not math.isfinite(share) or started is None:
        return ""
    among = f" of these {len(started.classes)} classes" if state.chosen_some else ""
    if state.tested_on == "synthetic":
        much = f"{round(share * n)}" if n < FEW else percent(share)
        return (
            f"{who} agrees with the teacher on {much} of {number(n)} {kind(state)}. There is no"
            " real test set, so its true accuracy is unknown."
        )
    text = (
        f"{who} classifies {percent(share)} of {number(n)} {kind(state)}{among} correctly, and was"
        " never trained on one."
    )
    if state.teacher_accuracy is not None:
        text += f" The teacher reaches {percent(state.teacher_accuracy)}."
    return text


def kept(state: State, checkpoint: int | None) -> str:
    """What is saved, in words: no more than the last checkpoint holds if the run resumes from
    it.
    """
    if not state.iterations_done:
        return "No image was finished yet, so nothing is lost."
    if checkpoint == 0:
        return "There is no checkpoint yet, so the run starts over."
    if checkpoint is not None and checkpoint < state.iterations_done:
        return (
            f"Everything up to iteration {number(checkpoint)} is saved; what came after it will be"
            " redone."
        )
    student = (
        f" and the student after {number(state.student_step)} steps" if state.student_step else ""
    )
    return f"No finished work is lost: {images(state.pool_images)}{student} are saved."


def alert(state: State, phase: str, situation: Situation) -> dict[str, Any] | None:
    """What happened, the likely cause, what is saved, and what to press; None if all is well."""
    found = _ending(state, phase, situation)
    if found and situation.fault:
        return found | {"text": f"{found['text']} {situation.fault}"}
    if found:
        return found
    if situation.waiting:
        return {"title": "The run is waiting.", "text": situation.waiting, "actions": []}
    if situation.fault:
        return {
            "title": "The live view can’t read the run.",
            "text": f"{situation.fault} The run itself continues, and the page keeps trying.",
            "actions": [],
        }
    return None


def _ending(state: State, phase: str, situation: Situation) -> dict[str, Any] | None:
    """The alert for a run that did not end normally."""
    start = {"do": "start", "label": "Start again"}
    point = f"iteration {number(situation.checkpoint)}" if situation.checkpoint else "the start"
    actions = (
        [{"do": "resume", "label": f"Resume from {point}"}, start]
        if situation.checkpoint is not None
        else [start]
    )
    at, safe, failure = where(state), kept(state, situation.checkpoint), state.failure
    if phase == "failed":
        if failure is None:
            return {"title": "The run could not start.", "text": situation.text, "actions": [start]}
        text = " ".join(p for p in (failure.cause, failure.remedy, safe) if p)
        return {"title": f"The run stopped{at}.", "text": text, "actions": actions}
    if phase == "died":
        return {
            "title": f"The engine ended unexpectedly{at}.",
            "text": f"{situation.text} {safe}".strip(),
            "actions": actions,
        }
    if phase == "interrupted" and state.phase == "stopped":
        return {
            "title": f"The last run was stopped{at}.",
            "text": "You can resume it from its last checkpoint. " + safe,
            "actions": actions,
        }
    if phase == "interrupted":
        text = "The app or the machine went down during the run. " + safe
        return {"title": f"The last run was interrupted{at}.", "text": text, "actions": actions}
    return None
