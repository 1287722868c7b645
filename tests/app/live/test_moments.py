"""What was known at a moment, compared with the slow way: folding only the events that came before
the next generator step.
"""

from __future__ import annotations

import json
import re

import pytest

from app.live.moments import Moments
from app.live.state import State, fold
from kgen import events
from tests.support import standin

R = standin.recipe(epochs=6, student_steps=4)
STORY = standin.story(R)


def walked(story: list[events.Event]) -> Moments:
    moments = Moments()
    for e in story:
        moments.add(e)
    return moments


def before_next_step(story: list[events.Event], iteration: int, step: int) -> State:
    """The state that a viewer saw after this step, or, for a step past the last one, after the
    batch and everything that followed it.
    """
    state, last = State(), step >= R.generator_steps - 1
    for e in story:
        if e.kind == "generator_step" and (
            e.iteration > iteration or (e.iteration == iteration and e.step > step)
        ):
            break
        if (
            last
            and step < R.generator_steps
            and e.kind == "generator_step"
            and (e.iteration, e.step) == (iteration, step)
        ):
            break  # at the last step, the same was known as before it
        state = fold(state, e)
    return state


@pytest.mark.parametrize("iteration", range(6))
def test_a_moment_knows_what_had_been_reported_by_then_and_nothing_later(iteration):
    found = walked(STORY).of_iteration(iteration, range(R.generator_steps + 1))["steps"]
    for step, known in enumerate(found):
        state = before_next_step(STORY, iteration, step)
        assert known["step"] == step
        assert (known["student_step"], known["used_images"], known["accuracy"]) == (
            state.student_step,
            state.pool_images,
            state.last_accuracy,
        ), step
        assert known["used"] == pytest.approx(state.budget_used, abs=1e-4)
    assert [k["at"] for k in found] == sorted(k["at"] for k in found)


def test_a_moment_says_in_words_what_it_shows():
    steps = walked(STORY).of_iteration(3, range(R.generator_steps + 1))["steps"]
    first = "".join(p.get("text", standin.CLASSES[p.get("class", 0)]) for p in steps[0]["sentence"])
    assert re.search(r"iteration 4 of 6\b.* step 1 of 3\b.* Dress\b.* 4 of 16 .* 52\.0%", first)
    (last,) = steps[-1]["sentence"]
    assert re.search(
        r"iteration 4 of 6, done\b.* 10 images .* 40\b.* 8 of 16 .* 53\.0%", last["text"]
    )


def test_a_moment_is_final_once_a_later_step_was_reported():
    until_step = [i for i, e in enumerate(STORY) if e.kind == "generator_step" and e.iteration == 3]
    assert not walked(STORY[: until_step[0]]).of_iteration(2, [3])["final"]
    early, late = (
        walked(STORY[: until_step[0] + 1]).of_iteration(2, range(4)),
        walked(STORY).of_iteration(2, range(4)),
    )
    assert early["final"] and json.dumps(early["steps"]) == json.dumps(late["steps"]), (
        "what is final never changes"
    )
    assert walked(STORY).of_iteration(5, [3])["final"], "the run has ended"
    for iteration in (3, 99, -1):
        with pytest.raises(IndexError):
            walked(STORY[: until_step[1] + 1]).of_iteration(iteration, [3])


def test_marks_are_where_things_happened():
    r = R.replace(generator_life=2, warmup=0.34)
    story = standin.story(r)
    state = State()
    for e in [*story[:-1], events.Warned(t=9, text="odd", remedy="none")]:
        state = fold(state, e)
    g = r.generator_steps
    assert [(at, kind) for at, kind, _ in state.marks if kind in ("warmup", "reborn")] == [
        (2 * g, "warmup"),
        (2 * g, "reborn"),
        (4 * g, "reborn"),
    ]
    assert [(at, kind) for at, kind, _ in state.marks if kind in ("half", "full", "warning")] == [
        (3 * g, "half"),
        (6 * g, "full"),
        (6 * g, "warning"),
    ]
    assert state.best == (6 * g, 0.824)


def test_controls_and_failures_are_marks_and_marks_stay_few():
    state = State()
    for e in STORY[:6]:
        state = fold(state, e)
    at = state.generator_step
    for i in range(200):
        state = fold(state, events.Control(id=i, action="pause", state="paused"))
        state = fold(state, events.Control(id=i, action="resume", state="running"))
    state = fold(state, events.RunFailed(cause="bn was not a number"))
    assert (
        len(state.marks) == 60
        and state.marks[-1][:2] == (at, "failed")
        and state.marks[-1][2].endswith(": bn was not a number")
        and state.marks[-2][:2] == (at, "resumed")
    )
