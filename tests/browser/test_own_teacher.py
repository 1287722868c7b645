"""A user's own teacher, added on the page: a good file starts a run, a bad one gets a sentence, and
the app survives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kgen.zoo import zoo
from tests.support import hostile
from tests.support.serving import App
from tests.support.studio import LATER, PHONE, Studio

pytestmark = pytest.mark.timeout(300)
Visit = Callable[..., Studio]
OPENER = "Your own teacher…"


def weights(path: Path, outputs: int = 3) -> Path:
    torch.save(zoo.build_student("small-cnn-20k", 1, outputs, 5).state_dict(), path)
    return path


def saved_card(path: Path) -> dict[str, Any]:
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()["kgen"])["card"]


def build_with_python(teacher: Path) -> None:
    """Give a saved teacher the card of one whose network a user's own file builds."""
    with safe_open(teacher, "pt") as file:
        metadata = file.metadata()
    spec = json.loads(metadata["kgen"])
    spec["card"]["architecture"] = "net.py:build"
    save_file(load_file(teacher), teacher, metadata | {"kgen": json.dumps(spec)})


def said(
    studio: Studio, file: Path, architecture: str = "small-cnn-20k", names: str = "cat\ndog\nhorse"
) -> str:
    """The final message of a file's check."""
    studio.page.set_input_files("#kg-own .drop input[type=file]", file)
    studio.see("#kg-own [name=architecture]").fill(architecture)
    studio.see("#kg-own [name=classes]").fill(names)
    studio.press("Check")
    studio.see("#kg-own :is([data-state=ok], [data-state=fail])").wait_for(timeout=1000 * LATER)
    return studio.text("#kg-own .said")


def wrong(studio: Studio) -> str:
    """The findings that rule it out."""
    return " ".join(studio.see("#kg-own .rows .fail").all_inner_texts())


def test_bad_files_are_answered_in_words_and_the_app_lives_on(
    visit: Visit, app: App, tmp_path: Path
):
    studio = visit()
    studio.press(OPENER)
    assert (
        said(studio, weights(tmp_path / "pets.pt"), architecture="resnet18")
        == "This file does not work as a teacher yet. Fix: tensors."
    )
    assert "100 missing: conv1.weight" in wrong(studio) and "This is not resnet18" in wrong(studio)
    assert studio.see("#kg-own .rows .ok").count() == 2, (
        "the file can be read, and the architecture is known"
    )

    assert (
        said(studio, weights(tmp_path / "two.pt", outputs=2))
        == "This file does not work as a teacher yet. Fix: classes."
    )
    assert "2" in wrong(studio) and "3" in wrong(studio)

    assert said(studio, hostile.truncated(tmp_path / "cut.pt")).endswith("Fix: file.")
    assert "cut.pt is a damaged .pt file" in wrong(studio) and str(app.runs) not in wrong(studio)
    assert said(studio, hostile.packed(tmp_path / "bomb.pt")).endswith("Fix: file.")
    assert said(studio, hostile.code(tmp_path / "code.pt")).endswith("Fix: file.")
    assert "run code" in wrong(studio) and not (tmp_path / "code.mark").exists()
    assert not studio.see("#kg-own .keep").is_visible()

    studio.wait_polls(2)
    assert (
        app.process.poll() is None
        and studio.phase == "empty"
        and not list(app.home.rglob("*.safetensors"))
    )


