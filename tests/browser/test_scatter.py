"""The scatter plot: whose view, two and three dimensions, colors, lasso; positions that stay, and
many points that stay fluid.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from app.archive import projection
from kgen.journal.reading import open_run
from tests.support import standin
from tests.support.serving import App
from tests.support.studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(420)
Visit = Callable[..., Studio]
EPOCHS, MANY = 10, 50


def made(path: Path, **changes) -> Path:
    standin.write_run(path, views=True, **changes)
    arrays = standin.reference() | {
        "xy": np.random.default_rng(0).random((40, 2)).astype(np.float32)
    }
    projection.write_durably(path / projection.LAYOUT, projection.save_arrays(arrays))
    return path


@pytest.fixture(scope="module")
def ended(app: App) -> Path:
    return made(app.runs / "ended", epochs=EPOCHS, student_steps=4)


@pytest.fixture(scope="module")
def many(app: App) -> Path:
    """5,000 images."""
    return made(app.runs / "many", epochs=MANY, batch=100, student_steps=1, ratio=0.2)


@pytest.fixture
def opened(app: App, visit: Visit, ended: Path) -> Callable[..., Studio]:
    def open_one(
        query: str = "", run: str = "ended", points: int = EPOCHS * 20, **options
    ) -> Studio:
        app.show(run)
        studio = visit(query=query, **options)
        studio.until(
            "its points",
            lambda: studio.snapshot()["run"] == run and len(studio.points("synthetic")) == points,
            LATER,
        )
        return studio

    return open_one


def drag(studio: Studio, *corners: tuple[float, float]) -> None:
    """Over the scatter plot, in shares of its size."""
    box = studio.see(".scatter").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    studio.page.mouse.move(*places[0])
    studio.page.mouse.down()
    for place in places[1:]:
        studio.page.mouse.move(*place, steps=8)
    studio.page.mouse.up()


def use(studio: Studio, tool: str) -> None:
    studio.see(".under label").filter(has_text=tool).click()


# first, while the app shows no other run


def test_points_of_a_live_run_stay_where_they_are(little_run: Studio):
    studio = little_run
    studio.until("points of an iteration", lambda: studio.points("synthetic"), 2 * LATER)
    before = {(p["it"], p["pos"]): (p["place"], p["x"], p["y"]) for p in studio.points("synthetic")}
    studio.until(
        "another one",
        lambda: {p["it"] for p in studio.points("synthetic")} > {it for it, _ in before},
        2 * LATER,
    )
    after = {(p["it"], p["pos"]): (p["place"], p["x"], p["y"]) for p in studio.points("synthetic")}
    assert all(after[key] == value for key, value in before.items()) and len(after) > len(before)


def test_every_image_of_the_run_is_a_point_where_the_layout_puts_it(
    opened: Callable[..., Studio], ended: Path
):
    studio = opened()
    layout = projection.load(ended / projection.LAYOUT)
    placed = {i: layout.project_3d(open_run(ended).batch(i)["embedding"]) for i in range(EPOCHS)}
    for point in studio.points("synthetic"):
        assert np.allclose(point["place"], placed[point["it"]][point["pos"]], atol=2e-4)


def test_a_lasso_brings_exactly_the_images_inside_into_the_gallery(
    opened: Callable[..., Studio], ended: Path
):
    studio = opened()
    box = studio.see(".scatter").bounding_box()
    inside = [
        p
        for p in studio.points("synthetic")
        if 0.2 < (p["x"] - box["x"]) / box["width"] < 0.6
        and 0.2 < (p["y"] - box["y"]) / box["height"] < 0.7
    ]
    use(studio, "Lasso")
    drag(studio, (0.2, 0.2), (0.6, 0.2), (0.6, 0.7), (0.2, 0.7))
    studio.until("the selection", lambda: studio.see(".selection .one").count())
    assert (
        studio.text(".selection .counts b") == f"{len(inside)} selected"
        and studio.see(".gallery").is_hidden()
    )
    shown = set(
        studio.see(".selection .one").evaluate_all("all => all.map((one) => one.dataset.image)")
    )
    more = studio.see("[aria-label='More images']")
    while more.is_visible() and more.is_enabled():
        more.click()
        shown |= set(
            studio.see(".selection .one").evaluate_all("all => all.map((one) => one.dataset.image)")
        )
    assert shown == {f"{p['it']}:{p['pos']}" for p in inside}
    labels = [open_run(ended).batch(p["it"])["labels"][p["pos"]] for p in inside]
    counts = {standin.CLASSES[c]: labels.count(c) for c in set(labels)}
    assert all(f"{name} {n}" in studio.text(".selection .counts") for name, n in counts.items())
    bright = studio.page.evaluate(
        "() => { const { points } = document.querySelector('.scatter').cloud; return"
        " points.keys.filter((_, i) => !points.faded[i]); }"
    )
    assert set(bright) == shown, "the others are dimmed"
    one = studio.see(".selection .one").first
    one.click()
    studio.until(
        "the image is selected",
        lambda: studio.selected == tuple(map(int, one.get_attribute("data-image").split(":"))),
    )
    link = f"?{urlsplit(studio.page.url).query}"
    studio.press("Clear selection")
    studio.until(
        "the gallery again",
        lambda: studio.see(".gallery").is_visible() and "pick" not in studio.query,
    )
    again = opened(link, size=(1180, 700))  # another screen
    again.until(
        "the same selection",
        lambda: (
            again.see(".selection .one").count()
            and again.text(".selection .counts b") == f"{len(inside)} selected"
        ),
    )


def test_in_space_a_lasso_is_of_the_screen_and_not_in_the_address(
    opened: Callable[..., Studio], ended: Path
):
    studio = opened("?dim=3")
    use(studio, "Lasso")
    drag(studio, (0.25, 0.15), (0.75, 0.15), (0.75, 0.85), (0.25, 0.85))
    studio.until("the selection", lambda: studio.see(".selection .one").count())
    assert "pick" not in studio.query and studio.query["dim"] == "3"


def test_a_class_is_selected_with_the_keyboard(opened: Callable[..., Studio], ended: Path):
    studio = opened()
    studio.page.get_by_role("button", name="Select all images of Dress").focus()
    studio.page.keyboard.press("Enter")
    n = sum(int((open_run(ended).batch(i)["labels"] == 3).sum()) for i in range(EPOCHS))
    studio.until("all dresses", lambda: studio.text(".selection .counts b") == f"{n} selected")
    assert studio.page.evaluate(
        "() => { const { points } = document.querySelector('.scatter').cloud; return"
        " points.c.every((c, i) => points.dimmed[i] === (c !== 3)); }"
    )
    assert studio.query["pick"] == "c3"
    again = opened("?pick=c3")
    again.until(
        "all dresses by a link",
        lambda: (
            again.see(".selection .counts").is_visible()
            and again.text(".selection .counts b") == f"{n} selected"
        ),
    )
    studio.press("Clear selection")
    studio.until(
        "all classes again",
        lambda: studio.page.evaluate(
            "() => document.querySelector('.scatter').cloud.points.dimmed === null"
        ),
    )


def test_switches_live_in_the_address_and_zoom_is_kept(opened: Callable[..., Studio], ended: Path):
    studio = opened("?dim=3&colour=age")
    assert (
        studio.see("[name=kg-dim][value='3']").is_checked()
        and studio.see(".paint").input_value() == "age"
    )
    before = studio.ranges()
    drag(studio, (0.4, 0.5), (0.6, 0.6))
    studio.until("it turns", lambda: studio.ranges()["turn"] != before["turn"])
    turned = studio.ranges()
    studio.see(".paint").select_option("kr")
    studio.until("the address", lambda: studio.query.get("colour") == "kr")
    colours = studio.page.evaluate(
        "() => new Set(document.querySelector('.scatter').cloud.points.colors).size"
    )
    assert colours > 5 and studio.ranges() == turned
    studio.see(".p-space label").filter(has_text="2-D").click()
    studio.until("flat", lambda: "dim" not in studio.query)
    studio.see(".paint").select_option("newest")
    newest = studio.page.evaluate(
        "() => { const { points } = document.querySelector('.scatter').cloud; return [...new"
        " Set(points.iteration.filter((_, i) => points.colors[i] === points.colors.at(-1)))]; }"
    )
    assert newest == [EPOCHS - 1]


def test_the_students_view_is_of_the_test_before_the_chosen_moment(
    opened: Callable[..., Studio], ended: Path
):
    tests = [e for e in open_run(ended).events() if e.kind == "evaluated"]
    studio = opened("?space=student", points=len(open_run(ended).array_file(tests[-1].file)["pos"]))
    assert studio.text(
        ".p-space h2"
    ) == "Student's view" and f"test {len(tests)} of {len(tests)}" in studio.text(".p-space .note")
    studio.page.keyboard.press("Home")
    studio.until(
        "nothing is known yet",
        lambda: "after the student’s first test" in studio.text(".p-space .note"),
    )
    assert not studio.points("synthetic")
    for _ in range(4):
        studio.page.keyboard.press("Shift+ArrowRight")
    studio.until("iteration 5", lambda: "iteration 5 of" in studio.sentence)
    known = [e for e in tests if e.iteration <= 4]
    studio.until("its test", lambda: f"test {len(known)} of" in studio.text(".p-space .note"))
    studio.until(
        "its images", lambda: {p["it"] for p in studio.points("synthetic")} == set(range(5))
    )


FLUID = """async (dim) => {
  const { cloud } = document.querySelector('.scatter'), long = [];
  const keep = (list) => long.push(...list.getEntries().map((e) => e.duration));
  const watch = new PerformanceObserver(keep);
  watch.observe({ entryTypes: ['longtask'] });
  cloud.dim = dim;
  const begin = performance.now(), first = cloud.frames;
  for (let i = 0; performance.now() - begin < 3000; i += 1) {
    cloud.view.turn += 0.03;
    cloud.view.zoom = 1 + 0.2 * Math.sin(i / 9);
    cloud.requestPaint();
    await new Promise(requestAnimationFrame);
  }
  const begun = performance.now(), most = 10;
  for (let i = 0; i < most; i += 1) { cloud.view.turn += 0.1; cloud.paint(); }
  const each = (performance.now() - begun) / most;
  const rate = (cloud.frames - first - most) / (begun - begin) * 1000;
  watch.disconnect();
  return { n: cloud.points.n, rate, each, long: long.length, longest: Math.max(0, ...long) };
}"""


@pytest.mark.parametrize("dim", [2, 3])
def test_five_thousand_points_are_fluid(opened: Callable[..., Studio], many: Path, dim: int):
    studio = opened(run="many", points=MANY * 100)
    found = studio.page.evaluate(FLUID, dim)
    print(
        f"{dim}-D: {found['rate']:.0f} frames per second, {found['each']:.0f} ms per drawing of"
        f" {found['n']} points, {found['long']} long tasks, the longest {found['longest']:.0f} ms"
    )
    assert found["n"] == 5_000 and found["rate"] > 1


def test_a_phone_shows_it_without_scrolling_sideways(opened: Callable[..., Studio]):
    studio = opened(size=PHONE, is_mobile=True, has_touch=True)
    assert studio.width() <= PHONE[0]
    use(studio, "Box")
    assert studio.see("[name=kg-tool][value=box]").is_checked()
