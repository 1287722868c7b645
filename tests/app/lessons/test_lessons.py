"""Lessons and glossary: every file can be read, every recipe and number in them is real, hostile
text stays text, and a lesson runs.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.lessons import glossary, lessons, metrics, prose
from app.process import exhibits
from kgen.journal.reading import open_run
from kgen.recipes import recipes
from kgen.system.paths import ROOT
from kgen.terms import TERMS
from tests.support import standin
from tests.support.served import served

SHELF = lessons.Lessons(lessons.FOLDER)
STANDIN = (sys.executable, "-m", "tests.support.standin")
BODY = (
    "Before.\n\n## What happened\n\nA has {{a.accuracy}}, B {{b.accuracy}},"
    " {{difference.accuracy}}.\n\n## Why\n\nBecause.\n"
)
HEAD = """title = "Tiny"
question = "Does it run?"
minutes = 1
recipe = "tiny"
predict = "Is B better?"
numbers = ["accuracy", "images"]
figures = ["images", "making", "maps", "agreement", "accuracy"]
[switch]
name = "Key region"
a = "on"
b = "off"
changes = { "weights.kr" = 0.0 }
[decide]
number = "accuracy"
of = "difference"
[[choices]]
text = "worse"
to = 0.0
[[choices]]
text = "the same or better"
from = 0.0
"""


def write(folder: Path, head: str = HEAD, body: str = BODY, name: str = "01-tiny.md") -> Path:
    file = folder / name
    file.write_text(f"+++\n{head}+++\n{body}", encoding="utf-8")
    return file


# --- what is bundled ------------------------------------------------------------------------------


def test_every_file_is_a_lesson():
    assert SHELF.errors == [] and len(SHELF.lessons) == len(list(lessons.FOLDER.glob("*.md"))) >= 8


@pytest.mark.parametrize("slug", SHELF.lessons)
def test_a_lesson_is_whole(slug):
    lesson, told = SHELF.lessons[slug], SHELF.to_json(slug)
    assert lesson.minutes <= 2 and set(lesson.figures) <= set(lessons.FIGURES)
    asked = set(prose.placeholders([n for part in told["text"] for n in part]))
    assert {
        f"{v}.{lesson.decide.number}"
        for v in lesson.variants
        if lesson.decide.of in (v, "difference")
    } <= asked, "the text gives the number that decides"
    assert any(isinstance(n, dict) and n.get("math") for n in told["text"][2]), (
        "there is an equation"
    )
    for variant in lesson.variants:
        recipe = lesson.recipe_for(variant)
        assert recipe.schedule == "sequential" or lesson.recording
        assert (command := recipes.command(recipe)).startswith(
            f"python -m kgen run {lesson.recipe}"
        ) and command == told["commands"][variant]
    if lesson.switch:
        assert [a for _, a, _ in told["switch"]["fields"]] != [
            b for _, _, b in told["switch"]["fields"]
        ]


@pytest.mark.parametrize("slug", [s for s, x in SHELF.lessons.items() if x.minutes])
def test_what_a_text_says_of_other_seeds_was_measured(slug):
    lesson, spread = SHELF.lessons[slug], SHELF.spread(SHELF.lessons[slug])
    asked = {
        p
        for part in lesson.text
        for p in prose.placeholders(prose.tree(part))
        if p.startswith("seeds.")
    }
    assert asked, "a lesson with two runs reports the spread over seeds"
    assert all(spread[number][variant] for _, variant, number in (p.split(".") for p in asked))


def test_links_in_texts_lead_somewhere():
    ids = set(glossary.terms())

    def links(nodes):
        for n in nodes:
            if isinstance(n, dict):
                if n.get("tag") == "a":
                    yield n["href"]
                yield from links(n.get("children", []))

    texts = [n for x in SHELF.lessons.values() for part in x.text for n in prose.tree(part)]
    texts += [n for t in glossary.terms().values() for n in prose.tree(t.more)]
    found = list(links(texts))
    assert len(found) >= 8
    for href in found:
        lesson, term = re.fullmatch(
            r"\?tab=lessons&lesson=([a-z-]+)(?:&term=([a-z-]+))?", href
        ).groups()
        assert lesson in {*SHELF.lessons, "glossary"} and (term is None or term in ids), href


def test_every_term_that_a_page_names_is_in_the_glossary():
    sources = [
        *(ROOT / "app" / "pages" / "html").glob("*.html"),
        *(ROOT / "app" / "static").rglob("*.js"),
    ]
    text = "\n".join(
        p.read_text(encoding="utf-8") for p in sources if p.suffix in (".html", ".py", ".js")
    )
    used = (
        set(re.findall(r"""data-term="([a-z-]+)\"""", text))
        | set(re.findall(r"glossaryTip\('([a-z-]+)'\)", text))
        | set(re.findall(r"""term="([a-z-]+)\"""", text))
        | {term.glossary or f"l-{term.name}" for term in TERMS}
    )
    assert len(used) >= 12 and used <= set(glossary.terms()), used - set(glossary.terms())


