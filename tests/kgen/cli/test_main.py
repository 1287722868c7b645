"""The command line as a shell sees it: exit codes, one sentence on standard error, and a child
under control.
"""

from __future__ import annotations

import io
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from kgen import __main__ as main
from kgen import events
from kgen.cli import progress, recipe_argument
from kgen.cli.preflight_commands import show_findings
from kgen.cli.worker import run_controlled
from kgen.journal.reading import open_run
from kgen.journal.runner import Runner
from kgen.recipes import recipes
from kgen.system.paths import ROOT
from tests.support.errors import check
from tests.support.small import same_run

COMMAND = [sys.executable, "-m", "kgen"]
TINY = recipes.tiny().model_dump(mode="json")


def shell(*words, **options):
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    return folder, shell("run", "tiny", "--out", folder, "--checkpoint-every", 0)


@pytest.mark.slow
def test_run_in_a_pipe_tells_plain_lines(tiny_run):
    folder, done = tiny_run
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.match(
        r"Estimated cost: about \d+ s on this machine, .* on disk, a pool of 68 kB\.", lines[0]
    )
    assert lines[1].startswith("tiny: teacher Fashion CNN, 10 classes, budget 60 images, on cpu")
    assert (
        "Done after" in lines[-2]
        and "Accuracy on 10,000 real images: student" in lines[-2]
        and lines[-1] == f"Run folder: {folder}"
    )
    assert "\x1b" not in done.stdout and done.stderr == ""


def test_the_first_iteration_shows_its_steps_and_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    display = progress.RunDisplay(False, iterations=5, generator_steps=100)
    for t, step in ((10, 0), (60, 49)):
        display.on_event(
            events.GeneratorStep(t=t, iteration=0, step=step, parts={}, loss=0, agreement=0)
        )
    first, later = capsys.readouterr().out.splitlines()
    assert "generator step 1 of 100" in first and "left" not in first
    # 49 steps took 50 s, and 450 are left
    assert "0 of 5 iterations, generator step 50 of 100, about 8 min left" in later


@pytest.mark.slow
def test_two_processes_make_the_same_run(tiny_run, tmp_path):
    """The command's run compared with one in this process: journal, batches and student, bit for
    bit.
    """
    folder, _ = tiny_run
    torch.set_num_threads(open_run(folder).info["threads"])
    Runner.new(recipes.tiny(), tmp_path / "here").run()
    assert same_run(tmp_path / "here", folder) is None


