"""Time in the Studio: any moment of a run can be revisited, live and afterwards, and the run is not
affected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.archive import projection
from kgen.journal.reading import open_run
from tests.support import standin
from tests.support.serving import App
from tests.support.studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(420)
Visit = Callable[..., Studio]
EPOCHS = 24
LAST = ".timeline .t-track"


@pytest.fixture(scope="module")
def ended(app: App) -> Path:
    """A finished run of 24 iterations whose pictures are noise, so that no two look alike."""
    path = standin.write_run(app.runs / "ended", epochs=EPOCHS, student_steps=4)
    arrays = standin.reference() | {
        "xy": np.random.default_rng(0).random((40, 2)).astype(np.float32)
    }
    projection.write_durably(path / projection.LAYOUT, projection.save_arrays(arrays))
    return path


@pytest.fixture
def open_ended(app: App, visit: Visit, ended: Path) -> Callable[..., Studio]:
    """`open_ended()`: a page that shows that run."""

    def open_one(query: str = "", **options) -> Studio:
        app.show("ended")
        studio = visit(query=query, **options)
        studio.until("the run is shown", lambda: studio.snapshot()["run"] == "ended")
        studio.until(
            "its images", lambda: studio.phase == "finished" and (studio.sheet() is not None)
        )
        return studio

    return open_one


def expected(path: Path, iteration: int, frame: int | None = None) -> np.ndarray:
    """What the gallery's newest group must look like: the first two images of each class, one row
    per class.
    """
    batch = open_run(path).batch(iteration)
    pixels = (
        batch["images"][batch["preview_positions"]] if frame is None else batch["previews"][frame]
    )
    labels = batch["labels"][batch["preview_positions"]]
    return np.concatenate(
        [np.concatenate([image[0] for image in pixels[labels == c]], 1) for c in range(10)]
    )


def shows(studio: Studio, path: Path, iteration: int, frame: int | None = None) -> bool:
    found = studio.sheet()
    return found is not None and np.array_equal(
        np.array(found, np.uint8), expected(path, iteration, frame).ravel()
    )


def replayed(studio: Studio) -> int:
    """The iteration that a replay shows; 0 if none is shown."""
    found = re.match(r"Replay: iteration (\d+) of", studio.sentence)
    return int(found[1]) if found else 0


# first, while the app shows no other run


def test_a_live_run_is_scrubbed_while_it_goes_on(little_run: Studio, app: App):
    studio = little_run
    studio.until("two iterations", lambda: studio.counters[1] >= 2, 2 * LATER)
    path = app.runs / studio.snapshot()["run"]
    studio.page.keyboard.press("Home")
    studio.until("the beginning", lambda: studio.sentence.startswith("Replay: iteration 1 of"))
    frames = open_run(path).batch(0)["previews"]
    for step, frame in zip(open_run(path).batch(0)["preview_steps"], frames):
        studio.until(
            "the frame's step", lambda s=step: f"generator step {s + 1} of" in studio.sentence
        )
        labels = open_run(path).batch(0)["labels"][open_run(path).batch(0)["preview_positions"]]
        first = frame[np.flatnonzero(labels == 0)[0]][0]
        side = first.shape[1]

        def same(first=first, side=side) -> bool:
            sheet = np.array(studio.sheet(), np.uint8)
            return np.array_equal(sheet.reshape(2 * side, -1)[:side, :side], first)

        studio.until("the frame's image", same)
        studio.page.keyboard.press("ArrowRight")
    assert "showing iteration" in studio.text(
        ".p-gallery .note"
    ) and "the run is at" in studio.text(".p-gallery .note")
    before = studio.counters
    studio.until("the run continues", lambda: studio.counters[0] > before[0] + 3, LATER)
    assert studio.sentence.startswith("Replay")
    studio.see(".status p").click()
    studio.page.keyboard.press(" ")  # plays this view; the engine is not paused
    studio.wait_polls(4)
    assert studio.phase == "running"
    studio.page.keyboard.press("End")  # it may be there by itself already
    studio.until("live", lambda: "Replay" not in studio.sentence and "t" not in studio.query)


def test_slow_motion_costs_the_engine_nothing(little_run: Studio):
    studio = little_run
    studio.until("two iterations", lambda: studio.counters[1] >= 2, 2 * LATER)

    def rate() -> float:
        before = studio.counters[0]
        studio.page.wait_for_timeout(6000)
        return (studio.counters[0] - before) / 6

    live = rate()
    studio.choose("speed", "Slow")
    studio.until("a replay", lambda: "Replay" in studio.sentence)
    slow = rate()
    assert slow > 0.5 * live, (
        f"{slow:.1f} generator steps per second in slow motion, {live:.1f} live"
    )
    studio.choose("speed", "Full")
    studio.until("live", lambda: "Replay" not in studio.sentence)


def test_a_finished_run_shows_its_end_and_plays_from_its_beginning(
    open_ended: Callable[..., Studio], ended: Path
):
    studio = open_ended()
    assert studio.sentence.startswith("Done") and "t" not in studio.query
    studio.until("the last batch", lambda: shows(studio, ended, EPOCHS - 1))
    # at full speed the replay takes eleven seconds, and a busy machine misses most of its frames
    studio.choose("speed", "Slow")
    studio.press("Play from the beginning")
    first = studio.until("a replay", lambda: replayed(studio))
    studio.choose("speed", "Full")
    studio.until("a later iteration", lambda: replayed(studio) > first)
    assert first <= EPOCHS // 2
    studio.press("Freeze this view")
    studio.until("the moment is in the address", lambda: "t" in studio.query)
    held = studio.sentence
    studio.page.wait_for_timeout(800)
    assert studio.sentence == held
    studio.see(".status p").click()
    studio.page.keyboard.press(" ")
    studio.until("Space continues playback", lambda: studio.sentence != held)
    studio.until("the end again", lambda: studio.sentence.startswith("Done"), LATER)
    assert shows(studio, ended, EPOCHS - 1)


def test_every_moment_shows_what_the_run_folder_holds(
    open_ended: Callable[..., Studio], ended: Path
):
    studio = open_ended()
    keyboard = studio.page.keyboard
    keyboard.press("Home")
    studio.until("the first frame", lambda: shows(studio, ended, 0, 0))
    assert studio.query["t"] == "1.1"
    keyboard.press("ArrowRight")
    studio.until("the second frame", lambda: shows(studio, ended, 0, 1))
    keyboard.press("ArrowRight")
    studio.until("the finished batch", lambda: shows(studio, ended, 0))
    assert studio.query["t"] == "1"
    keyboard.press("ArrowRight")
    studio.until("the next batch begins", lambda: shows(studio, ended, 1, 0))
    keyboard.press("ArrowLeft")
    studio.until("back", lambda: shows(studio, ended, 0))
    for iteration in (1, 2, 3):
        keyboard.press("Shift+ArrowRight")
        studio.until("one iteration forward", lambda i=iteration: shows(studio, ended, i))
    keyboard.press("Shift+ArrowLeft")
    studio.until("one iteration back", lambda: shows(studio, ended, 2))
    keyboard.press("End")
    studio.until(
        "the end", lambda: studio.sentence.startswith("Done") and shows(studio, ended, EPOCHS - 1)
    )


def test_nothing_that_only_later_moments_know_is_on_the_page(
    open_ended: Callable[..., Studio], ended: Path
):
    studio = open_ended("?t=12.2")
    studio.until("the moment", lambda: shows(studio, ended, 11, 1))
    assert studio.sentence.startswith(
        f"Replay: iteration 12 of {EPOCHS}, generator step 2 of 3: images of"
    )
    evaluated = [e for e in open_run(ended).events() if e.kind == "evaluated" and e.iteration <= 10]
    assert studio.accuracy() == pytest.approx(100 * evaluated[-1].student.accuracy, abs=0.06)
    pool = [e for e in open_run(ended).events() if e.kind == "batch_synthesised"][10].pool_images
    assert (
        f"{pool} images" in studio.see(".curves").inner_text()
        and f"{round(100 * pool / 60)}% of budget" in studio.see(".curves").inner_text()
    )
    assert (
        not studio.cells("CAM")
        and not studio.cells("Missing")
        and "in progress" in studio.text(".key-figures figure")
    )
    labels = studio.see(".image-group .g-label").all_inner_texts()
    assert labels[-1].startswith("iteration 12, step 2") and labels[-2].startswith("iteration 11")
    points = studio.until("its points", lambda: studio.points("synthetic"))
    assert {point["it"] for point in points} <= set(range(11))
    assert "Teacher" not in studio.text(".card")
    studio = open_ended("?t=12.2&sel=21:1")  # an image that did not exist yet
    studio.until("the moment", lambda: shows(studio, ended, 11, 1))
    assert (
        "iteration 12" in studio.text(".card .who")
        and studio.see(".tile[aria-pressed=true]").count() == 0
    )


def test_a_link_opens_the_same_moment_and_nonsense_is_live(
    open_ended: Callable[..., Studio], ended: Path
):
    studio = open_ended("?t=7")
    studio.until("the end of iteration 7", lambda: shows(studio, ended, 6))
    for nonsense in ("7.0", "99999", "<b>"):
        other = open_ended(f"?t={nonsense}")
        other.until(
            "the end",
            lambda other=other: (
                other.sentence.startswith("Done") and shows(other, ended, EPOCHS - 1)
            ),
        )


def test_events_are_on_the_line_and_lead_back(open_ended: Callable[..., Studio], ended: Path):
    studio = open_ended()
    tests = [e for e in open_run(ended).events() if e.kind == "evaluated"]
    assert 1 < studio.see(".t-mark.test").count() <= len(tests)
    assert all(studio.see(f".t-mark.{kind}").count() == 1 for kind in ("warmup", "half", "best"))
    end = studio.see(".t-mark.best").get_attribute("aria-label")
    assert (
        end.startswith("The budget is full")
        and "Best test" in end
        and studio.see(".t-mark.full").count() == 0
    )  # signs in the same place are merged
    studio.see(".t-mark.half").click()
    studio.until("the first test at 50%", lambda: "correct." in studio.sentence)
    first = next(e for e in tests if e.student.accuracy >= 0.5)
    assert (
        f"iteration {first.iteration + 1} of" in studio.sentence
        and f"{100 * first.student.accuracy:.1f}% correct" in studio.sentence
    )
    studio.see(LAST).focus()
    studio.page.keyboard.press("PageUp")
    studio.until("the next event", lambda: f"iteration {first.iteration + 2} of" in studio.sentence)
    studio.page.keyboard.press("PageDown")
    studio.until(
        "the event before", lambda: f"iteration {first.iteration + 1} of" in studio.sentence
    )
    studio.see(".t-mark.warmup").focus()
    studio.page.keyboard.press("Enter")
    studio.until("the end of the warm-up", lambda: "Student" not in studio.sentence)


def test_dragging_fetches_only_what_is_near_the_place_where_it_rests(
    open_ended: Callable[..., Studio], ended: Path
):
    studio = open_ended()
    studio.page.keyboard.press("Home")
    studio.until("the beginning", lambda: shows(studio, ended, 0, 0))
    asked: list[str] = []
    studio.page.on(
        "request",
        lambda request: asked.append(request.url) if "/kg/group/" in request.url else None,
    )
    box = studio.see(LAST).bounding_box()
    studio.page.mouse.move(box["x"] + 1, box["y"] + 14)
    studio.page.mouse.down()
    studio.page.mouse.move(box["x"] + 0.62 * box["width"], box["y"] + 14, steps=60)
    studio.page.mouse.up()
    studio.until("iteration 15", lambda: f"iteration 15 of {EPOCHS}" in studio.sentence)
    studio.wait_polls(2)
    assert len(asked) <= 8, asked


def test_a_phone_has_the_same_controls_without_scrolling_sideways(
    open_ended: Callable[..., Studio], ended: Path
):
    studio = open_ended("?t=5", size=PHONE, is_mobile=True, has_touch=True)
    studio.until("iteration 5", lambda: "iteration 5 of" in studio.sentence)
    assert studio.width() <= PHONE[0]
    studio.page.get_by_role("button", name="Forward one iteration").tap()
    studio.until("iteration 6", lambda: "iteration 6 of" in studio.sentence)
    for button in studio.see(".t-moves button").all():
        box = button.bounding_box()
        assert (
            box["width"] >= 32
            and box["height"] >= 28
            and box["x"] >= 0
            and box["x"] + box["width"] <= PHONE[0]
        )
