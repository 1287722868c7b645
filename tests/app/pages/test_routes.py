"""The routes and the guard, over HTTP: what a browser, an old browser and a hostile page get."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import re
import shutil
import sys
import threading
import time
import zipfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import plotly
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from app.archive import projection, sheets
from app.live import plan, view
from app.live.state import State, fold
from app.pages import routes
from app.process import exports as app_exports
from app.process.exports import Exports
from app.web import publish
from kgen import events
from kgen.events import PARTS
from kgen.journal.reading import open_run
from kgen.recipes import recipes
from tests.support import standin
from tests.support.errors import refused
from tests.support.served import served

FOR_EVER = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with one finished run that has a layout, "done", and one without a layout,
    "bare".
    """
    folder = tmp_path_factory.mktemp("runs")
    for name in ("done", "bare"):
        standin.write_run(folder / name)
    arrays = standin.reference()
    arrays["xy"] = np.random.default_rng(0).random((40, 2)).astype(np.float32)
    projection.write_durably(folder / "done" / projection.LAYOUT, projection.save_arrays(arrays))
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def client(folder):
    with served(folder) as client:

        @client.app.post("/write")
        def write() -> str:
            return "written"

        @client.app.get("/gradio_api/file={path:path}")
        def file(path: str) -> str:
            return path

        yield client


# --- the live snapshot ----------------------------------------------------------------------------


def test_live_is_compressed_once_and_revalidated(client):
    first = client.get("/kg/live")
    assert (
        first.status_code == 200
        and first.headers["content-encoding"] == "gzip"
        and first.headers["cache-control"] == "no-cache"
    )
    assert first.json()["run"] and first.json()["boot"] in first.headers["etag"]
    again = client.get("/kg/live", headers={"If-None-Match": first.headers["etag"]})
    assert (
        again.status_code == 304
        and not again.content
        and again.headers["etag"] == first.headers["etag"]
    )
    assert (
        client.get(
            "/kg/live", headers={"If-None-Match": f'W/{first.headers["etag"]}, "other"'}
        ).status_code
        == 304
    )
    assert client.get("/kg/live", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_client_that_cannot_decompress_gets_plain_json(client):
    plain = client.get("/kg/live", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.json() == client.get("/kg/live").json()


def test_a_new_snapshot_is_a_new_etag(client, monkeypatch):
    old = client.get("/kg/live").headers["etag"]
    monkeypatch.setattr(client.runs, "_snapshot", routes_published(phase="running"))
    fresh = client.get("/kg/live", headers={"If-None-Match": old})
    assert fresh.status_code == 200 and fresh.json()["phase"] == "running"


def routes_published(**snapshot):
    return publish.publish(snapshot)


def test_no_invalid_number_is_ever_encoded():
    with pytest.raises(ValueError):
        publish.encode({"loss": float("nan")})


# --- pieces ---------------------------------------------------------------------------------------


def test_a_group_with_its_places_is_kept_for_ever(client, folder):
    answer = client.get(f"/kg/group/done/1/1{own_id(folder)}")
    group = answer.json()
    assert answer.headers["cache-control"] == FOR_EVER
    assert (
        group["iteration"] == 1
        and len(group["tiles"]) == 20
        and (group["images_before"], group["images_after"]) == (20, 40)
    )
    assert len(group["x"]) == len(group["y"]) == 20 and len(group["frames"]) == 2
    layout = projection.load(folder / "done" / projection.LAYOUT)
    batch = open_run(folder / "done").batch(1)
    place = layout.project(batch["embedding"])[group["tiles"][7]["pos"]]
    assert (group["x"][7], group["y"][7]) == pytest.approx(place, abs=1e-4)


def own_id(folder: Path, name: str = "done") -> str:
    return f"?id={open_run(folder / name).info['id']}"


def test_a_folder_made_again_under_its_name_is_another_run(client, folder):
    path = folder / "again"
    seen = []
    for iterations in (1, 2):
        shutil.rmtree(path, ignore_errors=True)
        standin.write_run(path, iterations=iterations)
        shutil.copy(folder / "done" / projection.LAYOUT, path)
        id = open_run(path).info["id"]
        arrays = dict(open_run(path).batch(0))
        arrays["confidence"][:] = iterations / 4
        projection.write_durably(
            path / "batches" / "000000.safetensors", projection.save_arrays(arrays)
        )
        for piece in ("group/again/1/0", "sample/again/1/0/3", "reference/again/1"):
            with_id, without = client.get(f"/kg/{piece}?id={id}"), client.get(f"/kg/{piece}")
            assert (
                with_id.headers["cache-control"] == FOR_EVER
                and without.headers["cache-control"] == "no-store"
            )
            assert with_id.json() == without.json()
        seen.append(client.get(f"/kg/group/again/1/0?id={id}").json()["tiles"][0]["p"])
    assert seen == [0.25, 0.5], "what was cached for the first is not shown for the second"
    assert client.get("/kg/group/again/1/0?id=0123456789ab").status_code == 404, (
        "the id of another run"
    )
    shutil.rmtree(path)


def test_without_a_layout_a_group_is_not_kept_because_its_places_will_come(client):
    answer = client.get("/kg/group/bare/1/0")
    assert (
        answer.status_code == 200
        and answer.headers["cache-control"] == "no-store"
        and "x" not in answer.json()
    )


def test_a_sample(client, folder):
    sample = client.get("/kg/sample/done/1/2/19").json()
    batch = open_run(folder / "done").batch(2)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(sample["image"].partition(",")[2]))))
    assert (
        (pixels == batch["images"][19, 0]).all()
        and sample["c"] == batch["labels"][19]
        and len(sample["nearest"]) == 3
    )
    assert 0 <= sample["x"] <= 1 and np.allclose(sample["cam"], batch["cam"][19], atol=1e-4)


