"""A hand-made run and a stand-in for the engine, which writes the same folder and the same lines
within milliseconds and without torch.

As a script, it is a child that follows the protocol of `python -m kgen run - --control`; the
recipe's name determines what goes wrong (refuse, crash, deaf, talkative, full, damaged). As a
module, it gives tests events and arrays that they can predict.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from pathlib import Path

import numpy as np

from kgen import events
from kgen.journal.journal import Journal
from kgen.recipe.recipe import Recipe, parse
from kgen.recipes import recipes

CLASSES = [
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
CARD = events.TeacherCard(
    name="hand-made",
    title="Hand-made",
    architecture="none",
    parameters=7,
    channels=1,
    side=28,
    features=6,
    n_train=60_000,
    accuracy=0.931,
    n_test=10_000,
)
WIDTH = 6
JUDGE = events.JudgeCard(
    name="fashion-vit", title="Another network", classes=12, indices=list(range(2, 12))
)
"""It knows two more classes, which come first."""


def recipe(**changes) -> Recipe:
    """Three epochs of one batch of 20, three generator steps each; a pool of 60."""
    return recipes.get("tiny").replace(**changes)


def scale(side: int, size: int, budget: int) -> events.Scale:
    cells = side // 4
    return events.Scale(
        side=side,
        batch=size,
        map_size=(cells, cells),
        target=[[0.5] * cells] * cells,
        budget_images=budget,
    )


def started(r: Recipe, budget: int = 60, kind: str = "cam") -> events.RunStarted:
    """A run that fills its budget; several resolutions share it equally by pixels."""
    sides = r.resolutions
    scales = [
        scale(side, size, budget * sides[0] ** 2 // (len(sides) * side**2))
        for side, size in zip(sides, r.batch_sizes(sides))
    ]
    return events.RunStarted(
        name=r.name,
        recipe=r.model_dump(mode="json"),
        teacher=CARD,
        student_parameters=19_706,
        student_macs=1_634_176,
        teacher_macs=4_000_000,
        student_bytes=80_000,
        teacher_bytes=28,
        classes=CLASSES,
        class_indices=list(range(10)),
        budget_images=sum(s.budget_images for s in scales),
        budget_pixels=budget * sides[0] ** 2,
        map_size=scales[0].map_size,
        target=scales[0].target,
        scales=scales,
        map_kind=kind,
        radii=(0.015, 0.03) if r.diverse else None,
        generator_steps=r.total_generator_steps,
        student_steps=r.total_student_steps,
        schedule=r.schedule,
        device="cpu (1 thread on 1 core)",
        judge=JUDGE,
        loss_terms=events.PARTS,
        arrays=reference(),
    )


def reference(n: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    labels = np.arange(n) % 10
    embedding = (labels[:, None] == np.arange(WIDTH)) * 4 + rng.normal(size=(n, WIDTH))
    return {
        "images": rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8),
        "labels": labels.astype(np.int64),
        "embedding": embedding.astype(np.float16),
    }


def batch(
    iteration: int, size: int = 20, side: int = 28, channels: int = 1, frames: int = 2
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(iteration)
    labels = rng.permutation(np.arange(size) % 10)
    top = np.argsort(rng.random((size, 10)))[:, :5].astype(np.int32)
    shown = np.concatenate([np.flatnonzero(labels == c)[:5] for c in range(10)])
    shown.sort()
    share = np.sort(rng.dirichlet(np.ones(5), size))[:, ::-1].astype(np.float16)
    judged = np.random.default_rng(1000 + iteration)
    answers = judged.dirichlet(np.ones(JUDGE.classes), size)
    wanted = answers[np.arange(size), 2 + labels]
    likeliest = np.argsort(-answers, 1)[:, :5]
    return {
        "judge_top": likeliest.astype(np.int32),
        "judge_top_p": np.take_along_axis(answers, likeliest, 1).astype(np.float16),
        "judge_confidence": wanted.astype(np.float16),
        "judge_rank": (answers > wanted[:, None]).sum(1).astype(np.int32),
        "judge_chosen": answers[:, 2:].argmax(1).astype(np.int32),
        "images": rng.integers(0, 256, (size, channels, side, side), dtype=np.uint8),
        "labels": labels.astype(np.int64),
        "entered": (np.arange(size) % 2).astype(np.uint8),
        "cam": rng.normal(scale=3, size=(size, side // 4, side // 4)).astype(np.float16),
        "parts": rng.normal(size=(size, len(events.PARTS))).astype(np.float32),
        "embedding": rng.normal(size=(size, WIDTH)).astype(np.float16),
        "confidence": rng.random(size).astype(np.float16),
        "teacher_top": top,
        "teacher_top_p": share,
        "student_top": top[:, ::-1].copy(),
        "student_top_p": share,
        "previews": rng.integers(
            0, 256, (frames, len(shown), channels, side, side), dtype=np.uint8
        ),
        "preview_steps": np.arange(frames, dtype=np.int32),
        "preview_positions": shown.astype(np.int32),
        "preview_confidence": rng.random((frames, len(shown))).astype(np.float16),
        "kept_step": np.array([frames - 1], np.int32),
    }


def opinion(arrays: dict[str, np.ndarray]) -> events.Opinion:
    rank = arrays["judge_rank"]
    return events.Opinion(
        top1=float((rank == 0).mean()),
        top5=float((rank < 5).mean()),
        chosen=float((arrays["judge_chosen"] == arrays["labels"]).mean()),
    )


def preview(iteration: int, step: int, size: int = 20, side: int = 28) -> dict[str, np.ndarray]:
    kept = {
        k: v
        for k, v in batch(iteration, size, side).items()
        if k in ("images", "labels", "cam", "embedding", "confidence")
    }
    return kept | {
        k: np.array([v])
        for k, v in (("epoch", iteration), ("iteration", iteration), ("step", step))
    }


def story(r: Recipe, iterations: int | None = None, dt: float = 0.1) -> list[events.Event]:
    """The events of a sequential run with one iteration per resolution and epoch, `dt` seconds
    apart; cut after some iterations, or whole.
    """
    first = started(r)
    t, pool, filled, out, weights, scales = 0.0, 0, 0, [first], r.weights.model_dump(), first.scales
    for i in range(r.total_iterations if iterations is None else iterations):
        e, here = i // len(scales), scales[i % len(scales)]
        place = {"epoch": e, "iteration": i, "resolution": here.side}
        out.append(
            events.IterationStarted(t=t, **place, labels=[c % 10 for c in range(here.batch)])
        )
        for step in range(r.generator_steps):
            t += dt
            parts = dict.fromkeys(events.PARTS, 0.0) | {
                "ce": 1.0 / (step + 1),
                "adv": -0.25,
                "bn": 0.5,
                "kr": 2.0,
                "aed": 0.01,
                "tv": 0.1,
                "l2": 0.2,
            }
            loss = sum(weights[k] * v for k, v in parts.items())
            out.append(
                events.GeneratorStep(
                    t=t,
                    **place,
                    step=step,
                    parts=parts,
                    loss=loss,
                    agreement=0.5,
                    preview=lambda i=i, step=step, here=here: preview(
                        i, step, here.batch, here.side
                    ),
                )
            )
        entered = min(
            here.batch,
            here.budget_images * (e + 1) // r.epochs - here.budget_images * e // r.epochs,
        )
        pool, filled = pool + entered, filled + entered * here.side**2
        used, made = filled / first.budget_pixels, batch(i, here.batch, here.side)
        out.append(
            events.BatchSynthesized(
                t=t,
                **place,
                step=r.generator_steps - 1,
                file=f"batches/{i:06d}.safetensors",
                entered=entered,
                pool_images=pool,
                pool_pixels=filled,
                budget_used=used,
                arrays=made,
                judged=opinion(made),
            )
        )
        if e >= r.warmup_epochs and i % len(scales) == len(scales) - 1:
            done = (e + 1 - r.warmup_epochs) * r.student_steps
            t += dt * r.student_steps
            parts = {"kl": 1.5} | ({"ed": 0.02} if r.weights.ed else {})
            loss = parts["kl"] + r.weights.ed * parts.get("ed", 0.0)
            out.append(
                events.StudentStep(
                    t=t, epoch=e, iteration=i, step=done - 1, loss=loss, parts=parts, lr=0.1
                )
            )
            out.append(evaluated(t, i, pool, 0.5 + i / 100, 2_000))
    if iterations is None:
        out += [
            evaluated(t, r.total_iterations - 1, pool, 0.824, 10_000, final=True),
            events.RunFinished(t=t, reason="done", accuracy=0.824, n=10_000),
        ]
    return out


def evaluated(
    t: float, iteration: int, pool: int, accuracy: float, n: int, final: bool = False
) -> events.Evaluated:
    return events.Evaluated(
        t=t,
        iteration=iteration,
        student=events.Score(accuracy=accuracy, n=n),
        teacher=events.Score(accuracy=0.931, n=n),
        pool_images=pool,
        budget_used=pool / 60,
        final=final,
    )


def seen(e: events.Evaluated, iterations: int, size: int = 20) -> events.Evaluated:
    """The same test with a student's view of all images so far, which rotates a little from test to
    test.
    """
    rng, n = np.random.default_rng(iterations), iterations * size
    labels = np.concatenate([batch(i, size)["labels"] for i in range(iterations)]).astype(np.int32)
    embedding = (labels[:, None] == np.arange(WIDTH)) * 4 + rng.normal(size=(n, WIDTH))
    arrays = {
        "iteration": np.repeat(np.arange(iterations), size).astype(np.int32),
        "pos": np.tile(np.arange(size), iterations).astype(np.int32),
        "labels": labels,
        "embedding": embedding.astype(np.float16),
        "reference": reference()["embedding"],
    }
    return e.model_copy(
        update={
            "file": f"students/{iterations:04d}{int(e.final):03d}.safetensors",
            "arrays": arrays,
        }
    )


def write_run(path: Path, iterations: int | None = None, views: bool = False, **changes) -> Path:
    """A run folder with that story, as the engine would leave it; `views`: with what the student
    saw at each test.
    """
    r = recipe(**changes)
    journal = Journal.create(path, r, device="cpu", teacher_sha256="of no teacher")
    for e in story(r, iterations):
        if e.kind == "run_finished":
            journal.write_student(b"not really weights")
        journal.write(seen(e, e.iteration + 1) if views and e.kind == "evaluated" else e)
    journal.close()
    return path


# --- the child ------------------------------------------------------------------------------------


def tell(kind: str, **more) -> None:
    print(json.dumps({"kind": kind, **more}), flush=True)


def main() -> int:
    if "never-ready" in sys.argv:
        print("ImportError: no module named torch", file=sys.stderr)
        return 1
    tell("ready")
    line = sys.stdin.readline()
    if not line.strip():
        return 0
    order = json.loads(line)
    if "resume" in order:
        path = Path(order["resume"])
        kept = [
            line
            for line in (path / "events.jsonl").read_bytes().splitlines(True)
            if b'"kind":"run_f' not in line
        ]
        r = parse((path / "recipe.json").read_bytes())
        first = len(list((path / "batches").glob("*.safetensors")))
        journal = Journal.reopen(path, sum(map(len, kept)), first)
    else:
        r, first = parse(order["recipe"]), 0
        if r.name == "refuse":
            text = "Recipe field 'ratio' is 0.00001: no image fits. Raise it."
            tell("error", text=text, code="conflict")
            return 2
        journal = Journal.create(order["folder"], r, device="cpu", teacher_sha256="of no teacher")
    tell("started", folder=str(journal.path))
    if "resume" in order:
        journal.write(events.Control(id=0, action="resume", state="running"))
    return play(journal, r, first)


def play(journal: Journal, r: Recipe, first: int) -> int:
    """Write the story, one event every hundredth of a second, obeying controls in between."""
    controls: queue.Queue = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            controls.put(json.loads(line))
        controls.put({"id": 0, "do": "stop"})

    threading.Thread(target=listen, daemon=True).start()
    paused = False
    for e in story(r):
        if first and (e.iteration is None or e.iteration < first) and e.kind != "run_finished":
            continue
        if e.kind == "iteration_started" and r.name == "crash" and e.iteration == 2 and not first:
            print("RuntimeError: the machine is on fire", file=sys.stderr, flush=True)
            os._exit(3)
        if e.kind == "iteration_started" and e.iteration == 1 and r.name == "full":
            tell("waiting", text="The disk is full, so the run waits.")
            time.sleep(2)
        if e.kind == "iteration_started" and e.iteration == 2 and r.name == "full":
            time.sleep(2)  # at work, with nothing to say
        if e.kind == "iteration_started" and e.iteration == 2 and r.name == "damaged":
            with (journal.path / "events.jsonl").open("ab") as file:
                file.write(b"nonsense\n")
            time.sleep(1.5)
            os._exit(3)
        if e.kind == "iteration_started" and e.iteration == 1 and r.name == "talkative":
            print("not JSON\n" * 20_000, flush=True)
            print("a warning of some library\n" * 50_000, file=sys.stderr, flush=True)
        while (paused or not controls.empty()) and r.name != "deaf":
            order = controls.get()
            paused = {"pause": True, "resume": False, "stop": False}.get(order["do"], paused)
            stopping = order["do"] == "stop"
            state = "stopping" if stopping else "paused" if paused else "running"
            journal.write(events.Control(t=e.t, id=order["id"], action=order["do"], state=state))
            if stopping:
                journal.write_student(b"not really weights")
                journal.write(events.RunFinished(t=e.t, reason="stopped", accuracy=0.5, n=10_000))
                return 0
        if e.kind == "run_finished":
            journal.write_student(b"not really weights")
        journal.write(e)
        time.sleep(0.01)
    return 0


if __name__ == "__main__":
    sys.exit(main())
