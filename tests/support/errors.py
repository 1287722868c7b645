"""Errors by what programs see: their class, code and fields, and the facts in their sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kgen.errors import KGenError


@contextmanager
def raises(
    kind: type[KGenError] | tuple[type[KGenError], ...],
    code: str | None,
    *facts: object,
    **fields: Any,
) -> Iterator[pytest.ExceptionInfo[KGenError]]:
    """Expect an error with this code and at least these fields. None: any code but its class's.

    `facts` are what its sentence must name, whatever its wording: a file, a value, the name that
    was meant, a command.
    """
    with pytest.raises(kind) as caught:
        yield caught
    check(caught.value, code, *facts, **fields)


def check(error: KGenError, code: str | None, *facts: object, **fields: Any) -> None:
    """The same for an error that was already caught."""
    text = str(error)
    as_expected = error.code == code if code else error.code != type(error).code
    assert as_expected, f"{error.code}: {text}"
    assert {name: error.fields[name] for name in fields.keys() & error.fields.keys()} == fields
    for fact in facts:
        assert names(text, fact), f"{fact!r} is not in: {text}"
    assert text and "\n" not in text


def names(text: str, fact: object) -> bool:
    """Is the fact in the text? A fact that begins or ends with a digit must not continue there as
    another number: 1 is not in "10", and not in "1.5".
    """
    said = str(fact)
    before = r"(?<![\d.])(?<!\d,)" if said[:1].isdigit() else ""
    after = r"(?!\d|[.,]\d)" if said[-1:].isdigit() else ""
    return re.search(before + re.escape(said) + after, text) is not None


def refused(answer: Any, status: int, code: str, *facts: object) -> None:
    """An HTTP response that is an error: its status, its code, and one sentence with these facts. A
    response has no fields.
    """
    found = (answer.status_code, answer.headers.get("x-kgen-code"))
    assert found == (status, code), f"{found}: {answer.text}"
    assert answer.text.endswith((".", "?")) and "\n" not in answer.text
    for fact in facts:
        assert names(answer.text, fact), f"{fact!r} is not in: {answer.text}"
    assert "Traceback" not in answer.text
