"""The routes for adding a teacher: upload a weights file, and request a check of it.
`app.web.guard` protects them.

Request sizes are limited, and every rejection is one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from app.process import teacher_checks
from app.process.teacher_checks import TeacherChecks
from app.web import request_body
from app.web.answers import error_response
from app.web.errors import RequestError
from app.web.uploads import Refused

MOST_ORDER = 10**6
"""Largest check request in bytes: a hundred thousand class names of ten letters."""
FRESH = {"Cache-Control": "no-store"}


def install(app: FastAPI, teachers: TeacherChecks) -> None:
    """Add the routes to the FastAPI app returned by Gradio's launch."""

    @app.get("/kg/known")
    def known() -> Response:
        return JSONResponse(teacher_checks.suggestions(), headers=FRESH)

    @app.post("/kg/teacher-file")
    async def file(request: Request, name: str = "") -> Response:
        announced = request.headers.get("content-length", "")
        try:
            token = await teachers.store_upload(
                name, request.stream(), int(announced) if announced.isdecimal() else 0
            )
        except Refused as refused:
            return _refusal(refused)
        except ClientDisconnect:
            return _refusal(
                Refused("The page was closed before the upload finished.", code="incomplete")
            )
        return JSONResponse({"file": token}, headers=FRESH)

    @app.post("/kg/check")
    async def inspect(request: Request) -> Response:
        try:
            asked = _json(await request_body.read_body(request, MOST_ORDER))
        except RequestError:
            return _refusal(
                Refused(
                    f"The request is larger than {MOST_ORDER / 1e6:.0f} MB. Shorten class names.",
                    413,
                    code="too-large",
                )
            )
        except Refused as refused:
            return _refusal(refused)
        except ClientDisconnect:
            return _refusal(
                Refused("The page was closed before the request was complete.", code="incomplete")
            )
        return _answer(lambda: {"id": teachers.start(asked)})

    @app.get("/kg/check/{id}")
    def found(id: str) -> Response:
        return _answer(lambda: teachers.report(id))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(
            "Invalid check request: expected JSON.",
            code="not-json",
        ) from None


def _answer(make: Callable[[], dict[str, Any]]) -> Response:
    try:
        return JSONResponse(make(), headers=FRESH)
    except Refused as refused:
        return _refusal(refused)


def _refusal(refused: Refused) -> Response:
    return error_response(refused, refused.status)
