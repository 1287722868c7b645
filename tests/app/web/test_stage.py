"""What the presenter shows, how many are watching, the invitation, and the addresses in it."""

from __future__ import annotations

import io
import socket

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from app import launch, main
from app.pages import routes, stage_routes
from app.process.runs import Runs
from app.web import addresses, stage
from app.web.publish import publish
from app.web.roles import AccessControl
from app.web.stage import Stage
from tests.support.errors import refused

TOKEN = "the-presenters-own-token"


@pytest.fixture
def runs(tmp_path):
    runs = Runs(tmp_path / "runs")
    yield runs
    runs.close()


def clients(runs: Runs) -> tuple[TestClient, TestClient]:
    """(a viewer, the presenter) of one app."""
    presenting = AccessControl(TOKEN)
    app = FastAPI(
        middleware=routes.middleware(None, None, presenting),
        dependencies=[Depends(presenting.check)],
    )
    routes.install(
        app,
        runs,
        presenting,
        links=["http://192.168.1.7:7860/"],
        page="<p>watch</p>",
        theme=":root {}",
    )
    viewer, presenter = (TestClient(app, base_url="http://127.0.0.1:7860") for _ in range(2))
    presenter.cookies.set(presenting.cookie, TOKEN)
    return viewer, presenter


def test_viewers_never_get_what_only_the_presenter_may_read(runs):
    viewer, presenter = clients(runs)
    runs._publish(publish({"phase": "failed", "why": "/home/x"}, {"phase": "failed"}))
    mine, theirs = (client.get("/kg/live") for client in (presenter, viewer))
    assert mine.json()["why"] == "/home/x" and "why" not in theirs.json()
    assert mine.headers["etag"] != theirs.headers["etag"]
    for client, answer in ((presenter, mine), (viewer, theirs)):
        again = client.get("/kg/live", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304


# --- what is shown --------------------------------------------------------------------------------


def test_what_the_presenter_shows_reaches_every_poll_even_where_nothing_else_is_new(runs):
    viewer, presenter = clients(runs)
    first = viewer.get("/kg/live")
    assert "x-kgen-shown" not in first.headers
    assert (
        presenter.post(
            "/kg/shown",
            json={
                "tab": "inspect",
                "sel": "12:3",
                "class": "7",
                "t": "1.5",
                "colour": "",
                "run": "a-b_c.1",
            },
        ).status_code
        == 200
    )
    again = viewer.get("/kg/live", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    mark, _, told = again.headers["x-kgen-shown"].partition(";")
    assert told == "tab=inspect&sel=12:3&class=7&t=1.5&colour=&run=a-b_c.1"
    presenter.post("/kg/shown", json={})
    assert viewer.get("/kg/live").headers["x-kgen-shown"] not in ("", f"{mark};") and viewer.get(
        "/kg/live"
    ).headers["x-kgen-shown"].endswith(";")


@pytest.mark.parametrize(
    "said",
    [
        [],
        "tab",
        7,
        None,
        {"tab": 1},
        {"tab": None},
        {"Tab": "x"},
        {"__theme": "dark"},
        {"": "x"},
        {"a" * 13: "x"},
        {"tab": "a" * 401},
        {"tab": "a b"},
        {"tab": "a&b"},
        {"tab": "a;b"},
        {"tab": "ä"},
        {"tab": "x\r\nSet-Cookie: a=b"},
        {"tab": "x\n"},
        {"tab\n": "x"},
        {"tab": "<b>"},
        {"tab": "javascript:alert(1)"},
        {chr(97 + i) * 2: "x" for i in range(17)},
    ],
)
def test_anything_else_is_refused_in_a_sentence_and_not_shown(runs, said):
    viewer, presenter = clients(runs)
    answer = presenter.post("/kg/shown", json=said)
    refused(answer, 400, answer.headers["x-kgen-code"])
    assert "x-kgen-shown" not in viewer.get("/kg/live").headers


@pytest.mark.parametrize(
    "body, status",
    [(b"{", 400), (b"\xff\xfe", 400), (b"[" * 4000, 400), (b" " * 5000, 413), (b"", 400)],
)
def test_an_invalid_body_is_refused(runs, body, status):
    _, presenter = clients(runs)
    answer = presenter.post("/kg/shown", content=body)
    refused(answer, status, "too-large" if status == 413 else "not-json")


# --- who is there ---------------------------------------------------------------------------------


def test_pages_are_counted_by_their_polls_and_only_the_presenter_is_told(runs):
    viewer, presenter = clients(runs)
    for page in ("0011223344aa", "0011223344aa", "0011223344bb", "no page", "", "g" * 12):
        assert "x-kgen-viewers" not in viewer.get("/kg/live", headers={"X-KGen-Page": page}).headers
    presenter.get("/kg/live", headers={"X-KGen-Page": "0011223344cc"})
    assert presenter.get("/kg/live").headers["x-kgen-viewers"] == "2"


def test_who_asks_no_more_is_forgotten_and_no_one_can_fill_the_memory(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(stage.time, "monotonic", lambda: clock[0])
    here = Stage()
    for i in range(3 * stage.MAX_PAGES):
        here.record_poll(f"{i:08x}")
    assert here.viewers() == stage.MAX_PAGES == len(here._pages)
    clock[0] = stage.VIEWER_TIMEOUT + 1
    here.record_poll("0" * 12)
    assert here.viewers() == 1 == len(here._pages)
    clock[0] *= 3
    assert here.viewers() == 0


# --- the invitation -------------------------------------------------------------------------------


def test_the_code_is_a_picture_for_the_presenter(runs):
    viewer, presenter = clients(runs)
    answer = presenter.get("/kg/invite.svg")
    assert (
        answer.headers["content-type"] == "image/svg+xml"
        and answer.text.startswith("<svg")
        and "<script" not in answer.text
    )
    assert viewer.get("/kg/invite.svg").status_code == 403


@pytest.mark.parametrize(
    "address",
    ["http://192.168.1.7:7860/", "https://kgen.example.org/a/rather/long/path/behind/a/proxy/"],
)
def test_the_codes_modules_are_those_of_the_address(address):
    """Oracle: the library's own picture of the same address, module by module."""
    import segno

    out = io.BytesIO()
    segno.make(address, error="m", micro=False).save(out, kind="png", scale=1, border=2)
    picture = Image.open(out).convert("L")
    lines = stage_routes.qr_text(address, colored=False).split("\n")
    for y in range(picture.height):
        for x in range(picture.width):
            sign = lines[y // 2][x]
            light = sign == "█" or sign == ("▄" if y % 2 else "▀")
            assert light == (picture.getpixel((x, y)) > 127), (x, y)
    assert all(
        line.startswith("\x1b[97;40m") and line.endswith("\x1b[0m")
        for line in stage_routes.qr_text(address, colored=True).split("\n")
    )


def test_the_terminal_names_every_address_and_the_token_once(capsys):
    main.invite(
        ["http://192.168.1.7:7860/", "http://10.0.0.3:7860/"],
        f"http://127.0.0.1:7860/?token={TOKEN}",
        "0.0.0.0",
    )
    said = capsys.readouterr().out
    assert (
        "For the audience: http://192.168.1.7:7860/\n" in said
        and "http://10.0.0.3:7860/" in said
        and said.count(TOKEN) == 1
        and "█" in said
    )
    main.invite(["http://127.0.0.1:7860/"], "x", "127.0.0.1")
    assert "--host 0.0.0.0" in capsys.readouterr().out
    main.invite(["http://localhost:7860/"], "x", "0.0.0.0")
    said = capsys.readouterr().out
    assert "Only this computer" in said and "--link" in said
    assert "--host" not in said, "in a container, it is open already"


# --- addresses ------------------------------------------------------------------------------------


def test_nothing_is_sent_and_no_name_is_looked_up(monkeypatch):
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getfqdn"):
        monkeypatch.setattr(socket, name, lambda *a, **k: pytest.fail("a look-up"))
    for address in addresses.addresses("0.0.0.0"):
        assert socket.inet_aton(address) and not address.startswith("127.")
    assert addresses.addresses("0.0.0.0") == addresses.addresses("::") and len(
        set(addresses.addresses("::"))
    ) == len(addresses.addresses("::"))


def test_the_likeliest_address_comes_first(monkeypatch):
    monkeypatch.setattr(
        addresses,
        "_source_address",
        {
            "192.0.2.1": "172.17.0.1",
            "10.255.255.254": "10.0.0.3",
            "169.254.255.254": "169.254.7.7",
        }.get,
    )
    monkeypatch.setattr(
        addresses, "_interface_addresses", lambda: ["127.0.0.1", "192.168.1.7", "10.0.0.3"]
    )
    assert addresses.addresses("0.0.0.0") == [
        "10.0.0.3",
        "192.168.1.7",
        "172.17.0.1",
        "169.254.7.7",
    ]


@pytest.mark.parametrize(
    "host, found",
    [
        ("127.0.0.1", []),
        ("::1", []),
        ("localhost", []),
        ("192.168.1.7", ["192.168.1.7"]),
        ("fe80::1", ["fe80::1"]),
        ("kgen.local", ["kgen.local"]),
    ],
)
def test_an_address_that_was_named_is_the_one(host, found):
    assert addresses.addresses(host) == found


def test_links():
    assert (
        addresses.link("192.168.1.7", 7860) == "http://192.168.1.7:7860/"
        and addresses.link("fe80::1", 80, "/kgen") == "http://[fe80::1]:80/kgen/"
    )


def test_exactly_the_hosts_that_were_printed_are_answered(monkeypatch, runs):
    monkeypatch.setattr(addresses, "addresses", lambda host: ["192.168.1.7", "10.0.0.3"])
    args = launch.arguments(
        ["--host", "0.0.0.0", "--presenter", "--token", TOKEN, "--allow-host", "kgen.example.org"]
    )
    presenting = AccessControl(TOKEN)
    app = FastAPI(
        middleware=main.launch_settings(args, 7860, presenting)["app_kwargs"]["middleware"]
    )
    routes.install(app, runs, presenting, links=["http://192.168.1.7:7860/"])
    with TestClient(app) as client:
        for host, status in {
            "192.168.1.7:7860": 200,
            "10.0.0.3:7860": 200,
            "kgen.example.org": 200,
            "127.0.0.1:7860": 200,
            "0.0.0.0:7860": 421,
            "192.168.1.8:7860": 421,
            "192.168.1.7.evil.example": 421,
            "evil.example": 421,
        }.items():
            assert client.get("/kg/live", headers={"Host": host}).status_code == status, host
        cookie = {"Cookie": f"{presenting.cookie}={TOKEN}", "Host": "192.168.1.7:7860"}
        assert (
            client.post(
                "/kg/shown", json={}, headers=cookie | {"Origin": "http://192.168.1.7:7860"}
            ).status_code
            == 200
        )
        for origin in (
            "http://10.0.0.3.evil.example",
            "http://192.168.1.8:7860",
            "http://192.168.1.7.evil.example:7860",
            "http://evil.example",
        ):
            assert (
                client.post("/kg/shown", json={}, headers=cookie | {"Origin": origin}).status_code
                == 403
            ), origin
