"""The check of a folder of real images, over HTTP and with the real command."""

from __future__ import annotations

import io
import json
import os
import sys
import time

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.pages import folder_routes
from app.process.child import Child
from app.process.folder_checks import FolderChecks
from app.process.teacher_checks import TeacherChecks
from app.setup import form
from kgen.cli import folder_check
from kgen.recipes import recipes
from kgen.system.paths import typed_path
from tests.support.errors import refused
from tests.support.pictures import photo_folder

CHOSEN = {"teacher": "fashion-cnn"}


@pytest.fixture
def client():
    app, checks = FastAPI(), FolderChecks()
    folder_routes.install(app, checks)
    with TestClient(app) as client:
        yield client
    checks.close()


def report(client, **fields):
    answer = client.post("/kg/folder", json=CHOSEN | fields)
    assert answer.status_code == 200, answer.text
    for _ in range(600):
        found = client.get(f"/kg/folder/{answer.json()['id']}").json()
        if found["done"]:
            return found
        time.sleep(0.1)
    raise AssertionError("the check does not end")


@pytest.mark.slow
def test_a_folder_is_reported(client, tmp_path):
    photo_folder(tmp_path / "val", ("Bag", "sneaker", "Hat"), 2)
    (tmp_path / "val" / "Bag" / "empty.png").write_bytes(b"")
    found = report(client, folder=f' "{tmp_path}" ')
    assert found["error"] is None and found["report"]["split"] == "val"
    rows = {row["name"]: (row["folders"], row["images"]) for row in found["report"]["classes"]}
    assert len(rows) == 10 and {name: row for name, row in rows.items() if row[1]} == {
        "Bag": (["val/Bag"], 2),
        "Sneaker": (["val/sneaker"], 2),
    }
    assert [row["folder"] for row in found["report"]["ignored"]] == ["val/Hat"]
    said = " ".join(remark["text"] for remark in found["report"]["remarks"])
    assert "empty.png" in said and "Hat" in said and "selected" not in said


TYPED = ("photos", " photos ", '"photos"', "'my photos'", "~/photos", "no\u00a0break", "a/../b")


@pytest.mark.parametrize("text", TYPED)
def test_the_form_and_both_checks_mean_the_same_path(monkeypatch, tmp_path, text):
    """The app's current folder is not the one that the children of the checks start in."""
    monkeypatch.chdir(tmp_path)
    sent = []
    monkeypatch.setattr(Child, "send", lambda self, message: sent.append(message))
    checks = FolderChecks((sys.executable, "-c", ""))
    checks.start(CHOSEN | {"folder": text})
    checks.close()
    recipe = form.read(form.write(recipes.get("fashion-live")) | {"real_images": text})
    teacher = TeacherChecks(tmp_path / "uploads")._parse_request({"path": text})
    assert {sent[0]["folder"], recipe.real_images, teacher.path} == {typed_path(text)}
    assert os.path.isabs(typed_path(text)) and not set(typed_path(text)) & set("\"'")


@pytest.mark.slow
def test_what_cannot_be_checked_is_a_sentence(client, tmp_path):
    found = report(client, folder=str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in found["error"] and found["report"] is None
    assert "nobody" in report(client, folder=str(tmp_path), teacher="nobody")["error"]


def test_a_bug_in_the_check_is_reported_too(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"folder": "x"}'))
    assert folder_check.serve() == 2
    message = json.loads(capsys.readouterr().out)
    assert message["kind"] == "error" and "failed (KeyError: 'teacher')" in message["text"]


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"folder": 7}, "invalid-path"),
        ({"folder": ' "" '}, "invalid-path"),
        ({"folder": "~nobody-of-that-name/x"}, "unknown-user"),
        ({"folder": "a\nb"}, "invalid-path"),
        ({"folder": "x" * 5000}, "invalid-path"),
        ({"folder": "a", "teacher": None}, "invalid-request"),
    ],
)
def test_requests_that_make_no_sense_are_refused(client, fields, code):
    refused(client.post("/kg/folder", json=CHOSEN | fields), 400, code)


def test_no_json_and_too_much_of_it_are_refused(client):
    refused(client.post("/kg/folder", content=b"{"), 400, "not-json")
    refused(client.post("/kg/folder", content=b"[]"), 400, "invalid-request")
    assert client.post("/kg/folder", content=b" " * 2_000_000).status_code == 413


def test_an_old_check_is_gone(client):
    refused(client.get("/kg/folder/other"), 404, "unknown-check")