def test_names_in_a_table_and_a_network_in_a_python_file(visit: Visit, app: App, tmp_path: Path):
    """The table is sorted by its indices; a Python file is rejected, with the command to use
    instead.
    """
    studio = visit()
    studio.press(OPENER)
    (tmp_path / "pets.csv").write_text("name;id\ndog;1\nhorse;2\ncat;0\n", encoding="utf-16")
    studio.page.set_input_files("#kg-own .line input[type=file]", tmp_path / "pets.csv")
    names = studio.see("#kg-own [name=classes]")
    expect(names).to_have_value("name;id\ndog;1\nhorse;2\ncat;0\n")
    assert said(studio, weights(tmp_path / "pets.pt"), names=names.input_value()) == (
        "This file works as a teacher."
    )
    assert "cat, dog, horse" in studio.text("#kg-own .rows")

    said(studio, tmp_path / "pets.pt", architecture="net.py:build")
    studio.until("the command", lambda: "--arch net.py:build" in studio.text("#kg-own .said"))
    assert studio.see("#kg-own .said").is_visible() and not studio.see("#kg-own .keep").is_visible()
    studio.complaints.clear()  # the browser logs the refusal (400)


def test_a_good_file_becomes_the_teacher_of_a_run(visit: Visit, app: App, tmp_path: Path):
    studio = visit()
    studio.press(OPENER)
    assert said(studio, weights(tmp_path / "My Pets.pt")) == "This file works as a teacher."
    assert studio.see("#kg-own .keep input").input_value() == "my-pets" and not wrong(studio)
    studio.see("#kg-own summary").click()
    studio.see("#kg-own [name=no_flip]").check()
    studio.press("Check")
    other = weights(tmp_path / "other.pt", outputs=2)  # the file being checked stays the chosen one
    studio.page.set_input_files("#kg-own .drop input[type=file]", other)
    expect(studio.see("#kg-own .said")).to_have_text(
        "This file works as a teacher.", timeout=1000 * LATER
    )
    expect(studio.see("#kg-own .chosen")).to_contain_text("My Pets.pt")
    studio.press("Use this teacher")
    expect(studio.see("#kg-own")).to_be_hidden(timeout=1000 * LATER)
    studio.until(
        "the form shows it",
        lambda: (
            studio.chosen("which-teacher") == ["my-pets"]
            and studio.chosen("classes") == ["cat", "dog", "horse"]
        ),
    )
    assert (
        not (app.runs / ".uploads").exists()
        and saved_card(app.home / "teachers" / "my-pets.safetensors")["flip"] is False
    )
    studio.press("Start")
    studio.wait_phase("running")
    assert studio.snapshot()["recipe"]["teacher"] == "my-pets" and studio.snapshot()["classes"] == [
        "cat",
        "dog",
        "horse",
    ]
    studio.until("a generator step", lambda: studio.counters[0] > 0, LATER)
    assert studio.see(f"button:text-is('{OPENER}')").is_disabled(), "the form is locked"
    studio.press("Stop")
    studio.wait_phase("stopped", "finished")

    name = studio.snapshot()["run"]
    build_with_python(app.home / "teachers" / "my-pets.safetensors")
    studio.page.get_by_role("link", name="Runs", exact=True).click()
    row = studio.see(f".run[data-run='{name}']")
    row.get_by_role("button", name="Resume").click()
    expect(row.get_by_role("alert")).to_contain_text("built by net.py:build, your own Python file")
    expect(row.get_by_role("alert")).to_contain_text("python -m kgen resume")
    assert studio.phase in ("stopped", "finished")
    studio.complaints.clear()  # the browser logs the refusal (409)


def in_view(studio: Studio, selector: str) -> bool:
    """Is all of the element inside the window and not scrolled away?"""
    return studio.page.evaluate(
        """(selector) => {
          const element = document.querySelector(selector);
          const { left, top, right, bottom } = element.getBoundingClientRect();
          return left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight
            && element.contains(document.elementFromPoint((left + right) / 2, top + 2));
        }""",
        selector,
    )


