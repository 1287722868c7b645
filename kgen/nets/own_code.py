"""A user's own network, `path/to/file.py:build`. Building it runs that file's code.

Only commands that a person types may do that: no card, bundle, or page can name a file to run, and
a process with KGEN_OWN_CODE=0 in its environment never does. The permission for a saved teacher is
therefore kept on this machine, outside the teacher's file, and covers only that teacher and the
Python files that were checked: the file and whatever it imports from its folder, by SHA-256.

A network with timm's three methods is used as is. Any other classifier that ends in a Linear is
split at its last spatial map by tracing its forward pass.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import inspect
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, cast

from kgen.errors import KGenError
from kgen.phrases import first_few
from kgen.specs import ZooError
from kgen.system import files
from kgen.system.paths import home, typed_path

if TYPE_CHECKING:
    from kgen.nets.network import Network

PATTERN = re.compile(r"(.+\.py):([A-Za-z_]\w*)", re.DOTALL)
LIBRARIES = ("timm:", "torchvision:")
"""Prefixes of architectures that are not a user's own."""
SWITCH = "KGEN_OWN_CODE"
"""Environment variable; 0 forbids running a user's file. The app sets it for its children."""


def child_environment() -> dict[str, str]:
    """This process's environment, for a child that never runs a user's file, whatever a recipe or a
    card says.
    """
    return os.environ | {SWITCH: "0"}


class OwnCodeError(ZooError):
    """A user's own network that cannot be built; the message names the file and the reason."""

    code = "own-code"


def is_own(architecture: str) -> bool:
    """Whether an architecture refers to a user's Python file."""
    return PATTERN.fullmatch(architecture) is not None


class UserCode:
    """The Python files that build a network, each with its SHA-256.

    Args:
        file: the one that was named; its path is absolute.
        checksums: of this file and of every other one that it imports from its folder. None while
            they are being checked: then each file is added when it is first run.
    """

    def __init__(self, file: Path, checksums: dict[str, str] | None = None):
        self.file, self.complete = file, checksums is not None
        self.checksums = {} if checksums is None else checksums

    def require_unchanged(self) -> None:
        """Raises OwnCodeError if a file is missing or has changed."""
        for path in dict.fromkeys((str(self.file), *self.checksums)):
            try:
                data = Path(path).read_bytes()
            except OSError as error:
                raise OwnCodeError(
                    f"This teacher's network is built by {path}, which cannot be read"
                    f" ({error.strerror or error}); put the file back, or check the weights again"
                    f" with --arch FOLDER/{self.file.name}:… and save them under another name.",
                    code="no-file",
                    file=path,
                ) from None
            self.require_known(path, data)

    def require_known(self, path: str, data: bytes) -> None:
        """Raises OwnCodeError if this file was not checked, or had different contents."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.complete:
            self.checksums.setdefault(path, digest)
        if self.checksums.get(path) != digest:
            raise OwnCodeError(
                f"{path} has changed since this teacher was checked; restore it, or check the"
                f" weights again with --arch {self.file}:… and save them under another name.",
                code="other-code",
                file=path,
            )


def locate(architecture: str) -> UserCode:
    """Where the code of a user's architecture is. Raises OwnCodeError if there is no such file."""
    file = Path(_split(architecture)[0])
    if not os.path.isfile(file):  # unlike Path.is_file, also accepts names that are too long
        raise _no_file(file)
    code = UserCode(file.absolute())
    code.require_unchanged()
    return code


