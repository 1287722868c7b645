"""Reads the whole body of a POST, up to a limit: a page may send any amount, but only that much is
held.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from app.web.errors import RequestError


async def whole(request: Request, most: int) -> bytes:
    """A request's body of at most `most` bytes, counted as they arrive, regardless of the announced
    length. Raises RequestError.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise RequestError(
                f"The request is larger than {most:,} bytes.", code="too-large", limit=most
            )
    return bytes(body)


async def json_object(request: Request, most: int, empty: str = "{}") -> dict[str, Any]:
    """A body that is a JSON object; `empty` stands for no body. Raises RequestError."""
    body = await whole(request, most)
    try:
        said = json.loads(body or empty)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise RequestError("Expected a JSON object.", code="not-json")
    return said
