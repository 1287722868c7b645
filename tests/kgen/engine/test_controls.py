"""Pause, step, resume and stop, as someone on another thread sees them."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from kgen.engine.controls import Controls, Gate
from kgen.engine.engine import Distillation
from kgen.engine.student_training import StudentTrainer
from kgen.engine.synthesis import Synthesis

SCHEDULES = ["sequential", "concurrent"]


class Watched:
    """A run on its own thread; `count` has the steps actually taken."""

    def __init__(self, recipe, monkeypatch):
        self.count: Counter[str] = Counter()

        def counted(kind, honest):
            def step(this):
                out = honest(this)
                self.count[kind] += 1
                return out

            return step

        monkeypatch.setattr(Synthesis, "step", counted("generator", Synthesis.step))
        monkeypatch.setattr(StudentTrainer, "step", counted("student", StudentTrainer.step))
        self.controls, self.events = Controls(), []
        self.run = Distillation(recipe, controls=self.controls)
        self.thread = threading.Thread(target=self._go)
        self.thread.start()

    def _go(self):
        for event in self.run:
            self.events.append(event)

    def until(self, true, seconds=30):
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, (
                f"not within {seconds} s; last events: {[e.kind for e in self.events[-5:]]}"
            )
            time.sleep(0.01)

    def saw(self, kind):
        self.until(lambda: any(e.kind == kind for e in self.events))

    def answer(self, id):
        self.until(lambda: any(e.kind == "control" and e.id == id for e in self.events))
        return next(e for e in self.events if e.kind == "control" and e.id == id)

    def ask(self, do, unit=None):
        return self.answer(self.controls.send(do, unit))

    def still(self):
        """Nothing happens: the same steps half a second later."""
        before = self.count.copy()
        time.sleep(0.4)
        assert self.count == before
        return before

    def end(self):
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.events[-1]


@pytest.fixture
def watch(quick, monkeypatch):
    running = []

    def start(**changes):
        running.append(
            Watched(
                quick.replace(
                    **(
                        {"epochs": 500, "warmup": 0.002, "generator_steps": 4, "ratio": 0.05}
                        | changes
                    )
                ),
                monkeypatch,
            )
        )
        return running[-1]

    yield start
    for w in running:
        w.controls.send("stop")
        w.thread.join(30)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_pause_step_resume_stop(watch, schedule):
    w = watch(schedule=schedule)
    w.saw("student_step")
    refused = w.ask("step", "generator")
    assert refused.text.startswith("Pause first") and refused.state == "running"

    paused = w.ask("pause")
    assert (paused.action, paused.state, paused.text) == ("pause", "paused", None)
    before = w.still()

    answer = w.ask("step", "generator")
    assert (answer.action, answer.state, answer.text) == ("step", "paused", None)
    after = w.still()
    assert after["generator"] == before["generator"] + 1
    if schedule == "concurrent":
        assert after["student"] == before["student"]

    iterations = w.run.state.iterations
    w.ask("step", "iteration")
    after = w.still()
    assert (
        w.run.state.iterations == iterations + 1
        and after["generator"] == 4 * w.run.state.iterations
    )
    w.ask("step", "iteration")
    again = w.still()
    assert w.run.state.iterations == iterations + 2 and again["generator"] == after["generator"] + 4

    answer = w.ask("step", "student")
    end = w.still()
    assert answer.text is None
    assert end["student"] == again["student"] + 1
    told = [e for e in w.events if e.kind == "student_step"][-1]
    assert told.step == end["student"] - 1  # reported at once, not with the next report
    if schedule == "concurrent":
        assert end["generator"] == again["generator"]

    assert w.ask("resume").state == "running"
    w.until(
        lambda: w.count["generator"] > end["generator"] + 4 and w.count["student"] > end["student"]
    )
    w.controls.send("stop", id="enough")
    finished = w.end()
    assert finished.kind == "run_finished" and finished.reason == "stopped" and finished.n == 100
    stop = w.answer("enough")
    assert (stop.action, stop.state) == ("stop", "stopping")


@pytest.mark.slow
def test_a_student_step_follows_algorithm_1_when_alone(watch):
    """Sequential, in warm-up: the schedule runs on to the first student step, and no further."""
    w = watch(epochs=100, warmup=0.03)
    w.saw("generator_step")
    w.ask("pause")
    w.ask("step", "student")
    assert w.still() == {
        "generator": 4 * 2 * 4,
        "student": 1,
    }  # three epochs of warm-up and one of images


@pytest.mark.slow
def test_a_student_step_in_warm_up_is_refused_when_concurrent(watch):
    w = watch(schedule="concurrent", warmup=0.5)
    w.saw("generator_step")
    w.ask("pause")
    before = w.still()
    assert "has to wait" in w.ask("step", "student").text
    assert w.still() == before


@pytest.mark.slow
def test_a_student_steps_when_all_images_are_made(watch):
    w = watch(schedule="concurrent", epochs=2, warmup=0.0, student_steps=20_000)
    w.until(lambda: w.run.state.iterations == w.run.recipe.total_iterations)
    w.ask("pause")
    before = w.still()
    assert w.ask("step", "student").text is None
    assert w.still()["student"] == before["student"] + 1
    for unit in ("generator", "iteration"):
        assert "all its images" in w.ask("step", unit).text


def test_the_last_evaluation_is_the_last_word(watch):
    """A stop while the student is tested: what its thread reports comes before the evaluation on
    all real images.
    """
    w = watch(schedule="concurrent", evaluate_every=1, student_steps=1000)
    w.until(lambda: sum(e.kind == "evaluated" for e in w.events) > 3)
    w.controls.send("stop")
    w.end()
    assert [e.final for e in w.events if e.kind == "evaluated"][-2:] == [False, True]
    assert [e.t for e in w.events if e.kind == "evaluated"] == sorted(
        e.t for e in w.events if e.kind == "evaluated"
    )


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_stop_works_from_a_standstill(watch, schedule):
    w = watch(schedule=schedule)
    w.saw("student_step")
    w.ask("pause")
    w.controls.send("stop")
    assert w.end().reason == "stopped"


def test_stop_comes_before_a_step_that_takes_long(watch):
    """Sequential, ten minutes of warm-up: a student step would only come after it."""
    w = watch(epochs=5000, warmup=0.9)
    w.saw("generator_step")
    w.ask("pause")
    step = w.controls.send("step", "student")
    time.sleep(0.2)
    stop = w.controls.send("stop")
    assert w.end().reason == "stopped"
    assert w.answer(stop).state == "stopping" and "stopped" in w.answer(step).text


@pytest.mark.slow
def test_a_step_that_will_never_come_is_refused(watch):
    w = watch(classes=("Bag",))
    w.saw("generator_step")
    w.ask("pause")
    before = w.still()
    assert w.ask("step", "student").text
    assert w.still() == before


def test_commands_come_in_order(watch):
    w = watch()
    ids = [
        w.controls.send("pause"),
        w.controls.send("step", "generator"),
        w.controls.send("step", "iteration"),
        w.controls.send("resume"),
    ]
    for id in ids:
        w.answer(id)
    assert [e.id for e in w.events if e.kind == "control"] == ids


@pytest.mark.parametrize(
    "order",
    [
        ("dance",),
        ("step", "leap"),
        ("pause", None, [1]),
        ("pause", None, {"a": 1}),
        ("pause", None, 1.5),
    ],
)
def test_invalid_commands_are_refused(order):
    controls = Controls()
    with pytest.raises(ValueError, match="unknown|neither"):
        controls.send(*order)
    assert controls.pop_command() is None


def test_gate_lets_only_the_wanted_thread_step():
    gate = Gate(controls := Controls(), single_thread=False)
    assert gate.try_enter("generator")
    controls.send("pause")
    assert gate.process_commands() == []  # not answered while a thread is inside a step
    assert not gate.try_enter("student")
    gate.leave("generator", "generator")
    assert [a["action"] for a in gate.process_commands()] == ["pause"]
    controls.send("step", "student")
    assert gate.process_commands() == []
    assert not gate.try_enter("generator") and gate.try_enter("student")
    gate.leave("student", "student")
    assert not gate.try_enter("student")
    assert [a["action"] for a in gate.process_commands()] == ["step"]


def test_a_stop_cannot_be_undone():
    controls = Controls()
    gate = Gate(controls, single_thread=True)
    controls.send("stop")
    controls.send("resume")
    controls.send("pause")
    answers = gate.process_commands()
    assert gate.state == "stopping"
    assert [a["action"] for a in answers] == ["stop", "resume", "pause"] and all(
        a["text"] for a in answers[1:]
    )
