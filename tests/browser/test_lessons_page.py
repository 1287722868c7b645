"""The Lessons page as a reader uses it: predict, commit, run two real runs of a few seconds, read
their numbers, look up a term.

The tests are the stations of one journey, in this order and on one page; after a failure, the rest
are skipped. The lesson folder has one short lesson, so that its runs end quickly; tests/app checks
that the bundled ones can be read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from app.lessons import metrics
from kgen.journal.reading import open_run
from tests.support.serving import App
from tests.support.stations import failures as failures
from tests.support.stations import station as station
from tests.support.stations import studio as studio
from tests.support.studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(400)

LESSON = """+++
title = "Tiny"
question = "Does the key region matter in a run of seconds?"
minutes = 1
recipe = "tiny"
predict = "What becomes of the accuracy?"
numbers = ["accuracy", "images", "kr"]
figures = ["images", "making", "maps", "agreement", "accuracy"]
[switch]
name = "Key region, α_kr"
a = "on"
b = "off"
changes = { "weights.kr" = 0.0 }
[decide]
number = "accuracy"
of = "difference"
[[choices]]
text = "B is worse"
to = 0.0
[[choices]]
text = "B is not worse"
from = 0.0
+++
The **teacher** looks at a class activation map. <b id="evil">no markup</b>

## What happened

A reaches {{a.accuracy}} with {{a.images}} images, B {{b.accuracy}}: {{difference.accuracy}}.

## Why

```math
L_{kr} = Σ max(0, M_{target} − M)
```
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    lessons = tmp_path_factory.mktemp("lessons")
    (lessons / "01-tiny.md").write_text(LESSON, encoding="utf-8")
    before, os.environ["KGEN_LESSONS"] = os.environ.get("KGEN_LESSONS"), str(lessons)
    try:
        app = App(tmp_path_factory.mktemp("app"))
    finally:
        os.environ.pop("KGEN_LESSONS") if before is None else os.environ.update(KGEN_LESSONS=before)
    yield app
    app.end()


def places(studio: Studio) -> dict[str, str]:
    return {p.get_attribute("data-number"): p.inner_text() for p in studio.see(".place").all()}


def made(app: App) -> dict[float, Path]:
    """Finished runs of the lesson, by the weight of their key region."""
    runs = [open_run(p) for p in app.runs.iterdir() if (p / "recipe.json").is_file()]
    return {r.recipe.weights.kr: r.path for r in runs if r.recipe.name == "tiny" and r.finished}


def test_the_list_opens_a_lesson(studio: Studio):
    studio.page.get_by_role("link", name="Lessons", exact=True).click()
    studio.until("the list", lambda: "0 of 1 done" in studio.text(".lesson-list"))
    studio.see(".lesson-list").get_by_role("link", name=re.compile("Tiny")).click()
    studio.until(
        "the lesson", lambda: "Does the key region matter" in studio.text(".lesson .title")
    )
    assert (studio.query["tab"], studio.query["lesson"]) == ("lessons", "tiny")
    assert (
        '<b id="evil">no markup</b>' in studio.text(".lesson .before")
        and studio.see("#evil").count() == 0
    )
    assert set(places(studio).values()) == {"…"}, "no numbers before there is a run"
    assert studio.see(".lesson .formula sub").all_inner_texts() == ["kr", "target"]


def test_nothing_runs_before_a_prediction(studio: Studio):
    run = studio.page.get_by_role("button", name="Run it", exact=True)
    studio.until("the state is known", lambda: "Make a prediction" in studio.text(".run-status"))
    assert run.is_disabled() and studio.page.get_by_role("button", name="Commit").is_disabled()
    studio.see(".predict label").filter(has_text="B is not worse").click()
    studio.page.get_by_role("button", name="Commit").click()
    assert run.is_enabled() and studio.see(".predict input:disabled").count() == 2


