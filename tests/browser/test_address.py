"""The page opens on a recorded run; its state is in the address, and the keyboard reaches all of
it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.support.serving import App
from tests.support.studio import PHONE, Studio

pytestmark = pytest.mark.timeout(300)
Visit = Callable[..., Studio]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("address"), recorded=True)
    yield app
    app.end()


def parameters(studio: Studio) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(studio.page.url).query).items()}


def test_a_page_without_runs_opens_on_the_recorded_one(visit: Visit):
    studio = visit()
    assert studio.phase == "finished" and studio.sentence.startswith(
        "Recorded: the student agrees with the teacher on 9 of 16 held-out synthetic images"
    )
    studio.until(
        "images of three iterations", lambda: studio.see(".tile:not(:disabled)").count() == 60
    )
    expect(studio.see("#kg-start")).to_be_visible()
    expect(studio.see(".p-gallery .note")).to_have_text(
        "from EfficientNet-Lite0; Start switches to Fashion CNN"
    )
    assert studio.chosen("recipe") == ["live, 3 minutes"] and "second opinion" in studio.text(
        ".curves"
    )
    studio.wait_settled()


def test_a_copied_link_opens_the_same_view(visit: Visit):
    studio = visit()
    studio.until("images", lambda: studio.see(".tile:not(:disabled)").count() == 60)
    studio.see(".tile:not(:disabled)").nth(7).click()
    studio.see("[data-address=over] label").nth(1).click()
    studio.see("[data-address=as] label").nth(1).click()
    studio.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    studio.see(".copy-view").click()
    expect(studio.see(".copy-view")).to_have_attribute("aria-label", "Copied")
    link = studio.page.evaluate("navigator.clipboard.readText()")
    assert link == studio.page.url and {"sel", "over", "as"} <= parameters(studio).keys()
    other = visit(query="?" + urlsplit(link).query)
    other.until("the same image", lambda: other.text(".card") == studio.text(".card"))
    assert (
        other.see(".p-gallery [value=cam]").is_checked()
        and other.see(".p-key [value=surface]").is_checked()
    )
    expect(other.see(".p-key .surface")).to_be_visible()


def test_the_sheet_of_keys_opens_and_closes_and_digits_reach_the_panels(visit: Visit):
    studio, keyboard = (page := visit()), page.page.keyboard
    sheet, focused = (
        studio.see("dialog.help"),
        lambda: studio.page.evaluate("document.activeElement.getAttribute('aria-label')"),
    )
    keyboard.press("?")
    expect(sheet).to_be_visible()
    assert "Pause or continue the run" in sheet.inner_text()
    keyboard.press("3")  # nothing behind the sheet
    keyboard.press("Home")
    assert "t" not in parameters(studio)
    keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    for digit, name in (
        ("1", "Synthetic images"),
        ("2", "Key region"),
        ("4", "Progress"),
        ("9", "Progress"),
    ):
        keyboard.press(digit)
        assert focused() == name
    field = studio.see("#kg-seed input")
    field.click()
    keyboard.type("2?")
    assert sheet.is_hidden() and focused() != "Key region"
    studio.see(".nav .keys").click()
    expect(sheet).to_be_visible()
    studio.see(".help .close").click()
    expect(sheet).to_be_hidden()


def test_a_link_of_another_run_opens_the_same_view(visit: Visit, app: App):
    other = app.runs / "another"
    shutil.copytree(app.runs / "recorded-fashion-live", other, dirs_exist_ok=True)
    studio = visit(query="?run=another&sel=3:7&t=5.2")
    studio.until(
        "the run, image and moment of the link",
        lambda: (
            studio.snapshot()["run"] == "another"
            and parameters(studio) == {"run": "another", "sel": "3:7", "t": "5.2"}
        ),
    )
    expect(studio.see(".p-gallery .note")).to_contain_text("showing iteration 5")
    assert studio.see(".foreign-run").is_hidden()
    lost = visit(query="?run=nowhere&sel=3:7")
    bar = lost.see(".foreign-run")
    expect(bar).to_contain_text("There is no run with that name here.")
    lost.until("the address matches what is shown", lambda: parameters(lost) == {"run": "another"})
    bar.get_by_role("button", name="Close").click()
    expect(bar).to_be_hidden()
    lost.complaints = [
        said for said in lost.complaints if "404" not in said and "409" not in said
    ]  # the browser logs what was refused


def test_while_a_run_is_going_a_link_of_another_says_so(
    visit: Visit, start_little: Callable[[Studio], None]
):
    studio = visit()
    start_little(studio)
    going = studio.snapshot()["run"]
    late = visit(query="?run=recorded-fashion-live&sel=3:7")
    bar = late.see(".foreign-run")
    expect(bar).to_contain_text(
        f"This link points to run recorded-fashion-live, but the Studio is showing {going}."
    )
    assert not bar.get_by_role("button", name="Show it here").count()
    bar.get_by_role("link", name="Inspect that run").click()
    assert parameters(late) == {"tab": "inspect", "run": "recorded-fashion-live", "sel": "3:7"}


@pytest.mark.parametrize("size", [(1440, 900), PHONE])
def test_no_page_is_wider_than_the_screen_and_back_returns(visit: Visit, size: tuple[int, int]):
    studio = visit(size=size)
    assert studio.width() <= size[0]
    for tab in ("inspect", "compare", "lessons", "runs"):
        link = studio.see(f".tabs a[data-page={tab}]")
        link.click()
        expect(link).to_have_attribute("aria-current", "page")
        expect(studio.see(f"main[data-page={tab}]")).to_be_visible()
        studio.wait_polls(1)
        assert studio.width() <= size[0], tab
        assert parameters(studio)["tab"] == tab
        studio.page.go_back()
        expect(studio.see("main[data-page=studio]")).to_be_visible()
    studio.wait_settled()


def test_start_turns_the_page_from_the_recorded_run_to_ones_own(visit: Visit):
    studio = visit()
    shown = studio.snapshot()["run"]
    studio.choose_little()
    studio.press("Start")
    studio.wait_phase("running")
    assert studio.snapshot()["run"] != shown and parameters(studio) == {
        "run": studio.snapshot()["run"]
    }
    studio.press("Stop")
    studio.wait_phase("stopped")
