"""The base of every error that is a person's to put right, rather than ours."""

from __future__ import annotations

from typing import Any, ClassVar


class KGenError(Exception):
    """One sentence for a person, and for programs a code and the facts in it.

    The sentence names what was found, what was expected and what to do. It is text: it may be
    reworded at any time. Whoever has to tell errors apart asks `code` and `fields`.
    """

    code: ClassVar[str] = "error"
    """Kind of the error; the same for every error of a class unless it is raised with its own."""

    def __init__(self, message: str = "", *, code: str | None = None, **fields: Any):
        super().__init__(message)
        self.fields = fields
        """The facts that the sentence tells, by name."""
        if code is not None:
            self.code = code  # type: ignore[misc]

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": str(self), **self.fields}


class ExportError(KGenError, ValueError):
    """A student that cannot be exported as asked."""

    code = "export"
