"""The app's gatekeeper: decides whose requests are answered at all. Plain ASGI, in front of Gradio.

Gradio does not check Host or Origin on writes, fetches remote files for anyone, and sets no headers
against framing; all of that is handled here. With an audience, it also lets the presenter in,
serves the viewers' page to everyone else, and accepts only read requests from them. It knows
nothing about runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.addresses import canonical
from app.web.answers import error_response
from app.web.errors import Forbidden, ServeError
from app.web.roles import PRESENTER, PRESENTER_ONLY, AccessControl

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
HOST_PATTERN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
)
"""Format of --allow-host, Host, and the host of an Origin: a name or an address, with or without a
port.
"""
ORIGIN_PATTERN = re.compile(r"https?://[A-Za-z0-9.*\[\]:-]+")
"""Format of --allow-frame."""
PORT_PATTERN = re.compile(r"[0-9]{1,5}", re.ASCII)
DEFAULT_PORTS = {"http": 80, "https": 443}
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Gradio's /file=, /file/ and /proxy= fetch any URL; only plain paths refer to its own files
REMOTE_FILE = re.compile(r"/proxy=|/file[=/][\s/\\]*(?:[a-z][a-z0-9+.-]*:/|//|\\\\)", re.IGNORECASE)
GRADIO_PATH = "/gradio_api/"
UPLOAD_ROUTE = re.compile(r"/(?:upload|process_recording)/?$", re.IGNORECASE)
"""Gradio's upload routes, which none of our pages use and which have no limit."""
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self'"
    " 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data:"
    " blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'self';"
    " form-action 'self'; frame-ancestors 'self'"
)


