"""Presenter mode's routes: who am I, the audience's page, what the presenter shows, and the
invitation.
"""

from __future__ import annotations

import gzip
import io
from typing import Any

import segno
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from app.web import request_body
from app.web.answers import REVALIDATE, compressed_response, error_response
from app.web.errors import RequestError
from app.web.notifier import Notifier
from app.web.roles import AccessControl
from app.web.stage import Stage

MAX_BODY_BYTES = 4_096
"""Largest message about what the presenter shows, in bytes."""
NO_STORE = {"Cache-Control": "no-store"}


def install(
    app: FastAPI,
    stage: Stage,
    notifier: Notifier,
    access: AccessControl,
    links: list[str],
    page: str = "",
    theme: str = "",
) -> None:
    """`links`: addresses for the audience, best first; `page` and `theme`: the audience's page and
    style sheet.
    """
    invitation = qr_svg(links[0]) if links else b""
    audience, style = (gzip.compress(text.encode(), 6, mtime=0) for text in (page, theme))

    @app.get("/kg/me")
    def me(request: Request) -> Response:
        role = access.role(request)
        data: dict[str, Any] = {"role": role, "audience": access.enabled}
        return JSONResponse(
            data | ({"links": links} if access.enabled and role == "presenter" else {}),
            headers=NO_STORE,
        )

    if not access.enabled:
        return

    @app.get("/kg/audience")
    def audience_page(request: Request) -> Response:
        return compressed_response(request, audience, "text/html; charset=utf-8", "no-store")

    @app.get("/kg/theme.css")
    def theme_css(request: Request) -> Response:
        return compressed_response(request, style, "text/css", REVALIDATE)

    @app.get("/kg/invite.svg")
    def invite() -> Response:
        return Response(invitation, media_type="image/svg+xml", headers=NO_STORE)

    @app.post("/kg/shown")
    async def shown(request: Request) -> Response:
        try:
            stage.show(await request_body.json_object(request, MAX_BODY_BYTES, empty="null"))
        except RequestError as error:
            return error_response(error, error.status)
        notifier.notify()
        return JSONResponse({}, headers=NO_STORE)


def qr_svg(address: str) -> bytes:
    """Black on white with a quiet zone, in light and dark mode alike, so that cameras can read
    it.
    """
    out = io.BytesIO()
    segno.make(address, error="m", micro=False).save(
        out,
        kind="svg",
        scale=10,
        border=4,
        dark="#000",
        light="#fff",
        xmldecl=False,
        svgns=True,
        omitsize=True,
    )
    return out.getvalue()


def qr_text(address: str, colored: bool) -> str:
    """For a terminal, as half blocks. Without colors it needs light text on a dark background."""
    out = io.StringIO()
    segno.make(address, error="m", micro=False).terminal(out, compact=True, border=2)
    lines = out.getvalue().rstrip("\n").split("\n")
    return "\n".join(f"\x1b[97;40m{line}\x1b[0m" for line in lines) if colored else "\n".join(lines)
