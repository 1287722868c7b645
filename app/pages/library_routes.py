"""The Runs page's routes: the list, pictures, a run as a file, and, as POST, actions on runs.

POST requests from other sites are rejected by `app.web.guard`; the archive checks names. Every
rejection is one sentence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from app.library import actions
from app.library.actions import MAX_UPLOAD_BYTES, RunActions
from app.process.runs import RunError
from app.web import answers, request_body
from app.web.answers import IMMUTABLE, etag_matches, not_found, revalidated_json
from app.web.errors import Missing, RequestError
from app.web.publish import encode
from kgen.journal.bundle import SUFFIX

MAX_BODY_BYTES = 16_384
"""Largest request that carries a name or a note, in bytes."""


def install(app: FastAPI, run_actions: RunActions) -> None:
    runs = run_actions.runs
    threading.Thread(target=run_actions.purge, name="purge", daemon=True).start()

    @app.get("/kg/runs")
    def rows(request: Request) -> Response:
        return revalidated_json(request, encode({"runs": run_actions.listing.rows()}))

    @app.get("/kg/picture/{run}/{key}")
    def picture(request: Request, run: str, key: str) -> Response:
        try:
            body, etag = run_actions.listing.picture(run, key), f'"{key}"'
        except Missing as error:
            return not_found(error)
        headers = {"Cache-Control": IMMUTABLE, "ETag": etag}
        return (
            Response(status_code=304, headers=headers)
            if etag_matches(request, etag)
            else Response(body, media_type="image/png", headers=headers)
        )

    @app.get("/kg/bundle/{run}")
    def bundle(request: Request, run: str) -> Response:
        query = request.query_params
        try:
            download = run_actions.download(
                run,
                real_images=query.get("real") == "1",
                checkpoint=query.get("checkpoint") == "1",
            )
        except (Missing, RunError) as error:
            return error_response(error)
        headers = {
            "Content-Disposition": f'attachment; filename="{run}{SUFFIX}"',
            "Cache-Control": "no-store",
        }
        return StreamingResponse(download, media_type="application/octet-stream", headers=headers)

    @app.post("/kg/bundle")
    async def receive(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > MAX_UPLOAD_BYTES:
            return answers.error_response(actions.too_large(), 413)
        try:
            return JSONResponse({"run": await run_actions.receive(request.stream())})
        except (Missing, RunError) as error:
            return error_response(error)

    @app.post("/kg/undo")
    async def undo(request: Request) -> Response:
        return await act(request, lambda payload: run_actions.undo(text_field(payload, "trashed")))

    handlers = {
        "open": lambda run, payload: runs.show(run),
        "resume": lambda run, payload: runs.resume(run),
        "rename": lambda run, payload: run_actions.rename(run, text_field(payload, "to")),
        "note": lambda run, payload: run_actions.note(run, text_field(payload, "note")),
        "delete": lambda run, payload: run_actions.delete(run),
    }

    @app.post("/kg/runs/{run}/{action}")
    async def change(request: Request, run: str, action: str) -> Response:
        if action not in handlers:
            return not_found(Missing("Unknown action for a run.", code="unknown-action"))
        return await act(request, lambda payload: handlers[action](run, payload))


async def act(
    request: Request, action: Callable[[dict[str, Any]], str], max_bytes: int = MAX_BODY_BYTES
) -> Response:
    """Handle a POST of at most `max_bytes` bytes off the event loop; answers `{"run": …}` or one
    sentence.
    """
    try:
        payload = await request_body.json_object(request, max_bytes)
    except RequestError as error:
        return answers.error_response(error, error.status)
    try:
        return JSONResponse({"run": await run_in_threadpool(action, payload)})
    except (Missing, RunError) as error:
        return error_response(error)


def text_field(payload: dict[str, Any], field: str) -> str:
    value = payload.get(field)
    if not isinstance(value, str):
        raise RunError(
            f"The field {field!r} is missing.",
            code="no-field",
            field=field,
        )
    return value


def error_response(error: Missing | RunError) -> Response:
    return answers.error_response(error, 404 if isinstance(error, Missing) else 409)
