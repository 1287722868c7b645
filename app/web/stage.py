"""What the presenter shows and how many are watching: the newest state in memory, nothing kept,
nobody known.

It travels in headers of the answer to a poll, so following costs no request.
"""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
from collections import OrderedDict
from typing import Any
from urllib.parse import urlencode

NAME = re.compile(r"[a-z]{1,12}")
VALUE = re.compile(r"[A-Za-z0-9:.,_-]{0,400}")
MOST = 16
"""Parameters of an address."""
PAGE = re.compile(r"[0-9a-f]{8,16}")
PRESENT = 5.0
"""Seconds after its last poll that a page counts as watching; a page in the background asks
nothing.
"""
MOST_PAGES = 1_000


class Stage:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: OrderedDict[str, float] = OrderedDict()
        self._counts = itertools.count(1)
        self._start = secrets.token_hex(2)
        self._shown = ""

    def show(self, said: Any) -> None:
        """What the presenter's page has in its address. Raises ValueError, one sentence."""
        if not isinstance(said, dict) or len(said) > MOST:
            raise ValueError(f"What the presenter shows must be an object of at most {MOST} words.")
        for name, value in said.items():
            if not (NAME.fullmatch(name) and isinstance(value, str) and VALUE.fullmatch(value)):
                raise ValueError(
                    "What the presenter shows may have short lower-case names, and letters, digits"
                    " and : . , _ - as values."
                )
        with self._lock:
            self._shown = f"{self._start}{next(self._counts)};{urlencode(said, safe=':,')}"

    def seen(self, page: str | None) -> None:
        """A viewer's page has asked. Its name is a random one of this very page; it is forgotten
        seconds after the last poll.
        """
        if page and PAGE.fullmatch(page):
            with self._lock:
                self._pages[page] = time.monotonic()
                self._pages.move_to_end(page)
                self._forget()

    def viewers(self) -> int:
        with self._lock:
            self._forget()
            return len(self._pages)

    def _forget(self) -> None:
        since = time.monotonic() - PRESENT
        while self._pages and (
            len(self._pages) > MOST_PAGES or next(iter(self._pages.values())) < since
        ):
            self._pages.popitem(last=False)

    def headers(self, presenter: bool) -> dict[str, str]:
        """For the answer to a poll."""
        return ({"X-KGen-Shown": self._shown} if self._shown else {}) | (
            {"X-KGen-Viewers": str(self.viewers())} if presenter else {}
        )
