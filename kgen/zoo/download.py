"""One file over HTTP into a folder: resumed where it stopped, and checked. It knows nothing of
networks and prints nothing.

While a file is on its way it is NAME.part, beside NAME.json: address, size, the server's mark of
that version and the checksum, so that bytes of two versions never meet.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kgen.files import FolderLock, Locked, write_durably
from kgen.files import sha256 as sha256_of
from kgen.zoo.zoo import ZooError

TIMEOUT = 30.0
"""Seconds without a byte before the connection counts as broken."""


class DownloadError(ZooError):
    """The file did not come, or is not what was published; the message says what to do."""

    code = "download"


@dataclass(frozen=True)
class Progress:
    done: int
    total: int | None
    """Bytes; None where the server does not say."""


def download(url: str, part: Path, again: str) -> Iterator[Progress]:
    """Fetch `url` into `part` (….part), going on where an earlier attempt stopped. `again`: the
    command that goes on, for messages.

    Returns (as a generator does) what the checksum said, in words. Raises DownloadError; what has
    arrived is kept unless it is wrong.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FolderLock(part.parent)
    except Locked:
        raise DownloadError(
            f"Another download into {part.parent} is on its way; wait for its end, then: {again}"
        ) from None
    try:
        notes = _notes(part, url)
        start = part.stat().st_size if part.is_file() and notes else 0
        if not start or start != notes["total"]:
            notes = yield from _receive(url, part, notes, start, again)
        try:
            return verify(part, url, notes["sha256"])
        except DownloadError as error:
            forget(part)
            raise DownloadError(f"{error} It was removed; to try once more: {again}") from None
    finally:
        lock.release()


def forget(part: Path) -> None:
    """Remove a file that is on its way, and what is known of it."""
    for path in (part, part.with_suffix(".json")):
        path.unlink(missing_ok=True)


def verify(path: Path, url: str, sha256: str | None = None) -> str:
    """Compare a file with what was published: `sha256`, else the digits in the address
    (resnet18-f37072fd.pth). In words.

    Raises DownloadError where they differ.
    """
    expected = sha256 or digits_in(url)
    if not expected:
        return "no checksum to compare with"
    found = sha256_of(path)
    if not found.startswith(expected):
        n = len(expected)
        raise DownloadError(
            f"What came from {urlsplit(url).hostname} is not what was published: SHA-256"
            f" {found[:n]}, expected {expected}."
        )
    return (
        f"SHA-256 {expected} as published"
        if sha256
        else f"SHA-256 begins with {expected} as published"
    )


def digits_in(url: str) -> str | None:
    """Beginning of the SHA-256 that torch's file names carry; None without one, or where they look
    like a date.
    """
    found = re.search(r"-([0-9a-f]{8}|[0-9a-f]{64})\.\w+$", urlsplit(url).path)
    return found[1] if found and not found[1].isdecimal() else None


def _notes(part: Path, url: str) -> dict[str, Any]:
    """What is known of the file on its way; empty if it came from another address, or nothing can
    be relied on.
    """
    try:
        notes = json.loads(part.with_suffix(".json").read_text(encoding="utf-8"))
        return notes if notes["url"] == url and {"mark", "total", "sha256"} <= notes.keys() else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _receive(
    url: str, part: Path, notes: dict[str, Any], start: int, again: str
) -> Iterator[Progress]:
    """Append what is missing behind `start`; begin anew where the server cannot go on. Returns the
    notes.
    """
    import httpx

    headers = {"Accept-Encoding": "identity", "User-Agent": "kgen"}
    if start and notes["mark"]:
        headers |= {"Range": f"bytes={start}-", "If-Range": notes["mark"]}
    done, total = start, notes.get("total")
    try:
        with httpx.stream(
            "GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT
        ) as response:
            begins, total = _extent(response)
            if start and (response.status_code == 416 or begins not in (0, start)):
                forget(part)  # nothing that we have fits what is there now
                return (yield from _receive(url, part, {}, 0, again))
            if response.status_code not in (200, 206):
                kept = " What has arrived is kept." if start else ""
                raise DownloadError(
                    f"{response.url.host} answers {response.status_code} {response.reason_phrase}"
                    f" for {url}.{kept} {_advice(response.status_code, again)}"
                )
            notes = {
                "url": url,
                "mark": _mark(response),
                "total": total,
                "sha256": _published(response),
            }
            write_durably(part.with_suffix(".json"), json.dumps(notes).encode(), sync=False)
            done = begins
            with part.open("r+b" if begins else "wb") as file:
                file.seek(begins)
                # as they come: what is gathered into larger ones is lost when the connection breaks
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    done += len(chunk)
                    yield Progress(done, total)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if not done:
            forget(part)
        raise DownloadError(_broken(error, url, done, total, again)) from None
    if total is not None and done != total:
        raise DownloadError(_broken(None, url, done, total, again))
    return notes | {"total": done}


def _extent(response: Any) -> tuple[int, int | None]:
    """(where the body begins, size of the whole file) of an answer."""
    if response.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
        return (int(found[1]), int(found[2]) if found[2] != "*" else None) if found else (-1, None)
    length = response.headers.get("content-length", "")
    return 0, int(length) if length.isdecimal() else None


def _mark(response: Any) -> str | None:
    """What tells this version of the file from another: a strong ETag, else the date."""
    etag = response.headers.get("etag", "")
    return etag if etag.startswith('"') else response.headers.get("last-modified")


def _published(response: Any) -> str | None:
    """SHA-256 that Hugging Face names in its first answer, before it redirects to the storage."""
    for answer in (*response.history, response):
        found = answer.headers.get("x-linked-etag", "").strip('"').lower()
        if re.fullmatch("[0-9a-f]{64}", found):
            return found
    return None


def _advice(status: int, again: str) -> str:
    return (
        "Perhaps it moved: update timm and torchvision."
        if status in (404, 410)
        else f"Try again later: {again}"
    )


def _broken(error: Exception | None, url: str, done: int, total: int | None, again: str) -> str:
    host = urlsplit(url).hostname
    with contextlib.suppress(RuntimeError, AttributeError):  # a redirection may have led elsewhere
        host = error.request.url.host
    why = f" ({str(error) or type(error).__name__})" if error else ""
    if not done:
        return (
            f"{host} cannot be reached{why}; nothing was written. Connect this machine and try"
            f" again ({again}), or bring the file of {url} here and add --file FILE."
        )
    size = f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB" if total else f"{done / 1e6:,.1f} MB"
    return (
        f"The connection to {host} broke after {size}{why}; they are kept, and this goes on from"
        f" there: {again}"
    )
