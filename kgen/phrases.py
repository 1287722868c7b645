"""Parts of sentences that several messages need."""

from __future__ import annotations

from collections.abc import Sequence

MAX_LISTED = 5
"""How many items a message lists by name."""


def first_few(items: Sequence[str]) -> str:
    """The first items, and how many more there are."""
    return ", ".join(items[:MAX_LISTED]) + and_more(items)


def and_more(items: Sequence) -> str:
    """How many items there are beyond those that a message lists: " and 3 more", or nothing."""
    return f" and {len(items) - MAX_LISTED:,} more" if len(items) > MAX_LISTED else ""


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
    if seconds < 45:
        return "under a minute"
    return f"about {seconds / 60:.0f} min" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} h"
