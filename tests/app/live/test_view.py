"""The fold and the snapshot against numbers counted by hand and decoded pictures."""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from app.archive import sheets
from app.archive.projection import Layout
from app.lessons import glossary
from app.live import narration, plan, scales, view
from app.live.state import MAX_POINTS, Curve, State, fold
from app.live.view import Situation
from kgen import events
from kgen.recipe.fields import Target
from kgen.recipes import recipes
from kgen.terms import TERMS
from tests.support import standin

R = standin.recipe()
LIVE = Situation(run="tiny-1", attempt=1)


def folded(story) -> State:
    state = State()
    for e in story:
        state = fold(state, e)
    return state


def before(recipe=R):
    return plan.plan(recipe, standin.CARD, tuple(standin.CLASSES), recipes.command(recipe))


def shown(state: State, situation: Situation = LIVE):
    snapshot = view.snapshot(state, situation, before())
    json.dumps(snapshot, allow_nan=False)  # whatever the state, no NaN gets out
    return snapshot


def text(snapshot) -> str:
    return "".join(
        p.get("text", standin.CLASSES[p["class"]] if "class" in p else "")
        for p in snapshot["sentence"]
    )


def decode(uri: str) -> np.ndarray:
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    )


# --- curves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 299, 300, 301, 302, 1000, 4321])
def test_a_curve_is_bounded_and_keeps_its_first_and_newest_row(n):
    curve = Curve()
    for i in range(n):
        curve = curve.add(float(i), float(-i))
    rows = curve.rows()
    assert len(rows) <= MAX_POINTS and len(rows) >= min(n, MAX_POINTS // 2)
    assert rows[0] == (0.0, 0.0) and rows[-1] == (n - 1, 1 - n)
    steps = np.diff([x for x, _ in rows])
    assert (steps > 0).all()
    if n > 2:
        assert len(set(steps[:-1])) == 1, "evenly thinned, except for the newest"
        assert steps[-1] <= steps[0]
    assert all(y == -x for x, y in rows)


# --- the fold -------------------------------------------------------------------------------------


def test_counters_while_a_batch_is_being_made():
    story = standin.story(R, iterations=2)
    upto = next(
        i
        for i, e in enumerate(story)
        if e.kind == "generator_step" and e.iteration == 1 and e.step == 1
    )
    counters = shown(folded(story[: upto + 1]))["counters"]
    assert counters == {
        "generator_step": 5,
        "generator_steps": 9,
        "student_step": 0,
        "student_steps": 8,
        "iterations_done": 1,
        "iterations": 3,
    }


def test_what_student_and_teacher_cost_is_reported_and_may_be_unknown():
    first = standin.started(R)
    s = shown(folded([first]))
    assert s["student"] == {
        "name": R.student,
        "parameters": 19_706,
        "macs": 1_634_176,
        "bytes": 80_000,
    }
    assert (s["teacher"]["macs"], s["teacher"]["bytes"]) == (4_000_000, 28)
    earlier = shown(folded([first.model_copy(update={"student_macs": None, "teacher_macs": None})]))
    assert earlier["student"]["macs"] is earlier["teacher"]["macs"] is None


def test_what_is_bundled_is_known_before_a_run_and_the_rest_is_not():
    planned = plan.public_plan(R)
    assert planned["teacher"]["macs"] == 22_664_832 and planned["student"] == {
        "name": R.student,
        "parameters": 74_962,
        "macs": 3_655_488,
        "bytes": 302_008,
    }
    assert plan.public_plan(R.replace(student="resnet18"))["student"]["parameters"] is None
    larger = plan.costs(R.student, standin.CARD.model_copy(update={"side": 32}), 10)
    assert set(larger.values()) == {None}


def test_a_whole_run_folds_to_its_planned_end():
    s = shown(folded(standin.story(R)))
    assert s["phase"] == "finished" and s["alert"] is None and s["making"] is None
    assert s["counters"]["generator_step"] == s["counters"]["generator_steps"] == 9
    assert s["counters"]["student_step"] == s["counters"]["student_steps"] == 8
    assert s["progress"] == {
        "label": "Iteration 3 of 3",
        "share": 1.0,
        "left_s": None,
        "slowdown": None,
    }
    assert s["budget"] == {"images": 60, "used_images": 60, "used": 1.0, "ratio": 0.001}
    assert s["curve"]["accuracy"] == [0.51, 0.52, 0.824] and s["curve"]["images"] == [40, 60, 60]
    assert (s["curve"]["n"], s["curve"]["teacher"], s["curve"]["last"], s["curve"]["final"]) == (
        10_000,
        0.931,
        0.824,
        True,
    )


def test_progress_never_goes_back():
    state, shares = State(), []
    for e in standin.story(R):
        state = fold(state, e)
        shares.append(shown(state)["progress"]["share"])
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1


def test_weighted_loss_parts_add_up_to_the_loss_that_the_engine_reported():
    story = standin.story(R)
    loss = shown(folded(story))["loss"]
    told = [e.loss for e in story if e.kind == "generator_step"]
    summed = [sum(loss[k][i] for k in events.PARTS) for i in range(len(told))]
    assert summed == pytest.approx(told, abs=2e-3)
    assert max(loss["adv"]) < 0


def test_the_second_opinion_has_a_point_for_each_finished_batch():
    events_ = standin.story(R)
    snap = shown(folded(events_))
    batches = [e for e in events_ if e.kind == "batch_synthesised"]
    assert snap["judge"] == {"name": "fashion-vit", "title": "Another network", "classes": 12}
    assert snap["opinion"]["images"] == [e.pool_images for e in batches] and snap["opinion"][
        "at"
    ] == [R.generator_steps * (i + 1) for i in range(len(batches))]
    for name in ("top1", "top5", "chosen"):
        assert snap["opinion"][name] == [round(getattr(e.judged, name), 4) for e in batches]
    odd = [
        (
            e.model_copy(update={"judged": e.judged.model_copy(update={"top1": float("nan")})})
            if e is batches[0]
            else e
        )
        for e in events_
    ]
    assert len(shown(folded(odd))["opinion"]["images"]) == len(batches) - 1
    none = [
        (
            e.model_copy(update={"judged": None})
            if e in batches
            else e.model_copy(update={"judge": None})
            if e.kind == "run_started"
            else e
        )
        for e in events_
    ]
    assert shown(folded(none))["judge"] is None and shown(folded(none))["opinion"]["images"] == []


def test_the_students_loss_has_its_own_curve():
    r = standin.recipe(**{"weights.ed": 10.0})
    s = shown(folded(standin.story(r)))["student_loss"]
    assert s == {"images": [40, 60], "kl": [1.5, 1.5], "ed": [0.2, 0.2], "at": [6, 9]}
    assert shown(folded(standin.story(R)))["student_loss"]["ed"] == [0.0, 0.0]


def test_a_students_part_that_is_not_a_number_is_reported():
    odd = events.StudentStep(t=9, step=9, loss=1.0, parts={"kl": 1.0, "ed": math.nan}, lr=0.1)
    s = shown(fold(folded(standin.story(R)), odd))
    assert (
        re.search(r"student.* loss .* step 10\b", s["warnings"][-1]["text"])
        and len(s["student_loss"]["kl"]) == 2
    )


def test_the_loss_lies_on_the_axis_of_images():
    loss = shown(folded(standin.story(R)))["loss"]
    third = 20 / 3
    assert loss["images"] == pytest.approx([third * (k + 1) for k in range(9)], abs=0.01)


def batch_done(t: float, i: int) -> events.BatchSynthesized:
    return events.BatchSynthesized(
        t=t, iteration=i, file="f", entered=1, pool_images=i, pool_pixels=i, budget_used=0.1
    )


def test_time_left_follows_the_rates_and_pauses_do_not_count():
    r = standin.recipe(epochs=30, generator_steps=10, student_steps=20, warmup=0.0)
    clock, pause, out = 0.0, 100.0, [standin.started(r)]
    for i in range(10):  # 0.2 s per generator step, 0.05 s per student step
        out.append(events.IterationStarted(t=clock, epoch=i, iteration=i, labels=[0]))
        for step in range(10):
            clock += 0.2
            if (i, step) == (9, 7):
                out.append(events.Control(t=clock, id=1, action="pause", state="paused"))
                clock += pause
                out.append(events.Control(t=clock, id=2, action="resume", state="running"))
            out.append(
                events.GeneratorStep(
                    t=clock,
                    epoch=i,
                    iteration=i,
                    step=step,
                    parts={"ce": 1.0, "adv": 0.0, "bn": 1.0, "kr": 1.0},
                    loss=1,
                    agreement=1,
                )
            )
        out.append(batch_done(clock, i))
        for done in (10, 20):
            clock += 0.5
            out.append(
                events.StudentStep(t=clock, step=20 * i + done - 1, loss=1, parts={"kl": 1}, lr=1)
            )
    assert view.time_left(folded(out)) == pytest.approx(20 * (10 * 0.2 + 20 * 0.05), abs=5)
    early = folded(out[:3])
    assert view.time_left(early) is None, (
        "no student step has been timed yet: say nothing rather than guess"
    )
    assert shown(folded(out))["progress"]["left_s"] == 60


@pytest.mark.parametrize(
    ("seconds", "slowdown"),
    [
        ([0.9, 0.2, 0.2, 0.2], None),  # the warm-up is not the start
        ([0.2, 0.2, 0.2, 0.25], None),
        ([0.1, 0.2, 0.2, 0.8], 3.8),  # of 0.18 and 0.68, which are smoothed
        ([0.1, 0.8], None),  # nothing to compare with yet
    ],
)
def test_a_machine_that_has_become_slower_is_noticed(seconds, slowdown):
    r = standin.recipe(epochs=10, iterations=1, generator_steps=10, student_steps=20, warmup=0.1)
    clock, out = 0.0, [standin.started(r)]
    for i, each in enumerate(seconds):
        out.append(events.IterationStarted(t=clock, epoch=i, iteration=i, labels=[0]))
        for step in range(10):
            clock += each
            parts = {"ce": 1.0, "adv": 0.0, "bn": 1.0, "kr": 1.0}
            at = {"epoch": i, "iteration": i, "step": step}
            out.append(events.GeneratorStep(t=clock, **at, parts=parts, loss=1, agreement=1))
        out.append(batch_done(clock, i))
    assert shown(folded(out))["progress"]["slowdown"] == slowdown


def test_an_earlier_pause_is_over_when_a_run_is_taken_up_again():
    paused = folded([*standin.story(R, 1), events.Control(id=1, action="pause", state="paused")])
    assert shown(paused)["phase"] == "paused"
    assert (
        shown(fold(paused, events.Control(id=0, action="resume", state="running")))["phase"]
        == "running"
    )


# --- several resolutions --------------------------------------------------------------------------

TWO = standin.recipe(resolutions=(20, 28))


def test_counters_count_a_batch_at_each_resolution():
    s = shown(folded(standin.story(TWO)))
    assert s["counters"]["iterations_done"] == s["counters"]["iterations"] == 6
    assert s["counters"]["generator_step"] == s["counters"]["generator_steps"] == 18
    assert s["progress"] == {
        "label": "Iteration 6 of 6",
        "share": 1.0,
        "left_s": None,
        "slowdown": None,
    }
    assert [(x["side"], x["batch"], x["h"], x["w"], x["budget"]) for x in s["scales"]] == [
        (20, 10, 5, 5, 30),
        (28, 5, 7, 7, 15),
    ]
    assert s["budget"]["images"] == 45 and s["budget"]["used_images"] == 45


def test_the_loss_of_two_resolutions_goes_one_way_along_the_axis():
    loss = shown(folded(standin.story(TWO)))["loss"]
    third = [10 * k / 3 for k in (1, 2, 3)], [5 * k / 3 for k in (1, 2, 3)]
    expected = [
        15 * e + (10 if side else 0) + x for e in range(3) for side in (0, 1) for x in third[side]
    ]
    assert loss["images"] == pytest.approx(expected, abs=0.02)


def test_the_sentence_names_the_resolution_where_there_are_several():
    story = standin.story(TWO)
    steps = [i for i, e in enumerate(story) if e.kind == "generator_step" and e.step == 0]
    said = [text(shown(folded(story[: i + 1]))) for i in steps[:2]]
    assert "20-pixel images of T-shirt" in said[0] and "28-pixel images of Trouser" in said[1]
    assert "Warm-up" in said[1] and "Warm-up" not in text(shown(folded(story[: steps[2] + 1])))


def test_a_run_of_an_earlier_version_is_read_as_one_resolution():
    old = standin.started(R).model_copy(update={"scales": []})
    s = shown(folded([old]))
    assert [(x["side"], x["batch"], x["h"], x["budget"]) for x in s["scales"]] == [(28, 20, 7, 60)]


def test_two_resolutions_are_planned_as_the_engine_shares_them():
    planned = view.snapshot(
        State(), Situation(), before(recipes.get("fashion-live").replace(resolutions=(20, 28)))
    )
    pixels = int(0.03 * 60_000) * 784 // 2
    assert [x["budget"] for x in planned["scales"]] == [pixels // 400, pixels // 784]
    assert planned["budget"]["images"] == pixels // 400 + pixels // 784
    assert [(x["batch"], x["h"]) for x in planned["scales"]] == [(50, 5), (26, 7)]


@pytest.mark.parametrize("sides", [(24, 26), (13, 15)])
def test_resolutions_that_the_engine_will_refuse_do_not_break_the_page(sides):
    assert (
        len(
            view.snapshot(
                State(), Situation(), before(recipes.get("tiny").replace(resolutions=sides))
            )["scales"]
        )
        == 1
    )


@pytest.mark.parametrize("kind", ["cam", "linearised", "attention", "none"])
def test_the_kind_of_map_is_reported(kind):
    assert shown(folded([standin.started(R, kind=kind)]))["map"]["kind"] == kind


# --- values that are not numbers ------------------------------------------------------------------


def test_a_loss_part_that_is_not_a_number_becomes_a_warning_and_no_point():
    story = standin.story(R, 1)
    whole = folded(story)
    odd = events.GeneratorStep(
        t=9.0,
        iteration=1,
        step=4,
        parts={"ce": math.nan, "adv": 0.0, "bn": 1.0, "kr": math.inf},
        loss=math.nan,
        agreement=0,
    )
    s = shown(fold(whole, odd))
    said = " ".join(w["text"] for w in s["warnings"])
    assert re.search(r"“cross-entropy” .*step 5 .*iteration 2\b", said) and "“key region”" in said
    assert len(s["loss"]["ce"]) == len(shown(whole)["loss"]["ce"])


def test_an_accuracy_that_is_not_a_number_is_reported():
    s = shown(fold(folded(standin.story(R, 2)), standin.evaluated(9, 2, 60, math.nan, 2_000)))
    assert re.search("student.* accuracy ", s["warnings"][-1]["text"])
    assert s["curve"]["last"] == 0.51


def test_warnings_are_bounded_and_not_repeated():
    state = folded(standin.story(R, 1))
    for i in range(50):
        state = fold(state, events.Warned(text=f"number {i % 7}"))
    assert [w["text"] for w in shown(state)["warnings"]] == [
        f"number {i % 7}" for i in range(45, 50)
    ]


# --- words ----------------------------------------------------------------------------------------


def test_before_any_run_the_page_knows_what_is_planned():
    s = view.snapshot(State(), Situation(), before(recipes.get("fashion-live")))
    assert s["phase"] == "empty" and s["run"] is None and s["alert"] is None
    assert text(s) == narration.READY
    assert (
        s["classes"] == standin.CLASSES
        and s["budget"]["images"] == 1_800
        and s["curve"]["teacher"] == 0.931
    )
    assert s["command"] == "python -m kgen run fashion-live" and s["teacher"]["map"] == [7, 7]
    assert s["map"] == {"kind": "cam", "label": "G(1, 2)"} and s["scales"][0]["target"][3][3] == 1.0


def test_plan_and_first_event_tell_the_same():
    planned, begun = (
        view.snapshot(State(), Situation(run="a", stage="starting"), before()),
        shown(folded([standin.started(R)])),
    )
    assert planned.keys() == begun.keys()
    for key in ("title", "classes", "class_indices", "recipe", "budget", "counters"):
        assert planned[key] == begun[key], key
    assert planned["teacher"].keys() == begun["teacher"].keys() and planned["map"] == begun["map"]
    assert planned["scales"][0].keys() == begun["scales"][0].keys()


@pytest.mark.parametrize(
    "spec",
    [Target(), Target(peak=3, sigma=0.7), Target(kind="full", peak=2), Target(sigma_fraction=0.25)],
)
def test_target_is_the_engines(spec):
    from kgen.keyregion import make_target

    for h, w in ((7, 7), (4, 4), (5, 7)):
        assert np.allclose(scales.target(spec, h, w), make_target(spec, h, w).numpy(), atol=1e-4)


def test_the_sentence_of_every_moment():
    story = standin.story(R)
    kinds = [e.kind for e in story]
    said = [text(shown(folded(story[: i + 1]))) for i in range(len(story))]
    first = said[kinds.index("generator_step")]
    assert first.startswith("Warm-up") and "Generator step 1 of 3" in first
    assert "T-shirt and 9 more classes" in first
    second = [i for i, k in enumerate(kinds) if k == "generator_step"][4]
    assert said[second].startswith("Generator step 2 of 3")
    assert "Trouser and 9 more classes" in said[second]
    assert re.search(r"student is waiting\b.*\b20 images", said[second])
    learning = said[kinds.index("student_step")]
    assert learning.startswith("Student step 4 of 8") and "40 images" in learning
    assert said[-3].startswith("Evaluating") and "real images" in said[-3]
    assert said[-1].startswith("Done") and "82.4% of 10,000 real images" in said[-1]
    assert "teacher reaches 93.1%" in said[-1]


def test_in_the_concurrent_schedule_the_student_learns_meanwhile():
    story = standin.story(standin.recipe(schedule="concurrent"), 2)
    upto = next(
        i
        for i, e in enumerate(story)
        if e.kind == "generator_step" and e.iteration == 1 and e.step == 1
    )
    assert re.search(r"student is learning\b.*\b20 images", text(shown(folded(story[: upto + 1]))))


def test_a_paused_run_says_where():
    story = standin.story(R, 1)
    s = shown(folded([*story[:4], events.Control(id=1, action="pause", state="paused")]))
    assert s["phase"] == "paused"
    assert re.match(r"Paused\. Warm-up: .*Generator step 2 of 3\b", text(s))
    assert s["progress"]["left_s"] is None


def test_a_failed_run_says_what_why_what_is_safe_and_what_to_press():
    failed = events.RunFailed(
        cause="The loss part “adversarial” was not a number.",
        term="adv",
        step=1,
        remedy="The rate is probably too high.",
    )
    s = shown(folded([*standin.story(R, 2), failed]), Situation(run="r", attempt=1, checkpoint=2))
    assert s["phase"] == "failed"
    assert "iteration 2 of 3" in s["alert"]["title"]
    assert s["alert"]["text"].startswith(f"{failed.cause} {failed.remedy} ")
    rest = s["alert"]["text"].removeprefix(f"{failed.cause} {failed.remedy} ")
    assert re.search(r"\b40 images and the student after 4 steps\b", rest)
    assert s["alert"]["actions"] == [
        {"do": "resume", "label": "Resume from iteration 2"},
        {"do": "start", "label": "Start again"},
    ]


@pytest.mark.parametrize(
    "checkpoint, says, label",
    [
        (
            2,
            "40 images and the student after 4 steps",
            "Resume from iteration 2",
        ),
        (
            1,
            "up to iteration 1 ",
            "Resume from iteration 1",
        ),
        (0, "no checkpoint", "Resume from the start"),
        (
            None,
            "40 images and the student after 4 steps",
            "Start again",
        ),
    ],
)
def test_a_lost_run_promises_no_more_than_its_checkpoint_holds(checkpoint, says, label):
    alert = shown(
        folded(standin.story(R, 2)),
        Situation(run="r", stage="died", text="It ended.", checkpoint=checkpoint),
    )["alert"]
    assert alert["text"].startswith("It ended. ") and says in alert["text"]
    assert alert["actions"][0]["label"] == label


@pytest.mark.parametrize(
    "events_after, stage, phase",
    [
        ([], "live", "running"),
        ([], "starting", "starting"),
        ([], "died", "died"),
        ([], "interrupted", "interrupted"),
        ([], "stopping", "stopping"),
        ([], "refused", "failed"),
        ([events.RunFinished(reason="done")], "died", "finished"),
        ([events.RunFinished(reason="stopped")], "live", "stopped"),
        ([events.RunFinished(reason="stopped")], "interrupted", "interrupted"),
        ([events.RunFailed(cause="c")], "died", "failed"),
    ],
)
def test_phases(events_after, stage, phase):
    s = shown(
        folded([*standin.story(R, 1), *events_after]),
        Situation(run="r", stage=stage, text="why", checkpoint=0),
    )
    assert s["phase"] == phase and text(s)
    needs_alert = phase in ("died", "failed", "interrupted")
    assert bool(s["alert"]) == needs_alert
    if needs_alert:
        assert s["alert"]["actions"][-1]["do"] == "start"


def test_a_stopped_run_that_came_without_its_checkpoint_is_not_an_alarm():
    s = shown(
        folded([*standin.story(R, 1), events.RunFinished(reason="stopped")]),
        Situation(run="r", stage="interrupted", checkpoint=None, imported=True),
    )
    assert (
        s["phase"] == "stopped"
        and s["alert"] is None
        and text(s).startswith("Stopped at iteration 1 of")
    )


def test_a_fault_of_the_view_and_a_full_disk_are_reported():
    state = folded(standin.story(R, 1))
    assert (
        "disk is full"
        in shown(state, Situation(run="r", waiting="The disk is full."))["alert"]["text"]
    )
    told = shown(state, Situation(run="r", error="It broke."))["alert"]["text"]
    assert "It broke." in told and len(told) > len("It broke. ")


@pytest.mark.parametrize("place", ["/home/somebody/", "C:\\Users\\somebody\\"])
def test_nobody_learns_where_real_images_are_wherever_the_run_was_made(place):
    path = f"{place}photos"
    first = standin.started(standin.recipe())
    first = first.model_copy(update={"recipe": first.recipe | {"real_images": path}})
    told = [
        first,
        events.Warned(text=f"{path}/1.png is damaged.", remedy=""),  # as older runs say it
        events.Control(id=0, action="stop", state="stopping"),  # its text is None
        events.RunFailed(cause=f"{path} is gone.", remedy=""),
    ]
    recipe = standin.recipe().model_copy(update={"real_images": path})
    known = plan.public_plan(recipe)
    s = view.snapshot(folded(told), Situation(run="r"), known)
    assert "somebody" not in json.dumps([s, known]) and s["recipe"]["real_images"] == "photos"
    assert s["warnings"][0]["text"] == "photos/1.png is damaged."
    assert "photos is gone." in s["alert"]["text"]
    assert "real_images=FOLDER" in s["command"], "the name alone would be another folder"


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({}, (10_000, 0.931)),
        ({"real_images": "photos"}, (0, None)),
        ({"classes": [0, 1, 2]}, (0, None)),
        ({"evaluate_on": "validation"}, (0, None)),
    ],
)
def test_before_the_first_test_on_other_images_the_teachers_accuracy_is_unknown(fields, known):
    """Its card's accuracy was measured on the whole test set."""
    recipe = standin.recipe(**fields)
    curve = shown(folded(itertools.islice(standin.story(recipe), 1)))["curve"]
    assert (curve["n"], curve["teacher"]) == known
    before = view.snapshot(State(), Situation(run="r"), plan.public_plan(recipe))["curve"]
    assert (before["teacher"] is None) == (known[1] is None)


