"""Formats: none changes a loss term or a gradient beyond its rounding, a resume keeps them, and the
measurement is bounded.
"""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

from kgen import events, precision
from kgen.engine.engine import Distillation
from kgen.engine.synthesis import Synthesis
from kgen.journal.runner import Runner
from kgen.precision import PLAIN, Format
from kgen.recipe.recipe import RecipeError
from tests.support.errors import raises
from tests.support.small import mini, same_run

FORMATS = [Format(p, m) for p in ("fp32", "bf16") for m in ("nchw", "channels_last")]


def gradients(format: Format, **changes):
    """(loss terms, gradient with respect to the images, student's logits) of the same images in a
    format.
    """
    d = Distillation(mini(batch=40, **changes), formats=dict.fromkeys(precision.NETWORKS, format))
    made = Synthesis(d.setting, d.state, d.state.snapshot())
    images = torch.rand(
        40, 1, 28, 28, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    found = made.objective.evaluate(made.objective.probe(images), images)
    values = found.values
    means = torch.stack([value.mean() for value in values.values()])
    assert (
        all(value.dtype == torch.float32 for value in values.values())
        and found.cam.dtype == torch.float32
    )
    (gradient,) = torch.autograd.grad(
        (means * torch.tensor([made.weights[name] for name in values])).sum(), images
    )
    return means.detach(), gradient, found.student_logits.detach()


@pytest.mark.parametrize("teacher", ["fashion-cnn", "fashion-vit"])
@pytest.mark.parametrize("format", FORMATS[1:], ids=str)
def test_no_format_changes_a_term_or_a_gradient_beyond_its_rounding(format, teacher):
    means, gradient, logits = gradients(PLAIN, teacher=teacher)
    other, bent, theirs = gradients(format, teacher=teacher)
    # bfloat16 has 8 bits: each of some ten layers rounds by at most 2⁻⁹ of its values; single
    # precision by 2⁻²⁴
    share = 10 * 2**-8 if format.precision == "bf16" else 1e-4
    torch.testing.assert_close(other, means, rtol=share, atol=share)
    assert float((bent - gradient).norm() / gradient.norm()) < (
        0.15 if format.precision == "bf16" else 1e-3
    )
    assert float((theirs - logits).norm() / logits.norm()) < share


@pytest.mark.parametrize("source", ["noise", "latent", "pixels"])
def test_every_source_learns_in_bfloat16(source):
    d = Distillation(
        mini(source=source, generator_steps=3, width=8),
        formats=dict.fromkeys(precision.NETWORKS, FORMATS[3]),
    )
    made = Synthesis(d.setting, d.state, None)
    losses = [made.step()["loss"] for _ in range(3)]
    assert losses[-1] < losses[0] and made.images.dtype == torch.float32


@pytest.mark.slow
def test_weights_and_optimizers_stay_in_single_precision(tmp_path):
    runner = Runner.new(mini(precision="bf16", memory_format="channels_last"), tmp_path / "run")
    assert runner.run().reason == "done"
    state = runner.distillation.state
    kept = [
        *state.student.state_dict().values(),
        *(
            v
            for s in state.student_optimizer.state.values()
            for v in s.values()
            if isinstance(v, torch.Tensor)
        ),
    ]
    assert {t.dtype for t in kept} <= {torch.float32, torch.int64}
    conv = next(
        m
        for m in state.student.modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) and m.in_channels > 1
    )
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["formats"] == dict.fromkeys(precision.NETWORKS, ["bf16", "channels_last"])


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_a_resume_keeps_the_format_and_ends_the_same(tmp_path, format, monkeypatch):
    recipe = mini(precision="auto", memory_format="auto")
    monkeypatch.setattr(precision, "fastest", lambda *a: format)
    monkeypatch.setattr("kgen.engine.state.fastest", lambda *a: format)
    Runner.new(recipe, tmp_path / "whole").run()
    cut = Runner.new(recipe, tmp_path / "cut", checkpoint_seconds=0)
    for event in (stream := iter(cut.distillation)):
        cut.journal.write(event)
        if cut.distillation.resumable:
            cut.checkpoint()
        if event.kind == "student_step":
            break
    stream.close(), cut.journal.close()
    other = FORMATS[0] if format != FORMATS[0] else FORMATS[3]
    monkeypatch.setattr(
        "kgen.engine.state.fastest", lambda *a: other
    )  # as if another were faster now
    again = Runner.resume(tmp_path / "cut")
    assert set(again.distillation.state.formats.values()) == {format}
    again.run()
    assert same_run(tmp_path / "whole", tmp_path / "cut") is None


def test_the_fastest_is_taken_and_a_small_gain_is_not(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    waits = {FORMATS[0]: 0.03, FORMATS[1]: 0.028, FORMATS[2]: 0.05, FORMATS[3]: 0.04}
    net = nn.Conv2d(1, 1, 1)

    def step(network):
        clock[0] += waits[precision.format_of(network)]
        return network(torch.zeros(1, 1, 2, 2))

    before = copy.deepcopy(net.state_dict())
    assert precision.fastest(FORMATS, net, step) == PLAIN  # 7% is not worth different numbers
    waits[FORMATS[3]] = 0.005
    assert precision.fastest(FORMATS, net, step) == FORMATS[3]
    assert precision.format_of(net) == PLAIN and all(
        torch.equal(v, before[k]) for k, v in net.state_dict().items()
    )
    assert precision.fastest([FORMATS[2]], net, step) == FORMATS[2]


def test_what_a_recipe_allows(monkeypatch):
    cpu, mps = torch.device("cpu"), torch.device("mps")
    monkeypatch.setattr(precision, "has_bf16", lambda device: device.type == "cpu")
    assert precision.candidates(mini(), cpu) == [PLAIN]
    assert precision.candidates(mini(precision="auto", memory_format="auto"), cpu) == FORMATS
    assert precision.candidates(mini(precision="auto"), cpu) == [FORMATS[0], FORMATS[2]]
    assert precision.candidates(mini(memory_format="channels_last"), cpu) == [FORMATS[1]]
    assert precision.candidates(mini(precision="auto", memory_format="auto"), mps) == [PLAIN]
    with raises(RecipeError, "unsupported-precision", "'bf16'", field="precision"):
        precision.candidates(mini(precision="bf16"), mps)


def test_words():
    def computing(formats):
        return events.RunStarted.model_construct(formats=formats).computing

    assert computing({}) == ""
    same = dict.fromkeys(precision.NETWORKS, ("bf16", "channels_last"))
    assert computing(same) == "BF16 channels-last"
    assert (
        computing(same | {"student": ("fp32", "nchw")})
        == "teacher BF16 channels-last, student FP32 NCHW, generator BF16 channels-last"
    )
    assert precision.from_record(None) == dict.fromkeys(precision.NETWORKS, PLAIN)
    assert (
        precision.from_record(precision.to_record({"teacher": FORMATS[3]}))["teacher"] == FORMATS[3]
    )