@pytest.mark.parametrize("size", [(1440, 900), PHONE])
def test_a_refusal_and_the_lines_that_mend_it_are_in_view(
    visit: Visit, tmp_path: Path, size: tuple[int, int]
):
    studio = visit(size=size)
    if size == PHONE:
        studio.press("Setup")
    studio.press(OPENER)
    (tmp_path / "page.ckpt").write_text("<!doctype html><title>Sign in</title>")
    assert said(studio, tmp_path / "page.ckpt").endswith("Fix: file.")
    assert "page.ckpt is a web page" in wrong(studio)
    assert in_view(studio, "#kg-own .said") and in_view(studio, "#kg-own .rows .fail p")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.bin")
    assert said(studio, tmp_path / "model.bin").endswith("Fix: file.")
    assert "torch.load('model.bin'" in studio.text("#kg-own .rows pre")
    assert in_view(studio, "#kg-own .said") and in_view(studio, "#kg-own .rows pre")


def test_the_dialog_offers_the_weights_and_the_normalization_in_the_file(
    visit: Visit, app: App, tmp_path: Path
):
    own = zoo.build_student("small-cnn-20k", 3, 3, 5).state_dict()
    other = zoo.build_student("small-cnn-20k", 3, 3, 6).state_dict()
    layer = {"0.mean": torch.tensor([0.5, 0.25, 0.75]), "0.std": torch.tensor([0.2, 0.3, 0.4])}
    content = {
        "state_dict": {f"1.{name}": t for name, t in own.items()} | layer,
        "state_dict_ema": {f"1.{name}": t for name, t in other.items()} | layer,
    }
    torch.save(content, tmp_path / "last.ckpt")
    studio = visit(size=PHONE)
    studio.press("Setup")
    studio.press(OPENER)
    weights = studio.see("#kg-own [name=weights]")
    expect(weights).to_be_hidden()
    assert said(studio, tmp_path / "last.ckpt") == "This file works as a teacher."
    assert in_view(studio, "#kg-own .said")
    expect(weights).to_have_value("state_dict")
    expect(studio.see("#kg-own [name=mean]")).to_have_value("0.5, 0.25, 0.75")
    expect(studio.see("#kg-own [name=std]")).to_have_value("0.2, 0.3, 0.4")
    weights.select_option("state_dict_ema")
    assert "Check again" in studio.text("#kg-own .said")
    studio.press("Check")
    studio.see("#kg-own [data-state=ok]").wait_for(timeout=1000 * LATER)
    expect(weights).to_have_value("state_dict_ema")
    studio.press("Use this teacher")
    expect(studio.see("#kg-own")).to_be_hidden(timeout=1000 * LATER)
    teacher = zoo.load_teacher(app.home / "teachers" / "last.safetensors")
    assert all(torch.equal(t, other[name]) for name, t in teacher.network.state_dict().items())
    assert torch.allclose(teacher.mean.flatten(), layer["0.mean"])


@pytest.mark.parametrize("size", [(1440, 900), PHONE])
def test_the_keyboard_opens_and_closes_the_dialog_and_a_drop_fills_it(
    visit: Visit, size: tuple[int, int]
):
    studio = visit(size=size)
    if size == PHONE:
        studio.press("Setup")
    opener, dialog = studio.see(f"button:text-is('{OPENER}')"), studio.see("#kg-own")
    opener.press("Enter")
    expect(dialog).to_be_visible()
    box = dialog.bounding_box()
    assert (
        box["x"] >= 0
        and box["y"] >= 0
        and box["x"] + box["width"] <= size[0]
        and box["y"] + box["height"] <= size[1]
    )
    assert (
        studio.width() == size[0]
        and studio.page.evaluate("() => document.querySelector('#kg-own .halves').scrollWidth")
        <= box["width"]
    )
    studio.page.evaluate("""() => {
      const data = new DataTransfer();
      data.items.add(new File(['cat\\ndog\\n'], 'names.txt'));
      data.items.add(new File(['x'], 'pets.pth'));
      const drop = new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });
      document.querySelector('#kg-own .drop').dispatchEvent(drop);
    }""")
    expect(studio.see("#kg-own [name=classes]")).to_have_value("cat\ndog\n")
    expect(studio.see("#kg-own .chosen")).to_have_text("pets.pth, 0 KB")
    studio.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
