"""A teacher whose network is in a user's own file, from the check to the evaluated student."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from kgen.journal.reading import open_run
from kgen.nets import own_code
from kgen.nets.small_cnn import seeded
from kgen.system.paths import ROOT
from kgen.zoo import zoo

NET = """
import os
import torch.nn.functional as F
from torch import nn

print("as noisy as files are")
os.system("echo and as the programs that they start")

class Net(nn.Module):
    def __init__(self, num_classes, width):
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width)
        self.conv2, self.fc = nn.Conv2d(width, 32, 3, 2, 1), nn.Linear(32, num_classes)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.bn(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))

def build(num_classes, **options):
    return Net(num_classes, **options)
"""
SETTINGS = {"teacher": "own-net", "bn_scale": "relative", "epochs": 12, "evaluate_every": 99}


def kgen(*words: object, home: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kgen", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=cwd,
        env=os.environ | {"KGEN_HOME": str(home), "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_check_run_kill_resume_export_and_evaluate(tmp_path, monkeypatch):
    home, run = tmp_path / "home", tmp_path / "run"
    monkeypatch.setenv("KGEN_HOME", str(home))
    (tmp_path / "net.py").write_text(NET)
    network = seeded(
        own_code.build,
        0,
        "net.py:build",
        own_code.locate(f"{tmp_path / 'net.py'}:build"),
        channels=1,
        classes=10,
        side=28,
        arguments={"width": 12},
    )
    own = {name.removeprefix("network."): t for name, t in network.state_dict().items()}
    torch.save(own, tmp_path / "net.pt")

    checked = kgen(
        *("preflight", "net.pt", "--arch", "net.py:build", "--arch-args", "width=12", "--json"),
        *("--data", "fashion-mnist", "--side", 28, "--n-train", 60_000, "--resolutions", 28),
        *("--mean", 0.286, "--std", 0.353, "--save", "own-net"),
        home=home,
        cwd=tmp_path,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    lines = [json.loads(line) for line in checked.stdout.splitlines()]
    rows = {line["name"]: line for line in lines if line["kind"] == "row"}
    assert "width=12" in rows["architecture"]["finding"]
    assert str(tmp_path / "net.py") in rows["architecture"]["advice"]
    assert "28 → 7 × 7" in rows["spatial map"]["finding"]
    assert str(tmp_path) not in str(zoo.spec("own-net"))  # the file can be sent to others
    card = zoo.card("own-net")
    assert (card.architecture, card.arguments) == ("net.py:build", {"width": 12})

    settings = [word for k, v in SETTINGS.items() for word in ("--set", f"{k}={v}")]
    child = subprocess.Popen(
        [sys.executable, "-m", "kgen", "run", "tiny", *settings, "--out", run]
        + ["--checkpoint-every", "0"],
        cwd=ROOT,
        env=os.environ | {"KGEN_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 120
    while not [*run.glob("checkpoint/*")] and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert not open_run(run).finished
    assert any("net.py:build" in w["text"] for w in warnings(run))
    assert str(tmp_path) not in (run / "events.jsonl").read_text()

    (tmp_path / "net.py").rename(tmp_path / "moved.py")
    missing = kgen("resume", run, "--json", home=home, cwd=tmp_path)
    told = json.loads(missing.stderr.splitlines()[-1])
    assert (missing.returncode, told["code"]) == (2, "no-file")
    assert told["file"] == str(tmp_path / "net.py")
    (tmp_path / "moved.py").rename(tmp_path / "net.py")

    for command in (("resume", run), ("export", run)):
        done = kgen(*command, home=home, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    exported = tmp_path / "run-student" / "student.safetensors"
    evaluated = kgen("evaluate", exported, "--json", home=home, cwd=tmp_path)
    score = json.loads(evaluated.stdout.splitlines()[-1])
    assert score["n"] == 10_000 and score["accuracy"] == open_run(run).end.accuracy


def warnings(run: Path) -> list[dict]:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["kind"] == "warning"]
