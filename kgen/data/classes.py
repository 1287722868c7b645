"""Class names of every data set in the recipes, read from `assets/classes.json`.

These texts are embedded (P, Eq. 1), so all classes of a data set need different texts: of
ImageNet's two "crane" and two "maillot" classes, one of each has a longer name, and the dog
"Cardigan" is distinguished from the garment.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

from kgen.recipe.recipe import Recipe
from kgen.specs import header
from kgen.system.paths import ASSETS

SAME = {"mnist": "megapixel-mnist"}
"""Data sets that use another one's class texts."""
TABLE = ASSETS / "label-embeddings.safetensors"
"""The bundled embeddings of class texts (`kgen.embeddings`)."""


@functools.cache
def _table() -> dict:
    return json.loads((ASSETS / "classes.json").read_text(encoding="utf-8"))


def known() -> tuple[str, ...]:
    """Data sets with known class names, Fashion-MNIST first."""
    return (*_table()["names"], *SAME, *_table()["imagenet_indices"])


def names(data: str) -> tuple[str, ...]:
    """Class texts in the order of the labels. KeyError for an unknown data set."""
    table, data = _table(), SAME.get(data, data)
    if data in table["names"]:
        return tuple(table["names"][data])
    everything = table["names"]["imagenet1k"]
    return tuple(everything[i] for i in table["imagenet_indices"][data])


def wnids(data: str) -> tuple[str, ...] | None:
    """WordNet IDs of the classes ("n01440764"), used as folder names by ImageNet and its subsets.

    None for other data sets.
    """
    table = _table()
    if data == "imagenet1k":
        return tuple(table["wnids"])
    if data in table["imagenet_indices"]:
        return tuple(table["wnids"][i] for i in table["imagenet_indices"][data])
    return None


def from_text(typed: Sequence[int | str], names: Sequence[str]) -> list[int | str]:
    """Classes typed by hand. A number is an index, unless the class names are numbers."""
    numbered = any(name.isdecimal() for name in names)
    return [int(c) if isinstance(c, str) and c.isdecimal() and not numbered else c for c in typed]


@functools.cache
def _imagenet() -> tuple[dict[str, str], dict[str, str]]:
    """ImageNet's WordNet ID → class text, and the reverse."""
    table = _table()
    texts = dict(zip(table["wnids"], table["names"]["imagenet1k"]))
    return texts, {text: wnid for wnid, text in texts.items()}


def synonym(name: str) -> str | None:
    """The class text of one of ImageNet's WordNet IDs, or the ID of a class text; None for other
    names.
    """
    texts, ids = _imagenet()
    return texts.get(name.strip().lower()) or ids.get(name)


def from_wnid(name: str) -> str:
    """The class text of one of ImageNet's WordNet IDs; any other name unchanged."""
    return _imagenet()[0].get(name.strip().lower(), name)


def embedded(path: Path = TABLE) -> dict[str, int]:
    """Text → its row in a table of embeddings. Raises ZooError if the table cannot be read."""
    return {text: i for i, text in enumerate(json.loads(header(path)["texts"]))}


def without_embedding(recipe: Recipe, names: Sequence[str]) -> list[str]:
    """The class texts of a teacher with these class names that the bundled table lacks."""
    own, rows = recipe.class_texts or {}, _rows(TABLE.stat().st_mtime_ns)
    return [text for name in names if (text := own.get(name, name)) not in rows]


def with_representative(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe, with embedding "auto" replaced by what it stands for with these class names."""
    if recipe.embedding != "auto":
        return recipe
    has_texts = recipe.text_encoder == "live" or not without_embedding(recipe, names)
    return recipe.replace(embedding="text" if has_texts else "center")


@functools.lru_cache(1)
def _rows(modified_ns: int) -> dict[str, int]:
    return embedded()


def texts() -> list[str]:
    """Every class text once, in a fixed order: the contents of the bundled table of embeddings."""
    return list(dict.fromkeys(text for data in known() for text in names(data)))
