"""Quoted words come back from the shell as they were."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from kgen.system import shell

WORDS = (
    r"C:\my runs\1",
    "ends with \\ and a space\\",
    'classes=["a b"]',
    'back\\"quote s',
    "it's a",
)


@pytest.mark.parametrize("word", WORDS)
def test_words_with_spaces_are_quoted_as_windows_programs_read_them(word):
    """The oracle is Python's own rule for starting a program on Windows."""
    assert shell.quote(word, windows=True) == subprocess.list2cmdline([word])


def test_what_cmd_would_interpret_is_quoted_and_the_rest_is_not():
    assert shell.quote("a&b", windows=True) == '"a&b"' and shell.quote("", windows=True) == '""'
    for plain in (r"C:\runs\first-1", "weights.kr=0", "net.py:Net"):
        assert shell.quote(plain, windows=True) == plain


@pytest.mark.parametrize("word", WORDS)
def test_posix_shells_read_the_word_back(word):
    assert shlex.split(shell.quote(word, windows=False)) == [word]
