"""The routes of sweeps, on the Runs page: the list, and one sweep."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import Response

from app.archive.archive import Archive
from app.library.sweeps import Sweeps
from app.web.answers import not_found, revalidated_json
from app.web.errors import Missing
from app.web.publish import encode


def install(app: FastAPI, archive: Archive) -> None:
    sweeps = Sweeps(archive)

    @app.get("/kg/sweeps")
    def rows(request: Request) -> Response:
        return revalidated_json(request, encode({"sweeps": sweeps.rows()}))

    @app.get("/kg/sweeps/{name}")
    def one(request: Request, name: str) -> Response:
        try:
            return revalidated_json(request, encode(sweeps.one(name)))
        except Missing as error:
            return not_found(error)
