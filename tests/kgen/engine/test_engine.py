"""The loop: exact counts and order in both schedules, what leaves no trace, and how runs end."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch

import kgen
from kgen import losses
from kgen.data import data
from kgen.engine.controls import Gate
from kgen.engine.engine import Distillation
from kgen.engine.setting import Setting
from kgen.engine.student_training import StudentTrainer
from kgen.engine.synthesis import Synthesis
from kgen.engine.warnings import warnings_of
from kgen.recipe.recipe import RecipeError
from tests.support.errors import raises
from tests.support.small import mini

SCHEDULES = ["sequential", "concurrent"]


@pytest.fixture
def made(monkeypatch):
    """Every step actually taken, in order: ("generator" | "student", iterations done, student steps
    done).
    """
    log, naps = [], {"generator": 0.0, "student": 0.0}

    def watched(kind, honest):
        def step(self):
            log.append((kind, self.state.iterations, self.state.student_steps))
            return honest(self)

        return step

    def slowed(gate, kind, honest=Gate.try_enter):
        time.sleep(naps[kind])
        return honest(gate, kind)

    monkeypatch.setattr(Synthesis, "step", watched("generator", Synthesis.step))
    monkeypatch.setattr(StudentTrainer, "step", watched("student", StudentTrainer.step))
    monkeypatch.setattr(Gate, "try_enter", slowed)

    class View:
        def __init__(self):
            self.log, self.naps = log, naps

        def count(self):
            return Counter(kind for kind, *_ in log)

    return View()


def kinds(events):
    return Counter(e.kind for e in events)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epochs": 4, "warmup": 0.5, "iterations": 1, "student_steps": 11},
        {"warmup": 0.0, "epochs": 1},
    ],
)
def test_counts_are_exact(quick, made, schedule, changes):
    r = quick.replace(schedule=schedule, **changes)
    d = Distillation(r)
    events = list(d)
    generator = r.epochs * r.iterations * r.generator_steps
    student = (r.epochs - r.warmup_epochs) * r.student_steps
    assert made.count() == {"generator": generator, "student": student}
    assert (d.state.iterations, d.state.student_steps) == (r.epochs * r.iterations, student)
    n = kinds(events)
    assert (n["generator_step"], n["iteration_started"], n["batch_synthesised"]) == (
        generator,
        r.epochs * r.iterations,
        r.epochs * r.iterations,
    )
    assert (events[0].generator_steps, events[0].student_steps) == (generator, student)
    # evaluated on 100 images at every third step but the last, and once at the end
    steps = [e.step for e in events if e.kind == "evaluated" and not e.final]
    assert steps == [i for i in range(student - 1) if (i + 1) % 3 == 0]
    assert [e.student.n for e in events if e.kind == "evaluated" and e.final] == [100]
    assert events[-1].kind == "run_finished" and events[-1].reason == "done" and events[-1].n == 100
    assert [e.step for e in events if e.kind == "student_step"][-1] == student - 1
    assert d.state.pool.pixels <= d.state.pool.budget_pixels


def test_sequential_is_algorithm_1(quick, made):
    list(kgen.distill(quick))
    expected = []
    for epoch in range(3):
        expected += ["generator"] * 4
        expected += ["student"] * 4 if epoch >= 1 else []
    assert [kind for kind, *_ in made.log] == expected


@pytest.mark.slow
@pytest.mark.parametrize("slow", ["generator", "student"])
def test_neither_leads_by_more_than_an_epoch(quick, made, slow):
    made.naps[slow] = 0.2 if slow == "student" else 0.03
    r = quick.replace(schedule="concurrent", epochs=6, warmup=0.17)
    list(kgen.distill(r))
    leads = []
    for kind, iterations, student_steps in made.log:
        generator_epoch = iterations // r.iterations
        student_epoch = r.warmup_epochs + student_steps // r.student_steps
        if kind == "student":
            assert generator_epoch >= student_epoch  # all images of the epochs before it are there
        else:
            leads.append(generator_epoch - student_epoch)
    assert max(leads) <= 1
    if slow == "student":
        assert max(leads) == 1  # it did run ahead, and was held
    else:
        assert any(kind == "student" for kind, *_ in made.log[: len(made.log) // 2])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_adversarial_part_is_off_in_warm_up(quick, schedule):
    for e in kgen.distill(quick.replace(schedule=schedule)):
        if e.kind == "generator_step":
            assert (e.parts["adv"] == 0) == (e.epoch == 0)
            assert e.parts["adv"] <= 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_class_makes_images_and_no_student(quick, made, schedule):
    events = list(kgen.distill(quick.replace(schedule=schedule, classes=("Bag",))))
    n = kinds(events)
    assert (
        made.count() == {"generator": 12}
        and n["student_step"] == n["evaluated"] == 0
        and n["batch_synthesised"] == 6
    )
    assert events[0].student_steps == 0 and events[0].classes == ["Bag"]
    assert any("no student is trained" in e.text for e in events if e.kind == "warning")
    assert events[-1].reason == "done" and events[-1].accuracy is None


def test_accuracy_is_among_the_chosen_classes(quick):
    events = list(kgen.distill(quick.replace(classes=("Bag", "Trouser", "Sandal"))))
    final = next(e for e in events if e.kind == "evaluated" and e.final)
    assert final.student.n == 30 and len(final.student.per_class) == 3 and final.teacher.n == 30
    assert final.teacher.accuracy > 0.9
    reference = events[0].arrays
    assert len(reference["labels"]) == 30 and set(reference["labels"].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("diverse", [False, True])
def test_the_students_view_is_reported_at_every_test(quick, diverse):
    """Its embedding of the pool's images is the network's own output for them, with the classes'
    anchors if there are any.
    """
    recipe = quick.replace(**{"weights.ed": 5.0, "weights.aed": 1.0}) if diverse else quick
    d = Distillation(recipe)
    told, batches = [], {}
    for e in d:
        if e.kind == "batch_synthesised":
            batches[e.iteration] = e.arrays
        elif e.kind == "evaluated":
            told.append(e)
    assert [e.file for e in told] == [
        f"students/{n:07d}.safetensors"
        for n in [*(e.step + 1 for e in told[:-1]), d.state.student_steps]
    ]
    a, s = told[-1].arrays, d.state
    assert (
        ("anchors" in a) == diverse
        and len(a["pos"]) == len(s.pool)
        and len(a["reference"]) == len(d.setting.reference_images)
    )
    images = (
        torch.from_numpy(
            np.stack([batches[i]["images"][pos] for i, pos in zip(a["iteration"], a["pos"])])
        ).float()
        / 255
    )
    assert a["labels"].tolist() == [
        batches[i]["labels"][pos] for i, pos in zip(a["iteration"], a["pos"])
    ]
    with torch.no_grad():
        seen = s.student.eval().forward_head(
            s.student.forward_features((images - d.setting.teacher.mean) / d.setting.teacher.std),
            pre_logits=True,
        )
        seen = s.projection(seen) if diverse else seen
    assert a["embedding"] == pytest.approx(seen.numpy(), abs=2e-2)
    if diverse:
        assert a["anchors"] == pytest.approx(s.class_vectors(torch.arange(10)).numpy(), abs=1e-3)


@pytest.mark.slow
def test_no_global_random_state_is_touched(quick):
    """The draws come from named generators: torch's, NumPy's and Python's own are unchanged."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    list(kgen.distill(quick.replace(views=2, generator_life=1)))
    list(kgen.distill(quick.replace(schedule="concurrent")))
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0]) and before[2] == after[2]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1]))


