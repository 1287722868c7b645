"""The exported folder as its recipient uses it: loaded by its own code, ONNX against torch, and all
of it or nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from kgen import __main__ as main
from kgen.data import data
from kgen.journal.export import ExportError, export
from kgen.journal.reading import JournalError, open_run
from kgen.journal.runner import Runner
from kgen.recipes import recipes
from kgen.system.paths import ROOT
from kgen.zoo import zoo
from tests.support.errors import raises
from tests.support.small import few_images, mini

STUDENTS = ("small-cnn-20k", "small-vit-20k")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run for each kind of student."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "test_set", few_images)
        for name in STUDENTS:
            Runner.new(mini(student=name), folder / name).run()
    return folder


@pytest.fixture(scope="module", params=STUDENTS)
def exported(runs, request):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    return export(runs / request.param, onnx=True)


@pytest.mark.slow
def test_the_onnx_file_answers_as_torch_does_whatever_the_batch(exported, rng):
    import onnxruntime

    folder, card = exported
    session = onnxruntime.InferenceSession(
        folder / "student.onnx", providers=["CPUExecutionProvider"]
    )
    network, spec = (
        zoo.load_student(folder / "student.safetensors"),
        zoo.read_spec(folder / "student.safetensors", "mean"),
    )
    mean, std = (torch.tensor(spec[k]).view(1, -1, 1, 1) for k in ("mean", "std"))
    for n in (1, 2, 7, 33):
        images = torch.rand(n, 1, 28, 28, generator=rng)
        with torch.no_grad():
            wanted = network((images - mean) / std)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert 0 <= card["onnx"]["largest_difference"] < 1e-5


def test_the_onnx_file_says_what_it_wants_and_not_where_it_was_made(exported):
    import onnx

    folder, card = exported
    model = onnx.load(folder / "student.onnx")
    facts = {p.key: p.value for p in model.metadata_props}
    onnx.checker.check_model(model, full_check=True)
    assert "pixels in [0,1]" in facts["input"] and json.loads(facts["kgen"]) == card | {
        "onnx": None
    }
    whole = (folder / "student.onnx").read_bytes()
    # a short path such as "/w" occurs in the weights by chance
    assert str(ROOT / "kgen").encode() not in whole and b'File "' not in whole


def test_the_card_tells_the_run(exported, runs):
    folder, card = exported
    student = card["student"]["name"]
    told = {e.kind: e for e in open_run(runs / student).events()}
    started, score = told["run_started"], told["evaluated"]
    assert json.loads((folder / "card.json").read_bytes()) == card
    assert (card["accuracy"], card["n"], card["teacher"]["accuracy"]) == (
        score.student.accuracy,
        100,
        score.teacher.accuracy,
    )
    assert card["student"] == {
        "name": student,
        "parameters": started.student_parameters,
        "macs": started.student_macs,
        "bytes": started.student_bytes,
    }
    assert (
        card["teacher"]["macs"] == started.teacher_macs == 22_664_832
        and card["recipe"] == started.recipe
    )
    assert (folder / "student.safetensors").read_bytes() == (
        runs / student / "student.safetensors"
    ).read_bytes()
    assert (folder / "classes.txt").read_text("utf-8").split("\n") == list(
        zoo.classes("fashion-cnn")
    )


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_its_own_code_runs_and_is_what_the_readme_shows(exported, monkeypatch, capsys):
    """torch's here, with kgen available; onnxruntime's in a process with none of our code."""
    folder, card = exported
    code = {file: (folder / file).read_text("utf-8") for file in ("load_torch.py", "load_onnx.py")}
    assert all(
        len(c.splitlines()) == 5
        and f"```python\n{c}```" in (folder / "README.md").read_text("utf-8")
        for c in code.values()
    )
    monkeypatch.chdir(folder)
    exec(code["load_torch.py"], {})
    assert capsys.readouterr().out.strip() in card["classes"]
    done = subprocess.run(
        [sys.executable, "load_onnx.py"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout.strip() in card["classes"], done.stderr


# --- all or nothing -------------------------------------------------------------------------------


def test_a_file_that_answers_otherwise_is_not_kept(exported, runs, tmp_path, monkeypatch):
    """A weight changed, bytes lost, another shape: refused, and no folder is left behind."""
    import onnx

    from kgen.journal import onnx_model

    folder, card = exported
    whole = (folder / "student.onnx").read_bytes()
    model = onnx.load_from_string(whole)
    weights = next(t for t in model.graph.initializer if len(t.dims) > 1)
    values = onnx.numpy_helper.to_array(weights).copy()
    values.flat[0] += 1
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    for damaged, code in (
        (model.SerializeToString(), "other-logits"),
        (whole[: len(whole) // 2], "onnx-failed"),
    ):
        monkeypatch.setattr(onnx_model, "convert", lambda *_, damaged=damaged: damaged)
        with raises(ExportError, code, "student.onnx"):
            export(runs / card["student"]["name"], tmp_path / "out", onnx=True)
        assert not list(tmp_path.iterdir())


def test_without_the_packages_onnx_is_refused_and_the_rest_is_there(
    runs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    run = str(runs / STUDENTS[0])
    monkeypatch.setattr(
        sys, "argv", ["kgen", "export", run, "--out", str(tmp_path / "out"), "--onnx"]
    )
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.err.count("\n") == 1 and not list(tmp_path.iterdir())
    assert (
        "student.onnx needs " in said.err
        and "onnxruntime" in said.err
        and "pip install onnx onnxruntime onnxscript" in said.err
    )
    monkeypatch.setattr(sys, "argv", sys.argv[:-1])
    with pytest.raises(SystemExit) as ended:
        main.main()
    told = capsys.readouterr().out
    assert (
        not ended.value.code
        and "multiply-accumulates per image" in told
        and "README.md, card.json, classes.txt, load_torch.py, student.safetensors" in told
    )
    assert "pip install onnx onnxruntime onnxscript" in (tmp_path / "out" / "README.md").read_text(
        "utf-8"
    )


def test_a_folder_that_is_not_empty_stays_as_it_is(runs, tmp_path):
    (tmp_path / "out").mkdir()
    assert export(runs / STUDENTS[0], tmp_path / "out")[0].is_dir()  # an empty one is accepted
    before = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    with raises(ExportError, "exists", tmp_path / "out", "--out"):
        export(runs / STUDENTS[1], tmp_path / "out")
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()} == before


def test_a_place_that_cannot_be_written_is_a_sentence(runs, tmp_path):
    (tmp_path / "file").write_text("mine")
    with raises(ExportError, "unwritable", file=str(tmp_path / "file" / "out")):
        export(runs / STUDENTS[0], tmp_path / "file" / "out")


def test_a_run_without_student(quick, tmp_path):
    Runner.new(quick.replace(classes=(3,)), tmp_path / "one").run()
    with raises(JournalError, "no-student", tmp_path / "one"):
        export(tmp_path / "one", tmp_path / "out")
    (tmp_path / "one" / "events.jsonl").write_bytes(b"")
    with raises(JournalError, "unfinished", f"kgen resume {tmp_path / 'one'}"):
        export(tmp_path / "one", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_old_journal_exports_too(runs, tmp_path):
    """From before MACs were reported."""
    import shutil

    shutil.copytree(runs / STUDENTS[0], tmp_path / "old")
    file = tmp_path / "old" / "events.jsonl"
    first, *rest = file.read_bytes().splitlines(True)
    kept = {
        k: v
        for k, v in json.loads(first).items()
        if k not in ("student_macs", "teacher_macs", "student_bytes", "teacher_bytes")
    }
    file.write_bytes(json.dumps(kept).encode() + b"\n" + b"".join(rest))
    folder, card = export(tmp_path / "old")
    assert (
        folder == tmp_path / "old-student"
        and card["teacher"]["macs"] is None
        and card["student"]["macs"] > 0
    )


@pytest.mark.slow
def test_an_export_without_real_images_speaks_of_agreement(tmp_path):
    Runner.new(
        recipes.get("tiny").replace(evaluate_on="none", device="cpu"), tmp_path / "run"
    ).run()
    folder, about = export(tmp_path / "run", tmp_path / "out")
    assert (
        about["accuracy"] is None
        and 0 <= about["agreement"] <= 1
        and about["teacher"]["accuracy"] is None
    )
    assert "agrees with its\nteacher" in (folder / "README.md").read_text()
