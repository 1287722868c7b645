"""ImageNet on the page: a thousand classes to choose from, and a run without a real image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.support.studio import LATER, Studio

pytestmark = pytest.mark.timeout(400)
Visit = Callable[..., Studio]
PASTE = """(text) => {
  const data = new DataTransfer();
  data.setData('text', text);
  const how = { clipboardData: data, bubbles: true, cancelable: true };
  const paste = new ClipboardEvent('paste', how);
  document.querySelector('#kg-classes .find input').dispatchEvent(paste);
}"""


@pytest.fixture
def imagenet(visit: Visit) -> Studio:
    """A page whose form shows the ImageNet teacher."""
    studio = visit()
    studio.choose("which-teacher", "EfficientNet-Lite0")
    expect(studio.see("#kg-chosen")).to_have_text("10 of 1,000", timeout=20_000)
    return studio


def search(studio: Studio, text: str) -> None:
    studio.see("#kg-classes .find input").fill(text)


def test_the_form_offers_what_the_teacher_can(imagenet: Studio):
    expect(imagenet.see("#kg-budget-out")).to_contain_text("images at 128 × 128")
    assert imagenet.chosen("side") == ["128"] and imagenet.chosen("recipe")[0].startswith("peek")
    assert (
        imagenet.text("[data-t=title]") == "EfficientNet-Lite0"
        and imagenet.text("[data-t=input]") == "224 × 224 × 3"
    )
    assert imagenet.see("#kg-classes label").count() <= 120, "a thousand chips would be slow"
    assert imagenet.see("[data-testid=toast-text]").count() == 0
    imagenet.choose("which-teacher", "CNN")
    expect(imagenet.see("#kg-chosen")).to_have_text("10 of 10")
    assert imagenet.chosen("side") == ["28"]


def test_a_list_is_pasted_and_what_is_not_a_class_is_named(imagenet: Studio):
    imagenet.page.evaluate(PASTE, "goldfish, Zebra; spaceship\nsports_car")
    expect(imagenet.see("#kg-chosen")).to_have_text("3 of 1,000")
    expect(imagenet.see("#kg-classes p[role=status]")).to_have_text(
        "3 of 4 classes selected. Unknown to this teacher: spaceship."
    )
    assert imagenet.chosen("classes") == ["goldfish", "zebra", "sports car"]
    imagenet.see("#kg-setup [data-ten]").click()
    expect(imagenet.see("#kg-chosen")).to_have_text("10 of 1,000")
    imagenet.see("#kg-setup [data-all]").click()
    expect(imagenet.see("#kg-chosen")).to_have_text("1,000 of 1,000")


def test_three_classes_are_found_and_watched_without_a_real_image(imagenet: Studio):
    studio = imagenet
    studio.see("#kg-setup [data-none]").click()
    for name in ("goldfish", "zebra", "espresso"):
        search(studio, name)
        studio.see("#kg-classes label").filter(has_text=name).first.click()
    search(studio, "")
    expect(studio.see("#kg-chosen")).to_have_text("3 of 1,000")
    assert studio.chosen("side") == ["128"]
    studio.press("Start")
    studio.wait_phase("running")
    studio.until(
        "an image of each class", lambda: studio.see(".tile:not(:disabled)").count() >= 3, LATER
    )
    assert studio.see(".g-names .name").all_inner_texts() == ["goldfish", "zebra", "espresso"]
    expect(studio.see(".curves")).to_contain_text("agrees with the teacher")
    snapshot = studio.snapshot()
    assert snapshot["tested_on"] == "synthetic" and snapshot["class_indices"] == [1, 340, 967]
    assert studio.text("[data-t=map]") == "4 × 4"
    studio.press("Stop")
    studio.wait_phase("stopped")
