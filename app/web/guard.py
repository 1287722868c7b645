"""The app's gatekeeper: decides whose requests are answered at all. Plain ASGI, in front of Gradio.

Gradio does not check Host or Origin on writes, fetches remote files for anyone, and sets no headers
against framing; all of that is handled here. With an audience, it also lets the presenter in,
serves the viewers' page to everyone else, and accepts only read requests from them. It knows
nothing about runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.answers import refusal
from app.web.errors import Forbidden, ServeError
from app.web.roles import PRESENTER, REFUSED, Presenting

LOCAL = ("localhost", "127.0.0.1", "::1")
HOST = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
)
"""Format of --allow-host: a name or an address, with or without a port."""
ORIGIN = re.compile(r"https?://[A-Za-z0-9.*\[\]:-]+")
"""Format of --allow-frame."""
READING = ("GET", "HEAD", "OPTIONS")
# Gradio's /file=, /file/ and /proxy= fetch any URL; only plain paths refer to its own files
REMOTE = re.compile(r"/proxy=|/file[=/][\s/\\]*(?:[a-z][a-z0-9+.-]*:/|//|\\\\)", re.IGNORECASE)
UPLOAD = re.compile(r"/(?:upload|process_recording)/?$", re.IGNORECASE)
"""Gradio's upload routes, which none of our pages use and which have no limit."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self'"
    " 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data:"
    " blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'self';"
    " form-action 'self'; frame-ancestors 'self'"
)


def middleware(
    hosts: Iterable[str] | None = None,
    frames: Iterable[str] | None = None,
    presenting: Presenting | None = None,
) -> list[Middleware]:
    """For `launch(app_kwargs={"middleware": …})`.

    Args:
        hosts: additional host names the app answers to ("kgen.example.org").
        frames: origins whose pages may show the app in a frame ("https://course.example.org").
        presenting: tells the presenter from the audience, if there is one.
    """
    return [
        Middleware(
            Guard,
            hosts=tuple(hosts or ()),
            frames=tuple(frames or ()),
            presenting=presenting or Presenting(),
        )
    ]


class Guard:
    """Rejects unknown hosts (421), writes from other sites or the audience (403), and remote files
    (403); sets the security headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: tuple[str, ...] = (),
        frames: tuple[str, ...] = (),
        presenting: Presenting | None = None,
    ):
        self.app = app
        self.presenting = presenting or Presenting()
        self.named = {_hostname(h) for h in hosts}
        for origin in frames:
            if not ORIGIN.fullmatch(origin):
                raise ServeError(
                    f"--allow-frame {origin}: expected an origin such as"
                    " https://course.example.org.",
                    code="invalid-origin",
                )
        self.headers = {
            "Content-Security-Policy": " ".join([POLICY, *frames]),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        if not frames:
            self.headers["X-Frame-Options"] = "SAMEORIGIN"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        refused = self._refusal(scope)
        if refused and scope["type"] == "websocket":
            await receive()
            return await send({"type": "websocket.close", "code": 1008})

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        if refused:
            status = 421 if refused.code == "unknown-host" else 403
            return await refusal(refused, status)(scope, receive, send_guarded)
        if self.presenting.on and scope["type"] == "http":
            entered = self.presenting.entrance(Request(scope))
            if entered:
                return await entered(scope, receive, send_guarded)
            if (
                scope["method"] == "GET"
                and scope["path"] in self.presenting.pages
                and self.presenting.role(HTTPConnection(scope)) != PRESENTER
            ):
                scope = {**scope, "path": "/kg/audience", "raw_path": b"/kg/audience"}
        await self.app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Forbidden | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or _hostname(host) not in self.named | set(LOCAL):
            return Forbidden(
                "This app does not answer to that host name. Start it with --allow-host to add"
                " one.",
                code="unknown-host",
            )
        if REMOTE.search(scope.get("path", "")):
            return Forbidden("This app fetches nothing from elsewhere.")
        if UPLOAD.search(scope.get("path", "")):
            return Forbidden("This app takes no files.")
        writes = scope["type"] == "websocket" or scope["method"] not in READING
        foreign = headers.get("sec-fetch-site", "none") in (
            "cross-site",
            "same-site",
        ) or not self._own(headers.get("origin"), host)
        if writes and foreign:
            return Forbidden(
                "This request came from another site, so it was rejected.", code="other-site"
            )
        return (
            Forbidden(REFUSED)
            if writes and self.presenting.role(HTTPConnection(scope)) != PRESENTER
            else None
        )

    def _own(self, origin: str | None, host: str) -> bool:
        """Does the request come from our own page? Programs send no Origin. Behind a proxy, the
        page has one of the named hosts.
        """
        if origin is None:
            return True
        there = urlsplit(origin)
        return there.scheme in ("http", "https") and (
            there.netloc.lower() == host.lower()
            or _hostname(there.netloc) in self.named - set(LOCAL)
        )


def _hostname(host: str) -> str:
    """ "[::1]:7860" → "::1"; "Localhost:7860" → "localhost"."""
    host = host.strip().lower().rstrip(".")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name.rstrip(".") if colon and port.isdigit() and ":" not in name else host
