"""A loss term added by a notebook, as the page shows it: in the legend, in Inspect's sorting and
filtering, and in the table.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from kgen.journal.runner import Runner
from kgen.recipes import recipes
from kgen.terms import Term
from tests.support.serving import App
from tests.support.studio import Studio

pytestmark = pytest.mark.timeout(300)
Visit = Callable[..., Studio]


def brightness(evidence):
    return evidence.images.mean((1, 2, 3))


@pytest.fixture(scope="module")
def bright(app: App) -> str:
    term = Term(
        "bright",
        brightness,
        weight=2.0,
        title="brightness",
        tip="Makes images dark.",
        color="#102030",
    )
    Runner.new(recipes.get("tiny"), app.runs / "bright", terms=[term]).run()
    return "bright"


def test_an_own_term_is_in_the_chart_of_the_loss(app: App, visit: Visit, bright: str):
    app.show(bright)
    studio = visit()
    studio.until("the run is shown", lambda: studio.snapshot()["run"] == bright)
    part = studio.see(".curves [data-part=bright]")
    expect(part).to_contain_text("brightness")
    assert "rgb(16, 32, 48)" in part.evaluate(
        "e => [e, ...e.querySelectorAll('*')]"
        ".map((n) => getComputedStyle(n).backgroundColor).join()"
    )
    before = studio.see(".curves path[style^='fill']").count()
    part.click()  # this part alone
    studio.until("one part", lambda: studio.see(".curves path[style^='fill']").count() == 1)
    assert before > 1


def test_images_are_sorted_and_filtered_by_an_own_term(app: App, visit: Visit, bright: str):
    studio = visit(query=f"?tab=inspect&run={bright}&class=0&sort=-bright&where=bright:0:1")
    expect(studio.see("select.sort").first).to_have_value("bright")
    answer = studio.context.request.get(
        f"{app.address}kg/inspect/{bright}/1/zip/0/1?sort=-bright&where=bright:0:1"
    )
    assert answer.ok, answer.text()