def test_reference_of_a_run_and_the_bundled_one(client):
    own = client.get("/kg/reference/done/1").json()
    assert own["n"] == 40 and own["x"] == pytest.approx(
        np.random.default_rng(0).random((40, 2)).astype(np.float32)[:, 0].tolist(), abs=1e-4
    )
    bundled = client.get("/kg/reference/-/0")
    assert (
        bundled.status_code == 200 and bundled.json()["n"] >= 200 and len(bundled.content) > 10_000
    )
    assert (
        client.get(
            "/kg/reference/-/0", headers={"If-None-Match": bundled.headers["etag"]}
        ).status_code
        == 304
    )


@pytest.mark.parametrize(
    "address",
    [
        "/kg/group/done/2/0",
        "/kg/group/done/1/99",
        "/kg/group/other/1/0",
        "/kg/group/done/1/-1",
        "/kg/group/done/1/x",
        "/kg/group/done/1/1e3",
        "/kg/group/done/1/99999999999999999999",
        "/kg/sample/done/1/0/20",
        "/kg/sample/done/1/0/٣",
        "/kg/reference/done/0",
        "/kg/student/other",
        "/kg/csv/other",
        "/kg/export/other",
        "/kg/static/core/other.css",
        "/kg/static/core/app.py",
    ],
)
def test_what_is_not_there_is_404_with_a_sentence(client, address):
    answer = client.get(address)
    assert answer.status_code == 404 and answer.text.endswith(".") and len(answer.text) > 20
    assert not re.search(r"(^|\s)(/|[A-Z]:)", answer.text)  # no path on this machine


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "%2e%2e",
        "..%2f..%2fetc",
        "..%5c..",
        "%2fetc%2fpasswd",
        "secret.txt",
        "done%00",
        "done%2f..%2fdone",
        "con:",
        "done%20",
        "a" * 200,
        "done.",
        "~root",
        "-",
        "%252e%252e",
    ],
)
@pytest.mark.parametrize(
    "route",
    [
        "/kg/student/{}",
        "/kg/csv/{}",
        "/kg/export/{}",
        "/kg/group/{}/1/0",
        "/kg/static/core/{}",
        "/kg/static/{}/dom.js",
        "/kg/reference/{}/1",
    ],
)
def test_no_name_leads_out_of_the_folder(client, name, route):
    answer = client.get(route.format(name))
    if route.startswith("/kg/reference") and name == "-":
        assert answer.status_code == 404, "the bundled examples have attempt 0 only"
    assert answer.status_code == 404 and "secret" not in answer.text and "root:" not in answer.text


