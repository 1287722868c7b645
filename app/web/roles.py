"""Who may do what: one table with every route and callback, and who is who. It knows nothing about
Gradio or runs.

Without a token, there is no audience: anyone who can reach the app is its presenter, as on your own
computer. With a token, only the cookie set by the presenter's link makes someone the presenter.
Everyone else is a viewer, including this computer, because a proxy's requests come from here too.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Mapping

from fastapi import HTTPException, Request
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response

from app.web.answers import error_response
from app.web.errors import Forbidden, ServeError

PRESENTER, VIEWER = "presenter", "viewer"
TOKEN_PATTERN = re.compile(r"[A-Za-z0-9_-]{16,200}")
PRESENTER_ONLY = "Only the presenter can do that. You are a viewer."
INVALID_TOKEN = (
    "This is not the presenter's link, or it has expired: the app prints a new one each time it"
    " starts. Without the token, you can view the page."
)

ROUTES = {
    # reading: what the page draws, made once for all viewers
    "GET /kg/live": VIEWER,
    "GET /kg/me": VIEWER,
    "GET /kg/audience": VIEWER,
    "GET /kg/theme.css": VIEWER,
    **{
        f"GET /kg/{piece}/{{run}}/{{attempt}}/{{iteration}}": VIEWER
        for piece in ("moment", "points", "tiles")
    },
    "GET /kg/student-view/{run}/{attempt}/{test}": VIEWER,
    "GET /kg/group/{run}/{attempt}/{iteration}": VIEWER,
    "GET /kg/sample/{run}/{attempt}/{iteration}/{pos}": VIEWER,
    "GET /kg/reference/-/0": VIEWER,
    "GET /kg/reference/{run}/{attempt}": VIEWER,
    "GET /kg/teacher/{name}": VIEWER,
    "GET /kg/runs": VIEWER,
    "GET /kg/sweeps": VIEWER,
    "GET /kg/sweeps/{name}": VIEWER,
    "GET /kg/picture/{run}/{key}": VIEWER,
    "GET /kg/student/{run}": VIEWER,
    "GET /kg/plotly.min.js": VIEWER,
    "GET /kg/static/{folder}/{file}": VIEWER,
    "GET /kg/inspect/{run}": VIEWER,
    "GET /kg/inspect/{run}/{attempt}/class/{c}/{first}/{end}": VIEWER,
    "GET /kg/inspect/{run}/{attempt}/sheet/{c}/{first}/{end}": VIEWER,
    "GET /kg/inspect/{run}/{attempt}/image/{iteration}/{pos}": VIEWER,
    "GET /kg/inspect/{run}/{attempt}/neighbors/{iteration}/{pos}/{end}": VIEWER,
    "GET /kg/inspect/{run}/{attempt}/tests/{c}/{n}": VIEWER,
    "GET /kg/compare": VIEWER,
    "GET /kg/compare.csv": VIEWER,
    "GET /kg/columns/{run}/{key}": VIEWER,
    "GET /kg/static/core/glossary-terms.js": VIEWER,
    "GET /kg/glossary": VIEWER,
    "GET /kg/lessons": VIEWER,
    "GET /kg/lessons/{slug}": VIEWER,
    "GET /kg/lessons/{slug}/runs": VIEWER,
    "GET /kg/lesson-figures/{run}/{attempt}": VIEWER,
    # expensive reading: a whole run is read or packed for each request
    "GET /kg/export/{run}": PRESENTER,
    "GET /kg/bundle/{run}": PRESENTER,
    "GET /kg/csv/{run}": PRESENTER,
    "GET /kg/inspect/{run}/{attempt}/{form}/{c}/{end}": PRESENTER,
    "GET /kg/known": PRESENTER,
    "GET /kg/switches/{run}": PRESENTER,
    "GET /kg/check/{id}": PRESENTER,
    "GET /kg/folder/{id}": PRESENTER,
    "GET /kg/invite.svg": PRESENTER,
    # doing
    "POST /kg/shown": PRESENTER,
    "POST /kg/bundle": PRESENTER,
    "POST /kg/undo": PRESENTER,
    "POST /kg/runs/{run}/{action}": PRESENTER,
    "POST /kg/flip/{run}": PRESENTER,
    "POST /kg/lessons/{slug}/run": PRESENTER,
    "POST /kg/teacher-file": PRESENTER,
    "POST /kg/check": PRESENTER,
    "POST /kg/folder": PRESENTER,
    # Gradio's own: what it requests from itself at startup. The rest is the presenter's.
    "HEAD /": VIEWER,
    "GET /gradio_api/startup-events": VIEWER,
    "GET /favicon.ico": VIEWER,
    "GET /robots.txt": VIEWER,
}
CALLBACKS = {
    name: PRESENTER
    for name in (
        "paint",
        "preset",
        "turn",
        "adopted",
        "command",
        "start",
        "resume",
        "pause",
        "go_on",
        "stop",
        "step",
    )
}
"""Gradio callbacks by function name; the audience's page has none."""


def required_role(method: str, path: str) -> str:
    """The role a route requires; an undeclared route requires the presenter."""
    return ROUTES.get(f"{method} {path}", PRESENTER)


def resolve_token(option: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The token from --token or KGEN_TOKEN, else a new one. Raises ServeError."""
    token = (
        option if option is not None else environment.get("KGEN_TOKEN") or secrets.token_urlsafe(24)
    )
    if not TOKEN_PATTERN.fullmatch(token):
        raise ServeError(
            "The presenter's token must be 16 to 200 letters, digits, - or _.",
            code="invalid-token",
        )
    return token


class AccessControl:
    """Distinguishes the presenter from viewers.

    Args:
        token: the presenter's; None if there is no audience.
        port: apps on the same host share cookies across ports, so it is part of the cookie's
            name.
        root: path under which a proxy serves the app.
    """

    def __init__(self, token: str | None = None, port: int = 0, root: str = ""):
        self._token = token
        self.enabled = token is not None
        self.cookie = f"kgen-presenter-{port}"
        self.pages = ("/", f"{root}/")
        """Paths of the page."""
        self._path = f"{root}/"

    def is_presenter_token(self, token: str | None) -> bool:
        return self._token is not None and hmac.compare_digest(
            (token or "").encode(), self._token.encode()
        )

    def role(self, connection: HTTPConnection) -> str:
        return (
            PRESENTER
            if not self.enabled or self.is_presenter_token(connection.cookies.get(self.cookie))
            else VIEWER
        )

    def allows(self, role: str, connection: HTTPConnection) -> bool:
        return role == VIEWER or self.role(connection) == PRESENTER

    async def check(self, request: Request) -> None:
        """A dependency of every route: checks the matched route, not the spelling of the address.
        Raises HTTPException.
        """
        route = request.scope.get("route")
        if not self.allows(required_role(request.method, getattr(route, "path", "")), request):
            raise HTTPException(403, PRESENTER_ONLY, {"X-KGen-Code": Forbidden.code})

    def login_response(self, request: Request) -> Response | None:
        """Lets the presenter in: the token moves from the address into a cookie that no script and
        no other site can use.
        """
        if (
            not self.enabled
            or request.method != "GET"
            or request.scope["path"] not in self.pages
            or "token" not in request.query_params
        ):
            return None
        if not self.is_presenter_token(request.query_params["token"]):
            return error_response(Forbidden(INVALID_TOKEN, code="invalid-token"), 403)
        query = request.url.remove_query_params("token").query
        response = RedirectResponse(
            f"./?{query}" if query else "./", 303, {"Cache-Control": "no-store"}
        )
        response.set_cookie(
            self.cookie,
            self._token or "",
            path=self._path,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response
