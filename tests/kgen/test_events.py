"""Every kind of event survives a round trip through its line of JSON; arrays are never part of
it.
"""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from kgen import events
from kgen.zoo.zoo import card

score = events.Score(accuracy=0.5, per_class=[0.25, 0.75], n=8)
where = {"t": 1.25, "epoch": 1, "iteration": 4, "step": 2, "resolution": 28}
ONE_OF_EACH = [
    events.RunStarted(
        name="x",
        recipe={"seed": 1},
        teacher=card("fashion-cnn"),
        student_parameters=3,
        classes=["a", "b"],
        class_indices=[4, 2],
        budget_images=6,
        budget_pixels=60,
        map_size=(7, 7),
        target=[[1.0]],
        generator_steps=9,
        student_steps=8,
        device="cpu",
        arrays={"images": np.zeros(3)},
    ),
    events.IterationStarted(labels=[0, 1], **where),
    events.GeneratorStep(
        parts={"ce": 1.5, "adv": -0.5}, loss=1.0, agreement=0.5, preview=dict, **where
    ),
    events.BatchSynthesized(
        file="f",
        entered=1,
        pool_images=2,
        pool_pixels=3,
        budget_used=0.5,
        arrays={"images": np.zeros(3)},
        **where,
    ),
    events.StudentStep(loss=1.0, parts={"kl": 1.0}, lr=0.1, **where),
    events.Evaluated(
        student=score, teacher=score, pool_images=3, budget_used=0.1, final=True, **where
    ),
    events.Evaluated(
        student=events.Score(accuracy=0.5, per_class=[None, 1.0], n=3, real=False),
        pool_images=3,
        budget_used=0.1,
        **where,
    ),
    events.RunFinished(reason="done", agreement=0.5, n=3),
    events.Control(id="a", action="pause", state="paused", text="no", **where),
    events.Warned(text="t", remedy="r"),
    events.RunFailed(cause="c", term="bn", remedy="r", **where),
    events.RunFinished(reason="stopped", accuracy=0.5, n=8),
]


def test_there_is_one_of_each():
    kinds = get_args(get_args(events.Event)[0])
    assert {type(e) for e in ONE_OF_EACH} == set(kinds)


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda e: e.kind)
def test_round_trip(event):
    line = event.to_json()
    data = json.loads(line)
    assert "\n" not in line and data["kind"] == event.kind
    assert not {"arrays", "preview"} & data.keys() and None not in data.values()
    back = events.from_json(line)
    assert type(back) is type(event)
    assert back == event.model_copy(
        update={k: None for k in ("arrays", "preview") if k in type(event).model_fields}
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[]",
        '{"kind":"dance"}',
        '{"kind":"warning","text":"x","more":1}',
        '{"kind":"warning"',
    ],
)
def test_anything_else_is_refused(line):
    with pytest.raises(ValidationError):
        events.from_json(line)


def test_a_file_name_that_is_not_valid_text_does_not_end_a_run():
    line = events.Warned(text="x\udcff.png and 猫.png cannot be read", t=1.5).to_json()
    assert events.from_json(line) == events.Warned(text="x?.png and 猫.png cannot be read", t=1.5)
    class_names = events.RunStarted.model_validate(ONE_OF_EACH[0].model_dump() | {"name": "\udcff"})
    assert events.from_json(class_names.to_json()).name == "?"
