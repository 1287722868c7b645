"""Load-test a classroom on one machine: many viewers and one presenter during a real run.

Measures how long they wait, and how much they slow the engine.

    python benchmarks/crowd.py [--viewers 60] [--blocks 12] [--block 15] [--stops 12]

The server, `launch.py --presenter`, runs in its own process. All viewers share one process with
plain sockets and send the same requests as the audience's page, at the same times. They load the
page, style sheets and modules, then poll for a new snapshot about twice a second with an ETag,
fetch groups as they finish, and occasionally fetch a sample. The server holds a poll until there is
something new. Viewers render nothing and parse only the parts of a snapshot that they need, which
leaves as much of the two cores as possible to the server and the engine; the processor time of the
viewers is printed.

Blocks with and without the crowd alternate within one run. Step durations come from the engine's
journal, and the medians with and without the crowd are compared. The age of a frame is measured
from the creation time in its snapshot, since both processes use the same clock.
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
from app.setup import form  # noqa: E402
from kgen.recipes import recipes  # noqa: E402

PERIOD = 0.4
"""Seconds between a poll's response and the next poll, as in static/core/live.js."""
SAMPLE_EVERY = 10.0
PLAIN_EVERY = 5.0
"""Seconds between two polls that are not held, which measure response time."""
AT = re.compile(rb'"at":([0-9.]+)')
DONE = re.compile(rb'"iterations_done":([0-9]+)')
WHOSE = re.compile(rb'"run":"([^"]+)","id":"([^"]*)","attempt":([0-9]+)')


