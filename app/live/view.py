"""The snapshot that the page draws: the folded state, the process and the plan. Pure.

What events cannot know (is the engine alive? is there a layout for the points?) comes in as a
`Situation`. The result is the dictionary served at /kg/live.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.live import format, narration, scales
from app.live.state import ENDED, OPINION, Curve, State
from kgen import events
from kgen.events import STUDENT_PARTS, term_names
from kgen.phrases import count
from kgen.system.paths import last_part

ACTIVE = ("starting", "running", "paused", "stopping")
NOTICEABLE = 1.5
"""The page says that a run is slow once a generator step takes this many times as long as at the
start.
"""


@dataclass(frozen=True, slots=True)
class ImageProgress:
    """An activity of the engine with real images (see `kgen.engine.engine.Distillation`)."""

    activity: str
    done: int
    total: int


def image_progress(message: dict[str, Any] | None) -> ImageProgress | None:
    """The engine's last message about its progress; None once the activity is over."""
    if message is None or message["done"] >= message["total"]:
        return None
    return ImageProgress(str(message["activity"]), int(message["done"]), int(message["total"]))


@dataclass(frozen=True, slots=True)
class Situation:
    """What the app knows beyond the events: the process, the folder, the map of embeddings."""

    run: str | None = None
    id: str = ""
    """Distinguishes this run from an earlier one in a folder of the same name; may be empty."""
    attempt: int = 0
    stage: str = "live"
    """live, starting, stopping (asked for), refused (could not start), died or interrupted."""
    text: str = ""
    error: str = ""
    waiting: str = ""
    """Why a live engine is on hold (a full disk, for example), in its own words."""
    progress: ImageProgress | None = None
    """The engine's progress in reading or classifying real images; None if it is doing neither."""
    checkpoint: int | None = None
    """Iterations in the last checkpoint (0: none yet); None if there is nothing to resume, or no
    need to.
    """
    student_ready: bool = False
    layout: str = "none"
    updated: float = 0.0
    preview: dict[str, Any] | None = None
    controlled_externally: bool = False
    """Another process controls the run."""
    imported: bool = False
    """It was opened from a bundle."""


def phase_of(state: State, situation: Situation) -> str:
    """One word. What the run itself reported last outranks what the process did afterward."""
    if situation.stage == "refused":
        return "failed"
    if situation.stage == "starting" or situation.run is None:
        return "starting" if situation.run else "empty"
    if (
        situation.stage == "interrupted"
        and state.phase == "stopped"
        and situation.checkpoint is not None
    ):
        return "interrupted"  # it can be resumed
    if state.phase in ENDED:
        return state.phase
    if situation.stage in ("died", "interrupted", "stopping"):
        return situation.stage
    return state.phase if state.started else "starting"


def time_left(state: State) -> float | None:
    """Seconds, from the rates measured so far; None if a rate is still unknown."""
    if state.started is None or state.generator_cost is None:
        return None
    generator = (state.started.generator_steps - state.generator_step) * state.generator_cost
    steps = state.started.student_steps - state.student_step
    if steps > 0 and state.student_cost is None:
        return None
    student = steps * (state.student_cost or 0.0)
    remaining = generator + student if state.sequential else max(generator, student)
    return round(remaining) if remaining < 60 else 10.0 * round(remaining / 10)


def slowdown(state: State) -> float | None:
    """A generator step's time relative to the start of the run; None unless the slowdown is
    noticeable.
    """
    if state.generation_done or (state.slowdown or 0.0) < NOTICEABLE:
        return None
    return round(state.slowdown or 0.0, 1)


def progress(state: State, phase: str) -> dict[str, Any]:
    if state.started is None:
        return {"label": "", "share": 0.0, "left_s": None, "slowdown": None}
    counts = [
        (state.generator_step, state.started.generator_steps),
        (state.student_step, state.started.student_steps),
    ]
    fractions = [done / total for done, total in counts if total]
    share = 1.0 if phase == "finished" else min(1.0, sum(fractions) / max(1, len(fractions)))
    now = min(state.iterations, state.iterations_done + (phase not in ENDED))
    planned = format.number(state.iterations)
    label = f"Iteration {format.number(now)} of {planned}"
    if phase not in (*ACTIVE, "finished"):
        label = f"{format.number(state.iterations_done)} of {count(state.iterations, 'iteration')}"
    return {
        "label": label,
        "share": round(share, 4),
        "left_s": time_left(state) if phase == "running" else None,
        "slowdown": slowdown(state) if phase == "running" else None,
    }