def test_no_two_terms_share_a_word():
    words = [w.lower() for t in glossary.terms().values() for w in (t.name, *t.also)]
    assert sorted(w for w in set(words) if words.count(w) > 1) == []


# --- texts ----------------------------------------------------------------------------------------


def tags(nodes) -> set[str]:
    return {
        t
        for n in nodes
        if isinstance(n, dict)
        for t in ({n["tag"]} if "tag" in n else set()) | tags(n.get("children", []))
    }


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](http://evil.example/a.png)",
        "[x](//evil.example)",
        "<http://evil.example>",
        '[x](?tab=lessons" onclick="alert(1))',
        "`<b>`",
        "&lt;script&gt;",
        "[x]: javascript:alert(1)\n\n[x]",
        "$<b>x</b>$",
    ],
)
def test_hostile_text_stays_text(hostile):
    nodes = prose.tree(hostile, glossary.marker())
    assert tags(nodes) <= set(prose.TAGS.values()) | {
        "code",
        "pre",
    }, "no external link, no picture"
    if hostile.startswith("<script"):
        assert "<script>" in prose.plain(nodes)


@settings(max_examples=200, deadline=None)
@given(
    st.text(
        alphabet=st.sampled_from(list("ab_^{}$`*[]()<>!&#|\n -1.?=:/\\\"'\u202e\u0302CAM")),
        max_size=60,
    )
)
def test_any_text_becomes_known_nodes(text):
    def look(nodes):
        for n in nodes:
            if isinstance(n, str):
                assert "\u202e" not in n
                continue
            assert set(n) <= {
                "tag",
                "children",
                "href",
                "math",
                "block",
                "number",
                "term",
                "text",
                "i",
                "sub",
                "sup",
                "br",
            }
            assert n.get("tag", "p") in {*prose.TAGS.values(), "a", "code", "pre"} and (
                "href" not in n or prose.LINK.fullmatch(n["href"])
            )
            look(
                n.get("children", [])
                if "tag" in n
                else n.get("math") or n.get("sub") or n.get("sup") or []
            )

    look(prose.tree(text, glossary.marker()))


def test_formulas_have_symbols_and_indices():
    assert prose.formula("L_{kr} = Σ_i x̂^2 / log x") == [
        {"i": "L"},
        {"sub": ["kr"]},
        " = Σ",
        {"sub": [{"i": "i"}]},
        " ",
        {"i": "x̂"},
        {"sup": ["2"]},
        " / log ",
        {"i": "x"},
    ]


def test_a_term_is_marked_once_and_whole():
    nodes = prose.tree(
        "A CAM, two CAMs, camera and cam.\n\nThe memory pool of the student's pool.",
        glossary.marker(),
    )
    marked = [(n["term"], n["text"]) for p in nodes for n in p["children"] if isinstance(n, dict)]
    assert marked == [("cam", "CAM"), ("memory-pool", "memory pool"), ("student", "student")]


# --- errors are reported --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        (HEAD.replace('title = "Tiny"\n', ""), BODY, "01-tiny.md: title: "),
        (
            HEAD.replace('"tiny"', '"tinny"'),
            BODY,
            "01-tiny.md: recipe: ",
        ),
        (HEAD.replace("weights.kr", "weights.krr"), BODY, "01-tiny.md: switch.changes: "),
        (
            HEAD.replace('"weights.kr" = 0.0', '"weights.kr" = -1'),
            BODY,
            "01-tiny.md: switch.changes: Recipe field 'weights.kr'",
        ),
        (
            HEAD.replace('["accuracy", "images"]', '["acuracy"]'),
            BODY,
            "01-tiny.md: numbers: 'acuracy'",
        ),
        (HEAD.replace("to = 0.0", "to = 0.1"), BODY, "01-tiny.md: choices: "),
        (HEAD, BODY.replace("a.accuracy", "a.kr"), "01-tiny.md: text: {{a.kr}}"),
        (
            HEAD,
            BODY.replace("Before.", "Before {{a.accuracy}}."),
            "01-tiny.md: text: the part before",
        ),
        (HEAD, BODY.replace("## Why", "## How"), "01-tiny.md: text: expected the headings"),
        (HEAD + "x = \n", BODY, "01-tiny.md: "),
    ],
)
def test_an_error_names_file_and_field(tmp_path, head, body, said):
    write(tmp_path, head, body)
    shelf = lessons.Lessons(tmp_path)
    assert not shelf.lessons and shelf.errors[0].startswith(said), shelf.errors