class Line:
    """One persistent connection, like a browser's; reopened if the server has closed it."""

    def __init__(self, port: int, headers: str = ""):
        self.port, self.headers, self.reader, self.writer = port, headers, None, None

    async def get(
        self, path: str, etag: str = "", held: bool = False
    ) -> tuple[int, dict[str, str], bytes]:
        known = (f"If-None-Match: {etag}\r\n" if etag else "") + (
            "Prefer: wait=1\r\n" if held else ""
        )
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAccept-Encoding:"
            f" gzip\r\n{self.headers}{known}\r\n".encode()
        )
        for _ in range(2):
            try:
                if self.writer is None:
                    self.reader, self.writer = await asyncio.open_connection(
                        "127.0.0.1", self.port, limit=1 << 22
                    )
                self.writer.write(request)
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                found = {
                    name.lower(): value
                    for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                return (
                    int(head[0].split(" ")[1]),
                    found,
                    await self.reader.readexactly(int(found.get("content-length", 0))),
                )
            except (asyncio.IncompleteReadError, ConnectionError):  # closed by the server
                self.close()
        raise ConnectionError(f"{path}: no response")

    def close(self) -> None:
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None


@dataclass
class Seen:
    """Measurements of all viewers, in seconds."""

    latency: list[float] = field(default_factory=list)
    age: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    opening: list[float] = field(default_factory=list)
    polls: int = 0
    new: int = 0
    failed: list[str] = field(default_factory=list)


class Crowd:
    """`viewers` simulated pages, which send requests while `asking` is set."""

    def __init__(self, port: int, viewers: int, ramp: float = 10.0):
        self.port, self.viewers, self.ramp, self.seen = port, viewers, ramp, Seen()
        self.asking = asyncio.Event()
        self.asking.set()
        self.here = 0
        static = ROOT / "app" / "static"
        of_the_form = ("teacher_dialog.js", "check_report.js", "ladder.js")
        files = sorted(
            f.relative_to(static).as_posix()
            for f in static.rglob("*")
            if f.suffix in (".js", ".css") and f.name not in of_the_form
        )
        self.files = [f"/kg/static/{name}?v=1" for name in files] + [
            "/kg/theme.css",
            "/kg/plotly.min.js",
            "/kg/reference/-/0",
        ]

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
        etag, had, looked, plain = (
            "",
            -1,
            time.perf_counter() + random.random() * SAMPLE_EVERY,
            time.perf_counter(),
        )
        while True:
            await self.asking.wait()
            began = time.perf_counter()
            held = began - plain < PLAIN_EVERY
            status, headers, body = await line.get("/kg/live", etag, held)
            self.seen.polls += 1
            if not held:
                plain = time.perf_counter()
                self.seen.latency.append(plain - began)
            if status == 200:
                etag = headers["etag"]
                self.seen.new += 1
                text = zlib.decompress(body, 31)
                self.seen.age.append(time.time() - float(AT.search(text)[1]))
                whose, done = WHOSE.search(text), int(DONE.search(text)[1])
                if whose:
                    run, id, attempt = (part.decode() for part in whose.groups())
                    wanted = [
                        f"group/{run}/{attempt}/{it}?id={id}"
                        for it in range(max(0, done - 3, had), done)
                    ]
                    if done and time.perf_counter() - looked > SAMPLE_EVERY:
                        looked = time.perf_counter()
                        wanted.append(
                            f"sample/{run}/{attempt}/{random.randrange(done)}/{random.randrange(20)}?id={id}"
                        )
                    had = done
                    for path in wanted:
                        began = time.perf_counter()
                        status, _, _ = await line.get(f"/kg/{path}")
                        self.seen.other.append(time.perf_counter() - began)
            elif status != 304:
                self.seen.failed.append(f"status {status}")
            await asyncio.sleep(PERIOD)


class Presenter:
    """Presses the page's buttons by sending the same events."""

    def __init__(self, address: str, cookie: tuple[str, str]):
        self.client = httpx.AsyncClient(base_url=address, cookies=dict([cookie]), timeout=60)
        self.buttons: dict[str, int] = {}

    async def come(self) -> None:
        config = (await self.client.get("/config")).json()
        ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        for dependency in config["dependencies"]:
            for target, event in dependency["targets"]:
                if event == "click":
                    self.buttons |= {
                        name: dependency["id"]
                        for name in ("kg-start", "kg-stop")
                        if ids.get(name) == target
                    }

    async def press(self, button: str, values: list | None = None) -> float:
        """Press a button; returns the seconds until the page receives the end of its event."""
        session, began = secrets.token_hex(5), time.perf_counter()
        order = {
            "fn_index": self.buttons[button],
            "data": values or [],
            "session_hash": session,
            "event_data": None,
        }
        (await self.client.post("/gradio_api/queue/join", json=order)).raise_for_status()
        async with self.client.stream(
            "GET", f"/gradio_api/queue/data?session_hash={session}"
        ) as response:
            async for line in response.aiter_lines():
                if '"process_completed"' in line:
                    assert '"success":true' in line.replace(" ", ""), line
                    return time.perf_counter() - began
        raise AssertionError("the event did not complete")

    async def snapshot(self) -> dict:
        return (await self.client.get("/kg/live")).json()

    async def start(self, recipe: str) -> None:
        values = form.write(recipes.get(recipe))
        values["classes"] = {"teacher": recipes.get(recipe).teacher, "chosen": values["classes"]}
        await self.press("kg-start", [values[name] for name in form.FIELDS])
        await self.phase("running")

    async def phase(self, *wanted: str, seconds: float = 240, period: float = 0.2) -> dict:
        end = time.monotonic() + seconds
        while (snapshot := await self.snapshot())["phase"] not in wanted:
            assert time.monotonic() < end, (
                f"waited for {wanted}: {snapshot['phase']}, {snapshot['alert']}"
            )
            await asyncio.sleep(period)
        return snapshot

    async def stop(self) -> float:
        """Press Stop; returns the seconds until its event has ended and the page shows it.

        The page polls 120 ms after a press, then at its usual rate.
        """
        began, etag = time.perf_counter(), ""
        pressed = asyncio.create_task(self.press("kg-stop"))
        await asyncio.sleep(0.12)
        while True:
            response = await self.client.get(
                "/kg/live", headers={"If-None-Match": etag, "Prefer": "wait=1"} if etag else {}
            )
            etag = response.headers["etag"]
            if response.status_code == 200 and response.json()["phase"] in (
                "stopping",
                "stopped",
                "finished",
            ):
                break
            assert time.perf_counter() - began < 60, "the page does not show Stop"
            await asyncio.sleep(PERIOD)
        await pressed
        return time.perf_counter() - began


class Server:
    """`launch.py --presenter`, with its memory and processor time from /proc."""

    def __init__(self, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.runs = folder / "runs"
        self.token, self.address = secrets.token_urlsafe(24), f"http://127.0.0.1:{self.port}"
        self.cookie = (f"kgen-presenter-{self.port}", self.token)
        self._log = (folder / "server.log").open("wb")
        command = [
            sys.executable,
            "launch.py",
            "--presenter",
            "--no-browser",
            "--port",
            str(self.port),
            "--runs",
            str(self.runs),
        ]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
            env=os.environ | {"KGEN_TOKEN": self.token},
        )
        end = time.monotonic() + 120
        while b"is running at" not in (folder / "server.log").read_bytes():
            assert self.process.poll() is None and time.monotonic() < end, (
                folder / "server.log"
            ).read_text()
            time.sleep(0.2)

    def rss(self) -> float:
        """Resident memory of the server's process in MB, without its children."""
        return (
            int(
                re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[
                    1
                ]
            )
            / 1024
        )

    def cpu(self) -> float:
        """Processor time of the server's process so far in seconds, without its children."""
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
    """Least-squares slope of y over x."""
    return (
        statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope
        if len(points) > 2
        else float("nan")
    )


class Clock:
    """Converts event times to wall time: the engine counts seconds from its own start."""

    def __init__(self, runs: Path):
        self.runs, self.starts = runs, {}

    def look(self) -> None:
        for path in self.runs.glob("fashion-*/events.jsonl"):  # not the recording
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 20_000))
                times = [float(t) for t in re.findall(rb'"t":([0-9.]+)', file.read())]
            if times:  # an event is read some time after it is written: keep the smallest gap
                self.starts[path] = min(
                    self.starts.get(path, float("inf")), time.time() - max(times)
                )

    def steps(self, blocks: list[tuple[bool, float, float]]) -> dict[str, dict[bool, list[float]]]:
        """Seconds per step of each of the engine's threads, with and without the crowd."""
        found = {kind: {True: [], False: []} for kind in ("generator_step", "student_step")}
        for path, start in self.starts.items():
            last: dict[str, dict] = {}
            for e in map(json.loads, path.read_bytes().splitlines()):
                before = last.get(e["kind"])
                last[e["kind"]] = e
                steps = e.get("step", 0) - before["step"] if before and e["kind"] in found else 0
                whole = e["kind"] == "student_step" or (
                    before and before.get("iteration") == e.get("iteration")
                )
                if steps > 0 and whole:  # other work happens between iterations
                    asking = next(
                        (
                            on
                            for on, a, b in blocks
                            if a <= start + before["t"] and start + e["t"] <= b
                        ),
                        None,
                    )
                    if asking is not None:
                        found[e["kind"]][asking].append((e["t"] - before["t"]) / steps)
        return found


