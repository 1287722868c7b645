"""Every row of a preflight against the facts about the file, and a saved teacher against the
network called by hand.
"""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from kgen.data import classes
from kgen.keyregion import gaussian_target
from kgen.nets import architectures
from kgen.nets.small_cnn import seeded
from kgen.preflight import capabilities, classtexts, matching, probes
from kgen.preflight.examination import preflight, save_teacher
from kgen.preflight.request import PreflightError, Report, Row
from kgen.system.memory import free_memory
from kgen.zoo import zoo
from tests.support import hostile
from tests.support.errors import raises

NAMES = ["cat", "dog", "horse"]
MINE = {
    "mean": (0.5,),
    "std": (0.25,),
    "side": 28,
    "n_train": 3000,
    "data": "fashion-mnist",
    "resolutions": (28,),
}


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def network():
    """As if it had been trained: its BatchNorm layers have seen an image."""
    network = zoo.build_student("small-cnn-20k", 1, 3, 5).train()
    network(torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    return network.eval()


@pytest.fixture
def file(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


@pytest.fixture
def free(monkeypatch):
    """Without real steps, for tests that do not need them."""
    monkeypatch.setattr(probes, "cost", lambda teacher, side: probes.Cost(0.001, None))


def rows(report: Report) -> dict[str, Row]:
    assert len({row.name for row in report.rows}) == len(report.rows)
    for row in report.rows:
        assert (
            row.finding
            and "\n" not in row.finding + row.advice
            and (row.status == "ok" or row.advice or row.name in ("file", "architecture"))
        )
    return {row.name: row for row in report.rows}


def statuses(report: Report, status: str) -> list[str]:
    return [row.name for row in report.rows if row.status == status]


def test_a_good_checkpoint_has_nothing_to_note(file):
    report = preflight(file, "small-cnn-20k", NAMES, **MINE)
    found = rows(report)
    assert report.ok and statuses(report, "ok") == list(found), report
    assert list(found) == [
        "file",
        "architecture",
        "tensors",
        "classes",
        "class texts",
        "normalization",
        "input",
        "spatial map",
        "BatchNorm",
        "memory budget",
        "real images",
        "cost",
    ]
    assert (
        "28 → 7 × 7" in found["spatial map"].finding
        and "smallest image 8 × 8" in found["spatial map"].finding
    )
    assert (
        found["classes"].finding == "3 classes, 3 names: cat, dog, horse"
        and "3,000" in found["memory budget"].finding
    )
    card = report.spec["card"]
    assert (
        card["features"] == 32
        and (card["smallest"], card["cell"]) == (8, 4)
        and report.spec["classes"] == NAMES
        and report.spec["width"] == 16
    )
    assert Report.model_validate(report.model_dump(exclude={"ok"})).rows == report.rows


def test_a_kept_teacher_answers_as_the_network_by_hand(file, network, rng, free):
    path = save_teacher(preflight(file, "small-cnn-20k", NAMES, **MINE), "my-pets")
    teacher, images = zoo.load_teacher("my-pets"), torch.rand(4, 1, 28, 28, generator=rng)
    with torch.no_grad():
        assert torch.equal(teacher.logits(images), network((images - 0.5) / 0.25))
    assert (
        path == zoo.locate("my-pets")
        and teacher.card == zoo.card("my-pets")
        and teacher.card.features == teacher(images).embedding.shape[1]
    )


def test_safetensors_and_timms_resnet_with_the_usual_values(tmp_path, free):
    """Channels and outputs follow from the file; what is not given is taken from timm, and reported
    as such.
    """
    network = seeded(architectures.build, 0, "resnet18", 1, 3)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    report = preflight(tmp_path / "w.safetensors", "resnet18", NAMES, resolutions=(64, 101))
    found = rows(report)
    assert report.ok and statuses(report, "warn") == [
        "normalization",
        "input",
        "key region",
        "BatchNorm",
        "memory budget",
        "real images",
    ]
    assert found["BatchNorm"].finding.startswith("20 layers, all ")
    assert (
        "unnormalized pixels" in found["normalization"].finding
    )  # timm's three numbers are useless for one channel
    assert re.search(r"\b224 × 224 .*timm.*\b1 channel\b", found["input"].finding)
    assert (
        "64 → 2 × 2, 96 → 3 × 3" in found["spatial map"].finding
        and "101 becomes 96" in found["spatial map"].advice
    )
    assert (
        re.search(r"1,000 per class.* 3,000 ", found["memory budget"].finding)
        and report.spec["card"]["n_train"] == 3000
    )
    assert "20 layers" in found["BatchNorm"].finding
    low = float(gaussian_target(3, 3).min())
    assert f"96: {low:.2f} to 1.00" in found["key region"].finding


def test_three_channels_are_timms(tmp_path, free):
    save_file(
        seeded(architectures.build, 0, "resnet18", 3, 3).state_dict(), tmp_path / "w.safetensors"
    )
    report = preflight(tmp_path / "w.safetensors", "resnet18", NAMES, resolutions=(64,))
    assert (
        "0.485, 0.456, 0.406" in rows(report)["normalization"].finding
        and "timm's" in rows(report)["normalization"].finding
    )


@pytest.mark.parametrize(
    ("given", "card", "row", "finding", "advice"),
    [
        ({"data": "mnist"}, {}, "input", "1 of the data set mnist", "Omit --data: "),
        ({"channels": 1}, {}, "input", "3 channels in the file, but 1 given", "Omit --channels, "),
        ({}, {"channels": 1}, "input", "from the file's card", "set --channels 3."),
        ({}, {"data": "mnist"}, "input", "1 of the data set mnist", "The card names the wrong "),
        ({"mean": (0.5,), "std": (0.2,)}, {}, "normalization", "1 number (given)", "3 numbers"),
    ],
)
def test_advice_about_channels_names_where_they_come_from(
    tmp_path, given, card, row, finding, advice
):
    spec = json.dumps({"card": card | {"architecture": "small-cnn-20k"}})
    network = zoo.build_student("small-cnn-20k", 3, 10, 0)
    save_file(network.state_dict(), tmp_path / "w.safetensors", {"kgen": spec})
    report = preflight(tmp_path / "w.safetensors", "small-cnn-20k", **given)
    last = report.rows[-1]
    assert (last.name, last.status) == (row, "fail")
    assert finding in last.finding and advice in last.advice


def test_wrong_architecture_names_tensors_and_shapes(file):
    report = preflight(file, "small-cnn-75k", NAMES, **MINE)
    row = rows(report)["tensors"]
    assert not report.ok and report.spec is None and row.status == "fail" and report.rows[-1] is row
    assert (
        "missing: stages.1.shortcut" in row.finding
        or "stem.0.weight (16 × 1 × 3 × 3, expected 24 × 1 × 3 × 3)" in row.finding
    )
    assert " more" in row.finding


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("stem.1.bias"), "1 missing: stem.1.bias (16)"),
        (
            lambda s: s.update({"stem.9.extra": torch.zeros(2, 3)}),
            "1 unexpected: stem.9.extra (2 × 3)",
        ),
        (
            lambda s: s.update({"stem.1.bias": torch.zeros(17)}),
            ": stem.1.bias (17, expected 16)",
        ),
        (
            lambda s: s.update({"stem.1.bias": torch.zeros(16, dtype=torch.int64)}),
            "stem.1.bias (16 of int64, expected 16)",
        ),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("stages.")], "and 20 more"),
    ],
)
def test_differences_are_counted_and_named(network, tmp_path, change, words):
    state = dict(network.state_dict())
    change(state)
    torch.save(state, tmp_path / "w.pt")
    row = rows(preflight(tmp_path / "w.pt", "small-cnn-20k", NAMES, **MINE))["tensors"]
    assert row.status == "fail" and words in row.finding


