"""The errors of our routes and of the app's start."""

from __future__ import annotations

from typing import Any

from kgen.errors import KGenError


class Missing(KGenError, LookupError):
    """The requested thing does not exist (404)."""

    code = "missing"


class Forbidden(KGenError):
    """A request that its sender is not allowed to make (403)."""

    code = "forbidden"


class RequestError(KGenError, ValueError):
    """A request whose body is too large or not as expected (413 or 400)."""

    code = "request"

    @property
    def status(self) -> int:
        return 413 if self.code == "too-large" else 400


class Refused(KGenError, ValueError):
    """A rejected request: one sentence for the user, and the status of the response."""

    code = "upload"

    def __init__(self, sentence: str, status: int = 400, *, code: str | None = None, **fields: Any):
        super().__init__(sentence, code=code, **fields)
        self.status = status


class ServeError(KGenError, ValueError):
    """The app cannot be served as requested; the message is one sentence for the user."""

    code = "serve"