def from_typed(text: str) -> str | None:
    """What a person typed as an architecture, as FILE.py:NAME with an absolute path; None if it
    names an architecture rather than a file.

    Raises OwnCodeError if the file does not exist, or if the text names one in another form.
    """
    if is_own(text):
        file, name = _split(text)
        file = typed_path(file)
        locate(f"{file}:{name}")
        return f"{file}:{name}"
    if text.endswith(".py") or text.startswith(LIBRARIES) or not re.search(r":|\.py\b", text):
        return None
    module, _, name = text.partition(":")
    file = "/".join(filter(None, module.split("."))) + ".py"
    if ".py" not in text and is_own(f"{file}:{name}") and os.path.isfile(file):
        raise OwnCodeError(
            f"--arch is {text!r}, which is a module. To use the file, write --arch {file}:{name};"
            " this runs its code.",
            code="invalid-name",
            name=text,
            meant=f"{file}:{name}",
        )
    raise OwnCodeError(
        f"--arch is {text[:80]!r}; expected the name of an architecture, such as resnet18, or"
        " FILE.py:NAME, where NAME is a class in your own file, or a function in it that returns"
        " the network.",
        code="invalid-name",
        name=text[:80],
    )


def _no_file(file: Path) -> OwnCodeError:
    """The error for a file that a person typed and that does not exist."""
    file, close = file.absolute(), list[str]()
    folder = file.parent
    if os.path.isdir(folder):
        found = sorted(path.name for path in folder.glob("*.py"))
        stems = [name.removesuffix(".py") for name in found]
        close = [f"{stem}.py" for stem in difflib.get_close_matches(file.stem, stems, 3)]
        problem = f"There is no file {file.name} in {folder}." + (
            f" Did you mean {' or '.join(close)}?"
            if close
            else f" It has: {first_few(found)}."
            if found
            else " It has no Python files."
        )
    else:
        problem = f"There is no file {file}: the folder {folder} does not exist."
    return OwnCodeError(
        f"{problem} For your own network, write FILE.py:NAME; a relative path starts in the current"
        " folder.",
        code="no-file",
        file=str(file),
        meant=close[0] if close else None,
    )