@pytest.mark.slow
def test_evaluate_measures_the_exported_student_again(tiny_run, monkeypatch, capsys):
    folder, _ = tiny_run
    monkeypatch.setattr(sys, "argv", ["kgen", "evaluate", str(folder), "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    found = json.loads(capsys.readouterr().out)
    last = list(open_run(folder).events())[-1]
    assert (
        not ended.value.code
        and found["n"] == 10_000
        and found["accuracy"] == pytest.approx(last.accuracy, abs=2e-4)
    )
    assert found["teacher"] > 0.9 and len(found["per_class"]) == 10
    assert sum(found["per_class"].values()) / 10 == pytest.approx(found["accuracy"], abs=1e-3)


@pytest.mark.slow
def test_recipes_json():
    done = shell("recipes", "--json")
    listed = {d["name"]: d for d in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0 and tuple(listed) == recipes.NAMES
    assert listed["tiny"]["recipe"] == TINY and listed["tiny"]["about"]


@pytest.mark.slow
def test_recipes_for_people_come_in_groups():
    done = shell("recipes", "--all", env=os.environ | {"COLUMNS": "200"})
    told = done.stdout
    assert done.returncode == 0 and all(name in told for name in recipes.NAMES)
    assert all(title in told for title in recipes.GROUPS)
    assert sorted(name for names in recipes.GROUPS.values() for name in names) == sorted(
        recipes.NAMES
    )


def test_recipes_that_need_ones_own_data_are_counted(capsys):
    recipe_argument.list_recipes(as_json=False, every=False)
    told = capsys.readouterr().out
    hidden = [n for title in recipes.PAPER_GROUPS for n in recipes.GROUPS[title]]
    assert len(hidden) > 50 and not any(name in told for name in hidden)
    assert all(name in told for name in set(recipes.NAMES).difference(hidden))
    assert f"{len(hidden)} more recipes" in told and recipes.LIST_ALL in told


BAD = [
    (["run", "fashion-life"], "unknown-recipe", "'fashion-live'"),
    (["run", "fashion-cnn"], "unknown-recipe", "run tiny --set teacher=fashion-cnn"),
    (["preflight", "x.pt", "--arch", "full.net:Net"], "invalid-name", "--arch full/net.py:Net"),
    (["preflight", "x.pt", "--arch", "full/nte.py:Net"], "no-file", "Did you mean net.py"),
    (["preflight", "x.pt", "--save", "My Net"], "invalid-name", "'My Net'"),
    (["preflight", "x.pt", "--save", "fashion-cnn"], "exists", "'fashion-cnn'"),
    (["run", "tiny", "--set", "sede=1"], "unknown-field", "'seed'"),
    (["run", "tiny", "--set", "epochs=0"], "invalid-value", "'epochs' is 0; allowed: 1 or more"),
    (["run", "tiny", "--set", "epochs"], "invalid-setting", "--set epochs: "),
    (["run", "tiny", "--set", "classes=Bga"], "unknown-class", "'Bga'"),
    (["run", "tiny", "--set", "teacher=resnet"], "unknown-teacher", "'resnet'"),
    (["run", "tiny", "--set", "student=big"], "unknown-student", "'big'"),
    (["run", "tiny", "--schedule", "both"], "invalid-choice", "'schedule' is 'both'"),
    (["run", "tiny", "--out", "FULL"], "exists", "full "),
    (["run", "tiny", "--out", "FILE/run"], "unwritable", "full/notes/run "),
    (["run", "nowhere.json"], "unreadable", "nowhere.json "),
    (["resume", "FULL"], "not-a-run", "full "),
    (["resume", "nowhere"], "not-a-run", "nowhere "),
    (["resume", "[/old]"], "not-a-run", "[/old] "),
    (["resume", "[old] :cat: run"], "not-a-run", "[old] :cat: run "),
    (["run", "tiny", "--set", "teacher=[/x]"], "unknown-teacher", "'[/x]'"),
    (["resume", "not\udcfftext"], "not-a-run", "not?text "),
    (["run", "tiny", "--out", "not\udcfftext"], "invalid-name", "not?text "),
    (["preflight", "not\udcfftext.pt"], "invalid-name", "not?text.pt "),
    (["evaluate", "FULL"], "not-a-run", "full "),
    (["evaluate", "nowhere.safetensors"], "no-file", "nowhere.safetensors "),
    (["preflight", "x.pt", "--side", "48x64"], "invalid-value", "'48x64'"),
    (["preflight", "x.pt", "--mean", "a,b"], "invalid-value", "--mean is 'a,b'"),
    (["preflight", "x.pt", "--classes", "none.txt"], "unreadable", "none.txt "),
    (["table", "laddr-1"], "unknown-table", "'ladder-1'"),
    (["table", "ladder-1", "--show", "--runs", "full"], "unreadable", "full"),
]


@pytest.mark.parametrize(("words", "code", "fact"), BAD, ids=[" ".join(w) for w, *_ in BAD])
def test_bad_input_is_one_sentence_and_exit_2(words, code, fact, tmp_path, monkeypatch, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    (tmp_path / "full" / "net.py").touch()
    monkeypatch.chdir(tmp_path)
    words = [w.replace("FULL", "full").replace("FILE", "full/notes") for w in words]
    monkeypatch.setattr(sys, "argv", ["kgen", *words])
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended:
            main.main()
    finally:
        signal.signal(signal.SIGINT, handler)
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == ""
    check(ended.value.__context__, code, fact.replace("?", "\udcff"))
    assert (
        fact in said.err
        and said.err.startswith("Error: ")
        and said.err.count("\n") == 1
        and "Traceback" not in said.err
    )
    assert [f.name for f in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    ("words", "code", "field", "value"),
    [
        (["resume", "nowhere"], "not-a-run", "file", "nowhere"),
        (["evaluate", "nowhere.safetensors"], "no-file", "file", "nowhere.safetensors"),
        (["run", "tiny", "--set", "epochs=0"], "invalid-value", "minimum", 1),
    ],
)
def test_with_json_an_error_is_one_object(words, code, field, value, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kgen", *words, "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    found = json.loads(said.err)
    assert (found["code"], found[field]) == (code, value)
    assert found["message"] == str(ended.value.__context__)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_pipe_gets_what_it_can_hold(encoding, monkeypatch):
    pipes = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, pipe in pipes.items():
        monkeypatch.setattr(sys, name, pipe)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["kgen", "table"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert not ended.value.code
    pipes["stdout"].flush()
    told = pipes["stdout"].buffer.getvalue().decode(encoding)
    assert "ladder-1" in told
    assert ("?" in told) == (encoding != "utf-8")


def test_findings_show_names_as_they_are(monkeypatch, capsys):
    row = {"kind": "row", "status": "warn", "finding": "[/a] [red]b :cat:", "advice": "[bold]"}
    messages = ({**m} for m in (row | {"name": "[/x]"}, {"kind": "error", "text": "[/no]"}))
    assert show_findings(messages, False) == 2
    said = capsys.readouterr()
    assert all(text in said.out for text in ("[/x]", "note", "[/a] [red]b :cat:", "[bold]"))
    assert said.err == "Checking the file. This takes about ten seconds.\nError: [/no]\n"


@pytest.mark.slow
def test_bad_input_through_the_shell(tmp_path):
    done = shell("run", "fashion-life")
    assert (
        done.returncode == 2
        and done.stdout == ""
        and done.stderr.count("\n") == 1
        and "Traceback" not in done.stderr
    )
    done = shell("run", "-", "--out", tmp_path / "x", input='{"epochs": 0}')
    assert (
        done.returncode == 2
        and "'epochs' is 0" in done.stderr
        and "Traceback" not in done.stderr
        and not (tmp_path / "x").exists()
    )


def test_a_recipe_from_a_file(tmp_path):
    (tmp_path / "mine.json").write_text(recipes.tiny().replace(name="mine", seed=3).to_json())
    found = main.read_recipe(str(tmp_path / "mine.json"), ["weights.kr=0"], None, "concurrent")
    assert (found.name, found.seed, found.weights.kr, found.schedule) == (
        "mine",
        3,
        0.0,
        "concurrent",
    )


@pytest.mark.slow
def test_interrupt_stops_at_a_step_and_can_be_resumed(tmp_path):
    folder = tmp_path / "r"
    child = subprocess.Popen(
        [
            *COMMAND,
            "run",
            "tiny",
            "--out",
            str(folder),
            "--set",
            "epochs=2000",
            "--set",
            "ratio=0.1",
            "--checkpoint-every",
            "0",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not (folder / "checkpoint" / "state.safetensors").exists():
        assert time.monotonic() < end and child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130 and "Traceback" not in err
    assert f"python -m kgen resume {folder}" in err.replace("\n", "") and "Stopped after" in out
    last = list(open_run(folder).events())[-1]
    assert last.kind == "run_finished" and last.reason == "stopped"
    again = Runner.resume(folder)
    again.controls.send("stop")
    assert again.run().reason == "stopped" and open_run(folder).info["attempt"] == 2


# --- a child under control ------------------------------------------------------------------------


class Child:
    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [*COMMAND, "run", "-", "--control", "--checkpoint-every", "0"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(
            target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True
        ).start()

    def tell(self, order):
        self.process.stdin.write((order if isinstance(order, str) else json.dumps(order)) + "\n")
        self.process.stdin.flush()

    def hear(self):
        """The next line that is not about progress."""
        while True:
            line = json.loads(self.lines.get(timeout=60))
            if line["kind"] != "progress":
                return line

    def answer(self, id):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for event in open_run(self.folder).events():
                if isinstance(event, events.Control) and event.id == id:
                    return event
            time.sleep(0.05)
        pytest.fail(f"control {id} was not answered")

    def steps(self):
        return sum(e.kind == "generator_step" for e in open_run(self.folder).events())

    def end(self):
        self.process.stdin.close()
        code = self.process.wait(60)
        err = self.process.stderr.read()
        self.process.stdout.close(), self.process.stderr.close()
        assert "Traceback" not in err
        return code


@pytest.mark.slow
def test_child_is_ready_starts_and_obeys(tmp_path):
    child = Child(tmp_path / "r")
    assert child.hear() == {"kind": "ready"}
    child.tell({"recipe": TINY | {"epochs": 3000, "ratio": 0.1}, "folder": str(tmp_path / "r")})
    assert child.hear() == {"kind": "started", "folder": str(tmp_path / "r")}
    child.tell({"id": 1, "do": "pause"})
    assert child.answer(1).state == "paused"
    before = child.steps()
    time.sleep(0.3)
    assert child.steps() == before
    child.tell({"id": "two", "do": "step", "unit": "generator"})
    assert child.answer("two").text is None
    time.sleep(0.3)
    assert child.steps() == before + 1
    for nonsense in (
        "x",
        "5",
        "[]",
        '{"do": "dance"}',
        '{"id": [1], "do": "pause"}',
        '{"do": "step", "unit": "leap"}',
    ):
        child.tell(nonsense)
        assert child.hear()["kind"] == "error"
    child.tell({"id": 3, "do": "resume"})
    assert child.answer(3).state == "running"
    child.tell({"id": 4, "do": "stop"})
    assert child.answer(4).state == "stopping"
    child.process.wait(60)
    assert child.end() == 0
    last = list(open_run(tmp_path / "r").events())[-1]
    assert last.kind == "run_finished" and last.reason == "stopped"


@pytest.mark.slow
def test_end_of_input_ends_the_child(tmp_path):
    idle = Child(tmp_path / "none")
    assert idle.hear() == {"kind": "ready"} and idle.end() == 0 and not (tmp_path / "none").exists()

    child = Child(tmp_path / "r")
    child.hear()
    child.tell({"recipe": TINY | {"epochs": 3000, "ratio": 0.1}, "folder": str(tmp_path / "r")})
    assert child.hear()["kind"] == "started"
    child.tell({"id": 1, "do": "pause"})
    child.answer(1)
    assert child.end() == 0  # even while paused
    assert list(open_run(tmp_path / "r").events())[-1].reason == "stopped"


@pytest.mark.parametrize(
    "order",
    [
        "nonsense",
        "[]",
        '{"recipe": {"epochs": 0}, "folder": "x"}',
        '{"resume": "nowhere"}',
        '{"recipe": {}}',
    ],
)
def test_an_invalid_request_is_an_error_line(order, monkeypatch, capsys):
    """In this process: the first line of input decides before any folder is made."""
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(order + "\n"))
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert run_controlled(5.0) == 2
    finally:
        signal.signal(signal.SIGINT, handler)
    ready, error = map(json.loads, capsys.readouterr().out.splitlines())
    assert ready["kind"] == "ready" and error["kind"] == "error" and error["text"]
