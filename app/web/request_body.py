"""What a POST brings in words, whole and bounded: a page may send as much as it likes, nothing
holds more than it should.
"""

from __future__ import annotations

from fastapi import Request

from kgen.errors import KGenError


class TooLong(KGenError, ValueError):
    """More bytes came than are taken."""

    code = "too-long"


async def whole(request: Request, most: int) -> bytes:
    """The body of a request of at most `most` bytes; what comes is counted, whatever was announced.
    Raises TooLong.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise TooLong
    return bytes(body)
