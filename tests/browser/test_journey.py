"""One run of the real engine, watched and controlled through the page from before Start to the
downloads.

The tests are the stations of one journey, in this order and on one page; after a failure, the rest
are skipped.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kgen.__main__ import read_recipe
from kgen.zoo import zoo
from tests.support.stations import failures as failures
from tests.support.stations import station as station
from tests.support.stations import studio as studio
from tests.support.studio import LATER, Studio

pytestmark = pytest.mark.timeout(420)
LEARNT = 40.0
"""Percent; chance is 10."""


def test_before_start_everything_known_is_on_screen(studio: Studio):
    assert studio.phase == "empty"
    assert studio.sentence.startswith("Ready. Press Start")
    target = studio.cells("Target")
    assert len(target) == 49 and target[24] == "1.0" and max(map(float, target)) == 1.0
    assert "teacher 9" in studio.see(".curves").inner_text()
    assert "0% of budget" in studio.see(".curves").inner_text()
    studio.until("real examples in the scatter", lambda: len(studio.points("real")) >= 200)
    assert not studio.points("synthetic")
    assert studio.see("#kg-start").is_enabled() and studio.see("#kg-stop").is_disabled()


def test_start_brings_images_that_change(studio: Studio):
    studio.press("Start")
    studio.wait_phase("running")
    first = studio.until("images", studio.sheet, LATER)
    assert max(first) - min(first) > 100, "the images are blank"
    studio.until("images that change", lambda: studio.sheet() not in (None, first), LATER)
    assert "Generator step" in studio.sentence


def test_the_evidence_stands_beside_the_target_in_numbers(studio: Studio):
    studio.until("a CAM", lambda: len(studio.cells("CAM")) == 49)
    assert studio.cells("Target")[24] == "1.0"
    cam = [float(text.replace("−", "-")) for text in studio.cells("CAM")]
    assert len(set(cam)) > 5
    assert len(studio.cells("Missing")) == 49


def test_synthetic_points_join_the_real_ones(studio: Studio):
    studio.until("synthetic points", lambda: studio.points("synthetic"), LATER)
    assert len(studio.points("real")) >= 200


def test_a_zoomed_scatter_stays_so_while_new_images_arrive(studio: Studio):
    whole, box = studio.ranges(), studio.see(".scatter[role=img]").bounding_box()
    mouse = studio.page.mouse
    mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    mouse.down()
    mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"], steps=5)
    mouse.up()
    studio.until("the drag zooms", lambda: studio.ranges() != whole)
    zoomed, (_, iterations, _) = studio.ranges(), studio.counters
    studio.wait_snapshots(3)
    studio.until("one more iteration", lambda: studio.counters[1] > iterations, LATER)
    studio.wait_snapshots(1)
    assert studio.ranges() == zoomed
    mouse.dblclick(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    studio.until("a double click shows everything again", lambda: studio.ranges() == whole)


def test_the_student_learns_from_images_alone(studio: Studio):
    studio.until(
        f"the student classifies {LEARNT}% of real images correctly",
        lambda: studio.accuracy() >= LEARNT,
        300,
    )


def test_pause_holds_everything_still(studio: Studio):
    studio.press("Pause")
    studio.wait_phase("paused")
    assert studio.sentence.startswith("Paused.")

    def visible() -> tuple:
        snapshot = studio.snapshot()
        return (
            snapshot["counters"],
            snapshot["making"],
            snapshot["curve"],
            studio.sheet(),
            studio.sentence,
        )

    studio.wait_polls(3)  # a paused student still reports the steps that it had not reported yet
    held = visible()
    studio.wait_polls(8)
    assert visible() == held


def test_a_click_on_a_point_selects_the_same_image_everywhere(studio: Studio):
    point = studio.until("a point of an image in the gallery", studio.lonely_point)
    studio.page.mouse.move(point["x"], point["y"])
    studio.page.mouse.click(point["x"], point["y"])
    studio.until("the selection is in the address", lambda: "sel" in studio.query)
    iteration, pos = point["it"], point["pos"]
    assert studio.selected == (iteration, pos)
    tile = studio.see(".tile[aria-pressed=true]")
    studio.until("its tile is pressed", lambda: tile.count() == 1)
    label = tile.get_attribute("aria-label")
    assert tile.evaluate("tile => tile.tile.pos") == pos and f"iteration {iteration + 1}," in label
    name = label.split(",")[0]
    assert studio.text(".key-figures figure:first-child small").startswith(f"{name}, ")
    assert studio.text(".card .who").startswith(
        name
    ) and f"iteration {iteration + 1}" in studio.text(".card .who")
    studio.until(
        "the teacher's and the student's predictions",
        lambda: studio.see(".card .says dd").count() == 2,
    )
    studio.until("the nearest real images", lambda: studio.see(".card .thumbs li").count() == 3)
    assert len(studio.points("chosen")) == 1


def test_a_step_is_one_step_of_what_was_chosen(studio: Studio):
    generator, _, student = studio.counters
    studio.step("Generator")
    assert studio.counters[::2] == (generator + 1, student) and studio.phase == "paused"

    studio.step("Student")  # also reports the steps since the student's last report
    generator, iterations, student = studio.counters
    studio.step("Student")
    assert studio.counters == (generator, iterations, student + 1) and studio.phase == "paused"

    studio.step("Iteration")
    studio.until("the iteration ends", lambda: studio.counters[1] == iterations + 1, LATER)
    studio.wait_polls(4)
    assert studio.counters[1:] == (iterations + 1, student + 1) and studio.phase == "paused"
    assert studio.counters[0] == (iterations + 1) * studio.snapshot()["recipe"]["generator_steps"]


def test_reload_shows_the_same_run_at_the_same_point(studio: Studio):
    before, counters, selected = studio.snapshot(), studio.counters, studio.query["sel"]
    studio.wait_settled()
    studio.page.reload()
    studio.wait_drawn()
    assert studio.phase == "paused" and studio.text(".nav .title") == before["title"]
    assert (studio.snapshot()["run"], studio.counters) == (before["run"], counters)
    assert studio.query["sel"] == selected
    studio.until(
        "the selected image is here again", lambda: studio.see(".card .thumbs li").count() == 3
    )
    studio.until(
        "its point is marked once", lambda: len(studio.points("chosen")) == 1
    )  # Plotly comes after the card


def test_a_second_viewer_sees_the_same_run(studio: Studio, visit: Callable[..., Studio]):
    other = visit()
    assert other.phase == "paused"
    assert (other.snapshot()["run"], other.counters) == (studio.snapshot()["run"], studio.counters)
    assert other.sentence == studio.sentence
    other.until("the same images", lambda: other.sheet() == studio.sheet())
    assert "sel" not in other.query, "a selection belongs to its viewer"


def test_continue_goes_on_and_keeps_the_selection(studio: Studio):
    selected, counters = studio.query["sel"], studio.counters
    studio.press("Continue")
    studio.wait_phase("running")
    studio.until(
        "steps of generator and student",
        lambda: studio.counters[0] > counters[0] and studio.counters[2] > counters[2],
        LATER,
    )
    assert studio.query["sel"] == selected


def test_the_command_shown_makes_the_same_run(studio: Studio):
    studio.see(".nav .title").click()
    words = shlex.split(studio.text(".command code"))
    assert words[:4] == ["python", "-m", "kgen", "run"]
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seed", type=int)
    parser.add_argument("--schedule")
    given = parser.parse_args(words[4:])
    recipe = read_recipe(given.name, given.set, given.seed, given.schedule)
    assert zoo.resolved(recipe).model_dump(mode="json") == studio.snapshot()["recipe"]
    studio.page.keyboard.press("Escape")
    assert studio.see(".command").is_hidden()


def test_stop_ends_the_run_with_a_last_test(studio: Studio):
    studio.press("Stop")
    studio.wait_phase("stopped")
    assert (
        studio.sentence.startswith("Stopped at iteration ")
        and "The student classifies" in studio.sentence
    )
    assert studio.see("#kg-start").is_enabled() and studio.see("#kg-stop").is_disabled()


def test_the_student_can_be_downloaded(studio: Studio, tmp_path: Path):
    file = _download(studio, "Download student", tmp_path).read_bytes()
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    assert (
        tensors
        and max(entry["data_offsets"][1] for entry in tensors.values()) == len(file) - 8 - size
    )


def test_the_numbers_can_be_downloaded(studio: Studio, tmp_path: Path):
    with _download(studio, "Export CSV", tmp_path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"generator_step", "student_step", "evaluated"} <= {row["kind"] for row in rows}
    last = [row for row in rows if row["kind"] == "evaluated"][-1]
    assert (
        round(100 * float(last["student_accuracy"]), 1) == studio.accuracy()
        and last["final"] == "1"
    )
    assert all(
        float(row["loss"]) == float(row["loss"]) for row in rows if row["kind"] == "generator_step"
    )


def test_the_whole_export_is_one_zip(studio: Studio, tmp_path: Path):
    """With student.onnx, or with a sentence on the page that says why not."""
    with zipfile.ZipFile(_download(studio, "Export ZIP", tmp_path, "button", 240.0)) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {
        "student.safetensors",
        "card.json",
        "classes.txt",
        "README.md",
        "load_torch.py",
    } <= names
    assert "student.onnx" in names or "pip install onnx" in studio.text(".tip")


def _download(
    studio: Studio, name: str, folder: Path, role: str = "link", seconds: float = 30.0
) -> Path:
    with studio.page.expect_download(timeout=1000 * seconds) as coming:
        studio.page.get_by_role(role, name=name).click()
    coming.value.save_as(folder / coming.value.suggested_filename)
    assert studio.snapshot()["run"] in coming.value.suggested_filename
    return folder / coming.value.suggested_filename
