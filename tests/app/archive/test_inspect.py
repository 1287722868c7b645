"""The Inspect page's routes, compared with slow loops over the same files; and what runs from
elsewhere may contain.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from app.archive import batchfile, image_detail, samples
from kgen import events
from kgen.events import PARTS
from kgen.journal.reading import open_run
from tests.support import standin
from tests.support.errors import refused
from tests.support.served import served

FOR_EVER = "public, max-age=31536000, immutable"
C = 3
"""The class under inspection."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Runs: "done" with three iterations; "sizes" with two resolutions; "photos" with 150-pixel
    color images.
    """
    folder = tmp_path_factory.mktemp("runs")
    standin.write_run(folder / "done")
    standin.write_run(folder / "sizes", resolutions=(28, 20))
    standin.write_run(folder / "photos", 1)
    rewrite(folder / "photos", 0, {k: v for k, v in standin.batch(0, 20, 150, 3).items()})
    return folder


@pytest.fixture(scope="module")
def client(folder):
    with served(folder) as client:
        yield client


def rewrite(path: Path, iteration: int, arrays: dict[str, np.ndarray]) -> None:
    (path / "batches" / f"{iteration:06d}.safetensors").write_bytes(
        save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    )


def own_id(folder: Path, name: str = "done") -> str:
    return f"?id={open_run(folder / name).info['id']}"


def png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def picture(uri: str) -> np.ndarray:
    return png(base64.b64decode(uri.split(",")[1]))


def batches(folder: Path, name: str = "done") -> list[dict[str, np.ndarray]]:
    return [arrays for _, arrays in open_run(folder / name).batches()]


# --- what a run is --------------------------------------------------------------------------------


def test_the_overview_tells_what_the_page_needs(client, folder):
    answer = client.get("/kg/inspect/done")
    told = answer.json()
    assert answer.headers["cache-control"] == "no-cache"
    assert (
        client.get(
            "/kg/inspect/done", headers={"If-None-Match": answer.headers["etag"]}
        ).status_code
        == 304
    )
    assert (told["done"], told["attempt"], told["classes"], told["over"], told["tested_on"]) == (
        3,
        1,
        standin.CLASSES,
        True,
        "test",
    )
    assert (
        told["scales"][0]["side"] == 28
        and told["recipe"]["weights"] == open_run(folder / "done").recipe.weights.model_dump()
    )
    assert told["tests"] == sum(e.kind == "evaluated" for e in open_run(folder / "done").events())
    assert told["warmup"] == open_run(folder / "done").recipe.warmup_epochs


def test_a_run_without_an_image_says_so(client, folder):
    standin.write_run(folder / "young", 0)
    assert client.get("/kg/inspect/young").json()["done"] == 0
    shutil.copytree(folder / "young", folder / "unborn")
    (folder / "unborn" / "events.jsonl").unlink()
    assert client.get("/kg/inspect/unborn").json()["classes"] == []
    answer = client.get("/kg/inspect/unborn/1/class/0/0/1")
    refused(answer, 404, "no-images")


# --- a class --------------------------------------------------------------------------------------


def test_columns_of_a_class_are_those_of_the_files(client, folder):
    answer = client.get(f"/kg/inspect/done/1/class/{C}/0/3{own_id(folder)}")
    assert answer.headers["cache-control"] == FOR_EVER
    assert client.get(f"/kg/inspect/done/1/class/{C}/0/3").headers["cache-control"] == "no-store", (
        "another run may get the name"
    )
    told, i = answer.json(), 0
    for it, arrays in enumerate(batches(folder)):
        for pos in np.flatnonzero(arrays["labels"] == C):
            assert (told["it"][i], told["pos"][i], told["side"][i], told["pool"][i]) == (
                it,
                pos,
                28,
                arrays["entered"][pos],
            )
            assert told["p"][i] == pytest.approx(float(arrays["confidence"][pos]), abs=1e-4)
            for k, name in enumerate(PARTS):
                assert told[name][i] == pytest.approx(float(arrays["parts"][pos, k]), rel=1e-4)
            top = arrays["student_top"][pos].tolist()
            expected = float(arrays["student_top_p"][pos, top.index(C)]) if C in top else None
            assert told["s"][i] == (None if expected is None else pytest.approx(expected, abs=1e-4))
            assert (
                told["judge"][i] == pytest.approx(float(arrays["judge_confidence"][pos]), abs=1e-4)
                and told["rank"][i] == arrays["judge_rank"][pos] + 1
            )
            i += 1
    assert i == len(told["it"]) == 6 and told["lost"] == []


def test_the_contact_sheet_holds_these_images_in_this_order(client, folder):
    told = client.get(f"/kg/inspect/done/1/class/{C}/0/3{own_id(folder)}").json()
    answer = client.get(f"/kg/inspect/done/1/sheet/{C}/0/3{own_id(folder)}")
    assert (
        answer.headers["content-type"] == "image/png"
        and answer.headers["cache-control"] == FOR_EVER
    )
    sheet, files = png(answer.content), batches(folder)
    assert sheet.shape == (told["rows"] * told["cell"], told["columns"] * told["cell"])
    for k, (it, pos) in enumerate(zip(told["it"], told["pos"])):
        y, x = divmod(k, told["columns"])
        assert (
            sheet[28 * y : 28 * y + 28, 28 * x : 28 * x + 28] == files[it]["images"][pos, 0]
        ).all()


def test_the_mean_is_the_mean_for_each_resolution(client, folder):
    told = client.get(f"/kg/inspect/sizes/1/class/{C}/0/4{own_id(folder, 'sizes')}").json()
    assert [(m["side"], m["n"]) for m in told["means"]] == [
        (side, told["side"].count(side)) for side in (20, 28)
    ]
    for mean in told["means"]:
        images = [
            b["images"][i, 0]
            for b in batches(folder, "sizes")[:4]
            if b["images"].shape[-1] == mean["side"]
            for i in np.flatnonzero(b["labels"] == C)
        ]
        found = (
            np.frombuffer(base64.b64decode(mean["data"]), "<u2").reshape(mean["side"], mean["side"])
            / 256
        )
        assert np.abs(found - np.mean(images, 0)).max() < 0.01


def test_large_images_are_shrunk_in_sheets_and_whole_in_full(client, folder):
    id = own_id(folder, "photos")
    told = client.get(f"/kg/inspect/photos/1/class/{C}/0/1{id}").json()
    assert told["cell"] == 50 and told["means"][0]["small"] == 75
    image = batches(folder, "photos")[0]["images"][told["pos"][0]]
    small = image.reshape(3, 50, 3, 50, 3).mean((2, 4))
    sheet = png(client.get(f"/kg/inspect/photos/1/sheet/{C}/0/1{id}").content)
    assert np.abs(np.moveaxis(sheet[:50, :50], -1, 0) - small).max() <= 0.5
    assert (
        np.moveaxis(
            picture(
                client.get(f"/kg/inspect/photos/1/image/0/{told['pos'][0]}{id}").json()["image"]
            ),
            -1,
            0,
        )
        == image
    ).all()


def test_pieces_are_only_of_what_is_finished(client, folder):
    for address, words in {
        "class/3/0/4": "finished",
        "class/3/2/2": "finished",
        "class/10/0/1": "no such class",
        "class/x/0/1": "invalid number",
        "sheet/3/0/9999": "finished",
        "image/3/0": "not finished",
        "image/0/20": "has 20 images",
        "neighbors/0/0/4": "finished",
        "neighbors/0/99/3": "has 20 images",
        "tests/0/99": "newer test",
        "tests/0/0": "no such test",
        "tests/10/1": "no such class",
        "grid/3/9": "not that many iterations",
        "zip/99/1": "no such class",
        "tar/3/1": "no such download",
        "class/-1/0/1": "invalid number",
    }.items():
        answer = client.get(f"/kg/inspect/done/1/{address}")
        assert answer.status_code == 404 and words in answer.text, address
    refused(client.get("/kg/inspect/done/2/class/3/0/1"), 404, "other-attempt", "attempt 2")
    refused(client.get("/kg/inspect/done/1/class/3/0/1?id=other"), 404, "other-run")
    for name in ("..", "nothing", "%2e%2e", "done%2f..", "a" * 300):
        assert client.get(f"/kg/inspect/{name}/1/class/3/0/1").status_code == 404


# --- one image ------------------------------------------------------------------------------------


def test_an_image_among_its_batch(client, folder):
    told, arrays = (
        client.get(f"/kg/inspect/done/1/image/1/5{own_id(folder)}").json(),
        batches(folder)[1],
    )
    assert (
        (picture(told["image"]) == arrays["images"][5, 0]).all()
        and told["c"] == arrays["labels"][5]
        and told["n"] == 20
    )
    assert told["cam"] == pytest.approx(
        arrays["cam"][5].astype(float).ravel().tolist(), abs=1e-4
    ) and told["map"] == [7, 7]
    for k, name in enumerate(PARTS):
        assert told["parts"][name] == told["batch"][name][5] and told["batch"][
            name
        ] == pytest.approx(arrays["parts"][:, k].tolist(), rel=1e-4)
    assert [c for c, _ in told["teacher_top"]] == arrays["teacher_top"][5].tolist() and [
        c for c, _ in told["student_top"]
    ] == arrays["student_top"][5].tolist()
    assert [c for c, _ in told["judge_top"]] == arrays["judge_top"][5].tolist() and told[
        "rank"
    ] == arrays["judge_rank"][5] + 1
    assert told["before"] == [1, 4] and told["after"] == [1, 6]
    assert client.get("/kg/inspect/done/1/image/1/0").json()["before"] == [0, 19] and client.get(
        "/kg/inspect/done/1/image/0/19"
    ).json()["after"] == [1, 0]
    assert client.get("/kg/inspect/done/1/image/0/0").json()["before"] is None


def test_the_nearest_real_images_are_the_nearest(client, folder):
    told, arrays, real = (
        client.get("/kg/inspect/done/1/image/2/7").json()["nearest"],
        batches(folder)[2],
        open_run(folder / "done").reference(),
    )
    distance = np.linalg.norm(
        real["embedding"].astype(np.float32) - arrays["embedding"][7].astype(np.float32), axis=1
    )
    order = np.argsort(distance)[:7]
    assert (
        told["of"] == 40 and [near["c"] for near in told["found"]] == real["labels"][order].tolist()
    )
    assert [near["d"] for near in told["found"]] == pytest.approx(
        distance[order].tolist(), abs=1e-3
    )
    assert all(
        (picture(near["image"]) == real["images"][i, 0]).all()
        for near, i in zip(told["found"], order)
    )


def test_the_nearest_of_other_classes_over_the_whole_run(client, folder):
    answer = client.get(f"/kg/inspect/done/1/neighbors/2/7/3{own_id(folder)}")
    told, files = answer.json(), batches(folder)
    own, c = files[2]["embedding"][7].astype(np.float32), files[2]["labels"][7]
    everyone = sorted(
        (float(np.linalg.norm(b["embedding"][i].astype(np.float32) - own)), it, i)
        for it, b in enumerate(files)
        for i in range(20)
        if b["labels"][i] != c
    )
    assert answer.headers["cache-control"] == FOR_EVER and (
        told["compared"],
        told["looked"],
        told["of"],
    ) == (54, 3, 3)
    assert [(f["it"], f["pos"]) for f in told["found"]] == [(it, i) for _, it, i in everyone[:7]]
    assert all(
        (picture(f["image"]) == files[f["it"]]["images"][f["pos"], 0]).all()
        and f["c"] == files[f["it"]]["labels"][f["pos"]] != c
        for f in told["found"]
    )


def test_a_long_run_is_sampled_and_says_so(client, folder, monkeypatch):
    monkeypatch.setattr(image_detail, "MAX_FILES", 2)
    told = client.get("/kg/inspect/sizes/1/neighbors/1/0/4").json()
    assert told["looked"] == 3 and told["of"] == 4, "first, last, and its own"


def test_a_term_of_the_whole_batch_is_reported_with_other_iterations(client, folder, tmp_path):
    files = batches(folder, "sizes")
    for it, arrays in enumerate(files):
        arrays["parts"][:, PARTS.index("bn")] = it + 0.5
        arrays["parts"][:, PARTS.index("kr")] = 0
    shutil.copytree(folder / "sizes", folder / "batchwise")
    for it, arrays in enumerate(files):
        rewrite(folder / "batchwise", it, arrays)
    assert client.get("/kg/inspect/batchwise/1/image/1/0").json()["shared"] == ["bn"], (
        "a hinge that is zero for every image is not shared"
    )
    assert client.get("/kg/inspect/batchwise/1/neighbors/1/0/6").json()["shared"] == {
        "bn": [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    }


def test_the_making_ends_with_what_was_kept(client, folder):
    arrays = standin.batch(0, frames=6)
    arrays |= {
        "preview_steps": np.array([0, 1, 2, 4, 8, 14], np.int32),
        "kept_step": np.array([4], np.int32),
    }
    shutil.copytree(folder / "done", folder / "made")
    pos = int(arrays["preview_positions"][2])
    rewrite(folder / "made", 0, arrays)
    told = client.get(f"/kg/inspect/made/1/image/0/{pos}").json()
    assert told["kept_step"] == 4 and [f["step"] for f in told["frames"]] == [0, 1, 2]
    assert [f["p"] for f in told["frames"]] == pytest.approx(
        arrays["preview_confidence"][:3, 2].astype(float).tolist(), abs=1e-4
    )
    assert all(
        (picture(f["image"]) == arrays["previews"][i, 2, 0]).all()
        for i, f in enumerate(told["frames"])
    )
    # a run from an earlier version reports neither: the frame that equals the image shows which
    # step was kept
    for name in ("kept_step", "preview_confidence"):
        del arrays[name]
    arrays["previews"][5, 2] = arrays["images"][pos]
    rewrite(folder / "made", 1, arrays)
    told = client.get(f"/kg/inspect/made/1/image/1/{pos}").json()
    assert (
        told["kept_step"] == 14
        and [f["step"] for f in told["frames"]] == [0, 1, 2, 4, 8]
        and {f["p"] for f in told["frames"]} == {None}
    )


def test_runs_of_earlier_versions_lack_things(client, folder):
    kept = ("images", "labels", "parts")
    shutil.copytree(folder / "done", folder / "old")
    for it, arrays in enumerate(batches(folder)):
        rewrite(
            folder / "old",
            it,
            {k: v if k != "parts" else v[:, :5] for k, v in arrays.items() if k in kept},
        )
    (folder / "old" / "reference.safetensors").unlink()
    told = client.get("/kg/inspect/old/1/image/0/3").json()
    assert (
        told["judge_top"]
        is told["rank"]
        is told["p"]
        is told["s"]
        is told["teacher_top"]
        is told["student_top"]
        is told["nearest"]
        is told["kept_step"]
        is None
    )
    assert (
        told["frames"] == []
        and told["frames_kept"] is False
        and told["map"] == [0, 0]
        and set(told["parts"]) == set(PARTS[:5])
    )
    column = client.get(f"/kg/inspect/old/1/class/{C}/0/3").json()
    assert (
        "tv" not in column
        and "judge" not in column
        and "rank" not in column
        and column["p"] == [None] * 6
        and column["pool"] == [0] * 6
    )
    refused(client.get("/kg/inspect/old/1/neighbors/0/3/3"), 404, "no-embedding")


# --- tests of the student -------------------------------------------------------------------------


def test_a_class_in_the_tests(client, folder):
    path = shutil.copytree(folder / "done", folder / "tested")
    lines = []
    for line in (path / "events.jsonl").read_text().splitlines():
        said = json.loads(line)
        if said["kind"] == "evaluated":
            said["student"]["per_class"] = [0.5 + len(lines) / 1000] * 10
            said["student"]["confusion"] = [[C, 6, 40], [1, C, 30], [C, 0, 20]]
            said["teacher"]["per_class"] = [0.9] * 9 + [None]
        lines.append(json.dumps(said))
    (path / "events.jsonl").write_text("\n".join(lines) + "\n")
    n = client.get("/kg/inspect/tested").json()["tests"]
    answer = client.get(f"/kg/inspect/tested/1/tests/{C}/{n}{own_id(folder, 'tested')}")
    told = answer.json()
    assert (
        answer.headers["cache-control"] == FOR_EVER
        and len(told["rows"]) == n
        and told["real"]
        and told["n"] == 10_000
    )
    assert (
        told["student"] == [[6, 40], [0, 20]]
        and told["rows"][-1][2] == 0.9
        and told["rows"][0][1] < told["rows"][-1][1] < 1
    )
    assert client.get(f"/kg/inspect/tested/1/tests/9/{n}").json()["rows"][-1][2] is None
    # a test without results per class
    assert client.get(
        f"/kg/inspect/done/1/tests/0/{client.get('/kg/inspect/done').json()['tests']}"
    ).json()["rows"][0][1:] == [None, None]


# --- downloads ------------------------------------------------------------------------------------


def expected(folder: Path, keep, key, down: bool = False) -> list[tuple[int, int]]:
    """By a slow loop."""
    found = [
        (it, pos)
        for it, b in enumerate(batches(folder))
        for pos in range(20)
        if b["labels"][pos] == C and keep(b, pos)
    ]
    return sorted(found, key=lambda at: (-1 if down else 1) * key(batches(folder)[at[0]], at[1]))


def test_the_zip_holds_what_was_chosen_with_its_losses(client, folder):
    kr = PARTS.index("kr")
    answer = client.get(f"/kg/inspect/done/1/zip/{C}/3?sort=-kr&where=ce:-1:1,pool:1:1")
    assert (
        answer.headers["content-disposition"] == 'attachment; filename="done-dress.zip"'
        and answer.headers["cache-control"] == "no-store"
    )
    chosen = expected(
        folder,
        lambda b, i: -1 <= b["parts"][i, 0] <= 1 and b["entered"][i],
        lambda b, i: b["parts"][i, kr],
        down=True,
    )
    assert 0 < len(chosen) < 6, "the conditions leave some out"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        table = list(csv.DictReader(io.StringIO(archive.read("losses.csv").decode())))
        assert [(int(r["iteration"]) - 1, int(r["position"]) - 1) for r in table] == chosen and {
            r["class"] for r in table
        } == {"Dress"}
        assert sorted(archive.namelist()) == sorted(["losses.csv", *(r["file"] for r in table)])
        for row, (it, pos) in zip(table, chosen):
            assert row["file"] == f"{it + 1:06d}-{pos + 1:04d}-dress.png" and float(
                row["kr"]
            ) == pytest.approx(batches(folder)[it]["parts"][pos, kr], rel=1e-4)
            assert float(row["judge_rank"]) == batches(folder)[it]["judge_rank"][pos] + 1 and float(
                row["judge_confidence"]
            ) == pytest.approx(float(batches(folder)[it]["judge_confidence"][pos]), abs=1e-4)
            assert (png(archive.read(row["file"])) == batches(folder)[it]["images"][pos, 0]).all()


def test_the_second_opinion_sorts_and_filters(client, folder):
    """By the rank of the intended class; a filter on it leaves the others out."""
    found = batches(folder)
    chosen = expected(
        folder, lambda b, i: b["judge_rank"][i] < 6, lambda b, i: b["judge_rank"][i] * 1000 + 0
    )
    everything = expected(folder, lambda b, i: True, lambda b, i: 0)
    assert 0 < len(chosen) < len(everything)
    with zipfile.ZipFile(
        io.BytesIO(client.get(f"/kg/inspect/done/1/zip/{C}/3?sort=rank&where=rank::6").content)
    ) as archive:
        table = list(csv.DictReader(io.StringIO(archive.read("losses.csv").decode())))
    assert [(int(r["iteration"]) - 1, int(r["position"]) - 1) for r in table] == chosen
    assert [found[it]["judge_rank"][pos] for it, pos in chosen] == sorted(
        found[it]["judge_rank"][pos] for it, pos in chosen
    )


def test_the_grid_holds_what_was_chosen_row_by_row(client, folder):
    answer = client.get(f"/kg/inspect/done/1/grid/{C}/3?sort=-p")
    chosen = expected(folder, lambda b, i: True, lambda b, i: float(b["confidence"][i]), down=True)
    sheet, files = png(answer.content), batches(folder)
    columns = sheet.shape[1] // 28
    assert columns * (sheet.shape[0] // 28) >= 6
    for k, (it, pos) in enumerate(chosen):
        y, x = divmod(k, columns)
        assert (
            sheet[28 * y : 28 * y + 28, 28 * x : 28 * x + 28] == files[it]["images"][pos, 0]
        ).all()


@pytest.mark.parametrize(
    "query",
    [
        "sort=nothing",
        "sort=--kr",
        "where=kr",
        "where=kr:1",
        "where=kr:a:b",
        "where=kr:1:2:3",
        "where=__class__::",
        "where=kr:..:",
        "where=" + ",".join(["p::1"] * 13),
        "where=kr::%00",
        "where=" + "9" * 5000,
    ],
)
def test_an_invalid_order_or_condition_is_refused(client, query):
    answer = client.get(f"/kg/inspect/done/1/zip/{C}/3?{query}")
    assert answer.status_code == 404 and re.fullmatch(r".{10,120}\.", answer.text)


def test_nothing_chosen_is_said(client):
    refused(client.get(f"/kg/inspect/done/1/grid/{C}/3?where=p:2:"), 404, "no-images")


def test_what_is_unknown_fits_no_condition_and_comes_last(folder):
    index = samples.ColumnCache()
    album = samples.RunBatches(folder / "done", "done", index, np.arange(10))
    where, (name, down) = samples.parse_filters(""), samples.parse_sort("-s")
    found, n = samples.select_images(album, C, 3, where, (name, down), 100)
    values = [album.columns(it).s[pos] for it, pos in found]
    known = [v for v in values if v == v]
    assert n == 6 and values[: len(known)] == sorted(known, reverse=True) and 0 < len(known) < 6
    assert samples.select_images(album, C, 3, samples.parse_filters("s::1"), (name, down), 100)[
        1
    ] == len(known)


def test_a_class_name_is_neither_a_formula_nor_a_path():
    from app.archive.downloads import slug, spreadsheet_safe

    assert spreadsheet_safe("=1+1") == "'=1+1" and spreadsheet_safe("Dress") == "Dress"
    assert (
        slug("../../etc/passwd") == "etc-passwd"
        and slug("…") == "class"
        and len(slug("a" * 500)) == 40
    )


# --- bounds and hostile input ---------------------------------------------------------------------


def odd_files() -> dict[str, dict[str, np.ndarray]]:
    good = standin.batch(0)
    f16, u8 = np.float16, np.uint8
    return {
        "no images": {k: v for k, v in good.items() if k != "images"},
        "no labels": {k: v for k, v in good.items() if k != "labels"},
        "labels of floats": good | {"labels": np.ones(20, np.float32)},
        "too few labels": good | {"labels": np.zeros(3, np.int64)},
        "flat images": good | {"images": np.zeros((20, 784), u8)},
        "no image": (
            good | {"images": np.zeros((0, 1, 28, 28), u8), "labels": np.zeros(0, np.int64)}
        ),
        "images of floats": good | {"images": np.zeros((20, 1, 28, 28), np.float32)},
        "oblong": good | {"images": np.zeros((20, 1, 28, 14), u8)},
        "many channels": good | {"images": np.zeros((20, 64, 8, 8), u8)},
        "many images": (
            good | {"images": np.zeros((5000, 1, 4, 4), u8), "labels": np.zeros(5000, np.int64)}
        ),
        "huge side": (
            good | {"images": np.zeros((1, 1, 2000, 2000), u8), "labels": np.zeros(1, np.int64)}
        ),
        "parts in a row": good | {"parts": np.zeros(20, np.float32)},
        "answers of two shapes": (
            good
            | {
                "student_top": np.zeros((20, 3), np.int32),
                "teacher_top": np.zeros((20, 1), np.int32),
            }
        ),
        "previews of others": good | {"previews": np.zeros((2, 3, 1, 5, 5), u8)},
        "many frames": (
            good
            | {
                "previews": np.zeros((100, 20, 1, 28, 28), u8),
                "preview_steps": np.arange(100, dtype=np.int32),
                "preview_positions": np.arange(20, dtype=np.int32),
            }
        ),
        "positions of others": good | {"preview_positions": np.full(20, 7, np.int32)},
        "another width": good | {"embedding": np.zeros((20, 3), f16)},
        "no numbers": (
            good
            | {
                "parts": np.full((20, 7), np.nan, np.float32),
                "cam": np.full((20, 7, 7), np.inf, f16),
                "confidence": np.full(20, np.nan, f16),
                "embedding": np.full((20, 6), np.nan, f16),
            }
        ),
        "labels far away": good | {"labels": np.full(20, 2**40, np.int64)},
        "labels below zero": good | {"labels": np.full(20, -3, np.int64)},
        "a wide map": good | {"cam": np.zeros((20, 50, 50), f16)},
        "empty rows": (
            good
            | {
                "cam": np.zeros((20, 0, 0), f16),
                "teacher_top": np.zeros((20, 0), np.int32),
                "teacher_top_p": np.zeros((20, 0), f16),
            }
        ),
    }


@pytest.mark.parametrize("what", list(odd_files()))
def test_a_file_from_elsewhere_is_shown_or_refused_in_words(client, folder, what):
    path = folder / re.sub(r"\W", "-", what)
    shutil.copytree(folder / "done", path)
    rewrite(path, 0, odd_files()[what])
    for address in (
        f"class/{C}/0/3",
        f"sheet/{C}/0/3",
        "class/0/0/1",
        "image/0/0",
        "image/0/19",
        "image/1/0",
        "neighbors/0/0/3",
        "neighbors/1/3/3",
        f"grid/{C}/3",
        f"zip/{C}/3",
        "grid/0/1",
    ):
        answer = client.get(f"/kg/inspect/{path.name}/1/{address}")
        assert answer.status_code in (200, 404), (what, address)
        if answer.status_code == 404:
            assert (
                re.fullmatch(r"[^\n]{5,200}\.", answer.text) and str(folder) not in answer.text
            ), (what, address, answer.text)
    whole = client.get(f"/kg/inspect/{path.name}/1/class/{C}/1/3")
    assert whole.status_code == 200 and len(whole.json()["it"]) == 4, (
        "the other iterations are shown"
    )


def test_a_damaged_file_costs_its_images_only(client, folder):
    path = shutil.copytree(folder / "done", folder / "damaged")
    (path / "batches" / "000001.safetensors").write_bytes(b"nonsense")
    (path / "batches" / "000002.safetensors").unlink()
    told = client.get(f"/kg/inspect/damaged/1/class/{C}/0/3").json()
    assert set(told["it"]) == {0} and told["lost"] == [1, 2]
    assert png(client.get(f"/kg/inspect/damaged/1/sheet/{C}/0/3").content).shape[0] >= 28
    assert client.get("/kg/inspect/damaged/1/neighbors/0/0/3").json()["compared"] == 18
    answer = client.get("/kg/inspect/damaged/1/image/1/0")
    assert answer.status_code == 404 and "damaged" in answer.text and str(folder) not in answer.text
    with zipfile.ZipFile(
        io.BytesIO(client.get(f"/kg/inspect/damaged/1/zip/{C}/3").content)
    ) as archive:
        assert len(archive.namelist()) == 3


def test_a_piece_holds_so_many_images_and_no_more(folder, monkeypatch):
    monkeypatch.setattr(samples, "MAX_IMAGES", 3)
    album = samples.RunBatches(folder / "done", "bounded", samples.ColumnCache(), np.arange(10))
    assert len(samples.class_samples(album, C, 0, 3)["it"]) == 3
    assert (
        samples.chunk_iterations(4096, 1) == 1
        and samples.chunk_iterations(2, 1000) == samples.MAX_ITERATIONS
        and samples.chunk_iterations(100, 10) == 25
    )


def test_columns_are_forgotten_when_they_are_too_many(folder, monkeypatch):
    index = samples.ColumnCache()
    album = samples.RunBatches(folder / "done", "kept", index, np.arange(10))
    sizes = [album.columns(it).nbytes for it in range(3)]
    assert index._size == sum(sizes) and index.get("kept", 0) is not None
    monkeypatch.setattr(samples, "MAX_CACHE_BYTES", sizes[0] * 2)
    assert album.columns(0) is index.get("kept", 0)
    samples.RunBatches(folder / "done", "other", index, np.arange(10)).columns(0)
    assert (
        index._size <= sizes[0] * 2
        and index.get("kept", 1) is None
        and index.get("other", 0) is not None
    )


def test_a_file_is_read_once_for_its_columns(folder, monkeypatch):
    opened = []
    whole = batchfile.BatchFile.columns
    monkeypatch.setattr(
        batchfile.BatchFile,
        "columns",
        lambda self, *a: opened.append(self.iteration) or whole(self, *a),
    )
    album = samples.RunBatches(folder / "done", "once", samples.ColumnCache(), np.arange(10))
    for c in range(10):
        samples.class_samples(album, c, 0, 3)
        samples.select_images(album, c, 3, [], ("it", False), 10)
    assert opened == [0, 1, 2]


def test_an_event_of_a_far_iteration_makes_nobody_count(client, folder):
    path = shutil.copytree(folder / "done", folder / "far")
    with (path / "events.jsonl").open("a") as file:
        file.write(
            events.BatchSynthesized(
                iteration=10**9,
                file="batches/x",
                entered=1,
                pool_images=1,
                pool_pixels=1,
                budget_used=0.1,
            ).to_json()
            + "\n"
        )
    assert client.get("/kg/inspect/far").json()["done"] == 3
