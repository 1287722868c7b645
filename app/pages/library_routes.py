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

LARGEST_WORDS = 16_384
"""Largest request that carries a name or a note, in bytes."""


def install(app: FastAPI, shelf: RunActions) -> None:
    runs = shelf.runs
    threading.Thread(target=shelf.purge, name="purge", daemon=True).start()

    @app.get("/kg/runs")
    def rows(request: Request) -> Response:
        return revalidated_json(request, encode({"runs": shelf.listing.rows()}))

    @app.get("/kg/picture/{run}/{key}")
    def picture(request: Request, run: str, key: str) -> Response:
        try:
            body, etag = shelf.listing.picture(run, key), f'"{key}"'
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
        wanted = request.query_params
        try:
            found = shelf.download(
                run,
                real_images=wanted.get("real") == "1",
                checkpoint=wanted.get("checkpoint") == "1",
            )
        except (Missing, RunError) as error:
            return refusal(error)
        headers = {
            "Content-Disposition": f'attachment; filename="{run}{SUFFIX}"',
            "Cache-Control": "no-store",
        }
        return StreamingResponse(found, media_type="application/octet-stream", headers=headers)

    @app.post("/kg/bundle")
    async def receive(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > MAX_UPLOAD_BYTES:
            return answers.error_response(actions.too_large(), 413)
        try:
            return JSONResponse({"run": await shelf.receive(request.stream())})
        except (Missing, RunError) as error:
            return refusal(error)

    @app.post("/kg/undo")
    async def undo(request: Request) -> Response:
        return await act(request, lambda said: shelf.undo(text(said, "trashed")))

    doing = {
        "open": lambda run, said: runs.show(run),
        "resume": lambda run, said: runs.resume(run),
        "rename": lambda run, said: shelf.rename(run, text(said, "to")),
        "note": lambda run, said: shelf.note(run, text(said, "note")),
        "delete": lambda run, said: shelf.delete(run),
    }

    @app.post("/kg/runs/{run}/{action}")
    async def change(request: Request, run: str, action: str) -> Response:
        if action not in doing:
            return not_found(Missing("Unknown action for a run.", code="unknown-action"))
        return await act(request, lambda said: doing[action](run, said))


async def act(
    request: Request, do: Callable[[dict[str, Any]], str], most: int = LARGEST_WORDS
) -> Response:
    """Handle a POST of at most `most` bytes off the event loop; answers `{"run": …}` or one
    sentence.
    """
    try:
        said = await request_body.json_object(request, most)
    except RequestError as error:
        return answers.error_response(error, error.status)
    try:
        return JSONResponse({"run": await run_in_threadpool(do, said)})
    except (Missing, RunError) as error:
        return refusal(error)


def text(said: dict[str, Any], field: str) -> str:
    value = said.get(field)
    if not isinstance(value, str):
        raise RunError(
            f"The field {field!r} is missing.",
            code="no-field",
            field=field,
        )
    return value


def refusal(error: Missing | RunError) -> Response:
    return answers.error_response(error, 404 if isinstance(error, Missing) else 409)
