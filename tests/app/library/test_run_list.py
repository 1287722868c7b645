"""The list of runs and what people can do with one, over HTTP, including what a hostile page or
name gets.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.library import actions, listing
from app.process import exhibits
from kgen.journal.reading import open_run
from kgen.system.files import FolderLock
from kgen.worth import exchange
from tests.support import standin
from tests.support.errors import raises, refused
from tests.support.served import served

STANDIN = (sys.executable, "-m", "tests.support.standin")
FOREIGN = {"Origin": "http://evil.example"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Three runs: one finished, one stopped halfway, and one that has only just begun."""
    monkeypatch.setattr(exhibits.Exhibits, "_refresh_layout", lambda self, run, state: False)
    monkeypatch.setattr(listing, "CACHE_SECONDS", 0.0)
    folder = tmp_path / "runs"
    for age, (name, iterations) in enumerate({"done": None, "half": 2, "begun": 0}.items()):
        path = standin.write_run(folder / name, iterations, seed=age)
        os.utime(path / "events.jsonl", (1_700_000_000 - age, 1_700_000_000 - age))
    return folder


@pytest.fixture
def client(folder):
    with served(folder, STANDIN) as client:
        yield client


def rows(client) -> dict[str, dict]:
    return {row["name"]: row for row in client.get("/kg/runs").json()["runs"]}


def do(client, name: str, action: str, **said):
    return client.post(f"/kg/runs/{name}/{action}", json=said)