def test_a_validation_run_does_not_speak_of_the_test_images():
    s = shown(folded(standin.story(standin.recipe(evaluate_on="validation"))))
    assert "10,000 held-out real images" in text(s) and s["curve"]["kind"] == "held-out real images"


def test_the_page_reads_the_table_of_terms():
    """What the page loads against the table: names, titles, order, and a tip for each."""
    script = glossary.script().decode()
    listed = json.loads(re.search(r"LOSS_TERMS = (.*);", script)[1])
    assert [(t["name"], t["title"], t["loss"]) for t in listed] == [
        (t.name, t.title, t.loss) for t in TERMS
    ]
    assert all(t["tip"] and t["color"].startswith("light-dark(") for t in listed)


def test_an_own_term_is_a_column_of_the_loss_with_its_weight():
    own = {"name": "edges", "weight": 0.5, "title": "edges", "tip": "Few edges."}
    told = []
    for event in standin.story(standin.recipe()):
        if isinstance(event, events.RunStarted):
            event = event.model_copy(update={"own_terms": [events.CustomTerm(**own)]})
        elif isinstance(event, events.GeneratorStep):
            event = event.model_copy(update={"parts": event.parts | {"edges": 3.0}})
        told.append(event)
    s = shown(folded(told))
    assert s["own_terms"] == [own | {"symbol": "", "color": ""}]
    assert set(s["loss"]["edges"]) == {1.5} and len(s["loss"]["edges"]) == len(s["loss"]["kr"])


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_groups_sheet_and_maps_decode_to_the_very_pixels(channels):
    batch = standin.batch(3, size=73, channels=channels, side=20)
    group = sheets.group(batch, 3, 10, before=10, after=30)
    pixels = decode(group["sheet"])
    e, columns = 20, group["columns"]
    assert pixels.shape == ((10 * e, columns * e) if channels == 1 else (10 * e, columns * e, 3))
    assert columns == 5 and len(group["tiles"]) == 50
    cam = np.frombuffer(base64.b64decode(group["cam"]), "<i2").reshape(50, 5, 5)
    assert group["map"] == [5, 5]
    seen = [0] * 10
    for i, tile in enumerate(group["tiles"]):
        c, column = tile["c"], seen[tile["c"]]
        seen[c] += 1
        assert batch["labels"][tile["pos"]] == c
        cut = pixels[c * e : (c + 1) * e, column * e : (column + 1) * e]
        assert (cut.reshape(e, e, -1).transpose(2, 0, 1) == batch["images"][tile["pos"]]).all()
        assert np.abs(cam[i] / 100 - batch["cam"][tile["pos"]].astype(float)).max() <= 0.0051
        assert tile["p"] == pytest.approx(float(batch["confidence"][tile["pos"]]), abs=1e-4)
    assert [t["c"] for t in group["tiles"]] == sorted(t["c"] for t in group["tiles"])
    assert len(group["frames"]) == 2


