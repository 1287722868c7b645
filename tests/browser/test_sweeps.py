"""A sweep on the Runs page: from the list to its charts, through a cell of the matrix to a run, and
back.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.support import standin
from tests.support.studio import PHONE
from tests.support.sweeping import accuracy, ended, record, record_sweep

pytestmark = pytest.mark.timeout(240)

CELL = "#kg-view .sweep .matrix .heatmap-label"


@pytest.fixture(scope="module")
def sweep(app):
    """Seven finished runs; the best one has images, so that it can be inspected."""

    def write(path, r):
        if path.name == "kr-0.5_generator_steps-2_seed-1":
            standin.write_run(path, seed=1, generator_steps=2, **{"weights.kr": 0.5})
        else:
            record(path, r, end=ended(r))

    return record_sweep(app.runs / "grid", write)


def test_a_sweep_is_seen_filtered_and_opened(visit, sweep):
    studio = visit(query="?tab=runs")
    page = studio.page
    page.get_by_role("link", name="grid").press("Enter")
    expect(page.get_by_role("heading", name="grid")).to_be_visible()
    expect(page.locator(".sweep .summary")).to_contain_text("7 of 8 runs finished, 1 not started")
    expect(page.get_by_role("link", name="All runs")).to_be_focused()

    cells = page.locator(CELL)
    expect(cells).to_have_count(4, timeout=30_000)
    low = [accuracy(t.recipe) for t in sweep.trials if t.values == (0.1, 2)]
    assert cells.first.text_content() == f"{50 * sum(low):.1f} ± {71 * (low[1] - low[0]):.1f}"
    assert page.locator(".sweep .parallel .scatterlayer .trace").count() == 7

    rows = page.locator(".sweep tbody tr")
    expect(rows).to_have_count(8)
    assert rows.first.inner_text().split("\t")[0] == "82.4%"
    box = cells.first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(rows).to_have_count(2)
    expect(page.locator(".sweep .shown")).to_have_text("kr 0.1, generator_steps 2")
    page.get_by_role("button", name="Show all").click()
    expect(rows).to_have_count(8)

    page.get_by_label("down").select_option("seed")
    assert studio.query["down"] == "seed"
    studio.wait_settled()
    page.reload()
    studio.wait_drawn()
    expect(page.locator(CELL)).to_have_count(4, timeout=30_000)
    assert page.get_by_label("down").input_value() == "seed"

    rows.first.get_by_role("link").press("Enter")
    expect(page.get_by_text("grid.kr-0.5_generator_steps-2_seed-1").first).to_be_visible()
    assert studio.query["tab"] == "inspect"
    page.go_back()
    expect(rows).to_have_count(8)


def test_on_a_phone_nothing_is_wider_than_the_screen(visit, sweep):
    page = visit(query="?tab=runs&sweep=grid", size=PHONE).page
    expect(page.locator(CELL)).to_have_count(4, timeout=30_000)
    assert page.evaluate("document.querySelector('main.runs').scrollWidth") <= PHONE[0]


def test_an_unknown_sweep_is_named_as_such(visit, sweep):
    studio = visit(query="?tab=runs&sweep=nothing")
    expect(studio.page.get_by_text("There is no sweep with that name.")).to_be_visible()
    studio.page.get_by_role("link", name="All runs").click()
    expect(studio.page.get_by_role("link", name="grid")).to_be_visible()
    assert "sweep" not in studio.query
    studio.complaints.clear()  # the browser logs every 404
