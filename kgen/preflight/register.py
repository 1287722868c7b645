"""Turns a checked checkpoint into a teacher: a safetensors file with our card."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kgen.nets.own_code import permit
from kgen.preflight.request import PreflightError, Report, check_name
from kgen.system import files
from kgen.system.paths import writable_home
from kgen.zoo import zoo


def save_teacher(report: Report, name: str, *, half: bool = False) -> Path:
    """Write a report's teacher to its file, completely or not at all. → the file.

    From then on, `name` is a teacher.

    Args:
        half: store in half precision, which halves the file; the teacher still computes in full
            precision.
    Raises PreflightError for an invalid name, or a report that is not ok or was read from JSON.
    """
    path = check_name(name)
    if not report.ok or report.spec is None:
        raise PreflightError(
            "This checkpoint cannot be used as a teacher yet; fix the failed rows first.",
            code="check-failed",
        )
    if report._network is None:
        raise PreflightError(
            "This report came from another process and contains no weights; have that process save"
            " the teacher (PreflightRequest field 'save').",
            code="no-weights",
        )
    try:
        network = zoo.halved(report._network) if half else report._network
    except zoo.ZooError as error:
        raise PreflightError(
            str(error),
            code=error.code,
            **error.fields,
        ) from None
    spec = report.spec | {"card": report.spec["card"] | {"name": name}}
    writable_home()
    path.parent.mkdir(parents=True, exist_ok=True)
    data = zoo.network_bytes(network, spec)
    if report._user_code is not None:
        permit(hashlib.sha256(data).hexdigest(), report._user_code)
    files.write_durably(path, data)
    return path