def test_a_batch_without_maps_is_drawn():
    batch = {k: v for k, v in standin.batch(1, size=30).items() if k != "cam"}
    group, sample = (
        sheets.group(batch, 1, 10, before=0, after=0),
        sheets.sample(batch, 1, 3, layout=None, reference=None),
    )
    assert (group["map"], group["cam"], sample["map"], sample["cam"]) == (
        [0, 0],
        "",
        [0, 0],
        [],
    ) and len(group["tiles"]) == 30


def test_frames_show_the_same_tiles_in_the_same_places():
    batch = standin.batch(1, size=40)
    batch["previews"][1] = batch["images"][
        batch["preview_positions"]
    ]  # the last frame is what was kept
    group = sheets.group(batch, 1, 10, before=0, after=0)
    assert [f["step"] for f in group["frames"]] == [0, 1]
    assert (decode(group["frames"][1]["sheet"]) == decode(group["sheet"])).all()
    assert not (decode(group["frames"][0]["sheet"]) == decode(group["sheet"])).all()


def test_a_batch_without_history_or_with_few_images_is_drawn():
    batch = {k: v for k, v in standin.batch(1, size=3).items() if not k.startswith("preview")}
    group = sheets.group(batch, 1, 10, before=0, after=3)
    assert "frames" not in group and len(group["tiles"]) == 3 and group["columns"] == 1


