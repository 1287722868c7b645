"""A checked checkpoint becomes a teacher: a safetensors file with our card among the person's own
teachers.
"""

from __future__ import annotations

from pathlib import Path

from kgen.preflight.request import PreflightError, Report, check_name
from kgen.zoo import zoo


def adopt(report: Report, name: str, *, half: bool = False) -> Path:
    """Write the teacher of a report into its file, whole or not at all; from then on `name` is a
    teacher. → the file.

    Args:
        half: store in half precision, which halves the file; the teacher computes in full precision
            all the same.
    Raises PreflightError for a name that cannot be given, or a report that is not ok or was read
    from JSON.
    """
    path = check_name(name)
    if not report.ok:
        raise PreflightError(
            "This checkpoint cannot be a teacher as it is; put right what the rows say first."
        )
    if report._network is None:
        raise PreflightError(
            "This report came from another process and holds no weights; let that process adopt the"
            " teacher (Order field 'save')."
        )
    try:
        network = zoo.halved(report._network) if half else report._network
    except zoo.ZooError as error:
        raise PreflightError(str(error)) from None
    spec = report.spec | {"card": report.spec["card"] | {"name": name}}
    path.parent.mkdir(parents=True, exist_ok=True)
    zoo.save_network(network, path, spec)
    return path