def test_both_run_and_the_numbers_are_the_folders(studio: Studio, app: App):
    studio.page.get_by_role("button", name="Run it", exact=True).click()
    studio.until(
        "A is running", lambda: studio.text(".run-status").startswith("Run A, then B:"), LATER
    )
    assert studio.see(".lesson .bar").is_visible()
    studio.until("both exist", lambda: "A is run" in studio.text(".run-status"), 2 * LATER)
    runs = made(app)
    a, b = (metrics.numbers(open_run(runs[kr])) for kr in (0.1, 0.0))
    assert a["accuracy"] == open_run(runs[0.1]).last_event.accuracy
    studio.until("their numbers", lambda: "…" not in places(studio).values())
    assert places(studio) == {
        "a.accuracy": f"{100 * a['accuracy']:.1f}%",
        "a.images": "60",
        "b.accuracy": f"{100 * b['accuracy']:.1f}%",
        "difference.accuracy": metrics.difference("percent", a["accuracy"], b["accuracy"]),
    }
    right = b["accuracy"] >= a["accuracy"]
    assert ("was right" in studio.text(".verdict")) == right
    studio.until(
        "figures",
        lambda: (
            studio.see(".figures img").count() == 4
            and studio.see(".figures .cells").count() == 3
            and studio.see(".figures svg").count() == 2
        ),
    )
    assert "1 of 1 done" in studio.text(".lesson-list")


def test_a_reload_keeps_place_and_prediction(studio: Studio):
    studio.page.evaluate("document.querySelector('main.lessons').scrollTop = 700")
    studio.page.reload()
    studio.wait_drawn()
    studio.until("the numbers", lambda: places(studio) and "…" not in places(studio).values())
    assert (
        studio.query["lesson"] == "tiny"
        and studio.see(".predict input:checked").get_attribute("value") == "1"
    )
    studio.until(
        "where it was",
        lambda: studio.page.evaluate("document.querySelector('main.lessons').scrollTop") > 500,
    )
    studio.page.go_back()
    studio.until(
        "the list again",
        lambda: (
            studio.see("main.lessons[data-place=list]").count() == 1 or "lesson" not in studio.query
        ),
    )
    studio.page.go_forward()
    studio.until(
        "the lesson again", lambda: "Does the key region matter" in studio.text(".lesson .title")
    )


def test_a_term_is_explained_by_keyboard_and_has_an_address(studio: Studio):
    studio.page.goto(f"{studio.address}?tab=lessons&lesson=tiny")
    studio.wait_drawn()
    studio.until("the numbers", lambda: places(studio) and "…" not in places(studio).values())
    term = studio.see(".lesson .term").first
    studio.see(".lesson .title").evaluate("(node) => { node.tabIndex = -1; node.focus(); }")
    studio.page.keyboard.press("Tab")
    expect(term).to_be_focused()
    tip = studio.see("#kg-tip")
    assert tip.is_visible() and "never changed" in tip.inner_text()
    studio.page.keyboard.press("Escape")
    assert not tip.is_visible()
    studio.page.goto(f"{studio.address}?tab=lessons&lesson=glossary&term=cam")
    studio.wait_drawn()
    studio.until("the term", lambda: studio.see("#term-cam.here").is_visible())
    studio.page.get_by_label("Search the glossary").fill("push")
    studio.until("few", lambda: re.match(r"\d+ of \d+ terms", studio.text("main.lessons .find p")))
    assert studio.see("#term-l-aed").is_visible() and not studio.see("#term-cam").is_visible()


def test_the_same_tip_in_the_studio(studio: Studio):
    studio.page.get_by_role("link", name="Studio", exact=True).click()
    studio.see(".p-space .term").first.hover()
    studio.until(
        "the glossary's words",
        lambda: "similar images are close together" in studio.see("#kg-tip").inner_text(),
    )
    studio.wait_settled()


def test_on_a_phone(studio: Studio, browser: Browser, app: App):
    phone = Studio(browser, app.address, PHONE, "?tab=lessons&lesson=tiny")
    try:
        phone.until(
            "the lesson", lambda: "Does the key region matter" in phone.text(".lesson .title")
        )
        phone.see(".predict label").first.click()
        phone.page.get_by_role("button", name="Commit").click()
        phone.until("figures", lambda: phone.see(".figures img").count() == 4)
        assert phone.width() == PHONE[0] and not phone.see(".lesson-list").is_visible()
        phone.see(".lesson .back").click()
        phone.until("the list", lambda: phone.see(".lesson-list").is_visible())
        assert phone.width() == PHONE[0]
        phone.wait_settled()
        phone.check()
    finally:
        phone.close()
