"""Runs side by side: columns, wording, the table, flipped switches, and all of it over HTTP,
including for hostile runs and pages.
"""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.archive.columns import MAX_POINTS, Columns, Means
from app.compare.comparison import Side, spread, verdict
from app.compare.comparison_table import as_csv, table
from app.library import listing
from app.process import exhibits
from app.setup import ladder
from app.setup.differences import (
    describe_change,
    differing_fields,
    labels,
    replicate_key,
    replicates,
)
from app.setup.knobs import knobs
from app.setup.switches import switches
from kgen import events
from kgen.journal import reading
from kgen.journal.reading import open_run
from kgen.recipes import recipes
from kgen.worth.exchange import Rate
from tests.support import standin
from tests.support.errors import refused
from tests.support.served import served

STANDIN = (sys.executable, "-m", "tests.support.standin")


def folded(r, iterations=None) -> Columns:
    columns = Columns(r)
    for e in standin.story(r, iterations):
        columns.add(e)
    return columns


def side(name: str = "a", kin: tuple = ((0, 0.824),), **changes) -> Side:
    r = standin.recipe(**changes)
    return Side(name, r, folded(r), "finished", "sha", kin)


# --- columns --------------------------------------------------------------------------------------


def test_every_point_knows_its_pixels_seconds_and_steps():
    r = standin.recipe()
    told, story = folded(r).to_json(), standin.story(r)
    tests = [e for e in story if isinstance(e, events.Evaluated)]
    assert told["real"]["share"] == [e.student.accuracy for e in tests] and told["real"][
        "t"
    ] == pytest.approx([e.t for e in tests])
    assert (
        told["real"]["pixels"] == [e.pool_images * 28 * 28 for e in tests]
        and told["agreement"]["share"] == []
    )
    batches = [e for e in story if isinstance(e, events.BatchSynthesized)]
    assert (
        told["batches"]["iteration"] == [0, 1, 2]
        and told["batches"]["step"] == [3, 6, 9]
        and told["batches"]["pixels"] == [e.pool_pixels for e in batches]
    )
    ce = [e.parts["ce"] for e in story if isinstance(e, events.GeneratorStep)]
    assert told["loss"]["ce"] == pytest.approx(ce, rel=1e-5) and told["loss"]["step"] == list(
        range(1, 10)
    )
    full = batches[0].pool_pixels
    assert told["loss"]["pixels"][:3] == [
        round(full / 3),
        round(2 * full / 3),
        full,
    ], "the steps of a batch lie between the pools before and after it"
    assert (
        told["end"] == [batches[-1].pool_pixels, pytest.approx(story[-1].t), 9]
        and not told["warnings"]
    )


def test_columns_are_bounded_and_means_of_what_was_reported():
    means = Means()
    values = [
        float(i % 100) for i in range(100_003)
    ]  # a sawtooth, like a loss that starts over with each batch
    for i, v in enumerate(values):
        means.add((i, 0.1 * i, i), (v,))
    rows = means.rows()
    assert MAX_POINTS / 2 <= len(rows) <= MAX_POINTS + 1 and rows[-1][0] == 100_002
    each = rows[1][0] - rows[0][0]
    assert [row[3] for row in rows[:5]] == pytest.approx(
        [statistics.fmean(values[i * each : (i + 1) * each]) for i in range(5)]
    )


def test_a_batch_in_the_making_is_seen_too():
    r = standin.recipe(generator_steps=2_000)
    columns = Columns(r)
    for e in standin.story(r)[:1_500]:
        columns.add(e)
    told = columns.to_json()["loss"]
    assert (
        100 < len(told["ce"]) <= MAX_POINTS
        and set(told["pixels"]) == {0}
        and told["step"][-1] == columns.steps > 1_400
    )


def test_terms_that_take_no_part_have_no_column():
    r = standin.recipe()
    columns = Columns(r)
    for e in standin.story(r):
        columns.add(
            e.model_copy(update={"parts": {**e.parts, "bn": 0.0}})
            if isinstance(e, events.GeneratorStep)
            else e
        )
    assert (
        "bn" not in columns.to_json()["loss"]
        and "bn" not in columns.active_terms
        and "kr" in columns.to_json()["loss"]
    )


