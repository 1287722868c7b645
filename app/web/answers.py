"""HTTP responses for all our routes: compressed once and revalidated by ETag; a 404 is one
sentence.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from typing import Any

from fastapi import Request
from fastapi.responses import PlainTextResponse, Response

from app.web.errors import Missing
from kgen.errors import KGenError

IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"


def etag_matches(request: Request, etag: str | None) -> bool:
    """Does the browser already have this response?"""
    return bool(etag) and etag in [
        t.strip().removeprefix("W/") for t in request.headers.get("if-none-match", "").split(",")
    ]


def compressed_response(
    request: Request, body: bytes, media: str, cache: str, etag: str | None = None
) -> Response:
    """Compressed bytes as they are, or 304; decompressed only for the rare client without gzip."""
    headers = {"Cache-Control": cache, "Vary": "Accept-Encoding"} | ({"ETag": etag} if etag else {})
    if etag_matches(request, etag):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
    else:
        body = gzip.decompress(body)
    return Response(body, media_type=media, headers=headers)


def revalidated_json(request: Request, body: bytes) -> Response:
    """Compressed JSON that changes occasionally: the browser asks each time and gets 304 if nothing
    changed.
    """
    return compressed_response(
        request, body, "application/json", REVALIDATE, f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    )


def fresh_json(data: Any) -> Response:
    """JSON that is never cached. It may contain file names that are not valid text, which FastAPI's
    own response cannot encode.
    """
    return Response(
        json.dumps(data, allow_nan=False),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def parse_number(text: str, digits: int = 9) -> int:
    """A number in an address: at most `digits` digits and nothing else. Raises Missing."""
    if not re.fullmatch(f"[0-9]{{1,{digits}}}", text):
        raise Missing(
            "The address has an invalid attempt, iteration, class, or image number.",
            code="invalid-address",
        )
    return int(text)


def error_response(error: KGenError, status: int, text: str = "") -> Response:
    """An error as one sentence for people, by default its own, and its code as a header."""
    headers = {"Cache-Control": "no-store", "X-KGen-Code": error.code}
    sentence = (text or str(error)).encode("utf-8", "replace")  # a file name may not be valid text
    return PlainTextResponse(sentence, status, headers)


def not_found(error: KGenError | str) -> Response:
    return error_response(error if isinstance(error, KGenError) else Missing(error), 404)