def test_a_glossary_that_is_wrong_is_named(tmp_path):
    file = tmp_path / "g.toml"
    file.write_text('[cam]\nname = "map"\ntip = "short"\n', encoding="utf-8")
    with pytest.raises(glossary.GlossaryError, match=r"g.toml: cam.tip: "):
        glossary.terms(file)


# --- numbers --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A real run of a few seconds that uses every part of the method."""
    folder = tmp_path_factory.mktemp("small") / "run"
    recipe = recipes.get("tiny").replace(
        **{"weights.ed": 10.0, "weights.aed": 5.0, "schedule": "sequential"}
    )
    subprocess.run(
        [sys.executable, "-m", "kgen", "run", "-", "--out", str(folder), "--json"],
        input=recipe.to_json().encode(),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=200,
    )
    return folder


@pytest.mark.slow
def test_every_number_is_there_on_a_real_run(small):
    values = metrics.numbers(open_run(small))
    assert [n for n, v in values.items() if v is None] == []
    for lesson in SHELF.lessons.values():
        texts = {
            n: metrics.format_value(metrics.NUMBERS[n].kind, values[n]) for n in lesson.numbers
        }
        assert all(re.fullmatch(r"[\d.,]+(e-\d+)?(%| s)?|[A-Z].*", t) for t in texts.values()), (
            texts
        )


def test_numbers_are_those_of_the_folder(small):
    run = open_run(small)
    values, last = metrics.numbers(run), run.last_event
    assert (values["accuracy"], values["tested"]) == (last.accuracy, last.n)
    batches = [batch for _, batch in run.batches()]
    assert values["made"] == 60 and values["different"] == len(
        {i.tobytes() for b in batches for i in b["images"]}
    )
    assert values["images"] == sum(int(b["entered"].sum()) for b in batches)
    ends = {e.iteration: e for e in run.events() if e.kind == "generator_step"}
    assert values["agreement"] == pytest.approx(statistics.mean(e.agreement for e in ends.values()))
    assert values["aed"] == pytest.approx(
        statistics.mean(e.parts["aed"] for e in ends.values() if e.epoch)
    )
    images = batches[-1]["images"].astype(int)
    steps = (
        [
            float(abs(im[0, r, c] - im[0, r, c + 1]))
            for im in images
            for r in range(28)
            for c in range(27)
        ],
        [
            float(abs(im[0, r, c] - im[0, r + 1, c]))
            for im in images
            for r in range(27)
            for c in range(28)
        ],
    )
    assert values["speckle"] == pytest.approx(statistics.mean(map(statistics.mean, steps)))


def test_figures_of_a_real_run(small):
    found = metrics.figures(open_run(small))
    assert found["images"]["url"].startswith("data:image/png") and (
        found["images"]["width"],
        found["images"]["height"],
    ) == (280, 84)
    assert found["making"]["rows"] == [1, 2, 3] and [x for x, _ in found["agreement"]] == [1, 2, 3]
    assert np.shape(found["cam"]) == np.shape(found["target"]) == (7, 7) and found["accuracy"][-1][
        1
    ] == pytest.approx(open_run(small).last_event.accuracy, abs=1e-4)


def test_differences_add_up_as_they_are_written():
    assert (
        metrics.difference("real", 0.184, 0.775) == "+0.59"
        or metrics.format_value("real", 0.184) == "0.18"
    )
    assert (
        metrics.difference("percent", 0.68333, 0.50337) == "−18.0 points"
        and metrics.difference("count", 600, 60) == "−540"
    )
    assert (
        metrics.difference("percent", 0.5, None) == "–"
        and metrics.difference("real", 1.0, 1.0) == "±0"
    )


def test_a_choice_is_borne_out_by_a_rule(tmp_path):
    lesson = lessons.read(write(tmp_path))
    at = lambda a, b: lesson.outcome({"a": {"accuracy": a}, "b": {"accuracy": b}})  # noqa: E731
    assert (at(0.5, 0.4), at(0.5, 0.5), at(0.4, 0.5), at(None, 0.5)) == (0, 1, 1, None)


def test_spread_is_the_sample_standard_deviation():
    values = [0.71, 0.735, 0.752]
    assert (
        lessons.summarize("percent", values)
        == f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}%, 3 seeds"
    )
    assert (
        lessons.summarize("percent", [0.5]) == "50.0%, one seed"
        and lessons.summarize("percent", []) == ""
    )


