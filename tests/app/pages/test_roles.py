"""Role × endpoint: every route and every callback of the app as it is served, for an outsider, a
viewer and the presenter.

An outsider uses a foreign host name; a viewer has the audience's link; the presenter has the
cookie.
"""

from __future__ import annotations

import gc
import json
import re
import socket
import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from app import launch, main
from app.pages import audience, folder_routes, routes, studio, teacher_routes
from app.process.folder_checks import FolderChecks
from app.process.runs import Runs
from app.process.teacher_checks import TeacherChecks
from app.web.roles import (
    CALLBACKS,
    INVALID_TOKEN,
    PRESENTER,
    PRESENTER_ONLY,
    ROUTES,
    VIEWER,
    AccessControl,
    required_role,
    resolve_token,
)
from tests.support import standin

TOKEN = "the-presenters-own-token"
# Gradio leaves its event loops to the garbage collector when a server is closed
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """The app as `launch.py --presenter` assembles it, on its own port; its engine is a stand-
    in.
    """
    folder = tmp_path_factory.mktemp("roles")
    standin.write_run(folder / "runs" / "done")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    args = launch.arguments(
        [
            "--presenter",
            "--token",
            TOKEN,
            "--port",
            str(port),
            "--link",
            "https://kgen.example.org",
            "--no-browser",
        ]
    )
    presenting = AccessControl(args.token, port)
    runs = Runs(folder / "runs", (sys.executable, "-m", "tests.support.standin"))
    brought = TeacherChecks(folder / "uploads")
    demo = main.build(runs, presenting)
    app, _, _ = demo.launch(**main.launch_settings(args, port, presenting))
    routes.install(
        app,
        runs,
        presenting,
        links=[args.link],
        page=audience.page("", "v", main.STYLES),
        theme=":root {}",
    )
    teacher_routes.install(app, brought)
    folder_routes.install(app, FolderChecks())
    address = f"http://127.0.0.1:{port}"
    with (
        httpx.Client(base_url=address, timeout=20) as viewer,
        httpx.Client(base_url=address, timeout=20) as presenter,
    ):
        presenter.cookies.set(presenting.cookie, TOKEN)
        found = SimpleNamespace(
            app=app,
            demo=demo,
            runs=runs,
            brought=brought,
            presenting=presenting,
            viewer=viewer,
            presenter=presenter,
            port=port,
        )
        yield found
        found.__dict__.clear()  # pytest keeps it
    brought.close()
    runs.close()
    demo.close(verbose=False)
    del app, demo
    with (
        warnings.catch_warnings()
    ):  # collect Gradio's event loops here rather than in some other test
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def endpoints(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path, including those of Gradio's own router."""

    def walk(found) -> Iterator[tuple[str, str]]:
        for route in found:
            router = getattr(
                route, "original_router", None
            )  # newer versions of FastAPI keep an included router whole
            if router is not None:
                yield from walk(router.routes)
            else:
                assert route.methods, f"{route}: who may use it?"
                yield from ((method, route.path) for method in route.methods)

    return sorted(set(walk(app.routes)))


def filled(path: str) -> str:
    return re.sub(r"{[^}]*}", "1", path)


def asked(client: httpx.Client, method: str, path: str, **more) -> tuple[int, str]:
    """Status and the first words: some of Gradio's responses never end."""
    try:
        with client.stream(method, filled(path), **more) as answer:
            text = (
                ""
                if "event-stream" in answer.headers.get("content-type", "")
                else answer.read().decode(errors="replace")
            )
            return answer.status_code, text
    except httpx.TimeoutException:
        return 0, ""
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return 500, ""  # Gradio's own: its icon for phones is not an SVG


# --- routes ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_route_below_kg_is_declared_and_every_declared_one_is_there(served):
    there = {f"{method} {path}" for method, path in endpoints(served.app)}
    assert len(there) > 60, "Gradio's own are among them"
    assert {e for e in there if e.split(" ")[1].startswith("/kg/")} <= set(ROUTES), (
        "declare in app/web/roles.py who may use a new route"
    )
    assert set(ROUTES) <= there


def test_nobody_is_answered(served):
    for method, path in endpoints(served.app):
        assert asked(served.viewer, method, path, headers={"Host": "evil.example"})[0] == 421, (
            method,
            path,
        )
        assert asked(served.presenter, method, path, headers={"Host": "evil.example"})[0] == 421, (
            method,
            path,
        )


def test_a_viewer_reads_what_viewers_may_and_nothing_else(served):
    for method, path in endpoints(served.app):
        status, text = asked(served.viewer, method, path)
        if (method, path) == ("GET", "/"):
            assert status == 200 and "gradio_config" not in text and 'data-role="viewer"' in text
        elif required_role(method, path) == VIEWER:
            assert status not in (401, 403, 405, 421), (method, path)
        else:
            assert status == 403 and (
                PRESENTER_ONLY in text
                or "does not accept uploads" in text
                or "does not fetch" in text
                or method == "HEAD"
            ), (method, path, text)


def test_the_presenter_is_never_refused_for_being_nobody(served):
    for method, path in endpoints(served.app):
        assert PRESENTER_ONLY not in asked(served.presenter, method, path, timeout=1)[1], (
            method,
            path,
        )


def test_without_the_door_the_routes_themselves_refuse(served):
    app = FastAPI(dependencies=[Depends(served.presenting.check)])
    routes.install(app, served.runs, served.presenting, links=["http://x/"])
    teacher_routes.install(app, served.brought)
    folder_routes.install(app, FolderChecks())
    with TestClient(app) as client:
        for route, role in ROUTES.items():
            method, path = route.split(" ")
            if path.startswith("/kg/"):
                answer = client.request(method, filled(path))
                assert (answer.status_code == 403) == (role == PRESENTER), route


def test_what_is_in_no_line_is_the_presenters():
    assert (
        required_role("GET", "/kg/new/{thing}")
        == required_role("POST", "/kg/new")
        == required_role("DELETE", "/kg/new")
        == PRESENTER
    )
    assert (
        required_role("GET", "/gradio_api/new")
        == required_role("GET", "/")
        == required_role("GET", "")
        == PRESENTER
    )


# --- Gradio's callbacks ---------------------------------------------------------------------------


def callbacks(demo: gr.Blocks) -> dict[int, gr.blocks.BlockFunction]:
    return {
        id: fn
        for id, fn in demo.fns.items()
        if fn.fn is not None
        and fn.fn is not False
        and dict(fn.get_config()).get("backend_fn", True)
    }


def test_every_callback_is_declared(served):
    assert {fn.fn.__name__ for fn in callbacks(served.demo).values()} == set(CALLBACKS)
    with pytest.raises(KeyError):
        studio.guarded(lambda: None, served.presenting)


def request(cookie: str = "") -> gr.Request:
    return gr.Request(
        request=Request(
            {
                "type": "http",
                "method": "POST",
                "path": "/",
                "query_string": b"",
                "headers": [(b"cookie", cookie.encode())],
            }
        )
    )


def test_every_callback_refuses_a_viewer_by_itself(served, monkeypatch):
    monkeypatch.setattr(served.runs, "start", lambda recipe: pytest.fail("started"))
    monkeypatch.setattr(served.runs, "control", lambda *what: pytest.fail("controlled"))
    for fn in callbacks(served.demo).values():
        given = (
            [None] * len(fn.inputs) if fn.fn.__name__ != "adopted" else [SimpleNamespace(_data={})]
        )
        for cookie in (
            "",
            f"{served.presenting.cookie}=",
            f"{served.presenting.cookie}={TOKEN[:-1]}",
            f"other={TOKEN}",
        ):
            with pytest.raises(gr.Error) as refused:
                fn.fn(request(cookie), *given)
            assert refused.value.message == PRESENTER_ONLY


@pytest.mark.slow
def test_forged_calls_are_refused_in_words_and_the_presenters_run(served):
    for id, fn in callbacks(served.demo).items():
        order = {
            "fn_index": id,
            "data": [None] * len(fn.inputs),
            "session_hash": f"s{id}",
            "event_data": {},
        }
        for path in (
            "/gradio_api/queue/join",
            "/gradio_api/run/predict",
            "/gradio_api/call/predict",
        ):
            answer = served.viewer.post(path, json=order)
            expected = (403, {"error": PRESENTER_ONLY})
            assert (answer.status_code, answer.json()) == expected, fn.fn.__name__
        assert not served.runs.active
    for id, fn in callbacks(served.demo).items():
        order = {
            "fn_index": id,
            "data": [None] * len(fn.inputs),
            "session_hash": f"s{id}",
            "event_data": {},
        }
        assert served.presenter.post("/gradio_api/queue/join", json=order).status_code == 200
        done = None
        with served.presenter.stream("GET", f"/gradio_api/queue/data?session_hash=s{id}") as answer:
            for line in answer.iter_lines():
                said = json.loads(line[6:]) if line.startswith("data: ") else {}
                done = said if said.get("msg") == "process_completed" else done
                if said.get("msg") in ("process_completed", "close_stream"):
                    break
        assert done and done["success"], (fn.fn.__name__, done)
    if served.runs.active:  # one of them resumed the run being shown
        served.runs.control("stop")


# --- the token ------------------------------------------------------------------------------------


def test_the_token_leaves_the_address_and_becomes_a_cookie_that_no_script_sees(served):
    answer = served.viewer.get("/", params={"token": TOKEN, "tab": "runs", "sel": "1:2"})
    assert (
        answer.status_code == 303
        and answer.headers["location"] == "./?tab=runs&sel=1%3A2"
        and TOKEN not in answer.text
    )
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(
        cookie.split("; ")
    ) and "Secure" not in cookie
    assert (
        answer.headers["referrer-policy"] == "same-origin"
        and answer.headers["cache-control"] == "no-store"
    )
    served.viewer.cookies.clear()


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ä" * 20])
def test_another_token_is_refused_in_a_sentence(served, token):
    answer = served.viewer.get("/", params={"token": token})
    assert (
        answer.status_code == 403
        and answer.text == INVALID_TOKEN
        and "set-cookie" not in answer.headers
    )


def test_this_computer_alone_is_a_viewer_and_so_is_whoever_comes_through_a_proxy(served):
    assert served.viewer.get("/kg/me").json() == {"role": VIEWER, "audience": True}
    assert served.presenter.get("/kg/me").json() == {
        "role": PRESENTER,
        "audience": True,
        "links": ["https://kgen.example.org/"],
    }
    forwarded = {
        "Host": "kgen.example.org",
        "X-Forwarded-For": "127.0.0.1",
        "Forwarded": "for=127.0.0.1",
    }
    assert served.viewer.get("/kg/me", headers=forwarded).json()["role"] == VIEWER
    assert (
        served.viewer.get("/kg/me", headers={"Cookie": f"kgen-presenter-1={TOKEN}"}).json()["role"]
        == VIEWER
    ), "of another app on this host"


def test_behind_a_proxy_that_speaks_https_the_cookie_stays_there():
    presenting = AccessControl(TOKEN, 7860, "/kgen")
    app = FastAPI(middleware=routes.middleware(["kgen.example.org"], None, presenting))
    with TestClient(app, base_url="https://kgen.example.org", follow_redirects=False) as client:
        for path in ("/", "/kgen/"):
            cookie = client.get(f"{path}?token={TOKEN}").headers["set-cookie"]
            assert {"Secure", "Path=/kgen/"} <= set(cookie.split("; "))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "short",
        "fifteen-letters",
        "a" * 201,
        "with spaces in it!",
        "semicolon;in;the;middle",
        "sixteen letters\n",
    ],
)
def test_a_token_that_can_be_guessed_or_is_not_a_cookie_is_refused(token):
    with pytest.raises(ValueError, match="16 to 200"):
        resolve_token(token, {})


def test_where_the_token_comes_from():
    assert resolve_token(TOKEN, {"KGEN_TOKEN": "another-token-of-the-environment"}) == TOKEN
    assert resolve_token(None, {"KGEN_TOKEN": TOKEN}) == TOKEN
    made = {resolve_token(None, {}) for _ in range(20)}
    assert len(made) == 20 and all(len(token) >= 32 for token in made)


@pytest.mark.slow
def test_without_an_audience_everyone_here_is_the_presenter():
    alone = AccessControl()
    assert (
        alone.role(request().request) == PRESENTER
        and not alone.is_presenter_token("")
        and not alone.is_presenter_token(None)
    )
