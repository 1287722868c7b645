"""Measure how much the app slows the engine: the same run alone, with the app and one polling
viewer, and with a real browser.

    python benchmarks/app_overhead.py [--rounds 3] [--epochs 4] [--browser /usr/bin/chromium]

Rounds are interleaved because machines are noisy; the result is the ratio of the medians. Only the
time from the engine's first step to its last counts, not process startup.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app import launch
from kgen.journal.reading import open_run
from kgen.recipes import recipes

POLL = """
import sys, time, httpx
with httpx.Client() as client:
    etag = ""
    while True:
        response = client.get(sys.argv[1] + "kg/live", headers={"If-None-Match": etag})
        etag = response.headers.get("etag", etag)
        time.sleep(0.4)
"""
BROWSER = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,900",
    "--remote-debugging-port=0",
)


def engine_seconds(folder: Path) -> float:
    times = [e.t for e in open_run(folder).events() if e.kind in ("generator_step", "student_step")]
    return times[-1] - times[0]


def alone(recipe, folder: Path) -> float:
    command = [sys.executable, "-m", "kgen", "run", "-", "--out", str(folder)]
    subprocess.run(
        command,
        input=recipe.to_json().encode(),
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=1800,
    )
    return engine_seconds(folder)


def watched(recipe, runs_folder: Path, viewer: list[str] | None, port: int = 7990) -> float:
    """Run the real app in this process, the engine in its child, the viewer in another process."""
    launch.prepare_environment()
    from app import main
    from app.pages import routes
    from app.process.runs import Runs

    args = launch.arguments(["--no-browser", "--port", str(port), "--runs", str(runs_folder)])
    runs = Runs(runs_folder)
    demo = main.build(runs)
    with contextlib.ExitStack() as stack:
        stack.callback(demo.close, verbose=False)
        stack.callback(runs.close)
        served, address, _ = demo.launch(**main.launch_settings(args, port))
        routes.install(served, runs)
        if viewer:
            process = subprocess.Popen(
                [*viewer, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        name = runs.start(recipe)
        deadline = time.monotonic() + 1800
        while (
            not (runs_folder / name / "student.safetensors").is_file()
            and time.monotonic() < deadline
        ):
            time.sleep(0.5)
        return engine_seconds(runs_folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--browser", help="path to Chromium; default: skip the browser")
    args = parser.parse_args()
    base = recipes.get("fashion-live")
    recipe = base.replace(
        epochs=args.epochs, ratio=base.ratio * args.epochs / base.epochs, schedule="concurrent"
    )
    ways = {"alone": None, "app, one polling viewer": [sys.executable, "-c", POLL]}
    times: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as scratch:
        profile = Path(scratch, "profile")
        if args.browser:
            ways["app, one browser"] = [args.browser, *BROWSER, f"--user-data-dir={profile}"]
            times["app, one browser"] = []
        for i in range(args.rounds):
            for name, viewer in ways.items():
                seconds = (
                    alone(recipe, Path(scratch, f"alone{i}"))
                    if viewer is None
                    else watched(recipe, Path(scratch, f"{name[5:8]}{i}"), viewer)
                )
                times[name].append(seconds)
                print(f"round {i + 1}: {name:<26} {seconds:6.1f} s", flush=True)
    base_seconds = statistics.median(times["alone"])
    for name, values in times.items():
        print(
            f"{name:<26} median {statistics.median(values):6.1f} s  "
            f" {statistics.median(values) / base_seconds:.3f}× alone"
        )


if __name__ == "__main__":
    main()