# --- over HTTP ------------------------------------------------------------------------------------


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setattr(exhibits.Exhibits, "_refresh_layout", lambda self, run, state: False)
    own = tmp_path / "lessons"
    own.mkdir()
    write(own)
    monkeypatch.setenv(lessons.FOLDER_VARIABLE, str(own))
    with served(tmp_path / "runs", STANDIN) as client:
        yield client


def wait(look, seconds: float = 30.0):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_a_lesson_runs_both_and_tells_their_numbers(client):
    state = lambda: client.get("/kg/lessons/tiny/runs").json()  # noqa: E731
    assert state() == {
        "runs": {"a": None, "b": None},
        "numbers": {},
        "outcome": None,
        "going": None,
        "following": None,
    }
    answer = client.post("/kg/lessons/tiny/run")
    assert answer.status_code == 200 and state()["following"] == "b"
    refused = client.post("/kg/lessons/tiny/run")
    assert (refused.status_code, refused.headers["x-kgen-code"]) == (409, "busy")
    found = wait(lambda: (s := state())["outcome"] is not None and s)
    assert found["runs"]["a"]["run"] == answer.json()["run"] != found["runs"]["b"]["run"]
    assert (
        found["numbers"]["a.accuracy"] == "82.4%"
        and found["numbers"]["difference.accuracy"] == "±0.0 points"
        and found["outcome"] == 1
    )
    wait(lambda: not client.runs.active)
    assert open_run(client.runs.folder / found["runs"]["b"]["run"]).recipe.weights.kr == 0.0
    assert client.post("/kg/lessons/tiny/run").status_code == 409, "both exist"
    run = found["runs"]["a"]
    drawn = client.get(f"/kg/lesson-figures/{run['run']}/{run['attempt']}?id={run['id']}")
    assert (
        drawn.status_code == 200
        and "immutable" in drawn.headers["cache-control"]
        and drawn.json()["classes"] == standin.CLASSES
    )
    assert (
        client.get(f"/kg/lesson-figures/{run['run']}/{run['attempt']}?id=other").status_code == 404
    )


def test_b_does_not_follow_a_run_that_was_stopped(client):
    client.post("/kg/lessons/tiny/run")
    wait(lambda: client.runs.active)
    client.runs.control("stop")
    wait(lambda: not client.runs.active)
    wait(lambda: client.get("/kg/lessons/tiny/runs").json()["following"] is None)
    assert len(list(client.runs.archive.names())) == 1 and client.get(
        "/kg/lessons/tiny/runs"
    ).json()["runs"] == {"a": None, "b": None}


def test_a_run_that_was_there_is_found_but_no_other(client):
    standin.write_run(client.runs.folder / "mine")
    standin.write_run(client.runs.folder / "other", seed=3)
    standin.write_run(client.runs.folder / "half", 2)
    assert client.get("/kg/lessons/tiny/runs").json()["runs"]["a"]["run"] == "mine"
    assert client.post("/kg/lessons/tiny/run").status_code == 200
    wait(lambda: client.get("/kg/lessons/tiny/runs").json()["runs"]["b"])
    assert len(list(client.runs.archive.names())) == 4, "A was not rerun"


def test_what_nobody_should_ask(client):
    assert (
        client.post("/kg/lessons/tiny/run", headers={"Origin": "http://evil.example"}).status_code
        == 403
    )
    assert (
        client.get("/kg/lessons/..%2f..%2fetc/runs").status_code == 404
        and client.get("/kg/lessons/nothing").headers["x-kgen-code"] == "unknown-lesson"
    )
    assert (
        client.post("/kg/lessons/nothing/run").status_code == 404
        and client.post("/kg/lessons/tiny/run", content=b"[1]").status_code == 400
    )
    assert client.post("/kg/lessons/tiny/run", content=b"x" * 5000).status_code == 413
    assert (
        client.get("/kg/lesson-figures/../1").status_code == 404
        and client.get("/kg/lesson-figures/x/y").status_code == 404
    )


def test_lessons_and_glossary_as_the_page_asks(client):
    assert client.get("/kg/lessons").json() == {
        "lessons": [{"slug": "tiny", "title": "Tiny", "question": "Does it run?", "minutes": 1}],
        "wrong": [],
    }
    told = client.get("/kg/lessons/tiny").json()
    assert told["choices"] == ["worse", "the same or better"] and told["switch"]["fields"] == [
        ["weights.kr", "0.1", "0.0"]
    ]
    assert {t["id"] for t in client.get("/kg/glossary").json()["terms"]} == set(glossary.terms())
    script = client.get("/kg/static/core/glossary-terms.js")
    assert script.headers["content-type"].startswith("text/javascript") and '"cam"' in script.text
    assert (
        client.get(
            "/kg/static/core/glossary-terms.js", headers={"If-None-Match": script.headers["etag"]}
        ).status_code
        == 304
    )
