"""Looks up teachers and students by name. An explicit table; nothing is downloaded.

Reading a teacher's card does not need torch, so the app can show it immediately.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgen.data import catalogue
from kgen.data import classes as class_names
from kgen.events import TeacherCard
from kgen.nets import architectures, own_code
from kgen.nets.arguments import check as check_arguments
from kgen.nets.arguments import not_taken
from kgen.phrases import closest, count, did_you_mean
from kgen.recipe.recipe import Recipe
from kgen.specs import ZooError as ZooError
from kgen.specs import about
from kgen.specs import header as header
from kgen.specs import read_spec as read_spec
from kgen.system import files, shell
from kgen.system.paths import ASSETS
from kgen.zoo import published

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kgen.nets.network import Network
    from kgen.teachers import Teacher

TEACHERS = {
    name: ASSETS / f"{name}.safetensors"
    for name in (
        "fashion-cnn",
        "fashion-vit",
        "cifar10-cnn",
        "imagenette-slim",
        "imagenet-lite0",
        "imagenet-lite2",
    )
}
STUDENTS: dict[str, dict[str, Any]] = {
    "small-cnn-20k": {"width": 16, "blocks": (1, 1)},
    "small-cnn-45k": {"width": 24, "blocks": (1, 1)},
    "small-cnn-75k": {"width": 24, "blocks": (0, 2)},
    "small-cnn-175k": {"width": 32, "blocks": (2, 2), "deep_stem": True},
    "small-vit-20k": {"patch": 4, "dim": 32, "depth": 2, "heads": 2},
    "small-vit-80k": {"patch": 4, "dim": 48, "depth": 4, "heads": 2},
}
COSTS = {
    "fashion-cnn": (339_034, 22_664_832, 1_361_192),
    "fashion-vit": (79_690, 4_684_512, 318_760),
    "cifar10-cnn": (694_314, 76_907_776, 2_785_280),
    "imagenette-slim": (2_804_154, 269_158_912, 11_236_248),
    "imagenet-lite0": (4_652_008, 385_187_552, 18_776_488),
    "imagenet-lite2": (6_092_072, 859_736_272, 24_601_184),
    "small-cnn-20k": (19_706, 1_634_176, 80_024),
    "small-cnn-45k": (43_762, 3_655_488, 176_824),
    "small-cnn-75k": (74_962, 3_655_488, 302_008),
    "small-cnn-175k": (174_330, 14_664_576, 701_376),
    "small-vit-20k": (19_658, 1_164_608, 78_632),
    "small-vit-80k": (79_690, 4_684_512, 318_760),
}
"""Parameters, multiply–accumulates per image and bytes, as counted by `kgen.nets.cost`: teachers on
their own images, students on 28×28 grayscale images of ten classes. Available before a network is
built.
"""
LIST = "python -m kgen zoo"
"""The command that lists all teachers and students."""
SHAPES = {"SmallResNet": ("width", "blocks"), "SmallViT": ("patch", "dim", "depth", "heads")}
"""Our own architectures, and the spec entries needed to rebuild one of them."""
OPTIONS = {"SmallResNet": ("deep_stem",)}
"""Optional spec entries."""


def available() -> tuple[str, ...]:
    """Names of all teachers with weights on this machine and a readable card, bundled ones
    first.
    """
    names = (
        *TEACHERS,
        *(name for name in catalogue.TEACHERS if catalogue.teacher_file(name).is_file()),
        *user_teachers(),
    )
    return tuple(name for name in names if _readable(name))


def _readable(name: str) -> bool:
    try:
        return bool(card(name) and locate(name).is_file())
    except ZooError:
        return False


def user_teachers() -> tuple[str, ...]:
    """Names of the user's own or fetched teachers: files with a card next to the catalogue's."""
    found = sorted(path.stem for path in catalogue.teacher_file("x").parent.glob("*.safetensors"))
    return tuple(name for name in found if name not in TEACHERS and name not in catalogue.TEACHERS)


def locate(name_or_path: str | Path) -> Path:
    """The file of a teacher, from its name or its path."""
    if str(name_or_path) in TEACHERS:
        return TEACHERS[str(name_or_path)]
    if str(name_or_path) in catalogue.TEACHERS:
        path = catalogue.teacher_file(str(name_or_path))
        if not path.is_file():
            raise ZooError(
                catalogue.teacher_instructions(str(name_or_path)),
                code="no-teacher",
                name=str(name_or_path),
            )
        return path
    path = Path(name_or_path)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    if str(name_or_path) in user_teachers():
        return catalogue.teacher_file(str(name_or_path))
    if str(name_or_path) in published.TEACHERS:
        raise ZooError(
            published.instructions(str(name_or_path)),
            code="no-teacher",
            name=str(name_or_path),
        )
    if own_code.is_own(str(name_or_path)):
        raise ZooError(
            f"{str(name_or_path)!r} is a network in your own Python file, not a saved teacher."
            " Check its weights and save them first: python -m kgen preflight WEIGHTS --arch"
            f" {shell.quote(str(name_or_path))} --classes … --save NAME; then use teacher=NAME.",
            code="unknown-teacher",
            name=str(name_or_path),
            meant=None,
        )
    known = [*TEACHERS, *user_teachers(), *catalogue.TEACHERS, *published.TEACHERS]
    raise ZooError(
        f"{str(name_or_path)!r} is neither a known teacher nor a .safetensors file."
        f" {did_you_mean(str(name_or_path), known, LIST)}",
        code="unknown-teacher",
        name=str(name_or_path),
        meant=closest(str(name_or_path), known),
    )


def spec(name_or_path: str | Path) -> dict[str, Any]:
    """Card, classes, normalization and architecture of a teacher.

    From its file's header, or from the catalogue: a catalogue teacher's file may be a bare state
    dict from the user, while one that we wrote includes its own card.
    """
    name = str(name_or_path)
    if name not in catalogue.TEACHERS:
        return read_spec(locate(name_or_path))
    path = catalogue.teacher_file(name)
    file_spec = about(path) if path.is_file() else {}
    return file_spec if "card" in file_spec else catalogue.spec(name)


def card(name: str) -> TeacherCard:
    """The card of a teacher, whether or not its weights are on this machine."""
    return _facts(name, _modified_ns(name))[0]


def classes(name: str) -> tuple[str, ...]:
    """A teacher's class names, whether or not its weights are on this machine."""
    return _facts(name, _modified_ns(name))[1]