@pytest.mark.slow
def test_no_trace_is_left(quick):
    torch.set_num_threads(2)  # of which each thread takes one
    d = Distillation(quick.replace(schedule="concurrent"))
    networks = [d.setting.teacher.network, d.state.student, d.state.generators[28]]
    modes = [[m.training for m in n.modules()] for n in networks]
    buffers = {k: v.clone() for k, v in networks[0].state_dict().items()}
    list(d)
    assert torch.get_num_threads() == 2
    assert [[m.training for m in n.modules()] for n in networks] == modes
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in networks[0].modules())
    assert all(not p.requires_grad and p.grad is None for p in networks[0].parameters())
    assert all(torch.equal(v, buffers[k]) for k, v in networks[0].state_dict().items())
    assert not [t for t in threading.enumerate() if t.name == "student"]


def fingerprint(recipe):
    d = Distillation(recipe)
    told = [
        {
            k: v
            for k, v in e.model_dump(mode="json", exclude={"t"}).items()
            if k not in ("arrays", "preview")
        }
        for e in d
    ]
    return told, {k: v.clone() for k, v in d.state.student.state_dict().items()}


@pytest.mark.slow
def test_a_seed_decides_everything(quick):
    a, b, c = fingerprint(quick), fingerprint(quick), fingerprint(quick.replace(seed=1))
    assert a[0] == b[0] and all(torch.equal(v, b[1][k]) for k, v in a[1].items())
    assert a[0][1:] != c[0][1:]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_closing_the_stream_ends_the_run(quick, made, schedule):
    torch.set_num_threads(2)
    stream = kgen.distill(quick.replace(schedule=schedule, epochs=200, warmup=0.0, ratio=0.02))
    for e in stream:
        if e.kind == "student_step":
            break
    stream.close()
    assert not [t for t in threading.enumerate() if t.name == "student"]
    count = made.count()
    time.sleep(0.2)
    assert made.count() == count and torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("schedule", "name", "term", "after"),
    [
        ("sequential", "key_region", "kr", 13),
        ("concurrent", "batch_norm", "bn", 13),
        ("sequential", "distillation", "kl", 4),
        ("concurrent", "distillation", "kl", 4),
    ],
)
def test_a_loss_that_is_not_a_number_ends_the_run_in_words(
    quick, monkeypatch, schedule, name, term, after
):
    honest, calls = getattr(losses, name), []

    def broken(*args, **kwargs):
        calls.append(1)
        return honest(*args, **kwargs) * (float("nan") if len(calls) > after else 1.0)

    monkeypatch.setattr(losses, name, broken)
    events = list(kgen.distill(quick.replace(schedule=schedule)))
    failed = events[-1]
    assert failed.kind == "run_failed" and failed.term == term and failed.cause and failed.remedy
    assert failed.step is not None and kinds(events)["run_finished"] == 0
    told = [v for e in events for v in getattr(e, "parts", {}).values()]
    assert np.isfinite(told).all()
    assert not [t for t in threading.enumerate() if t.name == "student"]


