"""A network in a user's own file: how it is built, and what the error says if it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from kgen.nets import own_code
from kgen.nets.own_code import OwnCodeError
from kgen.nets.small_cnn import seeded
from kgen.system import files
from kgen.zoo import zoo
from kgen.zoo.zoo import ZooError
from tests.support.errors import raises

NET = """
import torch
from torch import nn
from layers import WIDTH

class Net(nn.Sequential):
    def __init__(self, num_classes=10, in_chans=1, width=WIDTH):
        super().__init__(
            nn.Conv2d(in_chans, width, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(width, num_classes),
        )

def plain():
    return Net(4, 3, 12)

def forwarding(**options):
    return Net(**options)

def broken(num_classes):
    return Net(num_classes).missing

def needy(num_classes, depth, *, width, **more):
    return Net(num_classes)

def number():
    return 3

class Scaled(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("times", torch.ones((), dtype=torch.long))
    def forward(self, x):
        return super().forward(x) * self.times

class Methods(Net):
    def forward_features(self, x):
        return self[1](self[0](x))
    def forward_head(self, x, pre_logits=False):
        x = self[3](self[2](x))
        return x if pre_logits else self[4](x)
    def get_classifier(self):
        return self[4]
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "layers.py").write_text("WIDTH = 8")
    (tmp_path / "net.py").write_text(NET)
    return tmp_path / "net.py"


def build(file, name, **arguments):
    architecture = f"{file}:{name}"
    options = {"channels": 3, "classes": 5, "side": 16, "arguments": arguments}
    return seeded(
        own_code.build, 0, own_code.short(architecture), own_code.locate(architecture), **options
    )


@pytest.mark.parametrize(
    ("name", "arguments", "width", "classes"),
    [
        ("Net", {}, 8, 5),
        ("Net", {"width": 6}, 6, 5),
        ("forwarding", {"width": 6, "in_chans": 3}, 6, 10),
        ("plain", {}, 12, 4),
        ("Methods", {}, 8, 5),
    ],
)
def test_it_is_called_with_what_it_takes(file, name, arguments, width, classes):
    network = build(file, name, **arguments)
    maps = network.forward_features(torch.zeros(2, 3, 16, 16))
    assert maps.shape == (2, width, 8, 8)
    assert network.forward_head(maps, pre_logits=True).shape == (2, width)
    assert network.forward_head(maps).shape == (2, classes)


@pytest.mark.parametrize(
    ("name", "code", "facts"),
    [
        ("nothing", "unknown-function", ["'nothing'", "plain"]),
        ("broken", "code-failed", ["broken()", "AttributeError", 20]),
        ("number", "not-a-network", ["int"]),
        ("needy", "invalid-arguments", ["'depth' and 'width'", "--arch-args depth=VALUE"]),
    ],
)
def test_what_cannot_be_built_is_said_with_file_and_line(file, name, code, facts):
    with raises(OwnCodeError, code, "net.py", *facts):
        build(file, name)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("import nowhere_at_all", [1, "nowhere_at_all"]),
        ("x = (", [1]),
        ("raise SystemExit(3)", [1]),
    ],
)
def test_a_file_that_cannot_be_imported(file, text, facts):
    file.write_text(text)
    with raises(OwnCodeError, "code-failed", str(file), *facts, file=str(file)):
        build(file, "Net")


def test_a_file_that_is_gone_or_has_changed(file):
    code = own_code.locate(f"{file}:Net")
    options = {"channels": 3, "classes": 5, "side": 16, "arguments": {}}
    file.write_text(NET + "# edited")
    with raises(OwnCodeError, "other-code", str(file)):
        own_code.build("net.py:Net", code, **options)
    file.unlink()
    with raises(OwnCodeError, "no-file", str(file)):
        own_code.build("net.py:Net", code, **options)


def test_the_files_that_it_imports_are_part_of_what_was_checked(file):
    """Also while it is being built, from a folder, and when the edit keeps the size and the second
    (which a stale copy of the compiled code would hide).
    """
    (file.parent / "parts").mkdir()
    (file.parent / "parts" / "late.py").write_text("N = 1")
    file.write_text(NET + "\ndef late():\n    from parts import late\n    return Net(late.N)\n")
    code = own_code.locate(f"{file}:late")
    options = {"channels": 3, "classes": 5, "side": 16, "arguments": {}}
    own_code.build("net.py:late", code, **options)
    names = ("net.py", "layers.py", "parts/late.py")
    assert set(code.checksums) == {str(file.parent / name) for name in names}
    checked = own_code.UserCode(code.file, code.checksums)
    own_code.build("net.py:late", checked, **options)
    for name in names[1:]:
        edited, before = file.parent / name, (file.parent / name).read_text()
        edited.write_text(before[:-1] + "7")
        with raises(OwnCodeError, "other-code", file=str(edited)):
            own_code.build("net.py:late", checked, **options)
        edited.unlink()
        with raises(OwnCodeError, "no-file", file=str(edited)):
            own_code.build("net.py:late", checked, **options)
        edited.write_text(before)
    del checked.checksums[str(file.parent / "parts" / "late.py")]
    with raises(OwnCodeError, "other-code", file=str(file.parent / "parts" / "late.py")):
        own_code.build("net.py:late", checked, **options)


def test_weights_that_change_what_the_network_does_are_refused(file):
    network = build(file, "Scaled")
    state = network.state_dict()
    network.load_state_dict(state)
    with raises(OwnCodeError, "not-a-network", "net.py:Scaled"):
        network.load_state_dict(state | {"network.times": torch.tensor(2)})


