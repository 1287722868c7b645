"""The Inspect page's routes, under /kg/inspect: a run's overview, and immutable pieces of it by
attempt, iteration and class. All are GET.

A piece is made once, no matter how many viewers ask, and kept as long as there is room. A run may
come from elsewhere and contain anything; invalid data is rejected in one sentence.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from app.archive import downloads
from app.archive.archive import without_folder
from app.archive.batchfile import BatchFileError
from app.archive.image_detail import image_detail, neighbors
from app.archive.run_reader import CONTENT_ERRORS, UNEXPECTED_CONTENTS, Missing, OpenRun, RunSummary
from app.archive.samples import (
    MAX_ITERATIONS,
    ColumnCache,
    RunBatches,
    chunk_iterations,
    class_samples,
    class_sheet,
    parse_filters,
    parse_sort,
    select_images,
)
from app.live import scales
from app.process.runs import Runs
from app.web.answers import (
    IMMUTABLE,
    compressed_response,
    error_response,
    not_found,
    parse_number,
    revalidated_json,
)
from app.web.lru import ResponseCache
from app.web.publish import encode
from kgen import events
from kgen.journal.reading import JournalError

MAX_CONFUSED = 8
MAX_LAG = 8
"""Iterations by which a page may lag behind its run."""


class OpenedRun(NamedTuple):
    """One attempt of a run, opened for reading."""

    run: OpenRun
    summary: RunSummary
    started: events.RunStarted
    batches: RunBatches
    key: tuple
    final: bool
    """May a response from this address be cached forever?"""


def install(app: FastAPI, runs: Runs) -> None:
    responses, cache = ResponseCache(), ColumnCache()

    def open_run(request: Request, name: str, attempt: str) -> OpenedRun:
        id = request.query_params.get("id")
        run = runs.archive.open(name, parse_number(attempt), id)
        summary = run.summary()
        if summary.started is None:
            raise Missing(
                "This run has no images yet.",
                code="no-images",
            )
        key = (name, run.attempt, run.id)
        return OpenedRun(
            run,
            summary,
            summary.started,
            RunBatches(
                run.run.path,
                key,
                cache,
                np.array(summary.started.class_indices, np.int64),
                summary.started.term_names,
            ),
            key,
            run.is_pinned_by(id),
        )

    def respond(
        request: Request,
        name: str,
        attempt: str,
        kind: str,
        parameters: tuple[str, ...],
        make: Callable[..., bytes],
        media: str = "application/json",
    ) -> Response:
        """A piece, or 404. `make` gets the run and the numbers in `parameters`."""
        numbers = parse_numbers(*parameters)
        if numbers is None:
            return not_found("The address has an invalid number.")

        def build() -> Response:
            opened = open_run(request, name, attempt)
            body = responses.get((*opened.key, kind, *numbers), lambda: make(opened, *numbers))
            return compressed_response(
                request, body, media, IMMUTABLE if opened.final else "no-store"
            )

        return or_error(build)

    def or_error(build: Callable[[], Response]) -> Response:
        try:
            return build()
        except JournalError as error:
            return error_response(error, 404, without_folder(error, runs.archive.folder))
        except (Missing, BatchFileError) as error:
            return not_found(error)
        except CONTENT_ERRORS:  # a run from elsewhere may contain anything
            return not_found(UNEXPECTED_CONTENTS)

    def check_range(opened: OpenedRun, c: int, first: int, end: int) -> None:
        if not 0 <= c < len(opened.started.classes):
            raise Missing("This run has no such class.", code="unknown-class")
        if not first < end <= opened.summary.iterations_done or end - first > MAX_ITERATIONS:
            raise Missing(
                f"Request finished iterations, at most {MAX_ITERATIONS} at a time.",
                code="invalid-value",
            )

    @app.get("/kg/inspect/{run}")
    def overview(request: Request, run: str) -> Response:
        return or_error(
            lambda: revalidated_json(request, encode(overview_json(runs.archive.latest(run))))
        )

    @app.get("/kg/inspect/{run}/{attempt}/class/{c}/{first}/{end}")
    def of_class(
        request: Request, run: str, attempt: str, c: str, first: str, end: str
    ) -> Response:
        def make(opened: OpenedRun, c: int, first: int, end: int) -> bytes:
            check_range(opened, c, first, end)
            return encode(class_samples(opened.batches, c, first, end))

        return respond(request, run, attempt, "class", (c, first, end), make)

    @app.get("/kg/inspect/{run}/{attempt}/sheet/{c}/{first}/{end}")
    def contact_sheet(
        request: Request, run: str, attempt: str, c: str, first: str, end: str
    ) -> Response:
        def make(opened: OpenedRun, c: int, first: int, end: int) -> bytes:
            check_range(opened, c, first, end)
            return gzip.compress(class_sheet(opened.batches, c, first, end), 1, mtime=0)

        return respond(request, run, attempt, "sheet", (c, first, end), make, "image/png")

    @app.get("/kg/inspect/{run}/{attempt}/image/{iteration}/{pos}")
    def image(request: Request, run: str, attempt: str, iteration: str, pos: str) -> Response:
        def make(opened: OpenedRun, iteration: int, pos: int) -> bytes:
            check_finished(opened, iteration)
            layout, reference = opened.run.layout, opened.run.reference
            real = (
                reference
                if reference is not None and {"labels", "embedding"} <= reference.keys()
                else None
            )
            if (
                real is None
                and layout is not None
                and layout.images is not None
                and opened.started.tested_on != "synthetic"
            ):
                real = {
                    "embedding": layout.embedding,
                    "labels": layout.labels,
                    "images": layout.images,
                }
            return encode(image_detail(opened.batches, iteration, pos, real))

        return respond(request, run, attempt, "image", (iteration, pos), make)

    @app.get("/kg/inspect/{run}/{attempt}/neighbors/{iteration}/{pos}/{end}")
    def near(
        request: Request, run: str, attempt: str, iteration: str, pos: str, end: str
    ) -> Response:
        def make(opened: OpenedRun, iteration: int, pos: int, end: int) -> bytes:
            check_finished(opened, iteration)
            done = opened.summary.iterations_done
            if not max(0, done - MAX_LAG) < end <= done:  # any other end would be a separate search
                raise Missing("Request all finished iterations.", code="invalid-value")
            return encode(neighbors(opened.batches, iteration, pos, end))

        return respond(request, run, attempt, "neighbors", (iteration, pos, end), make)

    @app.get("/kg/inspect/{run}/{attempt}/tests/{c}/{n}")
    def tests(request: Request, run: str, attempt: str, c: str, n: str) -> Response:
        def make(opened: OpenedRun, c: int, n: int) -> bytes:
            if not 0 <= c < len(opened.started.classes) or n < 1:
                raise Missing("This run has no such class, or no such test.", code="unknown-class")
            if n != opened.summary.test_count:  # confusions are kept for the newest test only
                raise Missing("There is a newer test. Please reload.", code="outdated")
            return encode(class_tests(opened.summary.tests, c))

        return respond(request, run, attempt, "tests", (c, n), make)

    @app.get("/kg/inspect/{run}/{attempt}/{form}/{c}/{end}")
    def files(request: Request, run: str, attempt: str, form: str, c: str, end: str) -> Response:
        def build() -> Response:
            if form not in ("grid", "zip") or not (numbers := parse_numbers(c, end)):
                raise Missing("There is no such download.", code="unknown-download")
            position, iterations = numbers
            opened = open_run(request, run, attempt)
            classes = opened.started.classes
            if not (
                0 <= position < len(classes) and 0 < iterations <= opened.summary.iterations_done
            ):
                raise Missing(
                    "This run has no such class, or not that many iterations.", code="unknown-class"
                )
            query = request.query_params
            limit = downloads.MAX_GRID if form == "grid" else downloads.MAX_ZIP
            images, _ = select_images(
                opened.batches,
                position,
                iterations,
                parse_filters(query.get("where", ""), opened.batches.terms),
                parse_sort(query.get("sort") or "it", opened.batches.terms),
                limit,
            )
            if not images:
                raise Missing(
                    "There are no images to download.",
                    code="no-images",
                )
            name = classes[position]
            file = f"{run}-{downloads.slug(name)}.{'png' if form == 'grid' else 'zip'}"
            headers = {
                "Content-Disposition": f'attachment; filename="{file}"',
                "Cache-Control": "no-store",
            }
            if form == "grid":
                return Response(
                    downloads.grid(opened.batches, images), media_type="image/png", headers=headers
                )
            return StreamingResponse(
                downloads.archive(opened.batches, images, name),
                media_type="application/zip",
                headers=headers,
            )

        return or_error(build)


def parse_numbers(*texts: str) -> tuple[int, ...] | None:
    try:
        return tuple(parse_number(text) for text in texts)
    except Missing:
        return None


def check_finished(opened: OpenedRun, iteration: int) -> None:
    if iteration >= opened.summary.iterations_done:
        raise Missing(
            f"Iteration {iteration + 1:,} is not finished yet;"
            f" {opened.summary.iterations_done:,} are finished so far.",
            code="unfinished",
        )


def overview_json(run: OpenRun) -> dict[str, Any]:
    """A run's overview, which the page needs before any piece. Names are those of the live
    snapshot.
    """
    summary, recipe = run.summary(), run.run.recipe
    data: dict[str, Any] = {
        "run": run.name,
        "id": run.id,
        "attempt": run.attempt,
        "title": f"{recipe.name}, seed {recipe.seed}",
        "done": summary.iterations_done,
        "over": summary.last_kind in ("run_finished", "run_failed"),
        "classes": [],
        "class_indices": [],
        "tests": summary.test_count,
    }
    started = summary.started
    if started is None:
        return data
    sizes = scales.of_run(started)
    batch = max((s.batch for s in sizes), default=1)
    return data | {
        "classes": started.classes,
        "class_indices": started.class_indices,
        "teacher": {"name": recipe.teacher, "title": started.teacher.title},
        "tested_on": started.test_kind,
        "recipe": {"weights": recipe.weights.model_dump(), "journal_pixels": recipe.journal_pixels},
        "student": len(started.classes) > 1 and started.student_steps > 0,
        "warmup": recipe.warmup_epochs * recipe.iterations * len(recipe.resolutions),
        "span": chunk_iterations(batch, len(started.classes)),
        "judge": started.judge and started.judge.model_dump(),
        "own_terms": [term.model_dump() for term in started.own_terms or ()],
        "most": {"grid": downloads.MAX_GRID, "zip": downloads.MAX_ZIP},
        **scales.to_json(
            sizes, recipe.model_dump(mode="json"), started.map_kind, started.processes or 1
        ),
    }


def class_tests(tests: tuple[events.Evaluated, ...], c: int) -> dict[str, Any]:
    """A class's accuracy in each test, and its confusions in the newest one."""

    def share(score: events.Score | None) -> float | None:
        value = score.per_class[c] if score is not None and c < len(score.per_class) else None
        return value if value is not None and 0 <= value <= 1 else None

    def confused(score: events.Score | None) -> list[list[int]]:
        return [
            [predicted, count]
            for actual, predicted, count in getattr(score, "confusion", None) or []
            if actual == c
        ][:MAX_CONFUSED]

    last = tests[-1]
    return {
        "rows": [[t.pool_images, share(t.student), share(t.teacher)] for t in tests],
        "n": last.student.n,
        "real": last.student.real,
        "all": [last.student.accuracy, None if last.teacher is None else last.teacher.accuracy],
        "student": confused(last.student),
        "teacher": confused(last.teacher),
    }
