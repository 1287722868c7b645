"""What importing does not import, seen from a fresh interpreter, and who may print.

Which package may import which is in pyproject.toml, for import-linter.
"""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from kgen.system.paths import ROOT

FILES = sorted((ROOT / "kgen").glob("**/*.py"))


def loaded_by(statement: str) -> set[str]:
    code = (
        f"{statement}; import sys; print(' '.join(m for m in ('torch', 'torchvision', 'gradio',"
        " 'app', 'umap', 'plotly', 'accelerate') if m in sys.modules))"
    )
    return set(
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_what_the_app_imports_brings_no_torch():
    assert (
        loaded_by(
            "import kgen, kgen.recipe, kgen.recipes, kgen.events, kgen.zoo, kgen.data,"
            " kgen.preflight.request, kgen.engine.controls; from kgen.journal import bundle,"
            " export, journal, unbundle; from kgen.zoo import inventory;"
            " import kgen.sweep.executor, kgen.sweep.estimate;"
            " kgen.zoo.card('fashion-cnn'); inventory.teachers()"
        )
        == set()
    )


def test_the_command_line_waits_with_torch():
    assert loaded_by("import kgen.__main__") == set()


@pytest.mark.slow
def test_the_engine_brings_torch_and_nothing_of_the_app():
    assert loaded_by("import kgen.engine.engine, kgen.journal.runner") == {"torch"}
    assert loaded_by("import kgen; kgen.distill") == {"torch"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_only_the_command_line_prints(file):
    calls = [
        n
        for n in ast.walk(ast.parse(file.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    ]
    assert file.stem in ("__main__", "progress", "estimates", "zoo_output", "worker") or not [
        c.lineno for c in calls if c.func.id == "print"
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_file_says_what_it_does(file):
    assert ast.get_docstring(ast.parse(file.read_text()))
