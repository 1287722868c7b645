"""The base class of all errors that the user can fix, as opposed to our bugs."""

from __future__ import annotations

import json
from typing import Any


class KGenError(Exception):
    """An error with one sentence for people, and a code and fields for programs.

    The sentence says what was found, what was expected and what to do. It may be reworded at any
    time, so code that distinguishes errors uses `code` and `fields`.
    """

    code: str = "error"
    """Kind of the error; one per class, unless it is raised with its own."""

    def __init__(self, message: str = "", *, code: str | None = None, **fields: Any):
        super().__init__(message)
        self.fields = fields
        """The facts in the sentence, by name."""
        if code is not None:
            self.code = code

    def to_json(self) -> dict[str, Any]:
        """Code, sentence and fields as JSON values: paths become strings, and tuples lists."""
        facts = {"code": self.code, "message": str(self), **self.fields}
        return json.loads(json.dumps(facts, default=str))


class ExportError(KGenError, ValueError):
    """A student that cannot be exported as requested."""

    code = "export"


class DiskError(KGenError, RuntimeError):
    """The run folder is no longer writable; everything written before is intact."""

    code = "disk"
