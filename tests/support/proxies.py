"""Reverse proxies on loopback in front of the app: our own, which rewrites Host and Origin, and
nginx and Caddy where they are installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import StreamingResponse

from tests.support.serving import free_port, until

HOP_BY_HOP = ("host", "content-length", "connection", "transfer-encoding")
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2;
  fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {target}; }} }}
}}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy {target}
}}
"""


@contextlib.contextmanager
def rewriting(target: str, *, host: str | None = None, origin: str | None = None) -> Iterator[int]:
    """A proxy that passes on these headers instead of the browser's; yields its port."""
    client = httpx.AsyncClient(
        trust_env=False, timeout=None, limits=httpx.Limits(max_connections=200)
    )

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        headers = {k: v for k, v in request.headers.items() if k not in HOP_BY_HOP}
        headers["host"] = host or request.headers["host"]
        if origin and "origin" in headers:
            headers["origin"] = origin
        url = f"{target.rstrip('/')}{scope['raw_path'].decode()}?{request.url.query}"
        answer = await client.send(
            client.build_request(
                request.method, url, headers=headers, content=await request.body()
            ),
            stream=True,
        )

        async def body():
            try:
                async for chunk in answer.aiter_raw():
                    yield chunk
            finally:
                await answer.aclose()

        passed_on = {k: v for k, v in answer.headers.items() if k not in HOP_BY_HOP}
        await StreamingResponse(body(), answer.status_code, headers=passed_on)(scope, receive, send)

    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            lifespan="off",
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
    )

    async def serve():
        await server.serve()
        await client.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        until("the proxy listens", lambda: server.started, 20)
        yield port
    finally:
        server.should_exit = True
        thread.join(10)


@contextlib.contextmanager
def installed(name: str, target: str, folder: Path) -> Iterator[int]:
    """nginx or Caddy as their manuals show them, without setting any headers; yields the port."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    folder.mkdir(exist_ok=True)
    port, config = free_port(), folder / "config"
    text = {"nginx": NGINX, "caddy": CADDY}[name]
    config.write_text(text.format(folder=folder, port=port, target=target.rstrip("/")))
    command = {
        "nginx": [program, "-p", str(folder), "-e", str(folder / "errors"), "-c", str(config)],
        "caddy": [program, "run", "--adapter", "caddyfile", "--config", str(config)],
    }[name]
    process = subprocess.Popen(
        command,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        assert process.poll() is None, f"{name} ended: {folder}"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    try:
        until(f"{name} listens", listens, 20)
        yield port
    finally:
        process.terminate()
        process.wait(20)
