"""The Compare page as a person uses it: two small real runs side by side, aligned three ways, and
one switch flipped from the page.

The tests are the stations of one journey, in this order and on one page; after a failure, the rest
are skipped.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from kgen import events
from kgen.journal.reading import Run, open_run
from kgen.system.paths import ROOT
from tests.support.serving import App
from tests.support.stations import failures as failures
from tests.support.stations import station as station
from tests.support.stations import studio as studio
from tests.support.studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(400)


def of(app: App, name: str) -> Run:
    return open_run(app.runs / name)


def cells(studio: Studio, label: str) -> list[str]:
    """The row of the table with that label: its cell for each run."""
    row = studio.page.locator(
        ".c-table tr", has=studio.page.get_by_role("rowheader", name=label, exact=True)
    )
    return row.locator("td span").all_inner_texts()


def read(studio: Studio, plot: str) -> dict[str, str]:
    """What a chart shows for each run at the selected moment."""
    return dict(
        re.findall(
            r"([A-D]) (\S+)",
            studio.see(f"figure[data-plot='{plot}'] .c-values").inner_text().replace("\n", " "),
        )
    )


def drawn(studio: Studio, n: int = 2) -> None:
    studio.until(
        "curves and images of each run",
        lambda: len(studio.see("figure[data-plot='real share'] .c-line").all()) == n,
        LATER,
    )


def iterations(studio: Studio) -> list[int]:
    return [
        int(found[1]) if (found := re.search(r"iteration (\d+)", text)) else 0
        for text in studio.see(".c-head").all_inner_texts()
    ]


def test_runs_are_chosen_by_search_and_picture(studio: Studio, app: App):
    for seed in (0, 1):
        command = [
            sys.executable,
            "-m",
            "kgen",
            "run",
            "tiny",
            "--seed",
            str(seed),
            "--out",
            str(app.runs / f"tiny-{seed}"),
            "--json",
        ]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=LATER)
    studio.page.get_by_role("link", name="Compare").click()
    assert studio.query["tab"] == "compare" and "Compare runs side by side" in studio.text(
        "main.compare .none"
    )
    studio.press("Choose two or more runs…")
    search = studio.page.get_by_role("searchbox", name="Search runs")
    search.fill("seed 1")
    studio.until(
        "only that one", lambda: studio.see(".c-item:visible b").all_inner_texts() == ["tiny-1"]
    )
    search.fill("")
    for name in ("tiny-0", "tiny-1"):
        studio.see(f".c-item[data-run='{name}']").click()
    studio.until(
        "a picture of each",
        lambda: studio.page.evaluate(
            "[...document.querySelectorAll('.c-item img')].every((i) => i.naturalWidth === 140)"
        ),
    )
    studio.see(".c-dialog").get_by_role("button", name="Compare").click()
    drawn(studio)
    assert studio.query["runs"] == "tiny-0,tiny-1" and "%2C" not in studio.page.url
    assert studio.text(".c-verdict h2").startswith(
        "Comparable at equal budget, with different seeds"
    )


def test_the_table_says_what_the_run_folders_say(studio: Studio, app: App):
    runs = [of(app, "tiny-0"), of(app, "tiny-1")]
    ends = [run.last_event for run in runs]
    assert cells(studio, "Accuracy on real images") == [
        f"{100 * e.accuracy:.1f}%" for e in ends
    ] and cells(studio, "Seed") == ["0", "1"]
    tests = [[e for e in run.events() if isinstance(e, events.Evaluated)] for run in runs]
    assert cells(studio, "Best test") == [
        f"{100 * max(e.student.accuracy for e in one):.1f}%" for one in tests
    ]
    pools = [
        [e for e in run.events() if isinstance(e, events.BatchSynthesized)][-1] for run in runs
    ]
    assert cells(studio, "Pixels") == [f"{e.pool_pixels:,}" for e in pools] and cells(
        studio, "Images"
    ) == [f"{e.pool_images:,}" for e in pools]
    assert cells(studio, "Trouser") == [
        f"{100 * one[-1].student.per_class[1]:.1f}%" for one in tests
    ]
    with studio.page.expect_download() as found:
        studio.page.get_by_role("link", name="Export CSV").and_(
            studio.see("main.compare a")
        ).click()
    rows = list(csv.reader(io.StringIO(Path(found.value.path()).read_bytes().decode())))
    (row,) = (row for row in rows if row[1] == "Accuracy on real images")
    assert [float(v) for v in row[2:4]] == [e.accuracy for e in ends]


def test_every_alignment_shows_the_same_moment_of_both(studio: Studio, app: App):
    batches = {
        name: [e for e in of(app, name).events() if isinstance(e, events.BatchSynthesized)]
        for name in ("tiny-0", "tiny-1")
    }
    slider, steps = (
        studio.page.get_by_role("slider", name="Moment"),
        of(app, "tiny-0").recipe.generator_steps,
    )
    for by, place in (
        ("Step", lambda e: (e.iteration + 1) * steps),
        ("Time", lambda e: e.t),
        ("Budget", lambda e: e.pool_pixels),
    ):
        studio.see(".c-align label").filter(has_text=by).click()
        studio.until("the newest of both", lambda: iterations(studio) == [3, 3])
        slider.fill("130")
        end = (
            max(place(batches[n][-1]) for n in batches)
            if by != "Time"
            else max(of(app, n).last_event.t for n in batches)
        )
        at = 130 / 200 * end
        wanted = [sum(place(e) <= at for e in batches[name]) for name in ("tiny-0", "tiny-1")]
        studio.until(
            f"images by {by}: {wanted}", lambda wanted=wanted: iterations(studio) == wanted
        )
        studio.until(
            "the address", lambda at=at: abs(float(studio.query.get("point", "-9")) - at) <= 1
        )
        assert studio.query.get("by", "budget") == by.lower()
    studio.press("Go to newest")
    studio.until(
        "the newest of both", lambda: iterations(studio) == [3, 3] and "point" not in studio.query
    )
    assert read(studio, "real share") == {
        letter: f"{100 * of(app, name).last_event.accuracy:.1f}"
        for letter, name in (("A", "tiny-0"), ("B", "tiny-1"))
    }
    last = [e for e in of(app, "tiny-1").events() if isinstance(e, events.GeneratorStep)][-1]
    assert float(read(studio, "loss ce")["B"]) == pytest.approx(last.parts["ce"], abs=0.006)


def test_a_click_on_a_chart_goes_to_that_moment(studio: Studio, app: App):
    end = max(
        [e for e in of(app, name).events() if isinstance(e, events.BatchSynthesized)][
            -1
        ].pool_pixels
        for name in ("tiny-0", "tiny-1")
    )
    chart = studio.see("figure[data-plot='real share'] .c-drawing")
    left, right = 34, 44  # margins of the chart, charts/overlay.js
    middle = (left + chart.bounding_box()["width"] - right) / 2
    chart.click(position={"x": middle, "y": 40})
    studio.until(
        "half of the axis in the address",
        lambda: abs(float(studio.query.get("point", "-9")) - end / 2) <= end / 100,
    )
    studio.press("Go to newest")
    studio.until("the newest of both", lambda: "point" not in studio.query)


def test_a_reload_shows_the_same(studio: Studio):
    studio.see(".c-align label").filter(has_text="Step").click()
    studio.page.get_by_role("slider", name="Moment").fill("140")
    studio.until("the address", lambda: "point" in studio.query)
    studio.until("images of that moment", lambda: iterations(studio) == [2, 2])
    before = {
        "moment": studio.see(".c-align output").inner_text(),
        "images": iterations(studio),
        "table": studio.text(".c-table"),
    }
    studio.wait_settled()
    studio.page.reload()
    studio.wait_drawn()
    drawn(studio)
    for what, look in (
        ("moment", lambda: studio.see(".c-align output").inner_text()),
        ("images", lambda: iterations(studio)),
        ("table", lambda: studio.text(".c-table")),
    ):
        studio.until(
            f"the same {what} as {before[what]!r}",
            lambda look=look, what=what: look() == before[what],
        )
    studio.see(".c-align label").filter(has_text="Budget").click()


def test_one_switch_is_flipped_and_the_new_run_is_seen_beside_the_old(studio: Studio, app: App):
    studio.see(".c-run[data-run='tiny-0']").get_by_role("button", name="Flip one switch…").click()
    switch = studio.see(".c-item").filter(has_text="key region off")
    assert "α_kr: 0.1 → 0" in switch.inner_text()
    assert studio.see(".c-item").filter(has_text="augment none").is_disabled(), (
        "stored views need augmentation"
    )
    switch.click()
    studio.until(
        "both are compared",
        lambda: studio.query["runs"].startswith("tiny-0,tiny-key-region-off-"),
        LATER,
    )
    made = studio.query["runs"].split(",")[1]
    studio.until(
        "what it is",
        lambda: "key region off, compared with tiny-0" in studio.text(f".c-run[data-run='{made}']"),
    )
    studio.until(
        "it has ended",
        lambda: "finished" in studio.text(f".c-run[data-run='{made}'] .muted"),
        LATER,
    )
    assert studio.text(".c-verdict h2").startswith("Comparable: same budget, same seed.")
    assert "α_kr (0.1 / 0)" in studio.text(".c-verdict")
    drawn(studio)
    assert cells(studio, "α_kr") == ["0.1", "0"] and cells(studio, "Seed") == []
    studio.until(
        "its result",
        lambda: (
            cells(studio, "Accuracy on real images")[1]
            == f"{100 * of(app, made).last_event.accuracy:.1f}%"
        ),
    )
    assert cells(studio, "Mean over seeds")[0].count("±") == 1, (
        "two seeds of the first recipe are known"
    )
    studio.page.go_back()
    studio.until(
        "the runs before",
        lambda: studio.query["runs"] == "tiny-0,tiny-1" and cells(studio, "Seed") == ["0", "1"],
    )


def test_runs_are_marked_on_the_runs_page(studio: Studio):
    studio.page.get_by_role("link", name="Runs").click()
    for name in ("tiny-1", "tiny-0"):
        studio.see(f".run[data-run='{name}']").get_by_role("button", name=f"Compare {name}").click()
    studio.press("Compare 2 runs")
    studio.until(
        "in the order in which they were marked",
        lambda: studio.query["runs"] == "tiny-1,tiny-0" and studio.see("main.compare").is_visible(),
    )
    drawn(studio)
    studio.page.get_by_role("button", name="Remove tiny-0").click()
    studio.until("one is left", lambda: "Choose another run" in studio.text("main.compare .none"))
    assert studio.see("main.compare .c-runs > .btn:focus").count() == 1, (
        "keyboard users are not sent to the top of the page"
    )


def test_without_colour_runs_are_told_apart(studio: Studio):
    studio.page.go_back()
    drawn(studio)
    dashes = studio.page.evaluate(
        "[...document.querySelectorAll(\"figure[data-plot='real share'] .c-line\")].map((l) =>"
        " l.getAttribute('stroke-dasharray'))"
    )
    letters = studio.see("figure[data-plot='real share'] .c-letter").all_text_contents()
    assert len(set(dashes)) == 2 and sorted(letters) == ["A", "B"]


def test_on_a_phone(studio: Studio, app: App, browser: Browser):
    phone = Studio(browser, app.address, PHONE, "?tab=compare&runs=tiny-0,tiny-1&by=time")
    drawn(phone)
    assert phone.width() == PHONE[0] and phone.see("#kg-rail").is_hidden()
    phone.page.evaluate("scrollTo(0, 1200)")
    assert phone.page.evaluate(
        "document.querySelector('.c-align').getBoundingClientRect().top"
    ) == phone.page.evaluate("document.querySelector('.nav').offsetHeight"), (
        "the slider stays in sight"
    )
    phone.wait_settled()
    phone.close()
    phone.check()
