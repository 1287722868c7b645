"""Twenty-four SIGKILLs at random moments; every run that was killed ends like the one that was
not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kgen.system.paths import ROOT
from tests.support.small import same_run


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_then_resumed(tmp_path):
    command = [sys.executable, "-m", "tests.support.killing", str(tmp_path), "20", "24"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0]["whole"] == 0
    assert sum(t.get("code") == -9 for t in told) >= 24
    ended = [t for t in told if "finished" in t]
    assert all(t["code"] in (0, 3) for t in ended), done.stderr[-2000:]
    for t in ended:
        assert same_run(tmp_path / t["finished"], tmp_path / "whole") is None, t
    assert max(t.get("attempt", 0) for t in told) >= 2