def test_what_is_not_a_number_is_left_out_in_words():
    columns = folded(standin.recipe())
    columns.add(
        events.StudentStep(t=9.0, step=99, loss=float("nan"), parts={"kl": float("nan")}, lr=0.1)
    )
    columns.add(
        events.Evaluated(
            t=float("inf"),
            student=events.Score(accuracy=float("nan"), n=3),
            pool_images=0,
            budget_used=0,
        )
    )
    told = columns.to_json()
    assert told["student_loss"]["kl"][-1] is None
    (warning,) = told["warnings"]
    assert "distillation" in warning
    json.dumps(told, allow_nan=False)
    assert columns.last_test.student.accuracy == 0.824


def test_second_opinion_and_exchange_rate_have_rows_where_they_are_known():
    one, two = side("a"), side("b", resolutions=(28, 20))
    judged = [e for e in standin.story(two.recipe) if isinstance(e, events.BatchSynthesized)]
    sizes = {scale.side: scale.batch for scale in two.columns.started.scales}
    weights = [sizes[e.resolution] for e in judged]
    assert len(set(weights)) == 2, "batches at two resolutions are weighted by their images"
    assert two.columns.opinion == pytest.approx(
        [
            sum(w * getattr(e.judged, name) for w, e in zip(weights, judged)) / sum(weights)
            for name in ("chosen", "top1")
        ]
    )
    rows = {row["label"]: row["cells"] for row in table([one, replace(two, rate=Rate(227))])}
    assert (
        rows["Second opinion"][0]["value"] == pytest.approx(one.columns.opinion[0], abs=1e-6)
        and "Another network" in rows["Second opinion"][0]["note"]
    )
    assert [cell["text"] for cell in rows["Exchange rate"]] == ["–", "227 real photos"]
    assert table([replace(one, rate=Rate(15, "fewer"))])[-1] and "< 15 real photos" in as_csv(
        [replace(one, rate=Rate(15, "fewer"))]
    )
    assert "Exchange rate" not in {row["label"] for row in table([one, two])}
    blind = Columns(one.recipe)
    for e in standin.story(one.recipe):
        blind.add(
            e.model_copy(update={"judged": None}) if isinstance(e, events.BatchSynthesized) else e
        )
    assert blind.opinion is None and "Second opinion" not in {
        row["label"] for row in table([replace(one, columns=blind)])
    }


# --- recipes --------------------------------------------------------------------------------------


def test_fields_are_called_as_in_the_form():
    assert {k.field: k.label for k in knobs()}.items() <= {
        f: label for f, (label, _) in labels().items()
    }.items()
    assert (
        labels()["ratio"][0] == "Budget"
        and labels()["generator_steps"][0] == "generator steps"
        and all(tip for _, tip in labels().values())
    )
    r = standin.recipe()
    new = r.replace(seed=3, **{"weights.kr": 0.0, "target.kind": "full"})
    assert set(differing_fields([r, new])) == {"target", "weights.kr", "seed"}
    assert describe_change(
        r, r.replace(**{"weights.kr": 0.0})
    ) == "α_kr: 0.1 → 0" and "Target: G(1, 2) → Full(1)" in describe_change(r, new)


def test_a_run_and_its_own_opened_bundle_have_the_same_recipe():
    here, other, bundled, windows = (
        standin.recipe().replace(real_images=path)
        for path in ("/home/somebody/photos", "/mnt/photos", "photos", r"C:\Users\x\photos")
    )
    for recipe in (here, other, windows):
        assert differing_fields([recipe, bundled]) == []
        assert replicates(replicate_key(recipe, "x"), replicate_key(bundled, "x"))
    assert differing_fields([here, other]) == ["real_images"]
    unrelated = (other, windows, here.replace(real_images=None), here.replace(real_images="/a/b"))
    for recipe in unrelated:
        assert not replicates(replicate_key(here, "x"), replicate_key(recipe, "x"))
    assert not replicates(
        replicate_key(bundled, "x"), replicate_key(bundled.replace(real_images=None), "x")
    )


def test_kin_differ_in_seed_and_name_only():
    r = standin.recipe()
    assert replicate_key(r, "x") == replicate_key(r.replace(seed=7, name="else"), "x")
    assert (
        len(
            {
                replicate_key(r, "x"),
                replicate_key(r, "another teacher"),
                replicate_key(r.replace(epochs=4), "x"),
                replicate_key(r.replace(**{"weights.kr": 0.0}), "x"),
            }
        )
        == 4
    )


