"""A user's own teacher: uploads, requests and refusals, over HTTP. The check is a stand-in, except
in one test.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.pages import routes, teacher_routes
from app.process.teacher_checks import FORM_LABELS, TeacherChecks, rephrase
from app.web import uploads
from app.web.errors import Refused
from app.web.uploads import Uploads
from kgen.data import catalogue, classes
from kgen.preflight import request
from kgen.system.paths import ROOT
from kgen.zoo import zoo
from tests.support.errors import raises, refused

OWN = {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"}
ROW = {"kind": "row", "name": "file", "status": "ok", "finding": "torch, 0.1 MB", "advice": ""}
REPORT = {"kind": "report", "ok": True, "saved": None, "rows": [], "spec": {}}


class Check:
    """Stands in for `kgen.preflight.request.inspect`: yields the messages it is given, and waits
    where requested.
    """

    def __init__(self):
        self.orders: list[request.PreflightRequest] = []
        self.says = [ROW, REPORT]
        self.go = threading.Event()
        self.go.set()
        self.wrong: Exception | None = None

    def __call__(self, order, on_start):
        self.orders.append(order)
        for message in self.says:
            assert self.go.wait(30)
            yield {
                name: value.format(path=order.path) if isinstance(value, str) else value
                for name, value in message.items()
            }
        if self.wrong:
            raise self.wrong


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "runs" / ".uploads"


@pytest.fixture
def check() -> Check:
    return Check()


@pytest.fixture
def brought(folder, check):
    brought = TeacherChecks(folder, check)
    yield brought
    check.go.set()
    brought.close()


@pytest.fixture
def client(brought):
    app = FastAPI(middleware=routes.middleware(), openapi_url=None)
    teacher_routes.install(app, brought)
    with TestClient(app, base_url="http://127.0.0.1:7860", headers=OWN) as client:
        yield client


def upload(client, name="pets.pt", content=b"weights"):
    return client.post("/kg/teacher-file", params={"name": name}, content=content)


def ended(client, id: str) -> dict:
    while True:
        found = client.get(f"/kg/check/{id}").json()
        if found["done"]:
            return found


def checked(client, **order) -> dict:
    answer = client.post("/kg/check", json=order)
    assert answer.status_code == 200, answer.text
    return ended(client, answer.json()["id"])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def sentence(answer, status: int) -> str:
    assert (
        answer.status_code == status
        and answer.text.endswith((".", "?"))
        and "\n" not in answer.text
        and "Traceback" not in answer.text
    ), answer.text
    return answer.text


# --- files ----------------------------------------------------------------------------------------


def test_a_file_is_kept_for_a_token_and_its_place_is_not_revealed(client, folder, check):
    answer = upload(client)
    token = answer.json()["file"]
    assert (
        answer.json() == {"file": token}
        and str(folder) not in answer.text
        and files(folder) == ["pets.pt"]
    )
    check.says = [ROW | {"finding": "{path} is damaged", "advice": "see {path}"}, REPORT]
    (row,) = checked(client, file=token)["rows"]
    assert Path(check.orders[0].path).read_bytes() == b"weights"
    assert (row["finding"], row["advice"]) == ("pets.pt is damaged", "see pets.pt")


def test_the_next_file_takes_the_place_of_the_one_before(client, folder):
    first = upload(client).json()["file"]
    assert upload(client, "other.safetensors").status_code == 200 and files(folder) == [
        "other.safetensors"
    ]
    assert "no longer here" in sentence(client.post("/kg/check", json={"file": first}), 410)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/pets.pt", "_.._etc_pets.pt"),
        ("C:\\my pets.PTH", "C_my_pets.PTH"),
        ("zèbre <b>.pt", "z_bre_b_.pt"),
        ("a" * 300 + ".pt", "a" * 97 + ".pt"),
        ("con.pt", "_con.pt"),
        ("last.ckpt", "last.ckpt"),
        ("model_best.pth.tar", "model_best.pth.tar"),
        ("weights", "weights"),
        ("..", "_"),
        ("", "_"),
    ],
)
def test_no_name_leads_out_of_the_folder(client, folder, name, kept):
    assert upload(client, name).status_code == 200
    assert files(folder) == [kept] and files(folder.parent) == [kept]


def test_a_file_that_is_too_large_is_not_kept(client, folder, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
    refused(upload(client, content=b"x" * 1001), 413, "too-large")
    # nor when its length is not announced
    refused(upload(client, content=iter([b"x" * 600] * 2)), 413, "too-large")
    assert not files(folder) and upload(client, content=b"x" * 1000).status_code == 200


def test_a_full_disk_is_said_before_it_is_full(client, folder, monkeypatch):
    free = iter([10**12, uploads.RESERVED_BYTES + 50])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(next(free)))
    refused(upload(client, content=b"x" * 100), 507, "disk-full")
    assert not files(folder)


def test_a_disk_that_takes_nothing_is_a_sentence(client, folder):
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("in the way")
    refused(upload(client), 507, "unwritable")


def test_an_empty_file_is_not_kept(client, folder):
    refused(upload(client, content=b""), 400, "empty")
    assert not files(folder)


@pytest.mark.parametrize(
    "error", [ConnectionResetError("gone"), RuntimeError("gone"), asyncio.CancelledError()]
)
def test_half_a_file_is_removed_when_the_page_goes_away(folder, error):
    async def chunks():
        yield b"half"
        assert files(folder) == ["pets.pt"]
        raise error

    kept = Uploads(folder)
    with pytest.raises((Refused, RuntimeError, asyncio.CancelledError)):
        asyncio.run(kept.store("pets.pt", chunks()))
    assert not folder.exists()


def test_two_files_at_once_are_one_too_many(folder):
    kept = Uploads(folder)

    async def nothing():
        yield b""

    async def chunks():
        yield b"first"
        with raises(Refused, "busy"):
            await kept.store("second.pt", nothing())

    token = asyncio.run(kept.store("first.pt", chunks()))
    assert kept.path(token).read_bytes() == b"first"


def test_uploads_go_at_the_start_at_the_end_and_when_the_teacher_is_kept(
    client, folder, check, brought
):
    folder.mkdir(parents=True)
    (folder / "left.pt").write_text("of an earlier life")
    TeacherChecks(folder, check)
    assert not folder.exists()
    check.says = [REPORT | {"saved": "/somewhere/teachers/my-pets.safetensors"}]
    assert (
        checked(client, file=upload(client).json()["file"], save="my-pets")["saved"] == "my-pets"
        and not folder.exists()
    )
    upload(client)
    brought.close()
    assert not folder.exists()


def test_a_teacher_saved_by_its_path_leaves_the_upload_of_another_tab_alone(client, folder, check):
    check.says = [REPORT | {"saved": "/somewhere/teachers/my-pets.safetensors"}]
    token = upload(client).json()["file"]
    assert checked(client, path="other.pt", save="my-pets")["saved"] == "my-pets"
    assert checked(client, file=token)["ok"]


# --- requests -------------------------------------------------------------------------------------


def test_the_text_of_the_form_becomes_a_request(client, check):
    checked(
        client,
        path="~/pets.pth",
        architecture="resnet18",
        classes="cat\n great white shark, or man-eater \n",
        mean="0.5, 0.4,0.3",
        std="1,1,1",
        side=64,
        n_train=3000,
        title="",
        data="",
        by_order=False,
        half=True,
    )
    (order,) = check.orders
    assert (
        order.path == str(Path.home() / "pets.pth")
        and order.classes == ("cat", "great white shark, or man-eater")
        and order.mean == (0.5, 0.4, 0.3)
    )
    assert (order.side, order.n_train, order.title, order.data, order.half, order.save) == (
        64,
        3000,
        None,
        None,
        True,
        None,
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cat, dog", ("cat", "dog")),
        ('["cat, wild", "dog"]', ("cat, wild", "dog")),
        (" cifar10\n", classes.names("cifar10")),
        ("cat\r\n\r\ndog", ("cat", "dog")),
    ],
)
def test_class_names_as_people_write_them(client, check, text, names):
    checked(client, path="pets.pt", classes=text)
    assert check.orders[0].classes == names


def test_a_file_of_class_names_is_understood_by_its_kind(client, check):
    checked(client, path="pets.pt", classes="name\ncat\ndog\n", classes_file="pets.csv")
    assert check.orders[0].classes == ("cat", "dog") and "pets.csv" in check.orders[0].classes_from


def test_no_file_is_read_for_class_names(client, tmp_path, check):
    (tmp_path / "names.txt").write_text("secret\nnames")
    assert "names" in sentence(
        client.post("/kg/check", json={"path": "pets.pt", "classes": str(tmp_path / "names.txt")}),
        400,
    )


@pytest.mark.parametrize(
    ("order", "code", "fact"),
    [
        ([], "invalid-request", ""),
        (None, "not-json", ""),
        ("pets.pt", "invalid-request", ""),
        ({}, "no-choice", ""),
        ({"file": "a", "path": "b"}, "no-choice", ""),
        ({"path": ' "" '}, "no-choice", ""),
        ({"path": 7}, "invalid-path", ""),
        ({"path": "a\0b.pt"}, "invalid-path", ""),
        ({"path": "x" * 5000}, "invalid-path", ""),
        ({"path": ["a"]}, "invalid-path", ""),
        ({"path": "~nobody-of-that-name/x.pt"}, "unknown-user", "~nobody-of-that-name"),
        ({"path": "a.pt", "colour": 1}, "invalid-value", "colour is 1"),
        ({"path": "a.pt", "side": 10**9}, "invalid-value", "Side is 1000000000"),
        ({"path": "a.pt", "classes": ["cat", {}]}, "invalid-value", "classes.1"),
        ({"path": "a.pt", "classes": "cat"}, "invalid-classes", "'cat'"),
        ({"path": "a.pt", "classes": "[" * 9000}, "not-json", ""),
        ({"path": "a.pt", "classes": "cat,\x1b[2J"}, "invalid-value", "name 2 "),
        ({"path": "a.pt", "classes": "1,2", "classes_file": "n.json"}, "not-json", "n.json"),
        ({"path": "a.pt", "architecture": "net.py:f"}, "command-line-only", "--arch net.py:f"),
        ({"path": "a.pt", "architecture": "net.py"}, "invalid-value", "net.py:build"),
        ({"path": "a.pt", "arguments": "pretrained=true"}, "invalid-value", "pretrained"),
        ({"path": "a.pt", "mean": "0.5"}, "invalid-value", "ean and std"),
        ({"path": "a.pt", "mean": "a", "std": "1"}, "invalid-value", "Mean is 'a'"),
        ({"path": "a.pt", "mean": "nan", "std": "1"}, "invalid-value", "mean"),
        ({"path": "a.pt", "half": "perhaps"}, "invalid-value", "Half precision is 'perhaps'"),
        ({"path": "a.pt", "save": "../x"}, "invalid-name", "'../x'"),
        ({"path": "a.pt", "save": "fashion-cnn"}, "exists", "'fashion-cnn'"),
        ({"path": "a.pt", "save": "nul.x"}, "invalid-name", "'nul.x'"),
    ],
)
def test_a_hostile_request_is_refused_in_a_sentence(client, check, order, code, fact):
    refused(client.post("/kg/check", json=order), 400, code, fact)
    assert not check.orders


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b"NaN x"])
def test_what_is_not_json_is_refused(client, check, body):
    refused(client.post("/kg/check", content=body), 400, "not-json")
    assert not check.orders


def test_the_size_of_a_request_is_bounded(client, check):
    for content in (b" " * (teacher_routes.MAX_BODY_BYTES + 1), iter([b" " * 10**5] * 11)):
        refused(client.post("/kg/check", content=content), 413, "too-large", "1 MB")
    checked(client, path="a.pt", classes="\n".join(f"class {i}" for i in range(50_000)))


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
@pytest.mark.parametrize("address", ["/kg/check", "/kg/teacher-file?name=pets.pt"])
def test_a_page_of_another_site_brings_nothing(client, folder, check, headers, address):
    assert client.post(address, content=b'{"path": "a.pt"}', headers=headers).status_code == 403
    assert not check.orders and not files(folder)


# --- the check ------------------------------------------------------------------------------------


def test_rows_are_reported_as_they_are_found_and_a_second_check_waits_its_turn(client, check):
    check.go.clear()
    id = client.post("/kg/check", json={"path": "a.pt"}).json()["id"]
    assert client.get(f"/kg/check/{id}").json() == {
        "rows": [],
        "done": False,
        "ok": False,
        "error": None,
        "saved": None,
    }
    refused(client.post("/kg/check", json={"path": "b.pt"}), 409, "busy")
    refused(upload(client), 409, "busy")
    check.go.set()
    found = ended(client, id)
    assert found["ok"] and found["rows"] == [
        {name: ROW[name] for name in ("name", "status", "finding", "advice")}
    ]
    other = client.post("/kg/check", json={"path": "b.pt"}).json()["id"]
    ended(client, other)
    refused(client.get(f"/kg/check/{id}"), 404, "unknown-check")


def test_no_check_is_known_before_the_first(client):
    for id in ("x", "%20", "..%2f"):
        assert client.get(f"/kg/check/{id}").status_code == 404


def test_an_error_is_a_sentence_in_the_pages_words(client, check):
    check.says = [{"kind": "error", "text": "{path} is no file; leave out --half."}]
    found = checked(client, file=upload(client).json()["file"])
    assert not found["ok"] and found["error"] == "pets.pt is no file; leave out “Half precision”."
    check.says, check.wrong = [ROW], RuntimeError("/a/place of this machine")
    found = checked(client, path="a.pt")
    assert "failed (RuntimeError)" in found["error"] and len(found["rows"]) == 1
    check.wrong = None
    assert not checked(client, path="a.pt")["error"], "and the next one works"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Name it, for example --arch resnet18.", "Name it, for example resnet18."),
        ("Set --mean and --std.", "Set “Mean” and “Std”."),
        ("try --by-order.", "try “Match by order”."),
        ("Use smaller --resolutions.", "Use smaller “--resolutions” on the command line."),
        (
            "your own: --set real_images=FOLDER.",
            "your own: “Real test images” in the sidebar, under “More”.",
        ),
        ("later with --real", "later with “Real test images” in the sidebar, under “More”"),
        (
            "name it with --arch FILE.py:NAME.",
            "name it with “--arch FILE.py:NAME” on the command line.",
        ),
        ("Use `kgen preflight --arch a.py:b --half`.",) * 2,
        (
            "or --set target.sigma_fraction=0.25.",
            "or “target.sigma_fraction=0.25” on the command line.",
        ),
        (
            "run with --set embedding=center, which needs no text",
            "run with “embedding=center” in the sidebar, under “More”, which needs no text",
        ),
    ],
)
def test_the_command_lines_words_become_the_pages(said, told):
    assert rephrase(said) == told


def test_every_option_that_a_message_names_is_in_the_dialog_or_said_to_be_elsewhere():
    """An option that the dialog lacks belongs to the command line, where the message sends one."""
    sources = [*(ROOT / "kgen" / "preflight").glob("*.py")]
    sources += [ROOT / "kgen" / name for name in ("zoo/zoo.py", "nets/own_code.py")]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    named = set(re.findall(r"--([a-z][a-z-]*[a-z])", text)) - {"set", "real", "save"}
    assert named - FORM_LABELS.keys() == {"channels", "resolutions"}
    dialog = (ROOT / "app/static/setup/teacher_dialog.js").read_text(encoding="utf-8")
    assert all(f"'{label}'" in dialog for label in FORM_LABELS.values())


def test_an_error_while_saving_does_not_show_where_teachers_are(client, check, tmp_path):
    file = catalogue.teacher_file("mine")
    check.says = [{"kind": "error", "text": f"{file}.tmp cannot be written: no space."}]
    error = checked(client, path="a.pt", save="mine")["error"]
    assert error == "mine.safetensors.tmp cannot be written: no space."


def test_the_apps_end_ends_a_check(folder, monkeypatch):
    """A real child that never exits on its own."""
    monkeypatch.setattr(request, "_failure_message", lambda *_: "It was ended.")
    popen, children = subprocess.Popen, []

    def sleeping(command, **options):
        children.append(popen([sys.executable, "-c", "import time; time.sleep(600)"], **options))
        return children[-1]

    monkeypatch.setattr(request.subprocess, "Popen", sleeping)
    brought = TeacherChecks(folder)
    id = brought.start({"path": "a.pt"})
    while not children:
        pass
    brought.close()
    assert children[0].poll() is not None and brought.report(id)["done"]


def test_suggestions(client):
    known = client.get("/kg/known").json()
    assert (
        "resnet18" in known["architectures"]
        and "small-cnn-20k" in known["architectures"]
        and "cifar10" in known["data"]
    )


@pytest.mark.slow
def test_a_real_file_is_checked_kept_and_a_teacher_then(folder):
    """Through the real child: the bundled teacher's file, which contains its card."""
    app = FastAPI(middleware=routes.middleware(), openapi_url=None)
    brought = TeacherChecks(folder)
    teacher_routes.install(app, brought)
    with TestClient(app, base_url="http://127.0.0.1:7860", headers=OWN) as client:
        token = upload(
            client, "My CNN.safetensors", zoo.TEACHERS["fashion-cnn"].read_bytes()
        ).json()["file"]
        found = checked(client, file=token, title="Mine", save="my-cnn")
        assert (
            found["ok"]
            and found["saved"] == "my-cnn"
            and [r["name"] for r in found["rows"]][:3] == ["file", "architecture", "tensors"]
        ), found
        assert (
            zoo.card("my-cnn").title == "Mine"
            and not folder.exists()
            and str(folder) not in json.dumps(found)
        )
        twice = sentence(client.post("/kg/check", json={"path": "a.pt", "save": "my-cnn"}), 400)
        assert "named my-cnn already" in twice and "delete my-cnn.safetensors." in twice
        absent = checked(client, path=str(folder.parent / "absent.pt"))
        assert not absent["ok"] and "does not exist" in absent["rows"][0]["finding"]
    brought.close()