def test_counters_of_batches_may_be_missing(network, tmp_path, free):
    torch.save(
        {k: t for k, t in network.state_dict().items() if not k.endswith(matching.COUNTER)},
        tmp_path / "w.pt",
    )
    report = preflight(tmp_path / "w.pt", "small-cnn-20k", NAMES, **MINE)
    assert report.ok and zoo.load_teacher(save_teacher(report, "mine"))


def test_a_map_of_a_single_cell_is_told_apart_from_a_nearly_flat_target(tmp_path, free):
    network = architectures.build("resnet18", 3, 3, side=64)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    own = {"side": 64, "n_train": 300, "resolutions": (32, 64)}
    report = preflight(tmp_path / "w.pt", "resnet18", NAMES, **own)
    finding = rows(report)["key region"].finding
    assert "for images of 32 × 32, the map is a single cell" in finding
    assert "64: 0.94" in finding and "32: " not in finding


def test_by_order(network, tmp_path, rng, free):
    torch.save(
        {f"layer{i}": t for i, t in enumerate(network.state_dict().values()) if t.ndim},
        tmp_path / "w.pt",
    )
    row = rows(preflight(tmp_path / "w.pt", "small-cnn-20k", NAMES, **MINE))["tensors"]
    assert row.status == "fail" and "try --by-order" in row.advice
    report = preflight(tmp_path / "w.pt", "small-cnn-20k", NAMES, **MINE, by_order=True)
    assert report.ok and rows(report)["tensors"].status == "warn"
    save_teacher(report, "by-order")
    images = torch.rand(2, 1, 28, 28, generator=rng)
    with torch.no_grad():
        assert torch.equal(
            zoo.load_teacher("by-order").logits(images), network((images - 0.5) / 0.25)
        )
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    assert (
        "order"
        in rows(preflight(tmp_path / "w.safetensors", "small-cnn-20k", NAMES, by_order=True))[
            "tensors"
        ].finding
    )


