"""Reads the whole body of a POST, up to a limit: a page may send any amount, but only that much is
held.
"""

from __future__ import annotations

from fastapi import Request

from kgen.errors import KGenError


class TooLong(KGenError, ValueError):
    """The body exceeds the limit."""

    code = "too-long"


async def whole(request: Request, most: int) -> bytes:
    """A request's body of at most `most` bytes, counted as they arrive, regardless of the announced
    length. Raises TooLong.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise TooLong
    return bytes(body)