def until(what, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


# --- the list -------------------------------------------------------------------------------------


def test_what_the_list_says_of_a_run(client, folder):
    found = rows(client)
    assert list(found) == ["done", "half", "begun"], "most recently written first"
    done = found["done"]
    assert (done["title"], done["recipe"], done["teacher"], done["classes"]) == (
        "tiny, seed 0",
        "tiny",
        "Hand-made",
        10,
    )
    assert (
        done["score"] == {"share": 0.824, "n": 10_000, "real": True}
        and done["teacher_score"] == 0.931
    )
    assert (done["images"], done["budget"], done["used"], done["state"], done["resumable"]) == (
        60,
        60,
        1.0,
        "finished",
        False,
    )
    assert (
        done["seconds"] == pytest.approx(open_run(folder / "done").last_event.t)
        and abs(done["began"] - time.time()) < 60
    )
    assert done["bytes"] == sum(
        f.stat().st_size for f in (folder / "done").rglob("*") if f.is_file()
    )
    half = found["half"]
    assert (half["state"], half["images"], half["resumable"]) == (
        "interrupted",
        40,
        False,
    ), "no checkpoint, but images: starting over would delete them"
    begun = found["begun"]
    assert (begun["score"], begun["picture"], begun["images"], begun["resumable"]) == (
        None,
        None,
        0,
        True,
    )


def test_the_list_tells_the_exchange_rate(client, folder):
    """As measured so far, without the folder; an invalid file counts as no measurement."""
    file = folder / "done" / exchange.FILE
    points = [
        exchange.Point(images=60, real=False, accuracy=0.5),
        exchange.Point(images=60, real=True, accuracy=0.7),
    ]
    try:
        for known, rate, sentence in (
            (1, None, ""),
            (
                2,
                {"photos": 60, "bound": "fewer"},
                "These 60 synthetic images teach less than 60 real photos.",
            ),
        ):
            file.write_text(
                exchange.Worth(
                    n=100, steps=8, seed=0, photos="/home/me/photos", points=points[:known]
                ).model_dump_json()
            )
            told = rows(client)["done"]["worth"]
            assert (told["rate"], told["sentence"], len(told["points"])) == (
                rate,
                sentence,
                known,
            ) and "photos" not in told
        for text in (
            "{",
            (
                '{"n": 1, "steps": 1, "seed": 0, "points": [{"images": 0, "real": true, "accuracy":'
                " NaN}]}"
            ),
            " " * (2 << 20),
        ):
            file.write_text(text)
            assert rows(client)["done"]["worth"] is None
    finally:
        file.unlink()
    assert rows(client)["half"]["worth"] is None


def test_a_list_that_has_not_changed_is_not_sent_again(client, folder):
    first = client.get("/kg/runs")
    assert (
        first.headers["content-encoding"] == "gzip" and first.headers["cache-control"] == "no-cache"
    )
    assert (
        client.get("/kg/runs", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    )
    do(client, "done", "note", note="new")
    assert (
        client.get("/kg/runs", headers={"If-None-Match": first.headers["etag"]}).status_code == 200
    )


def test_two_hundred_long_runs_are_listed_at_once(client, folder, monkeypatch):
    read = []
    monkeypatch.setattr(
        listing, "facts", lambda path, real=listing.facts: (read.append(path.name), real(path))[1]
    )
    for i in range(197):
        path = folder / f"more-{i}"
        (path / "batches").mkdir(parents=True)
        for name in ("recipe.json", "run.json"):
            (path / name).write_bytes((folder / "done" / name).read_bytes())
        os.link(folder / "done" / "events.jsonl", path / "events.jsonl")
    assert len(rows(client)) == 200 and len(read) == 200
    began = time.monotonic()
    assert len(rows(client)) == 200 and len(read) == 200, "nothing is read again"
    assert time.monotonic() - began < 2.0


def test_the_end_of_long_events_is_found_without_reading_all(folder, monkeypatch):
    monkeypatch.setattr(listing, "BLOCK_BYTES", 256)
    run = open_run(folder / "done")
    lines = (folder / "done" / "events.jsonl").read_bytes().splitlines()
    assert list(listing.lines_backwards(folder / "done" / "events.jsonl")) == lines[::-1]
    last, batch, test = listing.newest_events(run)
    assert (last.kind, batch.iteration, test.final) == ("run_finished", 2, True)
    monkeypatch.setattr(listing, "MAX_SEARCH_BYTES", 600)
    assert (
        sum(len(line) for line in listing.lines_backwards(folder / "done" / "events.jsonl")) <= 600
    )
    with (folder / "done" / "events.jsonl").open("ab") as file:
        file.write(b'{"kind":"evaluated","torn')
    assert listing.newest_events(run)[0].kind == "run_finished"


def test_a_picture_is_the_newest_images_and_kept_for_ever(client, folder):
    key = rows(client)["done"]["picture"]
    answer = client.get(f"/kg/picture/done/{key}")
    assert (
        answer.headers["content-type"] == "image/png"
        and "immutable" in answer.headers["cache-control"]
    )
    assert (
        client.get(
            f"/kg/picture/done/{key}", headers={"If-None-Match": answer.headers["etag"]}
        ).status_code
        == 304
    )
    pixels, batch = (
        np.asarray(Image.open(io.BytesIO(answer.content))),
        open_run(folder / "done").batch(2),
    )
    assert pixels.shape == (56, 140)
    for c in range(10):
        row, column = divmod(c, 5)
        assert (
            pixels[28 * row : 28 * row + 28, 28 * column : 28 * column + 28]
            == batch["images"][np.flatnonzero(batch["labels"] == c)[0], 0]
        ).all()
    assert client.get("/kg/picture/done/0123456789abcdef").status_code == 404
    assert client.get(f"/kg/picture/../done/{key}").status_code == 404


def test_damage_is_listed_and_harms_no_other_run(client, folder):
    (folder / "half" / "run.json").write_text("{")
    (folder / "begun" / "recipe.json").write_text('{"epochs": "many"}')
    (folder / "done" / "batches" / "000002.safetensors").write_bytes(b"nothing")
    found = rows(client)
    assert [found[name]["state"] for name in ("done", "half", "begun")] == [
        "finished",
        "damaged",
        "damaged",
    ]
    assert client.get(f"/kg/picture/done/{found['done']['picture']}").status_code == 404
    for name in ("half", "begun"):
        assert do(client, name, "delete").status_code == 200


# --- what people do -------------------------------------------------------------------------------


def test_open_shows_a_run_to_everyone(client):
    for name, phase in (("half", "interrupted"), ("done", "finished")):
        assert do(client, name, "open").json() == {"run": name}
        assert [n for n, row in rows(client).items() if row["shown"]] == [name]
        snapshot = client.get("/kg/live").json()
        assert (snapshot["run"], snapshot["phase"]) == (name, phase)


def test_resume_goes_on_and_while_a_run_is_going_nothing_happens_to_it(client, folder):
    recipe = standin.recipe(epochs=200, ratio=0.05)
    standin.write_run(folder / "long", 0, epochs=200, ratio=0.05)
    assert do(client, "long", "resume").json() == {"run": "long"}
    until(lambda: rows(client)["long"]["images"] > 0)
    row = rows(client)["long"]
    assert row["state"] == "going" and not row["resumable"] and recipe.epochs == 200
    for name, action, said in (
        ("long", "rename", {"to": "other"}),
        ("long", "delete", {}),
        ("done", "open", {}),
        ("begun", "resume", {}),
    ):
        answer = do(client, name, action, **said)
        refused(answer, 409, "busy", "(long)" if action in ("open", "resume") else "long")
    assert client.get("/kg/bundle/long").status_code == 409
    assert do(client, "long", "note", note="a note may be written").status_code == 200
    assert do(client, "done", "rename", to="done-2").status_code == 200, "and another run renamed"
    client.runs.control("stop")
    until(lambda: rows(client)["long"]["state"] == "stopped")
    until(lambda: do(client, "long", "delete").status_code == 200, 5.0)
    assert client.get("/kg/live").json()["phase"] == "empty" and "long" not in rows(client)


def test_a_run_that_another_process_writes_is_refused(client, folder):
    lock = FolderLock(folder / "half")
    assert rows(client)["half"]["state"] == "going"
    for action, said in (("rename", {"to": "other"}), ("delete", {})):
        assert do(client, "half", action, **said).status_code == 409
    assert client.get("/kg/bundle/half").status_code == 409
    lock.release()
    assert do(client, "half", "delete").status_code == 200


def test_rename(client, folder):
    do(client, "half", "open")
    before = client.get("/kg/live").json()
    assert do(client, "half", "rename", to=" my.run_2 ").json() == {"run": "my.run_2"}
    snapshot = client.get("/kg/live").json()
    assert snapshot["run"] == "my.run_2" and snapshot["id"] == before["id"], (
        "the page keeps showing it"
    )
    assert (
        rows(client)["my.run_2"]["images"] == 40
        and client.get("/kg/group/my.run_2/1/0").status_code == 200
    )
    assert client.get("/kg/group/half/1/0").status_code == 404 and not (folder / "half").exists()
    assert do(client, "my.run_2", "rename", to="done").status_code == 409
    assert sorted(rows(client)) == ["begun", "done", "my.run_2"]


HOSTILE = [
    "..",
    ".",
    "../evil",
    "a/b",
    "/etc/evil",
    "a\\b",
    ".trash",
    ".hidden",
    "a..b",
    "",
    " ",
    "x" * 200,
    "con:",
    "a\0b",
    "a\nb",
    "ä",
    "-x",
    "x.",
    "<b>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_new_name_leads_out_of_the_folder(client, folder, name):
    answer = do(client, "done", "rename", to=name)
    refused(answer, 409, "invalid-name")
    assert (folder / "done").is_dir()


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "%2e%2e",
        "..%2f..%2fetc",
        "%2fetc%2fpasswd",
        "done%00",
        "done%2f..%2fdone",
        ".trash",
        "-",
        "nobody",
        "done%20",
    ],
)
def test_no_old_name_does_either(client, folder, name):
    for action in ("open", "resume", "rename", "note", "delete"):
        assert do(client, name, action, to="x", note="x").status_code in (404, 405, 409), action
    assert client.get(f"/kg/bundle/{name}").status_code == 404
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["begun", "done", "half"]


def test_a_note_is_kept_with_the_run(client, folder):
    assert do(client, "done", "note", note="  first\r\n<b>bold</b>\x07 ünïcode ").status_code == 200
    assert (
        rows(client)["done"]["note"] == "first\n<b>bold</b> ünïcode"
        and (folder / "done" / "note.txt").is_file()
    )
    refused(do(client, "done", "note", note="x" * 501), 409, "too-long", " 500 ", " 501")
    assert (
        do(client, "done", "note", note="").status_code == 200
        and not (folder / "done" / "note.txt").exists()
    )
    assert client.post("/kg/runs/done/note", content=b"x" * 20_000).status_code == 413
    for body in (b"[]", b"{", b'"x"', b"[" * 10_000):
        assert client.post("/kg/runs/done/note", content=body).status_code == 400
    assert (
        do(client, "done", "note").status_code == 409
        and do(client, "done", "explode").status_code == 404
    )


def test_delete_can_be_undone(client, folder):
    do(client, "half", "open")
    before = {f.name: f.read_bytes() for f in (folder / "half").iterdir() if f.is_file()}
    trashed = do(client, "half", "delete").json()["run"]
    assert "half" not in rows(client) and client.get("/kg/live").json()["phase"] == "empty"
    standin.write_run(folder / "half", 1)
    assert client.post("/kg/undo", json={"trashed": trashed}).json() == {"run": "half-2"}
    assert {f.name: f.read_bytes() for f in (folder / "half-2").iterdir() if f.is_file()} == before
    assert client.post("/kg/undo", json={"trashed": trashed}).status_code == 404
    for name in (
        "../done",
        "done",
        "..",
        "",
        "x-1234567890123456789",
        "../../x-1234567890123456789",
    ):
        assert client.post("/kg/undo", json={"trashed": name}).status_code == 404


def test_what_was_deleted_is_removed_after_a_week(client, folder):
    now = time.time_ns()
    trash = folder / ".trash"
    for name in (
        f"old-{now - 8 * 86_400 * 10**9:019d}",
        f"new-{now - 6 * 86_400 * 10**9:019d}",
        "something-else",
    ):
        (trash / name / "batches").mkdir(parents=True)
    (folder / ".opening-0123456789ab").mkdir()
    os.utime(folder / ".opening-0123456789ab", (1, 1))
    actions.RunActions(client.runs).purge()
    assert sorted(p.name.split("-")[0] for p in trash.iterdir()) == [
        "new",
        "something",
    ] and not list(folder.glob(".opening*"))


@pytest.mark.parametrize(
    "address",
    [
        "/kg/runs/done/delete",
        "/kg/runs/done/rename",
        "/kg/runs/done/open",
        "/kg/runs/half/resume",
        "/kg/runs/done/note",
        "/kg/undo",
        "/kg/bundle",
    ],
)
def test_a_foreign_page_changes_nothing(client, folder, address):
    for headers in (FOREIGN, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (
            client.post(address, json={"to": "evil", "note": "evil"}, headers=headers).status_code
            == 403
        )
    assert sorted(rows(client)) == ["begun", "done", "half"] and not rows(client)["done"]["note"]


# --- as one file ----------------------------------------------------------------------------------


def test_a_run_travels_as_one_file(client, folder):
    do(client, "done", "note", note="for a friend")
    answer = client.get("/kg/bundle/done")
    assert answer.headers["content-disposition"] == 'attachment; filename="done.kgen"'
    assert client.post("/kg/bundle", content=answer.content).json() == {"run": "done-2"}
    found = rows(client)
    assert {
        k: v
        for k, v in found["done-2"].items()
        if k not in ("name", "picture", "bytes", "brought", "shown")
    } == {
        k: v
        for k, v in found["done"].items()
        if k not in ("name", "picture", "bytes", "brought", "shown")
    }
    assert (
        found["done-2"]["brought"]
        and client.get(f"/kg/picture/done-2/{found['done-2']['picture']}").content
        == client.get(f"/kg/picture/done/{found['done']['picture']}").content
    )


def test_an_invalid_file_gives_one_sentence(client, folder, monkeypatch):
    for body in (b"", b"PK", b"x" * 100_000, client.get("/kg/bundle/done").content[:-1]):
        answer = client.post("/kg/bundle", content=body)
        assert (
            answer.status_code == 409
            and answer.text.startswith("The file")
            and answer.text.endswith(".")
        )
    monkeypatch.setattr(actions, "MAX_UPLOAD_BYTES", 1_000)
    assert client.post("/kg/bundle", content=iter([b"x" * 900] * 2)).status_code == 409
    monkeypatch.setattr("app.pages.library_routes.MAX_UPLOAD_BYTES", 1_000)
    assert client.post("/kg/bundle", content=b"x" * 1_001).status_code == 413
    assert sorted(rows(client)) == ["begun", "done", "half"] and not [
        p for p in folder.iterdir() if p.name.startswith(".")
    ]


def test_downloads_and_uploads_are_bounded(client, folder):
    found = actions.RunActions(client.runs)
    first, second, *rest = (
        found.download("done", real_images=False, checkpoint=False) for _ in range(4)
    )
    with raises(actions.RunError, "busy"):
        found.download("done", real_images=False, checkpoint=False)
    assert b"".join(first)[:2] == b"PK"
    del second  # nobody needs it anymore
    found.download("half", real_images=False, checkpoint=False)


def test_an_upload_that_stops_coming_is_given_up(client, folder, monkeypatch):
    monkeypatch.setattr(actions, "STALL_TIMEOUT", 0.2)
    found = actions.RunActions(client.runs)

    async def stalled():
        yield b"PK"
        await asyncio.sleep(20)

    with raises(actions.RunError, "incomplete"):
        asyncio.run(found.receive(stalled()))
    assert not list(folder.glob(".incoming*")) and not found._upload_lock.locked()


def test_a_run_that_came_without_its_checkpoint_is_not_resumed(client, folder):
    client.post("/kg/bundle", content=client.get("/kg/bundle/half").content)
    do(client, "half-2", "open")
    snapshot = client.get("/kg/live").json()
    assert snapshot["phase"] == "interrupted" and "resume" not in json.dumps(
        snapshot["alert"]["actions"]
    )
    assert not rows(client)["half-2"]["resumable"]


def test_real_images_of_a_users_own_are_grey_elsewhere(client, folder):
    standin.write_run(folder / "own", 1, real_images="photos")
    assert rows(client)["own"]["own_images"]
    client.post("/kg/bundle", content=client.get("/kg/bundle/own").content)
    client.post("/kg/bundle", content=client.get("/kg/bundle/own?real=1").content)
    assert (
        open_run(folder / "own-2").reference().keys() == {"labels", "embedding"}
        and "images" in open_run(folder / "own-3").reference()
    )
    answer = client.get("/kg/reference/own-2/1").json()
    assert answer["n"] == 40 and not answer["pixels"]


def test_before_a_test_the_teachers_accuracy_is_listed_only_where_its_card_has_it(tmp_path):
    for name, fields, known in (("all", {}, 0.931), ("some", {"classes": (1, 2)}, None)):
        path = standin.write_run(tmp_path / name, 0, **fields)
        assert listing.facts(path)["teacher_score"] == known


def test_a_hostile_file_of_a_run_is_a_sentence(client, folder):
    from safetensors.numpy import save

    (folder / "half" / "batches" / "000001.safetensors").write_bytes(
        save({"images": np.zeros((2, 1, 5), np.uint8), "labels": np.zeros(3)})
    )
    for address in (
        "/kg/group/half/1/1",
        "/kg/sample/half/1/1/0",
        f"/kg/picture/half/{rows(client)['half']['picture']}",
    ):
        assert client.get(address).status_code == 404
    assert threading.active_count() < 50