@pytest.mark.parametrize(
    ("names", "name", "status", "words"),
    [
        (["cat", "dog"], "classes", "fail", "3 classes but 2 names"),
        (None, "classes", "fail", "3 classes and no "),
        (["cat", "dog", "cat"], "class texts", "fail", "'cat' (classes 0, 2)"),
        (["cat", "dog", "Horses"], "class texts", "warn", " 1 of 3: Horses"),
        (
            ["cat", "sandal", "Sandal"],
            "class texts",
            "warn",
            ": 'sandal' and 'Sandal'",
        ),
    ],
)
def test_names_of_classes(file, free, names, name, status, words):
    report = preflight(file, "small-cnn-20k", names, **(MINE | {"data": None}))
    row = rows(report)[name]
    assert (
        (row.status, report.ok) == (status, status == "warn")
        and words in row.finding
        and row.advice
    )
    assert "cost" in rows(report)  # the rest is reported all the same
    if names and "Horses" in names:
        assert "class centers" in row.advice and "'Horses' → 'horse'" in row.advice


def test_a_single_output_is_not_a_classifier(tmp_path):
    torch.save(zoo.build_student("small-cnn-20k", 1, 1, 0).state_dict(), tmp_path / "w.pt")
    assert (
        "single output"
        in rows(preflight(tmp_path / "w.pt", "small-cnn-20k", ["cat"], **MINE))["classes"].finding
    )


def test_what_the_card_in_a_file_says_is_enough():
    report = preflight(zoo.TEACHERS["fashion-cnn"], resolutions=(28,))
    known = zoo.spec("fashion-cnn")
    assert report.ok and not statuses(report, "fail")
    assert {k: report.spec[k] for k in ("classes", "mean", "std", "width", "blocks")} == {
        k: known[k] for k in ("classes", "mean", "std", "width", "blocks")
    }
    same = ("architecture", "parameters", "channels", "side", "features", "n_train", "data", "flip")
    assert {k: report.spec["card"][k] for k in same} == {k: known["card"][k] for k in same}


