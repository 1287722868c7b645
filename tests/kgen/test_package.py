"""The package as it is installed: what is in the wheel, and that the commands find their files from
any folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kgen import __version__
from kgen.system.paths import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what pip would put into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name == f"kgen_explorer-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", code]
        if sys.version_info >= (3, 11)
        else [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_asset_and_page_travels(installed):
    for folder, inside in (
        (ROOT / "assets", "kgen/_assets"),
        (ROOT / "app" / "static", "app/static"),
    ):
        there = {
            p.relative_to(folder)
            for p in folder.rglob("*")
            if p.is_file() and not p.name.endswith((".test.js", ".stub.js"))
        }
        assert there and there <= {
            p.relative_to(installed / inside) for p in (installed / inside).rglob("*")
        }
    assert (installed / "kgen" / "py.typed").is_file()
    assert sorted(p.name for p in installed.iterdir()) == [
        "app",
        "kgen",
        f"kgen_explorer-{__version__}.dist-info",
    ]


def test_both_commands_are_declared_and_dependencies_are_those_of_the_requirements(installed):
    info = installed / f"kgen_explorer-{__version__}.dist-info"
    entries = (info / "entry_points.txt").read_text()
    assert "kgen = kgen.__main__:main" in entries and "kgen-explorer = app.launch:main" in entries
    needed = (ROOT / "requirements.txt").read_text().split()
    listed = [
        line.partition(": ")[2].replace(" ", "")
        for line in (info / "METADATA").read_text().splitlines()
        if line.startswith("Requires-Dist") and "extra ==" not in line
    ]
    assert {n.split(">")[0] for n in needed} == {n.split(">")[0].split("<")[0] for n in listed}


@pytest.mark.slow
def test_a_run_from_another_folder(installed, tmp_path):
    code = """
import sys
from kgen.__main__ import main
sys.argv = ["kgen", "run", "tiny", "--out", "mine", "--set", "epochs=1"]
main()
"""
    run(installed, code, tmp_path)
    assert (tmp_path / "mine" / "student.safetensors").is_file()


@pytest.mark.slow
def test_the_app_finds_its_pages_and_lessons(installed, tmp_path):
    code = """
import app.main
from app.lessons import glossary
print(app.main.static_version(), len(glossary.terms()), app.__file__)
"""
    version, terms, place = run(installed, code, tmp_path).split()
    assert len(version) == 12 and int(terms) > 10 and place.startswith(str(installed))
