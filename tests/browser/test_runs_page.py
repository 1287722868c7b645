"""The Runs page as a person uses it: one little run is made, found, named, noted, deleted, brought back, sent and opened again.

The tests are stations of one journey, in this order and on one page; after a failed one the rest is skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator
from serving import App
from studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def studio(app: App, browser: Browser) -> Iterator[Studio]:
    studio = Studio(browser, app.address)
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def failures(request: pytest.FixtureRequest) -> int:
    return request.session.testsfailed


@pytest.fixture(autouse=True)
def station(request: pytest.FixtureRequest, failures: int, studio: Studio) -> Iterator[None]:
    if request.session.testsfailed > failures:
        pytest.skip("an earlier station of the journey failed")
    yield
    studio.check()


def row(studio: Studio, name: str) -> Locator:
    return studio.see(f".run[data-run='{name}']")


def names(studio: Studio) -> list[str]:
    return studio.see(".run:visible h2").all_inner_texts()


def folders(app: App) -> list[str]:
    return sorted(p.name for p in app.runs.iterdir() if (p / "recipe.json").is_file())


def test_without_runs_the_page_says_so(studio: Studio):
    studio.page.get_by_role("link", name="Runs", exact=True).click()
    assert studio.page.get_by_role("heading", level=1).inner_text() == "Runs" and studio.query["tab"] == "runs"
    studio.until("no run", lambda: "no run yet" in studio.text("main.runs"))
    assert not studio.see("#kg-rail").is_visible() and not studio.see("main.view").is_visible()
    studio.page.go_back()
    assert studio.page.get_by_role("heading", level=1).inner_text() == "Studio" and studio.see("#kg-start").is_visible()


def test_a_run_is_listed_with_picture_and_accuracy(studio: Studio, app: App):
    studio.choose_little()
    studio.press("Start")
    studio.wait_phase("running")
    studio.until("an accuracy", lambda: studio.snapshot()["curve"]["last"], LATER)
    studio.page.go_forward()
    studio.until("it is going", lambda: "going" in studio.text(".run .state"))
    assert not studio.page.get_by_role("button", name="Delete").count(), "a run that is going cannot be deleted"
    studio.page.keyboard.press(" ")
    studio.page.go_back()
    assert studio.phase == "running", "keys of the Studio do nothing on the Runs page"
    studio.press("Stop")
    studio.wait_phase("stopped")
    share = f"{100 * studio.snapshot()['curve']['last']:.1f} %"
    studio.page.go_forward()
    (name,) = folders(app)
    studio.until("it has stopped", lambda: "stopped" in studio.text(".run .state"))
    assert names(studio) == [name] and studio.see(".run .facts dd").first.inner_text().startswith(share)
    studio.until("its picture", lambda: studio.page.evaluate("document.querySelector('.run img').naturalWidth") > 50)


def test_rename_note_and_search(studio: Studio, app: App):
    (old,) = folders(app)
    row(studio, old).get_by_role("button", name="Rename").click()
    studio.page.keyboard.type("my-first")
    studio.page.keyboard.press("Enter")
    studio.until("its new name", lambda: names(studio) == ["my-first"])
    assert folders(app) == ["my-first"] and studio.snapshot()["run"] == "my-first"
    row(studio, "my-first").get_by_role("button", name="Note").click()
    studio.page.keyboard.type("<b>trousers</b> and bags")
    studio.page.get_by_role("button", name="Save").click()
    studio.until("the note", lambda: "<b>trousers</b> and bags" in row(studio, "my-first").inner_text())
    assert (app.runs / "my-first" / "note.txt").read_text() == "<b>trousers</b> and bags"
    search = studio.page.get_by_role("searchbox")
    search.fill("bags FASHION")
    assert names(studio) == ["my-first"] and studio.text(".count") == "1 of 1 runs"
    search.fill("zebra")
    assert not names(studio) and "No run has these words" in studio.text("main.runs")
    search.fill("")


def test_delete_and_undo(studio: Studio, app: App):
    row(studio, "my-first").get_by_role("button", name="Delete").click()
    studio.until("it is gone", lambda: not names(studio))
    assert not folders(app) and "my-first was deleted." in studio.text(".notices")
    studio.page.keyboard.press("Enter")  # the focus is on Undo
    studio.until("it is back", lambda: names(studio) == ["my-first"])
    assert folders(app) == ["my-first"] and not studio.see(".notice").count()


def test_a_run_leaves_as_one_file_and_comes_back(studio: Studio, app: App, tmp_path: Path):
    with studio.page.expect_download() as found:
        row(studio, "my-first").get_by_role("link", name="Download my-first").click()
    file = tmp_path / found.value.suggested_filename
    found.value.save_as(file)
    assert file.name == "my-first.kgen"
    shutil.rmtree(app.runs / "my-first")
    studio.until("the list is empty", lambda: not names(studio))
    studio.see("main.runs [type=file]").set_input_files(file)
    studio.until("it is back", lambda: names(studio) == ["my-first"])
    assert "from a file" in studio.text(".run .what") and "trousers" in studio.text(".run .said")
    assert row(studio, "my-first").get_by_role("button", name="Resume").is_hidden(), "its checkpoint stayed where it was made"
    row(studio, "my-first").get_by_role("button", name="Open").click()
    studio.until("the Studio shows it", lambda: studio.see("main.view").is_visible() and studio.snapshot()["run"] == "my-first")
    studio.until("its images", lambda: studio.sheet())


def test_on_a_phone(studio: Studio, app: App, browser: Browser):
    phone = Studio(browser, app.address, PHONE, "?tab=runs")
    phone.see(".run").wait_for()
    assert phone.width() == PHONE[0] and phone.see("#kg-rail").is_hidden()
    phone.wait_settled()
    phone.close()
    phone.check()
