"""docs/errors.md against the code: every error code of kgen and the app, with the classes that have
it.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from kgen.errors import KGenError
from kgen.system.paths import ROOT
from tests.support.errors import check

ROW = re.compile(r"^\| `([a-z-]+)` \| ((?:`\w+`(?:, )?)+) \| (.+) \|$", re.M)
NODES = [
    node
    for package in ("kgen", "app")
    for file in sorted((ROOT / package).rglob("*.py"))
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
]


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def codes_of_classes() -> dict[str, str]:
    """KGenError and all classes below it that declare a code."""
    classes = [n for n in NODES if isinstance(n, ast.ClassDef)]
    errors, before = {"KGenError"}, 0
    while len(errors) > before:
        before = len(errors)
        errors |= {c.name for c in classes if errors & {name_of(base) for base in c.bases}}
    found = {}
    for c in (c for c in classes if c.name in errors):
        for line in c.body:
            target = line.targets[0] if isinstance(line, ast.Assign) else None
            target = line.target if isinstance(line, ast.AnnAssign) else target
            if target and name_of(target) == "code" and isinstance(line.value, ast.Constant):
                assert c.name not in found, f"two classes named {c.name}"
                found[c.name] = line.value.value
    return found


@functools.cache
def codes_of_raises() -> dict[str, set[str]]:
    """Each code given to an error where it is made, and the classes of those errors."""
    found = defaultdict(set)
    for node in NODES:
        if isinstance(node, ast.Call):
            kind, given = name_of(node.func), [k.value for k in node.keywords if k.arg == "code"]
        elif isinstance(node, ast.Dict):  # the facts of a recipe's error, before it is made
            kind = "Invalid"
            given = [v for k, v in zip(node.keys, node.values) if getattr(k, "value", "") == "code"]
        else:
            continue
        for value in (c for expression in given for c in ast.walk(expression)):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[value.value].add("RecipeError" if kind == "Invalid" else kind)
    return found


def test_the_page_lists_every_code_and_its_classes():
    listed = ROW.findall((ROOT / "docs" / "errors.md").read_text(encoding="utf-8"))
    page = {code: set(re.findall(r"`(\w+)`", classes)) for code, classes, _ in listed}
    assert len(page) == len(listed), "a code is listed twice"
    made = codes_of_raises() | {code: {name} for name, code in codes_of_classes().items()}
    assert page == made


def test_a_class_has_a_code_of_its_own():
    codes = codes_of_classes()
    assert len(set(codes.values())) == len(codes)
    assert not set(codes.values()) & codes_of_raises().keys()


@pytest.mark.parametrize("code", sorted(codes_of_raises()))
def test_a_code_is_lowercase_words(code):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)


def test_an_error_is_json():
    error = KGenError("It is not there.", code="no-file", file=Path("a") / "b", sides=(1, 2))
    check(error, "no-file", file=Path("a") / "b")
    assert json.loads(json.dumps(error.to_json())) == {
        "code": "no-file",
        "message": "It is not there.",
        "file": str(Path("a") / "b"),
        "sides": [1, 2],
    }
