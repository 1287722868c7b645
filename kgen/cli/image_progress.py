"""Progress of work on real images: a bar on a terminal, occasional lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.progress import TaskID

from kgen.cli.console import console, progress_bar

ACTIVITIES = {
    "checking": "checking image files",
    "reading": "reading images",
    "decoding": "decoding images",
    "student": "testing the student",
    "teacher": "running the teacher",
}
"""What is being done with the images."""
LINE_SECONDS = 10.0


def describe(activity: str, done: int, total: int) -> str:
    return f"{ACTIVITIES[activity]}: {done:,} of {total:,}"


class ImageProgress:
    """Shows the progress of the work; `show` receives an activity, images done, and images in
    total.
    """

    def __init__(self, quiet: bool = False):
        self._quiet = quiet
        self._bar = progress_bar(disable=quiet or not console.is_terminal, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> ImageProgress:
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._bar.disable:  # older versions of rich would print an empty line
            self._bar.stop()

    def activity(self, activity: str) -> Callable[[int, int], None]:
        return lambda done, total: self.show(activity, done, total)

    def show(self, activity: str, done: int, total: int) -> None:
        if activity not in self._tasks:
            self._tasks[activity] = self._bar.add_task(ACTIVITIES[activity], total=total, note="")
        task = self._tasks[activity]
        self._bar.update(task, completed=done, total=total, note=f"{done:,} of {total:,}")
        waited = time.monotonic() - self._last_line >= LINE_SECONDS
        if waited and not self._quiet and not console.is_terminal:
            self._last_line = time.monotonic()
            console.print(describe(activity, done, total))