def resolved(recipe: Recipe) -> Recipe:
    """The recipe as a run records it: embedding "auto" becomes "text" or "center".

    Unchanged if the teacher is not on this machine.
    """
    try:
        return class_names.with_representative(recipe, classes(recipe.teacher))
    except (ZooError, KeyError, ValueError):
        return recipe


@functools.lru_cache(64)
def _facts(name: str, modified_ns: int) -> tuple[TeacherCard, tuple[str, ...]]:
    found = spec(name)
    return TeacherCard.model_validate(found["card"]), tuple(found["classes"])


def _modified_ns(name: str) -> int:
    """When a teacher's file was written, in nanoseconds, because the user may replace it."""
    try:
        return locate(name).stat().st_mtime_ns
    except ZooError:
        return 0  # in the catalogue but not here; or unknown, which `spec` reports


def checksum(name_or_path: str | Path) -> str:
    """SHA-256 of a teacher's file."""
    return files.sha256(locate(name_or_path))


def load_teacher(name_or_path: str | Path) -> Teacher:
    """A teacher on the CPU.

    By name if it is bundled or in the catalogue; by path if `python -m kgen teach` wrote it.
    """
    import torch

    from kgen.teachers import Teacher

    path, about = locate(name_or_path), spec(name_or_path)
    known = TeacherCard.model_validate(about["card"])
    network = build(
        known.architecture,
        about | {"arguments": known.arguments},
        0,
        known.channels,
        len(about["classes"]),
        known.side,
        # no file from elsewhere may name code to run, wherever it was put
        user_code=own_code.permitted(files.sha256(path))
        if own_code.is_own(known.architecture)
        else None,
    )
    load_weights(
        network, path, f"{known.architecture} with {count(len(about['classes']), 'class')}"
    )
    return Teacher(
        network,
        known,
        tuple(about["classes"]),
        torch.tensor(about["mean"]),
        torch.tensor(about["std"]),
    )


