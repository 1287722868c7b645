"""Teachers and data that are not bundled: facts against independent sources, and instructions that
work as written.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kgen.data import catalogue, classes
from kgen.nets import architectures
from kgen.recipes import paper
from kgen.system import paths
from kgen.system.paths import ROOT
from kgen.zoo import teach, zoo
from tests.support.errors import raises

# Table 6, typed from the paper: image size, channels, classes, training and test images
TABLE_6 = {
    "mnist": ((28, 28), 1, 10, 60_000, 10_000),
    "cifar10": ((32, 32), 3, 10, 50_000, 10_000),
    "cifar100": ((32, 32), 3, 100, 50_000, 10_000),
    "tiny-imagenet": ((64, 64), 3, 200, 100_000, 10_000),
    "imagenette": ((224, 224), 3, 10, 9_469, 3_925),
    "imagewoof": ((224, 224), 3, 10, 9_902, 3_926),
    "imagenet1k": ((224, 224), 3, 1000, 1_281_167, 50_000),
    "traffic-signs": ((1200, 1600), 3, 4, 747, 684),
    "megapixel-mnist": ((1500, 1500), 1, 10, 5_000, 1_000),
}


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    return tmp_path


def sketch(name: str):
    """The teacher's network without weights."""
    facts = catalogue.TEACHERS[name]
    with torch.device("meta"):
        return architectures.build(
            facts.architecture, catalogue.DATA[facts.data].channels, len(classes.names(facts.data))
        )


@pytest.mark.parametrize("name", TABLE_6)
def test_table_6(name):
    facts, (size, channels, count, n_train, n_test) = catalogue.DATA[name], TABLE_6[name]
    assert (facts.size, facts.channels, facts.n_train, facts.n_test) == (
        size,
        channels,
        n_train,
        n_test,
    )
    assert len(classes.names(name)) == count and len(facts.mean) == len(facts.std) == channels
    assert (
        abs(facts.side**2 - size[0] * size[1]) <= facts.side + 1
    )  # the square with as many pixels, to half a pixel


@pytest.mark.parametrize("name", catalogue.TEACHERS)
def test_cards_say_what_the_networks_are(name):
    network, card = sketch(name), zoo.card(name)
    assert card.parameters == sum(p.numel() for p in network.parameters())
    assert card.features == network.get_classifier().in_features == network.num_features
    assert network.get_classifier().out_features == len(zoo.classes(name)) == TABLE_6[card.data][2]
    facts = catalogue.DATA[card.data]
    assert (card.name, card.n_train, card.n_test, card.channels, card.side) == (
        name,
        facts.n_train,
        facts.n_test,
        facts.channels,
        facts.side,
    )
    assert card.accuracy is None  # the paper's number is not a measurement of ours
    assert name in {pair.teacher for pair in paper.PAIRS}


@pytest.mark.parametrize(
    "name", ["imagenet1k-resnet34", "imagenet1k-resnet50", "imagenet1k-deit-base"]
)
def test_published_weights_have_the_tensors_that_we_load(name):
    """torchvision's and timm's own networks, by name and shape; ours wraps the transformer, whose
    names it adds to.
    """
    import timm
    import torchvision

    kind, _, model = catalogue.TEACHERS[name].weights.partition(":")
    make = {"timm": timm.create_model, "torchvision": torchvision.models.get_model}[kind]
    with torch.device("meta"):
        theirs = make(model.partition(".")[0])
    ours = {k.removeprefix("vit."): v.shape for k, v in sketch(name).state_dict().items()}
    assert ours == {k: v.shape for k, v in theirs.state_dict().items()}


@pytest.mark.parametrize("name", catalogue.TEACHERS)
def test_what_is_missing_is_one_sentence_with_its_place(name, home):
    place = home / "teachers" / f"{name}.safetensors"
    for ask in (zoo.load_teacher, zoo.locate, zoo.checksum):
        with raises(zoo.ZooError, "no-teacher", repr(name), place, name=name) as told:
            ask(name)
        text = str(told.value)
    facts = catalogue.TEACHERS[name]
    if facts.weights:  # the command itself is run in test_fetch.py
        assert text.endswith(f": python -m kgen fetch {name}")
    elif facts.data.startswith("cifar"):
        assert text.endswith(f": python -m kgen teach {facts.data} --network {facts.architecture}")
        assert teach.plan(facts.data, facts.architecture).name == name
    else:
        call = text.partition("train kgen.nets.architectures.build")[2].partition(" on real")[0]
        assert (
            call == f"('{facts.architecture}', channels={catalogue.DATA[facts.data].channels},"
            f" classes={len(classes.names(facts.data))})"
        )
        assert (
            str(list(catalogue.DATA[facts.data].mean)) in text
            and str(list(catalogue.DATA[facts.data].std)) in text
        )


