"""Users with fewer rights than the one that runs the tests, for as long as a test needs one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NOBODY = 54_321
"""No system has a user with this number."""


@contextmanager
def without_rights() -> Iterator[None]:
    """This process cannot do what requires administrator rights."""
    if os.name == "nt" or os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def without_user() -> Iterator[None]:
    """This process belongs to a user that does not exist; it keeps its rights to files."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root can become a user that does not exist")
    os.setresuid(NOBODY, -1, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
