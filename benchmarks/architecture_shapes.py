"""Writes assets/architectures.json: the shapes of every network that can be named.

    python benchmarks/architecture_shapes.py

The check of a user's checkpoint compares a file with this table to suggest the architecture that
its tensors fit best (`kgen/preflight/nearest.py`). Building all networks takes several minutes, so
the table is bundled. Run this again after an upgrade of timm or torchvision, or when
`kgen/nets/architectures.py` gains a network.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import timm
import torch

from kgen.nets import architectures
from kgen.nets.torchvision_nets import PREFIX, names
from kgen.preflight import nearest
from kgen.system.paths import ASSETS
from kgen.zoo import zoo

CLASSES = 997
"""A prime that is not the width of any network: a tensor with an axis of this length is a
classifier.
"""


def shapes(name: str) -> Counter[str]:
    """The shapes of a network's weights, without its classifier."""
    try:
        with torch.device("meta"):
            network = build(name)
    except NotImplementedError:  # torchvision's RegNets compute their widths with tensors
        network = build(name)
    return nearest.shapes(t for t in network.state_dict().values() if CLASSES not in t.shape)


def build(name: str) -> torch.nn.Module:
    if name in zoo.STUDENTS:
        return zoo.build_student(name, 3, CLASSES, 0)
    if name in architectures.NAMES:
        return architectures.build(name, 3, CLASSES)
    return architectures._from_libraries(
        name, 3, CLASSES, {}
    )  # untested: most accept only some sides


def main() -> None:
    warnings.simplefilter("ignore")
    known: dict[str, list[str]] = {}
    for name in dict.fromkeys(
        (*architectures.NAMES, *zoo.STUDENTS, *(PREFIX + n for n in names()), *timm.list_models())
    ):
        try:
            found = shapes(name)
        except Exception as error:  # a network that cannot be named cannot be suggested either
            print(f"{name}: {type(error).__name__}", file=sys.stderr)
            continue
        key = " ".join(f"{shape}*{n}" if n > 1 else shape for shape, n in sorted(found.items()))
        known.setdefault(key, []).append(name)
    numbers = {
        shape: i
        for i, (shape, _) in enumerate(
            Counter(part.partition("*")[0] for key in known for part in key.split()).most_common()
        )
    }
    networks = {
        " ".join(same): [
            n
            for part in key.split()
            for n in (numbers[part.partition("*")[0]], int(part.partition("*")[2] or 1))
        ]
        for key, same in known.items()
    }
    text = json.dumps({"shapes": list(numbers), "networks": networks}, separators=(",", ":"))
    (ASSETS / "architectures.json").write_text(
        text.replace('],"', '],\n"') + "\n", encoding="utf-8"
    )
    print(f"{sum(map(len, known.values()))} networks, {len(numbers)} shapes, {len(text):,} bytes")


if __name__ == "__main__":
    main()
