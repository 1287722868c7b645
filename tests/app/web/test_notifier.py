"""Waiting for a notification: it arrives at once from any thread, is never missed, and no wait
takes longer than requested.
"""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from app.web.notifier import Notifier


def test_it_is_heard_at_once_from_another_thread_by_all():
    bell = Notifier()

    async def wait() -> float:
        threading.Timer(0.2, bell.notify).start()
        began = time.monotonic()
        await asyncio.gather(*(bell.wait(30, lambda: False) for _ in range(60)))
        return time.monotonic() - began

    assert 0.1 < asyncio.run(wait()) < 10 and not bell._waiters


def test_news_between_looking_and_waiting_are_not_missed():
    bell = Notifier()

    async def wait() -> float:
        began = time.monotonic()
        await bell.wait(30, lambda: bell.notify() or False)  # it rings while we look
        await bell.wait(30, lambda: True)
        return time.monotonic() - began

    assert asyncio.run(wait()) < 10


def test_the_time_is_up_and_nobody_stays_in_line():
    bell = Notifier()

    async def wait() -> None:
        await bell.wait(0.05, lambda: False)
        task = asyncio.create_task(bell.wait(30, lambda: False))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(wait())
    assert not bell._waiters
    bell.notify()


def test_those_of_a_loop_that_has_ended_are_passed_over():
    bell = Notifier()
    loop = asyncio.new_event_loop()
    bell._waiters.add(loop.create_future())
    loop.close()
    bell.notify()
