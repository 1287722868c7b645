"""The Compare page's routes: the comparison, a run's columns, the table as CSV, and reruns with one
switch flipped.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import Response

from app.compare.comparing import Comparisons
from app.compare.comparison import LETTERS
from app.library.actions import RunActions
from app.pages.library_routes import act, error_response, text_field
from app.process.runs import RunError
from app.web.answers import IMMUTABLE, REVALIDATE, compressed_response, not_found, revalidated_json
from app.web.errors import Missing
from app.web.publish import encode
from kgen.journal.reading import RUN_NAME


def install(app: FastAPI, run_actions: RunActions) -> None:
    comparisons = Comparisons(run_actions)

    @app.get("/kg/compare")
    def compare(request: Request) -> Response:
        try:
            return revalidated_json(request, encode(comparisons.to_json(_names(request))))
        except Missing as error:
            return not_found(error)

    @app.get("/kg/compare.csv")
    def table(request: Request) -> Response:
        try:
            names = _names(request)
            body = comparisons.csv(names)
        except Missing as error:
            return not_found(error)
        headers = {
            "Content-Disposition": f'attachment; filename="compare-{"-".join(names)[:100]}.csv"',
            "Cache-Control": REVALIDATE,
        }
        return Response(body, media_type="text/csv; charset=utf-8", headers=headers)

    @app.get("/kg/columns/{run}/{key}")
    def columns(request: Request, run: str, key: str) -> Response:
        """`key` comes from /kg/compare and changes with the run, which changes the address."""
        try:
            body, final = comparisons.columns(run, request.query_params.get("id", ""))
        except Missing as error:
            return not_found(error)
        return compressed_response(
            request, body, "application/json", IMMUTABLE if final else "no-store"
        )

    @app.get("/kg/switches/{run}")
    def switches(request: Request, run: str) -> Response:
        try:
            return revalidated_json(
                request,
                encode({"switches": [s.to_json() for s in comparisons.switches(run)]}),
            )
        except (Missing, RunError) as error:
            return error_response(error)

    @app.post("/kg/flip/{run}")
    async def flip(request: Request, run: str) -> Response:
        return await act(
            request, lambda payload: comparisons.flip(run, text_field(payload, "switch"))
        )


def _names(request: Request) -> list[str]:
    """Names of the requested runs, without duplicates. Raises Missing."""
    names = list(
        dict.fromkeys(name for name in request.query_params.get("runs", "").split(",") if name)
    )
    if not 1 <= len(names) <= len(LETTERS):
        raise Missing(
            f"Request 1 to {len(LETTERS)} runs: runs=NAME,NAME.",
            code="invalid-value",
        )
    if any(not RUN_NAME.fullmatch(name) or ".." in name for name in names):
        raise Missing(
            "That is not a valid run name.",
            code="invalid-name",
        )
    return names
