"""Downloads one file over HTTP into a folder, resuming where it stopped, and verifies it.

Independent of networks; prints nothing. A file in progress is NAME.part, next to NAME.json with its
URL, size, checksum and the server's identifier of that version, so that bytes of two versions never
mix.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kgen.system import connection
from kgen.system.files import FolderLock, Locked, write_durably
from kgen.system.files import sha256 as sha256_of
from kgen.zoo.zoo import ZooError

TIMEOUT = 30.0
"""Seconds without a byte before the connection counts as broken."""


class DownloadError(ZooError):
    """The download failed, or the file is not what was published; the message says what to do."""

    code = "download"


@dataclass(frozen=True)
class Progress:
    done: int
    total: int | None
    """Bytes; None if the server does not report it."""


def download(url: str, part: Path, command: str) -> Generator[Progress, None, str]:
    """Download `url` to `part` (….part), resuming an earlier attempt.

    `command`: the one that resumes it, for messages. Returns (as a generator) the result of the
    checksum comparison, as text. Raises DownloadError and VariableError; downloaded bytes are kept
    unless they are wrong.
    """
    connection.check_variables()
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FolderLock(part.parent)
    except Locked:
        raise DownloadError(
            f"Another download into {part.parent} is in progress; wait for it to finish, then:"
            f" {command}",
            code="busy",
        ) from None
    try:
        notes = _notes(part, url)
        start = part.stat().st_size if part.is_file() and notes else 0
        if not start or start != notes["total"]:
            notes = yield from _receive(url, part, notes, start, command)
        try:
            return verify(part, url, notes["sha256"])
        except DownloadError as error:
            discard(part)
            raise DownloadError(
                f"{error} It was deleted; to try again: {command}",
                code=error.code,
                **error.fields,
            ) from None
    finally:
        lock.release()


def discard(part: Path) -> None:
    """Delete a file in progress and its notes."""
    for path in (part, part.with_suffix(".json")):
        path.unlink(missing_ok=True)


def verify(path: Path, url: str, sha256: str | None = None) -> str:
    """Compare a file with what was published; returns the result as text.

    Uses `sha256`, otherwise the digits in the URL (resnet18-f37072fd.pth). Raises DownloadError if
    they differ.
    """
    expected = sha256 or digits_in(url)
    if not expected:
        return "no checksum to compare with"
    digest = sha256_of(path)
    if not digest.startswith(expected):
        n = len(expected)
        raise DownloadError(
            f"The file from {urlsplit(url).hostname} is not what was published: SHA-256"
            f" {digest[:n]}, expected {expected}.",
            code="other-checksum",
            found=digest[:n],
            expected=expected,
        )
    return (
        f"SHA-256 {expected} as published"
        if sha256
        else f"SHA-256 begins with {expected} as published"
    )


def digits_in(url: str) -> str | None:
    """The SHA-256 prefix in torch's file names; None if there is none, or if it looks like a
    date.
    """
    found = re.search(r"-([0-9a-f]{8}|[0-9a-f]{64})\.\w+$", urlsplit(url).path)
    return found[1] if found and not found[1].isdecimal() else None


def _notes(part: Path, url: str) -> dict[str, Any]:
    """The notes on a file in progress; empty if it came from another URL, or they are invalid."""
    try:
        notes = json.loads(part.with_suffix(".json").read_text(encoding="utf-8"))
        return notes if notes["url"] == url and {"mark", "total", "sha256"} <= notes.keys() else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _receive(
    url: str, part: Path, notes: dict[str, Any], start: int, command: str
) -> Generator[Progress, None, dict[str, Any]]:
    """Append what is missing after `start`; start over if the server cannot resume.

    Returns the notes.
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
            offset, total = _content_range(response)
            if start and (response.status_code == 416 or offset not in (0, start)):
                discard(part)  # our part no longer matches anything on the server
                return (yield from _receive(url, part, {}, 0, command))
            if response.status_code not in (200, 206):
                note = " The downloaded part is kept." if start else ""
                raise DownloadError(
                    f"{response.url.host} responded with {response.status_code}"
                    f" {response.reason_phrase} for {url}.{note}"
                    f" {_advice(response.status_code, command)}",
                    code="unavailable",
                    status=response.status_code,
                )
            notes = {
                "url": url,
                "mark": _version_tag(response),
                "total": total,
                "sha256": _published(response),
            }
            write_durably(part.with_suffix(".json"), json.dumps(notes).encode(), sync=False)
            done = offset
            with part.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                # unbuffered: bytes gathered into larger chunks are lost if the connection breaks
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    done += len(chunk)
                    yield Progress(done, total)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if not done:
            discard(part)
        raise _connection_error(error, url, done, total, command) from None
    if total is not None and done != total:
        raise _connection_error(None, url, done, total, command)
    return notes | {"total": done}


def _content_range(response: Any) -> tuple[int, int | None]:
    """(where the body begins, size of the whole file) of a response."""
    if response.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
        return (int(found[1]), int(found[2]) if found[2] != "*" else None) if found else (-1, None)
    length = response.headers.get("content-length", "")
    return 0, int(length) if length.isdecimal() else None


def _version_tag(response: Any) -> str | None:
    """An identifier of this version of the file: a strong ETag, otherwise the date."""
    etag = response.headers.get("etag", "")
    return etag if etag.startswith('"') else response.headers.get("last-modified")


def _published(response: Any) -> str | None:
    """The SHA-256 in Hugging Face's first response, before it redirects to the storage."""
    for hop in (*response.history, response):
        found = hop.headers.get("x-linked-etag", "").strip('"').lower()
        if re.fullmatch("[0-9a-f]{64}", found):
            return found
    return None


def _advice(status: int, command: str) -> str:
    return (
        "It may have moved: update timm and torchvision."
        if status in (404, 410)
        else f"Try again later: {command}"
    )


def _connection_error(
    error: Exception | None, url: str, done: int, total: int | None, command: str
) -> DownloadError:
    host = urlsplit(url).hostname
    with contextlib.suppress(RuntimeError):  # an httpx error without a request
        if request := getattr(error, "request", None):
            host = request.url.host  # a redirect may lead elsewhere
    reason = f" ({str(error) or type(error).__name__})" if error else ""
    advice, facts = connection.explain(url, error)
    if not done:
        return DownloadError(
            f"{host} cannot be reached{reason}; nothing was written."
            f" {advice}{' ' * bool(advice)}Check the connection and try again ({command}), or copy"
            f" the file at {url} to this machine and add --file FILE.",
            code="unreachable",
            host=host,
            **facts,
        )
    size = f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB" if total else f"{done / 1e6:,.1f} MB"
    return DownloadError(
        f"The connection to {host} was lost after {size}{reason}; that part is kept. To resume:"
        f" {command}",
        code="interrupted",
        host=host,
        done=done,
        total=total,
    )