def middleware(
    hosts: Iterable[str] | None = None,
    frames: Iterable[str] | None = None,
    access: AccessControl | None = None,
) -> list[Middleware]:
    """For `launch(app_kwargs={"middleware": …})`.

    Args:
        hosts: additional host names the app answers to ("kgen.example.org").
        frames: origins whose pages may show the app in a frame ("https://course.example.org").
        access: distinguishes the presenter from the audience, if there is one.
    """
    return [
        Middleware(
            Guard,
            hosts=tuple(hosts or ()),
            frames=tuple(frames or ()),
            access=access or AccessControl(),
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
        access: AccessControl | None = None,
    ):
        self.app = app
        self.access = access or AccessControl()
        self.addresses = {_address(h) for h in hosts}
        self.allowed_hosts = {name for name, _ in self.addresses}
        for origin in frames:
            if not ORIGIN_PATTERN.fullmatch(origin):
                raise ServeError(
                    f"--allow-frame {origin}: expected an origin such as"
                    " https://course.example.org.",
                    code="invalid-origin",
                )
        self.headers = {
            "Content-Security-Policy": " ".join([CONTENT_SECURITY_POLICY, *frames]),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        if not frames:
            self.headers["X-Frame-Options"] = "SAMEORIGIN"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        rejection = self._rejection(scope)
        if rejection and scope["type"] == "websocket":
            await receive()
            return await send({"type": "websocket.close", "code": 1008})

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        if rejection:
            return await _rejected(scope["path"], rejection)(scope, receive, send_guarded)
        if self.access.enabled and scope["type"] == "http":
            login = self.access.login_response(Request(scope))
            if login:
                return await login(scope, receive, send_guarded)
            if (
                scope["method"] == "GET"
                and scope["path"] in self.access.pages
                and self.access.role(HTTPConnection(scope)) != PRESENTER
            ):
                scope = {**scope, "path": "/kg/audience", "raw_path": b"/kg/audience"}
        await self.app(scope, receive, send_guarded)

    def _rejection(self, scope: Scope) -> Forbidden | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or _hostname(host) not in self.allowed_hosts | set(
            LOCAL_HOSTS
        ):
            return _unknown_host(host)
        if REMOTE_FILE.search(scope.get("path", "")):
            return Forbidden("This app does not fetch remote files.")
        if UPLOAD_ROUTE.search(scope.get("path", "")):
            return Forbidden("This app does not accept uploads here.")
        is_write = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if is_write and headers.get("sec-fetch-site", "none") in ("cross-site", "same-site"):
            return Forbidden(
                "This request came from another site, so it was rejected.", code="other-site"
            )
        if is_write and not self._same_origin(headers, host, scope.get("server")):
            return _other_site(headers.get("origin", ""))
        return (
            Forbidden(PRESENTER_ONLY)
            if is_write and self.access.role(HTTPConnection(scope)) != PRESENTER
            else None
        )

    def _same_origin(
        self, headers: Headers, host: str, server: tuple[str, int | None] | None
    ) -> bool:
        """Does the request come from our own page? Programs send no Origin.

        Behind a proxy, the page has one of the named hosts, and the proxy may have rewritten Host,
        or Origin to the address that the app listens on. Another port of the same host can be
        another site. Browsers tell the two apart with Sec-Fetch-Site, but send it only over HTTPS
        and to localhost; without it, the port counts too.
        """
        origin = headers.get("origin")
        if origin is None:
            return True
        page = _origin(origin)
        if page is None:
            return False
        name, port, default = page
        own_name, own_port = _address(host)
        if (name, port) == (own_name, own_port or default):
            return True
        if name in LOCAL_HOSTS:
            return (name, port) in self.addresses or bool(
                self.allowed_hosts and server and port == server[1]
            )
        if headers.get("sec-fetch-site") == "same-origin":
            return name in self.allowed_hosts
        return (name, port) in {(n, p or default) for n, p in self.addresses}


def _origin(origin: str) -> tuple[str, int, int] | None:
    """Host, port, and the scheme's default port; None if it is not a website's address."""
    scheme, _, netloc = origin.partition("://")
    default = DEFAULT_PORTS.get(scheme.lower())
    if default is None or not HOST_PATTERN.fullmatch(netloc):
        return None
    name, port = _address(netloc)
    return name, port or default, default


def _rejected(path: str, rejection: Forbidden) -> Response:
    """Gradio's own page shows an error only if it is JSON."""
    status = 421 if rejection.code == "unknown-host" else 403
    if GRADIO_PATH in path:
        return JSONResponse(
            {"error": str(rejection)},
            status,
            {"Cache-Control": "no-store", "X-KGen-Code": rejection.code},
        )
    return error_response(rejection, status)


def _unknown_host(host: str) -> Forbidden:
    name = _hostname(host) if HOST_PATTERN.fullmatch(host) else ""
    return Forbidden(
        f"This app does not accept requests for the host name {name or 'of this request'}. To allow"
        f" it, start the app with --allow-host {name or 'NAME'} and reload this page.",
        code="unknown-host",
        host=name,
    )


def _other_site(origin: str) -> Forbidden:
    """Most likely the user's own page, behind a proxy that rewrites Host."""
    page = _origin(origin)
    name, port, default = page or ("", 0, 0)
    if port != default:
        name = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return Forbidden(
        f"This page is open at {origin if name else 'an unknown address'}, but the app expects"
        " another address, so it does not accept input from this page. If the page is behind your"
        f" own proxy, start the app with --allow-host {name or 'NAME'} and reload this page.",
        code="other-site",
        host=name,
    )


def _hostname(host: str) -> str:
    """ "[::1]:7860" → "::1"; "Localhost:7860" → "localhost"."""
    return _address(host)[0]


def _address(host: str) -> tuple[str, int | None]:
    """The name as browsers write it and the port of a Host header; any other text is a name."""
    host = host.strip().lower()
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = host.rpartition(":")
        if ":" in name or not name or not port.isdigit():
            name, port = host, ""
    return canonical(name.rstrip(".")), int(port) if PORT_PATTERN.fullmatch(port) else None
