"""Command lines to be copied: words quoted as the shells of this machine read them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable


def quote(word: str, windows: bool = os.name == "nt") -> str:
    """The word, quoted if necessary: in single quotes for POSIX shells, in double quotes for
    Windows, whose programs do not recognize single quotes.
    """
    if not windows:
        return shlex.quote(word)
    if re.fullmatch(r"[\w@+=:,./\\-]+", word, re.ASCII):
        return word
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)  # backslashes count only before a quote
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


def join(words: Iterable[str]) -> str:
    """The words as one command line."""
    return " ".join(quote(word) for word in words)
