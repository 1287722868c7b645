"""Reads the whole body of a POST, up to a limit: a page may send any amount, but only that much is
held.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from app.web.errors import RequestError


async def read_body(request: Request, max_bytes: int) -> bytes:
    """A request's body of at most `max_bytes` bytes, counted as they arrive, regardless of the
    announced length. Raises RequestError.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise RequestError(
                f"The request is larger than {max_bytes:,} bytes.",
                code="too-large",
                limit=max_bytes,
            )
    return bytes(body)


async def json_object(request: Request, max_bytes: int, empty: str = "{}") -> dict[str, Any]:
    """A body that is a JSON object; `empty` stands for no body. Raises RequestError."""
    body = await read_body(request, max_bytes)
    try:
        payload = json.loads(body or empty)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise RequestError("Expected a JSON object.", code="not-json")
    return payload
