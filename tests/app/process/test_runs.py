"""The current run and its process: with a stand-in for the engine that is quick and fails on
demand, and once with the real one.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from app.live import narration
from app.process import exhibits, follow
from app.process.child import Child
from app.process.runs import CLOSE_TIMEOUT, RunError, Runs
from kgen.data import catalogue
from kgen.journal.journal import Journal
from kgen.journal.reading import open_run
from kgen.recipes import recipes
from kgen.system import shell
from kgen.system.files import FolderLock
from kgen.system.paths import ROOT
from kgen.zoo import zoo
from tests.support import standin
from tests.support.errors import raises

STANDIN = (sys.executable, "-m", "tests.support.standin")
LONG = {"epochs": 200, "ratio": 0.05}


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Runs with the stand-in; closed at the end, whatever happens. No layout is fitted."""
    monkeypatch.setattr(exhibits.Exhibits, "_refresh_layout", lambda self, run, state: False)
    made: list[Runs] = []

    def build(folder: Path = tmp_path / "runs", command=STANDIN) -> Runs:
        made.append(Runs(folder, command))
        return made[-1]

    yield build
    for runs in made:
        runs.close()


def now(runs: Runs) -> dict:
    return json.loads(gzip.decompress(runs.live.body))


def for_viewers(runs: Runs) -> dict:
    return json.loads(gzip.decompress(runs.live.for_viewers.body))


