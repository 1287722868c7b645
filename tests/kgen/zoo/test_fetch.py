"""From a name to a teacher that a recipe accepts: facts against timm and torchvision, and the whole
way through a server on this machine.
"""

from __future__ import annotations

import hashlib
import io
import json

import pytest
import torch
from safetensors.torch import save

from kgen import __main__ as main
from kgen.data import catalogue, classes
from kgen.nets import architectures
from kgen.system.paths import ROOT
from kgen.zoo import fetch, inventory, published, zoo
from tests.support.errors import raises
from tests.support.loopback import Shelf, serving

SMALL = "timm:mobilenetv3_small_050.lamb_in1k"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"


@pytest.fixture(scope="module")
def trained():
    """Stands in for published weights: a network with weights from a different seed than the
    loader's.
    """
    return zoo.build("mobilenetv3_small_050.lamb_in1k", {}, 9, 3, 1000, 224).eval()


@pytest.fixture
def hub(monkeypatch, trained):
    """Hugging Face on this machine, with that one file."""
    body = save({name: t.contiguous() for name, t in trained.state_dict().items()})
    with serving(Shelf(body, linked=hashlib.sha256(body).hexdigest())) as shelf:
        monkeypatch.setenv("HF_ENDPOINT", f"{shelf.url}/hub")
        yield shelf


