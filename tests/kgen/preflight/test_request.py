"""Requests, and the child that runs the check: it may die, but its caller may not."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from kgen.cli.preflight_commands import run_check, show_findings
from kgen.preflight import request
from kgen.preflight.request import PreflightError, inspect, parse_request
from kgen.zoo import zoo
from tests.support import hostile
from tests.support.errors import raises


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


BAD = [
    (
        {"side": "48x64"},
        "side is '48x64': ",
    ),
    ({"side": [48, 64]}, "side is [48, 64]: "),
    ({"resolutions": ["48x64"]}, "resolutions is '48x64': "),
    ({"resolutions": [4]}, "resolutions.0 is 4"),
    ({"resolutions": []}, "resolutions is []"),
    ({"mean": [0.5]}, "Mean and std belong together"),
    ({"mean": [123.7], "std": [58.4]}, "divide values for bytes by 255"),
    ({"mean": [0.5], "std": [0]}, "std above 0"),
    ({"mean": [0.5], "std": [0.5, 0.5]}, "one number per channel"),
    ({"classes": ["cat", " "]}, "classes is 'cat, ': name 2 is ''"),
    ({"classes": ["cat\x1b[2J"]}, "expected printable text"),
    ({"classes": []}, "expected 1 to"),
    ({"n_train": 0}, "n_train is 0"),
    ({"colour": 1}, "colour is 1"),
]


@pytest.mark.parametrize(("fields", "words"), BAD, ids=[str(f) for f, _ in BAD])
def test_a_bad_request_gives_one_sentence(fields, words):
    with raises(PreflightError, "invalid-value", words) as caught:
        parse_request({"path": "x.pt", **fields})
    assert str(caught.value).endswith(".")
    assert caught.value.fields["field"].partition(".")[0] in {"", *fields}


def test_a_request_survives_json():
    mine = parse_request(
        {
            "path": "x.pt",
            "classes": [" cat ", "dog"],
            "side": "32",
            "mean": [0.5],
            "std": [0.25],
            "resolutions": ["16", 32],
        }
    )
    assert mine.classes == ("cat", "dog") and mine.side == 32 and mine.resolutions == (16, 32)
    assert parse_request(mine.model_dump_json()) == mine
    with pytest.raises(PreflightError):
        parse_request("nonsense")


# --- the child ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_teacher_is_checked_and_kept_by_a_child(tmp_path, home):
    """The whole path through the process: rows as they come, the report, and the file, which is a
    teacher right away.
    """
    network = zoo.build_student("small-cnn-20k", 1, 3, 0)
    torch.save({"model": network.state_dict()}, tmp_path / "mine.pt")
    fields = {
        "path": str(tmp_path / "mine.pt"),
        "architecture": "small-cnn-20k",
        "classes": ["cat", "dog", "horse"],
        "mean": [0.5],
        "std": [0.25],
    }
    what = parse_request(fields | {"n_train": 300, "save": "my-pets", "half": True})
    messages = list(inspect(what))
    assert [m["kind"] for m in messages] == ["row"] * (len(messages) - 1) + ["report"]
    report = messages[-1]
    assert report["ok"] and report["saved"] == str(home / "teachers" / "my-pets.safetensors")
    assert [
        {k: m[k] for k in ("name", "status", "finding", "advice", "lines")} for m in messages[:-1]
    ] == report["rows"]
    assert zoo.user_teachers() == ("my-pets",)
    teacher = zoo.load_teacher("my-pets")
    assert (
        teacher.classes == ("cat", "dog", "horse")
        and teacher.card.n_train == 300
        and teacher.card.name == "my-pets"
    )
    stored = load_file(report["saved"])
    assert all(
        torch.equal(stored[k], t.half() if t.is_floating_point() else t)
        for k, t in network.state_dict().items()
    )
    assert report["spec"]["source"]["sha256"] == report["sha256"]


@pytest.mark.slow
def test_a_childs_caller_must_allow_it_to_run_python_files(tmp_path):
    (tmp_path / "net.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    torch.save({"fc.weight": torch.zeros(3, 4)}, tmp_path / "net.pt")
    fields = {"path": str(tmp_path / "net.pt"), "architecture": f"{tmp_path / 'net.py'}:Net"}
    *_, row, report = inspect(parse_request(fields))
    assert (row["name"], row["status"], report["ok"]) == ("architecture", "fail", False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system's limits")
def test_a_file_that_wants_all_memory_harms_nobody(tmp_path):
    path, start = hostile.old_and_huge(tmp_path / "huge.pt"), time.monotonic()
    row, report = inspect(parse_request({"path": str(path), "architecture": "resnet18"}))
    assert row["status"] == "fail" and "more memory" in row["finding"]
    assert not report["ok"] and report["spec"] is None and time.monotonic() - start < 60


def test_a_child_that_dies_or_takes_too_long_is_one_sentence(tmp_path, monkeypatch):
    what = parse_request({"path": str(hostile.good(tmp_path / "good.pt"))})
    (late,) = inspect(what, seconds=0.05)
    assert late["kind"] == "error" and re.search(r"longer than 0\b", late["text"])
    monkeypatch.setattr(request, "sys", type("sys", (), {"executable": "/bin/false"}))
    (gone,) = inspect(what)
    assert gone["kind"] == "error" and gone["text"] != late["text"]


def test_lines_that_something_else_prints_are_skipped(tmp_path, monkeypatch):
    error = {"kind": "error", "text": "so it ends"}
    lines = ["Loading weights", "[1]", '{"no": "kind"}', "[" * 9000, json.dumps(error)]
    code, popen = f"print(*{lines}, sep='\\n')", subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda _, **options: popen([sys.executable, "-c", code], **options)
    )
    assert list(inspect(parse_request({"path": str(tmp_path)}))) == [error]


# --- the two ends of the pipe, in this process ----------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "{}",
        '{"path": "x.pt", "side": "48x64"}',
        '{"path": "x.pt", "save": "fashion-cnn"}',
        "",
    ],
)
def test_an_invalid_request_is_an_error_line(line, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdin", io.StringIO(line + "\n"))
    assert run_check() == 2
    (message,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert message["kind"] == "error" and message["text"].endswith(".")


def row(name, status):
    return {
        "kind": "row",
        "name": name,
        "status": status,
        "finding": f"[red]{name}[/red] was looked at",
        "advice": "[b]do[/b] this",
    }


@pytest.mark.parametrize(
    ("last", "code", "words"),
    [
        ({"kind": "report", "ok": True, "saved": None}, 0, " can be used"),
        (
            {
                "kind": "report",
                "ok": True,
                "saved": "/x/mine.safetensors",
                "spec": {"card": zoo.card("imagenette-slim").model_dump()},
            },
            0,
            "run tiny --set teacher=mine --set ",
        ),
        ({"kind": "report", "ok": False, "saved": None}, 2, " cannot be used"),
        ({"kind": "error", "text": "It [i]died[/i]."}, 2, "Error: It [i]died[/i]."),
    ],
)
def test_a_person_sees_a_table(last, code, words, capsys):
    """What a file says is shown as it is, not as markup."""
    assert (
        show_findings((m for m in [row("file", "ok"), row("input", "warn"), last]), False) == code
    )
    said = capsys.readouterr()
    assert (
        words in said.out + said.err
        and "[red]file[/red] " in said.out
        and "[b]do[/b] this" in said.out
        and "note" in said.out
    )


def test_a_program_sees_lines(capsys):
    messages = [row("file", "ok"), {"kind": "report", "ok": True}]
    assert show_findings((m for m in messages), True) == 0
    assert list(map(json.loads, capsys.readouterr().out.splitlines())) == messages


def test_wordnet_ids_are_imagenets_class_texts():
    """As ImageFolder names the classes of ImageNet and its subsets."""
    found = parse_request({"path": "a.pt", "classes": ["n01440764", "cat", "n02102040", "n999"]})
    assert found.classes == ("tench", "cat", "English springer", "n999")
