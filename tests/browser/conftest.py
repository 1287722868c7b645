"""The real app and a real browser. One app per test file, with its own folder of runs; one browser
for all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.serving import App
from tests.support.studio import CHROMIUM, Studio


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser on a busy machine occasionally hiccups: these tests, and only these, are retried
    once, and the summary counts the retries.
    """
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Debian's Chromium, or the one that KGEN_CHROMIUM names. If it is missing, the tests fail: a
    skip would look like a pass.
    """
    found = os.environ.get("KGEN_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not found and os.environ.get("KGEN_SKIP_BROWSER") == "1":
        pytest.skip("there is no Chromium, and KGEN_SKIP_BROWSER=1 allows that")
    assert found, "there is no Chromium: install the package chromium, or set KGEN_SKIP_BROWSER=1"
    return found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("app"))
    yield app
    app.end()


@pytest.fixture
def visit(app: App, browser: Browser) -> Iterator[Callable[..., Studio]]:
    """`visit()` opens the page as one more viewer. At the end, none of them may have had an
    error.
    """
    opened: list[Studio] = []

    def open_one(**options) -> Studio:
        opened.append(Studio(browser, app.address, **options))
        return opened[-1]

    yield open_one
    for studio in opened:
        studio.close()
    for studio in opened:
        studio.check()


@pytest.fixture
def start_little(visit: Callable[..., Studio]) -> Iterator[Callable[[Studio], None]]:
    """Start a run with two classes from a page; it is stopped at the end of the test."""
    started: list[Studio] = []

    def start(studio: Studio) -> None:
        studio.choose_little()
        studio.press("Start")
        started.append(studio)
        studio.wait_phase("running")

    yield start
    for studio in started:
        if studio.phase in ("running", "paused"):
            studio.press("Stop")
            studio.wait_phase("stopped", "finished")


@pytest.fixture
def little_run(visit: Callable[..., Studio], start_little: Callable[[Studio], None]) -> Studio:
    """A page whose viewer has just started a run with two classes."""
    studio = visit()
    start_little(studio)
    return studio
