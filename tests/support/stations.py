"""A journey: one viewer for all tests of a file, in order; after a failure, the rest are skipped.

A test file imports these three fixtures.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.serving import App
from tests.support.studio import Studio


@pytest.fixture(scope="module")
def studio(app: App, browser: Browser) -> Iterator[Studio]:
    studio = Studio(browser, app.address)
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def failures(request: pytest.FixtureRequest) -> int:
    """Failed tests before the journey began."""
    return request.session.testsfailed


@pytest.fixture(autouse=True)
def station(request: pytest.FixtureRequest, failures: int, studio: Studio) -> Iterator[None]:
    if request.session.testsfailed > failures:
        pytest.skip("an earlier station of the journey failed")
    yield
    studio.check()
