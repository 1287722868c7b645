"""Reading a stranger's weights: what torch wrote comes back; everything else gives one sentence, in
time and without running code.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

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
    assert found.notes == () and ("before" in found.kind) == old


def test_safetensors_come_back_with_their_metadata(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors", {"kgen": "{}"})
    found = open_checkpoint(tmp_path / "w.safetensors")
    same(dict(sorted(found.tensors.items())), dict(sorted(STATE.items())))
    assert found.metadata == {"kgen": "{}"}


@pytest.mark.parametrize("wrapper", checkpoints.WRAPPERS)
@pytest.mark.parametrize("prefix", ["", *checkpoints.PREFIXES, "module._orig_mod."])
def test_wrappers_and_prefixes_are_taken_off_and_told(tmp_path, wrapper, prefix):
    content = {
        "epoch": 3,
        "optimizer": {"lr": 0.1},
        wrapper: {prefix + k: v for k, v in STATE.items()},
    }
    torch.save(content, tmp_path / "w.pt")
    found = open_checkpoint(tmp_path / "w.pt")
    same(found.tensors)
    assert repr(wrapper) in found.notes[0] and len(found.notes) == 1 + prefix.count(".")


def test_parameters_transposed_and_shared_tensors_are_fine(tmp_path):
    weight = torch.randn(3, 4)
    torch.save({"a": torch.nn.Parameter(weight), "b": weight.T, "c": weight}, tmp_path / "w.pt")
    found = read(tmp_path / "w.pt")
    assert torch.equal(found["b"].T, found["a"]) and not found["a"].requires_grad


@pytest.mark.parametrize("make", hostile.TORCH, ids=lambda make: make.__name__)
def test_a_torch_file_that_is_none_is_one_sentence(make, tmp_path):
    path = make(tmp_path / "good.pt")
    unread(path)
    assert not path.with_suffix(".mark").exists() and [f.name for f in tmp_path.iterdir()] == [
        "good.pt"
    ]


@pytest.mark.parametrize("make", hostile.SAFETENSORS.values(), ids=hostile.SAFETENSORS)
def test_a_safetensors_file_that_is_none_is_one_sentence(make, tmp_path):
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
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_the_reason_is_told(make, code, facts, tmp_path):
    unread(make(tmp_path / "good.pt"), code, *facts)


def test_names_of_files(tmp_path):
    unread(tmp_path / "none.pt", "no-file")
    (tmp_path / "w.pkl").write_bytes(b"x")
    unread(tmp_path / "w.pkl", "unsupported-format", "'.pkl'", ".safetensors, .pt, .pth")
    (tmp_path / "folder.pt").mkdir()
    unread(tmp_path / "folder.pt", "no-file")


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
