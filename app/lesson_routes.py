"""The routes of the Lessons page: lessons and glossary as data, what their runs showed, and, as POST, running one."""

from __future__ import annotations

import gzip
import hashlib
import json

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from app import bodies, glossary
from app.answers import FOR_EVER, REVALIDATE, answer, fresh, missing
from app.lesson_runs import LessonRuns
from app.lessons import Lesson, Shelf
from app.opened import Missing
from app.pieces import Pieces
from app.publish import encode
from app.runs import RunError, Runs

LARGEST = 1024


def install(app: FastAPI, runs: Runs) -> None:
    shelf, lesson_runs, pieces = Shelf(), LessonRuns(runs), Pieces()
    words = glossary.script()
    script, etag, terms = gzip.compress(words, 6, mtime=0), f'"{hashlib.sha256(words).hexdigest()[:16]}"', encode(glossary.told())

    def lesson(slug: str) -> Lesson:
        if slug not in shelf.lessons:
            raise Missing("There is no lesson of that name here.")
        return shelf.lessons[slug]

    def figures(name: str, attempt: int, id: str) -> bytes:
        runs.archive.open(name, attempt, id)
        if not lesson_runs.is_ended(name, shelf.lessons.values()):
            raise Missing("Figures are drawn of the finished runs of lessons.")
        return pieces.get((name, attempt, id), lambda: encode(lesson_runs.figures(name)))

    @app.get("/kg/static/glossary-terms.js")
    def tooltips(request: Request) -> Response:
        return answer(request, script, "text/javascript", REVALIDATE, etag)

    @app.get("/kg/glossary")
    def whole(request: Request) -> Response:
        return fresh(request, terms)

    @app.get("/kg/lessons")
    def listed(request: Request) -> Response:
        return fresh(request, encode(shelf.listed()))

    @app.get("/kg/lessons/{slug}")
    def told(request: Request, slug: str) -> Response:
        try:
            return fresh(request, encode(shelf.told(lesson(slug).slug)))
        except Missing as error:
            return missing(str(error))

    @app.get("/kg/lessons/{slug}/runs")
    def state(request: Request, slug: str) -> Response:
        try:
            return fresh(request, encode(lesson_runs.state(lesson(slug))))
        except Missing as error:
            return missing(str(error))

    @app.get("/kg/lesson-figures/{run}/{attempt}")
    def drawn(request: Request, run: str, attempt: str) -> Response:
        try:
            if not attempt.isascii() or not attempt.isdigit() or len(attempt) > 6:
                raise Missing("That is no number of an attempt.")
            body = figures(run, int(attempt), request.query_params.get("id", ""))
        except Missing as error:
            return missing(str(error))
        return answer(request, body, "application/json", FOR_EVER)

    @app.post("/kg/lessons/{slug}/run")
    async def run(request: Request, slug: str) -> Response:
        try:
            said = json.loads(await bodies.whole(request, LARGEST) or b"{}")
            if not isinstance(said, dict):
                raise ValueError
        except bodies.TooLong:
            return PlainTextResponse("That is too long.", 413)
        except (ValueError, RecursionError):
            return PlainTextResponse("That is no JSON object.", 400)
        try:
            return JSONResponse({"run": await run_in_threadpool(lesson_runs.start, lesson(slug), said.get("again") is True)})
        except Missing as error:
            return missing(str(error))
        except RunError as error:
            return PlainTextResponse(str(error), 409, {"Cache-Control": "no-store"})
