"""A byte-limited cache of responses that never change; each is made once, no matter how many
requests arrive at the same time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable


class Pieces:
    """Safe from any thread. `most`: total bytes to keep; a single response may be larger."""

    def __init__(self, most: int = 48 << 20) -> None:
        self.most = most
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._held: OrderedDict[tuple, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple, make: Callable[[], bytes]) -> bytes:
        """The result of `make` for this key; if it raises, nothing is kept."""
        if (found := self._look(key)) is not None:
            return found
        with self._making:
            if (found := self._look(key)) is not None:
                return found
            body = make()
            with self._lock:
                self._held[key] = body
                self._bytes += len(body)
                while self._bytes > self.most and len(self._held) > 1:
                    self._bytes -= len(self._held.popitem(last=False)[1])
            return body

    def _look(self, key: tuple) -> bytes | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)
