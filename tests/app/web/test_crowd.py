"""A classroom in miniature: viewers with plain sockets against the app as users start it, and
viewers who misbehave.

The bounds are generous, since machines are busy; `benchmarks/crowd.py` measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from benchmarks import crowd

pytestmark = pytest.mark.timeout(240)
VIEWERS = 20
SECONDS = 12.0


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[crowd.Server]:
    server = crowd.Server(tmp_path_factory.mktemp("crowd"))
    yield server
    server.end()


@pytest.mark.slow
def test_twenty_viewers_of_a_run_see_fresh_frames_and_the_presenter_stops_at_once(server):
    async def lesson() -> tuple[crowd.Seen, float, int]:
        presenter, room = (
            crowd.Presenter(server.address, server.cookie),
            crowd.Crowd(server.port, VIEWERS, ramp=2),
        )
        await presenter.come()
        await presenter.start("fashion-live")
        async with room.present() as seen:
            while room.here + len(seen.failed) < VIEWERS:
                await asyncio.sleep(0.1)
            await asyncio.sleep(SECONDS)
            counted = int((await presenter.client.get("/kg/live")).headers["x-kgen-viewers"])
            stop = await presenter.stop()
        await presenter.phase("stopped", "finished")
        await presenter.client.aclose()
        return seen, stop, counted

    seen, stop, counted = asyncio.run(lesson())
    assert not seen.failed and counted == VIEWERS
    assert seen.polls > VIEWERS * SECONDS / 3 and seen.new > 2 * VIEWERS
    assert (
        crowd.percentile(seen.age, 50) < 2 and crowd.percentile(seen.latency, 50) < 2 and stop < 5
    )


@pytest.mark.slow
def test_who_stalls_leaves_or_knocks_costs_little_memory_and_nobody_else_waits(server):
    """5 request the largest file and never read it, 20 send a request and are never heard from
    again, 200 connect and leave in the middle of a request.
    """

    async def mob() -> tuple[float, float, float, float]:
        line = crowd.Line(server.port)
        for _ in range(3):
            await line.get("/kg/plotly.min.js")
        before = server.rss()
        stalled, left = [], []
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.transport.pause_reading()
            writer.write(
                b"GET /kg/plotly.min.js HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding:"
                b" gzip\r\n\r\n" * 5
            )
            stalled.append(writer)
        for _ in range(20):
            other = crowd.Line(server.port, "X-KGen-Page: 0123456789ab\r\n")
            _, headers, _ = await other.get("/kg/live")
            other.writer.write(
                "GET /kg/live HTTP/1.1\r\nHost: 127.0.0.1\r\nIf-None-Match:"
                f" {headers['etag']}\r\nPrefer: wait=1\r\n\r\n".encode()
            )
            left.append(other)
        for i in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                (
                    b"",
                    b"GET /kg/li",
                    b"GET /kg/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                    (
                        b"POST /kg/undo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length:"
                        b" 99999999\r\n\r\nx"
                    ),
                )[i % 4]
            )
            writer.close()
        await asyncio.sleep(3)
        during, began = server.rss(), time.perf_counter()
        status, _, _ = await line.get("/kg/live")
        waited = time.perf_counter() - began
        assert status == 200
        for writer in stalled:
            writer.transport.abort()
        for other in left:
            other.close()
        line.close()
        await asyncio.sleep(5)
        return before, during, server.rss(), waited

    before, during, after, waited = asyncio.run(mob())
    assert during - before < 30 and after - before < 30, (before, during, after)
    assert waited < 5