def load_weights(network: nn.Module, path: Path, what: str) -> None:
    """Load a safetensors file into a network.

    ZooError names the first tensor that is missing, unexpected or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(os.fspath(path))
    except (OSError, SafetensorError) as error:
        raise ZooError(
            f"{path} cannot be read as a safetensors file: {error}.",
            code="unreadable",
            file=str(path),
        ) from None
    load_tensors(network, found, str(path), what)


def load_tensors(network: nn.Module, found: dict[str, Tensor], source: str, what: str) -> None:
    """Load tensors read from `source` into a network; ZooError as in `load_weights`."""
    state = network.state_dict()
    if all(name.startswith("vit.") for name in state) and not any(
        name.startswith("vit.") for name in found
    ):
        found = {f"vit.{name}": t for name, t in found.items()}  # timm's own names
    for name, tensor in state.items():
        shape = " × ".join(map(str, found[name].shape)) if name in found else "missing"
        if name not in found or found[name].shape != tensor.shape:
            raise ZooError(
                f"{source} does not fit {what}: tensor {name!r} is {shape}, expected"
                f" {' × '.join(map(str, tensor.shape)) or 'one number'}.",
                code="invalid-tensor",
                tensor=name,
                found=shape,
                expected=" × ".join(map(str, tensor.shape)),
            )
    if unexpected := [name for name in found if name not in state]:
        raise ZooError(
            f"{source} does not fit {what}: it has an unexpected tensor {unexpected[0]!r}.",
            code="invalid-tensor",
            tensor=unexpected[0],
            expected=None,
        )
    network.load_state_dict(found)


def save_network(network: nn.Module, path: str | Path, spec: dict[str, Any]) -> None:
    """Weights and the spec to rebuild them, as one safetensors file; completely or not at all."""
    files.write_durably(Path(path), network_bytes(network, spec))


def halved(network: nn.Module) -> nn.Module:
    """The network itself, in half precision. ZooError names a tensor that exceeds its range."""
    import torch

    limit = torch.finfo(torch.float16).max
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() and float(tensor.abs().max()) > limit:
            raise ZooError(
                f"Tensor {name!r} has values above {limit:.0f}, the limit of half precision; omit"
                " --half.",
                code="out-of-range",
                tensor=name,
            )
    return network.half()


def network_bytes(network: nn.Module, spec: dict[str, Any]) -> bytes:
    """A network as the contents of a safetensors file."""
    from safetensors.torch import save

    state = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    return save(state, {"kgen": json.dumps(spec)})


def build(
    architecture: str,
    spec: dict[str, Any],
    seed: int,
    channels: int,
    classes: int,
    side: int,
    *,
    user_code: own_code.UserCode | None = None,
) -> Network:
    """A network by architecture name: ours, or any that `kgen.nets.architectures.build` knows.

    Raises ZooError.

    Args:
        spec: for ours, it contains at least the entries of SHAPES; for timm's and a user's own, it
            can contain `arguments`.
        side: the full resolution.
        user_code: a user's own files, if they may be run (`kgen.nets.own_code`).
    """
    from kgen.nets.small_cnn import SmallResNet, seeded
    from kgen.nets.vit import small_vit

    try:
        arguments = check_arguments(spec.get("arguments") or {})
    except (ValueError, AttributeError, TypeError) as error:
        raise ZooError(
            f"The arguments of {architecture!r}: {error}.", code="invalid-card"
        ) from None
    if own_code.is_own(architecture):
        if user_code is None:
            raise ZooError(
                f"The network is built by {own_code.short(architecture)}, a custom Python file."
                " Only a teacher that `python -m kgen preflight --arch"
                f" PATH/{own_code.short(architecture)} --save NAME` saved on this machine can use"
                " it.",
                code="no-file",
                file=own_code.short(architecture),
            )
        return seeded(
            functools.partial(
                own_code.build,
                architecture,
                user_code,
                channels=channels,
                classes=classes,
                side=side,
                arguments=arguments,
            ),
            seed,
        )
    if architecture in SHAPES and arguments:
        raise ZooError(
            not_taken(architecture, arguments),
            code="unsupported-arguments",
            name=architecture,
        )
    if architecture not in SHAPES and not architectures.known(architecture):
        raise ZooError(
            architectures.unknown("architecture", architecture, (*SHAPES, *architectures.NAMES)),
            code="unknown-architecture",
            name=architecture,
        )
    if architecture not in SHAPES:
        try:
            return seeded(
                architectures.build, seed, architecture, channels, classes, side, arguments
            )
        except architectures.ArchitectureError as error:
            raise ZooError(
                str(error),
                code=error.code,
                **error.fields,
            ) from None
    shape: dict[str, Any] = {
        k: tuple(v) if isinstance(v := spec[k], list) else v for k in SHAPES[architecture]
    }
    shape |= {k: spec[k] for k in OPTIONS.get(architecture, ()) if k in spec}
    if architecture == "SmallViT":
        return seeded(small_vit, seed, channels, classes, side=side, **shape)
    return seeded(SmallResNet, seed, channels, classes, **shape)


def family(spec: dict[str, Any]) -> str:
    """The architecture of an exported student or of a shape."""
    ours = next(
        (name for name, fields in SHAPES.items() if all(field in spec for field in fields)), None
    )
    return ours or spec["architecture"]


def build_student(name: str, channels: int, classes: int, seed: int, side: int = 28) -> Network:
    """A fresh student whose initial weights depend only on `seed`.

    `name`: one of STUDENTS, or any that `kgen.nets.architectures.build` knows. `side`: the
    teacher's, and the student's at test time. Raises ZooError.
    """
    if own_code.is_own(name):
        raise ZooError(
            f"{name!r} is a network in your own Python file, and a student cannot be one. Choose a"
            " student that `python -m kgen zoo` lists, any timm classification network, or"
            " torchvision:NAME.",
            code="unknown-student",
            name=name,
        )
    if name not in STUDENTS and not architectures.known(name):
        raise ZooError(
            architectures.unknown("student", name, (*STUDENTS, *architectures.NAMES)),
            code="unknown-student",
            name=name,
        )
    shape = STUDENTS.get(name, {"architecture": name})
    return build(family(shape), shape, seed, channels, classes, side)


def load_student(path: str | Path) -> Network:
    """The network of an exported student.safetensors, in eval mode."""
    about = read_spec(Path(path), "channels", "is not an exported student")
    network = build(
        family(about), about, 0, about["channels"], len(about["classes"]), about.get("side", 28)
    )
    load_weights(
        network, Path(path), f"a student of architecture {about.get('architecture', family(about))}"
    )
    return network.eval()


def load_classifier(path: str | Path) -> nn.Module:
    """An exported student.safetensors, ready to use in eval mode: pixels [B,c,e,e] in [0,1] →
    logits [B,K_T].
    """
    import torch

    from kgen.nets.small_cnn import FromPixels

    about = read_spec(Path(path), "mean", "is not an exported student")
    return FromPixels(load_student(path), *(torch.tensor(about[k]) for k in ("mean", "std"))).eval()