# --- downloads ------------------------------------------------------------------------------------


def test_the_student_is_a_download_with_a_name(client):
    answer = client.get("/kg/student/done")
    assert answer.content == b"not really weights"
    assert (
        answer.headers["content-disposition"] == 'attachment; filename="done-student.safetensors"'
    )


def test_the_table_holds_every_step_and_evaluation(client):
    answer = client.get("/kg/csv/done")
    assert (
        answer.headers["content-type"].startswith("text/csv")
        and 'filename="done.csv"' in answer.headers["content-disposition"]
    )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    told = [
        e
        for e in standin.story(standin.recipe())
        if e.kind in ("generator_step", "batch_synthesised", "student_step", "evaluated")
    ]
    assert [r["kind"] for r in rows] == [e.kind for e in told]
    for row, e in zip(rows, told):
        assert float(row["t"]) == pytest.approx(e.t)
        if e.kind == "generator_step":
            assert float(row["loss"]) == pytest.approx(e.loss) and row["lr"] == ""
            assert {k: float(row[k]) for k in PARTS} == pytest.approx(e.parts)
        told = {
            k: float(row[f"judge_{k}"]) for k in ("top1", "top5", "chosen") if row[f"judge_{k}"]
        }
        assert told == (e.judged.model_dump() if e.kind == "batch_synthesised" else {})
    assert (
        rows[-1]["student_accuracy"],
        rows[-1]["real_images"],
        rows[-1]["final"],
        rows[-1]["pool_images"],
    ) == ("0.824", "10000", "1", "60")


@pytest.fixture
def exports(client, monkeypatch, tmp_path):
    """A stand-in for the export command: it writes down its arguments, fails on request, and counts
    its calls.
    """
    (tmp_path / "export.py").write_text(EXPORT)
    made = Exports((sys.executable, str(tmp_path / "export.py")))
    monkeypatch.setattr(client.runs, "exports", made)
    monkeypatch.setattr(app_exports, "missing_packages", lambda: "")
    made.asked = lambda: len((tmp_path / "asked").read_text())
    made.fail = lambda text: (tmp_path / "fail").write_text(text)
    yield made
    made.close()


EXPORT = """
import pathlib, sys
here, out = pathlib.Path(__file__).parent, pathlib.Path(sys.argv[3])
with (here / "asked").open("a") as file:
    file.write("x")
if "--onnx" in sys.argv and (here / "fail").exists():
    sys.exit("a line of some library\\nError: " + (here / "fail").read_text() + " " + sys.argv[1])
out.mkdir()
(out / "told").write_text(" ".join(sys.argv[4:]))
"""


def test_an_export_is_one_zip_and_made_once(client, exports):
    for _ in range(2):
        answer = client.get("/kg/export/done")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert (
                archive.namelist() == ["done-student/told"]
                and archive.read("done-student/told") == b"--onnx"
            )
    assert (
        answer.headers["content-disposition"] == 'attachment; filename="done-student.zip"'
        and "x-kgen-note" not in answer.headers
    )
    assert exports.asked() == 1


