"""The second opinion: counted by hand on known logits, found by class names, and without a trace in
what is trained.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import kgen
from kgen import events, judge
from kgen.data import classes
from kgen.engine.setting import Setting
from kgen.journal.runner import Runner
from kgen.recipe.recipe import RecipeError, parse
from kgen.teachers import Teacher
from kgen.zoo import zoo
from tests.support.errors import raises
from tests.support.small import grain, mini, same_run, story


class Fixed(torch.nn.Module):
    """Logits from a table: the first pixel of an image is its row."""

    def __init__(self, rows):
        super().__init__()
        self.rows = torch.tensor(rows)

    def forward(self, x):
        return self.rows[(255 * x[:, 0, 0, 0]).round().long()]


def fixed(rows, names):
    card = events.TeacherCard(
        name="fixed",
        title="Fixed",
        architecture="none",
        parameters=0,
        channels=1,
        side=4,
        features=1,
        n_train=1,
    )
    return Teacher(Fixed(rows), card, tuple(names), torch.zeros(1), torch.ones(1))


def numbered(n):
    images = torch.zeros(n, 1, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(n)
    return images


def test_shares_and_columns_are_those_of_a_slow_loop():
    rows = torch.randn(40, 12, generator=torch.Generator().manual_seed(1)).tolist()
    indices, positions = [7, 2, 9], torch.tensor([i % 3 for i in range(40)])
    opinion, columns = judge.Judge(fixed(rows, map(str, range(12))), indices)(
        numbered(40), positions
    )
    top1 = top5 = chosen = 0
    for i, row in enumerate(rows):
        want, order = indices[positions[i]], sorted(range(12), key=lambda k: -row[k])
        share = [math.exp(v) / sum(map(math.exp, row)) for v in row]
        among = max(range(3), key=lambda k: row[indices[k]])
        top1, top5, chosen = (
            top1 + (order[0] == want),
            top5 + (want in order[:5]),
            chosen + (indices[among] == want),
        )
        assert columns["judge_top"][i].tolist() == order[:5]
        assert columns["judge_top_p"][i] == pytest.approx([share[k] for k in order[:5]], rel=1e-3)
        assert columns["judge_confidence"][i] == pytest.approx(share[want], rel=1e-3, abs=1e-4)
        assert columns["judge_rank"][i] == order.index(want) and columns["judge_chosen"][i] == among
    assert (opinion.top1, opinion.top5, opinion.chosen) == pytest.approx(
        (top1 / 40, top5 / 40, chosen / 40)
    )
    assert {name: (c.dtype, c.shape) for name, c in columns.items()} == {
        "judge_top": (np.int32, (40, 5)),
        "judge_top_p": (np.float16, (40, 5)),
        "judge_confidence": (np.float16, (40,)),
        "judge_rank": (np.int32, (40,)),
        "judge_chosen": (np.int32, (40,)),
    }


def test_a_network_of_three_classes_has_a_top_of_three():
    opinion, columns = judge.Judge(fixed([[0.0, 1.0, 2.0]], "abc"), [0, 1])(
        numbered(1), torch.tensor([1])
    )
    assert columns["judge_top"].tolist() == [[2, 1, 0]] and (
        opinion.top1,
        opinion.top5,
        opinion.chosen,
    ) == (0, 1, 1)


# --- who judges whom ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("teacher", "first"),
    [
        ("fashion-cnn", "fashion-vit"),
        ("fashion-vit", "fashion-cnn"),
        ("imagenet-lite0", "imagenet-lite2"),
        ("imagenet-lite2", "imagenet-lite0"),
    ],
)
def test_bundled_networks_judge_each_other(teacher, first):
    assert judge.compatible_networks(teacher)[
        0
    ] == first and teacher not in judge.compatible_networks(teacher)


def cards(data, names):
    return zoo.card("imagenet-lite2").model_copy(update={"data": data}), tuple(names)


def test_classes_are_matched_by_wordnet_id_and_by_name():
    ours = cards("imagenet1k", classes.names("imagenet1k"))
    assert judge.match(*ours, *cards("imagenette", classes.names("imagenette"))) == [
        0,
        217,
        482,
        491,
        497,
        566,
        569,
        571,
        574,
        701,
    ]
    assert judge.match(*ours, *cards("imagenette", [f"kind {i}" for i in range(10)]))[:2] == [
        0,
        217,
    ]  # WordNet IDs take precedence over names
    assert judge.match(*ours, *cards(None, ("Golden_Retriever", "no such thing"))) == [207, None]
    assert judge.match(*ours, *ours) == list(range(1000))


@pytest.fixture
def imagenette(tmp_path):
    """A random teacher of Imagenette's ten classes."""
    card = events.TeacherCard(
        name="mine",
        title="Mine",
        architecture="SmallResNet",
        parameters=1,
        channels=3,
        side=32,
        features=16,
        n_train=9_469,
        data="imagenette",
    )
    shape = {"width": 8, "blocks": (0, 1)}
    spec = {
        "card": card.model_dump(),
        "architecture": "SmallResNet",
        **shape,
        "classes": list(classes.names("imagenette")),
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    zoo.save_network(
        zoo.build("SmallResNet", spec, 0, 3, 10, 32), tmp_path / "mine.safetensors", spec
    )
    return str(tmp_path / "mine.safetensors")


def test_a_teacher_of_ten_classes_is_judged_among_a_thousand(imagenette):
    recipe = mini(
        judge="auto", teacher=imagenette, classes=(1, 0), resolutions=(32,), evaluate_on="none"
    )
    found = Setting(recipe).judge
    assert (found.card.name, found.card.classes, found.card.indices) == (
        "imagenet-lite2",
        1000,
        [217, 0],
    )


def test_where_nothing_fits_there_is_none(imagenette, tmp_path):
    spec = zoo.read_spec(imagenette) | {"classes": [f"kind {i}" for i in range(10)]}
    spec["card"] |= {"data": None}
    zoo.save_network(
        zoo.build("SmallResNet", spec, 0, 3, 10, 32), tmp_path / "other.safetensors", spec
    )
    recipe = mini(
        judge="auto",
        teacher=str(tmp_path / "other.safetensors"),
        resolutions=(32,),
        evaluate_on="none",
        embedding="center",
    )
    assert Setting(recipe).judge is None
    with raises(RecipeError, "unknown-class", "imagenet-lite2", "'kind 0'", field="judge"):
        Setting(recipe.replace(judge="imagenet-lite2"))


def test_what_cannot_judge_is_refused_in_a_sentence(tmp_path):
    copy = tmp_path / "copy.safetensors"  # the same weights under another name
    spec = zoo.read_spec(zoo.locate("fashion-cnn"))
    zoo.save_network(
        zoo.load_teacher("fashion-cnn").network,
        copy,
        spec | {"card": spec["card"] | {"name": "copy"}},
    )
    for name, code, facts in (
        ("fashion-cnn", "duplicate-teacher", {}),
        (str(copy), "duplicate-teacher", {}),
        ("imagenet-lite0", "other-channels", {"expected": 3, "found": 1}),
        ("fashion-vitt", "unknown-teacher", {"meant": "fashion-vit"}),
    ):
        said = (name, "'auto'", "'none'", *facts.values())
        with raises(RecipeError, code, *said, field="judge", value=name, **facts):
            Setting(grain(judge=name))
    with raises(RecipeError, "unsupported-size", "fashion-vit", "18 × 18", field="judge", side=18):
        Setting(grain(judge="fashion-vit", resolutions=(18,), source="pixels"))
    assert (
        Setting(grain(judge="auto", resolutions=(18,), source="pixels")).judge is None
    )  # nobody asked for it


def test_none_is_none():
    assert parse({"judge": None}).judge == "none" and Setting(grain(judge="none")).judge is None
    assert parse({}).judge == "none"


# --- in a run -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_judge_leaves_no_trace_in_images_and_student(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    Runner.new(mini(judge="auto"), one).run()
    Runner.new(mini(judge="none"), two).run()
    difference = same_run(one, two)
    assert difference and difference.startswith("event 0")  # the recipe tells them apart
    for folder in (one, two):  # without the judge's results, they are the same run
        lines = [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
        for line in lines:
            (
                line.pop("judge", None),
                line.pop("judged", None),
                line.get("recipe", {}).pop("judge", None),
            )
        (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for file in (folder / "batches").glob("*.safetensors"):
            from safetensors.numpy import load_file, save_file

            arrays = load_file(file)
            assert any(name.startswith("judge_") for name in arrays) == (folder == one)
            save_file({k: v for k, v in arrays.items() if not k.startswith("judge_")}, file)
    assert len(story(one)) > 20 and same_run(one, two) is None


@pytest.mark.slow
def test_a_run_tells_what_its_judge_says():
    recipe = mini(judge="auto")
    started, *rest = list(kgen.distill(recipe))
    assert (started.judge.name, started.judge.title, started.judge.indices) == (
        "fashion-vit",
        "Fashion ViT",
        list(range(10)),
    )
    network = zoo.load_teacher("fashion-vit")
    for e in (e for e in rest if e.kind == "batch_synthesised"):
        with torch.no_grad():
            logits = network.logits(torch.from_numpy(e.arrays["images"]).float() / 255)
        named = logits.argmax(1).numpy() == e.arrays["labels"]
        assert e.judged.top1 == e.judged.chosen == pytest.approx(named.mean())
        assert e.judged.top1 == pytest.approx(
            (e.arrays["judge_rank"] == 0).mean()
        ) and e.judged.top5 == pytest.approx((e.arrays["judge_rank"] < 5).mean())


def test_events_of_earlier_versions_have_no_judge():
    old = events.BatchSynthesized(
        file="batches/000000.safetensors", entered=1, pool_images=1, pool_pixels=1, budget_used=0.1
    )
    assert "judged" not in old.to_json() and events.from_json(old.to_json()).judged is None
