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
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.process import teacher_checks
from app.process.teacher_checks import TeacherChecks
from app.web import request_body
from app.web.answers import error_response, fresh_json
from app.web.errors import Refused, RequestError

MAX_BODY_BYTES = 10**6
"""Largest check request in bytes: a hundred thousand class names of ten letters."""
NO_STORE = {"Cache-Control": "no-store"}


def install(app: FastAPI, checks: TeacherChecks) -> None:
    """Add the routes to the FastAPI app returned by Gradio's launch."""

    @app.get("/kg/known")
    def known() -> Response:
        return JSONResponse(teacher_checks.suggestions(), headers=NO_STORE)

    @app.post("/kg/teacher-file")
    async def file(request: Request, name: str = "") -> Response:
        content_length = request.headers.get("content-length", "")
        try:
            token = await checks.store_upload(
                name, request.stream(), int(content_length) if content_length.isdecimal() else 0
            )
        except Refused as error:
            return _error_response(error)
        except ClientDisconnect:
            return _error_response(
                Refused("The page was closed before the upload finished.", code="incomplete")
            )
        return JSONResponse({"file": token}, headers=NO_STORE)

    @app.post("/kg/check")
    async def inspect(request: Request) -> Response:
        try:
            payload = _parse_json(await request_body.read_body(request, MAX_BODY_BYTES))
        except RequestError:
            return _error_response(
                Refused(
                    f"The request is larger than {MAX_BODY_BYTES / 1e6:.0f} MB. Shorten"
                    " the class names.",
                    413,
                    code="too-large",
                )
            )
        except Refused as error:
            return _error_response(error)
        except ClientDisconnect:
            return _error_response(
                Refused("The page was closed before the request was complete.", code="incomplete")
            )
        # parsing thousands of class names takes a while
        return await run_in_threadpool(_json_response, lambda: {"id": checks.start(payload)})

    @app.get("/kg/check/{id}")
    def report(id: str) -> Response:
        return _json_response(lambda: checks.report(id))


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(
            "Invalid check request: expected JSON.",
            code="not-json",
        ) from None


def _json_response(make: Callable[[], dict[str, Any]]) -> Response:
    try:
        return fresh_json(make())
    except Refused as error:
        return _error_response(error)


def _error_response(error: Refused) -> Response:
    return error_response(error, error.status)