def test_large_images_show_fewer_of_each_class():
    batch = standin.batch(1, size=100, side=96, channels=3)
    assert (
        sheets.group(batch, 1, 10, before=0, after=0, max_bytes=600_000, include_frames=False)[
            "columns"
        ]
        == 2
    )


def test_map_values_beyond_the_range_are_clipped_and_odd_ones_reported():
    batch = standin.batch(1)
    batch["cam"][0] = 1000
    batch["cam"][1, 0, 0] = np.nan
    group = sheets.group(batch, 1, 10, before=0, after=0)
    assert np.frombuffer(base64.b64decode(group["cam"]), "<i2").max() == 32767
    assert "class activation maps" in group["warning"]
    assert re.findall(r"\d+", group["warning"]) == ["0", "1"]


def test_a_sample_holds_what_the_batch_holds():
    batch, reference = standin.batch(2), standin.reference()
    layout = Layout(
        reference["embedding"].astype(np.float32),
        np.random.default_rng(0).random((40, 2)).astype(np.float32),
        reference["labels"],
    )
    s = sheets.sample(batch, 2, 7, layout=layout, reference=reference)
    assert (decode(s["image"]) == batch["images"][7, 0]).all()
    assert np.allclose(s["cam"], batch["cam"][7], atol=1e-4)
    assert tuple(s["parts"]) == events.PARTS
    assert (
        list(s["parts"].values()) == pytest.approx(batch["parts"][7].tolist(), abs=1e-4)
        and s["entered"] is True
    )
    assert [c for c, _ in s["teacher_top"]] == batch["teacher_top"][7].tolist()
    assert [p for _, p in s["student_top"]] == pytest.approx(
        batch["student_top_p"][7].tolist(), abs=1e-4
    )
    distance = np.sqrt(
        ((reference["embedding"].astype(float) - batch["embedding"][7].astype(float)) ** 2).sum(1)
    )
    order = np.argsort(distance)[:3]
    assert [n["i"] for n in s["nearest"]] == order.tolist()
    assert [n["d"] for n in s["nearest"]] == pytest.approx(distance[order].tolist(), abs=1e-3)
    for pos in (-1, 20):
        with pytest.raises(IndexError):
            sheets.sample(batch, 2, pos, layout=None, reference=None)


