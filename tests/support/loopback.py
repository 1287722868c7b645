"""A web server on this machine for the downloader's tests: ranges, broken connections, redirects,
wrong responses. Nothing leaves the machine.
"""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Shelf:
    """What the server holds and how it behaves; tests change it between two requests."""

    body: bytes = b""
    etag: str | None = '"one"'
    ranges: bool = True
    cut: int | None = None
    """Bytes of a response after which the connection breaks."""
    status: int | None = None
    linked: str | None = None
    """The SHA-256 that the redirect names, as Hugging Face does."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, Range) of each request."""
    url: str = ""

    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@contextmanager
def serving(shelf: Shelf) -> Iterator[Shelf]:
    """The shelf at its own address; addresses under /hub/ redirect to /storage/."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shelf.asked.append((self.path, self.headers.get("Range")))
            if self.path.startswith("/hub/"):
                self.send_response(302)
                self.send_header("Location", "/storage/" + self.path.rsplit("/", 1)[1])
                if shelf.linked:
                    self.send_header("X-Linked-ETag", f'"{shelf.linked}"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if shelf.status:
                self.send_error(shelf.status)
                return
            start, asked = 0, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if asked and shelf.ranges and self.headers.get("If-Range") in (None, shelf.etag):
                start = int(asked[1])
                if start >= len(shelf.body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(shelf.body) - 1}/{len(shelf.body)}"
                )
            else:
                self.send_response(200)
            if shelf.etag:
                self.send_header("ETag", shelf.etag)
            self.send_header("Content-Length", str(len(shelf.body) - start))
            self.end_headers()
            self.wfile.write(
                shelf.body[start:] if shelf.cut is None else shelf.body[start : start + shelf.cut]
            )

        def log_message(self, *_) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shelf.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield shelf
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
