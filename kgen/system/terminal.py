"""What a terminal or a pipe does with characters that its encoding cannot represent.

Windows pipes have a code page such as cp1252, and a container often has ASCII. File names may
contain bytes that are not text in any encoding.
"""

from __future__ import annotations

import io
import sys


def replace_unprintable() -> None:
    """Make standard output and error replace such characters instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None without a console, or a test's stand-in
            stream.reconfigure(errors="replace")
