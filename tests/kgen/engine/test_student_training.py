"""Student steps: only the student changes; the loss and the update against a plain loop; the rate
in closed form.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch

from kgen import losses
from kgen.augment import Variation, apply_views, mix
from kgen.engine.engine import Distillation
from kgen.engine.student_training import StudentTrainer, learning_rate
from kgen.engine.synthesis import Diverged, Synthesis
from tests.support.small import mini, stored


def filled(**changes):
    d = Distillation(mini(**changes))
    for _ in range(2):
        made = Synthesis(d.setting, d.state, None)
        made.step(), made.step(), stored(made)
        d.state.iterations += 1
    return d.setting, d.state


def clone(rng):
    other = torch.Generator()
    other.set_state(rng.get_state())
    return other


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("views", [0, 2])
def test_only_the_student_changes(own, views):
    setting, s = filled(views=views)
    learner = StudentTrainer(setting, s, setting.teacher.clone() if own else None)
    modules = {
        "teacher": setting.teacher.network,
        "generator": s.generators[28],
        "twin": learner.teacher.network,
    }
    before = {k: {n: v.clone() for n, v in m.state_dict().items()} for k, m in modules.items()}
    pool = s.pool.buffers[28].images.clone()
    grads = [p.grad.clone() for p in s.generators[28].parameters()]
    student = copy.deepcopy(s.student.state_dict())
    for _ in range(2):
        learner.step()
    assert all(
        torch.equal(v, before[k][n]) for k, m in modules.items() for n, v in m.state_dict().items()
    )
    assert all(p.grad is None and not p.requires_grad for p in learner.teacher.network.parameters())
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, s.generators[28].parameters()))
    assert torch.equal(pool, s.pool.buffers[28].images)
    assert all(not torch.equal(v, student[n]) for n, v in s.student.state_dict().items())


@pytest.mark.parametrize(
    ("augment", "views", "mixed"),
    [
        ("none", 0, "none"),
        ("student", 0, "none"),
        ("both", 0, "none"),
        ("both", 3, "none"),
        ("both", 0, "cutmix"),
        ("none", 0, "mixup"),
    ],
)
def test_a_step_is_a_plain_step(augment, views, mixed):
    """The same draws, a copy of the student and torch's own SGD with Nesterov momentum."""
    setting, s = filled(augment=augment, views=views, mix=mixed)
    r, t = setting.recipe, setting.teacher
    draw, turn = clone(s.rng["student_batch"]), clone(s.rng["augment_student"])
    plain = copy.deepcopy(s.student)
    spec = r.optimizers.student
    optimiser = torch.optim.SGD(
        plain.parameters(), spec.lr, spec.momentum, nesterov=True, weight_decay=spec.weight_decay
    )
    learner = StudentTrainer(setting, s)
    total = 0.0
    for step in range(3):
        optimiser.param_groups[0]["lr"] = learning_rate(r, step, setting.student_total)
        index = torch.randint(0, len(s.pool), (r.student_batch,), generator=draw)
        images = s.pool.buffers[28].images[index].float() / 255
        if views:
            which = torch.randint(0, views, (r.student_batch,), generator=turn)
            images = apply_views(images, s.pool.buffers[28].extras["views"][index, which])
        elif augment != "none":
            images = Variation(2, True)(images, turn)
        if mixed != "none":
            images = mix(images, turn, mixed)
        with torch.no_grad():
            wanted = t.logits(images)
        loss = losses.distillation(wanted, plain.train()((images - t.mean) / t.std), r.temperature)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
        learner.step()
    for (name, mine), other in zip(s.student.state_dict().items(), plain.state_dict().values()):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4, msg=name)
    report = learner.report()
    assert report["loss"] == report["parts"]["kl"] == pytest.approx(total / 3, rel=1e-4)
    assert report["lr"] == learning_rate(r, 2, setting.student_total)
    learner.step()
    assert learner.report()["loss"] != report["loss"]  # the sum started over


def test_rate_ramps_up_then_falls_as_a_cosine():
    recipe = mini(epochs=10, warmup=0.2, student_steps=5, **{"optimizers.student.lr": 0.4})
    total, ramp = 40, 10
    assert recipe.total_student_steps == total
    rates = [learning_rate(recipe, i, total) for i in range(total)]
    assert rates[:ramp] == pytest.approx([0.4 * (i + 1) / ramp for i in range(ramp)])
    assert rates[ramp:] == pytest.approx(
        [0.2 * (1 + math.cos(math.pi * i / 30)) for i in range(30)]
    )
    assert max(rates) == rates[ramp] == pytest.approx(0.4) and rates[-1] < 0.01
    assert learning_rate(
        mini(warmup=0.0, **{"optimizers.student.lr": 0.4}), 0, 12
    ) == pytest.approx(0.4)


def test_a_loss_that_is_not_a_number_names_term_and_step(monkeypatch):
    setting, s = filled()
    learner = StudentTrainer(setting, s)
    learner.step()
    monkeypatch.setattr(losses, "distillation", lambda wanted, guess, t: guess.sum() * float("inf"))
    learner.step()
    with pytest.raises(Diverged) as caught:
        learner.report()
    assert (caught.value.term, caught.value.step) == ("kl", 1)
