"""A class room on one machine: many viewers, one presenter, a real run; what they wait for and what they cost.

    python benchmarks/crowd.py [--viewers 60] [--blocks 12] [--block 15] [--stops 12]

The server is `launch.py --presenter` in a process of its own. Viewers are one process of plain sockets that ask what the
audience's page asks, when it asks it: page, style sheets and modules first, the snapshot every half second with its ETag,
groups as they are finished, a sample now and then. They draw nothing and read of a snapshot what they need, so the
two cores are the server's and the engine's as far as possible; what they use themselves is printed.

Blocks with the crowd and blocks without alternate within one run: the engine's slowdown is the median of the ratios of
neighbours. Frame age: a snapshot carries the time at which it was made, and the machine has one clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import resource
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from app.panels import form  # noqa: E402
from kgen import recipes  # noqa: E402

PERIOD = 0.5
"""Seconds between a poll's answer and the next poll, as in static/live.js."""
SAMPLE_EVERY = 10.0
AT = re.compile(rb'"at":([0-9.]+)')
DONE = re.compile(rb'"iterations_done":([0-9]+)')
WHOSE = re.compile(rb'"run":"([^"]+)","id":"([^"]*)","attempt":([0-9]+)')


class Line:
    """One kept connection, as a browser has; opened anew where the server has closed it."""

    def __init__(self, port: int, headers: str = ""):
        self.port, self.headers, self.reader, self.writer = port, headers, None, None

    async def get(self, path: str, etag: str = "") -> tuple[int, dict[str, str], bytes]:
        known = f"If-None-Match: {etag}\r\n" if etag else ""
        said = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAccept-Encoding: gzip\r\n{self.headers}{known}\r\n".encode()
        for _ in range(2):
            try:
                if self.writer is None:
                    self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
                self.writer.write(said)
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                found = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
                return int(head[0].split(" ")[1]), found, await self.reader.readexactly(int(found.get("content-length", 0)))
            except (asyncio.IncompleteReadError, ConnectionError):  # kept for too long
                self.close()
        raise ConnectionError(f"{path}: no answer")

    def close(self) -> None:
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None


@dataclass
class Seen:
    """What all viewers measured, in seconds."""

    latency: list[float] = field(default_factory=list)
    age: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    opening: list[float] = field(default_factory=list)
    new: int = 0
    failed: list[str] = field(default_factory=list)


class Crowd:
    """`viewers` pages; they ask while `asking` is set."""

    def __init__(self, port: int, viewers: int, ramp: float = 10.0):
        self.port, self.viewers, self.ramp, self.seen = port, viewers, ramp, Seen()
        self.asking = asyncio.Event()
        self.asking.set()
        self.here = 0
        files = sorted(f.name for f in (ROOT / "app" / "static").iterdir() if f.suffix in (".js", ".css") and f.name not in ("own.js", "findings.js", "ladder.js"))
        self.files = [f"/kg/static/{name}?v=1" for name in files] + ["/kg/theme.css", "/kg/plotly.min.js", "/kg/reference/-/0"]

    @contextlib.asynccontextmanager
    async def present(self) -> AsyncIterator[Seen]:
        tasks = [asyncio.create_task(self._view(i)) for i in range(self.viewers)]
        try:
            yield self.seen
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    self.seen.failed.append(repr(outcome))

    async def _view(self, i: int) -> None:
        line = Line(self.port, f"X-KGen-Page: {secrets.token_hex(6)}\r\n")
        try:
            await asyncio.sleep(self.ramp * i / self.viewers)
            began = time.perf_counter()
            for path in ("/", *self.files, "/kg/me"):
                status, _, _ = await line.get(path)
                assert status == 200, (path, status)
            self.seen.opening.append(time.perf_counter() - began)
            self.here += 1
            await self._watch(line)
        finally:
            line.close()

    async def _watch(self, line: Line) -> None:
        etag, had, looked = "", -1, time.perf_counter() + random.random() * SAMPLE_EVERY
        while True:
            await self.asking.wait()
            began = time.perf_counter()
            status, headers, body = await line.get("/kg/live", etag)
            self.seen.latency.append(time.perf_counter() - began)
            if status == 200:
                etag = headers["etag"]
                self.seen.new += 1
                text = zlib.decompress(body, 31)
                self.seen.age.append(time.time() - float(AT.search(text)[1]))
                whose, done = WHOSE.search(text), int(DONE.search(text)[1])
                if whose:
                    run, id, attempt = (part.decode() for part in whose.groups())
                    wanted = [f"group/{run}/{attempt}/{it}?id={id}" for it in range(max(0, done - 3, had), done)]
                    if done and time.perf_counter() - looked > SAMPLE_EVERY:
                        looked = time.perf_counter()
                        wanted.append(f"sample/{run}/{attempt}/{random.randrange(done)}/{random.randrange(20)}?id={id}")
                    had = done
                    for path in wanted:
                        began = time.perf_counter()
                        status, _, _ = await line.get(f"/kg/{path}")
                        self.seen.other.append(time.perf_counter() - began)
            elif status != 304:
                self.seen.failed.append(f"status {status}")
            await asyncio.sleep(PERIOD)


