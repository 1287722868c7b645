"""CIFAR teachers as in C.1: the plan typed from the paper, torch's own optimizer and schedule, and
the command on a few images.
"""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kgen import __main__ as main
from kgen.augment import apply_views, draw_views
from kgen.data import catalogue, classes, data
from kgen.nets import architectures
from kgen.recipes import paper
from kgen.zoo import teach, zoo
from tests.support.errors import raises


def few(name: str = "cifar10", n: int = 40) -> data.RealImages:
    """Noise of CIFAR's shape; class c is brighter in channel c mod 3."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 10
    images = rng.integers(0, 120, (n, 3, 32, 32), dtype=np.uint8)
    images[np.arange(n), labels % 3] += 100
    return data.RealImages(name, images, labels.astype(np.int64), classes.names(name))


def test_the_plan_is_c_1():
    for dataset in ("cifar10", "cifar100"):
        for network in teach.PAPER:
            plan = teach.plan(dataset, network)
            assert (
                plan.optimizer,
                plan.lr,
                plan.weight_decay,
                plan.batch,
                plan.epochs,
                plan.pct_start,
            ) == ("plain-sgd", 0.1, 5e-4, 128, 200, 0)
            assert plan.architecture in architectures.NAMES and not plan.holds_out
    assert (
        teach.plan("cifar10", "wrn-40-2", 3).epochs == 3
        and teach.plan("cifar100").architecture == "resnet34-cifar"
    )
    assert teach.plan("cifar10") is teach.CIFAR and teach.plan("imagenette") is teach.IMAGENETTE


def test_every_teacher_and_student_of_table_2_can_be_trained():
    pairs = [pair for pair in paper.PAIRS if pair.data in catalogue.TRAINABLE]
    assert len(pairs) == 10
    named = {
        teach.plan(d, n).name: teach.plan(d, n) for d in catalogue.TRAINABLE for n in teach.PAPER
    }
    for pair in pairs:
        assert (
            named[pair.teacher].title == catalogue.TEACHERS[pair.teacher].title
            and pair.student in teach.PAPER
        )


def test_steps_are_torchs_sgd_under_a_cosine():
    """Two epochs against a loop with a rate in closed form: rate(t) = lr·(1 + cos πt/T)/2."""
    plan = dataclasses.replace(teach.plan("cifar10", "wrn-16-1", 2), batch=10)
    real = few(n=20)
    mine, theirs = (zoo.build("wrn-16-1", {}, 0, 3, 10, 32) for _ in range(2))
    told = list(teach.teach(mine, real, None, plan, seed=4))
    assert (
        [p.ends_epoch for p in told] == [True, True]
        and told[-1].step == told[-1].steps == 4
        and all(p.accuracy is None for p in told)
    )
    rng, normalise = (
        torch.Generator().manual_seed(4),
        teach.make_normalizer(*teach.statistics(real)),
    )
    momentum: dict[str, torch.Tensor] = {}
    theirs.train()
    step = 0
    for _ in range(2):
        for index in torch.randperm(20, generator=rng).split(10):
            x = torch.from_numpy(real.images[index.numpy()]).float() / 255
            x = normalise(apply_views(x, draw_views((10,), rng, shift=4), 4))
            theirs.zero_grad()
            F.cross_entropy(theirs(x), torch.from_numpy(real.labels)[index]).backward()
            rate = 0.1 * (1 + math.cos(math.pi * step / 4)) / 2
            with torch.no_grad():
                for name, p in theirs.named_parameters():
                    g = p.grad + 5e-4 * p
                    momentum[name] = g if name not in momentum else 0.9 * momentum[name] + g
                    p -= rate * momentum[name]
            step += 1
    torch.testing.assert_close(
        dict(mine.named_parameters()), dict(theirs.named_parameters()), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_the_command_makes_a_teacher_of_the_catalogue(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    whole = teach.paper_plan
    monkeypatch.setattr(
        teach,
        "paper_plan",
        lambda dataset, network: dataclasses.replace(whole(dataset, network), batch=10),
    )
    monkeypatch.setattr(data, "training_set", lambda name, folder, download, side: few(name, 20))
    monkeypatch.setattr(data, "test_set", lambda name, folder, side: few(name))
    with pytest.raises(SystemExit) as ended:
        main.cli(["teach", "cifar10", "--network", "wrn-40-2", "--epochs", "1"])
    assert ended.value.code == 0 and " 40 real test images" in capsys.readouterr().out
    about, teacher = zoo.spec("cifar10-wrn-40-2"), zoo.load_teacher("cifar10-wrn-40-2")
    card = teacher.card
    assert (card.name, card.title, card.n_train, card.n_test, card.data) == (
        "cifar10-wrn-40-2",
        "WRN-40-2 on CIFAR-10",
        20,
        40,
        "cifar10",
    )
    assert (
        about["mean"] == teach.statistics(few(n=20))[0]
        and about["held_out_accuracy"] is None
        and card.accuracy is not None
    )


def test_missing_training_images_are_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    with raises(data.DataError, "no-data", "CIFAR-10", tmp_path, "CIFAR10(r", name="cifar10"):
        data.training_set("cifar10")
    with raises(data.DataError, "no-held-out", "evaluate_on to 'test'"):
        data.split(few())
    with raises(zoo.ZooError, "unknown-data", "'cifar10'", name="cifar-10"):
        teach.plan("cifar-10")
    with raises(zoo.ZooError, "unknown-network", "'wrn-40-2'", name="wrn-40-3"):
        teach.plan("cifar10", "wrn-40-3")


@pytest.mark.parametrize("train", [True, False])
def test_training_images_are_read_as_torchvision_lays_them_out(train, monkeypatch, tmp_path):
    """Files of the published layout with few images; only the published checksums are waived."""
    from torchvision.datasets import CIFAR10

    rng, folder = np.random.default_rng(0), tmp_path / CIFAR10.base_folder
    folder.mkdir()
    whole = rng.integers(0, 256, (12, 3 * 32 * 32), dtype=np.uint8)
    for i, (file, _) in enumerate(CIFAR10.train_list + CIFAR10.test_list):
        (folder / file).write_bytes(
            pickle.dumps({"data": whole[2 * i : 2 * i + 2], "labels": [i, 9 - i]})
        )
    (folder / "batches.meta").write_bytes(
        pickle.dumps({"label_names": list(classes.names("cifar10"))})
    )
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    found = data.training_set("cifar10", tmp_path) if train else data.test_set("cifar10", tmp_path)
    wanted = whole[:10] if train else whole[10:]
    assert np.array_equal(found.images, wanted.reshape(-1, 3, 32, 32)) and len(found) == len(wanted)
    assert (
        found.labels.tolist() == ([0, 9, 1, 8, 2, 7, 3, 6, 4, 5] if train else [5, 4])
        and found.classes[1] == "automobile"
    )
