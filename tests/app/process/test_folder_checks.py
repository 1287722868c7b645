"""The check of a folder of real images, over HTTP and with the real command."""

from __future__ import annotations

import time

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.pages import folder_routes
from app.process.folder_checks import FolderChecks
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
    assert [row["folder"] for row in found["report"]["ignored"]] == ["Hat"]
    said = " ".join(remark["text"] for remark in found["report"]["remarks"])
    assert "empty.png" in said and "Hat" in said and "selected" not in said


@pytest.mark.slow
def test_what_cannot_be_checked_is_a_sentence(client, tmp_path):
    found = report(client, folder=str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in found["error"] and found["report"] is None
    assert "nobody" in report(client, folder=str(tmp_path), teacher="nobody")["error"]


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"folder": 7}, "invalid-path"),
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