class Presenter:
    """Presses the page's buttons, through the same events."""

    def __init__(self, address: str, cookie: tuple[str, str]):
        self.client = httpx.AsyncClient(base_url=address, cookies=dict([cookie]), timeout=60)
        self.buttons: dict[str, int] = {}

    async def come(self) -> None:
        config = (await self.client.get("/config")).json()
        ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        for dependency in config["dependencies"]:
            for target, event in dependency["targets"]:
                if event == "click":
                    self.buttons |= {name: dependency["id"] for name in ("kg-start", "kg-stop") if ids.get(name) == target}

    async def press(self, button: str, values: list | None = None) -> float:
        """Seconds until its event has ended, as the page hears it."""
        session, began = secrets.token_hex(5), time.perf_counter()
        order = {"fn_index": self.buttons[button], "data": values or [], "session_hash": session, "event_data": None}
        (await self.client.post("/gradio_api/queue/join", json=order)).raise_for_status()
        async with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as answer:
            async for said in answer.aiter_lines():
                if '"process_completed"' in said:
                    assert '"success":true' in said.replace(" ", ""), said
                    return time.perf_counter() - began
        raise AssertionError("the event never ended")

    async def snapshot(self) -> dict:
        return (await self.client.get("/kg/live")).json()

    async def start(self, recipe: str) -> None:
        said = form.write(recipes.get(recipe))
        said["classes"] = {"teacher": recipes.get(recipe).teacher, "chosen": said["classes"]}
        await self.press("kg-start", [said[name] for name in form.FIELDS])
        await self.phase("running")

    async def phase(self, *wanted: str, seconds: float = 240, period: float = 0.2) -> dict:
        end = time.monotonic() + seconds
        while (snapshot := await self.snapshot())["phase"] not in wanted:
            assert time.monotonic() < end, f"waited for {wanted}: {snapshot['phase']}, {snapshot['alert']}"
            await asyncio.sleep(period)
        return snapshot

    async def stop(self) -> float:
        """Seconds from the press until the page shows it (it looks 120 ms after a press, then every half second)."""
        began = time.perf_counter()
        pressed = asyncio.create_task(self.press("kg-stop"))
        await asyncio.sleep(0.12)
        await self.phase("stopping", "stopped", "finished", period=PERIOD)
        await pressed
        return time.perf_counter() - began


class Server:
    """`launch.py --presenter`, and what /proc says of it."""

    def __init__(self, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.token, self.address = secrets.token_urlsafe(24), f"http://127.0.0.1:{self.port}"
        self.cookie = (f"kgen-presenter-{self.port}", self.token)
        self._log = (folder / "server.log").open("wb")
        command = [sys.executable, "launch.py", "--presenter", "--no-browser", "--port", str(self.port), "--runs", str(folder / "runs")]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self._log, stderr=self._log, env=os.environ | {"KGEN_TOKEN": self.token})
        end = time.monotonic() + 120
        while b"is at" not in (folder / "server.log").read_bytes():
            assert self.process.poll() is None and time.monotonic() < end, (folder / "server.log").read_text()
            time.sleep(0.2)

    def rss(self) -> float:
        """Megabytes of the server's process alone."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def cpu(self) -> float:
        """Seconds of processor time so far, without its children."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def percentile(values: list[float], p: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(p / 100 * len(ordered)))] if ordered else float("nan")


def slope(points: list[tuple[float, float]]) -> float:
    """Of y over x, least squares."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope if len(points) > 2 else float("nan")


async def speed(presenter: Presenter, recipe: str, seconds: float) -> dict[str, float]:
    """Steps a second of both of the engine's threads, over one block; a run that has ended is started anew and the block begins again."""
    while True:
        before, began = await presenter.snapshot(), time.perf_counter()
        await asyncio.sleep(seconds)
        after, took = await presenter.snapshot(), time.perf_counter() - began
        if before["run"] == after["run"] and after["phase"] == "running":
            return {name: (after["counters"][name] - before["counters"][name]) / took for name in ("generator_step", "student_step")}
        if after["phase"] != "running":
            await presenter.start(recipe)


