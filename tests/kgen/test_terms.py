"""Terms by name: the table, and terms that a caller adds, from the loss to the run folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import kgen
from kgen import events
from kgen.engine.engine import Distillation
from kgen.engine.objective import FUNCTIONS
from kgen.engine.synthesis import Synthesis
from kgen.journal.reading import JournalError, open_run
from kgen.journal.runner import Runner
from kgen.recipe.fields import Weights
from kgen.system.paths import ROOT
from kgen.terms import GENERATOR, STUDENT, TERMS, Term, TermError, with_custom
from tests.support.errors import raises
from tests.support.small import grain, mini, same_run


def brightness(evidence):
    """[B]: how far each image's mean is from black."""
    return evidence.images.mean((1, 2, 3))


BRIGHT = Term("bright", brightness, weight=20.0, title="brightness", tip="Makes images dark.")


def test_each_term_of_the_table_has_a_function_and_a_weight():
    assert set(FUNCTIONS) == {term.name for term in GENERATOR}
    weighed = {term.name for term in TERMS} - {"kl"}
    assert weighed == set(Weights.model_fields)
    assert {term.name for term in STUDENT} == {"kl", "ed"}
    assert len({term.name for term in TERMS}) == len(TERMS)


@pytest.mark.parametrize(
    ("term", "fields"),
    [
        (Term("Edges", brightness), {"name": "Edges"}),
        (Term("kr", brightness), {"name": "kr"}),
        (Term("edges"), {"name": "edges"}),
        (Term("edges", brightness, weight=float("nan")), {"name": "edges"}),
        (Term("edges", brightness, loss="student"), {"name": "edges"}),
        (Term("edges", brightness, reward=True), {"name": "edges"}),
        (Term("edges", brightness, tip="a" * 401), {"name": "edges", "field": "tip"}),
    ],
)
def test_a_term_that_cannot_be_is_refused_by_name(term, fields):
    with raises(TermError, "term", **fields):
        kgen.distill(mini(), terms=[term]).__next__()


def test_two_terms_of_one_name_are_refused():
    with raises(TermError, "term", "'bright'", name="bright"):
        with_custom([BRIGHT, BRIGHT])


def test_more_terms_than_an_event_holds_are_refused():
    with pytest.raises(TermError, match="9"):
        with_custom([Term(f"edges{i}", brightness) for i in range(9)])


def test_an_own_term_is_part_of_the_loss_and_of_its_gradient(quick):
    """The loss is the weighted sum of all terms; the custom one moves the images in its
    direction.
    """
    nothing = dict.fromkeys(Weights.model_fields, 0.0)
    recipe = quick.replace(weights=nothing, generator_steps=20)
    run = Distillation(recipe, terms=[BRIGHT])
    synthesis = Synthesis(run.setting, run.state, None)
    found = [synthesis.step() for _ in range(recipe.generator_steps)]
    for report in (r for r in found if r):
        assert report["loss"] == pytest.approx(20.0 * report["parts"]["bright"], rel=1e-5)
    assert synthesis.images.mean() < 0.9 * found[0]["parts"]["bright"]


def test_events_and_files_have_it_by_name(quick, tmp_path):
    told: list[events.Event] = []
    runner = Runner.new(quick, tmp_path / "run", terms=[BRIGHT], on_event=told.append)
    runner.run()
    started = told[0]
    assert started.term_names == (*events.PARTS, "bright")
    assert started.term_title("bright") == "brightness" and started.term_weight("bright") == 20.0
    steps = [e for e in told if isinstance(e, events.GeneratorStep)]
    assert steps and all(tuple(e.parts) == started.term_names for e in steps)
    run = open_run(tmp_path / "run")
    assert run.started.own_terms == started.own_terms
    batch = run.batch(0)
    stored = batch["parts"][:, started.term_names.index("bright")]
    means = batch["images"].astype(np.float32).mean((1, 2, 3)) / 255
    assert stored == pytest.approx(means, abs=2e-3)