def command(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        main.cli([*map(str, words)])
    return ended.value.code


# --- facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", published.TEACHERS)
def test_facts_are_what_timm_and_torchvision_say(name):
    plan, facts = fetch.plan(name), published.TEACHERS[name]
    card = plan.card
    assert (card.parameters, card.features, card.side, card.licence) == (
        facts.parameters,
        facts.features,
        facts.side,
        facts.licence,
    )
    assert (
        plan.weights.source == facts.source
        and card.architecture == facts.architecture
        and plan.name == card.name == name
    )
    assert (
        card.accuracy is None
        and card.n_train == catalogue.DATA[facts.data].n_train
        and card.data == facts.data
        and plan.weights.url.startswith("https://")
    )
    assert name not in catalogue.TEACHERS and name not in zoo.TEACHERS


@pytest.mark.parametrize(
    ("name", "facts"), [(n, f) for n, f in catalogue.TEACHERS.items() if f.weights]
)
def test_the_papers_published_teachers_keep_their_cards(name, facts):
    plan = fetch.plan(name)
    assert (
        plan.card == zoo.card(name)
        and plan.command == f"python -m kgen fetch {name}"
        and plan.weights.source == facts.weights
    )
    assert (
        plan.weights.mean == catalogue.IMAGENET[0]
        and plan.weights.std == catalogue.IMAGENET[1]
        and plan.weights.side == 224
    )


def test_published_accuracy_is_kept_apart():
    weights = fetch.find("torchvision:resnet50.IMAGENET1K_V2")
    assert weights.accuracy == 0.80858 and weights.url.endswith(
        "resnet50-11ad3fa6.pth"
    )  # the paper prints 80.86


@pytest.mark.parametrize(
    ("name", "code", "fact"),
    [
        ("resnet19", "unknown-weights", "'resnet18'"),
        ("cifar10-wrn-40-2", "unpublished", "python -m kgen teach cifar10 --network wrn-40-2"),
        ("timm:resnet18.nope", "unknown-weights", " resnet18.a1_in1k, "),
        ("timm:reznet18", "unknown-architecture", "'resnet18'"),
        ("timm:convnext_tiny.fb_in22k", "other-classes", " 21,841 "),
        ("timm:wrn-40-2", "unknown-architecture", "wrn-40-2"),
        ("torchvision:resnet18.V9", "unknown-weights", " resnet18.IMAGENET1K_V1"),
        ("torchvision:vgg16.IMAGENET1K_FEATURES", "no-classifier", "python -m kgen preflight"),
        ("torchvision:vit_b_16", "architecture", "'deit_tiny_patch16_224'"),
        ("timm:coat_tiny", "architecture", "several maps"),
    ],
)
def test_what_cannot_be_fetched_is_reported_before_the_first_byte(name, code, fact, home):
    with raises(zoo.ZooError, code, fact) as told:
        fetch.plan(name)
    assert len(str(told.value)) < 500
    assert not home.exists()


# --- the whole way --------------------------------------------------------------------------------


@pytest.mark.slow
@torch.no_grad()
def test_from_a_name_to_a_teacher_in_a_recipe(hub, trained, home, capsys):
    assert command("fetch", SMALL, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    name = "mobilenetv3_small_050.lamb_in1k"
    assert told["name"] == name and told["checksum"] == f"SHA-256 {hub.linked} as published"
    assert hub.asked[0][0] == f"/hub/timm/{name}/resolve/main/model.safetensors"
    assert {p.name for p in (home / "downloads").iterdir()} == {"lock"}
    assert zoo.user_teachers() == (name,) and zoo.classes(name) == classes.names("imagenet1k")
    teacher = zoo.load_teacher(name)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in catalogue.IMAGENET)
    torch.testing.assert_close(teacher.logits(images), trained((images - mean) / std))
    assert teacher.card.data == "imagenet1k" and teacher.card.parameters == sum(
        p.numel() for p in trained.parameters()
    )
    row = next(row for row in inventory.teachers() if row["name"] == name)
    assert row["state"] == "here" and row["licence"] == teacher.card.licence
    asked = len(hub.asked)
    assert command("fetch", SMALL) == 0 and len(hub.asked) == asked  # it is here already


@pytest.mark.slow
def test_interrupted_and_resumed_by_the_same_command(hub, capsys, monkeypatch, home):
    progress, seen = fetch.download.Progress, []

    def interrupt(*args):
        seen.append(args)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return progress(*args)

    monkeypatch.setattr(fetch.download, "Progress", interrupt)
    assert command("fetch", SMALL) == 130
    assert capsys.readouterr().err.strip().endswith(f": python -m kgen fetch {SMALL}")
    assert not (home / "teachers").exists()
    monkeypatch.undo()
    monkeypatch.setenv("KGEN_HOME", str(home))
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/hub")
    assert command("fetch", SMALL) == 0 and hub.asked[-1][1].startswith("bytes=")
    assert zoo.load_teacher("mobilenetv3_small_050.lamb_in1k")


def test_offline_is_one_sentence_and_exit_code_2(monkeypatch, capsys, home):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("sys.argv", ["kgen", "fetch", SMALL])
    with pytest.raises(SystemExit) as ended:
        main.main()
    out = capsys.readouterr()
    assert (
        ended.value.code == 2
        and out.out == ""
        and out.err.startswith("Error: 127.0.0.1 ")
        and f"python -m kgen fetch {SMALL}" in out.err
        and len(out.err.splitlines()) == 1
    )
    assert not (home / "teachers").exists() and {
        p.name for p in (home / "downloads").iterdir()
    } <= {"lock"}


@pytest.mark.slow
@torch.no_grad()
def test_a_teacher_of_the_paper_from_torchvisions_file(monkeypatch, home):
    """An old file of torch's, without BatchNorm's counters, at the address that torchvision
    gives.
    """
    source = zoo.build("resnet34", {}, 9, 3, 1000, 224).eval()
    buffer = io.BytesIO()
    torch.save(
        {k: t for k, t in source.state_dict().items() if not k.endswith("num_batches_tracked")},
        buffer,
    )
    body = buffer.getvalue()
    plan = fetch.plan("imagenet1k-resnet34")
    with serving(Shelf(body)) as shelf:
        there = fetch.dataclasses.replace(
            plan.weights, url=f"{shelf.url}/resnet34-{shelf.digest()[:8]}.pth"
        )
        plan = fetch.dataclasses.replace(plan, weights=there)
        assert list(fetch.fetch(plan))[-1].done == len(body)
    about = zoo.spec("imagenet1k-resnet34")
    assert (
        about["published_accuracy"] == 0.73314
        and about["source"] == "torchvision:resnet34.IMAGENET1K_V1"
    )  # the file's own card
    teacher = zoo.load_teacher("imagenet1k-resnet34")
    assert (
        teacher.card.title == "ResNet-34 on ImageNet-1k"
        and len(teacher.classes) == 1000
        and not teacher.network.training
    )
    mine = teacher.network.state_dict()
    assert all(torch.equal(mine[k], t) for k, t in source.state_dict().items())


def test_a_file_that_a_person_brought(trained, tmp_path):
    plan = fetch.plan(SMALL)
    brought = tmp_path / "none.safetensors"
    with raises(zoo.ZooError, "no-file", brought, "https://huggingface.co/timm/mobilenetv3"):
        list(fetch.fetch(plan, brought))
    file = tmp_path / "model.safetensors"
    state = {name: t.contiguous() for name, t in trained.state_dict().items()}
    file.write_bytes(save({k: t for k, t in state.items() if k != "conv_stem.weight"}))
    facts = {"tensor": "conv_stem.weight", "found": "missing", "expected": "16 × 3 × 3 × 3"}
    with raises(zoo.ZooError, "invalid-tensor", "1,000 classes", *facts.values(), **facts):
        list(fetch.fetch(plan, file))
    file.write_bytes(b"nonsense")
    with raises(zoo.ZooError, "damaged", plan.weights.url):
        list(fetch.fetch(plan, file))
    assert not plan.file.exists()
    file.write_bytes(save(state))
    assert list(fetch.fetch(plan, file)) == [] and file.is_file()
    assert zoo.spec(plan.name)["checksum"].startswith("no checksum")


class Spy:
    """A pickle that would run code."""

    def __reduce__(self):
        return (open, ("/dev/null",))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"w": Spy()}, "executable"),
        ({"state_dict": {"w": 3}}, "no-tensors"),
        ([1, 2], "no-tensors"),
    ],
)
def test_a_file_of_torch_runs_no_code_and_holds_tensors_only(content, code, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with raises(zoo.ZooError, code, "https://example.org/w.pth"):
        fetch.read(tmp_path / "w.pth", "https://example.org/w.pth")


@pytest.mark.parametrize(
    ("depth", "file"), [(20, "resnet20-12fca82f.th"), (56, "resnet56-4bfd9763.th")]
)
def test_the_published_networks_for_cifar(depth, file, home, capsys):
    """The published file itself, tensor by tensor, through the command."""
    path = ROOT.parent / "shared" / "data" / "weights" / file
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    name = f"resnet{depth}-cifar10"
    assert command("fetch", name, "--file", path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (
        told["checksum"] == f"SHA-256 begins with {file[9:17]} as published"
        and told["data"] == "cifar10"
        and told["side"] == 32
    )
    teacher = zoo.load_teacher(name)
    assert teacher.classes == classes.names(
        "cifar10"
    ) and teacher.mean.flatten().tolist() == pytest.approx(catalogue.IMAGENET[0])
    theirs, mine = (
        torch.load(path, map_location="cpu", weights_only=True)["state_dict"],
        teacher.network.state_dict(),
    )
    assert all(torch.equal(mine[k.removeprefix("module.")], t) for k, t in theirs.items())
    assert zoo.spec(name)["published_accuracy"] == published.TEACHERS[name].accuracy


# --- lists ----------------------------------------------------------------------------------------


def test_a_published_teacher_that_is_not_here_says_how_to_get_it(home):
    with raises(zoo.ZooError, "no-teacher", name="resnet18") as told:
        zoo.load_teacher("resnet18")
    assert str(home / "teachers" / "resnet18.safetensors") in str(told.value)
    assert str(told.value).endswith(": python -m kgen fetch resnet18")


def test_the_list_is_whole_and_says_what_to_do(capsys, home):
    assert command("zoo", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    teachers = {row["name"]: row for row in rows if row["kind"] == "teacher"}
    assert set(teachers) == {
        *(n for n, p in zoo.TEACHERS.items() if p.is_file()),
        *catalogue.TEACHERS,
        *published.TEACHERS,
    }
    assert [row["name"] for row in rows if row["kind"] == "student"] == [
        *zoo.STUDENTS,
        *architectures.NAMES,
    ]
    for name, row in teachers.items():
        assert row["state"] in inventory.GROUPS and row["parameters"] > 0 and row["side"] > 0
        assert ("python -m kgen " in row["how"]) == (row["state"] in ("fetch", "teach")), name
    (home / "teachers").mkdir(parents=True)
    (home / "teachers" / "broken.safetensors").write_bytes(b"nonsense")
    assert command("zoo") == 0
    assert (
        "broken" in (text := capsys.readouterr().out)
        and "cannot be read" in text
        and "Published weights" in text
    )