@torch.no_grad()
def test_weights_that_are_there_are_the_teacher(home, rng):
    """The sentence's instruction followed to the letter, with random weights in place of trained
    ones.
    """
    network = zoo.build("wrn-40-2", {}, 5, 3, 10, 32).eval()
    file = home / "teachers" / "cifar10-wrn-40-2.safetensors"
    file.parent.mkdir()
    save_file(network.state_dict(), file)
    teacher = zoo.load_teacher("cifar10-wrn-40-2")
    images = torch.rand(3, 3, 28, 28, generator=rng)
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    )
    torch.testing.assert_close(teacher.logits(images), network((images - mean) / std))
    assert (
        teacher.map_kind == "cam"
        and teacher.side_multiple == 1
        and teacher.classes == classes.names("cifar10")
    )
    assert (
        zoo.checksum("cifar10-wrn-40-2")
        == subprocess.run(
            ["sha256sum", file], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )


@pytest.mark.parametrize("damage", ["shape", "missing", "surplus", "bytes"])
def test_other_weights_are_refused_by_name(damage, home):
    state = zoo.build("wrn-40-2", {}, 5, 3, 10, 32).state_dict()
    file = home / "teachers" / "cifar10-wrn-40-2.safetensors"
    file.parent.mkdir()
    code, what, facts = "invalid-tensor", ["wrn-40-2", "10 classes"], {}
    if damage == "shape":
        state["fc.weight"] = torch.zeros(100, 128)
        facts = {"tensor": "fc.weight", "found": "100 × 128", "expected": "10 × 128"}
    elif damage == "missing":
        del state["stem.weight"]
        facts = {"tensor": "stem.weight", "found": "missing", "expected": "16 × 3 × 3 × 3"}
    elif damage == "surplus":
        state["more"] = torch.zeros(1)
        facts = {"tensor": "more", "expected": None}
    else:
        code, what = "unreadable", []
    save_file(state, file)
    if damage == "bytes":
        file.write_bytes(file.read_bytes()[:1000])
    said = [value for value in facts.values() if value]
    with raises(zoo.ZooError, code, file, *what, *said, **facts):
        zoo.load_teacher("cifar10-wrn-40-2")


def test_cards_need_neither_torch_nor_a_file(tmp_path):
    code = (
        "import sys, kgen.zoo.zoo as z, kgen.data.catalogue as c, kgen.data.data\n"
        "assert all(z.card(n) and z.classes(n) for n in c.TEACHERS)\n"
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        check=True,
        env=os.environ | {"KGEN_HOME": str(tmp_path)},
    )


@pytest.mark.slow
def test_a_run_without_its_teacher_is_one_sentence_and_exit_code_2(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "kgen",
            "run",
            "imagenette-r34-r18-kgen-s",
            "--out",
            str(tmp_path / "run"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"KGEN_HOME": str(tmp_path)},
    )
    place = tmp_path / "teachers" / "imagenette-resnet34.safetensors"
    assert done.returncode == 2 and done.stdout == "" and not (tmp_path / "run").exists()
    assert done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) == 1
    assert "'imagenette-resnet34'" in done.stderr and str(place) in done.stderr


def test_home_is_the_variable_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    assert (
        paths.home() == tmp_path
        and catalogue.data_folder("cifar10") == tmp_path / "data" / "cifar10"
    )
    monkeypatch.delenv("KGEN_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "me")
    assert paths.home() == tmp_path / "me" / ".cache" / "kgen"


# --- names of the classes -------------------------------------------------------------------------


@pytest.mark.parametrize("name", classes.known())
def test_no_two_classes_read_alike(name):
    names = classes.names(name)
    assert len(set(names)) == len(names) and all(n == n.strip() and n for n in names)


def test_imagenet_and_its_subsets_are_torchvisions_and_timms():
    from timm.data import ImageNetInfo
    from torchvision.datasets import Imagenette
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    wnids = classes.wnids("imagenet1k")
    assert list(wnids) == ImageNetInfo("imagenet-1k").label_names() == sorted(wnids)
    differ = {(a, b) for a, b in zip(_IMAGENET_CATEGORIES, classes.names("imagenet1k")) if a != b}
    assert (
        differ <= {("Cardigan", "Cardigan Welsh corgi")} and len(set(_IMAGENET_CATEGORIES)) == 1000
    )
    published = Imagenette._WNID_TO_CLASS
    assert classes.wnids("imagenette") == tuple(sorted(published))
    for wnid, name in zip(classes.wnids("imagenette"), classes.names("imagenette")):
        assert name in published[wnid]
    woof = (
        "n02086240 n02087394 n02088364 n02089973 n02093754 n02096294 n02099601 n02105641 n02111889"
        " n02115641"
    )
    assert classes.wnids("imagewoof") == tuple(woof.split())
    assert len(set(classes.wnids("tiny-imagenet"))) == 200 and set(
        classes.wnids("tiny-imagenet")
    ) < set(wnids)
    assert classes.wnids("cifar10") is None


def test_cifars_names_are_in_the_order_of_their_labels():
    assert classes.names("cifar10") == (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    hundred = classes.names("cifar100")
    assert (
        list(hundred) == sorted(hundred) and hundred[0] == "apple" and hundred[-1] == "worm"
    )  # its labels are alphabetical
    assert classes.names("megapixel-mnist")[7] == "seven"