def until(runs: Runs, what, seconds: float = 20.0) -> dict:
    """The first snapshot for which `what` holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        snapshot = now(runs)
        if what(snapshot):
            return snapshot
        time.sleep(0.02)
    raise AssertionError(
        f"it did not happen; phase {snapshot['phase']}, alert {snapshot['alert']},"
        f" {snapshot['counters']}"
    )


def phase(name: str):
    return lambda s: s["phase"] == name


@pytest.mark.slow
def test_from_start_to_end_and_start_again(make):
    runs = make()
    assert (
        now(runs)["phase"] == "empty"
        and runs.name is None
        and runs.recipe is None
        and not runs.active
    )
    runs.warm()
    name = runs.start(standin.recipe(seed=3))
    assert re.fullmatch(r"tiny-\d{8}-\d{6}", name) and runs.name == name and runs.recipe.seed == 3
    done = until(runs, phase("finished"))
    assert (
        done["run"] == name
        and done["student_ready"]
        and done["curve"]["last"] == 0.824
        and done["title"] == "tiny, seed 3"
    )
    assert done["counters"]["generator_step"] == 9
    end = time.monotonic() + 10
    while runs.active or runs._spare is None:
        assert time.monotonic() < end, "a new spare is warmed up once the run has ended"
        time.sleep(0.02)
    second = runs.start(standin.recipe())
    assert second != name
    until(runs, lambda s: s["run"] == second and s["phase"] == "finished")


def test_no_spare_is_warmed_while_a_run_is_going(make):
    runs = make()
    runs.start(standin.recipe(**LONG))
    runs.warm()
    assert runs.active and runs._spare is None


def test_a_second_start_is_refused_in_words(make):
    runs = make()
    name = runs.start(standin.recipe(**LONG))
    for attempt in (lambda: runs.start(standin.recipe()), lambda: runs.resume(name)):
        with raises(RunError, "busy", f"({name})", run=name):
            attempt()
    until(runs, phase("running"))  # on a slow machine, the folder appears only now
    assert len([p for p in runs.folder.iterdir() if p.is_dir()]) == 1


def test_a_users_own_python_file_runs_on_the_command_line_only(make, monkeypatch, tmp_path):
    """Start says so and names the command; no child would run it, whatever it is asked to do."""
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))
    card = zoo.card("fashion-cnn").model_copy(update={"architecture": "net.py:build"})
    spec = zoo.spec("fashion-cnn") | {"card": card.model_dump()}
    catalogue.teacher_file("mine").parent.mkdir(parents=True)
    zoo.save_network(torch.nn.Linear(1, 1), catalogue.teacher_file("mine"), spec)
    runs = make()
    recipe = standin.recipe().replace(teacher="mine")
    with raises(RunError, "command-line-only", "net.py:build", recipes.command(recipe)):
        runs.start(recipe)
    code = (
        "import json, os; print(json.dumps({'kind': 'ready', 'own': os.environ['KGEN_OWN_CODE']}))"
    )
    child = Child(None, (sys.executable, "-c", code))
    message = child.wait_for("ready", timeout=20)
    child.close(2)
    assert message and message["own"] == "0"


def test_no_child_of_the_app_may_run_a_users_python_file():
    starting = [p for p in (ROOT / "app").rglob("*.py") if "Popen(" in p.read_text("utf-8")]
    assert {path.stem for path in starting} >= {"exports", "projection"}
    assert all("env=child_environment()" in path.read_text("utf-8") for path in starting)


def test_images_of_another_machine_are_asked_for_on_the_command_line(make):
    runs = make()
    Journal.create(runs.folder / "opened", standin.recipe(real_images="photos")).close()
    command = f"python -m kgen resume {shell.quote(str(runs.folder / 'opened'))} --real FOLDER"
    with raises(RunError, "other-machine", command, run="opened", command=command):
        runs.resume("opened")
    assert not runs.active


@pytest.mark.slow
def test_the_batch_being_made_is_shown(make):
    runs = make()
    runs.start(standin.recipe(**LONG))
    s = until(runs, lambda s: s["making"])
    assert (
        s["making"]["steps"] == 3
        and 0 <= s["making"]["step"] < 3
        and len(s["making"]["tiles"]) == 20
    )
    assert len(runs.live.body) < 60_000


@pytest.mark.slow
def test_pause_resume_stop(make):
    runs = make()
    runs.start(standin.recipe(**LONG))
    until(runs, lambda s: s["counters"]["iterations_done"] >= 2)
    runs.control("pause")
    paused = until(runs, phase("paused"))
    time.sleep(0.4)
    assert now(runs)["counters"] == paused["counters"] and runs.active
    runs.control("resume")
    until(
        runs,
        lambda s: (
            s["phase"] == "running"
            and s["counters"]["generator_step"] > paused["counters"]["generator_step"]
        ),
    )
    runs.control("stop")
    s = until(runs, phase("stopped"))
    assert s["alert"] is None and s["student_ready"] and not runs.active


def test_controls_are_refused_in_words(make):
    runs = make()
    with raises(RunError, "no-run"):
        runs.control("pause")
    for do, unit in (("explode", None), ("step", "universe"), ("", None), (None, None)):
        with raises(RunError, "unknown-command"):
            runs.control(do, unit)


@pytest.mark.slow
def test_an_engine_that_does_not_stop_is_ended(make, monkeypatch):
    monkeypatch.setattr(follow, "STOP_SECONDS", 1.0)
    runs = make()
    runs.start(standin.recipe(name="deaf", **LONG))
    until(runs, lambda s: s["counters"]["iterations_done"] >= 1)
    runs.control("stop")
    assert until(runs, phase("stopping"), 2)
    s = until(runs, phase("died"), 10)
    assert "did not respond to Stop" in s["alert"]["text"]


@pytest.mark.slow
def test_a_crash_is_reported_with_exit_code_cause_what_is_safe_and_a_way_on(make):
    runs = make()
    name = runs.start(standin.recipe(name="crash"))
    s = until(runs, phase("died"))
    assert s["alert"]["title"].endswith(" at iteration 2 of 3.")
    assert re.search(
        r"exit code 3\b.*: RuntimeError: the machine is on fire .*no checkpoint", s["alert"]["text"]
    )
    public = for_viewers(runs)["alert"]["text"]
    assert "exit code 3." in public and "on fire" not in public
    assert s["alert"]["actions"] == [
        {"do": "resume", "label": "Resume from the start"},
        {"do": "start", "label": "Start again"},
    ]
    assert not runs.active
    assert runs.resume(name) == name
    done = until(runs, phase("finished"))
    assert (
        done["attempt"] == 2 and done["counters"]["iterations_done"] == 3 and done["alert"] is None
    )
    assert (runs.folder / "engine.log").read_text().count("on fire") == 1


@pytest.mark.slow
def test_a_run_that_waits_for_the_disk_says_so_and_goes_on(make):
    runs = make()
    runs.start(standin.recipe(name="full"))
    s = until(runs, lambda s: s["alert"])
    assert s["phase"] == "running" and s["alert"]["actions"] == []
    assert "waiting" in s["alert"]["title"] and "disk is full" in s["alert"]["text"]
    until(runs, lambda s: s["alert"] is None and s["counters"]["iterations_done"] == 2)
    alerts = set()
    while runs.active:  # it is silent for two seconds, which does not count as waiting
        alerts.add(str(now(runs)["alert"]))
        time.sleep(0.05)
    assert alerts == {"None"} and until(runs, phase("finished"))["alert"] is None


@pytest.mark.slow
def test_the_end_of_an_engine_is_noticed_although_its_journal_is_damaged(make):
    runs = make()
    runs.start(standin.recipe(name="damaged"))
    hurt = until(runs, lambda s: s["alert"])
    assert hurt["phase"] == "running" and "damaged at byte" in hurt["alert"]["text"]
    died = until(runs, phase("died"), 5.0)
    assert (
        not runs.active
        and "exit code 3" in died["alert"]["text"]
        and "damaged at byte" in died["alert"]["text"]
    )
    assert died["alert"]["actions"]


@pytest.mark.slow
def test_stop_ends_a_deaf_engine_although_nothing_can_be_drawn(make, monkeypatch):
    monkeypatch.setattr(follow, "STOP_SECONDS", 1.0)
    runs = make()
    runs.start(standin.recipe(name="deaf", **LONG))
    until(runs, lambda s: s["counters"]["iterations_done"] >= 1)
    monkeypatch.setattr(follow.Follower, "_refresh_exhibits", lambda self: 1 / 0)
    runs.control("stop")
    s = until(runs, phase("died"), 10)
    assert (
        "did not respond to Stop" in s["alert"]["text"]
        and "ZeroDivisionError" in s["alert"]["text"]
    )


def test_a_run_that_another_process_drives_is_watched_and_not_touched(make, tmp_path):
    lock = FolderLock(standin.write_run(tmp_path / "runs" / "tiny-elsewhere", iterations=2))
    runs = make()
    s = now(runs)
    assert (
        s["phase"] == "running"
        and s["alert"] is None
        and s["warnings"][0]["text"] == narration.ELSEWHERE
        and runs.active
    )
    for act in (
        lambda: runs.control("stop"),
        lambda: runs.start(standin.recipe()),
        lambda: runs.resume("tiny-elsewhere"),
    ):
        with raises(RunError, "busy", narration.ELSEWHERE):
            act()
    lock.release()
    s = until(runs, phase("interrupted"), 3.0)
    assert s["alert"]["actions"][0]["do"] == "resume" and not s["warnings"] and not runs.active


@pytest.mark.slow
def test_a_talkative_engine_never_blocks(make):
    runs = make()
    runs.start(standin.recipe(name="talkative"))
    until(runs, phase("finished"))
    log, end = runs.folder / "engine.log", time.monotonic() + 10
    while log.stat().st_size > 1_000_000:
        assert time.monotonic() < end, "the next child overwrites a long log"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a signal")
def test_a_killed_engine_is_reported_within_two_seconds_and_resumes(make):
    runs = make()
    name = runs.start(standin.recipe(**LONG))
    until(runs, lambda s: s["counters"]["iterations_done"] >= 3)
    runs.control("pause")
    until(runs, phase("paused"))
    os.kill(runs._child.pid, signal.SIGKILL)
    s = until(runs, phase("died"), 2.0)
    assert "SIGKILL" in s["alert"]["text"] and "memory" in s["alert"]["text"]
    before = s["counters"]["iterations_done"]
    runs.resume(name)
    s = until(runs, lambda s: s["phase"] == "running" and s["counters"]["iterations_done"] > before)
    assert s["attempt"] == 2, "a pause in the first attempt does not pause the second"


@pytest.mark.slow
def test_a_late_refusal_is_reported_on_the_page(make, monkeypatch):
    monkeypatch.setattr("app.process.runs.START_TIMEOUT", 0.0)
    runs = make()
    runs.start(standin.recipe(name="refuse"))
    alert = until(runs, phase("failed"))["alert"]
    assert alert["title"] and alert["text"].startswith("Recipe field 'ratio' is 0.00001: ")
    assert alert["actions"] == [{"do": "start", "label": "Start again"}]
    public = for_viewers(runs)["alert"]  # the reason may name folders on this machine
    assert public == alert | {"text": narration.FOR_THE_PRESENTER}
    runs.start(standin.recipe())
    until(runs, phase("finished"))


@pytest.mark.slow
def test_a_refused_recipe_is_an_error_of_start_and_leaves_what_was_shown(make, monkeypatch):
    monkeypatch.setattr("app.process.runs.START_TIMEOUT", 20.0)
    runs = make()
    first = runs.start(standin.recipe())
    until(runs, phase("finished"))
    with raises(RunError, "conflict", "Recipe field 'ratio' is 0.00001: "):
        runs.start(standin.recipe(name="refuse"))
    assert now(runs)["run"] == first and now(runs)["phase"] == "finished" and not runs.active
    second = runs.start(standin.recipe())
    assert until(runs, phase("finished"))["run"] == runs.name == second


def test_an_engine_that_cannot_start_says_so(make, monkeypatch):
    monkeypatch.setattr("app.process.runs.START_TIMEOUT", 20.0)
    runs = make(command=(*STANDIN, "never-ready"))
    runs.warm()
    runs._spare.close(20.0)
    assert "no module named torch" in (runs.folder / "engine.log").read_text(), (
        "the first spare has a log, though there was no folder"
    )
    with raises(RunError, "start-failed", "no module named torch"):
        runs.start(standin.recipe())
    assert now(runs)["phase"] == "empty"


def test_an_unwritable_folder_is_one_sentence(make, tmp_path):
    (tmp_path / "file").write_text("in the way")
    runs = make(tmp_path / "file" / "runs")
    for attempt in (runs.check_folder, lambda: runs.start(standin.recipe())):
        with raises(RunError, "unwritable", "--runs", file=str(runs.folder)):
            attempt()


def test_names_are_unique_and_legal_everywhere(make):
    runs = make()
    runs.folder.mkdir(parents=True)
    first = runs.archive.free_name('CON:"ü"/../x\\y. ')
    assert re.fullmatch(r"con-x-y-\d{8}-\d{6}", first)
    (runs.folder / first).mkdir()
    assert runs.archive.free_name('CON:"ü"/../x\\y. ') != first
    assert runs.archive.free_name("***").startswith("run-")


@pytest.mark.slow
def test_an_unfinished_run_is_offered_when_the_app_starts(make, tmp_path):
    standin.write_run(tmp_path / "runs" / "tiny-old")
    standin.write_run(tmp_path / "runs" / "tiny-new", iterations=2)
    os.utime(tmp_path / "runs" / "tiny-old" / "events.jsonl", (1, 1))
    runs = make()
    s = now(runs)
    assert s["phase"] == "interrupted" and s["run"] == runs.name == "tiny-new" and not runs.active
    assert s["alert"]["actions"][0] == {"do": "resume", "label": "Resume from the start"}
    runs.resume("tiny-new")
    assert until(runs, phase("finished"))["counters"]["iterations_done"] == 3


def test_a_recipe_with_a_class_that_nobody_knows_does_not_keep_the_app_from_starting(
    make, tmp_path
):
    path = standin.write_run(tmp_path / "runs" / "tiny-foreign", iterations=1)
    recipe = json.loads((path / "recipe.json").read_bytes())
    for classes in (["Sandal", "Spaceship"], [3, 99]):
        (path / "recipe.json").write_text(json.dumps(recipe | {"classes": classes}))
        s = now(make())
        assert (
            s["run"] == "tiny-foreign" and s["phase"] == "interrupted" and len(s["classes"]) == 10
        )


def test_a_finished_run_is_shown_when_the_app_starts(make, tmp_path):
    standin.write_run(tmp_path / "runs" / "tiny-done")
    runs = make()
    assert now(runs)["phase"] == "finished" and now(runs)["run"] == "tiny-done" and not runs.active
    assert now(runs)["alert"] is None


def test_another_run_is_shown_without_an_empty_state_in_between(make, tmp_path, monkeypatch):
    for name in ("tiny-a", "tiny-b"):
        standin.write_run(tmp_path / "runs" / name)
    runs, shown = make(), []
    publish = runs._publish
    monkeypatch.setattr(runs, "_publish", lambda s: (publish(s), shown.append(now(runs)["run"])))
    other = ({"tiny-a", "tiny-b"} - {runs.name}).pop()
    runs.show(other)
    assert shown and {*shown} == {other}


RECORDED = {"recorded-fashion-live", "recorded-imagenet-peek"}


def test_the_recorded_run_is_put_where_there_is_no_other(tmp_path):
    runs = Runs(tmp_path / "new", recorded=True)
    s = now(runs)
    assert (
        s["run"] == runs.name == "recorded-imagenet-peek"
        and s["phase"] == "finished"
        and s["judge"]["title"] == "EfficientNet-Lite2"
    )
    assert (
        s["sentence"][0]["text"].startswith("Recorded:")
        and len(s["opinion"]["images"]) == s["counters"]["iterations_done"]
    )
    assert {*runs.archive.names()} == RECORDED
    fashion = open_run(tmp_path / "new" / "recorded-fashion-live")
    assert fashion.finished and fashion.last_event.accuracy > 0.75
    runs.close()
    other = Runs(tmp_path / "new", recorded=True)  # it already exists
    assert {*other.archive.names()} == RECORDED and other.name == "recorded-imagenet-peek"
    other.close()
    standin.write_run(tmp_path / "old" / "tiny-done")
    own = Runs(tmp_path / "old", recorded=True)
    assert own.name == "tiny-done" and [*own.archive.names()] == ["tiny-done"]
    own.close()


def test_a_recording_that_cannot_be_opened_leaves_the_page_empty(tmp_path, monkeypatch):
    (tmp_path / "damaged.kgen").write_bytes(b"PK" + bytes(100))
    for name in ("missing", "damaged"):
        monkeypatch.setattr("app.process.recording.FOLDER", tmp_path)
        monkeypatch.setattr("app.process.recording.NAMES", (name,))
        runs = Runs(tmp_path / "new", recorded=True)
        assert runs.name is None and now(runs)["phase"] == "empty"
        runs.close()


@pytest.mark.slow
def test_what_breaks_in_the_reading_thread_is_shown_within_two_seconds_and_heals(make, monkeypatch):
    runs = make()
    runs.start(standin.recipe(**LONG))
    until(runs, lambda s: s["counters"]["iterations_done"] >= 1)
    real = follow.Follower._refresh_exhibits

    def broken(self):
        raise KeyError("a bug")

    monkeypatch.setattr(follow.Follower, "_refresh_exhibits", broken)
    s = until(runs, lambda s: s["alert"], 2.0)
    assert "KeyError" in s["alert"]["text"] and "run itself continues" in s["alert"]["text"]
    monkeypatch.setattr(follow.Follower, "_refresh_exhibits", real)
    until(runs, lambda s: s["alert"] is None and s["counters"]["iterations_done"] > 2, 5.0)


def test_damage_in_the_journal_is_shown(make, tmp_path):
    path = standin.write_run(tmp_path / "runs" / "tiny-hurt", iterations=1)
    runs = make()
    assert now(runs)["phase"] == "interrupted"
    with (path / "events.jsonl").open("ab") as file:
        file.write(b"nonsense\n")
    assert (
        "damaged at byte"
        in until(runs, lambda s: "damaged" in str(s["alert"]), 3.0)["alert"]["text"]
    )
    public = json.dumps(for_viewers(runs))
    assert narration.FOR_THE_PRESENTER in json.loads(public)["alert"]["text"]
    assert json.dumps(str(tmp_path))[1:-1] not in public


@pytest.mark.slow
def test_versions_rise_and_an_unchanged_run_keeps_its_version(make, tmp_path):
    standin.write_run(tmp_path / "runs" / "tiny-new", iterations=1)
    runs = make()
    time.sleep(1.5)
    etag = runs.live.etag
    time.sleep(1.5)
    assert runs.live.etag == etag
    runs.start(standin.recipe(epochs=30))
    seen = []
    while runs.active:
        seen.append(now(runs)["v"])
        time.sleep(0.02)
    assert seen == sorted(seen) and len(set(seen)) > 2


def test_close_ends_every_child_and_thread(make):
    import threading

    runs = make()
    runs.warm()
    spare = runs._spare
    runs.start(standin.recipe(**LONG))
    until(runs, phase("running"))
    child = runs._child
    assert child is spare
    runs.close()
    assert child.code == 0, "end of input: it stopped on its own"
    assert not [t for t in threading.enumerate() if t.name.startswith(("follow", "engine"))]
    with raises(RunError, "closing"):
        runs.start(standin.recipe())


def test_close_does_not_wait_for_a_spare_that_is_still_warming_up(tmp_path):
    runs = Runs(tmp_path / "runs", (sys.executable, "-c", "import time; time.sleep(60)"))
    runs.warm()
    spare = runs._spare
    started = time.monotonic()
    runs.close()
    assert spare.code is not None and time.monotonic() - started < CLOSE_TIMEOUT - 1


@pytest.mark.slow
def test_the_real_engine_start_pause_step_kill_resume_stop(tmp_path):
    from kgen.recipes import recipes

    runs = Runs(tmp_path / "runs")
    try:
        runs.warm()
        name = runs.start(recipes.get("tiny").replace(epochs=40, ratio=0.01))
        s = until(runs, lambda s: s["making"], 60)
        assert s["layout"] == "ready" and len(s["making"]["tiles"]) == 20
        until(runs, lambda s: s["counters"]["iterations_done"] >= 2, 60)
        runs.control("pause")
        before = until(runs, phase("paused"))["counters"]
        runs.control("step", "generator")
        until(runs, lambda s: s["counters"]["generator_step"] == before["generator_step"] + 1)
        if os.name != "nt":
            os.kill(runs._child.pid, signal.SIGKILL)
        else:
            runs._child.terminate()
        lost = until(runs, phase("died"), 3)
        told = re.fullmatch(
            r"Resume from (?:the start|iteration (\d+))", lost["alert"]["actions"][0]["label"]
        )
        runs.resume(name)
        first = until(runs, lambda s: s["attempt"] == 2 and s["phase"] == "running", 60)[
            "counters"
        ]["iterations_done"]
        assert first >= int(told[1] or 0) and first - int(told[1] or 0) <= 2, (
            "it continues where the page said"
        )
        s = until(
            runs,
            lambda s: (
                s["phase"] == "running"
                and s["attempt"] == 2
                and s["counters"]["iterations_done"] > before["iterations_done"]
            ),
            60,
        )
        placed = json.loads(gzip.decompress(runs.archive.points(name, 2, 0)[0]))
        assert len(placed["x"]) == len(placed["z"]) >= 20 and all(
            0 <= v <= 1 for v in placed["x"] + placed["z"]
        )
        runs.control("stop")
        until(runs, phase("stopped"), 60)
    finally:
        runs.close()
