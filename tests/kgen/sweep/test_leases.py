"""Leases: only one process holds a lease at a time, and none holds it forever."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time

import pytest

from kgen.sweep.grid import SweepError
from kgen.sweep.leases import Leases
from kgen.system.paths import ROOT
from tests.support.errors import raises

RACER = """
import sys
from pathlib import Path
from kgen.sweep.leases import Leases
leases = Leases(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(*(name for name in sys.argv[2].split(",") if leases.acquire(name)), flush=True)
sys.stdin.readline()
"""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def foreign(folder, name, number=1, host="elsewhere"):
    """A lease of a process on another machine."""
    (folder / "leases").mkdir(exist_ok=True)
    file = folder / "leases" / f"{name}.{number}"
    file.write_text(json.dumps({"host": host, "pid": 1}))
    return file


@pytest.fixture
def make(tmp_path):
    made = []

    def build(**options) -> Leases:
        made.append(Leases(tmp_path, **options))
        return made[-1]

    yield build
    for leases in made:
        leases.close()


def test_one_process_has_it_until_it_is_released(make):
    one, two = make(), make()
    assert one.acquire("kr-0.1_seed-0") and not two.acquire("kr-0.1_seed-0")
    assert two.acquire("kr-0.1_seed-1")
    assert two.holder("kr-0.1_seed-0") == platform.node()
    one.release("kr-0.1_seed-0")
    assert two.holder("kr-0.1_seed-0") is None
    assert two.acquire("kr-0.1_seed-0") and not one.acquire("kr-0.1_seed-0")


def test_a_lease_that_nobody_renews_is_taken_over(make, tmp_path):
    clock = Clock()
    leases = make(expiry=60.0, clock=clock)
    foreign(tmp_path, "a")
    assert not leases.acquire("a") and leases.holder("a") == "elsewhere"
    clock.now += 59
    assert not leases.acquire("a")
    clock.now += 2
    assert leases.acquire("a")


def test_a_lease_that_is_renewed_stays_whatever_its_machines_clock_says(make, tmp_path):
    clock = Clock()
    leases = make(expiry=60.0, clock=clock)
    file = foreign(tmp_path, "a")
    for hour in range(5):
        os.utime(file, (hour, hour))  # years ago
        assert not leases.acquire("a")
        clock.now += 50
    clock.now += 11
    assert leases.acquire("a")


def test_a_process_of_this_machine_that_is_gone_holds_nothing(make, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    file = foreign(tmp_path, "a", host=platform.node())
    file.write_text(json.dumps({"host": platform.node(), "pid": gone.pid}))
    assert make().acquire("a")


def test_a_process_that_slept_too_long_is_told(make, tmp_path):
    sleeper = make(expiry=0.06)
    assert sleeper.acquire("a") and not sleeper.lost("a")
    foreign(tmp_path, "a", number=2)
    limit = time.monotonic() + 5
    while not sleeper.lost("a"):
        assert time.monotonic() < limit
        time.sleep(0.01)
    sleeper.release("a")
    assert make().holder("a") == "elsewhere"


def test_several_processes_at_once_share_without_overlap(tmp_path):
    names = [f"kr-0.{i}_seed-0" for i in range(30)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), ",".join(names)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    taken = [racer.stdout.readline().split() for racer in racers]
    for racer in racers:
        racer.communicate("\n")
    assert sorted(name for names in taken for name in names) == sorted(names)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "leases").write_text("a file")
    with raises(SweepError, "unwritable", tmp_path / "leases"):
        Leases(tmp_path)
