"""Names → teachers and students. An explicit table; nothing is downloaded.

Reading a teacher's card needs no torch, so the app can show it at once.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgen.data import ASSETS
from kgen.events import TeacherCard

if TYPE_CHECKING:
    from torch import nn

    from kgen.teachers import Teacher

TEACHERS = {"fashion-cnn": ASSETS / "fashion-cnn.safetensors"}
STUDENTS = {
    "small-cnn-20k": {"width": 16, "blocks": (1, 1)},
    "small-cnn-45k": {"width": 24, "blocks": (1, 1)},
}


class ZooError(ValueError):
    """A teacher or student that is not known or cannot be read; the message says what to do."""


def nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.4)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def header(path: str | Path) -> dict[str, Any]:
    """The metadata of a safetensors file: 8 bytes of length, then JSON. No tensor is read."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 10_000_000:
                raise ValueError("header too long")
            return json.loads(file.read(length)).get("__metadata__", {})
    except (OSError, ValueError, struct.error) as error:
        raise ZooError(f"{path} cannot be read as a safetensors file: {error}.") from None


def locate(name_or_path: str | Path) -> Path:
    """The file of a teacher, from its name or its path."""
    if str(name_or_path) in TEACHERS:
        return TEACHERS[str(name_or_path)]
    path = Path(name_or_path)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    raise ZooError(f"Teacher {str(name_or_path)!r} is not known and is no .safetensors file. {nearest(str(name_or_path), list(TEACHERS))}")


@functools.cache
def card(name: str) -> TeacherCard:
    """What is known of a teacher, from its file's header."""
    return TeacherCard.model_validate(read_spec(locate(name))["card"])


@functools.cache
def classes(name: str) -> tuple[str, ...]:
    """Names of a teacher's classes, from its file's header."""
    return tuple(read_spec(locate(name))["classes"])


def checksum(name_or_path: str | Path) -> str:
    """SHA-256 of a teacher's file."""
    return hashlib.sha256(locate(name_or_path).read_bytes()).hexdigest()


def read_spec(
    path: Path, sign: str = "card", lack: str = "carries no teacher card; write it with `python -m kgen teach`"
) -> dict[str, Any]:
    spec = json.loads(header(path).get("kgen", "{}"))
    if sign not in spec:
        raise ZooError(f"{path} {lack}.")
    return spec


def load_teacher(name_or_path: str | Path) -> Teacher:
    """A bundled teacher by name, or one that `python -m kgen teach` wrote, by path. On the CPU."""
    import torch
    from safetensors.torch import load_file

    from kgen.networks import SmallResNet, seeded
    from kgen.teachers import Teacher

    path = locate(name_or_path)
    spec = read_spec(path)
    known = TeacherCard.model_validate(spec["card"])
    network = seeded(SmallResNet, 0, known.channels, len(spec["classes"]), spec["width"], tuple(spec["blocks"]))
    network.load_state_dict(load_file(path))
    return Teacher(network, known, tuple(spec["classes"]), torch.tensor(spec["mean"]), torch.tensor(spec["std"]))


def save_network(network: nn.Module, path: str | Path, spec: dict[str, Any]) -> None:
    """Weights and what is needed to build them again, as one safetensors file; whole or not at all."""
    from kgen.files import write_durably

    write_durably(Path(path), network_bytes(network, spec))


def network_bytes(network: nn.Module, spec: dict[str, Any]) -> bytes:
    """A network as the content of a safetensors file."""
    from safetensors.torch import save

    state = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    return save(state, {"kgen": json.dumps(spec)})


def build_student(name: str, channels: int, classes: int, seed: int) -> nn.Module:
    """A fresh student whose initial weights depend on `seed` alone."""
    from kgen.networks import SmallResNet, seeded

    if name not in STUDENTS:
        raise ZooError(f"Student {name!r} is not known. {nearest(name, list(STUDENTS))}")
    return seeded(SmallResNet, seed, channels, classes, **STUDENTS[name])


def load_student(path: str | Path) -> nn.Module:
    """The network of an exported student.safetensors, in eval mode."""
    from safetensors.torch import load_file

    from kgen.networks import SmallResNet, seeded

    spec = read_spec(Path(path), "channels", "is no exported student")
    network = seeded(SmallResNet, 0, spec["channels"], len(spec["classes"]), spec["width"], tuple(spec["blocks"]))
    network.load_state_dict(load_file(os.fspath(path)))
    return network.eval()
