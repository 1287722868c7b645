"""Every kind of recipe runs on CUDA tensors that cannot be combined with CPU tensors, and no step
waits for the GPU (`tests.support.fake_cuda`; no GPU is needed).
"""

from __future__ import annotations

import threading

import pytest
import torch

from kgen.data import data
from kgen.engine import setting
from kgen.engine.engine import Distillation
from kgen.engine.student_training import StudentTrainer
from kgen.engine.synthesis import Synthesis
from kgen.terms import Term
from tests.support.fake_cuda import FakeCuda
from tests.support.small import few_images, grain

GAME = {"weights.ed": 10.0, "weights.aed": 5.0}
RECIPES = {
    "noise": {"keep": "best", "judge": "auto"},
    "latent": {"source": "latent", "feature_memory": 0.9, "pool_policy": "fifo"},
    "pixels": {"source": "pixels", "mix": "mixup", "weights.l2": 1e-3},
    "pyramid": {"source": "pyramid", "mix": "cutmix", "pool_policy": "reservoir"},
    "resolutions": {"resolutions": (28, 20), "edges": "reflect", "generator_life": 1},
    "vit": {"teacher": "fashion-vit", "resolutions": (20,), "weights.tv": 0.02},
    "views": {"views": 4, "adv_mask": "agree", "admit": "recognized"},
    "crops": {"student_crop": 0.5, "generator_crop": 0.5, "crop_curriculum": True, "views": 2},
    "class texts": GAME | {"adv_divergence": "js"},
    "class centers": GAME | {"embedding": "center", "aed_embedding": "teacher"},
    "held out": {"evaluate_on": "none", "augment": "none", "output": "batchnorm"},
    "two classes": {"classes": (0, 1), "noisy_layers": "one", "restart_optimizer": True},
}


def redness(evidence):
    return evidence.images.mean((1, 2, 3))


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(setting, "select_device", lambda requested: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "none")
    monkeypatch.setattr(data, "test_set", few_images)
    with FakeCuda() as fake:
        yield fake


@pytest.mark.slow
@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_a_run_never_mixes_devices(cuda, changes):
    d = Distillation(grain(**changes), terms=[Term("redness", redness)])
    for event in d:
        if event.kind == "generator_step":
            event.preview()
    assert event.kind == "run_finished" and event.reason == "done"
    assert {p.device.type for p in d.state.student.parameters()} == {"cuda"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["noise", "resolutions", "vit", "views", "class centers"])
def test_two_threads_never_mix_devices(cuda, monkeypatch, name):
    train, students = Distillation._student_thread, []

    def in_fake_cuda(self):
        with cuda.in_this_thread():
            train(self)
        students.append(threading.current_thread())

    monkeypatch.setattr(Distillation, "_student_thread", in_fake_cuda)
    d = Distillation(grain(schedule="concurrent", **RECIPES[name]))
    *_, last = d
    assert last.kind == "run_finished" and last.reason == "done"
    assert students and students != [threading.current_thread()]
    assert {p.device.type for p in d.state.student.parameters()} == {"cuda"}


@pytest.mark.slow
def test_a_checkpoint_holds_cpu_tensors_and_can_be_resumed(cuda):
    recipe, batches = grain(), {}
    d = Distillation(recipe)
    for event in d:
        if event.kind == "batch_synthesised":
            batches[event.iteration] = event.arrays
            saved = d.checkpoint()
    assert {tensor.device.type for tensor in saved.values()} == {"cpu"}
    again = Distillation(recipe, resume=saved, read_batch=batches.__getitem__)
    assert [e.kind for e in again][-1] == "run_finished"
    ends = [x.state.student.state_dict() for x in (d, again)]
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(*(end.values() for end in ends)))


@pytest.mark.slow
def test_values_are_those_of_the_cpu(cuda, monkeypatch):
    def losses():
        events = Distillation(grain())
        return [tuple(e.parts.values()) for e in events if e.kind == "generator_step"]

    on_cuda = losses()
    monkeypatch.setattr(setting, "select_device", lambda requested: torch.device("cpu"))
    torch.testing.assert_close(torch.tensor(on_cuda), torch.tensor(losses()))


@pytest.mark.slow
@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_no_step_waits_for_the_gpu(cuda, changes):
    d = Distillation(grain(generator_steps=4, report_every=4, **changes))
    synthesis = Synthesis(d.setting, d.state, d.state.snapshot())
    synthesis.step()
    cuda.synchronizations.clear()
    synthesis.step()
    synthesis.step()
    assert cuda.synchronizations == []
    assert synthesis.step() and len(cuda.synchronizations) == 1  # the report
    synthesis.store(synthesis.measure(d.state.snapshot()))
    trainer = StudentTrainer(d.setting, d.state)
    trainer.step()
    cuda.synchronizations.clear()
    trainer.step()
    assert cuda.synchronizations == []
    assert trainer.report() and len(cuda.synchronizations) == 1


def test_a_cpu_tensor_in_a_term_is_found(cuda):
    def wrong(evidence):
        return evidence.images.mean((1, 2, 3)) * torch.ones(len(evidence.images))

    d = Distillation(grain(), terms=[Term("wrong", wrong)])
    with pytest.raises(RuntimeError, match=r"same device.*cuda:0 and cpu"):
        Synthesis(d.setting, d.state, None).step()


def test_a_synchronization_in_a_term_is_found(cuda):
    def wrong(evidence):
        return evidence.images.mean((1, 2, 3)) * evidence.logits.max().item()

    d = Distillation(grain(report_every=2), terms=[Term("wrong", wrong)])
    synthesis = Synthesis(d.setting, d.state, None)
    cuda.synchronizations.clear()
    synthesis.step()
    assert len(cuda.synchronizations) == 1


def test_on_cuda_every_optimizer_is_fused(cuda):
    for name in ("sgd", "adam", "adamw"):
        d = Distillation(grain(**{"optimizers.student.name": name}))
        assert d.state.student_optimizer.defaults["fused"] is True
