"""The whole method through the page: the ladder's switches, two resolutions at once, every part of
both losses.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.studio import LATER, Studio

pytestmark = pytest.mark.timeout(400)
Visit = Callable[..., Studio]
RUNGS = ["+ smaller images", "+ key region", "+ embedding diversity", "+ multi-resolution"]


def weight(studio: Studio, name: str) -> float:
    return float(studio.see(f"#kg-weights-{name} input").input_value())


def command(studio: Studio) -> str:
    """The command that the page shows for the current choices."""
    studio.see(".nav .title").click()
    words = studio.text(".command code")
    studio.page.keyboard.press("Escape")
    return words


def test_a_preset_sets_its_rungs_and_a_lone_flip_makes_it_custom(visit: Visit):
    studio = visit()
    studio.choose("preset", "K-Gen")
    studio.until("all rungs", lambda: studio.chosen("ladder") == RUNGS)
    studio.until("two resolutions", lambda: studio.chosen("side") == ["20", "24"])
    assert studio.text("#kg-custom") == "" and studio.text("#kg-expect").startswith(
        "All ideas are on"
    )
    studio.choose("ladder", "+ key region")
    studio.until("a custom recipe", lambda: studio.text("#kg-custom").endswith(" of 4 ideas"))
    assert (
        studio.text("#kg-expect").startswith("Without the key region")
        and studio.chosen("preset") == []
    )
    studio.choose("preset", "+SRG")
    studio.until(
        "one rung", lambda: studio.chosen("ladder") == RUNGS[:1] and studio.chosen("side") == ["20"]
    )
    studio.choose("side", "28")
    studio.until(
        "a second resolution is a rung", lambda: studio.chosen("ladder") == [RUNGS[0], RUNGS[3]]
    )


def test_a_preset_brings_the_noisy_layer_back(visit: Visit):
    studio = visit()
    studio.choose("preset", "K-Gen")
    studio.until("the preset", lambda: studio.chosen("preset") == ["K-Gen"])
    studio.choose("source", "Pixels")
    studio.until(
        "no preset uses pixels",
        lambda: studio.chosen("preset") == [] and studio.text("#kg-custom").endswith(" of 4 ideas"),
    )
    studio.choose("preset", "NAYER")
    studio.until(
        "a generator again",
        lambda: studio.chosen("source") == ["Noisy layer"] and studio.chosen("preset") == ["NAYER"],
    )
    studio.see("#kg-more .label-wrap").click()
    studio.until("without priors", lambda: (weight(studio, "tv"), weight(studio, "l2")) == (0, 0))


def test_the_card_follows_the_teacher_that_is_chosen(visit: Visit):
    studio = visit()
    studio.choose("which-teacher", "ViT")
    studio.until(
        "its card",
        lambda: "Fashion ViT" in studio.text("#kg-teacher") and "80k" in studio.text("#kg-teacher"),
    )
    studio.choose("which-teacher", "CNN")
    studio.until("the other one", lambda: "Fashion CNN" in studio.text("#kg-teacher"))


def test_weights_of_the_method_follow_the_switches(visit: Visit):
    studio = visit()
    studio.see("#kg-more .label-wrap").click()
    studio.until(
        "a tooltip for every field",
        lambda: all(
            label.get_attribute("data-tip") for label in studio.see("#kg-knobs label").all()
        ),
    )
    assert (weight(studio, "kr"), weight(studio, "ed"), weight(studio, "aed")) == (0.1, 0, 0)
    studio.choose("ladder", "+ embedding diversity")
    studio.until(
        "the paper's weights", lambda: (weight(studio, "ed"), weight(studio, "aed")) == (10, 5)
    )
    studio.see("#kg-weights-kr input").fill("0")
    studio.until(
        "a weight of zero switches its rung off",
        lambda: studio.chosen("ladder") == ["+ embedding diversity"],
    )
    studio.choose("source", "Pixels")
    studio.until("the priors", lambda: weight(studio, "tv") > 0 and weight(studio, "l2") > 0)
    studio.until(
        "the command has it",
        lambda: all(
            word in command(studio)
            for word in ("source=pixels", "weights.tv=", "weights.kr=0", "weights.ed=10")
        ),
    )


def test_the_whole_method_runs_and_is_shown(visit: Visit):
    studio = visit()
    studio.choose("preset", "K-Gen")
    studio.until("two resolutions", lambda: studio.chosen("side") == ["20", "24"])
    studio.choose_two_classes()
    studio.press("Start")
    studio.wait_phase("running")
    snapshot = studio.snapshot()
    assert snapshot["recipe"]["resolutions"] == [20, 24] and [
        s["side"] for s in snapshot["scales"]
    ] == [20, 24]
    assert (
        snapshot["counters"]["iterations"]
        == 2 * snapshot["recipe"]["epochs"] * snapshot["recipe"]["iterations"]
    )
    assert snapshot["radii"] == [0.015, 0.03]

    labels = studio.see(".gallery .g-label")
    studio.until(
        "both resolutions in the gallery",
        lambda: (
            {
                side
                for side in ("20 px", "24 px")
                if any(side in text for text in labels.all_inner_texts())
            }
            == {"20 px", "24 px"}
        ),
        LATER,
    )
    studio.until("the student learns", lambda: studio.counters[2] > 0, LATER)
    studio.press("Pause")
    studio.wait_phase("paused")
    studio.wait_polls(3)

    seen = {}
    for i, text in enumerate(labels.all_inner_texts()):
        side = 20 if "20 px" in text else 24
        tile = studio.see(".gallery .image-group").nth(i).locator(".tile:not(:disabled)").first
        assert tile.bounding_box()["width"] % side == 0, (
            "an image pixel covers a whole number of screen pixels"
        )
        tile.click()
        studio.until(
            "its map, at its own size",
            lambda side=side: (
                len(studio.cells("CAM")) == len(studio.cells("Target")) == (side // 4) ** 2
            ),
        )
        assert f"{side} × {side}" in studio.text(".card .who")
        seen[side] = text
    assert set(seen) == {20, 24}

    curves = studio.see(".curves")
    parts = [
        text.split("\n")[0] for text in curves.locator(".legend button:visible").all_inner_texts()
    ]
    assert parts == [
        "embedding push",
        "key region",
        "cross-entropy",
        "BN statistics",
        "adversarial",
    ]
    assert curves.locator("path[style^='fill']").count() == 5
    curves.get_by_role("button", name="student loss").click()
    studio.until(
        "the student's parts",
        lambda: (
            [t.split("\n")[0] for t in curves.locator(".legend button:visible").all_inner_texts()]
            == ["embedding pull", "distillation"]
        ),
    )
    assert curves.locator("path[style^='fill']").count() == 2

    finished = next(
        i for i, text in enumerate(labels.all_inner_texts()) if text.startswith("iteration")
    )
    studio.see(".gallery .image-group").nth(finished).locator(".tile:not(:disabled)").first.click()
    studio.until(
        "each part of the image's loss", lambda: studio.see(".card .terms > div").count() == 5
    )
    studio.until("synthetic points", lambda: studio.points("synthetic"))
    studio.press("Stop")
    studio.wait_phase("stopped", "finished")