async def watch(server: Server, clock: Clock, memory: list[tuple[float, float]]) -> None:
    """Record the server's memory over time, and the engine's clock."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(2)
        clock.look()
        memory.append(((time.monotonic() - began) / 60, server.rss()))


async def measure(server: Server, args: argparse.Namespace) -> dict[str, float]:
    presenter, crowd = Presenter(server.address, server.cookie), Crowd(server.port, args.viewers)
    await presenter.come()
    await presenter.start(args.recipe)
    clock, blocks = Clock(server.runs), []
    memory: list[tuple[float, float]] = []
    busy: list[float] = []
    async with crowd.present() as seen:
        while crowd.here + len(seen.failed) < args.viewers:
            await asyncio.sleep(0.2)
        await asyncio.sleep(5)
        watcher = asyncio.create_task(watch(server, clock, memory))
        own = resource.getrusage(resource.RUSAGE_SELF)
        on = 0.0
        for block in range(args.blocks):
            for asking in ((True, False), (False, True))[block % 2]:
                (crowd.asking.set if asking else crowd.asking.clear)()
                await asyncio.sleep(1)
                if (await presenter.snapshot())["phase"] != "running":
                    await presenter.start(args.recipe)
                cpu, began = server.cpu(), time.time()
                await asyncio.sleep(args.block)
                blocks.append((asking, began, time.time()))
                if asking:
                    busy.append((server.cpu() - cpu) / (time.time() - began))
                    on += time.time() - began
        counts = clock.steps(blocks)
        stops: dict[bool, list[float]] = {True: [], False: []}
        for i in range(args.stops):
            # every other press is without the crowd, as a baseline
            asking = i % 2 == 0
            (crowd.asking.set if asking else crowd.asking.clear)()
            await presenter.phase("running")
            await asyncio.sleep(1 + random.random())
            stops[asking].append(await presenter.stop())
            await presenter.phase("stopped", "finished")
            await presenter.start(args.recipe)
        crowd.asking.set()
        await asyncio.sleep(2)
        watcher.cancel()
        spent = resource.getrusage(resource.RUSAGE_SELF)
        counted = int((await presenter.client.get("/kg/live")).headers["x-kgen-viewers"])
        await presenter.press("kg-stop")
    await presenter.client.aclose()
    warm = [p for p in memory if p[0] > 0.5] or memory
    speeds = {
        kind: statistics.median(took[False]) / statistics.median(took[True])
        for kind, took in counts.items()
        if took[False] and took[True]
    }
    return {
        "viewers": args.viewers,
        "counted by the app": counted,
        "failed requests": len(seen.failed),
        "crowd active, s": on,
        "page load p50, s": percentile(seen.opening, 50),
        "page load p95, s": percentile(seen.opening, 95),
        "polls": seen.polls,
        "polls with something new, %": 100 * seen.new / max(1, seen.polls),
        **{f"plain poll p{p}, ms": 1000 * percentile(seen.latency, p) for p in (50, 95, 99)},
        "group or sample p95, ms": 1000 * percentile(seen.other, 95),
        "frame age p50, ms": 1000 * percentile(seen.age, 50),
        "frame age p95, ms": 1000 * percentile(seen.age, 95),
        "Stop p50, s": percentile(stops[True], 50),
        "Stop p95, s": percentile(stops[True], 95),
        "Stop without the crowd p50, s": percentile(stops[False], 50),
        "Stop without the crowd p95, s": percentile(stops[False], 95),
        "load average": os.getloadavg()[0],
        **{
            f"{kind}s measured": len(took[True]) + len(took[False]) for kind, took in counts.items()
        },
        **{f"{kind} speed with the crowd": ratio for kind, ratio in speeds.items()},
        "engine speed with the crowd": (
            statistics.geometric_mean(speeds.values()) if speeds else float("nan")
        ),
        "server, cores": statistics.median(busy) if busy else float("nan"),
        "viewers' processor time, s": spent.ru_utime + spent.ru_stime - own.ru_utime - own.ru_stime,
        "memory at the start, MB": warm[0][1],
        "memory at the end, MB": warm[-1][1],
        "minutes": warm[-1][0],
        "memory, MB/min": slope(warm),
    }


def verdicts(found: dict[str, float]) -> dict[str, bool]:
    age = 500 if found["viewers"] <= 30 else 2000
    return {
        "Stop p95 < 1 s": found["Stop p95, s"] < 1,
        f"frame age p95 < {age} ms": found["frame age p95, ms"] < age,
        "engine slowdown < 20%": found["engine speed with the crowd"] > 0.8,
        "memory < 1 MB/min": found["memory, MB/min"] < 1,
        "no request failed": not found["failed requests"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--viewers", type=int, default=60)
    parser.add_argument(
        "--blocks", type=int, default=12, help="pairs of blocks, with and without the crowd"
    )
    parser.add_argument("--block", type=float, default=15, help="seconds per block")
    parser.add_argument(
        "--stops", type=int, default=12, help="presses of Stop, half of them without the crowd"
    )
    parser.add_argument("--recipe", default="fashion-long")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            found = asyncio.run(measure(server, args))
        finally:
            server.end()
    for name, value in found.items():
        print(f"{name:<38} {value:>9.2f}" if isinstance(value, float) else f"{name:<38} {value:>9}")
    passed = verdicts(found)
    for name, good in passed.items():
        print(f"{'pass' if good else 'FAIL'}  {name}")
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
