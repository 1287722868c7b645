"""The embedding in-out game (Eq. 8–11): who is pulled where, by a plain loop; class texts and class
centers; radii.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import kgen
from kgen import embeddings, losses
from kgen.embeddings import ClassCenters, EmbeddingError
from kgen.engine.engine import Distillation
from kgen.engine.student_training import StudentTrainer, learning_rate
from kgen.engine.synthesis import Synthesis
from kgen.recipe.recipe import RecipeError
from tests.support.errors import raises
from tests.support.small import mini, stored

ON = {"weights.ed": 10.0, "weights.aed": 5.0}


def build(**changes):
    d = Distillation(mini(**(ON | {"augment": "none"} | changes)))
    return d.setting, d.state


def made_batch(setting, s, student=None):
    made = Synthesis(setting, s, student)
    made.step(), made.step()
    stored(made)
    s.iterations += 1
    return made


def test_radii_follow_from_the_class_embeddings():
    setting, _ = build()
    inner, outer = embeddings.radii(setting.table)
    assert setting.radii == pytest.approx((inner, outer), rel=1e-4) and outer == pytest.approx(
        0.03, rel=1e-4
    )
    assert build(**{"radii.outer": 0.1})[0].radii == (0.05, 0.1)
    assert build(**{"radii.outer": 0.1, "radii.inner": 0.3})[0].radii == (
        0.3,
        0.1,
    )  # Table 14 crosses them too
    assert build(**{"weights.ed": 0.0, "weights.aed": 0.0})[0].radii is None
    assert build(classes=["Bag"])[0].radii is None  # one class: nothing to tell apart


def test_student_step_is_a_plain_step():
    """Eq. 8 and 9 with torch's SGD on copies of the student and its head; f_y are the class texts'
    rows.
    """
    setting, s = build(**{"weights.ed": 10.0})
    made_batch(setting, s)
    student, head, r, t = (
        copy.deepcopy(s.student),
        copy.deepcopy(s.projection),
        setting.recipe,
        setting.teacher,
    )
    spec = r.optimizers.student
    sgd = torch.optim.SGD(
        [*student.parameters(), *head.parameters()],
        spec.lr,
        spec.momentum,
        nesterov=True,
        weight_decay=spec.weight_decay,
    )
    draw = torch.Generator()
    draw.set_state(s.rng["student_batch"].get_state())
    learner, buffer, ed = StudentTrainer(setting, s), s.pool.buffers[28], []
    for step in range(3):
        sgd.param_groups[0]["lr"] = learning_rate(r, step, setting.student_total)
        index = torch.randint(0, len(s.pool), (r.student_batch,), generator=draw)
        images = buffer.images[index].float() / 255
        f_y = torch.stack(
            [setting.table[setting.selected[c]] for c in buffer.labels[index].tolist()]
        )
        features = student.train().forward_features((images - t.mean) / t.std)
        f_s = head(features.mean((2, 3)))
        pull = torch.stack(
            [torch.clamp(torch.mean((a - b) ** 2) - 0.015, min=0) for a, b in zip(f_s, f_y)]
        ).mean()
        loss = (
            losses.distillation(t.logits(images), student.fc(features.mean((2, 3))), r.temperature)
            + 10 * pull
        )
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        ed.append(pull.item())
        learner.step()
    for mine, plain in zip(
        [*s.student.parameters(), *s.projection.parameters()],
        [*student.parameters(), *head.parameters()],
    ):
        torch.testing.assert_close(mine, plain, rtol=1e-3, atol=1e-4)
    report = learner.report()
    assert report["parts"]["ed"] == pytest.approx(sum(ed) / 3, rel=1e-3) and min(ed) > 0
    assert report["loss"] == pytest.approx(report["parts"]["kl"] + 10 * report["parts"]["ed"])


@pytest.mark.parametrize("embedding", ["student", "teacher"])
def test_generator_step_pushes_by_the_formula(embedding):
    """Eq. 11 sample by sample, in both readings; its gradient reaches the images but not the
    student.
    """
    setting, s = build(
        embedding="center", aed_embedding=embedding, batch=20, **{"radii.outer": 50.0}
    )
    made_batch(setting, s)
    assert s.centers.ready
    shot = s.snapshot()
    made = Synthesis(setting, s, shot)
    generator, noisy = copy.deepcopy(s.generators[28]), copy.deepcopy(made.source.noisy_layer)
    report = made.step()
    t = setting.teacher
    with torch.no_grad():
        images = generator(noisy(setting.table[made.labels]))
    images.requires_grad_()
    x = (images - t.mean) / t.std
    features = (
        (t.network if embedding == "teacher" else shot.network).forward_features(x).mean((2, 3))
    )
    f = features * s.centers.factor if embedding == "teacher" else shot.projection(features)
    pushes = []
    for row, c in zip(f, made.positions.tolist()):
        pushes.append(torch.clamp(50 - torch.mean((row - s.centers.table[c]) ** 2), min=0))
    assert report["parts"]["aed"] == pytest.approx(
        torch.stack(pushes).mean().item(), rel=1e-3, abs=1e-7
    )
    assert report["parts"]["aed"] > 0
    torch.stack(pushes).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for m in shot for p in m.parameters())


def test_centres_are_the_mean_embeddings_of_the_first_images():
    g = torch.Generator().manual_seed(3)
    centres = ClassCenters(3, 5)
    first, second = torch.randn(4, 5, generator=g), torch.randn(6, 5, generator=g)
    centres.add(first, torch.tensor([0, 0, 1, 1]))
    assert not centres.ready
    centres.add(second, torch.tensor([2, 2, 2, 0, 1, 1]))
    assert centres.ready
    means = torch.stack(
        [
            torch.cat([first[:2], second[3:4]]).mean(0),
            torch.cat([first[2:], second[4:]]).mean(0),
            second[:3].mean(0),
        ]
    )
    factor = (
        0.03 / min(float(((a - b) ** 2).mean()) for i, a in enumerate(means) for b in means[:i])
    ) ** 0.5
    torch.testing.assert_close(centres.table, means * factor)
    assert float(centres.factor) == pytest.approx(factor, rel=1e-5)
    centres.add(torch.ones(3, 5), torch.tensor([0, 1, 2]))  # they are fixed now
    torch.testing.assert_close(centres.table, means * factor)
    again = ClassCenters(3, 5)
    again.load_state_dict(centres.state_dict())
    assert again.ready and torch.equal(again.table, centres.table)


def test_with_centres_the_noisy_layer_takes_fixed_random_rows():
    setting, s = build(embedding="center")
    again, other = build(embedding="center")[0], build(embedding="center", seed=1)[0]
    assert torch.equal(setting.table, again.table) and not torch.equal(setting.table, other.table)
    assert (
        s.class_vectors(torch.tensor([0])) is None
        and s.projection.out_features == setting.card.features
    )


def test_switched_off_until_warm_up_is_over():
    """No snapshot in warm-up, so α_aed has no effect; and with both weights at 0, no part of the
    game exists.
    """
    setting, s = build()
    made = Synthesis(setting, s, None)
    assert made.weights["aed"] == 0 and made.step()["parts"]["aed"] == 0
    assert build(**{"weights.ed": 0.0, "weights.aed": 0.0})[1].projection is None


@pytest.mark.slow
def test_the_head_learns_and_is_dropped_on_export():
    recipe = mini(**ON)
    d = Distillation(recipe)
    before = copy.deepcopy(d.state.projection.state_dict())
    told = [e for e in d if e.kind == "student_step"]
    assert all(not torch.equal(v, before[k]) for k, v in d.state.projection.state_dict().items())
    assert {tuple(e.parts) for e in told} == {("kl", "ed")}
    assert not any("projection" in name for name in d.state.student.state_dict())
    assert (
        isinstance(d.state.projection, nn.Linear)
        and d.state.projection.out_features == embeddings.WIDTH
    )


def test_the_teachers_reading_needs_centres():
    with raises(RecipeError, "conflict", "'center'", field="aed_embedding"):
        kgen.recipes.get("tiny").replace(aed_embedding="teacher")


def test_equal_centres_are_said():
    centres = ClassCenters(2, 3)
    with raises(EmbeddingError, "duplicate-text"):
        centres.add(torch.ones(2, 3), torch.tensor([0, 1]))
