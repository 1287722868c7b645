"""What the presenter shows and how many viewers there are: only the newest state, in memory, and no
identities.

It is sent in headers of poll responses, so following costs no extra requests.
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

from app.web.errors import RequestError

PARAMETER_NAME = re.compile(r"[a-z]{1,12}")
PARAMETER_VALUE = re.compile(r"[A-Za-z0-9:.,_-]{0,400}")
MAX_PARAMETERS = 16
"""Limit on the parameters in an address."""
PAGE_ID = re.compile(r"[0-9a-f]{8,16}")
VIEWER_TIMEOUT = 5.0
"""Seconds after its last poll for which a page counts as a viewer; pages in the background do not
poll.
"""
MAX_PAGES = 1_000


class Stage:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: OrderedDict[str, float] = OrderedDict()
        self._counter = itertools.count(1)
        self._start = secrets.token_hex(2)
        self._shown = ""

    def show(self, parameters: dict[str, Any]) -> None:
        """Set the parameters of the presenter's address. Raises RequestError."""
        if len(parameters) > MAX_PARAMETERS:
            raise RequestError(
                f"The presenter's view can have at most {MAX_PARAMETERS} parameters.",
                code="too-many",
                limit=MAX_PARAMETERS,
            )
        for name, value in parameters.items():
            if not (
                PARAMETER_NAME.fullmatch(name)
                and isinstance(value, str)
                and PARAMETER_VALUE.fullmatch(value)
            ):
                raise RequestError(
                    "The presenter's view must have short lowercase parameter names, and values"
                    " made up of letters, digits, and : . , _ - only.",
                    code="invalid-request",
                )
        with self._lock:
            self._shown = f"{self._start}{next(self._counter)};{urlencode(parameters, safe=':,')}"

    def record_poll(self, page: str | None) -> None:
        """A viewer's page has polled. `page` is a random id of that page, forgotten seconds after
        the last poll.
        """
        if page and PAGE_ID.fullmatch(page):
            with self._lock:
                self._pages[page] = time.monotonic()
                self._pages.move_to_end(page)
                self._expire()

    def viewers(self) -> int:
        with self._lock:
            self._expire()
            return len(self._pages)

    def _expire(self) -> None:
        cutoff = time.monotonic() - VIEWER_TIMEOUT
        while self._pages and (
            len(self._pages) > MAX_PAGES or next(iter(self._pages.values())) < cutoff
        ):
            self._pages.popitem(last=False)

    def headers(self, presenter: bool) -> dict[str, str]:
        """Headers for the response to a poll."""
        return ({"X-KGen-Shown": self._shown} if self._shown else {}) | (
            {"X-KGen-Viewers": str(self.viewers())} if presenter else {}
        )
