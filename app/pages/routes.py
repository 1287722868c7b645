"""The plain routes under /kg: the live snapshot, its immutable pieces, downloads and static files.
All of these are GET; `library_routes` has the rest.

Responses are compressed once and kept; nothing is computed for a viewer who already has the newest
version. Anything in an address is checked against an allowlist before it gets near a file.
"""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import plotly
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from app.archive.archive import bundled_reference, without_folder
from app.library.actions import RunActions
from app.live.state import OPINION
from app.pages import (
    compare_routes,
    inspect_routes,
    lesson_routes,
    library_routes,
    stage_routes,
    sweep_routes,
)
from app.process.exports import ExportFailed
from app.process.runs import DEFAULT, Runs
from app.setup import offers
from app.web.answers import IMMUTABLE, REVALIDATE, parse_number, revalidated_json
from app.web.answers import compressed_response as _answer
from app.web.answers import etag_matches as _known
from app.web.answers import not_found as _missing
from app.web.errors import Missing
from app.web.guard import middleware
from app.web.publish import Published, encode
from app.web.roles import PRESENTER, AccessControl
from app.web.stage import Stage
from kgen import events
from kgen.journal.reading import JournalError, Run, open_run
from kgen.recipes import recipes

MAX_WAIT = 2
WAIT_PREFERENCE = re.compile(r"wait=([0-9]{1,3})")
"""A poll may be held until there is something new (RFC 7240), so that a frame is sent as soon as it
exists rather than half a second later.
"""

__all__ = ["install", "middleware"]

STATIC = Path(__file__).resolve().parent.parent / "static"
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9_-]+)*\.(css|js|svg|png|woff2)")
MEDIA_TYPES = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "png": "image/png",
    "woff2": "font/woff2",
}
DEFAULT_TEACHER = recipes.get(DEFAULT).teacher
COLUMNS = (
    ("kind", "t", "epoch", "iteration", "step", "resolution", "pool_images", "budget_used", "loss"),
    (
        "agreement",
        "lr",
        "student_accuracy",
        "teacher_accuracy",
        "real_images",
        "final",
        "student_agreement",
        *(f"judge_{name}" for name in OPINION),
    ),
)
"""Columns of a run's table, before and after those of the loss terms."""