def test_a_damaged_image_of_the_real_data_ends_the_run_in_words(quick, monkeypatch):
    class Damaged:
        shape = (60, 1, 28, 28)

        def __getitem__(self, index):
            if isinstance(index, slice):
                raise data.DataError("a/b.png is not a readable image (broken); replace it.")
            return self

    real = data.RealImages("x", Damaged(), np.arange(60) % 10, data.FASHION_CLASSES)
    monkeypatch.setattr(data, "test_set", lambda name, side: real)
    *_, failed = kgen.distill(quick)
    assert failed.kind == "run_failed" and "a/b.png" in failed.cause and "resume" in failed.remedy


@pytest.mark.parametrize(
    ("changes", "code", "facts"),
    [
        ({"classes": ("Bga",)}, "unknown-class", ["'Bga'", "fashion-cnn", "'Bag'"]),
        ({"classes": (10,)}, "unknown-class", ["10", "fashion-cnn"]),
        ({"classes": ("Bag", 8)}, "duplicate-class", []),
        ({"ratio": 1e-6}, "too-small", ["1e-06", "28 × 28"]),
        ({"device": "mps"}, "no-device", ["'mps'", "cpu"]),
    ],
)
def test_what_this_machine_cannot_do_is_said_before_the_run(changes, code, facts):
    with raises(RecipeError, code, *facts, field=next(iter(changes))):
        Distillation(mini(**changes))


