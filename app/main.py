"""Builds and serves the page: panels, theme, launch settings.

Everything Gradio could enable on its own or through the environment is set explicitly, so that the
app listens only where it should, shares nothing, and answers only its own page. Live frames bypass
Gradio; `app.pages.routes` serves them.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import gradio as gr
from fastapi import Depends

from app.pages import audience, folder_routes, routes, stage_routes, studio, teacher_routes
from app.process.folder_checks import FolderChecks
from app.process.runs import RunError, Runs
from app.process.teacher_checks import TeacherChecks
from app.theme import theme
from app.web import addresses
from app.web.errors import ServeError
from app.web.roles import AccessControl

STATIC = Path(__file__).parent / "static"
STYLES = (
    "styles/base.css",
    "setup/sidebar.css",
    "setup/ladder.css",
    "setup/more.css",
    "styles/studio.css",
    "styles/gallery.css",
    "styles/maps.css",
    "styles/charts.css",
    "studio/time.css",
    "studio/scatter.css",
    "setup/teacher_dialog.css",
    "runs/runs.css",
    "runs/sweep.css",
    "inspect/inspect.css",
    "compare/compare.css",
    "lessons/lessons.css",
    "audience/stage.css",
    "styles/keys.css",
    "styles/narrow.css",
)
"""In loading order: later ones win."""
FIRST_PORT = 7860


def build(runs: Runs, access: AccessControl | None = None) -> gr.Blocks:
    """The whole page. It has no run state; every page reads that from the snapshot."""
    with gr.Blocks(title="K-Gen Explorer", analytics_enabled=False, fill_width=True) as demo:
        studio.build(demo, runs, version=static_version(), access=access or AccessControl())
    return demo


def serve(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit code."""
    port = free_port(args.host) if args.port is None else claimed_port(args.host, args.port)
    root = root_path(args.root_path)
    access = AccessControl(args.token, port, root)
    links = audience_links(args, port) if access.enabled else []
    stop = threading.Event()
    # before the children start, because a signal in between would orphan them
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    runs = Runs(Path(args.runs), recorded=not args.no_recording)
    teacher_checks, folder_checks = TeacherChecks(runs.folder / ".uploads"), FolderChecks()
    demo = build(runs, access)
    try:
        app, _, _ = demo.launch(**launch_settings(args, port, access))
        # A proxy may rewrite Host, so the page must use the address in the browser, not the one
        # that Gradio infers from Host. This is Gradio's own switch for that.
        demo.config["is_colab"] = True
        routes.install(
            app,
            runs,
            access,
            links=links,
            page=audience.page(root, static_version(), STYLES),
            theme=theme()._get_theme_css(),
        )
        teacher_routes.install(app, teacher_checks)
        folder_routes.install(app, folder_checks)
        routes.prioritize(app)
        runs.warm()
        address = addresses.link(
            {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(args.host, args.host), port, root
        )
        presenter_link = f"{address}?token={args.token}" if access.enabled else address
        if access.enabled:
            invite(links, presenter_link, args.host)
        print(f"K-Gen Explorer is running at {address} (Ctrl-C to quit)", flush=True)
        try:
            runs.check_folder()
        except RunError as error:  # its runs can still be shown, so this is no reason to exit
            print(f"No run can be started: {error}", file=sys.stderr)
        if not args.no_browser:
            open_browser(presenter_link, args.shell)
        while not stop.wait(0.5):  # without a timeout, Windows would not notice Ctrl-C
            pass
    finally:
        teacher_checks.close()
        folder_checks.close()
        runs.close()
        demo.close(verbose=False)
    return 0


def open_browser(link: str, shell: Mapping[str, str]) -> None:
    """Open a link in the user's browser, with the original environment in case this starts the
    browser.
    """
    ours = dict(os.environ)
    os.environ.pop("NO_PROXY", None)
    os.environ.update(shell)
    try:
        webbrowser.open(link)
    finally:
        for name in shell:
            os.environ.pop(name, None)
        os.environ.update(ours)


def audience_links(args: argparse.Namespace, port: int) -> list[str]:
    """Addresses for the audience, best guess first."""
    if args.link:
        return [args.link]
    root = root_path(args.root_path)
    return [
        addresses.link(host, port, root) for host in addresses.addresses(args.host) or [args.host]
    ]


def invite(links: list[str], presenter_link: str, host: str) -> None:
    """Print the invitation in the terminal. `host`: what the app listens on."""
    qr_code = stage_routes.qr_text(links[0], sys.stdout.isatty())
    try:
        print(f"\n{qr_code}\n")
    except UnicodeEncodeError:
        pass  # no block characters in this terminal; the page has the QR code too
    print(f"For the audience: {links[0]}")
    for link in links[1:]:
        print(f"  or, if that is not reachable: {link}")
    if any(name in links[0] for name in ("//127.", "//localhost", "//[::1]")):
        is_open = host in ("0.0.0.0", "::")  # as in a container
        option = (
            "--link http://ADDRESS/ with the address that others use"
            if is_open
            else "--host 0.0.0.0"
        )
        print(f"  Only this computer can open that link. To let others in, use {option}.")
    print(f"For the presenter only: {presenter_link}\n")


def launch_settings(
    args: argparse.Namespace, port: int, access: AccessControl | None = None
) -> dict:
    """Arguments for `Blocks.launch`: everything that reaches outside is off."""
    root, access = root_path(args.root_path), access or AccessControl()
    hosts = [
        *args.allow_host,
        *((urlsplit(link).netloc for link in audience_links(args, port)) if access.enabled else ()),
    ]
    return dict(
        server_name=f"[{args.host}]" if ":" in args.host else args.host,
        server_port=port,
        root_path=root or None,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        run_history=False,
        enable_monitoring=False,
        strict_cors=True,
        max_file_size="5mb",
        allowed_paths=[],
        show_error=False,
        footer_links=[],
        state_session_capacity=200,
        max_threads=200,
        quiet=True,
        prevent_thread_lock=True,
        inbrowser=False,
        theme=theme(),
        head=head(root),
        favicon_path=str(STATIC / "styles" / "mark.svg"),
        app_kwargs={
            "openapi_url": None,
            "middleware": routes.middleware(hosts, args.allow_frame, access),
            "dependencies": [Depends(access.check)],
        },
    )


def head(root: str) -> str:
    """Style sheets as links rather than Gradio's `css`, which would rewrite them to apply within
    the page's container.
    """
    version = static_version()
    links = [
        f'<link rel="stylesheet" href="{root}/kg/static/{name}?v={version}">' for name in STYLES
    ]
    # not a module: the form's listeners may need it as soon as Gradio has drawn them
    script = f'<script src="{root}/kg/static/setup/ladder.js?v={version}"></script>'
    return "\n".join([*links, script, '<meta name="color-scheme" content="light dark">'])


def static_version() -> str:
    """Changes with any file under static/, so that browsers may cache files forever."""
    digest = hashlib.sha256()
    for file in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        digest.update(file.relative_to(STATIC).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def root_path(path: str | None) -> str:
    """ "/kgen" for "kgen", "/kgen" or "/kgen/"; empty if the app is at the root."""
    trimmed = (path or "").strip("/")
    return f"/{trimmed}" if trimmed else ""


def bind_error(host: str, port: int) -> OSError | None:
    """Why this process cannot listen there; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name != "nt":  # there, a port held by another server would seem free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:  # socket.gaierror among them
        return error
    return None


def _address_error(host: str, error: OSError) -> ServeError | None:
    """The error if the host is not an address of this computer, so no other port would help."""
    if not (
        isinstance(error, socket.gaierror)
        or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    ):
        return None
    return ServeError(
        f"--host {host} is not an address of this computer ({error.strerror or error}). Omit it to"
        " listen on this computer only, or use 0.0.0.0 for all of its addresses.",
        code="unknown-address",
        host=host,
    )


def claimed_port(host: str, port: int) -> int:
    error = bind_error(host, port)
    if error is None:
        return port
    if isinstance(error, PermissionError):
        raise ServeError(
            f"This user is not allowed to listen on port {port}: on most systems, ports below 1024"
            " require administrator rights, and some others are reserved. Choose another with"
            " --port, or omit --port to use the next free one.",
            code="no-permission",
            port=port,
        )
    raise _address_error(host, error) or ServeError(
        f"Port {port} is in use. Choose another with --port, or omit --port to use the next free"
        " one.",
        code="busy",
        port=port,
    )


def free_port(host: str) -> int:
    """The first free port, starting at 7860."""
    for port in range(FIRST_PORT, FIRST_PORT + 100):
        error = bind_error(host, port)
        if error is None:
            return port
        if unusable := _address_error(host, error):
            raise unusable
    raise ServeError(
        f"All ports from {FIRST_PORT} to {FIRST_PORT + 99} are in use. Choose a free one with"
        " --port.",
        code="busy",
    )
