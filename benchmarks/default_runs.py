"""Time the default runs as a user starts them: in the real app, by pressing Start in a real browser
that then shows the run.

    python benchmarks/default_runs.py [--teacher CNN] [--recipes live long] [--seeds 0 1 2]
    [--browser /usr/bin/chromium]

Teachers and recipes have the names shown on the page, for example: --teacher "Imagenette ResNet"
--recipes imagenette-live, or --teacher "CIFAR-10 CNN" --recipes cifar10-live.

For each run, prints the seconds from the click to the first synthetic image on screen, the seconds
for the whole run, and the student's final (not best) accuracy on all real test images. Needs
playwright.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kgen.journal.reading import open_run

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FIRST_IMAGE = (
    "() => [...document.querySelectorAll('.gallery .image-group')].some((g) =>"
    " g.style.getPropertyValue('--sheet').includes('url'))"
)


def one_run(
    page: Page, address: str, runs: Path, teacher: str, recipe: str, seed: int, picture: Path | None
) -> tuple[float, float, float, int]:
    """(seconds to the first image, total seconds, accuracy, number of real images)"""
    page.goto(address)
    page.wait_for_function(
        "() => document.body.dataset.kg && !['running',"
        " 'starting'].includes(document.body.dataset.kg)"
    )
    page.locator("#kg-which-teacher label").filter(has_text=re.compile(rf"^\s*{teacher}")).click()
    page.locator("#kg-recipe label").filter(has_text=re.compile(rf"^\s*{recipe}")).click()
    page.locator("#kg-seed input").fill(str(seed))
    page.locator("#kg-seed input").press("Tab")
    page.wait_for_timeout(5000)  # let the engine warm up and the machine settle
    known = set(runs.iterdir()) if runs.is_dir() else set()
    start = time.monotonic()
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_function("() => document.body.dataset.kg === 'running'", timeout=60_000)
    page.wait_for_function(FIRST_IMAGE, timeout=60_000, polling=50)
    first = time.monotonic() - start
    if picture:
        page.wait_for_timeout(120_000)
        page.screenshot(path=picture)
    page.wait_for_function(
        "() => document.body.dataset.kg === 'finished'", timeout=3_600_000, polling=500
    )
    (folder,) = (f for f in runs.iterdir() if f.is_dir() and f not in known)
    *_, last = open_run(folder).events()
    return first, last.t, last.accuracy, last.n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--teacher", default="CNN")
    parser.add_argument("--recipes", nargs="+", default=["live", "long"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--picture", type=Path, help="save a screenshot, two minutes into the first run"
    )
    parser.add_argument("--browser", default="/usr/bin/chromium")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        runs = Path(scratch, "runs")
        command = [
            sys.executable,
            "launch.py",
            "--no-browser",
            "--no-recording",
            "--runs",
            str(runs),
        ]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            address = re.search(r"http://\S+", process.stdout.readline()).group()
            browser = playwright.chromium.launch(executable_path=args.browser, args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            for recipe in args.recipes:
                scores = []
                for seed in args.seeds:
                    first, seconds, accuracy, n = one_run(
                        page, address, runs, args.teacher, recipe, seed, args.picture
                    )
                    args.picture = None
                    scores.append(accuracy)
                    print(
                        f"{args.teacher}, {recipe}, seed {seed}: first image {first:.1f} s, run"
                        f" {seconds:.0f} s, student {accuracy:.2%} of {n:,}",
                        flush=True,
                    )
                spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
                print(
                    f"{args.teacher}, {recipe}: {statistics.mean(scores):.2%} ± {spread:.2%}",
                    flush=True,
                )
            browser.close()
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    main()
