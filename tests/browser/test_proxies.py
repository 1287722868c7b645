"""Behind a proxy: the page says what the proxy does to Host and Origin, and --allow-host allows it.

The names under example.org lead to this machine, but only in this browser.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser

from tests.support import proxies
from tests.support.serving import App
from tests.support.studio import CHROMIUM, PHONE, SIZE, Studio

KINDS = ("host", "both", "nginx", "caddy")


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Iterator[App]:
    hosts = [word for kind in KINDS for word in ("--allow-host", f"{kind}.example.org")]
    app = App(tmp_path_factory.mktemp("app"), *hosts)
    yield app
    app.end()


@pytest.fixture(scope="module")
def ports(app, tmp_path_factory) -> Iterator[dict[str, int]]:
    """The port of each proxy that can be started here."""
    with ExitStack() as stack:
        own = app.address.removeprefix("http://").rstrip("/")
        ports = {
            "host": stack.enter_context(proxies.rewriting(app.address, host=own)),
            "both": stack.enter_context(
                proxies.rewriting(app.address, origin=f"http://localhost:{own.rpartition(':')[2]}")
            ),
        }
        for name in ("nginx", "caddy"):
            try:
                ports[name] = stack.enter_context(
                    proxies.installed(name, app.address, tmp_path_factory.mktemp(name))
                )
            except pytest.skip.Exception:
                pass
        yield ports


@pytest.fixture(scope="module")
def outside(ports, browser, chromium) -> Iterator[Browser]:
    """A browser for which each proxy has a name, and the first one a second."""
    rules = [f"MAP {kind}.example.org 127.0.0.1:{port}" for kind, port in ports.items()]
    rules.append(f"MAP stranger.example.org 127.0.0.1:{ports['host']}")
    browser = browser.browser_type.launch(
        executable_path=chromium, args=[*CHROMIUM, f"--host-resolver-rules={', '.join(rules)}"]
    )
    yield browser
    browser.close()


@pytest.mark.parametrize("kind", KINDS)
def test_with_allow_host_everything_works(kind, ports, outside):
    if kind not in ports:
        pytest.skip(f"{kind} is not installed")
    studio = Studio(outside, f"http://{kind}.example.org/")
    try:
        studio.choose_little()
        studio.press("Start")
        studio.wait_phase("running")
        studio.press("Stop")
        studio.wait_phase("stopped", "finished")
        assert not [text for text in studio.complaints if "Cross-Origin-Opener" not in text]
        assert {url.split("/")[2] for url in studio.abroad} == {f"{kind}.example.org"}
    finally:
        studio.close()


@pytest.mark.parametrize("size", [SIZE, PHONE])
def test_a_proxy_that_was_not_allowed_is_reported_in_words(size, outside):
    studio = Studio(outside, "http://stranger.example.org/", size)
    try:
        toast = studio.page.get_by_text("--allow-host stranger.example.org").first
        toast.wait_for()
        box = toast.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
    finally:
        studio.close()


def test_a_name_that_was_not_allowed_is_reported_in_words(outside, app):
    page = outside.new_context().new_page()
    answer = page.goto(app.address.replace("127.0.0.1", "stranger.localhost"))
    assert answer.status == 421
    assert "--allow-host stranger.localhost" in page.inner_text("body")
    page.context.close()
