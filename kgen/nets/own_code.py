"""A user's own network, `path/to/file.py:build`. Building it runs that file's code.

Only commands that a person types may do that: no card, bundle, or page can name a file to run, and
a process with KGEN_OWN_CODE=0 in its environment never does. The file must be the one that was
checked, by its SHA-256.

A network with timm's three methods is used as is. Any other classifier that ends in a Linear is
split at its last spatial map by tracing its forward pass.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from kgen import files
from kgen.errors import KGenError
from kgen.specs import ZooError

if TYPE_CHECKING:
    from kgen.nets.network import Network

PATTERN = re.compile(r"(.+\.py):([A-Za-z_]\w*)", re.DOTALL)
SWITCH = "KGEN_OWN_CODE"
"""Environment variable; 0 forbids running a user's file. The app sets it for its children."""


class OwnCodeError(ZooError):
    """A user's own network that cannot be built; the message names the file and the reason."""

    code = "own-code"


def is_own(architecture: str) -> bool:
    """Whether an architecture refers to a user's Python file."""
    return PATTERN.fullmatch(architecture) is not None


def locate(architecture: str) -> dict[str, str]:
    """{file, sha256} of a user's architecture, for the teacher's card. Raises OwnCodeError."""
    file = Path(_split(architecture)[0]).expanduser().absolute()
    return {"file": str(file), "sha256": _sha256(file)}


def short(architecture: str) -> str:
    """Without the folder: a run's files should not name places on this machine."""
    file, name = _split(architecture)
    return f"{Path(file).name}:{name}"


def absolute(architecture: str) -> str:
    """With an absolute path, for a process in another folder."""
    file, name = _split(architecture)
    return f"{Path(file).expanduser().absolute()}:{name}"


def build(
    architecture: str,
    code: dict[str, str],
    *,
    channels: int,
    classes: int,
    side: int,
    arguments: dict[str, Any],
) -> Network:
    """Run the file and build its network, which has timm's methods afterwards.

    The function is called with `arguments`, and with num_classes and in_chans if it has parameters
    of these names. Raises OwnCodeError.
    """
    file, (_, name) = Path(code["file"]), _split(architecture)
    if os.environ.get(SWITCH) == "0":
        raise OwnCodeError(
            f"This teacher's network is built by {file.name}:{name}, your own Python file; only the"
            " command line runs such files, not the page.",
            code="command-line-only",
            file=file.name,
        )
    if _sha256(file) != code["sha256"]:
        raise OwnCodeError(
            f"{file} has changed since this teacher was checked; restore it, or check the weights"
            f" again with --arch {file}:{name} and save them under another name.",
            code="other-code",
            file=str(file),
        )
    module = _import(file)
    function = getattr(module, name, None)
    if not callable(function):
        defined = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise OwnCodeError(
            f"{file} defines no function or class {name!r}; it has: {', '.join(defined[:10])}.",
            code="unknown-function",
            file=str(file),
            known=defined[:10],
        )
    wanted = {"num_classes": classes, "in_chans": channels}
    with _explained(file, f"{name}()"):
        network = function(**_accepted(function, wanted), **arguments)
    return _as_network(network, f"{file.name}:{name}", channels, side)


def _split(architecture: str) -> tuple[str, str]:
    found = PATTERN.fullmatch(architecture)
    if found is None:
        raise OwnCodeError(f"{architecture[:80]!r} is not FILE.py:FUNCTION.", code="invalid-name")
    return found[1], found[2]


def _sha256(file: Path) -> str:
    try:
        return files.sha256(file)
    except OSError as error:
        raise OwnCodeError(
            f"This teacher's network is built by {file}, which cannot be read"
            f" ({error.strerror or error}); put the file back, or check the weights again with"
            f" --arch FOLDER/{file.name}:… and save them under another name.",
            code="no-file",
            file=str(file),
        ) from None


def _import(file: Path) -> ModuleType:
    """Run the file as a module; files next to it can be imported from it."""
    spec = importlib.util.spec_from_file_location(f"kgen_own_{file.stem}", file)
    assert spec and spec.loader  # its name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    sys.path.insert(0, str(file.parent))
    try:
        with _explained(file, "the import"):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    return module


@contextlib.contextmanager
def _explained(file: Path, what: str) -> Iterator[None]:
    """Turns any exception in the user's code into a sentence with the line in their file."""
    try:
        yield
    except (KGenError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else None)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(". :")
        raise OwnCodeError(
            f"{file}: {what} failed{f' at line {line}' if line else ''} ({reason}).",
            code="code-failed",
            file=str(file),
            line=line,
        ) from None


def _accepted(function: Callable[..., Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a function takes, by name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in wanted.items() if name in parameters}


def _as_network(network: Any, title: str, channels: int, side: int) -> Network:
    from torch import nn

    from kgen.nets.compatibility import NEEDS, incompatibility
    from kgen.nets.splitting import NotSplittable, SplitNetwork

    if not isinstance(network, nn.Module):
        raise OwnCodeError(
            f"{title} returned {type(network).__name__}; expected a torch.nn.Module.",
            code="not-a-network",
        )
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    channels = first.in_channels if first else channels
    if all(hasattr(network, name) for name in NEEDS):
        if reason := incompatibility(cast("Network", network), channels, None, side):
            raise OwnCodeError(f"{title} cannot be used: {reason}.", code="not-a-network")
        return cast("Network", network)
    try:
        return SplitNetwork(network, channels, side)
    except NotSplittable as error:
        raise OwnCodeError(
            f"{title} cannot be used: {error}. Alternatively, give the network timm's three"
            " methods: forward_features, forward_head, and get_classifier.",
            code="not-a-network",
        ) from None