def test_a_transformer_has_no_batch_norm_and_attends():
    report = preflight(zoo.TEACHERS["fashion-vit"], resolutions=(28, 12))
    found = rows(report)
    assert report.ok and found["BatchNorm"].status == "warn" and "off" in found["BatchNorm"].advice
    assert (
        "[CLS]" in found["spatial map"].finding
        and "28 → 7 × 7, 12 → 3 × 3" in found["spatial map"].finding
    )
    larger = rows(preflight(zoo.TEACHERS["fashion-vit"], resolutions=(32,)))["spatial map"]
    assert (
        larger.status == "fail"
        and "grid" in larger.finding
        and re.findall(r"\d+", larger.advice) == ["8", "28"]
    )


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"kgen": "["}, "no card"),
        (
            {"kgen": '{"architecture": "SmallResNet", "width": 1000000000, "blocks": [1, 1]}'},
            "1024",
        ),
        (
            {"kgen": '{"architecture": "SmallResNet"}'},
            ": small-cnn-20k",
        ),
        ({"kgen": '{"architecture": "resnet1"}'}, "architecture 'resnet1'"),
        ({"kgen": '{"architecture": 7}'}, "has no card"),
        ({"kgen": '{"card": []}'}, "has no card"),
    ],
)
def test_a_strangers_card_is_not_believed(network, tmp_path, metadata, words):
    save_file(network.state_dict(), tmp_path / "w.safetensors", metadata)
    row = preflight(tmp_path / "w.safetensors").rows[-1]
    assert row.name == "architecture" and row.status == "fail" and words in row.finding


def test_a_hostile_file_is_one_row(tmp_path):
    report = preflight(hostile.code(tmp_path / "x.pt"), "resnet18", NAMES)
    (row,) = report.rows
    assert (
        row.status == "fail"
        and "rejected" in row.finding
        and not report.ok
        and not (tmp_path / "x.mark").exists()
    )


def test_networks_without_a_map_that_bear_one_size_only_or_give_nonsense(
    file, network, free, monkeypatch
):
    monkeypatch.setattr(probes, "map_size", lambda teacher, side: None)
    assert (
        "key region"
        in capabilities.maps(zoo.load_teacher("fashion-cnn"), "none", (28,), 8)[0][0].advice
    )

    def only_28(teacher, side):
        if side != 28:
            raise ValueError("expected 28")
        return (7, 7)

    monkeypatch.setattr(probes, "map_size", only_28)
    teacher = zoo.load_teacher("fashion-cnn")
    found, sides = capabilities.maps(teacher, "cam", None, probes.smallest_side(teacher))
    assert sides == (28,) and "smallest image 28 × 28" in found[0].finding
    found, sides = capabilities.maps(teacher, "cam", (20,), 28)
    assert sides == () and re.search(r"20 × 20\b.*: expected 28", found[0].finding)


def test_weights_that_overflow_are_found(network, tmp_path):
    torch.save(
        {k: t * 1e30 if t.is_floating_point() else t for k, t in network.state_dict().items()},
        tmp_path / "w.pt",
    )
    row = rows(preflight(tmp_path / "w.pt", "small-cnn-20k", NAMES, **MINE))["input"]
    assert row.status == "fail" and "not finite" in row.finding


