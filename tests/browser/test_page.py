"""The page's manners: refusals in plain words, the keyboard, light and dark, a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import TimeoutError, expect

from tests.support.studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(300)
Visit = Callable[..., Studio]


def test_start_without_a_class_is_refused_in_words(visit: Visit):
    studio = visit()
    run = studio.snapshot()["run"]
    studio.see("#kg-setup [data-none]").click()
    assert studio.text("#kg-chosen") == "0 of 10"
    studio.press("Start")
    assert "at least one class" in studio.toast()
    studio.wait_polls(3)
    assert studio.snapshot()["run"] == run and studio.phase not in ("starting", "running")


def test_no_choice_is_taken_before_the_form_is_filled_in(visit: Visit):
    """What a person chose before the server had responded would be overwritten by its response."""
    studio, held = visit(), []
    studio.wait_settled()
    studio.page.route("**/gradio_api/queue/join*", lambda route: held.append(route))
    studio.page.reload()
    studio.wait_drawn()
    none = studio.see("#kg-setup [data-none]")
    with pytest.raises(TimeoutError, match="click"):
        none.click(timeout=1500)
    for route in held:
        route.continue_()
    studio.page.unroute("**/gradio_api/queue/join*")
    studio.choose_two_classes()
    studio.wait_settled()
    assert studio.chosen("classes") == ["Trouser", "Bag"]


def test_a_second_start_is_refused_in_words(visit: Visit, start_little: Callable[[Studio], None]):
    late, first = visit(), visit()
    late.page.route(
        "**/kg/live", lambda route: route.fulfill(status=304)
    )  # a page that does not know about the start yet
    late.wait_polls(1)
    start_little(first)
    run = first.snapshot()["run"]
    late.press("Start")
    assert f"already in progress ({run})" in late.toast()
    late.page.unroute("**/kg/live")
    late.wait_phase("running")
    assert late.snapshot()["run"] == run


def test_the_keyboard_steers_the_run(little_run: Studio):
    studio, keyboard = little_run, little_run.page.keyboard
    studio.press("Pause")
    studio.wait_phase("paused")
    studio.wait_polls(3)
    before = studio.counters[0]
    keyboard.press(".")  # the focus is on Continue by now
    studio.until("a generator step", lambda: studio.counters[0] == before + 1, LATER)
    studio.wait_polls(4)
    assert studio.counters[0] == before + 1 and studio.phase == "paused"
    studio.see(".status p").click()
    keyboard.press(" ")
    studio.wait_phase("running")
    keyboard.press(" ")
    studio.wait_phase("paused")


def test_arrows_move_in_the_gallery_and_enter_selects(little_run: Studio):
    studio, keyboard = little_run, little_run.page.keyboard
    studio.until("images", lambda: studio.see(".tile:not(:disabled)").count() >= 10, LATER)
    studio.press("Pause")
    studio.wait_phase("paused")
    focused = studio.see(".tile:focus")
    studio.see('.tile[tabindex="0"]').focus()
    start = focused.get_attribute("aria-label")
    keyboard.press("ArrowUp" if start.startswith("Bag") else "ArrowDown")
    below = focused.get_attribute("aria-label")
    assert {start.split(",")[0], below.split(",")[0]} == {"Trouser", "Bag"}
    at = focused.bounding_box()["x"]
    keyboard.press("ArrowRight" if focused.evaluate("tile => tile.tile.col === 0") else "ArrowLeft")
    assert abs(focused.bounding_box()["x"] - at) >= 16 and focused.get_attribute(
        "aria-label"
    ).startswith(below.split(",")[0])
    assert studio.see(".peek").is_visible(), "focus enlarges an image"
    keyboard.press("Escape")
    assert studio.see(".peek").is_hidden()
    keyboard.press("Enter")
    studio.until("a selection", lambda: "sel" in studio.query)
    assert studio.see(".tile[aria-pressed=true]").get_attribute(
        "aria-label"
    ) == focused.get_attribute("aria-label")


def test_stop_lets_go_of_an_image_that_was_never_finished(little_run: Studio):
    studio = little_run
    studio.until("an iteration", lambda: studio.counters[1] >= 1, LATER)
    studio.press("Pause")
    studio.wait_phase("paused")
    while studio.snapshot()["making"] is None:
        studio.step("Generator")
    studio.see(".gallery .image-group").last.locator(".tile:not(:disabled)").first.click()
    studio.until("a selection", lambda: "sel" in studio.query)
    studio.press("Stop")
    studio.wait_phase("stopped")
    studio.until(
        "the page follows the newest finished image",
        lambda: "sel" not in studio.query and studio.cells("CAM"),
    )


def test_escape_closes_the_command(visit: Visit):
    studio = visit()
    studio.see(".nav .title").click()
    assert studio.see(".command").is_visible() and "python -m kgen run" in studio.text(
        ".command code"
    )
    studio.page.keyboard.press("Escape")
    assert studio.see(".command").is_hidden()


def test_light_and_dark_last_through_a_reload(visit: Visit):
    studio = visit(color_scheme="light")

    def surface() -> str:
        return studio.see(".panel").first.evaluate(
            "panel => getComputedStyle(panel).backgroundColor"
        )

    light = surface()
    studio.press("Switch between light and dark")
    dark = surface()
    assert dark != light and studio.query["__theme"] == "dark"
    studio.wait_settled()
    studio.page.reload()
    studio.wait_drawn()
    studio.until("dark after a reload", lambda: surface() == dark)
    studio.press("Switch between light and dark")
    assert surface() == light


def test_a_phone_scrolls_one_way_only_and_has_the_setup_in_a_sheet(visit: Visit):
    studio = visit(size=PHONE, is_mobile=True, has_touch=True)
    setup = studio.see("#kg-setup")
    assert studio.width() <= PHONE[0] and setup.is_hidden()
    studio.press("Setup")
    assert setup.is_visible() and studio.width() <= PHONE[0]
    expect(studio.see("#kg-start")).to_be_in_viewport(ratio=1)
    studio.press("Setup")
    assert setup.is_hidden()
    studio.press("Setup")
    studio.page.keyboard.press("Escape")
    assert setup.is_hidden()