def test_without_onnx_the_rest_is_exported_and_that_is_said(client, exports, monkeypatch):
    monkeypatch.setattr(
        app_exports, "missing_packages", lambda: "student.onnx needs onnx: pip install onnx"
    )
    answer = client.get("/kg/export/done")
    assert (
        unquote(answer.headers["x-kgen-note"]) == "student.onnx needs onnx: pip install onnx."
        and exports.asked() == 1
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.read("done-student/told") == b""


def test_a_student_that_onnx_cannot_hold_comes_without(client, exports):
    exports.fail("torch cannot write this network as ONNX")
    answer = client.get("/kg/export/done")
    assert answer.status_code == 200 and exports.asked() == 2
    assert (
        unquote(answer.headers["x-kgen-note"]) == "torch cannot write this network as ONNX done"
    ), "and no path on this machine"


@pytest.mark.slow
def test_an_export_that_fails_or_lasts_is_a_sentence(client, folder, exports, monkeypatch):
    standin.write_run(folder / "begun", iterations=1)
    refused(client.get("/kg/export/begun"), 404, "unfinished")
    shutil.rmtree(folder / "begun")
    monkeypatch.setattr(
        exports, "_command", (sys.executable, "-c", "import sys; sys.exit('Error: no')")
    )
    assert (client.get("/kg/export/done").status_code, client.get("/kg/export/done").text) == (
        404,
        "no",
    )
    monkeypatch.setattr(exports, "_command", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(app_exports, "TIMEOUT", 0.5)
    assert "took more than" in client.get("/kg/export/done").text


@pytest.mark.slow
def test_the_apps_end_ends_an_export(client, exports, monkeypatch):
    monkeypatch.setattr(exports, "_command", (sys.executable, "-c", "import time; time.sleep(60)"))
    threading.Timer(1.0, exports.close).start()
    began = time.monotonic()
    assert client.get("/kg/export/done").status_code == 404 and time.monotonic() - began < 30


# --- static files ---------------------------------------------------------------------------------


def test_plotly_is_ours_compressed_and_immutable(client):
    answer = client.get(f"/kg/plotly.min.js?v={plotly.__version__}")
    assert client.get("/kg/plotly.min.js").headers["cache-control"] == "no-cache"
    assert (
        answer.headers["content-encoding"] == "gzip" and answer.headers["cache-control"] == FOR_EVER
    )
    own = (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(own).digest()
    assert (
        client.get(
            "/kg/plotly.min.js", headers={"If-None-Match": answer.headers["etag"]}
        ).status_code
        == 304
    )


def test_static_files_are_immutable_by_version_and_revalidated_without(
    client, tmp_path, monkeypatch
):
    monkeypatch.setattr(routes, "STATIC", tmp_path)
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "a.js").write_text("export const a = 1")
    versioned, plain = client.get("/kg/static/core/a.js?v=abc"), client.get("/kg/static/core/a.js")
    assert (
        versioned.headers["cache-control"] == FOR_EVER
        and plain.headers["cache-control"] == "no-cache"
    )
    assert (
        plain.headers["content-type"].startswith("text/javascript")
        and plain.text == "export const a = 1"
    )
    assert (
        client.get(
            "/kg/static/core/a.js", headers={"If-None-Match": plain.headers["etag"]}
        ).status_code
        == 304
    )
    (tmp_path / "core" / "a.js").write_text("export const a = 22")
    assert (
        client.get("/kg/static/core/a.js", headers={"If-None-Match": plain.headers["etag"]}).text
        == "export const a = 22"
    )


# --- the guard ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host, status",
    [
        ("127.0.0.1:7860", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:7860", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:7860", 421),
        ("", 421),
        ("evil@localhost", 421),
        ("0.0.0.0", 421),
    ],
)
def test_only_known_hosts_are_answered(client, host, status):
    assert client.get("/kg/live", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8888"}, 403),
        ({"Origin": "http://localhost:7860"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:7860.evil.example"}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_only_our_own_pages_may_write(client, headers, status):
    assert client.post("/write", headers=headers).status_code == status


@pytest.mark.parametrize(
    "path, status",
    [
        ("/gradio_api/file=http://evil.example/x", 403),
        ("/gradio_api/file=HTTPS:%2f%2fevil.example", 403),
        ("/gradio_api/file=%68ttp://evil.example", 403),
        ("/gradio_api/file=//evil.example/x", 403),
        ("/gradio_api/file=ftp://evil.example", 403),
        ("/gradio_api/file/http://evil.example/x", 403),
        ("/gradio_api/file///evil.example/x", 403),
        ("/gradio_api/file/tmp/gradio/picture.png", 404),
        ("/gradio_api/proxy=http://x.hf.space/", 403),
        ("/gradio_api/file=%20http://evil.example", 403),
        ("/gradio_api/file=/tmp/gradio/picture.png", 200),
    ],
)
def test_nothing_is_fetched_from_elsewhere(client, path, status):
    assert client.get(path).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/upload/",
        "/gradio_api/process_recording",
        "/Gradio_api/UPLOAD",
    ],
)
def test_nobody_leaves_files_here(client, path):
    assert client.post(path, headers={"Origin": "http://127.0.0.1:7860"}).status_code == 403


def test_security_headers_are_on_every_answer(client):
    for answer in (
        client.get("/kg/live"),
        client.get("/nowhere"),
        client.get("/kg/live", headers={"Host": "evil.example"}),
    ):
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["content-security-policy"].split(";")
        )
        assert (
            policy["frame-ancestors"] == "'self'"
            and policy["connect-src"] == "'self'"
            and policy["img-src"] == "'self' data: blob:"
        )
        assert (
            answer.headers["x-frame-options"] == "SAMEORIGIN"
            and answer.headers["x-content-type-options"] == "nosniff"
        )


def test_a_named_host_and_frame_open_exactly_themselves():
    app = FastAPI(
        middleware=routes.middleware(["kgen.example.org"], ["https://course.example.org"])
    )

    @app.post("/write")
    def write() -> str:
        return "written"

    with TestClient(app, base_url="https://kgen.example.org") as client:
        answer = client.post("/write", headers={"Origin": "https://kgen.example.org"})
        assert answer.status_code == 200 and "x-frame-options" not in answer.headers
        assert answer.headers["content-security-policy"].endswith(
            "frame-ancestors 'self' https://course.example.org"
        )
        # a proxy that forwards the request under a local name
        assert (
            client.post(
                "/write", headers={"Origin": "https://kgen.example.org", "Host": "127.0.0.1:7860"}
            ).status_code
            == 200
        )
        assert (
            client.post("/write", headers={"Origin": "https://other.example.org"}).status_code
            == 403
        )
        assert client.post("/write", headers={"Host": "other.example.org"}).status_code == 421


@pytest.mark.parametrize(
    "frame", ["https://a.example; script-src *", "javascript:alert(1)", "https://a b", "*"]
)
def test_a_frame_that_is_not_an_origin_is_refused(frame):
    app = FastAPI(middleware=routes.middleware([], [frame]))
    with pytest.raises(ValueError, match="--allow-frame"):
        TestClient(app).get("/")


def test_snapshots_stay_small_for_a_whole_class_of_viewers():
    """The largest typical snapshot: fifty tiles of pure noise, full curves."""
    r = recipes.get("fashion-long")
    state = fold(State(), standin.started(r, 9_000))
    rng = np.random.default_rng(0)
    for i in range(1000):
        parts = {k: float(v) for k, v in zip(PARTS, rng.normal(size=7))}
        state = fold(
            state,
            events.GeneratorStep(t=i, iteration=0, step=i % 15, parts=parts, loss=0, agreement=0),
        )
        state = fold(state, standin.evaluated(i, 0, i, rng.random(), 2_000))
    making = sheets.group(
        standin.batch(1, size=100), 1, 10, before=0, after=0, include_frames=False, max_bytes=60_000
    )
    snapshot = view.snapshot(
        state,
        view.Situation(run="r", preview=making),
        plan.plan(r, standin.CARD, tuple(standin.CLASSES), "c"),
    )
    body = publish.encode(snapshot)
    assert len(making["tiles"]) == 50 and len(snapshot["loss"]["ce"]) >= 150
    assert len(body) < 70_000
    assert json.loads(gzip.decompress(body)) == json.loads(json.dumps(snapshot))


# --- moments, points, sheets, the student's view --------------------------------------------------


def test_pieces_by_iteration_hold_every_image_and_are_kept_for_ever(client, folder):
    run = open_run(folder / "done")
    id = run.info.get("id", "")
    for kind in ("moment", "points", "tiles"):
        answer = client.get(f"/kg/{kind}/done/1/1", params={"id": id} if id else {})
        assert answer.status_code == 200 and answer.headers["cache-control"] == FOR_EVER, kind
    batch, points = run.batch(1), client.get("/kg/points/done/1/1").json()
    assert (
        points["c"] == batch["labels"].tolist()
        and len(points["x"]) == len(points["z"]) == len(points["p"]) == 20
    )
    assert np.allclose(points["ce"], batch["parts"][:, PARTS.index("ce")], atol=1e-4)
    tiles = client.get("/kg/tiles/done/1/1").json()
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(tiles["sheet"].split(",")[1]))))
    for pos in (0, 7, 19):
        r, c = divmod(pos, tiles["columns"])
        assert np.array_equal(
            sheet[r * 28 : r * 28 + 28, c * 28 : c * 28 + 28], batch["images"][pos, 0]
        )