def install(app: FastAPI, runs: Runs, access: AccessControl | None = None, **audience: Any) -> None:
    """Add the routes to the FastAPI app returned by Gradio's launch. `audience`: passed on to
    `stage_routes.install`.
    """
    archive, run_actions, stage, access = (
        runs.archive,
        RunActions(runs),
        Stage(),
        access or AccessControl(),
    )
    library_routes.install(app, run_actions)
    sweep_routes.install(app, archive)
    compare_routes.install(app, run_actions)
    inspect_routes.install(app, runs)
    lesson_routes.install(app, runs)
    stage_routes.install(app, stage, runs.notifier, access, **{"links": [], **audience})

    @app.get("/kg/live")
    async def live(request: Request) -> Response:
        role = access.role(request)

        def newest() -> Published:
            return runs.live if role == PRESENTER else runs.live.for_viewers

        wait = WAIT_PREFERENCE.fullmatch(request.headers.get("prefer", ""))
        if wait and _known(request, newest().etag):
            await runs.notifier.wait(
                min(int(wait[1]), MAX_WAIT), lambda: not _known(request, newest().etag)
            )
        snapshot = newest()
        response = _answer(request, snapshot.body, "application/json", REVALIDATE, snapshot.etag)
        if access.enabled:
            if role != PRESENTER:
                stage.record_poll(request.headers.get("x-kgen-page"))
            response.headers.update(stage.headers(role == PRESENTER))
        return response

    @app.get("/kg/group/{run}/{attempt}/{iteration}")
    def group(request: Request, run: str, attempt: str, iteration: str) -> Response:
        return _cached_json(
            request,
            lambda: archive.group(
                run, parse_number(attempt), parse_number(iteration), _id(request)
            ),
        )

    @app.get("/kg/sample/{run}/{attempt}/{iteration}/{pos}")
    def sample(request: Request, run: str, attempt: str, iteration: str, pos: str) -> Response:
        return _cached_json(
            request,
            lambda: archive.sample(
                run, parse_number(attempt), parse_number(iteration), parse_number(pos), _id(request)
            ),
        )

    @app.get("/kg/moment/{run}/{attempt}/{iteration}")
    def moment(request: Request, run: str, attempt: str, iteration: str) -> Response:
        return _cached_json(
            request,
            lambda: archive.moment(
                run, parse_number(attempt), parse_number(iteration), _id(request)
            ),
        )

    @app.get("/kg/points/{run}/{attempt}/{iteration}")
    def points(request: Request, run: str, attempt: str, iteration: str) -> Response:
        return _cached_json(
            request,
            lambda: archive.points(
                run, parse_number(attempt), parse_number(iteration), _id(request)
            ),
        )

    @app.get("/kg/tiles/{run}/{attempt}/{iteration}")
    def tiles(request: Request, run: str, attempt: str, iteration: str) -> Response:
        return _cached_json(
            request,
            lambda: archive.tiles(
                run, parse_number(attempt), parse_number(iteration), _id(request)
            ),
        )

    @app.get("/kg/student-view/{run}/{attempt}/{test}")
    def student_view(request: Request, run: str, attempt: str, test: str) -> Response:
        return _cached_json(
            request,
            lambda: archive.student_view(
                run, parse_number(attempt), parse_number(test), _id(request)
            ),
        )

    @app.get("/kg/teacher/{name}")
    def teacher(request: Request, name: str) -> Response:
        if name not in offers.teachers():
            return _missing("There is no teacher with that name.")
        return revalidated_json(request, encode(offers.offer(name).to_json()))

    @app.get("/kg/reference/-/0")
    def bundled(request: Request) -> Response:
        try:
            return revalidated_json(request, bundled_reference(DEFAULT_TEACHER))
        except Missing as error:
            return _missing(error)

    @app.get("/kg/reference/{run}/{attempt}")
    def reference(request: Request, run: str, attempt: str) -> Response:
        return _cached_json(
            request, lambda: archive.reference(run, parse_number(attempt), _id(request))
        )

    @app.get("/kg/student/{run}")
    def student(run: str) -> Response:
        try:
            file = archive.path(run) / "student.safetensors"
        except Missing as error:
            return _missing(error)
        if not file.is_file():
            return _missing(
                "This run's student is not ready yet. It is exported when the run ends."
            )
        return FileResponse(
            file,
            media_type="application/octet-stream",
            filename=f"{run}-student.safetensors",
            headers={"Cache-Control": REVALIDATE},
        )

    @app.get("/kg/export/{run}")
    async def bundle(run: str) -> Response:
        try:
            zip_file = await runs.exports.get(archive.path(run))
        except (Missing, ExportFailed) as error:
            return _missing(error)
        headers = {
            "Content-Disposition": f'attachment; filename="{run}-student.zip"',
            "Cache-Control": "no-store",
        }
        return Response(
            zip_file.body,
            media_type="application/zip",
            headers=headers | ({"X-KGen-Note": quote(zip_file.note)} if zip_file.note else {}),
        )

    @app.get("/kg/csv/{run}")
    def table(run: str) -> Response:
        try:
            opened_run = open_run(archive.path(run))
        except (Missing, JournalError) as error:
            return _missing(error)
        headers = {
            "Content-Disposition": f'attachment; filename="{run}.csv"',
            "Cache-Control": REVALIDATE,
        }
        return StreamingResponse(
            csv_lines(opened_run), media_type="text/csv; charset=utf-8", headers=headers
        )

    @app.get("/kg/plotly.min.js")
    def plotly_script(request: Request) -> Response:
        body, media, etag = _plotly()
        return _answer(
            request,
            body,
            media,
            IMMUTABLE if request.query_params.get("v") == plotly.__version__ else REVALIDATE,
            etag,
        )

    @app.get("/kg/static/{folder}/{file}")
    async def static(
        request: Request, folder: str, file: str
    ) -> Response:  # small files, kept compressed: threads would cost more
        match = FILE_NAME.fullmatch(file)
        path = STATIC / folder / file
        if not match or not folder.isalpha() or not path.is_file():
            return _missing("There is no such file.")
        body, etag = _compressed(path, path.stat().st_mtime_ns)
        cache = IMMUTABLE if request.query_params.get("v") else REVALIDATE
        return _answer(request, body, MEDIA_TYPES[match[1]], cache, etag)