def test_cost_is_measured_or_reckoned(monkeypatch):
    made = []
    monkeypatch.setattr(
        probes, "cost", lambda teacher, side: made.append(side) or probes.Cost(1.2, 2**20)
    )
    row = capabilities.cost(zoo.load_teacher("fashion-cnn"), (28, 14, 20))
    assert made == [14, 20]
    measured, reckoned = r"{}: 1\.2 s, 1 MB\b[^;]*; ", r"28: about 2\.4 s\b"
    assert re.search(measured.format(14) + measured.format(20) + reckoned, row.finding)
    monkeypatch.setattr(
        probes,
        "cost",
        lambda teacher, side: (_ for _ in ()).throw(RuntimeError("can't allocate memory")),
    )
    assert capabilities.cost(zoo.load_teacher("fashion-cnn"), (28,)).status == "fail"


def test_real_steps_are_real(teacher):
    found = probes.cost(teacher, 28)
    assert 0 < found.seconds < 60 and (found.memory is None or 2**26 < found.memory < 2**35)
    assert free_memory() is None or free_memory() > 2**26


# --- saving it ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "My",
        "a/b",
        "../x",
        "a b",
        ".x",
        "x.",
        "con",
        "nul.x",
        "fashion-cnn",
        "cifar10-resnet34",
        "x" * 65,
        "a\n",
    ],
)
def test_names_that_cannot_be_given(name, file, free, home):
    with pytest.raises(PreflightError):
        save_teacher(preflight(file, "small-cnn-20k", NAMES, **MINE), name)
    assert not home.exists()


def test_what_is_not_kept(file, free, home):
    report = preflight(file, "small-cnn-20k", NAMES, **MINE)
    save_teacher(report, "mine")
    with raises(PreflightError, "exists", home / "teachers" / "mine.safetensors"):
        save_teacher(report, "mine")
    with raises(PreflightError, "check-failed"):
        save_teacher(preflight(file, "small-cnn-20k", ["cat"], **MINE), "other")
    with raises(PreflightError, "no-weights", "'save'"):
        save_teacher(Report.model_validate(report.model_dump(exclude={"ok"})), "other")
    assert [f.name for f in (home / "teachers").iterdir()] == ["mine.safetensors"]


def test_half_precision_that_overflows_is_refused(network, tmp_path, free, home):
    torch.save(
        {k: t + 1e5 if k == "fc.bias" else t for k, t in network.state_dict().items()},
        tmp_path / "w.pt",
    )
    report = preflight(tmp_path / "w.pt", "small-cnn-20k", NAMES, **MINE)
    with raises(PreflightError, "out-of-range", "'fc.bias'", "65504"):
        save_teacher(report, "mine", half=True)
    assert not home.exists() and save_teacher(report, "mine")


def test_the_nearest_class_texts_of_known_data_give_no_warning():
    assert [
        data
        for data in classes.known()
        if classtexts.check_texts(classes.names(data)).status != "ok"
    ] == []


# --- constructor arguments and native sizes ---

SMALL_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}


def test_constructor_arguments_are_kept_in_the_card(tmp_path, free):
    network = seeded(architectures.build, 0, "vit_tiny_patch16_224", 3, 3, 32, SMALL_VIT)
    torch.save(network.vit.state_dict(), tmp_path / "vit.pt")
    text = ", ".join(f"{name}={value}" for name, value in SMALL_VIT.items())
    report = preflight(tmp_path / "vit.pt", "vit_tiny_patch16_224", NAMES, arguments=text)
    found = rows(report)
    assert report.ok and "img_size=32,patch_size=8" in found["architecture"].finding
    assert found["input"].status == "ok" and "32 × 32" in found["input"].finding
    path = save_teacher(report, "small-vit")
    teacher = zoo.load_teacher("small-vit")
    assert (teacher.card.arguments, teacher.card.side) == (SMALL_VIT, 32)
    assert teacher.side_multiple == 8
    assert preflight(path).ok  # from its card alone
    assert rows(preflight(path, "vit_tiny_patch16_224", arguments="depth=2"))["tensors"].status == (
        "fail"
    )


