"""A classroom: the presenter is in control on one page, the audience watches on another and
controls nothing.

The tests are the stations of one journey, in this order; after a failure, the rest are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from playwright.sync_api import Browser, expect

from app.web.roles import PRESENTER_ONLY
from tests.support.serving import App
from tests.support.studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(300)
TOKEN = "the-token-of-this-test"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("app"), "--presenter", "--token", TOKEN)
    yield app
    app.end()


@pytest.fixture(scope="module")
def room(app: App, browser: Browser) -> Iterator[SimpleNamespace]:
    presenter = Studio(browser, app.address, query=f"?token={TOKEN}")
    viewer = Studio(browser, app.address)
    yield SimpleNamespace(presenter=presenter, viewer=viewer, failed=False)
    presenter.close()
    viewer.close()


@pytest.fixture(autouse=True)
def station(request: pytest.FixtureRequest, room: SimpleNamespace) -> Iterator[None]:
    if room.failed:
        pytest.skip("an earlier station of the journey failed")
    before = request.session.testsfailed
    room.failed = True
    yield
    room.presenter.check()
    room.viewer.check()
    room.failed = request.session.testsfailed > before


def shared(studio: Studio) -> dict[str, str]:
    return {name: value for name, value in studio.query.items() if not name.startswith("_")}


def together(room: SimpleNamespace) -> None:
    room.viewer.until(
        "the viewer is where the presenter is",
        lambda: shared(room.viewer) == shared(room.presenter),
    )


def test_the_terminal_invites_and_the_token_is_gone_from_the_address(
    app: App, room: SimpleNamespace
):
    said = app.out.read_text()
    assert (
        f"For the audience: {app.address}\n" in said and f"?token={TOKEN}" in said and "█" in said
    )
    assert "token" not in room.presenter.query and TOKEN not in room.presenter.page.content()
    assert TOKEN not in room.presenter.page.evaluate(
        "document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"
    )


def test_a_viewer_sees_no_controls_and_loads_nothing_of_gradio(room: SimpleNamespace):
    viewer = room.viewer
    for name in ("Start", "Pause", "Continue", "Step", "Stop", "Setup", "Invite"):
        assert not viewer.page.get_by_role("button", name=name, exact=True).count(), name
    assert viewer.text(".following") == "Viewer · following the presenter Stop following"
    assert (
        "The presenter chooses" in viewer.text(".watching-why")
        and viewer.text("#kg-teacher h2") == "Fashion CNN"
    )
    assert not viewer.page.evaluate(
        "performance.getEntriesByType('resource').map((e) => e.name).filter((name) =>"
        " !name.includes('/kg/'))"
    )
    viewer.see(".tabs a[data-page=runs]").click()
    assert viewer.page.get_by_role("button", name="Open file").count() == 0
    viewer.press("Follow again")
    together(room)


def test_what_the_presenter_starts_the_viewer_sees(room: SimpleNamespace):
    room.presenter.choose_little()
    room.presenter.press("Start")
    room.presenter.wait_phase("running")
    room.viewer.wait_phase("running")
    room.viewer.until("images", room.viewer.sheet, LATER)
    room.viewer.until(
        "what was chosen", lambda: "Trouser, Bag" in room.viewer.text(".chosen-facts")
    )
    room.presenter.until(
        "one viewer is counted", lambda: room.presenter.text(".watchers") == "1 viewer"
    )


def test_forged_calls_of_a_viewer_are_refused_in_words(app: App, room: SimpleNamespace):
    run = room.viewer.snapshot()["run"]
    ask = room.viewer.context.request
    order = {"fn_index": 0, "data": [], "session_hash": "forged"}
    for path in (
        "kg/shown",
        "kg/undo",
        "kg/bundle",
        f"kg/runs/{run}/delete",
        f"kg/runs/{run}/rename",
        "kg/teacher-file",
        "gradio_api/queue/join",
        "gradio_api/run/predict",
    ):
        answer = ask.post(app.address + path, data=order)
        text = answer.json()["error"] if path.startswith("gradio_api") else answer.text()
        assert (answer.status, text) == (403, PRESENTER_ONLY), path
    for path in (
        "config",
        f"kg/export/{run}",
        f"kg/bundle/{run}",
        f"kg/csv/{run}",
        "gradio_api/info",
    ):
        answer = ask.get(app.address + path)
        assert answer.status == 403 and PRESENTER_ONLY in answer.text(), path
    page = room.viewer.page
    room.viewer.see(".status p").click()  # the keys are the page's, not a button's
    for key in (" ", ".", "Escape"):
        page.keyboard.press(key)
    room.viewer.wait_polls(2)
    assert room.viewer.phase == "running" and room.viewer.snapshot()["run"] == run


def test_the_viewer_follows_selection_and_page(room: SimpleNamespace):
    presenter, viewer = room.presenter, room.viewer
    presenter.until("an iteration", lambda: presenter.counters[1] >= 1, LATER)
    presenter.press("Pause")
    presenter.wait_phase("paused")
    viewer.wait_phase("paused")
    presenter.see(".tile:not(:disabled)").first.click()
    presenter.until("a selection", lambda: "sel" in presenter.query)
    together(room)
    expect(viewer.see(".tile[aria-pressed=true]")).to_have_attribute(
        "aria-label", presenter.see(".tile[aria-pressed=true]").get_attribute("aria-label")
    )
    presenter.see(".tabs a[data-page=runs]").click()
    together(room)
    expect(viewer.see("main.runs")).to_be_visible()
    expect(viewer.see(".run")).to_be_visible()
    for name in ("Open", "Resume", "Rename", "Note", "Delete", "Download"):
        assert (
            presenter.see(f".run :is(button, a):text-is('{name}')").count() == 1
            and not viewer.see(f".run :is(button, a):text-is('{name}'):visible").count()
        ), name
    presenter.see(".tabs a[data-page=studio]").click()
    together(room)


def test_who_goes_elsewhere_is_left_alone_and_may_follow_again(room: SimpleNamespace):
    presenter, viewer = room.presenter, room.viewer
    viewer.see(".tile:not(:disabled):not([aria-pressed=true])").last.click()
    viewer.until(
        "on one's own", lambda: viewer.text(".following") == "Viewer · on your own Follow again"
    )
    own = shared(viewer)
    presenter.see(".tabs a[data-page=runs]").click()
    viewer.wait_polls(3)
    assert shared(viewer) == own != shared(presenter)
    viewer.page.reload()
    viewer.wait_drawn()
    viewer.wait_polls(2)
    assert shared(viewer) == own, "and it stays that way after a reload"
    viewer.press("Follow again")
    together(room)
    assert viewer.text(".following").startswith("Viewer · following")
    presenter.see(".tabs a[data-page=studio]").click()
    together(room)


def test_a_late_viewer_comes_to_where_the_presenter_is(
    app: App, browser: Browser, room: SimpleNamespace
):
    room.presenter.page.keyboard.press("Home")
    room.presenter.until("an earlier moment", lambda: room.presenter.query.get("t") == "1.1")
    late = Studio(browser, app.address, size=PHONE, is_mobile=True, has_touch=True)
    late.until("where the presenter is", lambda: shared(late) == shared(room.presenter))
    late.until("and sees that moment", lambda: late.sentence.startswith("Replay: iteration 1 of"))
    room.presenter.page.keyboard.press("End")
    late.until("and the end again", lambda: not late.sentence.startswith("Replay"))
    assert (
        late.width() <= PHONE[0]
        and late.see(".following").is_visible()
        and late.see("#kg-rail").is_hidden()
    )
    room.presenter.until(
        "both are counted", lambda: room.presenter.text(".watchers") == "2 viewers"
    )
    late.check()
    late.close()
    room.presenter.until("one has gone", lambda: room.presenter.text(".watchers") == "1 viewer")


def test_the_invitation_is_large_and_says_where(app: App, room: SimpleNamespace):
    room.presenter.press("Invite")
    code = room.presenter.see("#kg-invite img")
    expect(code).to_be_visible()
    assert (
        code.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        and code.bounding_box()["width"] >= 480
    )
    assert room.presenter.see(".invite-link").get_attribute("href") == app.address
    assert (
        float(
            room.presenter.see(".invite-link").evaluate(
                "link => parseFloat(getComputedStyle(link).fontSize)"
            )
        )
        >= 40
    )
    room.presenter.page.keyboard.press("Escape")
    expect(code).to_be_hidden()


def test_the_presenter_stops_for_all(room: SimpleNamespace):
    room.presenter.press("Stop")
    room.presenter.wait_phase("stopped", "finished")
    room.viewer.wait_phase("stopped", "finished")
    assert not room.viewer.see(".alert button:visible").count()
