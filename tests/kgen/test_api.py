"""docs/api.md against the code: every name in its table exists, is documented, and needs no import
other than kgen.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from kgen.system.paths import ROOT

NAMES = re.findall(
    r"^\| `(kgen\.[\w.]+)`", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.M
)


@pytest.mark.slow
def test_every_stable_name_is_reached_from_kgen_alone():
    """In a fresh interpreter, so that no other test's imports help."""
    lines = "\n".join(f"assert {name} is not None, {name!r}" for name in NAMES)
    code = f"import kgen\n{lines}\nprint(len({NAMES}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(NAMES) > 25


@pytest.mark.parametrize("name", NAMES)
def test_what_can_be_called_says_what_it_does(name):
    import kgen

    found = kgen
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    assert found.__doc__ if callable(found) else True