# --- words ----------------------------------------------------------------------------------------


def test_equal_budget_and_seed_with_one_field_flipped_is_comparable():
    said = verdict([side(), side("b", **{"weights.kr": 0.0})])
    assert said["comparable"] and said["head"] == "Comparable: same budget, same seed."
    assert [line["text"] for line in said["lines"] if not line["same"]] == [
        "One recipe field differs: α_kr (0.1 / 0)."
    ]
    texts = " ".join(line["text"] for line in said["lines"])
    assert (
        "Same teacher: Hand-made." in texts
        and "47,040 pixels" in texts
        and "Same seed: 0." in texts
        and "10,000 real images" in texts
    )


def test_no_difference_is_hidden():
    a, b = side(), side("b", seed=1, epochs=4)
    other = b.columns.started.model_copy(
        update={"budget_pixels": 9_408, "classes": ["Bag"], "class_indices": [8]}
    )
    b.columns.started = other
    said = verdict([a, replace(b, sha="another", state="going")])
    assert (
        not said["comparable"]
        and said["head"].partition(": ")[2] == "teachers, classes, and budgets differ."
    )
    text = " ".join(line["text"] for line in said["lines"] if not line["same"])
    assert "A Hand-made (sha), B Hand-made (another)." in text, (
        "two networks with the same name are distinguished"
    )
    assert (
        "Different classes: A 10 (T-shirt" in text
        and "B 1 (Bag)" in text
        and "A 47,040 pixels, B 9,408 pixels" in text
    )
    assert (
        "Different seeds: A 0, B 1." in text
        and "epochs (3 / 4)" in text
        and re.search(r"\bB is .*progress", text)
    )


def test_a_run_that_has_not_begun_is_not_a_difference_yet():
    r = standin.recipe(**{"weights.kr": 0.0})
    assert verdict([side(), Side("b", r, Columns(r), "going", "sha")])["comparable"]


def test_accuracy_and_agreement_stand_apart():
    a, b = side(), side("b")
    r = b.recipe
    agreeing = Columns(r)
    for e in standin.story(r):
        if isinstance(e, events.Evaluated):
            e = e.model_copy(
                update={"student": e.student.model_copy(update={"real": False}), "teacher": None}
            )
        agreeing.add(
            e.model_copy(update={"accuracy": None, "agreement": 0.95})
            if isinstance(e, events.RunFinished)
            else e
        )
    b = replace(b, columns=agreeing)
    said = verdict([a, b])
    assert not said["comparable"] and "tests differ" in said["head"] and not spread([a, b])
    rows = {row["label"]: [c["text"] for c in row["cells"]] for row in table([a, b])}
    assert rows["Accuracy on real images"] == ["82.4%", "–"] and rows[
        "Agreement with the teacher, synthetic images"
    ] == ["–", "95.0%"]
    assert not any(row["part"] == "class" for row in table([a, b]))


def test_a_difference_is_held_against_the_spread_over_seeds():
    flipped = {"weights.kr": 0.0}
    (alone,) = spread([side(), side("b", kin=((0, 0.80),), **flipped)])
    assert "2.4 points" in alone and "unknown" in alone
    (inside,) = spread([side(kin=((0, 0.80), (1, 0.84))), side("b", kin=((0, 0.81),), **flipped)])
    assert "82.0 ± 2.8% (2 seeds)" in inside and re.search(r" 1\.0 points .*within", inside)
    (beyond,) = spread(
        [side(kin=((0, 0.80), (1, 0.81))), side("b", kin=((0, 0.70), (1, 0.71)), **flipped)]
    )
    assert re.search(r" 10\.0 points .*more than", beyond)
    (one,) = spread(
        [side(kin=((0, 0.80), (1, 0.84))), side("b", seed=1, kin=((0, 0.80), (1, 0.84)))]
    )
    assert "same recipe" in one and "2 seeds, accuracy is 82.0 ± 2.8%" in one
    assert not spread([side(), replace(side("b", **flipped), state="stopped")]), (
        "half a run proves nothing"
    )


