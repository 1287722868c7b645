"""Names of the classes of every data set that the recipes speak of. It reads `assets/classes.json`
and knows no image.

The texts are those that are embedded (P, Eq. 1), so no two classes of a data set may read alike: of
ImageNet's two "crane" and two "maillot" one each has a longer name, and the dog "Cardigan" is told
from the garment.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

from kgen.paths import ASSETS
from kgen.specs import header

SAME = {"mnist": "megapixel-mnist"}
"""Data sets that share their class texts with another."""
TABLE = ASSETS / "label-embeddings.safetensors"
"""The bundled embeddings of class texts (`kgen.embeddings`)."""


@functools.cache
def _table() -> dict:
    return json.loads((ASSETS / "classes.json").read_text(encoding="utf-8"))


def known() -> tuple[str, ...]:
    """Data sets whose classes have names here, Fashion-MNIST first."""
    return (*_table()["names"], *SAME, *_table()["imagenet_indices"])


def names(data: str) -> tuple[str, ...]:
    """Class texts in the order of the labels. KeyError for a data set that is not known."""
    table, data = _table(), SAME.get(data, data)
    if data in table["names"]:
        return tuple(table["names"][data])
    everything = table["names"]["imagenet1k"]
    return tuple(everything[i] for i in table["imagenet_indices"][data])


def wnids(data: str) -> tuple[str, ...] | None:
    """WordNet names of the classes ("n01440764"), which name the folders of ImageNet and its
    subsets; None elsewhere.
    """
    table = _table()
    if data == "imagenet1k":
        return tuple(table["wnids"])
    if data in table["imagenet_indices"]:
        return tuple(table["wnids"][i] for i in table["imagenet_indices"][data])
    return None


def embedded(path: Path = TABLE) -> dict[str, int]:
    """Text → its row in a table of embeddings. Raises ZooError where it cannot be read."""
    return {text: i for i, text in enumerate(json.loads(header(path)["texts"]))}


def texts() -> list[str]:
    """Every class text once, in a fixed order: what the bundled table of embeddings holds."""
    return list(dict.fromkeys(text for data in known() for text in names(data)))
