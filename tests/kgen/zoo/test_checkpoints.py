"""Reading untrusted weights: what torch wrote comes back; everything else gives one sentence, in
time and without running code.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import io
import itertools
import pathlib
import random
import signal
import subprocess
import sys
import tarfile
import time
import types
import warnings
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kgen.zoo import checkpoints
from kgen.zoo.checkpoints import CheckpointError, open_checkpoint, read
from tests.support import hostile
from tests.support.errors import raises

STATE = {
    "conv.weight": torch.randn(3, 2),
    "bn.num_batches_tracked": torch.tensor(7),
    "fc.bias": torch.randn(5).half(),
}


def same(found, wanted=STATE):
    assert list(found) == list(wanted)
    assert all(
        found[k].dtype == wanted[k].dtype and torch.equal(found[k], wanted[k]) for k in wanted
    )


def unread(path, code: str | None = None, *facts: str) -> None:
    """Refused in time, with one sentence, and with this code if given."""
    start = time.monotonic()
    with raises(CheckpointError, code, path, *facts) as caught:
        read(path)
    assert time.monotonic() - start < 10
    text = str(caught.value)
    assert text.endswith(".") and text.isprintable() and len(text) < 500


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_what_torch_wrote_comes_back(tmp_path, suffix, old):
    torch.save(STATE, tmp_path / f"w{suffix}", _use_new_zipfile_serialization=not old)
    found = open_checkpoint(tmp_path / f"w{suffix}")
    same(found.tensors)
    assert len(found.sets) == 1 and ("before" in found.kind) == old


def test_safetensors_come_back_with_their_metadata(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors", {"kgen": "{}"})
    found = open_checkpoint(tmp_path / "w.safetensors")
    same(dict(sorted(found.tensors.items())), dict(sorted(STATE.items())))
    assert found.metadata == {"kgen": "{}"}


@pytest.mark.parametrize(
    "keys",
    [
        "state_dict",
        "model",
        "net",
        "model_state_dict",
        "ema",
        "state_dict_ema",
        "model_ema",
        "model.state_dict",
        "Anything.Else",
    ],
)
def test_weights_are_found_where_training_scripts_put_them(tmp_path, keys):
    weights = STATE
    for key in reversed(keys.split(".")):
        weights = {"epoch": 3, "best": torch.tensor(0.9), key: weights}
    state = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    torch.save(
        {**weights, "optimizer": state, "scheduler": {"x": torch.ones(2)}}, tmp_path / "w.pt"
    )
    found, *others = open_checkpoint(tmp_path / "w.pt").sets
    assert found.name == keys and [s.name for s in others] == ["scheduler"]
    same(found.tensors)


@pytest.mark.parametrize(
    "key",
    [
        "optimized_model",
        "semantic_model",
        "random_init",
        "schedule_free",
        "precisionEMA",
        "optimizer",
    ],
)
def test_weights_are_found_whatever_their_name_contains(tmp_path, key):
    torch.save({"epoch": 3, key: STATE}, tmp_path / "w.pt")
    (found,) = open_checkpoint(tmp_path / "w.pt").sets
    assert found.name == key
    same(found.tensors)


def test_names_are_ranked_by_whole_words(tmp_path):
    own = {"semantic_model": STATE, "retargeted": STATE}
    others = {"optimizerG": STATE, "lr_scheduler": STATE, "netEMA": STATE, "swa2": STATE}
    torch.save(others | own, tmp_path / "w.pt")
    names = [s.name for s in open_checkpoint(tmp_path / "w.pt").sets]
    assert names == ["semantic_model", "retargeted", "netEMA", "swa2", "optimizerG", "lr_scheduler"]


def test_a_networks_own_weights_come_before_their_average(tmp_path):
    content = {"model_ema": STATE, "swa": STATE, "extra": STATE, "model": STATE}
    torch.save(content, tmp_path / "w.pt")
    names = [s.name for s in open_checkpoint(tmp_path / "w.pt").sets]
    assert names[:2] == ["model", "extra"] and set(names[2:]) == {"model_ema", "swa"}


def test_weights_that_torch_would_not_load_do_not_spoil_the_others(tmp_path):
    torch.save({"model": STATE, "queue": {"x": torch.ones(3).to_sparse()}}, tmp_path / "w.pt")
    assert [s.name for s in open_checkpoint(tmp_path / "w.pt").sets] == ["model"]


def test_parameters_transposed_and_shared_tensors_are_fine(tmp_path):
    weight = torch.randn(3, 4)
    torch.save({"a": torch.nn.Parameter(weight), "b": weight.T, "c": weight}, tmp_path / "w.pt")
    found = read(tmp_path / "w.pt")
    assert torch.equal(found["b"].T, found["a"]) and not found["a"].requires_grad


@pytest.mark.parametrize("make", hostile.TORCH, ids=lambda make: make.__name__)
def test_an_invalid_torch_file_gives_one_sentence(make, tmp_path):
    path = make(tmp_path / "good.pt")
    unread(path)
    assert not path.with_suffix(".mark").exists() and [f.name for f in tmp_path.iterdir()] == [
        "good.pt"
    ]


@pytest.mark.parametrize("make", hostile.SAFETENSORS.values(), ids=hostile.SAFETENSORS)
def test_an_invalid_safetensors_file_gives_one_sentence(make, tmp_path):
    path = make(tmp_path / "w.safetensors")
    unread(path)
    assert not path.with_suffix(".mark").exists()


@pytest.mark.parametrize(
    ("make", "code", "facts"),
    [
        (hostile.system, "executable", ["system'", "torch.save(model.state_dict()"]),
        (hostile.old_code, "executable", ["system'"]),
        (hostile.module, "executable", ["'torch.nn.modules.linear.Linear'"]),
        (hostile.packed, "invalid-compression", []),
        (hostile.laid_over, "overlapping", []),
        (hostile.traversal, "invalid-name", ["etc/x"]),
        (hostile.program, "executable", ["TorchScript"]),
        (hostile.keys, "too-many", ["20,001"]),
        (hostile.repeated, "unsupported-layout", ["'a'", "8,589,934,592"]),
        (hostile.not_a_number, "not-finite", ["'weight'"]),
        (hostile.training_state, "no-tensors", ["'epoch'", "int"]),
        (hostile.other_zip, "not-a-checkpoint", ["data.pkl"]),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_the_reason_is_reported(make, code, facts, tmp_path):
    unread(make(tmp_path / "good.pt"), code, *facts)


def test_objects_instead_of_weights_are_named(tmp_path):
    torch.save({"args": argparse.Namespace(lr=0.1), "path": pathlib.Path("x")}, tmp_path / "run.pt")
    unread(tmp_path / "run.pt", "no-tensors", "'args' (a Python object), 'path' (a Python object)")


def test_names_of_files(tmp_path):
    unread(tmp_path / "none.pt", "no-file")
    for name in ("w.ckpt", "pytorch_model.bin", "best.pth.tar", "w.th", "weights", "w.safetensors"):
        torch.save(STATE, tmp_path / name)
        same(read(tmp_path / name))
    save_file(STATE, tmp_path / "w.pt")
    assert open_checkpoint(tmp_path / "w.pt").kind == "safetensors"
    (tmp_path / "folder.pt").mkdir()
    unread(tmp_path / "folder.pt", "no-file", "folder;")


def onnx(path):
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [x])
    path.write_bytes(helper.make_model(graph, producer_name="pytorch").SerializeToString())


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(path):
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("weights.pt"))


LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 46807446\n"
OTHERS = {
    "git-lfs-pointer": (lambda path: path.write_text(LFS), "git lfs pull"),
    "web-page": (
        lambda path: path.write_text("\ufeff\n<!DOCTYPE html><title>Virus scan</title>"),
        "open the link",
    ),
    "onnx": (onnx, "torch.save(model.state_dict()"),
    "json": (lambda path: path.write_text('{\n  "metadata": {"total_size": 1}\n}'), "one file"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"weights")), "unpack"),
    "tar": (archive, "unpack"),
    "numpy": (lambda path: path.write_bytes(npy(np.ones(3))), "from_numpy"),
    "unknown": (lambda path: path.write_bytes(bytes(range(1, 200))), "torch.save"),
}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_of_another_kind_is_called_by_its_name(tmp_path, kind, name):
    make, remedy = OTHERS[kind]
    make(tmp_path / name)
    if (kind, name) == ("unknown", "w.safetensors"):
        return unread(tmp_path / name, "damaged")
    with raises(CheckpointError, "not-a-checkpoint", remedy, found=kind):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "company",
    [
        argparse.Namespace(lr=0.1, out=pathlib.Path("runs/1"), nested=argparse.Namespace(a=1)),
        np.float64(71.5),
        np.arange(6, dtype="int16").reshape(2, 3),
        np.array(["a", None], dtype=object),
        {pathlib.PurePosixPath("/x"): pathlib.PureWindowsPath("c:/x")},
        OrderedDict(a=1, b=(torch.Size([2]), torch.device("cpu"), torch.float32)),
        defaultdict(list, loss=[1.0, np.float32(2)]),
        torch.torch_version.TorchVersion("2.11.0"),
        Counter([30, 60]),
    ],
    ids=lambda content: type(content).__name__,
)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_harmless_company_is_let_through(tmp_path, company, old):
    torch.save(
        {"other": company, "state_dict": STATE},
        tmp_path / "w.pt",
        _use_new_zipfile_serialization=not old,
    )
    same(read(tmp_path / "w.pt"))


def test_lightnings_hyperparameters_need_no_lightning(tmp_path, monkeypatch):
    """Its dictionary and its callbacks, under the names that they have in its checkpoints."""
    names = {
        "lightning.fabric.utilities.data": "AttributeDict",
        "pytorch_lightning.callbacks.model_checkpoint": "ModelCheckpoint",
    }
    for module, name in names.items():
        there = types.ModuleType(module)
        kind = type(name, (dict,), {"__module__": module})
        setattr(there, name, kind)
        for part in itertools.accumulate(module.split("."), "{}.{}".format):
            monkeypatch.setitem(
                sys.modules, part, there if part == module else types.ModuleType(part)
            )
    hyper = sys.modules["lightning.fabric.utilities.data"].AttributeDict(lr=0.1)
    callback = sys.modules["pytorch_lightning.callbacks.model_checkpoint"].ModelCheckpoint
    torch.save(
        {"hyper_parameters": hyper, "callbacks": {callback: {"best": 1}}, "state_dict": STATE},
        tmp_path / "w.ckpt",
    )
    for module in names:
        monkeypatch.delitem(sys.modules, module)
    same(read(tmp_path / "w.ckpt"))


class Config:
    """A class of the training script."""


class Net(torch.nn.Sequential):
    """A network of the training script."""


def converted(error, folder):
    """Runs the lines of an error where the file is; returns what they wrote."""
    exec("\n".join(error.fields["lines"]), {})
    return torch.load(folder / "weights.pt", weights_only=True)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"state_dict": STATE, "config": Config()}, f"{__name__}.Config"),
        ({"net": STATE, "when": datetime.date(2026, 1, 1)}, "datetime.date"),
        ({"epoch": 3, "model": Net(torch.nn.Linear(2, 2))}, f"{__name__}.Net"),
        (Net(torch.nn.Linear(2, 2)), "pickled-model"),
        (torch.nn.Linear(2, 2), "pickled-model"),
    ],
    ids=["class", "date", "model in a dictionary", "model", "torch's layer"],
)
def test_any_other_type_is_refused_with_the_lines_that_convert_the_file(
    tmp_path, monkeypatch, content, found
):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "mine.pth")
    with raises(CheckpointError, "executable", found=found) as caught:
        read("mine.pth")
    if isinstance(content, dict) and "model" not in content:
        same(converted(caught.value, tmp_path))
    else:
        assert all(isinstance(t, torch.Tensor) for t in converted(caught.value, tmp_path).values())


def test_torchscript_is_refused_with_the_lines_that_convert_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save("mine.pt")
        with raises(CheckpointError, "executable", "TorchScript", found="torchscript") as caught:
            read("mine.pt")
        assert set(converted(caught.value, tmp_path)) == {"weight", "bias"}


def test_size_is_limited_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "MAX_BYTES", 1000)
    torch.save({"a": torch.zeros(1000)}, tmp_path / "w.pt")
    monkeypatch.setattr(torch, "load", None)
    unread(tmp_path / "w.pt", "too-large")


def test_an_old_torch_is_not_trusted(tmp_path, monkeypatch):
    hostile.good(tmp_path / "good.pt")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
    unread(tmp_path / "good.pt", "unsupported-version", "2.10")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_any_damage_is_one_sentence(tmp_path, suffix):
    """Bytes changed, cut out and duplicated: the tensors come back or are refused, and nothing else
    happens.
    """
    whole, path, rng = tmp_path / f"whole{suffix}", tmp_path / f"w{suffix}", random.Random(1)
    torch.save(STATE, whole) if suffix == ".pt" else save_file(STATE, whole)
    data, refusals, end = whole.read_bytes(), 0, time.monotonic() + 10
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(rng.choice((1, 1, 3, 20))):
            at = rng.randrange(len(broken))
            match rng.randrange(3):
                case 0:
                    broken[at] = rng.randrange(256)
                case 1:
                    del broken[at : at + rng.randrange(1, 9)]
                case 2:
                    broken[at:at] = broken[at : at + rng.randrange(1, 9)]
        path.write_bytes(broken)
        try:
            assert all(isinstance(t, torch.Tensor) for t in read(path).values())
        except CheckpointError as error:
            refusals += 1
            assert (
                str(error).endswith(".")
                and str(error).isprintable()
                and str(error).count(str(path)) == 1
            )
        if time.monotonic() > end:
            break
    assert refusals > 10


LIMITED = """
import mmap, sys; from kgen.preflight import limits
def take(): return mmap.mmap(-1, 3 * 2**30 + limits.SLACK, mmap.MAP_PRIVATE)
with limits.limited(2**30, seconds={seconds}):
    try:
        {body}
    except OSError:
        print("refused", end=" ")
take(); print("free again")
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system's limits")
def test_limits_hold_and_are_lifted():
    def run(body, seconds=100):
        return subprocess.run(
            [sys.executable, "-c", LIMITED.format(body=body, seconds=seconds)],
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert run("take()").stdout == "refused free again\n"
    assert run("pass").stdout == "free again\n"
    assert run("while True: pass", seconds=0).returncode == -signal.SIGXCPU
