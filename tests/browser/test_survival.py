"""An engine that is killed in the middle of a run: the page says so, and Resume continues from the
checkpoint.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.support.serving import App
from tests.support.studio import LATER, PHONE, SOON, Studio

pytestmark = pytest.mark.timeout(400)


def test_a_killed_engine_is_reported_and_the_run_can_be_resumed(
    app: App, little_run: Studio, visit: Callable[..., Studio]
):
    studio = little_run
    studio.until(
        "two iterations and a checkpoint",
        lambda: studio.counters[1] >= 2 and any(app.runs.glob("*/checkpoint/*")),
        LATER,
    )
    engine, run = app.engine(), studio.snapshot()["run"]
    os.kill(engine, signal.SIGKILL)
    studio.wait_phase("died", seconds=SOON)
    alert = studio.text(".alert")
    assert (
        alert.startswith("The engine ended unexpectedly at iteration ")
        and "SIGKILL" in alert
        and " saved" in alert
    )
    assert studio.see(".alert button").all_inner_texts()[1:] == ["Start again"]
    assert studio.see("#kg-start").is_enabled() and studio.see("#kg-pause").is_hidden()

    phone = visit(size=PHONE, is_mobile=True, has_touch=True)
    assert phone.width() <= PHONE[0] and phone.text(".alert") == alert

    done = studio.counters[1]
    studio.see(".alert button").first.click()
    studio.wait_phase("running")
    studio.until("the run continues", lambda: studio.counters[1] > done, LATER)
    assert studio.snapshot()["run"] == run and app.engine() != engine
    assert studio.see(".alert").count() == 0
