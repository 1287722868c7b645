"""What is answered with 404."""

from __future__ import annotations

from kgen.errors import KGenError


class Missing(KGenError, LookupError):
    """What was asked for is not there; one sentence."""

    code = "missing"
