"""A person's own folder of real images, on the page: which subfolder is which class, what is left
out, and what a run says about it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.pictures import photo_folder, png_header
from tests.support.studio import LATER, Studio

pytestmark = pytest.mark.timeout(300)


def enter(studio: Studio, folder: Path) -> None:
    field = studio.see("#kg-real :is(input, textarea)")
    if not field.is_visible():
        studio.see("#kg-more > .label-wrap").click()
    field.fill(str(folder))
    field.blur()


def test_the_folder_is_reported_below_its_field_and_bad_files_in_the_notes(
    visit: Callable[..., Studio], tmp_path: Path
):
    photo_folder(tmp_path / "photos", ("Trouser", "bag", "Bagg"), 6)
    (tmp_path / "photos" / "bag" / "empty.png").write_bytes(b"")
    (tmp_path / "photos" / "bag" / "seems-good.png").write_bytes(png_header(28, 28))
    studio = visit()
    studio.choose_little()
    report = studio.see("#kg-real-check")

    enter(studio, tmp_path / "nowhere")
    expect(report).to_have_attribute("data-state", "fail", timeout=1000 * LATER)
    expect(report).to_contain_text("nowhere")

    enter(studio, tmp_path / "photos")
    expect(report).to_have_attribute("data-state", "warn", timeout=1000 * LATER)
    rows = [row.split("\t") for row in report.locator("tbody tr").all_inner_texts()]
    assert rows == [
        ["Trouser", "Trouser", "6"],
        ["Bag", "bag", "7"],
        ["not used", "Bagg: not a class; did you mean Bag?", "6"],
    ]
    expect(report).to_contain_text("did you mean Bag?")
    expect(report).to_contain_text("empty.png (the file is empty)")

    checks: list[str] = []
    studio.page.on("request", lambda r: checks.append(r.url) if "/kg/folder" in r.url else None)
    bag = studio.see("#kg-setup label[title=Bag]")
    bag.click()
    expect(report).to_contain_text("6 images of 1 of 1 class")
    expect(report.locator("tr.ignored").last).to_contain_text("bag")
    bag.click()
    expect(report).to_contain_text("13 images of 2 of 2 classes")
    assert not checks  # the images were checked once, whatever is selected

    studio.press("Start")
    studio.wait_phase("running")
    studio.press("Stop")
    studio.wait_phase("stopped", "finished")
    warnings = " ".join(warning["text"] for warning in studio.snapshot()["warnings"])
    assert "empty.png" in warnings and "seems-good.png" in warnings
    assert "6 real images in 1 folder" in warnings and "Bagg" not in warnings  # viewers see these
    tip = studio.see(".status .chip").get_attribute("data-tip")
    assert tip and "seems-good.png" in tip
    assert (
        "of 12 real images" in studio.sentence or not studio.snapshot()["counters"]["student_step"]
    )
