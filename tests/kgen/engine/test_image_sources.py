"""NAYER, Fast and DeepInversion for a few steps against a slow, literal loop written from the
papers, with the same draws.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kgen import events
from kgen.engine.engine import Distillation
from kgen.engine.synthesis import Synthesis
from tests.support.small import mini, stored

BASE = {
    "augment": "none",
    "bn_scale": "raw",
    "weights.kr": 0.0,
    "weights.ed": 0.0,
    "weights.aed": 0.0,
    "weights.adv": 1.3,
    "weights.bn": 1.0,
    "generator_steps": 3,
    "ratio": 0.01,
}


def build(**changes):
    d = Distillation(mini(**(BASE | changes)))
    return d.setting, d.state


class Literal:
    """The terms that all three papers share, as they write them: one hook per BatchNorm layer, one
    number per term.
    """

    def __init__(self, setting, labels, student, mask=False):
        self.setting, self.labels, self.student, self.mask = setting, labels, student, mask
        self.memory: list[tuple] = []
        self.last: list[tuple] = []

    def __call__(self, images, momentum=0.0):
        t, w = self.setting.teacher, self.setting.recipe.weights
        x = (images - t.mean) / t.std
        seen, hooks = [], []
        for layer in t.network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                hooks.append(
                    layer.register_forward_hook(lambda m, inputs, _: seen.append((m, inputs[0])))
                )
        logits = t.network(x)
        for hook in hooks:
            hook.remove()
        bn, self.last = 0.0, []
        for i, (layer, inside) in enumerate(seen):
            variance, mean = torch.var_mean(inside, (0, 2, 3), unbiased=False)
            if momentum and self.memory:
                mean = momentum * self.memory[i][0] + (1 - momentum) * mean
                variance = momentum * self.memory[i][1] + (1 - momentum) * variance
            self.last.append((mean.detach(), variance.detach()))
            bn = bn + (mean - layer.running_mean).norm(2) + (variance - layer.running_var).norm(2)
        guess = self.student(x)
        loss = w.ce * F.cross_entropy(logits, self.labels) + w.bn * bn
        kl = F.kl_div(guess.log_softmax(1), logits.softmax(1), reduction="none").sum(1)
        if self.mask:
            kl = kl * (logits.argmax(1) == guess.argmax(1))
        return loss - w.adv * kl.mean(), x

    def remember(self):
        self.memory = self.last


def close(mine, literal):
    off = (mine - literal).abs() > 2e-3 + 1e-3 * literal.abs()
    # a gradient the size of a rounding error may differ in sign, which is all Adam sees at first
    assert off.float().mean() < 1e-3


def test_nayer(monkeypatch):
    """Noisy layer and generator, one Adam over both; KL only where student and teacher agree."""
    setting, s = build(adv_mask="agree")
    shot = s.snapshot()
    made = Synthesis(setting, s, shot)
    generator, noisy = copy.deepcopy(s.generators[28]), copy.deepcopy(made.source.noisy_layer)
    literal = Literal(setting, made.labels, shot.network, mask=True)
    adam = torch.optim.Adam([*generator.parameters(), *noisy.parameters()], 4e-3, (0.5, 0.999))
    for step in range(3):
        images = generator(noisy(setting.table[made.labels]))
        report = made.step()
        close(made.images, images.detach())
        loss, _ = literal(images)
        assert report["loss"] == pytest.approx(loss.item(), rel=1e-3), step
        adam.zero_grad()
        loss.backward()
        adam.step()


def test_fast():
    """Each batch starts from the learned generator and a new code; its last gradient moves that
    start (first-order MAML); the statistics of a finished batch stay in the feature memory. Two
    batches, so that both are used.
    """
    setting, s = build(
        source="latent",
        feature_memory=0.9,
        **{"optimizers.images.lr": 0.02, "optimizers.meta.lr": 0.01},
    )
    shot = s.snapshot()
    start, memory = copy.deepcopy(s.generators[28]), []
    meta = torch.optim.Adam(start.parameters(), 0.01, (0.5, 0.999))
    for batch in range(2):
        made = Synthesis(setting, s, shot)
        code = nn.Parameter(made.source.code.detach().clone())
        assert float(code.detach().std()) == pytest.approx(1, abs=0.3) and not any(
            code is p for p in s.generators[28].parameters()
        )
        generator = copy.deepcopy(start)
        literal = Literal(setting, made.labels, shot.network)
        literal.memory = memory
        inner = torch.optim.Adam(generator.parameters(), 4e-3, (0.5, 0.999))
        outer = torch.optim.Adam([code], 0.02, (0.5, 0.999))
        for step in range(3):
            images = generator(code)
            report = made.step()
            close(made.images, images.detach())
            loss, _ = literal(images, momentum=0.9)
            assert report["loss"] == pytest.approx(loss.item(), rel=1e-3), (batch, step)
            inner.zero_grad(), outer.zero_grad()
            loss.backward()
            gradients = [p.grad.clone() for p in generator.parameters()]
            inner.step(), outer.step()
        for p, g in zip(start.parameters(), gradients):
            p.grad = g
        meta.step()
        with torch.no_grad():
            for mine, other in zip(start.buffers(), generator.buffers()):
                mine.copy_(other)
        literal.remember()
        memory = literal.memory
        kept = s.feature_memory[28]
        close(kept[0], torch.cat([m for m, _ in memory]))
        close(kept[1], torch.cat([v for _, v in memory]))
        for name, p in s.generators[28].named_parameters():
            # where a gradient is nothing but rounding, Adam's first steps are its sign
            clear = dict(start.named_parameters())[name].grad.abs() > 1e-3
            assert (
                not clear.any()
                or close(p[clear], dict(start.named_parameters())[name][clear]) is None
            )
        start.load_state_dict(s.generators[28].state_dict())
        stored(made)
        s.iterations += 1


def test_deepinversion():
    """The pixels themselves: Adam, total variation and ℓ2 priors on the normalized image, clipped
    to the displayable range.
    """
    setting, s = build(
        source="pixels",
        **{
            "weights.tv": 0.02,
            "weights.l2": 1e-4,
            "optimizers.images.lr": 0.05,
            "optimizers.images.momentum": 0.9,
        },
    )
    assert not s.generators
    shot = s.snapshot()
    made = Synthesis(setting, s, shot)
    t = setting.teacher
    pixels = nn.Parameter(made.source.pixels.detach().clone())
    low, high = float((0 - t.mean) / t.std), float((1 - t.mean) / t.std)
    literal = Literal(setting, made.labels, shot.network)
    adam = torch.optim.Adam([pixels], 0.05, (0.9, 0.999))
    for step in range(3):
        report = made.step()
        close(made.images, (pixels * t.std + t.mean).detach())
        loss, x = literal(pixels * t.std + t.mean)
        tv = l2 = 0.0
        for image in x:  # one image, one direction at a time
            for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
                h, w = image.shape[1:]
                here = image[:, : h - dy, max(0, -dx) : w - max(0, dx)]
                there = image[:, dy:, max(0, dx) : w + min(0, dx)]
                tv = tv + (there - here).norm(2) / len(x)
            l2 = l2 + image.norm(2) ** 2 / len(x)
        assert report["parts"]["tv"] == pytest.approx(float(tv.detach()), rel=1e-4) and report[
            "parts"
        ]["l2"] == pytest.approx(float(l2.detach()), rel=1e-4)
        loss = loss + 0.02 * tv + 1e-4 * l2
        assert report["loss"] == pytest.approx(loss.item(), rel=1e-3), step
        adam.zero_grad()
        loss.backward()
        adam.step()
        pixels.data.clamp_(low, high)
    kept = made.source.pixels.detach()
    assert float(kept.min()) >= low and float(kept.max()) <= high
    _, arrays = stored(made)
    assert arrays["images"].shape == (12, 1, 28, 28) and arrays["parts"].shape == (
        12,
        len(events.PARTS),
    )


@pytest.mark.parametrize("source", ["noise", "latent", "pixels"])
def test_a_new_iteration_starts_over(source):
    """New draws every time; only the generator lives longer (noise, latent), never the code or the
    pixels.
    """
    setting, s = build(source=source)
    first, second = (Synthesis(setting, s, None).source for _ in range(2))
    new = {
        "noise": lambda x: x.noisy_layer.weight,
        "latent": lambda x: x.code,
        "pixels": lambda x: x.pixels,
    }[source]
    assert not torch.equal(new(first), new(second))
    if source == "noise":
        assert first.generator is second.generator is s.generators[28]
    if source == "latent":
        assert first.generator is not s.generators[28]
        assert all(
            torch.equal(a, b)
            for a, b in zip(first.generator.parameters(), s.generators[28].parameters())
        )


def test_one_noisy_layer_for_everything_makes_copies():
    """With many, no two images of a batch are alike; with one, those of a class are, and the next
    iteration has the same layer.
    """
    kinds = {}
    for which in ("many", "one"):
        setting, state = build(batch=20, noisy_layers=which, generator_steps=1)
        batches = []
        for _ in range(2):
            made = Synthesis(setting, state, None)
            weight = made.source.noisy_layer.weight.detach().clone()
            made.step()
            batches.append((weight, made.positions, made.images))
            state.iterations += 1
        kinds[which] = batches
    (one, labels, images), (again, *_) = kinds["one"]
    assert one.shape[0] == 1 and torch.equal(one, again)
    for c in range(10):
        same = images[labels == c]
        torch.testing.assert_close(same[0], same[1], atol=1e-5, rtol=0)
    (many, labels, images), (other, *_) = kinds["many"]
    assert many.shape[0] == 2 and not torch.equal(many, other)
    assert all(
        (images[labels == c][0] - images[labels == c][1]).abs().max() > 0.01 for c in range(10)
    )


def test_the_pyramid_is_the_sum_of_its_levels_in_opponent_colors():
    """Against a slow sum, level by level; coarse levels move faster than fine ones."""
    setting, s = build(source="pyramid", generator_steps=2)
    made = Synthesis(setting, s, None)
    levels = made.source.levels
    assert [level.shape[-1] for level in levels] == [28, 14, 7, 3] and made.source.colors is None
    slow = sum(F.interpolate(level, size=(28, 28), mode="bilinear") for level in levels).sigmoid()
    torch.testing.assert_close(made.source.images(), slow)
    before = [level.detach().clone() for level in levels]
    made.step()
    moved = [float((level.detach() - old).abs().max()) for level, old in zip(levels, before)]
    lr = setting.recipe.optimizers.images.lr
    assert moved == pytest.approx(
        [lr * 0.7**3, lr * 0.7**2, lr * 0.7, lr], rel=1e-3
    )  # Adam's first step is its rate


def test_opponent_colors_are_luminance_and_two_differences():
    from kgen.engine.image_sources import PyramidSource

    colors = torch.tensor(PyramidSource.OPPONENT_COLORS)
    assert torch.allclose(colors @ colors.T, torch.diag((colors**2).sum(1)), atol=1e-6)
    assert colors[0].std() == 0 and torch.allclose(colors[1:].sum(1), torch.zeros(2), atol=1e-6)
