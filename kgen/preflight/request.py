"""The request to check a user's teacher, and the report. A child process does the check.

Independent of torch. `inspect` is for callers that must survive a hostile file: command line
and app. `kgen.preflight.examination` does the work.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    computed_field,
    field_validator,
    model_validator,
)

from kgen.data import catalogue, classes
from kgen.nets import arguments
from kgen.nets.own_code import UserCode, child_environment
from kgen.phrases import did_you_mean
from kgen.preflight import classnames
from kgen.preflight.errors import PreflightError as PreflightError
from kgen.system.files import DEVICE_NAME, is_text
from kgen.system.paths import ROOT, known_home
from kgen.zoo import published, zoo

SECONDS = 60.0
"""Time limit for a check, including the import of torch."""
MAX_NAMES, MAX_NAME_LENGTH = 100_000, 200
TEACHER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}[a-z0-9]")
"""Valid teacher names; the name becomes a file name, on any system."""


def _square(value: Any) -> Any:
    if isinstance(value, (list, tuple)) or (isinstance(value, str) and not value.strip().isdigit()):
        raise ValueError("expected a single number of pixels; only square images are supported")
    return value


class PreflightRequest(BaseModel):
    """A teacher to check.

    Omitted fields come from the file's card; otherwise a default is used, and reported.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: str
    architecture: str | None = None
    arguments: dict[str, Any] | None = None
    """Arguments of the architecture's constructor (`kgen.nets.arguments`), or the text of them."""
    classes: tuple[str, ...] | None = None
    classes_from: Annotated[str, Field(max_length=400)] = ""
    """How the file with the names was read (`kgen.preflight.classnames`)."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    side: Annotated[int, Field(ge=8, le=4096)] | None = None
    channels: Annotated[int, Field(ge=1, le=16)] | None = None
    n_train: Annotated[int, Field(ge=1, le=10**10)] | None = None
    data: Annotated[str, Field(max_length=200)] | None = None
    flip: bool | None = None
    title: Annotated[str, Field(max_length=200)] | None = None
    resolutions: (
        Annotated[
            tuple[Annotated[int, Field(ge=8, le=1024)], ...], Field(min_length=1, max_length=8)
        ]
        | None
    ) = None
    weights: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    by_order: bool = False
    half: bool = False
    save: str | None = None

    @field_validator("architecture")
    @classmethod
    def _check_architecture(cls, value: str | None) -> str | None:
        if value and value.endswith(".py"):
            raise ValueError(
                "for your own network, add the name of the function that builds it, such as"
                f" {value[-60:]}:build"
            )
        return value

    @field_validator("arguments", mode="before")
    @classmethod
    def _check_arguments(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return arguments.check(value)
        return arguments.parse(value) if isinstance(value, str) else value

    @field_validator("side", mode="before")
    @classmethod
    def _check_side(cls, value: Any) -> Any:
        return _square(value)

    @field_validator("resolutions", mode="before")
    @classmethod
    def _check_resolutions(cls, value: Any) -> Any:
        return value if value is None else [_square(v) for v in value]

    @field_validator("data")
    @classmethod
    def _check_data(cls, value: str | None) -> str | None:
        if value is not None and value not in classes.known():
            raise ValueError(
                f"unknown data set. {did_you_mean(value, list(classes.known()))} If it is a"
                " different one, omit this field; you can specify a folder of test images later"
                " with --set real_images=FOLDER"
            )
        return value

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        if not 1 <= len(value) <= MAX_NAMES:
            raise ValueError(f"expected 1 to {MAX_NAMES:,} names, found {len(value):,}")
        value = tuple(classes.from_wnid(classnames.clean(name)) for name in value)
        for i, name in enumerate(value):
            if not name or len(name) > MAX_NAME_LENGTH:
                raise ValueError(
                    f"name {i + 1} is {name[:40]!r}; expected printable text of 1 to"
                    f" {MAX_NAME_LENGTH} characters"
                )
            if character := classnames.invisible(name):
                raise ValueError(
                    f"name {i + 1} is {name[:40]!r}, with the invisible character {character};"
                    " expected printable text, so remove that character"
                )
        return value

    @model_validator(mode="after")
    def _check_normalization(self) -> PreflightRequest:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together; set both or neither")
        if self.mean is None or self.std is None:
            return self
        if (
            len(self.mean) != len(self.std)
            or not all(0 < s <= 2 for s in self.std)
            or not all(-1 <= m <= 2 for m in self.mean)
        ):
            raise ValueError(
                "mean and std must be for pixels in [0,1], one number per channel, std above 0;"
                " divide values for bytes by 255"
            )
        return self


Status = Literal["ok", "warn", "fail"]


class Row(BaseModel):
    """One finding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    status: Status
    finding: str
    advice: str = ""
    """What it means, or what to do."""
    lines: tuple[str, ...] = ()
    """Python code that fixes it, to be run where the file was made."""