def test_the_table_says_what_the_run_folders_say():
    a, b = side(), side("b", **{"weights.kr": 0.0})
    b.columns.ended = b.columns.ended.model_copy(update={"accuracy": 0.8})
    rows = {row["label"]: row["cells"] for row in table([a, b])}
    assert [c["text"] for c in rows["α_kr"]] == ["0.1", "0"]
    assert rows["Accuracy on real images"][1] == {
        "text": "80.0%",
        "note": "−2.4 points, of 10,000",
        "value": 0.8,
    }
    assert (
        rows["Images"][0]["value"] == 60
        and rows["Pixels"][0]["note"] == "100% of budget"
        and rows["Student parameters"][0]["text"] == "19,706"
    )
    assert rows["Time"][0]["value"] == round(standin.story(a.recipe)[-1].t, 1) and rows[
        "Mean over seeds"
    ][0]["note"].startswith("seed 0 only")
    found = list(csv.reader(io.StringIO(as_csv([a, b]))))
    assert (
        found[0] == ["part", "field", "a", "b", "note on a", "note on b"]
        and [
            "result",
            "Accuracy on real images",
            "0.824",
            "0.8",
            "of 10,000",
            "−2.4 points, of 10,000",
        ]
        in found
    )


def test_equal_pixels_are_what_every_run_has_reached():
    r = standin.recipe()
    half = Side("b", r, folded(r, 2), "going", "sha")
    cells = {row["label"]: row["cells"] for row in table([side(), half])}[
        "Accuracy at equal pixels"
    ]
    at = next(
        e for e in standin.story(r) if isinstance(e, events.Evaluated) and e.pool_images == 40
    )
    assert [c["value"] for c in cells] == [at.student.accuracy] * 2


def test_no_cell_is_a_formula():
    a = side(student="small-cnn-45k", real_images=None)
    b = side("b", class_texts={"Bag": "=HYPERLINK(1)"})
    a.columns.started = a.columns.started.model_copy(update={"classes": ["=1+1"]})
    for row in csv.reader(io.StringIO(as_csv([a, b]))):
        assert not any(cell[:1] in ("=", "+", "-", "@") for cell in row)


# --- switches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "fashion-live",
        "fashion-vit",
        "imagenet-peek",
        "fashion-ladder-5-multi",
        "nayer",
        "fast",
        "deepinversion",
    ],
)
def test_a_switch_changes_what_it_says_and_keeps_seed_and_budget(name):
    r = recipes.get(name)
    found = switches(r)
    assert len({s.id for s in found}) == len(found)
    for s in found:
        assert bool(s.recipe) != bool(s.refused), s
        if s.recipe:
            assert s.words == describe_change(r, s.recipe) != "" and s.recipe != r
            assert (
                s.recipe.ratio == r.ratio
                and s.recipe.classes == r.classes
                and s.recipe.teacher == r.teacher
                and (s.recipe.seed == r.seed or s.id == "seed")
            )
    titles = {s.title for s in found if s.recipe}
    assert (
        f"key region {'on' if not r.weights.kr else 'off'}" in titles
        and f"embedding diversity {'off' if r.diverse else 'on'}" in titles
    )


def test_flipping_twice_is_where_one_began():
    r = recipes.get("fashion-live")

    def flip(recipe, id):
        return next(s for s in switches(recipe) if s.id == id).recipe

    for id in (
        f"rung:{ladder.KEY_REGION}",
        f"rung:{ladder.DIVERSITY}",
        f"rung:{ladder.SMALLER}",
        "weights.adv",
        "weights.bn",
        "up_first",
    ):
        there = flip(r, id)
        assert describe_change(r, there) and describe_change(r, flip(there, id)) == "", id


def test_what_is_not_for_a_run_is_refused_or_not_offered():
    live, vit = (
        {s.id: s for s in switches(recipes.get("fashion-live"))},
        {s.id for s in switches(recipes.get("fashion-vit"))},
    )
    assert (
        "views need augment" in live["augment:none"].refused
        and "16 pixels wide" in live["deep"].refused
    )
    assert (
        "weights.bn" not in vit
        and "bn_scale:raw" not in vit
        and "position_decay" in vit
        and "position_decay" not in live
    )
    blind = {
        s.id for s in switches(recipes.get("fashion-live"), has_maps=False, has_batch_norm=False)
    }
    assert not blind & {f"rung:{ladder.KEY_REGION}", "target:Full(1)", "weights.bn"}
    multi = {s.id: s for s in switches(recipes.get("fashion-ladder-5-multi"))}
    assert "Turn off multi-resolution" in multi[f"rung:{ladder.SMALLER}"].refused


