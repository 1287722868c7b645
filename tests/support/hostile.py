"""Malicious and broken weights files, made on the spot, each with a tensor of four numbers."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save

FOUR = torch.tensor([1.0, 2, 3, 4])


class Code:
    """What a pickle does to run code: it would make this file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


class System(Code):
    def __reduce__(self):
        return os.system, (f"echo harm > '{self.mark}'",)


def saved(path: Path, content, **options) -> Path:
    torch.save(content, path, **options)
    return path


def rezipped(
    path: Path, change=lambda name, data: data, compression=zipfile.ZIP_STORED, extra=()
) -> Path:
    """The archive at `path` with its members changed."""
    with zipfile.ZipFile(path) as old:
        members = [(m.filename, change(m.filename, old.read(m))) for m in old.infolist()]
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, data in [*members, *extra]:
            new.writestr(name, data)
    return path


def good(path: Path) -> Path:
    return saved(path, {"a": FOUR})


def code(path: Path) -> Path:
    return saved(path, {"a": Code(path.with_suffix(".mark"))})


def system(path: Path) -> Path:
    return saved(path, {"a": System(path.with_suffix(".mark"))})


def old_code(path: Path) -> Path:
    return saved(
        path, {"a": System(path.with_suffix(".mark"))}, _use_new_zipfile_serialization=False
    )


def plain_pickle(path: Path) -> Path:
    path.write_bytes(pickle.dumps(System(path.with_suffix(".mark"))))
    return path


def module(path: Path) -> Path:
    return saved(path, torch.nn.Linear(2, 2))


def repeated(path: Path) -> Path:
    return saved(path, {"a": FOUR[:1].expand(2**33)})


def overlapping_views(path: Path) -> Path:
    return saved(path, {"a": torch.zeros(2**10).as_strided((2**5, 2**10), (0, 1))})


def keys(path: Path) -> Path:
    return saved(path, {f"tensor{i}": FOUR for i in range(20_001)})


def more_keys(path: Path) -> Path:
    good(path)
    return rezipped(
        path, lambda name, data: data + bytes(9 * 2**20) if name.endswith("data.pkl") else data
    )


def not_a_number(path: Path) -> Path:
    return saved(
        path, {"fine": FOUR, "weight": FOUR.clone().index_fill_(0, torch.tensor([2]), torch.nan)}
    )


def packed(path: Path) -> Path:
    """A zip bomb: 100 MB of zeros in 100 kB."""
    good(path)
    return rezipped(
        path, compression=zipfile.ZIP_DEFLATED, extra=[("good/data/9", bytes(100 * 2**20))]
    )


def laid_over(path: Path) -> Path:
    """A zip bomb without compression: a hundred members that are the same megabyte."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"nothing")
        archive.writestr("x/data/0", bytes(2**20))
        for i in range(1, 100):
            twin = copy.copy(archive.filelist[-1])
            twin.filename = f"x/data/{i}"
            archive.filelist.append(twin)
    return path


def traversal(path: Path) -> Path:
    good(path)
    return rezipped(path, extra=[("good/../../../etc/x", b"x")])


def members(path: Path) -> Path:
    good(path)
    return rezipped(path, extra=[(f"good/data/x{i}", b"") for i in range(20_200)])


def short_storage(path: Path) -> Path:
    """The pickle claims 255 numbers where the archive has four."""
    good(path)
    return rezipped(
        path,
        lambda name, data: (
            data.replace(b"K\x04tq", b"K\xfftq").replace(b"K\x04\x85", b"K\xff\x85")
            if name.endswith("data.pkl")
            else data
        ),
    )


def old_and_huge(path: Path) -> Path:
    """The old format claims 64 GB before there is anything to check it against."""
    saved(path, {"a": FOUR}, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert data.count(b"K\x04N") == 1
    path.write_bytes(data.replace(b"K\x04N", b"\x8a\x05" + (2**34).to_bytes(5, "little") + b"N"))
    return path


def truncated(path: Path) -> Path:
    good(path)
    path.write_bytes(path.read_bytes()[:-40])
    return path


def half_a_header(path: Path) -> Path:
    saved(path, {"a": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:300])
    return path


def program(path: Path) -> Path:
    """The outer structure of a TorchScript archive."""
    good(path)
    return rezipped(path, extra=[("good/constants.pkl", b""), ("good/code/x.py", b"")])


def other_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/readme.txt", "hello")
    return path


def sparse(path: Path) -> Path:
    return saved(path, {"a": FOUR.to_sparse()})


def meta(path: Path) -> Path:
    return saved(path, {"a": torch.zeros(2**40, device="meta")})


def complex_numbers(path: Path) -> Path:
    return saved(path, {"a": FOUR.to(torch.complex64)})


def training_state(path: Path) -> Path:
    return saved(path, {"epoch": 3, "best": 0.9})


def a_list(path: Path) -> Path:
    return saved(path, [FOUR])


def nothing(path: Path) -> Path:
    return saved(path, {})


def odd_name(path: Path) -> Path:
    return saved(path, {"a\x1b[2J": FOUR})


def deep(path: Path) -> Path:
    """A thousand brackets."""
    good(path)
    return rezipped(
        path,
        lambda name, data: (
            b"\x80\x02" + b"]" * 100_000 + b"." if name.endswith("data.pkl") else data
        ),
    )


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def noise(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 20)
    return path


TORCH = (
    code,
    system,
    old_code,
    plain_pickle,
    module,
    repeated,
    overlapping_views,
    keys,
    more_keys,
    not_a_number,
    packed,
    laid_over,
    traversal,
    members,
    short_storage,
    truncated,
    half_a_header,
    program,
    other_zip,
    sparse,
    meta,
    complex_numbers,
    training_state,
    a_list,
    nothing,
    odd_name,
    deep,
    empty,
    noise,
)
"""Makers of a .pt file that must be refused; so must `old_and_huge`, which also needs limits."""


def tensors(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def _header(**entries) -> bytes:
    return json.dumps(entries).encode()


def _entry(shape, start, end, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


SAFETENSORS = {
    "no header": lambda p: tensors(p, b""),
    "long header": lambda p: tensors(p, b"{}", length=2**62),
    "no JSON": lambda p: tensors(p, b"hello there"),
    "a list": lambda p: tensors(p, b"[]"),
    "brackets": lambda p: tensors(p, b"[" * 100_000),
    "beyond the end": lambda p: tensors(p, _header(a=_entry([4], 0, 16)), bytes(8)),
    "huge": lambda p: tensors(p, _header(a=_entry([2**40], 0, 2**42)), bytes(8)),
    "overflow": lambda p: tensors(p, _header(a=_entry([2**62, 2**62], 0, 16)), bytes(16)),
    "overlap": lambda p: tensors(p, _header(a=_entry([4], 0, 16), b=_entry([4], 8, 24)), bytes(24)),
    "gap": lambda p: tensors(p, _header(a=_entry([1], 0, 4), b=_entry([1], 8, 12)), bytes(12)),
    "not finite": lambda p: (p.write_bytes(save({"a": FOUR / 0})), p)[1],
    "other numbers": lambda p: (p.write_bytes(save({"a": FOUR.to(torch.complex64)})), p)[1],
    "nothing": lambda p: tensors(p, b"{}"),
    "odd name": lambda p: tensors(p, _header(**{"a\n\x07": _entry([1], 0, 4)}), bytes(4)),
    "truncated": lambda p: (p.write_bytes(save({"a": FOUR})[:-3]), p)[1],
    "a pickle": lambda p: code(p),
}
"""Makers of a .safetensors file that must be refused."""
