"""The error of a request that cannot be carried out."""

from __future__ import annotations

from kgen.specs import ZooError


class PreflightError(ZooError):
    """A request that cannot be carried out; the message names the field and what was expected."""

    code = "preflight"
