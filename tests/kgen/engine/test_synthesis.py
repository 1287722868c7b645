"""One iteration: where gradients go, what stays untouched, what is kept, reported and journaled."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from kgen import events, losses
from kgen.engine.engine import Distillation
from kgen.engine.synthesis import Diverged, History, Synthesis
from kgen.keyregion import class_activation_map
from tests.support.small import mini, stored


def state_of(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def build(**changes):
    d = Distillation(mini(**changes))
    return d, d.setting, d.state


@pytest.mark.parametrize("augment", ["none", "both"])
def test_only_generator_and_noisy_layer_change(augment):
    d, setting, s = build(augment=augment)
    shot = s.snapshot()
    teacher, student, frozen = setting.teacher.network, s.student, shot.network
    before = [state_of(m) for m in (teacher, student, frozen)]
    made = Synthesis(setting, s, shot)
    generator, noisy = state_of(s.generators[28]), state_of(made.source.noisy_layer)
    for _ in range(2):
        made.step()
    stored(made)
    assert [same(b, state_of(m)) for b, m in zip(before, (teacher, student, frozen))] == [
        True
    ] * 3  # BN buffers too
    assert all(p.grad is None for m in (teacher, student, frozen) for p in m.parameters())
    for old, module in ((generator, s.generators[28]), (noisy, made.source.noisy_layer)):
        for name, p in module.named_parameters():
            assert p.grad is not None and torch.isfinite(p.grad).all(), name
            # a bias right before a BatchNorm has no effect, so its gradient is only rounding error
            assert not torch.equal(p, old[name]) or p.grad.abs().max() < 1e-6, name
    assert all(not m.training for m in teacher.modules())


def test_snapshot_of_the_student_is_a_copy():
    _, _, s = build()
    frozen = s.snapshot().network
    assert not {p.data_ptr() for p in frozen.parameters()} & {
        p.data_ptr() for p in s.student.parameters()
    }
    assert not any(m.training for m in frozen.modules()) and not any(
        p.requires_grad for p in frozen.parameters()
    )
    assert s.student.training and all(p.requires_grad for p in s.student.parameters())


@pytest.mark.parametrize("bn_scale", ["raw", "relative"])
def test_first_step_is_a_plain_loop(bn_scale):
    """The same step written out with autograd and torch's Adam, with the same draws: report and
    update agree.
    """
    _, setting, s = build(bn_scale=bn_scale, augment="none")
    frozen = s.snapshot()
    made = Synthesis(setting, s, frozen)
    generator, noisy = copy.deepcopy(s.generators[28]), copy.deepcopy(made.source.noisy_layer)
    report = made.step()
    r, t = setting.recipe, setting.teacher
    images = generator(noisy(setting.table[made.labels]))
    probe = t(images)
    parts = {
        "ce": losses.cross_entropy(probe.logits, made.labels).mean(),
        "adv": losses.adversarial(probe.logits, frozen.network((images - t.mean) / t.std)).mean(),
        "bn": losses.batch_norm(probe.batch_norm, bn_scale),
        "kr": (
            losses.key_region(
                class_activation_map(probe.features, t.weight, made.labels),
                setting.scales[0].target,
            ).mean()
        ),
    }
    parts |= {name: torch.zeros(()) for name in events.PARTS if name not in parts}
    loss = sum(getattr(r.weights, k) * v for k, v in parts.items())
    assert report["parts"] == pytest.approx({k: v.item() for k, v in parts.items()}, rel=1e-4)
    assert report["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert report["agreement"] == pytest.approx(
        float((probe.logits.argmax(1) == made.labels).float().mean())
    )
    adam = torch.optim.Adam([*generator.parameters(), *noisy.parameters()], 4e-3, (0.5, 0.999))
    loss.backward()
    adam.step()
    # compared in what Adam sees: the gradients (its first step is their sign)
    for mine, plain in zip(
        [*s.generators[28].parameters(), *made.source.noisy_layer.parameters()],
        [*generator.parameters(), *noisy.parameters()],
    ):
        torch.testing.assert_close(mine.grad, plain.grad, rtol=1e-2, atol=1e-4)
        clear = plain.grad.abs() > 1e-3
        torch.testing.assert_close(mine[clear], plain[clear], rtol=1e-4, atol=1e-5)


def test_chosen_classes_are_positions_outside_and_indices_inside():
    _, setting, s = build(classes=("Bag", 2, "Trouser"))
    made = Synthesis(setting, s, None)
    assert setting.selected == [8, 2, 1]
    assert torch.equal(made.labels, torch.tensor([8, 2, 1])[made.positions]) and set(
        made.positions.tolist()
    ) == {0, 1, 2}


def test_without_a_student_the_adversarial_part_is_zero_and_unweighted():
    _, setting, s = build()
    report = Synthesis(setting, s, None).step()
    assert report["parts"]["adv"] == 0
    w = setting.recipe.weights
    assert report["loss"] == pytest.approx(
        sum(getattr(w, k) * v for k, v in report["parts"].items() if k != "adv")
    )


def test_reports_are_means_since_the_last_one():
    reports = []
    for every in (1, 3):
        _, setting, s = build(generator_steps=7, report_every=every)
        made = Synthesis(setting, s, None)
        reports.append([made.step() for _ in range(7)])
    single, grouped = reports
    assert [r is not None for r in grouped] == [False, False, True, False, False, True, True]
    for told, steps in ((2, (0, 1, 2)), (5, (3, 4, 5)), (6, (6,))):
        for part in ("ce", "bn", "kr"):
            assert grouped[told]["parts"][part] == pytest.approx(
                np.mean([single[i]["parts"][part] for i in steps]), rel=1e-5
            )


def test_keep_best_keeps_the_lowest_and_last_the_last():
    """Compared with the values that each step reports; the adversarial part does not count."""
    _, setting, s = build(keep="best", generator_steps=6, augment="none")
    made = Synthesis(setting, s, s.snapshot())
    w, seen = setting.recipe.weights, []
    for _ in range(6):
        parts = made.step()["parts"]
        seen.append(
            (w.ce * parts["ce"] + w.bn * parts["bn"] + w.kr * parts["kr"], made.images.clone())
        )
    entered, arrays = stored(made)
    best = min(seen, key=lambda pair: pair[0])[1]
    assert np.array_equal(arrays["images"], (best * 255).round().byte().numpy())

    _, setting, s = build(keep="last")
    made = Synthesis(setting, s, None)
    made.step(), made.step()
    assert np.array_equal(stored(made)[1]["images"], (made.images * 255).round().byte().numpy())


@pytest.mark.parametrize("views", [0, 3])
def test_journaled_arrays(views):
    _, setting, s = build(views=views, generator_steps=5)
    made = Synthesis(setting, s, None)
    for _ in range(5):
        made.step()
    entered, a = stored(made)
    b, h, w = 12, *setting.scales[0].map_size
    kinds = {
        "images": (np.uint8, (b, 1, 28, 28)),
        "labels": (np.int64, (b,)),
        "entered": (np.uint8, (b,)),
        "cam": (np.float16, (b, h, w)),
        "parts": (np.float32, (b, len(events.PARTS))),
        "embedding": (np.float16, (b, setting.card.features)),
        "confidence": (np.float16, (b,)),
        "teacher_top": (np.int32, (b, 5)),
        "teacher_top_p": (np.float16, (b, 5)),
        "student_top": (np.int32, (b, 5)),
        "student_top_p": (np.float16, (b, 5)),
        "preview_steps": (np.int32, (4,)),
        "preview_positions": (np.int32, (b,)),
        "previews": (np.uint8, (4, b, 1, 28, 28)),
        "preview_confidence": (np.float16, (4, b)),
        "kept_step": (np.int32, (1,)),
    }
    if views:
        kinds |= {"views": (np.uint8, (b, views, 3)), "view_logits": (np.float32, (b, views, 10))}
    assert {k: (v.dtype.type, v.shape) for k, v in a.items()} == kinds
    assert a["preview_steps"].tolist() == [0, 1, 2, 4] and np.array_equal(
        a["entered"], entered.numpy()
    )
    # measured on exactly the bytes that are kept, each image by itself
    images = torch.from_numpy(a["images"]).float() / 255
    with torch.no_grad():
        probe = setting.teacher(images)
        p = probe.logits.softmax(1)
    labels = setting.classes[torch.from_numpy(a["labels"])]
    assert a["confidence"] == pytest.approx(p.gather(1, labels[:, None])[:, 0].numpy(), abs=2e-3)
    assert np.array_equal(a["teacher_top"][:, 0], p.argmax(1).int().numpy())
    assert a["parts"][:, 0] == pytest.approx(
        losses.cross_entropy(probe.logits, labels).numpy(), rel=1e-3, abs=1e-3
    )
    assert np.all(a["parts"][:, 2] == a["parts"][0, 2])
    assert a["kept_step"].tolist() == [4] and sorted(a["preview_positions"].tolist()) == list(
        range(b)
    )
    last = np.empty_like(a["images"])
    last[a["preview_positions"]] = a["previews"][-1]
    assert np.array_equal(last, a["images"])
    if views:
        from kgen.augment import apply_views

        for i in range(views):
            with torch.no_grad():
                wanted = setting.teacher.logits(
                    apply_views(images, torch.from_numpy(a["views"][:, i]))
                )
            torch.testing.assert_close(
                torch.from_numpy(a["view_logits"][:, i]), wanted, rtol=1e-4, atol=1e-4
            )


def test_the_making_is_kept_class_by_class_as_far_as_there_is_room(monkeypatch):
    """The first image of each class, then the second …: a journal with less room drops the last
    ones.
    """
    positions = torch.tensor([0, 0, 1, 0, 1, 2])
    images = torch.rand(6, 1, 4, 4)
    for room, kept in ((10**6, [0, 2, 5, 1, 4, 3]), (2 * 16 * 4, [0, 2, 5, 1]), (0, [0])):
        monkeypatch.setattr("kgen.engine.synthesis.MAX_HISTORY_BYTES", room)
        history = History(positions, 2)
        for _ in range(2):
            history.record(images, torch.arange(6.0).half())
        a = history.arrays()
        assert (
            a["preview_positions"].tolist() == kept and a["preview_confidence"][0].tolist() == kept
        )
        assert np.array_equal(a["previews"][1], (images[kept] * 255).round().byte().numpy())


def test_how_sure_the_teacher_was_of_the_last_step_is_how_sure_it_is_of_what_was_kept():
    _, setting, s = build(generator_steps=3, augment="student")
    made = Synthesis(setting, s, None)
    for _ in range(3):
        made.step()
    _, a = stored(made)
    sure = a["preview_confidence"]
    assert sure[-1] == pytest.approx(
        a["confidence"][a["preview_positions"]], abs=2e-2
    ) and not np.allclose(sure[0], sure[-1], atol=1e-3)


def test_kept_step_is_the_one_whose_images_were_kept():
    _, setting, s = build(keep="best", generator_steps=6, augment="student")
    made = Synthesis(setting, s, None)
    seen = []
    for _ in range(6):
        made.step()
        seen.append((made.images * 255).round().byte().numpy())
    _, a = stored(made)
    (step,) = a["kept_step"].tolist()
    assert np.array_equal(seen[step], a["images"]) and not np.array_equal(
        seen[step - 1], a["images"]
    )


def test_preview_is_the_batch_as_it_was():
    """A preview that is read late still shows its own step."""
    _, setting, s = build(generator_steps=3)
    made = Synthesis(setting, s, None)
    made.step()
    early, shown = made.make_preview(), (made.images * 255).round().byte().numpy()
    made.step()
    seen = early()
    assert (
        np.array_equal(seen["images"], shown)
        and seen["step"].tolist() == [0]
        and seen["iteration"].tolist() == [0]
    )
    assert np.array_equal(seen["labels"], made.positions.numpy())


def test_generator_life():
    """Re-created before iteration life·I, with fresh weights from a seed of its own, and not
    before.
    """
    _, setting, s = build(generator_life=1)
    first = s.generators[28]
    for expected in (1, 1, 2, 2, 3):
        made = Synthesis(setting, s, None)
        made.step(), made.step(), stored(made)
        s.iterations += 1
        assert s.generators_created == expected
    assert s.generators[28] is not first


@pytest.mark.parametrize("term", ["ce", "adv", "bn", "kr"])
def test_a_part_that_is_not_a_number_stops_before_the_update(term, monkeypatch):
    name = {"ce": "cross_entropy", "adv": "adversarial", "bn": "batch_norm", "kr": "key_region"}[
        term
    ]
    honest = getattr(losses, name)
    _, setting, s = build(generator_steps=3)
    made = Synthesis(setting, s, s.snapshot())
    made.step()
    before = state_of(s.generators[28]), state_of(made.source.noisy_layer)
    monkeypatch.setattr(losses, name, lambda *a, **k: honest(*a, **k) * float("nan"))
    with pytest.raises(Diverged) as caught:
        made.step()
    assert (caught.value.term, caught.value.step) == (term, 1)
    learned = {k: v for k, v in before[0].items() if k in dict(s.generators[28].named_parameters())}
    assert all(
        torch.equal(v, dict(s.generators[28].named_parameters())[k]) for k, v in learned.items()
    )
    assert same(before[1], state_of(made.source.noisy_layer))


def test_only_what_the_teacher_names_as_intended_enters():
    _, setting, s = build(
        admit="recognized", batch=40, pool_policy="fifo", ratio=0.01, evaluate_on="none"
    )
    made = Synthesis(setting, s, None)
    made.step()
    batch = made.measure(s.snapshot())
    entered, arrays = made.store(batch)
    named = arrays["teacher_top"][:, 0] == arrays["labels"]
    offered = 40 - setting.held_out(40)
    assert 0 < named.sum() < 40 and entered.numpy()[offered:].sum() == 0
    assert (entered.numpy()[:offered] == named[:offered]).all() and len(s.pool) == named[
        :offered
    ].sum()


def test_the_smallest_crop_falls_over_a_batch():
    _, setting, s = build(
        generator_crop=0.2, crop_curriculum=True, generator_steps=3, augment="both"
    )
    made, crops = Synthesis(setting, s, None), []
    for _ in range(3):
        crops.append(made._variation().crop)
        made.step()
    assert crops == [pytest.approx(1.0), pytest.approx(0.6), pytest.approx(0.2)]


def test_the_optimiser_starts_over_and_the_generator_goes_on():
    _, setting, s = build(restart_optimizer=True, iterations=2)
    generator = s.generators[28]
    first = Synthesis(setting, s, None)
    first.step(), stored(first)
    s.iterations += 1
    before, old = state_of(generator), s.generator_optimizers[28]
    Synthesis(setting, s, None)
    assert s.generators[28] is generator and same(before, state_of(generator))
    assert old.state and not s.generator_optimizers[28].state