# --- over HTTP ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A run, the same with another seed, the same without the key region, and an unfinished one."""
    monkeypatch.setattr(exhibits.Exhibits, "_refresh_layout", lambda self, run, state: False)
    monkeypatch.setattr(listing, "CACHE_SECONDS", 0.0)
    for name, changes in {"a": {}, "b": {"seed": 1}, "flat": {"weights.kr": 0.0}}.items():
        standin.write_run(tmp_path / "runs" / name, **changes)
    standin.write_run(tmp_path / "runs" / "half", 2)
    return tmp_path / "runs"


@pytest.fixture
def client(folder):
    with served(folder, STANDIN) as client:
        yield client


def compare(client, *names):
    answer = client.get("/kg/compare", params={"runs": ",".join(names)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_two_runs_side_by_side(client):
    said = compare(client, "a", "flat")
    assert (
        [r["letter"] for r in said["runs"]] == ["A", "B"]
        and said["verdict"]["comparable"]
        and said["runs"][0]["picture"]
    )
    assert "2 seeds" in said["spread"][0] and "(one seed)" in said["spread"][0]
    run = said["runs"][1]
    answer = client.get(f"/kg/columns/flat/{run['key']}", params={"id": run["id"]})
    assert (
        answer.json()["batches"]["iteration"] == [0, 1, 2]
        and "immutable" in answer.headers["cache-control"]
    )
    first = client.get("/kg/compare?runs=a,flat")
    assert (
        client.get(
            "/kg/compare?runs=a,flat", headers={"If-None-Match": first.headers["etag"]}
        ).status_code
        == 304
    )
    found = client.get("/kg/compare.csv?runs=a,flat")
    assert (
        "α_kr" in found.text
        and 'filename="compare-a-flat.csv"' in found.headers["content-disposition"]
    )


def test_a_run_that_is_not_finished_is_not_kept_for_ever_and_grows(client, folder):
    said = compare(client, "a", "half")["runs"][1]
    answer = client.get(f"/kg/columns/half/{said['key']}", params={"id": said["id"]})
    assert said["state"] == "interrupted" and answer.headers["cache-control"] == "no-store"
    story = standin.story(open_run(folder / "half").recipe)
    with (folder / "half" / "events.jsonl").open("a") as file:
        file.writelines(e.to_json() + "\n" for e in story[-9:])
    again = compare(client, "a", "half")["runs"][1]
    assert again["key"] != said["key"] and again["iterations"] == 3 and again["state"] == "finished"


def test_events_are_read_once_and_in_blocks(client, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1 << 16)
    compare(client, "a", "b")
    monkeypatch.setattr(Columns, "add", lambda self, e: pytest.fail("read again"))
    compare(client, "a", "b")


def test_what_cannot_be_compared_is_said_in_words(client, folder):
    assert compare(client, "a", "nowhere")["runs"][1]["fault"]
    assert not compare(client, "a", "b")["runs"][1]["fault"]
    assert "verdict" not in compare(client, "a", "nowhere") and "verdict" not in compare(
        client, "a"
    )
    for bad in ("", "a,b,flat,half,nowhere", "../a,b", "a,..%2F..", "a,<b>"):
        answer = client.get(f"/kg/compare?runs={bad}")
        assert answer.status_code == 404 and answer.text[:1].isupper(), bad
        assert answer.headers["x-kgen-code"] in ("invalid-value", "invalid-name"), bad
    assert client.get("/kg/compare.csv?runs=a,nowhere").status_code == 404
    assert (
        client.get("/kg/columns/a/x?id=another").status_code == 404
        and client.get("/kg/switches/nowhere").status_code == 404
    )
    with (folder / "b" / "events.jsonl").open("ab") as file:
        file.write(b"nonsense\n")
    fault = compare(client, "a", "b")["runs"][1]["fault"]
    assert "damaged at byte" in fault and str(folder) not in fault
    for text in ("[]", '{"attempt": "many"}', '{"attempt": null}', "nonsense"):
        (folder / "flat" / "run.json").write_text(text)
        answer = client.get("/kg/compare?runs=a,flat")
        assert (
            answer.status_code == 200
            and answer.json()["runs"][1]["fault"]
            and str(folder) not in answer.text
        ), text


def test_a_deleted_run_that_is_made_again_is_another_one(client, folder):
    before = compare(client, "a", "b")["runs"][1]["id"]
    client.post("/kg/runs/b/delete", json={})
    standin.write_run(folder / "b", seed=5)
    after = compare(client, "a", "b")["runs"][1]
    assert after["id"] != before and after["title"] == "tiny, seed 5"


def test_one_switch_flipped_runs_beside_the_first(client, folder):
    found = client.get("/kg/switches/a").json()["switches"]
    one = next(s for s in found if s["title"] == "key region off")
    assert one["words"] == "α_kr: 0.1 → 0"
    answer = client.post("/kg/flip/a", json={"switch": one["id"]})
    assert answer.status_code == 200, answer.text
    made = answer.json()["run"]
    old, new = open_run(folder / "a").recipe, open_run(folder / made).recipe
    assert describe_change(old, new) == one["words"] and (new.seed, new.ratio) == (
        old.seed,
        old.ratio,
    )
    assert (
        made.startswith("tiny-key-region-off-")
        and "key region off" in (folder / made / "note.txt").read_text()
    )
    second = client.post("/kg/flip/a", json={"switch": one["id"]})
    refused(second, 409, "busy")
    said = compare(client, "a", made)
    assert said["verdict"]["comparable"] and said["runs"][1]["note"].endswith("compared with a")
    end = time.monotonic() + 30
    while compare(client, "a", made)["runs"][1]["state"] != "finished":
        assert time.monotonic() < end
        time.sleep(0.1)


def test_invalid_flips_are_refused(client):
    for body, code in (
        ({"switch": "weights.kr=9"}, "unknown-switch"),
        ({}, "no-field"),
        ({"switch": 7}, "no-field"),
        ({"switch": "augment:none"}, "unsupported-switch"),
    ):
        refused(client.post("/kg/flip/a", json=body), 409, code)
    assert client.post("/kg/flip/nowhere", json={"switch": "seed"}).status_code == 404
    assert (
        client.post(
            "/kg/flip/a", json={"switch": "seed"}, headers={"Origin": "http://evil.example"}
        ).status_code
        == 403
    )
    assert client.get("/kg/flip/a").status_code == 405 and not client.runs.active


def test_a_teacher_that_is_not_here_is_said(client, folder):
    data = json.loads((folder / "a" / "recipe.json").read_text()) | {"teacher": "from-elsewhere"}
    (folder / "a" / "recipe.json").write_text(json.dumps(data))
    refused(client.get("/kg/switches/a"), 409, "not-repeatable", "from-elsewhere")


def test_images_of_another_machine_are_not_looked_for_here(client, folder):
    data = json.loads((folder / "a" / "recipe.json").read_text()) | {"real_images": "photos"}
    (folder / "a" / "recipe.json").write_text(json.dumps(data))
    refused(client.get("/kg/switches/a"), 409, "not-repeatable", "another machine")
    answer = client.post("/kg/flip/a", json={"switch": "seed"})
    refused(answer, 409, "not-repeatable", "another machine")
    assert not client.runs.active


def test_few_images_are_counted_and_a_folder_is_only_named():
    a = side(real_images="/home/somebody/photos", evaluate_on="auto")
    a.columns.tests[True] = a.columns.tests[True].add(*a.columns.coordinates, 0.75, 8)
    a.columns.ended = None
    rows = {row["label"]: row["cells"] for row in table([a, side("b")])}
    assert (
        rows["Accuracy on real images"][0]["text"] == "6 of 8"
        and rows["Real test images"][0]["text"] == "photos"
    )
    bundled = side("b", real_images="photos", evaluate_on="auto")
    assert "identical" in " ".join(line["text"] for line in verdict([a, bundled])["lines"])
    said = verdict([a, side("b")])
    assert not said[
        "comparable"
    ] and "A 10,000 real images of photos, B 10,000 real images." in " ".join(
        line["text"] for line in said["lines"]
    )