def test_timm_is_asked_for_the_size_before_the_network_is_built(tmp_path, free):
    """Position embeddings of 160 pixels do not accept the usual 224."""
    network = seeded(architectures.build, 0, "test_vit", 3, 3, 160)
    torch.save(network.vit.state_dict(), tmp_path / "vit.pt")
    found = rows(preflight(tmp_path / "vit.pt", "test_vit", NAMES, resolutions=(64,)))
    assert found["input"].status == "warn" and "160 × 160" in found["input"].finding


@pytest.mark.parametrize(
    ("architecture", "arguments", "facts"),
    [
        ("vit_tiny_patch16_224", "embd_dim=24", ["'embed_dim'"]),
        ("small-cnn-20k", "width=3", ["width=3"]),
    ],
)
def test_arguments_that_an_architecture_does_not_take(file, architecture, arguments, facts):
    row = rows(preflight(file, architecture, NAMES, arguments=arguments, side=28))["architecture"]
    assert row.status == "fail" and all(fact in row.finding for fact in facts)


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"arguments": "pretrained=true"}, ["arguments", "pretrained"]),
        ({"arguments": {"checkpoint_path": "/x"}}, ["arguments", "checkpoint_path"]),
        ({"architecture": "net.py"}, ["net.py:build"]),
    ],
)
def test_requests_that_no_network_could_meet(fields, facts):
    with raises(PreflightError, "invalid-value", *facts):
        preflight("w.pt", **fields)


def test_a_card_cannot_name_a_file_to_run(tmp_path):
    """Only the person who asks for the check can."""
    spec = {"card": {"architecture": "net.py:build"}, "classes": NAMES}
    zoo.save_network(torch.nn.Linear(2, 3), tmp_path / "w.safetensors", spec)
    (tmp_path / "net.py").write_text("raise SystemExit")
    row = rows(preflight(tmp_path / "w.safetensors"))["architecture"]
    assert row.status == "fail" and "--arch" in row.finding


@pytest.mark.parametrize(
    ("values", "given", "found"),
    [
        ("torch.full((1, 3, 1, 1), 0.5)", {}, "ok"),
        ("torch.full((1, 3, 1, 1), 0.5)", {"mean": [0.4] * 3, "std": [0.2] * 3}, "warn"),
        ("[0.5, 0.5, 0.5]", {}, "ok"),
        (None, {}, "warn"),
    ],
)
def test_a_network_of_ones_own_that_normalizes_its_images(values, given, found, tmp_path):
    """Normalizing them once more would reduce its accuracy without any error."""
    used = "(x - torch.as_tensor(self.mean).view(1, 3, 1, 1)) / self.std[0]" if values else "x"
    (tmp_path / "net.py").write_text(
        f"""
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, num_classes)
        mean = {values or "[0.5] * 3"}
        if isinstance(mean, list):
            self.mean, self.std = mean, [0.25] * 3
        else:
            self.register_buffer("mean", mean)
            self.register_buffer("std", mean / 2)

    def forward(self, x):
        return self.fc(self.conv({used}).relu().mean((2, 3)))
"""
    )
    tensors = {"conv.weight": torch.rand(4, 3, 3, 3), "conv.bias": torch.rand(4)}
    tensors |= {"fc.weight": torch.rand(3, 4), "fc.bias": torch.rand(3)}
    if values and values.startswith("torch"):
        tensors |= {"mean": torch.full((1, 3, 1, 1), 0.5), "std": torch.full((1, 3, 1, 1), 0.25)}
    torch.save(tensors, tmp_path / "net.pt")
    architecture = f"{tmp_path / 'net.py'}:Net"
    report = preflight(tmp_path / "net.pt", architecture, NAMES, side=16, resolutions=[16], **given)
    row = rows(report)["normalization"]
    assert (row.status, "normalizes its images itself" in row.finding) == (found, bool(values))
    if values and not given:
        assert (report.spec["mean"], report.spec["std"]) == ([0.0] * 3, [1.0] * 3)
        assert "(mean and std)" in row.finding