class Report(BaseModel):
    """All findings, and the teacher's spec if it can be used as a teacher."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[Row, ...]
    sha256: str | None = None
    spec: dict[str, Any] | None = None
    """Card, classes, normalization and architecture, as written to the teacher's file."""
    saved: str | None = None
    """The teacher's file, if saving was requested."""
    weights: tuple[str, ...] = ()
    """The sets of weights in the file, if there are several to choose from. An empty name is the
    file itself; "." chooses it.
    """
    taken: str | None = None
    """The one that was taken."""
    normalize: dict[Literal["mean", "std"], tuple[float, ...]] | None = None
    """The values of a Normalize layer in the file."""
    _network: Any = PrivateAttr(None)
    _user_code: UserCode | None = PrivateAttr(None)
    """The user's own Python files that build the network; no report from elsewhere has any."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether the teacher can be used. Warnings are allowed."""
        return self.spec is not None and all(row.status != "fail" for row in self.rows)


def parse_request(data: dict[str, Any] | str | bytes) -> PreflightRequest:
    """A request from a dictionary or JSON text. Raises PreflightError."""
    if isinstance(data, dict) and isinstance(path := data.get("path"), str) and not is_text(path):
        raise PreflightError(
            f"The file name {path} contains bytes that are not valid text; rename the file.",
            code="invalid-name",
            file=path,
        )
    try:
        return (
            PreflightRequest.model_validate(data)
            if isinstance(data, dict)
            else PreflightRequest.model_validate_json(data)
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        found = _shown(first.get("input"))
        message = first["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        raise PreflightError(
            f"{field} is {found[:60]}: {message}."
            if field
            else f"{message[0].upper() + message[1:]}.",
            code="invalid-value",
            field=field,
        ) from None


def _shown(value: Any) -> str:
    """A value as a user would write it."""
    names = isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value)
    return repr(",".join(value)) if names else repr(value)


def check_name(name: str) -> Path:
    """The file for a teacher of this name. Raises PreflightError for an invalid name."""
    if not TEACHER_NAME.fullmatch(name) or DEVICE_NAME.fullmatch(name):
        raise PreflightError(
            f"{name[:70]!r} is not a valid teacher name: expected 2 to 64 lowercase letters,"
            " digits, dots, - and _, such as 'my-resnet18'.",
            code="invalid-name",
            name=name[:70],
        )
    if name in zoo.TEACHERS or name in catalogue.TEACHERS or name in published.TEACHERS:
        raise PreflightError(
            f"The name {name!r} belongs to a known teacher; choose another.",
            code="exists",
            name=name,
        )
    known_home()
    path = catalogue.teacher_file(name)
    if path.exists():
        raise PreflightError(
            f"A teacher named {name} already exists, and runs may depend on it; choose another"
            f" name, or delete {path}.",
            code="exists",
            file=str(path),
        )
    return path


def inspect(
    request: PreflightRequest,
    seconds: float = SECONDS,
    on_start: Callable[[subprocess.Popen[str]], None] = lambda child: None,
    own_code: bool = False,
) -> Generator[dict[str, Any], None, None]:
    """Check a teacher in a separate process.

    Yields {"kind": "row", …} as rows are found, then one "report" or "error". A hostile file can
    crash only that process. It is stopped at the time limit, or when the iterator is closed.

    Args:
        on_start: receives the process, for callers that may have to end it from another thread.
        own_code: whether the process may run the user's own Python file, if the request names one.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "kgen", "preflight", "-"],
        cwd=ROOT,
        text=True,
        encoding="utf-8",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # CPU only: a CUDA driver reserves more address space than any limit that would protect us
        env=(os.environ if own_code else child_environment())
        | {"CUDA_VISIBLE_DEVICES": "", "PYTHONIOENCODING": "utf-8"},
    )
    stdin, stdout = child.stdin, child.stdout
    assert stdin and stdout  # pipes
    timer = threading.Timer(seconds, child.kill)
    timer.start()
    kind, file_read = None, False
    try:
        on_start(child)
        try:
            stdin.write(
                request.model_copy(
                    update={"path": str(Path(request.path).absolute())}
                ).model_dump_json()
                + "\n"
            )
            stdin.close()
        except OSError:  # it has ended already; on Windows, this is not a BrokenPipeError
            pass
        for line in stdout:
            message = _message(line)
            if message is None:
                continue
            kind = message["kind"]
            file_read = file_read or (kind == "row" and message["name"] == "tensors")
            yield message
        child.wait()
        if kind not in ("report", "error"):
            yield {
                "kind": "error",
                "text": _failure_message(child.returncode, seconds, timer.is_alive(), file_read),
            }
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        stdout.close()


def _message(line: str) -> dict[str, Any] | None:
    """A message of the check; None for a line that something else has printed."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and "kind" in message else None


def _failure_message(code: int, seconds: float, in_time: bool, file_read: bool) -> str:
    """The message for a check that ended without a result. `file_read`: the file had been read by
    then.
    """
    if not in_time and file_read:
        return (
            f"The check took longer than {seconds:.0f} s and was stopped before it finished, so"
            " nothing was saved; the network is large, or this machine is busy. The findings so"
            " far are valid; try again."
        )
    if not in_time:
        return (
            f"The check took longer than {seconds:.0f} s and was stopped; the file is too large for"
            " this machine, or malicious."
        )
    if hasattr(signal, "SIGXCPU") and code == -signal.SIGXCPU:
        return (
            "Reading the file took more processor time than its size justifies, so it was stopped;"
            " it is damaged or malicious."
        )
    return (
        f"The check ended without a result (exit code {code}), probably because it ran out of"
        " memory; try a smaller file or close other programs."
    )
