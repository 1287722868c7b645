"""The benchmark against published practice is fair: both sides do the same work."""

from __future__ import annotations

import pytest
import torch

from benchmarks.reference import RECIPES, Engine, NoisyLayers, Reference, copy_weights, fill
from kgen import losses
from kgen.engine.setting import Setting
from kgen.engine.synthesis import Synthesis
from kgen.recipes import recipes

SMALL = {
    "batch": 20,
    "student_batch": 8,
    "generator_steps": 2,
    "width": 8,
    "views": 2,
    "ratio": 0.002,
    "pool_policy": "fifo",
    "judge": "none",
    "evaluate_on": "none",
    "precision": "fp32",
    "memory_format": "nchw",
}


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(params=RECIPES, scope="module")
def sides(request, tmp_path_factory):
    torch.set_num_threads(1)
    setting = Setting(recipes.get(request.param).replace(**SMALL))
    folder = tmp_path_factory.mktemp(request.param)
    return Engine(setting), Reference(setting, folder, workers=0)


@pytest.mark.slow
def test_steps_and_images_are_equal_in_number(sides):
    for side in sides:
        side.generator_phase(2)
    engine, reference = sides
    assert reference.written == len(engine.batch["images"]) == 20
    assert len(list(reference.folder.glob("*.png"))) == 20
    fill(engine, reference)
    assert reference.written == len(engine.state.pool)
    for side in sides:
        side.student_phase(3)
    for count, expected in {
        "iterations": 1,
        "generator_steps": 2,
        "student_steps": 3,
        "images_read": 3 * engine.setting.scales[0].student_batch,
    }.items():
        assert getattr(engine, count) == getattr(reference, count) == expected
    assert len(reference.log) == 5


def test_networks_are_equal_in_size_and_first_weights(sides):
    engine, reference = sides
    synthesis = Synthesis(engine.setting, engine.state, None)
    side = engine.setting.sides[0]
    reference.begin()
    for ours, theirs in (
        (engine.setting.teacher.network, reference.teacher),
        (engine.state.student, reference.student),
        (engine.state.generators[side], reference.generator),
        (synthesis.source.noisy_layer, reference.noisy),
    ):
        assert parameters(ours) == parameters(theirs)
    layer = synthesis.source.noisy_layer
    noisy = NoisyLayers(layer.weight.shape[1], layer.weight.shape[2], len(layer.weight))
    for linear, weight in zip(noisy.layers, layer.weight):
        linear.weight.data.copy_(weight.T)
    f = engine.setting.table[synthesis.labels]
    torch.testing.assert_close(noisy(f), layer(f), rtol=1e-4, atol=1e-4)
    generator = engine.state.generators[side]
    copy_weights(generator, reference.generator)
    code = layer(f)
    torch.testing.assert_close(reference.generator(code), generator(code), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bn_scale", ["raw", "relative"])
def test_loss_terms_agree_on_the_same_images(sides, bn_scale, tmp_path):
    recipe = sides[0].recipe.replace(bn_scale=bn_scale, **{"weights.adv": 0.2})
    engine = Engine(Setting(recipe))
    reference = Reference(engine.setting, tmp_path, workers=0)
    synthesis = Synthesis(engine.setting, engine.state, engine.state.snapshot())
    images = synthesis.source.images().detach().requires_grad_()
    values = synthesis.objective.evaluate(synthesis.objective.probe(images), images).values
    ours = {name: values[name].mean() for name in ("ce", "adv", "bn", "kr")}
    theirs = reference.terms(images, synthesis.labels, student=True)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-5, msg=name)
        assert value != 0
    gradients = [
        torch.autograd.grad(sum(terms.values()), images, retain_graph=True)[0]
        for terms in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=1e-4 * float(gradients[0].abs().max()))


def test_the_students_loss_agrees_on_the_same_images(sides):
    engine, reference = sides
    t, r = engine.setting.teacher, engine.recipe
    images = torch.rand(8, t.card.channels, engine.setting.sides[0], engine.setting.sides[0])
    reference.student.load_state_dict(engine.state.student.state_dict())
    for network in (engine.state.student, reference.student):
        network.train()
    x = (images - t.mean) / t.std
    logits = engine.state.student(x)
    ours = losses.distillation(t.logits(images), logits, r.temperature)
    torch.testing.assert_close(reference.student_loss(x), ours, rtol=1e-4, atol=1e-6)
