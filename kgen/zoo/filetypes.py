"""What kind of file this is, by its first bytes, because its name may be misleading.

Knows the files that people take for weights, and what to do about each. Reads no more than a few
hundred bytes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

HEAD = 512
"""How many bytes are examined; a tar archive has its signature at byte 257."""
ZIP, PICKLE, SAFETENSORS = "zip", "pickle", "safetensors"
"""The kinds that can hold weights. Everything else is in `OTHER`."""
GET_THE_FILE = "get the .pt, .pth, or .safetensors file of the same network"


class Kind(NamedTuple):
    """A kind of file that holds no weights."""

    name: str
    """For programs, such as "web-page"."""
    title: str
    remedy: str


LFS = Kind(
    "git-lfs-pointer",
    "a Git LFS pointer, a few lines of text in place of the weights",
    "run 'git lfs pull' in its repository, or download the file from its web page",
)
WEB_PAGE = Kind(
    "web-page",
    "a web page, which is what you download if the link requires a login or a confirmation",
    "open the link in a browser and save the file itself (on GitHub the “raw” file, on Hugging Face"
    " /resolve/ instead of /blob/)",
)
ONNX = Kind(
    "onnx",
    "an ONNX model, which has lost the names of the network's layers",
    "save the weights where it was exported: torch.save(model.state_dict(), 'weights.pt')",
)
JSON = Kind(
    "json",
    "JSON text, such as the index of a sharded checkpoint",
    "load the weights with their library and save one file: torch.save(model.state_dict(),"
    " 'weights.pt')",
)
OTHER = (
    (b"version https://git-lfs", LFS),
    (b"\x89HDF\r\n", Kind("hdf5", "an HDF5 file, such as Keras writes", GET_THE_FILE)),
    (b"GGUF", Kind("gguf", "a GGUF file of quantized weights", GET_THE_FILE)),
    (
        b"\x93NUMPY",
        Kind(
            "numpy",
            "a NumPy array",
            "save tensors by name: torch.save({'fc.weight': torch.from_numpy(array), …}, 'w.pt')",
        ),
    ),
    (b"\x1f\x8b", Kind("gzip", "a gzip archive", "unpack it and use the file inside")),
    (b"\x28\xb5\x2f\xfd", Kind("zstd", "a Zstandard archive", "unpack it")),
    (b"7z\xbc\xaf", Kind("7z", "a 7z archive", "unpack it")),
    (b"Rar!", Kind("rar", "a RAR archive", "unpack it")),
    (b"%PDF", Kind("pdf", "a PDF document", GET_THE_FILE)),
)
TAR = Kind(
    "tar",
    "a tar archive: packed files, or the format of torch before 0.1.10",
    "unpack it, or load and save it with a newer torch",
)
UNKNOWN = Kind(
    "unknown",
    "not a file that torch.save or safetensors writes",
    "download it again if it is damaged, or save the weights: torch.save(model.state_dict(),"
    " 'weights.pt')",
)


def kind(path: Path) -> str | Kind:
    """ZIP, PICKLE, or SAFETENSORS; otherwise what the file is instead."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head[4:9] == b"\0\0\0\0{":  # the length of its header, in eight bytes, and the header
        return SAFETENSORS
    return _archive(head) or _text(head) or _binary(path, head)


def _archive(head: bytes) -> str | Kind | None:
    if head.startswith(b"PK\x03\x04"):  # torch uses the same test
        return ZIP
    if head[257:262] == b"ustar":
        return TAR
    return next((found for magic, found in OTHER if head.startswith(magic)), None)


def _text(head: bytes) -> Kind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:100].lower()
    if re.match(rb"<(!doctype|html|head|\?xml|!--|script|body)", text):
        return WEB_PAGE
    return JSON if text.startswith(b"{") else None


def _binary(path: Path, head: bytes) -> str | Kind:
    if head.startswith(b"\x80"):
        return PICKLE
    if _is_onnx(head):
        return ONNX
    # for a damaged file, the message is that of the format in its name
    return SAFETENSORS if path.suffix.lower() == ".safetensors" else UNKNOWN


def _is_onnx(head: bytes) -> bool:
    """A protobuf message that begins with field 1, a small version, and then another of
    ModelProto's fields (producer, domain, model version, graph, opsets)."""
    return (
        len(head) > 3 and head[0] == 8 and head[1] < 32 and head[2] in b"\x12\x1a\x22\x28\x3a\x42"
    )