def permit(teacher_sha256: str, code: UserCode) -> None:
    """Let a teacher's file, by its checksum, run this code from now on. Raises OSError."""
    path = _permission(teacher_sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    permission = {"file": str(code.file), "checksums": code.checksums}
    files.write_durably(path, json.dumps(permission, indent=1).encode())


def permitted(teacher_sha256: str) -> UserCode | None:
    """The code that a teacher's file may run; None if the user never allowed any."""
    try:
        found = json.loads(_permission(teacher_sha256).read_bytes())
        code = UserCode(Path(found["file"]), dict(found["checksums"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # a relative path would depend on the folder that a command is started in
    paths = (code.file, *map(Path, code.checksums))
    return code if all(path.is_absolute() for path in paths) else None


def _permission(teacher_sha256: str) -> Path:
    return home() / "own-code" / f"{teacher_sha256}.json"


def short(architecture: str) -> str:
    """FILE.py:NAME without the folder: a run's files should not name places on this machine."""
    file, name = _split(architecture)
    return f"{Path(file).name}:{name}"


def build(
    architecture: str,
    code: UserCode,
    *,
    channels: int,
    classes: int,
    side: int,
    arguments: dict[str, Any],
) -> Network:
    """Run the file and build its network, which has timm's methods afterward.

    The function is called with `arguments`, and with num_classes and in_chans if it has parameters
    of these names. Raises OwnCodeError.
    """
    file, (_, name) = code.file, _split(architecture)
    if os.environ.get(SWITCH) == "0":
        raise OwnCodeError(
            f"This teacher's network is built by {file.name}:{name}, your own Python file; only the"
            " command line runs such files, not the page.",
            code="command-line-only",
            file=file.name,
        )
    code.require_unchanged()
    with _Imports(code) as imports, contextlib.redirect_stdout(sys.stderr):
        with _explained(file, "the import"):
            module = imports.load(f"kgen_own_{file.stem}", file)
        function = getattr(module, name, None)
        if not callable(function):
            defined = [n for n, v in vars(module).items() if callable(v) and n[0] != "_"]
            defined = [n for n in defined if n != "print"]
            raise OwnCodeError(
                f"{file} defines no function or class {name!r}; it has: {', '.join(defined[:10])}.",
                code="unknown-function",
                file=str(file),
                known=defined[:10],
            )
        given = _accepted(function, {"num_classes": classes, "in_chans": channels}) | arguments
        if missing := _missing(function, given):
            example = ",".join(f"{argument}=VALUE" for argument in missing)
            raise OwnCodeError(
                f"{file}: {name}() needs {' and '.join(map(repr, missing))}, so pass --arch-args"
                f" {example}.",
                code="invalid-arguments",
                file=str(file),
                missing=missing,
            )
        with _explained(file, f"{name}()"):
            network = function(**given)
    # without the imports: a forward pass that needs them must not start to fail during a run
    with contextlib.redirect_stdout(sys.stderr):
        return _as_network(network, f"{file.name}:{name}", channels, side)


def _split(architecture: str) -> tuple[str, str]:
    found = PATTERN.fullmatch(architecture)
    if found is None:
        raise OwnCodeError(f"{architecture[:80]!r} is not FILE.py:NAME.", code="invalid-name")
    return found[1], found[2]


class _Imports(MetaPathFinder):
    """Context manager that lets a user's file import other files from its folder.

    On exit, those modules are forgotten, so that a file of the same name in another folder is a
    separate module.
    """

    def __init__(self, code: UserCode):
        self.code, self.folder = code, str(code.file.parent)
        self.names: set[str] = set()

    def __enter__(self) -> _Imports:
        sys.meta_path.insert(0, self)
        sys.path.insert(0, self.folder)  # namespace packages look there
        return self

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)
        with contextlib.suppress(ValueError):  # the user's code may have removed it
            sys.path.remove(self.folder)
        for name in self.names:
            sys.modules.pop(name, None)

    def load(self, name: str, file: Path) -> ModuleType:
        """Run a file as a module."""
        spec = importlib.util.spec_from_file_location(
            name, file, loader=_Loader(name, str(file), self.code)
        )
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        self.names.add(name)
        sys.modules[name] = module  # dataclasses look it up
        spec.loader.exec_module(module)
        return module

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if parent and parent not in self.names:
            return None
        spec = PathFinder.find_spec(name, path if parent else [self.folder])
        if spec is None:
            return None
        self.names.add(name)
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path, self.code)
        elif spec.has_location and spec.origin:  # compiled
            self.code.require_known(spec.origin, Path(spec.origin).read_bytes())
        return spec


class _Loader(SourceFileLoader):
    """Runs exactly the bytes that were checked, never a stale copy in __pycache__. Anything they
    print goes to standard error, because a program may be reading standard output.
    """

    def __init__(self, name: str, path: str, code: UserCode):
        super().__init__(name, path)
        self.code = code

    def get_code(self, fullname: str) -> CodeType:
        data = self.get_data(self.path)
        self.code.require_known(self.path, data)
        return self.source_to_code(data, self.path)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["print"] = _print
        super().exec_module(module)


def _print(
    *values: object,
    sep: str | None = None,
    end: str | None = None,
    file: Any = None,
    flush: bool = False,
) -> None:
    text = (" " if sep is None else sep).join(map(str, values))
    (file or sys.stderr).write(text + ("\n" if end is None else end))


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


def _missing(function: Callable[..., Any], given: Collection[str]) -> list[str]:
    """The arguments that a function requires and that are not given, by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        p.name
        for p in parameters
        if p.kind in named and p.default is inspect.Parameter.empty and p.name not in given
    ]


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

    def refusal(error: NotSplittable) -> OwnCodeError:
        return OwnCodeError(
            f"{title} cannot be used: {error}. Alternatively, give the network timm's three"
            " methods: forward_features, forward_head, and get_classifier.",
            code="not-a-network",
        )

    def verify(loaded: nn.Module, _: object) -> None:
        try:
            cast("SplitNetwork", loaded).verify()
        except NotSplittable as error:
            raise refusal(error) from None

    try:
        split = SplitNetwork(network, channels, side)
    except NotSplittable as error:
        raise refusal(error) from None
    split.register_load_state_dict_post_hook(verify)
    return split
