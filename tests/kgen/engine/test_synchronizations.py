"""Inside a step, nothing waits for the device: on a GPU, each scalar that Python reads from it
would.

Two oracles: PyTorch's dispatcher sees each tensor that becomes a Python scalar (`item`, `bool`,
`int`, …), and the methods that read a whole tensor are counted.
"""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kgen.engine.setting import Setting
from kgen.engine.state import LoopState
from kgen.engine.student_training import StudentTrainer
from kgen.engine.synthesis import Synthesis
from tests.support.small import mini, stored


class _Scalars(TorchDispatchMode):
    def __init__(self, found: list[str]):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.found.append("scalar")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def reads(monkeypatch):
    """What Python reads from tensors inside the context."""
    found: list[str] = []

    def counted(name, original):
        def method(self, *args, **kwargs):
            found.append(name)
            return original(self, *args, **kwargs)

        return method

    with monkeypatch.context() as patch, _Scalars(found):
        for name in ("tolist", "cpu", "numpy"):
            patch.setattr(torch.Tensor, name, counted(name, getattr(torch.Tensor, name)))
        yield found


def test_the_oracles_notice_each_way_to_read_a_tensor(monkeypatch):
    x = torch.ones(1)
    for read in (float, int, bool, torch.Tensor.item, lambda x: x.tolist(), lambda x: x.cpu()):
        with reads(monkeypatch) as found:
            read(x)
        assert len(found) == 1, read
    with reads(monkeypatch) as found:
        (x + 1).sum().sqrt()
    assert not found


@pytest.mark.parametrize(
    "changes",
    [
        {"views": 3},
        {"views": 3, "student_crop": 0.3, "generator_crop": 0.5, "crop_curriculum": True},
        {"augment": "both", "mix": "cutmix", "keep": "best"},
        {"weights.ed": 10.0, "weights.aed": 5.0, "adv_mask": "agree"},
    ],
    ids=["views", "crops", "mixed", "diversity"],
)
def test_steps_read_nothing_from_the_device(changes, monkeypatch):
    setting = Setting(mini(generator_steps=4, report_every=4, evaluate_on="none", **changes))
    state = LoopState(setting)
    synthesis = Synthesis(setting, state, state.snapshot())
    with reads(monkeypatch) as found:
        for _ in range(3):
            assert synthesis.step() is None
    assert not found
    with reads(monkeypatch) as found:
        assert synthesis.step() is not None
    assert found == ["tolist"]  # a report is one transfer
    stored(synthesis)
    trainer = StudentTrainer(setting, state)
    with reads(monkeypatch) as found:
        for _ in range(3):
            trainer.step()
    assert not found
    with reads(monkeypatch) as found:
        trainer.report()
    assert found == ["tolist"]