def snapshot(state: State, situation: Situation, plan: dict[str, Any]) -> dict[str, Any]:
    """The dictionary of /kg/live, without boot and version. `plan`: what is known
    without any events (`app.live.plan`).
    """
    phase = phase_of(state, situation)
    facts = plan | (_run_facts(state.started) if state.started else {})
    budget = facts["budget"]
    used_images = state.pool_images
    return {
        "run": situation.run,
        "id": situation.id,
        "attempt": situation.attempt,
        "phase": phase,
        "sentence": narration.sentence(state, phase, situation),
        "alert": narration.alert(state, phase, situation),
        "warnings": [
            {"text": text, "remedy": remedy}
            for text, remedy in (
                *((narration.ELSEWHERE, ""),) * situation.controlled_externally,
                *state.warnings,
            )
        ],
        "progress": progress(state, phase),
        "can_skip": situation.progress is not None and phase in ("starting", "stopping"),
        "counters": {
            "generator_step": state.generator_step,
            "generator_steps": facts["planned"][0],
            "student_step": state.student_step,
            "student_steps": facts["planned"][1],
            "iterations_done": state.iterations_done,
            "iterations": facts["planned"][2],
        },
        **{k: v for k, v in facts.items() if k not in ("budget", "planned", "card_accuracy")},
        "making": (
            situation.preview
            if phase
            in (
                "starting",
                "running",
                "paused",
                "stopping",
                "failed",
                "died",
                "interrupted",
            )
            else None
        ),
        "curve": {
            **_columns(("images", "accuracy", "at"), state.accuracy, format.SHARE_DIGITS),
            "n": state.test_size,
            "teacher": _teacher_accuracy(state, facts),
            "last": state.last_accuracy,
            "kind": narration.test_kind(state),
            "final": state.final,
        },
        "opinion": _columns(("images", *OPINION, "at"), state.opinion),
        "loss": _columns(("images", *term_names(state.started), "at"), state.loss),
        "own_terms": [t.model_dump() for t in (state.started and state.started.own_terms) or ()],
        "student_loss": _columns(("images", *STUDENT_PARTS, "at"), state.student_loss),
        "tested_on": state.tested_on,
        "marks": state.marks,
        "best": state.best,
        "views": state.views,
        "budget": {
            "images": budget,
            "used_images": used_images,
            "used": round(state.budget_used, 4),
            "ratio": facts["recipe"]["ratio"],
        },
        "student_ready": situation.student_ready,
        "layout": situation.layout,
        "updated": round(situation.updated, 1),
    }


def _columns(names: tuple[str, ...], curve: Curve, digits: int = 4) -> dict[str, list[float]]:
    columns = list(zip(*curve.rows())) or [()] * len(names)
    return {name: [round(v, digits) for v in column] for name, column in zip(names, columns)}


def _teacher_accuracy(state: State, facts: dict[str, Any]) -> float | None:
    """The teacher's accuracy on the images that the student is tested on, if known."""
    if state.tested_on == "synthetic":
        return None
    return state.teacher_accuracy if state.started else facts["card_accuracy"]


def _run_facts(started: events.RunStarted) -> dict[str, Any]:
    recipe, resolutions = started.recipe, scales.of_run(started)
    rounds = recipe["iterations"] * len(recipe["resolutions"])
    if recipe.get("real_images"):
        recipe = recipe | {"real_images": last_part(recipe["real_images"])}
    return {
        "title": f"{recipe['name']}, seed {recipe['seed']}",
        "classes": started.classes,
        "teacher": {
            **started.teacher.model_dump(),
            "map": list(started.map_size),
            "macs": started.teacher_macs,
            "bytes": started.teacher_bytes,
        },
        "student": {
            "parameters": started.student_parameters,
            "macs": started.student_macs,
            "bytes": started.student_bytes,
            "name": recipe["student"],
        },
        "class_indices": started.class_indices,
        "recipe": recipe,
        "budget": started.budget_images,
        **scales.to_json(resolutions, recipe, started.map_kind, started.processes or 1),
        "judge": (
            started.judge
            and {
                "name": started.judge.name,
                "title": started.judge.title,
                "classes": started.judge.classes,
            }
        ),
        "machine": ", ".join(
            [started.device[:80], *([started.computing[:200]] if started.formats else [])]
        ),
        "radii": started.radii and list(started.radii),
        "planned": (started.generator_steps, started.student_steps, recipe["epochs"] * rounds),
    }
