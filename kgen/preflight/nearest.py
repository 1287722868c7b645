"""Which architecture a file's tensors fit best, by their shapes. Names do not matter.

Compares with a bundled table of all networks that can be named (`benchmarks/architecture_shapes.py`
writes it), so nothing is built here.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable

from torch import Tensor

from kgen.system.paths import ASSETS

TABLE = ASSETS / "architectures.json"
SIMILAR = 0.5
"""Share of the shapes, of file and network together, above which a network is worth suggesting."""


def shapes(tensors: Iterable[Tensor]) -> Counter[str]:
    """How often each shape of a weight occurs.

    Vectors say little, and a first convolution's few input channels depend on the images.
    """
    return Counter(
        ".".join(
            "c" if axis == 1 and t.ndim == 4 and length <= 4 else str(length)
            for axis, length in enumerate(t.shape)
        )
        for t in tensors
        if t.ndim >= 2
    )


def nearest(tensors: Iterable[Tensor], most: int = 8) -> list[str]:
    """The networks that share the most shapes with the file, best first."""
    found = shapes(tensors)
    total = sum(found.values())
    scores = []
    for names, counts in _table():
        shared = sum(min(n, found[shape]) for shape, n in counts.items())
        score = shared / (total + sum(counts.values()) - shared)
        if score > SIMILAR:
            scores.append((-score, names))
    scores.sort(key=lambda entry: entry[0])
    return [name for _, names in scores for name in names][:most]


@functools.cache
def _table() -> list[tuple[list[str], dict[str, int]]]:
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return [
        (
            names.split(),
            {table["shapes"][i]: n for i, n in zip(numbers[::2], numbers[1::2])},
        )
        for names, numbers in table["networks"].items()
    ]
