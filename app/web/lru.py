"""A byte-limited cache of responses that never change; each is made once, no matter how many
requests arrive at the same time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable


class ResponseCache:
    """Thread-safe. `max_bytes`: total bytes to keep; a single response may be larger."""

    def __init__(self, max_bytes: int = 48 << 20) -> None:
        self.max_bytes = max_bytes
        self._lock, self._make_lock = threading.Lock(), threading.Lock()
        self._entries: OrderedDict[tuple, bytes] = OrderedDict()
        self._size = 0

    def get(self, key: tuple, make: Callable[[], bytes]) -> bytes:
        """The result of `make` for this key; if it raises, nothing is kept."""
        if (cached := self._lookup(key)) is not None:
            return cached
        with self._make_lock:
            if (cached := self._lookup(key)) is not None:
                return cached
            body = make()
            with self._lock:
                self._entries[key] = body
                self._size += len(body)
                while self._size > self.max_bytes and len(self._entries) > 1:
                    self._size -= len(self._entries.popitem(last=False)[1])
            return body

    def _lookup(self, key: tuple) -> bytes | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)
