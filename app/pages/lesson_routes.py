"""The Lessons page's routes: lessons and glossary as data, the results of their runs, and, as POST,
starting one.
"""

from __future__ import annotations

import gzip
import hashlib

from fastapi import FastAPI, Request
from fastapi.responses import Response

from app.lessons import glossary
from app.lessons.lesson_runs import LessonRuns
from app.lessons.lessons import Lesson, Lessons
from app.pages.library_routes import act
from app.process.runs import Runs
from app.web.answers import (
    IMMUTABLE,
    REVALIDATE,
    compressed_response,
    not_found,
    parse_number,
    revalidated_json,
)
from app.web.errors import Missing
from app.web.lru import ResponseCache
from app.web.publish import encode

MAX_BODY_BYTES = 1024


def install(app: FastAPI, runs: Runs) -> None:
    lessons, lesson_runs, responses = Lessons(), LessonRuns(runs), ResponseCache()
    source = glossary.script()
    script, etag, terms = (
        gzip.compress(source, 6, mtime=0),
        f'"{hashlib.sha256(source).hexdigest()[:16]}"',
        encode(glossary.to_json()),
    )

    def find_lesson(slug: str) -> Lesson:
        if slug not in lessons.lessons:
            raise Missing(
                "There is no lesson with that name.",
                code="unknown-lesson",
            )
        return lessons.lessons[slug]

    def figures(name: str, attempt: int, id: str) -> bytes:
        runs.archive.open(name, attempt, id)
        return responses.get(
            (name, attempt, id), lambda: encode(lesson_runs.figures(name, lessons.lessons.values()))
        )

    @app.get("/kg/static/core/glossary-terms.js")
    def tooltips(request: Request) -> Response:
        return compressed_response(request, script, "text/javascript", REVALIDATE, etag)

    @app.get("/kg/glossary")
    def full_glossary(request: Request) -> Response:
        return revalidated_json(request, terms)

    @app.get("/kg/lessons")
    def listed(request: Request) -> Response:
        return revalidated_json(request, encode(lessons.listed()))

    @app.get("/kg/lessons/{slug}")
    def one_lesson(request: Request, slug: str) -> Response:
        try:
            return revalidated_json(request, encode(lessons.to_json(find_lesson(slug).slug)))
        except Missing as error:
            return not_found(error)

    @app.get("/kg/lessons/{slug}/runs")
    def state(request: Request, slug: str) -> Response:
        try:
            return revalidated_json(request, encode(lesson_runs.state(find_lesson(slug))))
        except Missing as error:
            return not_found(error)

    @app.get("/kg/lesson-figures/{run}/{attempt}")
    def lesson_figures(request: Request, run: str, attempt: str) -> Response:
        try:
            body = figures(run, parse_number(attempt, digits=6), request.query_params.get("id", ""))
        except Missing as error:
            return not_found(error)
        return compressed_response(request, body, "application/json", IMMUTABLE)

    @app.post("/kg/lessons/{slug}/run")
    async def run(request: Request, slug: str) -> Response:
        return await act(
            request,
            lambda payload: lesson_runs.start(find_lesson(slug), payload.get("again") is True),
            MAX_BODY_BYTES,
        )
