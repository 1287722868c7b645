"""Arguments of a network's constructor, as text and as data: img_size=32,patch_size=4.

They come from a terminal, a page, or a file's card, so only plain values are accepted, and none
that would make a library read a file or download one. Independent of torch.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

ELSEWHERE = {"num_classes": "the class names", "in_chans": "the number of channels"}
"""Arguments that follow from something else in the request."""
RESERVED = re.compile(
    r"pretrained.*|checkpoint_path|cache_dir|features_only|feature_.*|out_indices|model_cfg|"
    r"kwargs_filter|pruned|scriptable|exportable|no_jit|device|dtype"
)
"""timm's arguments that load weights, or that change what the network returns or which device it is
on.
"""
MAX_ARGUMENTS, MAX_ITEMS, MAX_TEXT, MAX_NUMBER = 32, 64, 100, 1_000_000


def parse(text: str) -> dict[str, Any]:
    """The arguments in "img_size=32,depths=(2,2,6,2),global_pool=avg". Raises ValueError."""
    found: dict[str, Any] = {}
    for part in _split(text):
        name, equals, raw = (word.strip() for word in part.partition("="))
        if not part.strip():
            continue
        if not equals or not raw:
            raise ValueError(
                f"{part.strip()[:60]!r} is not NAME=VALUE; expected arguments of the network's"
                " constructor, such as img_size=32,patch_size=4"
            )
        if name in found:
            raise ValueError(f"{name} appears twice")
        found[name] = _value(raw)
    return check(found)


def check(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with tuples for lists. Raises ValueError naming one that is not allowed."""
    if len(arguments) > MAX_ARGUMENTS:
        raise ValueError(f"{len(arguments)} arguments; expected at most {MAX_ARGUMENTS}")
    for name in arguments:
        if not re.fullmatch(r"[A-Za-z]\w{0,63}", name, re.ASCII):
            raise ValueError(f"{name[:60]!r} is not the name of an argument")
        if name in ELSEWHERE:
            raise ValueError(f"{name} follows from {ELSEWHERE[name]}; leave it out")
        if RESERVED.fullmatch(name):
            raise ValueError(f"{name} is not an argument of the network itself; leave it out")
    return {name: _checked(name, value) for name, value in arguments.items()}


def is_allowed(name: str) -> bool:
    """Whether an argument with this name can be set."""
    return name not in ELSEWHERE and not RESERVED.fullmatch(name)


def to_text(arguments: Mapping[str, Any]) -> str:
    """The text that `parse` reads."""
    return ",".join(f"{name}={_text(value)}" for name, value in arguments.items())


def not_taken(architecture: str, arguments: Mapping[str, Any]) -> str:
    """The message for arguments of a network that takes none."""
    return (
        f"Architecture {architecture!r} takes no arguments; only timm's architectures do. Leave out"
        f" {to_text(arguments)}."
    )


def _text(value: Any) -> str:
    """The value as Python writes it, without spaces between items."""
    if isinstance(value, (list, tuple)):
        return f"({','.join(map(_text, value))}{',' * (len(value) == 1)})"
    return repr(value)


def _split(text: str) -> list[str]:
    """The text split at commas that are not in brackets or quotes."""
    parts, depth = [""], 0
    for token in re.findall(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|.""", text, re.S):
        if token == "," and not depth:
            parts.append("")
            continue
        depth = max(0, depth + (token in "([{") - (token in ")]}"))
        parts[-1] += token
    return parts


def _value(raw: str) -> Any:
    if raw.lower() in ("true", "false", "none", "null"):
        return {"true": True, "false": False}.get(raw.lower())
    try:
        return ast.literal_eval(raw) if len(raw) <= 1_000 else raw
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return raw


def _checked(name: str, value: Any, depth: int = 0) -> Any:
    if isinstance(value, (list, tuple)) and len(value) <= MAX_ITEMS and depth < 2:
        return tuple(_checked(name, item, depth + 1) for item in value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= MAX_NUMBER:
        return value
    if isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable():
        return value
    raise ValueError(
        f"{name} is {str(value)[:60]}; expected a number up to {MAX_NUMBER:,}, true, false, a short"
        " string, or a list of these"
    )
