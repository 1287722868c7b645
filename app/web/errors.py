"""The error that becomes a 404 response."""

from __future__ import annotations

from kgen.errors import KGenError


class Missing(KGenError, LookupError):
    """The requested thing does not exist; one sentence."""

    code = "missing"
