#!/usr/bin/env python3
"""Pictures of the page in every state: python -m tests.support.screenshots FOLDER

Shows one real run at 1440 × 900 and at 390 × 844 (the screen and the full length), in light and
dark mode. Takes a few minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.serving import App
from tests.support.studio import CHROMIUM, LATER, PHONE, SIZE, Studio

ITERATIONS = 6
"""Iterations before the picture of a run in progress, so that it has points and a curve."""


def take(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("KGEN_CHROMIUM") or shutil.which("chromium"),
            args=list(CHROMIUM),
        )
        app = App(Path(work))
        try:
            _tour(
                app,
                folder,
                {
                    f"{size}-{theme}": Studio(
                        browser,
                        app.address,
                        (PHONE if size == "phone" else SIZE),
                        f"?__theme={theme}",
                    )
                    for size in ("desk", "phone")
                    for theme in ("light", "dark")
                },
            )
        finally:
            browser.close()
            app.end()


def _tour(app: App, folder: Path, pages: dict[str, Studio]) -> None:
    first, *_ = pages.values()

    def picture(state: str) -> None:
        for name, studio in pages.items():
            studio.page.bring_to_front()
            studio.page.mouse.move(0, 0)
            studio.wait_polls(3)
            studio.page.screenshot(path=folder / f"{state}-{name}.png")
            if name.startswith("phone"):
                studio.page.screenshot(path=folder / f"{state}-{name}-whole.png", full_page=True)

    def reach(iterations: int) -> None:
        first.page.bring_to_front()
        first.until(f"{iterations} iterations", lambda: first.counters[1] >= iterations, 3 * LATER)

    first.until("real examples", lambda: first.points("real"))
    picture("empty")
    for name in ("phone-light", "phone-dark"):
        pages[name].press("Setup")
        pages[name].page.screenshot(path=folder / f"setup-{name}.png")
        pages[name].press("Setup")
    first.press("Start")
    first.wait_phase("running")
    reach(ITERATIONS)
    picture("running")
    first.page.bring_to_front()
    first.press("Pause")
    first.wait_phase("paused")
    for studio in pages.values():
        studio.page.bring_to_front()
        studio.see(".tile[tabindex='0']").click()
    picture("paused")
    first.page.bring_to_front()
    first.press("Stop")
    first.wait_phase("stopped")
    picture("stopped")
    first.page.bring_to_front()
    first.press("Start")
    first.wait_phase("running")
    reach(2)
    os.kill(app.engine(), signal.SIGKILL)
    first.wait_phase("died")
    picture("died")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    take(parser.parse_args().folder)
