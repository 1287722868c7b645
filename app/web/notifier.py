"""Wakes waiting tasks as soon as there is something new, no matter which thread reports it."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable


class Notifier:
    """Ring from any thread; wait in any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: set[asyncio.Future] = set()

    def notify(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, set()
        loops = defaultdict(list)
        for future in waiters:
            loops[future.get_loop()].append(future)
        for loop, futures in loops.items():
            try:
                loop.call_soon_threadsafe(_wake, futures)
            except RuntimeError:
                pass  # the loop has ended, and so have its waiting tasks

    async def wait(self, timeout: float, is_done: Callable[[], bool]) -> None:
        """Wait until it rings, `is_done()` is already true, or time runs out."""
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiters.add(future)
        try:
            if not is_done():  # checked after we registered, so nothing in between is missed
                await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:  # a different class before Python 3.11
            pass
        finally:
            with self._lock:
                self._waiters.discard(future)


def _wake(futures: list[asyncio.Future]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