async def watch_memory(server: Server, crowd: Crowd, points: list[tuple[float, float]]) -> None:
    """RSS by minutes of asking."""
    minutes = 0.0
    while True:
        await asyncio.sleep(2)
        if crowd.asking.is_set():
            minutes += 2 / 60
            points.append((minutes, server.rss()))


async def measure(server: Server, args: argparse.Namespace) -> dict[str, float]:
    presenter, crowd = Presenter(server.address, server.cookie), Crowd(server.port, args.viewers)
    await presenter.come()
    await presenter.start(args.recipe)
    ratios: dict[str, list[float]] = {"generator_step": [], "student_step": []}
    memory: list[tuple[float, float]] = []
    busy: list[float] = []
    async with crowd.present() as seen:
        while crowd.here + len(seen.failed) < args.viewers:
            await asyncio.sleep(0.2)
        await asyncio.sleep(5)
        watcher = asyncio.create_task(watch_memory(server, crowd, memory))
        own = resource.getrusage(resource.RUSAGE_SELF)
        on = 0.0
        for block in range(args.blocks):
            rates = {}
            for asking in ((True, False), (False, True))[block % 2]:
                (crowd.asking.set if asking else crowd.asking.clear)()
                await asyncio.sleep(1)
                cpu, began = server.cpu(), time.perf_counter()
                rates[asking] = await speed(presenter, args.recipe, args.block)
                if asking:
                    busy.append((server.cpu() - cpu) / (time.perf_counter() - began))
                    on += time.perf_counter() - began
            for name, values in ratios.items():
                if rates[True][name] and rates[False][name]:  # in warm-up the student does not move
                    values.append(rates[True][name] / rates[False][name])
            print(f"block {block + 1}: " + ", ".join(f"{name} {rates[True][name]:.2f}/s with, {rates[False][name]:.2f}/s without" for name in ratios), flush=True)
        crowd.asking.set()
        stops = []
        for _ in range(args.stops):
            await presenter.phase("running")
            await asyncio.sleep(1 + random.random())
            stops.append(await presenter.stop())
            await presenter.phase("stopped", "finished")
            await presenter.start(args.recipe)
        watcher.cancel()
        spent = resource.getrusage(resource.RUSAGE_SELF)
        told = int((await presenter.client.get("/kg/live")).headers["x-kgen-viewers"])
        await presenter.press("kg-stop")
    await presenter.client.aclose()
    warm = [p for p in memory if p[0] > 0.5] or memory
    together = [value for values in ratios.values() for value in values]
    return {
        "viewers": args.viewers, "counted by the app": told, "failed requests": len(seen.failed), "asked for, s": on,
        "open a page p50, s": percentile(seen.opening, 50), "open a page p95, s": percentile(seen.opening, 95),
        "polls": len(seen.latency), "of them new, %": 100 * seen.new / max(1, len(seen.latency)),
        **{f"poll p{p}, ms": 1000 * percentile(seen.latency, p) for p in (50, 95, 99)}, "group or sample p95, ms": 1000 * percentile(seen.other, 95),
        "frame age p50, ms": 1000 * percentile(seen.age, 50), "frame age p95, ms": 1000 * percentile(seen.age, 95),
        "stops": len(stops), "Stop p50, s": percentile(stops, 50), "Stop p95, s": percentile(stops, 95),
        "engine's speed with the crowd": statistics.median(together) if together else float("nan"),
        "server, cores": statistics.median(busy) if busy else float("nan"), "viewers' own process, s": spent.ru_utime + spent.ru_stime - own.ru_utime - own.ru_stime,
        "memory, MB": warm[-1][1] if warm else float("nan"), "memory, MB/min": slope(warm)}


def verdicts(found: dict[str, float]) -> dict[str, bool]:
    age = 500 if found["viewers"] <= 30 else 2000
    return {"Stop p95 < 1 s": found["Stop p95, s"] < 1, f"frame age p95 < {age} ms": found["frame age p95, ms"] < age,
            "engine slowed < 20 %": found["engine's speed with the crowd"] > 0.8, "memory < 1 MB/min": found["memory, MB/min"] < 1,
            "no request failed": not found["failed requests"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--viewers", type=int, default=60)
    parser.add_argument("--blocks", type=int, default=12, help="pairs of blocks, with the crowd and without")
    parser.add_argument("--block", type=float, default=15, help="seconds of each")
    parser.add_argument("--stops", type=int, default=12, help="presses of Stop")
    parser.add_argument("--recipe", default="fashion-long")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            found = asyncio.run(measure(server, args))
        finally:
            server.end()
    for name, value in found.items():
        print(f"{name:<32} {value:>10.2f}" if isinstance(value, float) else f"{name:<32} {value:>10}")
    passed = verdicts(found)
    for name, good in passed.items():
        print(f"{'pass' if good else 'FAIL'}  {name}")
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