def test_reference_examples_in_the_order_of_the_file():
    arrays = standin.reference(43)
    out = sheets.reference(arrays, None)
    pixels = decode(out["sheet"])
    assert (
        pixels.shape == (3 * 28, 20 * 28)
        and out["n"] == 43
        and out["c"] == arrays["labels"].tolist()
    )
    for i in (0, 19, 20, 42):
        r, c = divmod(i, 20)
        assert (pixels[r * 28 : r * 28 + 28, c * 28 : c * 28 + 28] == arrays["images"][i, 0]).all()


@pytest.mark.parametrize("stage, more", [("starting", "checking"), ("live", "teacher")])
def test_work_on_real_images_is_reported_with_its_progress(stage, more):
    progress = view.image_progress({"activity": more, "done": 1200, "total": 3925})
    story = standin.story(R)[:-2] if stage == "live" else []
    s = shown(folded(story), Situation(run="tiny-1", attempt=1, stage=stage, progress=progress))
    assert "1,200 of 3,925" in text(s)
    assert view.image_progress({"activity": more, "done": 3925, "total": 3925}) is None


def test_a_second_stop_can_skip_the_last_test():
    progress = view.image_progress({"activity": "student", "done": 32, "total": 3925})
    story = standin.story(R)[:-2]
    stopping = Situation(run="tiny-1", attempt=1, stage="stopping", progress=progress)
    s = shown(folded(story), stopping)
    assert s["phase"] == "stopping" and s["can_skip"] and "32 of 3,925" in text(s)
    assert not shown(folded(story), Situation(run="tiny-1", attempt=1, stage="stopping"))[
        "can_skip"
    ]
