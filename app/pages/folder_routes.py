"""The routes for checking a folder of real images. `app.web.guard` protects them.

Request sizes are limited, and every rejection is one sentence.
"""

from __future__ import annotations

import json

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.process.folder_checks import FolderChecks
from app.web import request_body
from app.web.answers import error_response, fresh_json
from app.web.errors import Refused, RequestError

MAX_BODY_BYTES = 10**5


def install(app: FastAPI, checks: FolderChecks) -> None:
    """Add the routes to the FastAPI app returned by Gradio's launch."""

    @app.post("/kg/folder")
    async def start(request: Request) -> Response:
        try:
            payload = json.loads(await request_body.read_body(request, MAX_BODY_BYTES))
            # it ends an earlier check, which can take seconds
            return fresh_json({"id": await run_in_threadpool(checks.start, payload)})
        except (Refused, RequestError) as error:
            return error_response(error, error.status)
        except (ValueError, RecursionError, ClientDisconnect):
            return error_response(
                Refused("Invalid check request: expected JSON.", code="not-json"), 400
            )

    @app.get("/kg/folder/{id}")
    def report(id: str) -> Response:
        try:
            return fresh_json(checks.report(id))
        except Refused as error:
            return error_response(error, error.status)
