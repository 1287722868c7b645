"""Which requests are answered behind a proxy that rewrites Host or Origin, and what a rejection
says.
"""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.web import guard

PORT = 7860
PUBLIC = "kgen.example.org"


def written(request):
    return PlainTextResponse("written")


def client(*hosts: str) -> TestClient:
    routes = [Route(path, written, methods=["POST"]) for path in ("/x", "/gradio_api/queue/join")]
    routes.append(Route("/", written))
    app = Starlette(routes=routes, middleware=guard.middleware(hosts))
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}")


REWRITTEN = [
    ("nginx: Host", f"127.0.0.1:{PORT}", f"https://{PUBLIC}"),
    ("Caddy: neither", PUBLIC, f"https://{PUBLIC}"),
    ("a port of its own", f"{PUBLIC}:8443", f"https://{PUBLIC}:8443"),
    ("Origin to localhost", PUBLIC, f"http://localhost:{PORT}"),
    ("both, differently", f"127.0.0.1:{PORT}", f"http://localhost:{PORT}"),
    ("both, without a name", f"localhost:{PORT}", f"http://[::1]:{PORT}"),
]


@pytest.mark.parametrize(("host", "origin"), [row[1:] for row in REWRITTEN], ids=lambda v: v)
def test_allow_host_is_all_that_a_proxy_needs(host, origin):
    headers = {"Host": host, "Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert client(PUBLIC).post("/x", headers=headers).status_code == 200
    refused = client().post("/x", headers=headers)
    assert refused.status_code in (403, 421) and "--allow-host" in refused.text


PLAIN = [
    (PUBLIC, f"127.0.0.1:{PORT}", f"http://{PUBLIC}"),
    (PUBLIC, PUBLIC, f"http://{PUBLIC}"),
    (PUBLIC, f"{PUBLIC}:80", f"http://{PUBLIC}"),
    (PUBLIC, PUBLIC, f"http://localhost:{PORT}"),
    (PUBLIC, f"127.0.0.1:{PORT}", f"http://localhost:{PORT}"),
    ("10.0.0.7", f"10.0.0.7:{PORT}", f"http://10.0.0.7:{PORT}"),
    ("my_app", f"my_app:{PORT}", f"http://my_app:{PORT}"),
    ("fe80::1", f"[fe80::1]:{PORT}", f"http://[fe80::1]:{PORT}"),
    ("2001:0DB8:0::1", f"[2001:db8::1]:{PORT}", f"http://[2001:db8::1]:{PORT}"),
    ("[2001:0DB8:0::1]:9000", f"127.0.0.1:{PORT}", "http://[2001:db8::1]:9000"),
    (f"{PUBLIC}:8080", f"127.0.0.1:{PORT}", f"http://{PUBLIC}:8080"),
    ("localhost:9000", f"127.0.0.1:{PORT}", "http://localhost:9000"),
]


@pytest.mark.parametrize(("allowed", "host", "origin"), PLAIN)
def test_over_plain_http_browsers_do_not_say_which_site_it_is(allowed, host, origin):
    headers = {"Host": host, "Origin": origin}
    assert client(allowed).post("/x", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("allowed", "host", "origin"),
    [
        ("10.0.0.7", f"10.0.0.7:{PORT}", "http://10.0.0.7:9000"),
        ("10.0.0.7", f"10.0.0.7:{PORT}", "https://10.0.0.7:9000"),
        ("fe80::1", f"[fe80::1]:{PORT}", "http://[fe80::1]:9000"),
        (f"10.0.0.7:{PORT}", f"10.0.0.7:{PORT}", "http://10.0.0.7"),
        (PUBLIC, f"127.0.0.1:{PORT}", f"http://{PUBLIC}:9000"),
        (PUBLIC, PUBLIC, f"http://{PUBLIC}:{PORT}"),
    ],
)
def test_over_plain_http_another_port_is_another_site(allowed, host, origin):
    headers = {"Host": host, "Origin": origin}
    refused = client(allowed).post("/x", headers=headers)
    assert refused.status_code == 403 and refused.headers["x-kgen-code"] == "other-site"
    named = origin.partition("://")[2]
    assert f"--allow-host {named} " in refused.text  # and that helps, if it is one's own proxy
    assert client(allowed, named).post("/x", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["kgen", "kgen:7860"])
def test_the_name_that_a_proxy_has_for_the_app_is_allowed_too(host):
    """Host for a named upstream of nginx, and in Compose."""
    headers = {"Host": host, "Origin": f"https://{PUBLIC}", "Sec-Fetch-Site": "same-origin"}
    refused = client(PUBLIC).post("/x", headers=headers)
    assert refused.status_code == 421 and "--allow-host kgen " in refused.text
    assert client(PUBLIC, "kgen").post("/x", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": f"http://localhost.evil.example:{PORT}"},
        {"Origin": f"http://localhost:{PORT}", "Sec-Fetch-Site": "same-site"},
        {"Origin": f"http://localhost:{PORT}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Origin": "http://localhost:x"},
        {"Origin": "http://localhost:99999999999"},
        {"Origin": "http://[::1"},
        {"Origin": f"file://localhost:{PORT}"},
    ],
)
def test_another_site_is_refused_all_the_same(headers):
    answer = client(PUBLIC).post("/x", headers={"Host": PUBLIC} | headers)
    assert answer.status_code == 403 and answer.headers["x-kgen-code"] == "other-site"


def test_without_allow_host_localhost_is_not_the_app():
    headers = {"Host": f"127.0.0.1:{PORT}", "Origin": f"http://localhost:{PORT}"}
    assert client().post("/x", headers=headers).status_code == 403


@pytest.mark.parametrize("name", [PUBLIC, "x-7860.app.github.dev", "10.0.0.7", "fe80::1"])
def test_a_refusal_names_what_to_allow_and_that_helps(name):
    host = f"[{name}]" if ":" in name else name
    page = client().get("/", headers={"Host": host})
    assert page.status_code == 421 and page.headers["x-kgen-code"] == "unknown-host"
    assert f"--allow-host {name} " in page.text and page.text.endswith(".")
    write = client().post("/x", headers={"Origin": f"https://{host}"})
    assert write.status_code == 403 and f"--allow-host {name} " in write.text
    for headers in ({"Host": host}, {"Origin": f"https://{host}"}):
        assert client(name).post("/x", headers=headers).status_code == 200


def test_an_invalid_name_is_not_repeated():
    page = client().get("/", headers={"Host": "<script>"})
    assert page.status_code == 421 and "script" not in page.text and "NAME" in page.text
    write = client().post("/x", headers={"Origin": "https://<script>"})
    assert write.status_code == 403 and "script" not in write.text and "NAME" in write.text


def test_gradios_page_gets_the_sentence_as_json():
    """Gradio's client shows the `error` in a JSON body, and something cryptic for anything else."""
    answer = client().post("/gradio_api/queue/join", headers={"Origin": f"https://{PUBLIC}"})
    assert answer.status_code == 403 and answer.headers["x-kgen-code"] == "other-site"
    assert f"--allow-host {PUBLIC} " in answer.json()["error"]