@pytest.mark.parametrize("average", [False, True])
def test_one_process_has_no_generators_to_average(average):
    texts = [text for text, _ in warnings_of(Setting(mini(average_generators=average)))]
    assert any("generators are not averaged" in text for text in texts) == average


def test_a_plan_below_the_budget_is_a_warning(quick):
    events = list(kgen.distill(quick.replace(ratio=0.01, epochs=1, warmup=0.0)))
    [text] = [e.text for e in events if e.kind == "warning"]
    assert re.findall(r"\d+", text) == ["24", "600"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"keep": "best"},
        {"pool_policy": "fifo"},
        {"pool_policy": "reservoir"},
        {"generator_life": 1},
        {"views": 3},
        {"augment": "none"},
        {"output": "batchnorm", "up_first": True},
        {"report_every": 3},
        {"adv_mask": "agree", "bn_scale": "raw"},
        {"optimizers.student.name": "adamw", "optimizers.student.lr": 0.01},
        {"resolutions": [32], "deep": True},
        {"batch": 25, "classes": [1, 2]},
        {"resolutions": [28, 16]},
        {"weights.ed": 10.0, "weights.aed": 5.0},
        {"weights.ed": 10.0, "embedding": "center", "batch": 20},
        {
            "weights.aed": 5.0,
            "embedding": "center",
            "aed_embedding": "teacher",
            "batch": 20,
            "resolutions": [16, 28],
        },
        {"student_crop": 0.3, "views": 4, "edges": "reflect"},
        {"generator_crop": 0.5, "crop_curriculum": True, "adv_divergence": "js"},
        {"admit": "recognized", "restart_optimizer": True},
        {"mix": "cutmix", "views": 0},
        {"source": "latent", "feature_memory": 0.9},
        {"source": "pyramid"},
        {"source": "pixels", "weights.tv": 0.01, "weights.l2": 1e-4},
    ],
    ids=str,
)
def test_every_switch_runs_and_resumes_to_the_same_end(quick, changes):
    """From each checkpoint of the run: the rest of the events and the student are the uninterrupted
    run's, bit for bit.
    """
    r = quick.replace(**changes)
    whole, batches, kept = [], {}, []
    d = Distillation(r)
    for e in d:
        whole.append(e)
        if e.kind == "batch_synthesised":
            batches[e.iteration] = e.arrays
        if d.resumable:
            kept.append((len(whole), d.checkpoint()))
    assert whole[-1].reason == "done" and len(kept) >= 6

    def bare(e):
        return e.model_dump(mode="json", exclude={"t", "arrays", "preview"})

    for at, tensors in kept[1::3]:
        again = Distillation(r, resume=tensors, read_batch=batches.__getitem__)
        assert [bare(e) for e in again if e.kind != "control"] == [bare(e) for e in whole[at:]]
        assert all(
            torch.equal(v, d.state.student.state_dict()[k])
            for k, v in again.state.student.state_dict().items()
        )


@pytest.mark.slow
def test_evaluating_a_subset_does_not_touch_the_generators_statistics(monkeypatch):
    """The student's thread measures the teacher on real images; no layer of that pass may enter
    L_bn.
    """
    seen = set()
    real = losses.batch_norm
    monkeypatch.setattr(
        losses,
        "batch_norm",
        lambda statistics, *a: seen.add(len(statistics)) or real(statistics, *a),
    )
    for _ in kgen.distill(
        mini(classes=[0, 3, 7], schedule="concurrent", evaluate_every=1, epochs=4)
    ):
        pass
    assert len(seen) == 1
