"""The Inspect page as a person uses it: a small real run, opened from the Studio, browsed, sorted,
filtered and downloaded.

What is on screen is compared with the run's own files. The tests are the stations of one journey,
in this order and on one page.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from kgen.events import PARTS
from kgen.journal.reading import open_run
from kgen.system.paths import ROOT
from tests.support import standin
from tests.support.serving import App
from tests.support.stations import failures as failures
from tests.support.stations import station as station
from tests.support.stations import studio as studio
from tests.support.studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(240)
MANY = 60
"""Iterations of the hand-made run that is scrolled through; ten images of each class in each."""

# The gray values of a picture as it is drawn: its image decoded by the browser.
PIXELS = """async (selector) => {
  const image = new Image();
  image.src = /url\\("(.*)"\\)/.exec(document.querySelector(selector).style.backgroundImage)[1];
  await image.decode();
  const canvas = document.createElement('canvas'), ink = canvas.getContext('2d');
  Object.assign(canvas, { width: image.width, height: image.height });
  ink.drawImage(image, 0, 0);
  return [...ink.getImageData(0, 0, image.width, image.height).data].filter((v, i) => i % 4 === 0);
}"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Its folder has two runs: "many", made of noise, and "little", which the engine has just made
    and the Studio shows.
    """
    folder = tmp_path_factory.mktemp("app")
    standin.write_run(folder / "runs" / "many", epochs=MANY, batch=100)
    command = [
        sys.executable,
        "-m",
        "kgen",
        "run",
        "tiny",
        "--out",
        str(folder / "runs" / "little"),
        "--set",
        "epochs=4",
        "--set",
        "warmup=0.25",
        "--set",
        "judge=auto",
    ]
    subprocess.run(
        command,
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=LATER,
    )
    app = App(folder)
    yield app
    app.end()


@pytest.fixture(scope="module")
def batches(app: App) -> list[dict[str, np.ndarray]]:
    return [arrays for _, arrays in open_run(app.runs / "little").batches()]


def pixels(studio: Studio, selector: str = ".in-image .pic-lg .pix") -> list[int]:
    return studio.page.evaluate(PIXELS, selector)


def captions(studio: Studio) -> list[str]:
    """The captions of the visible tiles, in reading order."""
    return studio.page.evaluate(
        "() => [...document.querySelectorAll('.grid-tile')].sort((a, b) => a.index -"
        " b.index).map((tile) => tile.lastChild.textContent)"
    )


def shown(studio: Studio) -> list[tuple[int, int]]:
    """(iteration, position) of these tiles, from their labels."""
    return [
        (int(it) - 1, int(pos) - 1)
        for it, pos in studio.page.evaluate(
            "() => [...document.querySelectorAll('.grid-tile')].sort((a, b) => a.index -"
            " b.index).map((tile) => /iteration ([0-9]+), image"
            " ([0-9]+)/.exec(tile.ariaLabel).slice(1))"
        )
    ]


def count(studio: Studio) -> str:
    return studio.text(".tools-row .count")


def test_an_image_is_opened_from_the_studio(studio: Studio, batches):
    studio.wait_phase("finished")
    studio.until("the newest images", lambda: studio.see(".tile:not(:disabled)").count())
    studio.see(".tile:not(:disabled)").last.click()
    it, pos = studio.selected
    studio.see(".p-space .card").get_by_role("link", name="Inspect").click()
    studio.until("the image", lambda: studio.see(".in-image").is_visible())
    assert (
        studio.query["tab"] == "inspect"
        and studio.query["run"] == "little"
        and studio.selected == (it, pos)
    )
    assert studio.page.get_by_role("heading", level=1).inner_text() == "Inspect"
    name = standin.CLASSES[batches[it]["labels"][pos]]
    assert studio.text(
        ".in-head h2"
    ) == name and f"iteration {it + 1}, image {pos + 1} of" in studio.text(".in-head .said")
    assert pixels(studio) == batches[it]["images"][pos, 0].ravel().tolist()


def test_the_map_and_what_is_missing_are_those_of_the_file(studio: Studio, batches, app: App):
    it, pos = studio.selected
    cam = batches[it]["cam"][pos].astype(float)
    target = np.array(
        next(e for e in open_run(app.runs / "little").events() if e.kind == "run_started").target
    )
    missing = np.maximum(0, target - np.round(cam, 4))
    assert (
        studio.see(".equation .map").count() == 3
        and studio.see(".equation .map i").count() == 3 * cam.size
    )
    assert studio.see(".equation .map.miss .hinge").count() == (missing > 0).sum()
    assert f"Σ = {missing.sum():.2f}" in studio.text(".equation figure:has(.miss) small")


def test_each_term_is_reported_among_its_batch(studio: Studio, batches, app: App):
    it, pos = studio.selected
    weights = open_run(app.runs / "little").recipe.weights.model_dump()
    terms = [name for name in PARTS if weights[name]]
    assert studio.see(".strip").count() == len(terms) and "bn" in terms
    values = np.array(
        [[float(f"{v:.5g}") for v in row] for row in batches[it]["parts"].astype(float)]
    )
    own = PARTS.index("ce")
    strip = studio.see(".strip").filter(has_text="cross-entropy")
    assert f"{(values[:, own] < values[pos, own]).sum()} lower" in strip.inner_text()
    assert strip.locator(".tick").count() == len(values)
    bn = studio.see(".strip").filter(has_text="BN statistics")
    studio.until(
        "other iterations' statistics", lambda: bn.locator(".tick").count() == len(batches)
    )
    assert "whole batch" in bn.inner_text()
    assert not studio.see(".explanation").first.is_visible()
    studio.page.get_by_role("button", name="Why does it look like this?").click()
    assert (
        studio.see(".explanation").first.inner_text().endswith(".")
        and "other iterations" in bn.inner_text()
    )
    studio.page.get_by_role("button", name="Why does it look like this?").click()


def test_the_making_is_scrubbed(studio: Studio, batches):
    it, pos = studio.selected
    b = batches[it]
    i = b["preview_positions"].tolist().index(pos)
    before = [k for k, step in enumerate(b["preview_steps"]) if step < b["kept_step"][0]]
    slider = studio.page.get_by_role("slider", name="Generation step")
    assert studio.see(".film li").count() == len(before) + 1
    for k in reversed(before):
        slider.press("ArrowLeft")
        studio.until(
            "this step", lambda k=k: pixels(studio) == b["previews"][k, i, 0].ravel().tolist()
        )
        sure = float(b["preview_confidence"][k, i])
        assert f"step {b['preview_steps'][k] + 1}" in studio.text(".moment") and (
            f"{100 * sure:.0f}%" in studio.text(".moment") or sure < 0.005
        )
    assert studio.query["step"] == str(b["preview_steps"][0] + 1)
    studio.see(".film button").last.click()
    studio.until("what was kept", lambda: pixels(studio) == b["images"][pos, 0].ravel().tolist())
    assert "step" not in studio.query


def test_maps_as_surfaces_are_in_the_address(studio: Studio):
    choice = studio.see(".in-key .seg label")
    choice.filter(has_text="3-D").click()
    studio.until(
        "the surfaces",
        lambda: studio.see(
            ".in-key .surface .gl-container, .in-key .surface .plot-container"
        ).count(),
    )
    assert studio.query["maps"] == "surface" and not studio.see(".equation").is_visible()
    choice.filter(has_text="Numbers").click()
    assert (
        "maps" not in studio.query
        and studio.see(".equation .map").count() == 3
        and studio.see(".equation").is_visible()
    )


def test_networks_answers_and_what_is_near(studio: Studio, batches):
    it, pos = studio.selected
    first = studio.see(".tops .top5 li").first.inner_text().replace("\n", " ")
    top, share = (
        batches[it]["teacher_top"][pos, 0],
        100 * float(batches[it]["teacher_top_p"][pos, 0]),
    )
    assert first.startswith(standin.CLASSES[top]) and abs(float(first.split()[-1]) - share) <= 0.5
    judged = studio.see(".tops > div").last
    rank, answers = int(batches[it]["judge_rank"][pos]), batches[it]["judge_top"][pos]
    asked = standin.CLASSES[batches[it]["labels"][pos]]
    said = "also classifies it as" if rank == 0 else f"ranks {rank} of its 10 classes above"
    assert (
        "Second opinion" in judged.inner_text()
        and f"Fashion ViT, which took no part in the run, {said} “{asked}”" in judged.inner_text()
    )
    assert judged.locator("li").first.inner_text().startswith(standin.CLASSES[answers[0]])
    assert studio.see(".near").count() == 2 and studio.see(".near").first.locator("li").count() == 7
    studio.until("images of other classes", lambda: studio.see(".near a").count() == 7)
    name = standin.CLASSES[batches[it]["labels"][pos]]
    assert not any(
        label.startswith(f"{name},")
        for label in studio.page.evaluate(
            "[...document.querySelectorAll('.near a')].map((a) => a.ariaLabel)"
        )
    )


def test_arrow_keys_go_through_the_batch_and_back_leaves(studio: Studio, batches):
    it, pos = studio.selected
    studio.see(".in-head h2").click()  # on a switch, arrow keys change the switch
    studio.page.keyboard.press("ArrowLeft")
    studio.until(
        "the image before",
        lambda: pixels(studio) == batches[it]["images"][pos - 1, 0].ravel().tolist(),
    )
    assert studio.selected == (it, pos - 1)
    studio.page.keyboard.press("ArrowRight")
    studio.until(
        "the image again", lambda: pixels(studio) == batches[it]["images"][pos, 0].ravel().tolist()
    )
    studio.page.go_back()
    assert studio.see("main.view").is_visible() and studio.selected == (it, pos)
    studio.page.go_forward()
    studio.until("the image", lambda: studio.see(".in-image").is_visible())


def test_all_of_a_class_sorted_and_filtered(studio: Studio, batches):
    it, pos = studio.selected
    c, kr = int(batches[it]["labels"][pos]), PARTS.index("kr")
    studio.page.get_by_role("link", name=f"All {standin.CLASSES[c]}").click()
    mine = [(i, int(k)) for i, b in enumerate(batches) for k in np.flatnonzero(b["labels"] == c)]
    studio.until("all of them", lambda: count(studio) == f"{len(mine)} images")
    assert studio.query["class"] == str(c) and "sel" not in studio.query and shown(studio) == mine
    studio.page.get_by_label("Sort by", exact=True).select_option("kr")
    studio.see(".direction").click()
    assert studio.query["sort"] == "-kr" and "highest first" in studio.text(".direction")
    losses = [float(f"{batches[i]['parts'][k, kr]:.5g}") for i, k in mine]
    order = [mine[k] for k in sorted(range(len(mine)), key=lambda k: -losses[k])]
    studio.until("the highest first", lambda: shown(studio) == order)
    middle = sorted(float(batches[i]["confidence"][k]) for i, k in mine)[len(mine) // 2]
    studio.page.get_by_label("Filter by", exact=True).select_option("p")
    studio.page.get_by_label("At least").fill(f"{100 * middle:.1f}")
    studio.page.get_by_role("button", name="Add").click()
    kept = [
        (i, k)
        for i, k in order
        if round(float(batches[i]["confidence"][k]), 4) >= round(round(100 * middle, 1) / 100, 6)
    ]
    studio.until("the surer half", lambda: shown(studio) == kept)
    assert 0 < len(kept) < len(mine) and count(studio) == f"{len(kept)} of {len(mine)} images"
    studio.page.get_by_label("Filter by", exact=True).select_option("kr")
    studio.page.get_by_label("At most").fill("-1")
    studio.page.get_by_role("button", name="Add").click()
    studio.until(
        "none", lambda: count(studio) == f"None of {len(mine)} images match. Remove a filter."
    )
    studio.see(".in-class .chip").last.click()
    studio.until("the surer half again", lambda: shown(studio) == kept)
    assert studio.see(".in-class .chip").count() == 1


def test_what_is_chosen_is_taken_away(studio: Studio, batches, tmp_path: Path):
    order = shown(studio)
    files = {}
    for name in ("PNG grid", "ZIP"):
        with studio.page.expect_download() as found:
            studio.see(".take").get_by_role("link", name=name).click()
        files[name] = tmp_path / found.value.suggested_filename
        found.value.save_as(files[name])
    grid, side = np.asarray(Image.open(files["PNG grid"])), batches[0]["images"].shape[-1]
    columns = grid.shape[1] // side
    for k, (it, pos) in enumerate(order):
        y, x = divmod(k, columns)
        assert (
            grid[side * y : side * (y + 1), side * x : side * (x + 1)]
            == batches[it]["images"][pos, 0]
        ).all()
    with zipfile.ZipFile(files["ZIP"]) as archive:
        table = list(csv.DictReader(io.StringIO(archive.read("losses.csv").decode())))
        assert [(int(row["iteration"]) - 1, int(row["position"]) - 1) for row in table] == order
        for row, (it, pos) in zip(table, order):
            assert (
                np.asarray(Image.open(io.BytesIO(archive.read(row["file"]))))
                == batches[it]["images"][pos, 0]
            ).all()


def test_a_copied_address_shows_the_same(studio: Studio, browser: Browser):
    query = "?" + studio.page.url.split("?")[1]
    other = Studio(browser, studio.address, query=query)
    try:
        other.until(
            "the same list", lambda: count(other) == count(studio) and shown(other) == shown(studio)
        )
        other.see(".grid-tile").first.click()
        other.until("the first image", lambda: other.see(".in-image").is_visible())
        other.page.keyboard.press("ArrowRight")
        other.until("the next of the list", lambda: other.selected == shown(studio)[1])
        other.page.go_back()
        other.until(
            "the list",
            lambda: other.see(".in-class").is_visible() and shown(other) == shown(studio),
        )
        other.check()
    finally:
        other.close()


def test_of_many_images_only_those_in_sight_are_elements(studio: Studio):
    studio.wait_settled()
    studio.page.goto(f"{studio.address}?tab=inspect&run=many&class=3&sort=-p")
    studio.wait_drawn()
    studio.until("all of them", lambda: count(studio) == f"{10 * MANY} images")
    studio.until("tiles", lambda: captions(studio))
    wall = studio.see(".image-grid")
    most = 0
    for _ in range(20):
        wall.evaluate("(wall) => { wall.scrollTop += 150; }")
        studio.page.wait_for_timeout(50)
        most = max(most, studio.see(".grid-tile").count())
    assert 0 < most < 300 < 10 * MANY
    shares = [int(text.split("%")[0]) for text in captions(studio)]
    assert shares == sorted(shares, reverse=True) and shares[0] < 100


def test_back_comes_to_the_same_place(studio: Studio):
    wall = studio.see(".image-grid")
    top = wall.evaluate("(wall) => wall.scrollTop")
    assert top > 500
    middle = studio.page.evaluate(
        "() => { const box = document.querySelector('.image-grid').getBoundingClientRect(); return"
        " document.elementFromPoint(box.x + 60, box.y + box.height / 2)"
        ".closest('.grid-tile').index; }"
    )
    tile = studio.page.evaluate_handle(
        "(i) => [...document.querySelectorAll('.grid-tile')].find((tile) => tile.index === i)",
        middle,
    ).as_element()
    label = tile.get_attribute("aria-label")
    tile.click()
    studio.until("the image", lambda: studio.see(".in-image").is_visible())
    studio.page.keyboard.press("ArrowRight")
    studio.page.go_back()
    studio.until(
        "the grid where it was",
        lambda: (
            studio.see(".in-class").is_visible()
            and wall.evaluate("(wall) => wall.scrollTop") == top
        ),
    )
    assert studio.page.evaluate("document.activeElement.ariaLabel") == label
    studio.page.keyboard.press("ArrowDown")
    assert studio.page.evaluate("document.activeElement.index") > middle
    studio.wait_settled()
    studio.page.reload()
    studio.wait_drawn()
    studio.until(
        "the position after a reload", lambda: wall.evaluate("(wall) => wall.scrollTop") == top
    )


def test_what_is_not_there_is_said(studio: Studio):
    for query, words in {
        "run=nothing": "no run with that name",
        "run=little&sel=99:1": "is not finished",
        "run=little&sel=1:10000": "images, not 10,000",
        "run=..%2F..&sel=1:1": "no run with that name",
    }.items():
        studio.wait_settled()
        studio.page.goto(f"{studio.address}?tab=inspect&{query}")
        studio.wait_drawn()
        studio.until(words, lambda words=words: words in studio.text("main.inspect"))
    studio.complaints = [
        said for said in studio.complaints if "404" not in said
    ]  # the browser logs what was not found


def test_at_phone_width_nothing_is_cut(studio: Studio, browser: Browser):
    for query in ("run=little&sel=2:4", "run=many&class=2"):
        phone = Studio(browser, studio.address, PHONE, f"?tab=inspect&{query}")
        try:
            look_at(phone, "class" in query)
            phone.check()
        finally:
            phone.close()


def look_at(phone: Studio, a_class: bool) -> None:
    phone.until("the page", lambda: phone.see(".strip, .grid-tile").count())
    assert phone.width() == PHONE[0]
    if not a_class:
        return
    phone.until("all of them", lambda: count(phone) == f"{10 * MANY} images")
    phone.page.evaluate("scrollTo(0, 4000)")
    phone.until(
        "tiles there",
        lambda: phone.page.evaluate(
            "[...document.querySelectorAll('.grid-tile')].some((t) => { const { top } ="
            " t.getBoundingClientRect(); return top > 0 && top < innerHeight; })"
        ),
    )
    assert phone.see(".grid-tile").count() < 200
