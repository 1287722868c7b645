"""Errors by what programs see: their class, code and fields, and the facts in their sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kgen.errors import KGenError


@contextmanager
def raises(
    kind: type[KGenError] | tuple[type[KGenError], ...], code: str, *facts: object, **fields: Any
) -> Iterator[pytest.ExceptionInfo[KGenError]]:
    """Expect an error with this code and at least these fields.

    `facts` are what its sentence must name whatever the words around it: a file, a value, the name
    that was meant, a command.
    """
    with pytest.raises(kind) as caught:
        yield caught
    check(caught.value, code, *facts, **fields)


def check(error: KGenError, code: str, *facts: object, **fields: Any) -> None:
    """The same for an error in hand."""
    text = str(error)
    assert error.code == code, f"{error.code}: {text}"
    assert {name: error.fields.get(name) for name in fields} == fields
    for fact in facts:
        assert str(fact) in text
    assert text and "\n" not in text


def refused(answer: Any, status: int, code: str, *facts: object) -> None:
    """An HTTP answer that is an error: its status, its code, and one sentence with these facts."""
    found = (answer.status_code, answer.headers.get("x-kgen-code"))
    assert found == (status, code), f"{found}: {answer.text}"
    assert answer.text.endswith((".", "?")) and "\n" not in answer.text
    assert all(str(fact) in answer.text for fact in facts), answer.text
    assert "Traceback" not in answer.text
