"""Teaching a teacher on a few real images, for both networks that the command knows."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kgen.__main__ import cli
from kgen.zoo import zoo
from kgen.zoo.teach import (
    PLANS,
    finish,
    make_normalizer,
    make_optimizer,
    output_file,
    plan,
    statistics,
    teach,
)
from tests.support.errors import raises
from tests.support.small import few_images


def short(name: str, **changes):
    shape = (
        {"width": 8, "blocks": (1, 1)}
        if name == "cnn"
        else {"patch": 4, "dim": 16, "depth": 1, "heads": 2}
    )
    return dataclasses.replace(
        PLANS["fashion-mnist"][name], shape=shape, batch=20, epochs=4, **changes
    )


def fresh(plan):
    return zoo.build(plan.architecture, plan.shape, 0, 1, 10, 28)


@pytest.mark.parametrize("name", PLANS["fashion-mnist"])
def test_it_learns_and_its_file_tells_what_is_true(name, tmp_path):
    plan, real = short(name, cutout=4), few_images("fashion-mnist")
    network = fresh(plan)
    told = list(teach(network, real, real, plan, seed=1))
    again = list(teach(fresh(plan), real, real, plan, seed=1))
    assert told == again and [p.epoch for p in told if p.accuracy is not None] == [0, 1, 2, 3]
    assert told[-1].step == told[-1].steps == 20 and told[-1].loss < told[0].loss
    zoo.save_network(network, tmp_path / "t.safetensors", finish(network, real, real, real, plan))
    teacher = zoo.load_teacher(tmp_path / "t.safetensors")
    images = torch.from_numpy(real.images).float() / 255
    with torch.no_grad():
        logits = teacher.logits(images)
        torch.testing.assert_close(logits, network(make_normalizer(*statistics(real))(images)))
    right = sum(int(row.argmax()) == label for row, label in zip(logits, real.labels.tolist()))
    assert teacher.card.accuracy == right / 100 == told[-1].accuracy
    assert teacher.card.architecture == plan.architecture and teacher.card.n_train == 200


@pytest.mark.parametrize("name", PLANS["fashion-mnist"])
def test_only_matrices_and_kernels_decay(name):
    network = fresh(short(name))
    decayed, free = (group["params"] for group in make_optimizer(network, short(name)).param_groups)
    names = {id(p): n for n, p in network.named_parameters()}
    assert len(decayed) + len(free) == len(names)
    assert all(names[id(p)].endswith("weight") and p.ndim > 1 for p in decayed)
    assert all(p.ndim == 1 or names[id(p)] in ("vit.pos_embed", "vit.cls_token") for p in free)


def test_an_unknown_network_is_bad_input(tmp_path):
    with raises(zoo.ZooError, "unknown-network", "'vit'", name="vitt"):
        cli(
            [
                "teach",
                "fashion-mnist",
                "--network",
                "vitt",
                "--out",
                str(tmp_path / "t.safetensors"),
            ],
            standalone_mode=False,
        )


def test_a_file_that_cannot_be_written_is_noticed_before_the_training(tmp_path):
    for out in (tmp_path, tmp_path / "none" / "teacher.safetensors"):
        with raises(zoo.ZooError, "unwritable", str(out)):
            output_file(plan("fashion-mnist"), out)


@pytest.mark.parametrize(("data", "flip"), [("fashion-mnist", True), ("mnist", False)])
def test_digits_are_not_mirrored(data, flip):
    plan, real = short("cnn"), dataclasses.replace(few_images("fashion-mnist"), name=data)
    plan = dataclasses.replace(plan, epochs=1, shift=0, cutout=0)
    network = fresh(plan)
    normalize, seen = make_normalizer(*statistics(real)), []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    list(teach(network, real, None, plan))
    originals = normalize(torch.from_numpy(real.images).float() / 255).flatten(1)
    nearest = torch.cdist(torch.cat(seen).flatten(1), originals).amin(1)
    assert bool((nearest > 1).any()) == flip
    assert finish(network, real, None, real, plan)["card"]["flip"] == flip