@pytest.mark.parametrize(
    "address",
    [
        "points/bare/1/0",
        "moment/done/1/3",
        "moment/done/1/-1",
        "tiles/done/1/99",
        "points/done/2/0",
        "points/..%2Fdone/1/0",
        "student-view/done/1/1",
        "student-view/done/1/0",
    ],
)
def test_what_is_not_there_is_one_sentence(client, folder, address):
    answer = client.get(f"/kg/{address}")
    assert (
        answer.status_code in (400, 404)
        and "Traceback" not in answer.text
        and str(folder) not in answer.text
    )


def test_the_students_view_is_that_of_its_file(client, folder):
    rng = np.random.default_rng(0)
    path = standin.write_run(folder / "seen", views=True)
    id = open_run(path).info.get("id", "")
    told = [e for e in open_run(path).events() if e.kind == "evaluated"]
    first, second = (
        client.get(f"/kg/student-view/seen/1/{test}", params={"id": id}) for test in (1, 2)
    )
    assert (
        first.status_code == second.status_code == 200
        and first.headers["cache-control"] == FOR_EVER
    )
    arrays = open_run(path).array_file(told[1].file)
    assert (
        second.json()["iteration"] == arrays["iteration"].tolist()
        and second.json()["c"] == arrays["labels"].tolist()
        and second.json()["test"] == 2
    )
    assert client.get(f"/kg/student-view/seen/1/{len(told) + 1}").status_code == 404
    (path / told[2].file).write_bytes(rng.bytes(50))
    answer = client.get("/kg/student-view/seen/1/3")
    assert answer.status_code == 404 and str(folder) not in answer.text


@pytest.mark.slow
def test_a_held_poll_is_answered_when_something_is_new(client):
    etag = client.get("/kg/live").headers["etag"]
    began = time.monotonic()
    assert (
        client.get("/kg/live", headers={"If-None-Match": etag, "Prefer": "wait=1"}).status_code
        == 304
    )
    assert 0.9 < time.monotonic() - began < 10
    for headers in (
        {"If-None-Match": '"other"', "Prefer": "wait=100"},
        {"Prefer": "wait=100"},
        {"If-None-Match": etag, "Prefer": "wait=-1"},
        {"If-None-Match": etag},
    ):
        began = time.monotonic()
        client.get("/kg/live", headers=headers)
        assert time.monotonic() - began < 0.9, headers
    old = client.runs.live
    threading.Timer(0.2, lambda: client.runs._publish(routes_published(phase="running"))).start()
    began = time.monotonic()
    answer = client.get("/kg/live", headers={"If-None-Match": etag, "Prefer": "wait=2"})
    assert (
        answer.status_code == 200
        and answer.json()["phase"] == "running"
        and time.monotonic() - began < 1.9
    )
    client.runs._publish(old)