def test_files_of_the_same_name_in_two_folders_are_two_files(file, tmp_path):
    before, path = {*sys.modules}, [*sys.path]
    other = tmp_path / "other"
    other.mkdir()
    (other / "net.py").write_text(NET)
    (other / "layers.py").write_text("WIDTH = 9")
    widths = [build(f, "Net").get_classifier().in_features for f in (file, other / "net.py", file)]
    assert widths == [8, 9, 8]
    assert sys.path == path and not {n for n in {*sys.modules} - before if "layers" in n}


def test_what_it_prints_is_not_a_result(file, capsys):
    body = "return self[1](self[0](x))"
    text = NET.replace(body, f"print('forward')\n        {body}")
    file.write_text("import sys\nprint('import')\nsys.stdout.write('written')\n" + text)
    build(file, "Methods").forward_features(torch.zeros(1, 3, 16, 16))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(word in captured.err for word in ("import", "written", "forward"))


def teacher(tmp_path, code: dict | None = None) -> Path:
    """A teacher's file whose network is in net.py, in the folder of the user's own teachers."""
    card = {
        **{"name": "x", "title": "x", "architecture": "net.py:Net", "parameters": 1, "channels": 3},
        **{"side": 16, "features": 8, "n_train": 100},
    }
    spec = {"card": card, "classes": list("abcde"), "mean": [0.5] * 3, "std": [0.5] * 3}
    path = tmp_path / "home" / "teachers" / "gift.safetensors"
    path.parent.mkdir(parents=True)
    network = torch.nn.Module()
    network.network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), *[torch.nn.Identity()] * 3)
    network.network.append(torch.nn.Linear(8, 5))
    zoo.save_network(network, path, spec | ({"user_code": code} if code else {}))
    return path


def test_nothing_runs_where_it_is_forbidden_or_was_not_asked_for(file, monkeypatch, tmp_path):
    """A card that names a file is not enough: whoever sends a teacher must not run code here, not
    even if it is put where the user's own teachers are, or if it is a copy of the user's own file.
    """
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + NET)
    sha256 = files.sha256(file)
    gift = teacher(tmp_path, {"file": "net.py", "sha256": sha256})
    for name in ("gift", gift):
        with raises(ZooError, "no-file", "net.py:Net"):
            zoo.load_teacher(name)
    student = {"architecture": "net.py:Net", "channels": 3, "classes": list("abcde")}
    zoo.save_network(torch.nn.Linear(1, 1), tmp_path / "s.safetensors", student)
    with raises(ZooError, "no-file", "net.py:Net"):
        zoo.load_student(tmp_path / "s.safetensors")
    # a permission with a relative path is none
    relative = own_code.UserCode(Path("net.py"), {"net.py": sha256})
    own_code.permit(files.sha256(gift), relative)
    with raises(ZooError, "no-file", "net.py:Net"):
        zoo.load_teacher(gift)
    monkeypatch.setenv(own_code.SWITCH, "0")
    with raises(OwnCodeError, "command-line-only", "net.py"):
        build(file, "Net")
    assert not (tmp_path / "ran").exists()


def test_a_permission_is_for_one_teacher(file, monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path / "home"))
    own, code = teacher(tmp_path), own_code.locate(f"{file}:Net")
    own_code.build("net.py:Net", code, channels=3, classes=5, side=16, arguments={})
    own_code.permit(files.sha256(own), code)
    assert zoo.load_teacher("gift").classes == tuple("abcde")
    own.write_bytes(own.read_bytes()[:-1] + b"\0")  # another teacher under the same name
    with raises(ZooError, "no-file", "net.py:Net"):
        zoo.load_teacher("gift")


@pytest.mark.parametrize(
    ("typed", "code", "facts"),
    [
        ("nte.py:Net", "no-file", ["no file nte.py in ", "Did you mean net.py?", "FILE.py:NAME"]),
        ("~/nte.py:Net", "no-file", ["Did you mean net.py?"]),
        ("elsewhere.py:Net", "no-file", ["It has: layers.py, net.py."]),
        ("empty/net.py:Net", "no-file", ["no Python files"]),
        ("none/net.py:Net", "no-file", ["none does not exist"]),
        ("net:Net", "invalid-name", ["--arch net.py:Net"]),
        ("nte:Net", "invalid-name", ["FILE.py:NAME"]),
        ("net.py:Net()", "invalid-name", ["FILE.py:NAME"]),
        ("net.py: Net", "invalid-name", ["FILE.py:NAME"]),
        (":Net", "invalid-name", ["FILE.py:NAME"]),
        ("/:Net", "invalid-name", ["FILE.py:NAME"]),
        (f"{300 * 'n'}:Net", "invalid-name", ["FILE.py:NAME"]),
        (f"{300 * 'n'}.py:Net", "no-file", ["It has: layers.py, net.py."]),
    ],
)
def test_a_mistyped_file_is_not_taken_for_an_architecture(
    file, typed, code, facts, monkeypatch, tmp_path
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with raises(OwnCodeError, code, *facts):
        own_code.from_typed(typed)


def test_a_typed_file_is_found_from_any_folder(file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for typed in ("net.py:Net", "./net.py:Net", "~/net.py:Net", f"{file}:Net"):
        assert own_code.from_typed(typed) == f"{file}:Net"
    for name in ("resnet18", "timm:resnet18.a1_in1k", "torchvision:resnet18", "vit_tiny.x"):
        assert own_code.from_typed(name) is None


def test_a_file_is_neither_a_saved_teacher_nor_a_student(monkeypatch, tmp_path):
    monkeypatch.setenv("KGEN_HOME", str(tmp_path))
    with raises(ZooError, "unknown-teacher", "preflight WEIGHTS --arch net.py:Net"):
        zoo.locate("net.py:Net")
    with raises(ZooError, "unknown-student", "net.py:Net"):
        zoo.build_student("net.py:Net", 1, 10, 0)