def prioritize(app: FastAPI) -> None:
    """Puts our routes before Gradio's hundred, so that a poll is not matched against each of those
    first.
    """
    app.router.routes.sort(key=lambda route: not getattr(route, "path", "").startswith("/kg/"))


def csv_lines(run: Run) -> Iterator[str]:
    """A run's evaluations, generator steps and student steps as one table, one row per event. If
    the journal is damaged, the last row says so.
    """
    buffer = io.StringIO()
    leading, trailing = COLUMNS
    try:
        started = run.started
    except JournalError:
        started = None
    terms = (*events.term_names(started), *events.STUDENT_PARTS)
    columns = (*leading, *terms, *trailing)
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    try:
        pool: dict[str, Any] = {"pool_images": 0, "budget_used": 0.0}
        for event in run.events():
            row: dict[str, Any] = {
                "kind": event.kind,
                "t": event.t,
                "epoch": event.epoch,
                "iteration": event.iteration,
                "step": event.step,
                "resolution": event.resolution,
            }
            if isinstance(event, events.BatchSynthesized):
                pool = {"pool_images": event.pool_images, "budget_used": event.budget_used}
                if not event.judged:
                    continue
                row |= {f"judge_{name}": getattr(event.judged, name) for name in OPINION}
            elif isinstance(event, events.GeneratorStep):
                row |= {
                    "loss": event.loss,
                    "agreement": event.agreement,
                    **{k: event.parts[k] for k in terms if k in event.parts},
                }
            elif isinstance(event, events.StudentStep):
                row |= {
                    "loss": event.loss,
                    "lr": event.lr,
                    **{k: event.parts[k] for k in terms if k in event.parts},
                }
            elif isinstance(event, events.Evaluated):
                pool = {"pool_images": event.pool_images, "budget_used": event.budget_used}
                score = (
                    {"student_accuracy": event.student.accuracy, "real_images": event.student.n}
                    if event.student.real
                    else {"student_agreement": event.student.accuracy}
                )
                row |= score | {
                    "teacher_accuracy": event.teacher.accuracy if event.teacher else "",
                    "final": int(event.final),
                }
            else:
                continue
            writer.writerow(pool | row)
            if buffer.tell() > 64_000:
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
    except JournalError as error:
        writer.writerow({"kind": f"damaged: {without_folder(error, run.path.parent)}"})
    yield buffer.getvalue()


def _id(request: Request) -> str | None:
    """Which run with that name the page means; None if the address does not say."""
    return request.query_params.get("id")


def _cached_json(request: Request, build: Callable[[], tuple[bytes, bool]]) -> Response:
    try:
        body, final = build()
    except Missing as error:
        return _missing(error)
    return _answer(request, body, "application/json", IMMUTABLE if final else "no-store")


@functools.cache
def _plotly() -> tuple[bytes, str, str]:
    file = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return (
        gzip.compress(file.read_bytes(), 6, mtime=0),
        "text/javascript",
        f'"plotly-{plotly.__version__}"',
    )


@functools.lru_cache(maxsize=64)
def _compressed(path: Path, changed: int) -> tuple[bytes, str]:
    """(compressed, ETag) of a static file; `changed` gives an edited file a new entry."""
    data = path.read_bytes()
    return gzip.compress(data, 6, mtime=0), f'"{hashlib.sha256(data).hexdigest()[:16]}"'
