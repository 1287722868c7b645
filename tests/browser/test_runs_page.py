"""The Runs page as a person uses it: one small run is made, found, renamed, annotated, deleted,
restored, sent and opened again.

The tests are the stations of one journey, in this order and on one page; after a failure, the rest
are skipped.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator

from kgen.system.paths import ROOT
from kgen.worth.exchange import Point, Worth
from tests.support.serving import App
from tests.support.stations import failures as failures
from tests.support.stations import station as station
from tests.support.stations import studio as studio
from tests.support.studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(240)


def row(studio: Studio, name: str) -> Locator:
    return studio.see(f".run[data-run='{name}']")


def names(studio: Studio) -> list[str]:
    return studio.see(".run:visible h2").all_inner_texts()


def folders(app: App) -> list[str]:
    return sorted(p.name for p in app.runs.iterdir() if (p / "recipe.json").is_file())


def test_without_runs_the_page_says_so(studio: Studio):
    studio.page.get_by_role("link", name="Runs", exact=True).click()
    assert (
        studio.page.get_by_role("heading", level=1).inner_text() == "Runs"
        and studio.query["tab"] == "runs"
    )
    studio.until("no run", lambda: "No runs yet" in studio.text("main.runs"))
    assert not studio.see("#kg-rail").is_visible() and not studio.see("main.view").is_visible()
    studio.page.go_back()
    assert (
        studio.page.get_by_role("heading", level=1).inner_text() == "Studio"
        and studio.see("#kg-start").is_visible()
    )


def test_a_run_is_listed_with_picture_and_accuracy(studio: Studio, app: App):
    """Started from a terminal, in the folder that the app shows. It is halted until the list, which
    refreshes every two seconds, has shown it in progress.
    """
    studio.page.go_forward()
    folder = app.runs / "tiny-1"
    shutil.rmtree(folder, ignore_errors=True)  # from an earlier attempt at this test
    made = subprocess.Popen(
        [sys.executable, "-m", "kgen", "run", "tiny", "--out", str(folder), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        studio.until("it has begun", (folder / "events.jsonl").is_file, LATER)
        made.send_signal(signal.SIGSTOP)
        studio.until(
            "it runs", lambda: names(studio) and "in progress" in studio.text(".run .state"), LATER
        )
        assert studio.page.get_by_role("button", name="Delete").is_hidden(), (
            "a run in progress cannot be deleted"
        )
        made.send_signal(signal.SIGCONT)
        *_, last = made.communicate(timeout=LATER)[0].splitlines()
    finally:
        made.kill()
    studio.until("it has finished", lambda: "finished" in studio.text(".run .state"))
    share = f"{100 * json.loads(last)['accuracy']:.1f}%"
    assert names(studio) == ["tiny-1"] and studio.see(
        ".run .facts dd"
    ).first.inner_text().startswith(share)
    studio.until(
        "its picture",
        lambda: studio.page.evaluate("document.querySelector('.run img').naturalWidth") == 140,
    )


def test_the_exchange_rate_is_explained_then_drawn(studio: Studio, app: App):
    """Before it is measured, the page says how; afterwards, the list and the dialog show what the
    file contains.
    """
    pressed = row(studio, "tiny-1").get_by_role("button", name="Exchange rate")
    dialog = studio.page.get_by_role("dialog", name="Exchange rate")
    pressed.click()
    assert (
        "python -m kgen worth runs/tiny-1" in dialog.inner_text()
        and not dialog.locator("svg").count()
    )
    studio.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    points = [
        Point(images=60, real=False, accuracy=0.4),
        *(Point(images=n, real=True, accuracy=a) for n, a in ((60, 0.6), (30, 0.5), (15, 0.3))),
    ]
    (app.runs / "tiny-1" / "worth.json").write_text(
        Worth(n=10_000, steps=8, seed=0, points=points).model_dump_json()
    )
    studio.until(
        "the list shows it", lambda: "worth 21 real photos" in row(studio, "tiny-1").inner_text()
    )
    pressed.click()
    assert (
        "These 60 synthetic images teach as much as 21 real photos." in dialog.inner_text()
        and "10,000 real test images" in dialog.inner_text()
    )
    drawn = dialog.get_by_role("img")
    assert (
        drawn.get_attribute("aria-label")
        == "15 real photos 30.0%, 30 real photos 50.0%, 60 real photos 60.0%, 60 synthetic"
        " images 40.0%"
    )
    dots = [
        (float(dot.get_attribute("cx")), float(dot.get_attribute("cy")))
        for dot in drawn.locator("circle").all()
    ]
    assert (
        len(dots) == 4
        and dots[0][0] < dots[3][0] < dots[1][0]
        and dots[0][1] > dots[3][1] > dots[1][1]
    ), "the pool's point is on the line between its neighbors"
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="hidden")


def test_rename_note_and_search(studio: Studio, app: App):
    row(studio, "tiny-1").get_by_role("button", name="Rename").click()
    studio.page.keyboard.type("my-first")
    studio.page.keyboard.press("Enter")
    studio.until("its new name", lambda: names(studio) == ["my-first"])
    assert folders(app) == ["my-first"]
    row(studio, "my-first").get_by_role("button", name="Note").click()
    studio.page.keyboard.type("<b>trousers</b> and bags")
    studio.page.get_by_role("button", name="Save").click()
    studio.until(
        "the note", lambda: "<b>trousers</b> and bags" in row(studio, "my-first").inner_text()
    )
    assert (app.runs / "my-first" / "note.txt").read_text() == "<b>trousers</b> and bags"
    search = studio.page.get_by_role("searchbox")
    search.fill("bags TINY")
    assert names(studio) == ["my-first"] and studio.text(".runs .count") == "1 of 1 runs"
    search.fill("zebra")
    assert not names(studio) and "No runs match" in studio.text("main.runs")
    search.fill("")


def test_delete_and_undo(studio: Studio, app: App):
    row(studio, "my-first").get_by_role("button", name="Delete").click()
    studio.until("it is gone", lambda: not names(studio))
    assert not folders(app) and "Deleted my-first." in studio.text(".notices")
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
    assert (app.runs / "my-first" / "bundle.json").is_file()
    row(studio, "my-first").get_by_role("button", name="Open").click()
    studio.until(
        "the Studio shows it",
        lambda: studio.see("main.view").is_visible() and studio.snapshot()["run"] == "my-first",
    )
    studio.until("its images", lambda: studio.sheet())


def test_what_a_run_is_called_is_part_of_no_markup(studio: Studio):
    assert not studio.page.evaluate("document.querySelector('main.runs b')")


def test_on_a_phone(studio: Studio, app: App, browser: Browser):
    phone = Studio(browser, app.address, PHONE, "?tab=runs")
    phone.see(".run").wait_for()
    assert phone.width() == PHONE[0] and phone.see("#kg-rail").is_hidden()
    phone.wait_settled()
    phone.close()
    phone.check()
