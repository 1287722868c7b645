"""The terminal that messages go to, and how a progress bar looks."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def text_console(stderr: bool = False) -> Console:
    """A console that prints text as is: names of files, runs and classes may have brackets and
    colons, which rich would take for styles and emoji.
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def text_column(text: str) -> TextColumn:
    """The same for a progress bar."""
    return TextColumn(text, markup=False)


console = text_console(stderr=True)
"""For messages; standard output is reserved for results."""


def progress_bar(disable: bool = False, transient: bool = False) -> Progress:
    """A bar between a description and a note; `add_task` needs `note=""`. `transient`: it
    disappears at the end.
    """
    return Progress(
        text_column("{task.description}"),
        BarColumn(),
        text_column("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        disable=disable,
        transient=transient,
    )