def test_without_own_terms_the_first_event_says_nothing_of_them(quick):
    first = next(iter(Distillation(quick)))
    assert first.own_terms is None and "own_terms" not in first.to_json()


def test_columns_keep_their_names_when_the_method_gains_a_term(quick, monkeypatch):
    run = next(iter(Distillation(quick, terms=[BRIGHT]))).to_json()
    then = events.PARTS
    monkeypatch.setattr(events, "PARTS", (*then, "contrast"))
    started = events.from_json(run)
    assert started.term_names == (*then, "bright")


@pytest.mark.slow
def test_a_weight_of_0_changes_only_what_is_reported(quick, tmp_path):
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    Runner.new(quick, plain).run()
    Runner.new(quick, watched, terms=[Term("bright", brightness, weight=0.0)]).run()
    first, second = (open_run(p).batch(0)["images"] for p in (plain, watched))
    assert np.array_equal(first, second)


@pytest.mark.slow
def test_a_resume_needs_the_same_terms(tmp_path, monkeypatch):
    recipe = grain(epochs=4)
    whole = Runner.new(recipe, tmp_path / "whole", terms=[BRIGHT])
    whole.run()
    cut = Runner.new(recipe, tmp_path / "cut", terms=[BRIGHT], checkpoint_seconds=0.0)

    def stop(event):
        if isinstance(event, events.BatchSynthesized) and event.iteration == 1:
            raise KeyboardInterrupt

    cut.on_event = stop
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    with pytest.raises(JournalError, match="bright"):
        Runner.resume(tmp_path / "cut")
    Runner.resume(tmp_path / "cut", terms=[BRIGHT]).run()
    assert same_run(tmp_path / "cut", tmp_path / "whole") is None


def test_evidence_is_what_it_says(quick):
    seen = {}

    def look(evidence):
        seen["e"] = evidence
        return torch.zeros(len(evidence.labels))

    run = Distillation(quick, terms=[Term("look", look)])
    synthesis = Synthesis(run.setting, run.state, run.state.snapshot())
    synthesis.step()
    e, teacher = seen["e"], run.setting.teacher
    b = len(synthesis.positions)
    assert e.images.shape[0] == b and e.images.min() >= 0 and e.images.max() <= 1
    assert torch.equal(e.normalized, (e.images - teacher.mean) / teacher.std)
    assert torch.allclose(e.logits, teacher.logits(e.images), atol=1e-4)
    assert e.cam.shape[1:] == e.target.shape and e.student_logits.shape == e.logits.shape


RUN = """
import json
import kgen
from app.lessons import glossary
recipe = kgen.recipes.get("tiny").replace(epochs=1, warmup=0, **{"weights.dark": 3.0})
names = [sorted(e.parts) for e in kgen.distill(recipe) if e.kind == "generator_step"]
print(json.dumps({"events": names, "page": '"name": "dark"' in glossary.script().decode()}))
"""


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another disk
        shutil.copy2(source, target)


@pytest.mark.slow
def test_a_new_term_of_the_method_touches_three_files(tmp_path):
    """In a copy: the table, the function, the weight. Then it is in the events and on the page."""
    for folder in ("kgen", "app"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copytree(ROOT / "assets", tmp_path / "assets", copy_function=link)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")

    def add(file: str, before: str, new: str) -> None:
        path = tmp_path / file
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, (file, before)
        path.write_text(text.replace(before, new + before), encoding="utf-8")

    add(
        "kgen/terms.py",
        '    Term(\n        "kl",',
        '    Term("dark", title="darkness", tip="x"),\n',
    )
    function = '    "dark": lambda e: e.images.mean((1, 2, 3)),\n'
    add("kgen/engine/objective.py", '    "l2": lambda e:', function)
    add(
        "kgen/recipe/fields.py", "    l2: Annotated", '    dark: float = 0.0\n    """Darkness."""\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["page"] and told["events"]
    assert all(names == sorted((*events.PARTS, "dark")) for names in told["events"])
