"""Parts of sentences that several messages need."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MAX_LISTED = 5
"""How many items a message lists by name."""
MAX_CHOICES = 12
"""How many names a message lists if no command lists them."""


def one_of(choices: Sequence[object]) -> str:
    """['a', 'b', 'c'] → "'a', 'b', or 'c'"."""
    *most, last = map(repr, choices)
    if len(most) < 2:
        return " or ".join((*most, last))
    return f"{', '.join(most)}, or {last}"


def closest(name: str, known: Sequence[str], cutoff: float = 0.4) -> str | None:
    """The known name that is nearest to an unknown one."""
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff)), None)


def did_you_mean(name: str, known: Sequence[str], command: str = "", *, cutoff: float = 0.4) -> str:
    """A hint on an unknown name: the nearest known ones, or else the first few.

    `command`: the one that lists them all, for when a message cannot.
    """
    lists_all = f" `{command}` lists them all." if command else ""
    if near := closest(name, known, cutoff):
        others = [n for n in difflib.get_close_matches(name, known, 3, 0.8) if n != near]
        return f"Did you mean {one_of((near, *others))}?{lists_all}"
    if len(known) <= MAX_LISTED or (not command and len(known) <= MAX_CHOICES):
        return f"Known: {', '.join(known)}."
    return f"Known: {first_few(known)}.{lists_all}"


def count(n: int, noun: str) -> str:
    """A number of things: "1 class", "0 classes", "2,000 classes"."""
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun}{'es' if noun.endswith(('s', 'x', 'ch')) else 's'}"


def first_few(items: Sequence[str]) -> str:
    """The first items, and how many more there are."""
    return ", ".join(items[:MAX_LISTED]) + and_more(items)


def and_more(items: Sequence) -> str:
    """How many items there are beyond those that a message lists: ", and 3 more", or nothing."""
    return f", and {len(items) - MAX_LISTED:,} more" if len(items) > MAX_LISTED else ""


def failed_check(error: Exception) -> str:
    """The message for a bug in a check that someone is waiting for."""
    return (
        f"The check itself failed ({type(error).__name__}: {short_message(error)}); please report"
        " it."
    )


def short_message(error: BaseException) -> str:
    """An exception's message, short enough for a sentence."""
    text = " ".join(str(error).split())
    return text[:150].rstrip(". ") if text else type(error).__name__


def duration(seconds: float | None) -> str:
    """An estimated duration as text, suitably rounded."""
    if seconds is None:
        return "unknown time"
    return "under a minute" if seconds < 45 else f"about {time_span(seconds)}"


def rounded(n: float) -> str:
    """A large number with about two digits: "850", "5.3 k", "340 k", "2.8 M", "133 M"."""
    for unit in ("", " k", " M"):
        if n < 999.5 or unit == " M":
            break
        n /= 1000
    return f"{n:.1f}{unit}" if unit and n < 9.95 else f"{n:,.0f}{unit}"


def pip_install(*packages: str) -> str:
    """The command that installs optional packages, whether K-Gen is installed or a checkout."""
    return f"pip install {' '.join(packages)}"


def size(n: float) -> str:
    """Bytes as text: "0.4 kB", "12 MB", "1.3 GB"."""
    power = min(3, max(1, (len(str(round(n))) - 1) // 3))
    n /= 1000**power
    unit = ("kB", "MB", "GB")[power - 1]
    return f"{n:.1f} {unit}" if n < 9.95 else f"{n:,.0f} {unit}"


def time_span(seconds: float) -> str:
    """A duration as text with two digits: "8 s", "75 s", "12 min", "2.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
