"""The paper's tables as data: a table has rows, and a row is a label and a recipe.

Tables on photographs are in `kgen.tables.photograph_tables`. This module runs nothing (measure.py
does), stores nothing (results.py) and draws nothing (report.py). Rows of different tables with the
same recipe have the same `key`, so they share their runs.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from kgen.errors import KGenError
from kgen.phrases import did_you_mean
from kgen.recipe.fields import Target
from kgen.recipe.recipe import Recipe, original_names
from kgen.recipes import recipes
from kgen.system import paths
from kgen.tables import photograph_tables as photos
from kgen.zoo import zoo

PROTOCOL = 1
"""Part of every key. Increase it when the same recipe and seed produce a different student than
before, because the engine's computation or a default of `Recipe` has changed. All runs are then
measured again.
"""

RUNS = paths.TABLE_RUNS


class TableError(KGenError, ValueError):
    """A table that does not exist, or an unusable file for tables; the message says what to do."""

    code = "table"


@dataclass(frozen=True)
class Row:
    """One recipe of a table.

    `paper` is the paper's value for it (Imagenette, ResNet-34 → ResNet-18, 5%), in percent.
    """

    label: str
    recipe: Recipe
    paper: float | None = None
    photos: int | None = None
    """Number of real training images to train the recipe's student on instead of synthetic ones
    (`kgen.worth.worth`).
    """

    @functools.cached_property
    def key(self) -> str:
        """Hash of everything that determines the student besides the seed, as 16 hex digits.

        Recipe without name, teacher's weights, PROTOCOL.
        """
        return key(self.recipe, self.photos)


@dataclass(frozen=True)
class Table:
    name: str
    title: str
    source: str
    rows: tuple[Row, ...]

    @property
    def command(self) -> str:
        return f"python -m kgen table {self.name}"


def key(recipe: Recipe, photos: int | None = None) -> str:
    """See `Row.key`. Omits fields at their defaults, so that keys survive new fields that change
    nothing.
    """
    fields = original_names(recipe.model_dump(mode="json", exclude_defaults=True))
    for name in ("name", "seed"):
        fields.pop(name, None)
    content = {"recipe": fields, "teacher": _checksum(recipe.teacher), "protocol": PROTOCOL} | (
        {} if photos is None else {"photos": photos}
    )
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


_checksum = functools.cache(zoo.checksum)


def row(label: str, recipe: Recipe, paper: float | None = None, **changes: Any) -> Row:
    """A row whose student is the same wherever it runs with one thread.

    Sequential, on the CPU; seeds are set later.
    """
    return Row(label, recipe.replace(schedule="sequential", device="cpu", seed=0, **changes), paper)


# --- the rungs of Table 4 ------------------------------------------------------------------------

RUNGS = {
    "fashion-ladder-1-nayer": ("NAYER", 32.17),
    "fashion-ladder-2-smaller": ("+ SRG, smaller images", 41.13),
    "fashion-ladder-3-key-region": ("+ KR, key region", 77.62),
    "fashion-ladder-4-diversity": ("+ ED, diversity (K-Gen-S)", 80.32),
    "fashion-ladder-5-multi": ("+ MSG, two sizes (K-Gen)", 82.21),
}
"""Recipe → label and the paper's value on Imagenette at 5%."""


def ladder(ratio: float) -> tuple[Row, ...]:
    """The rungs at a data memory ratio: the named recipes, which use 1%, adjusted in length."""
    reference = recipes.fashion_table_at(ratio)
    length = {"ratio": reference.ratio, "epochs": reference.epochs, "warmup": reference.warmup}
    return tuple(
        row(label, recipes.get(name), paper, **length) for name, (label, paper) in RUNGS.items()
    )


def single() -> Recipe:
    """K-Gen-S at 1%, the base of the sensitivity tables, which change one field of it."""
    return recipes.get("fashion-ladder-4-diversity")


# --- the others ----------------------------------------------------------------------------------


def baselines() -> tuple[Row, ...]:
    return (
        row("DeepInversion", recipes.get("deepinversion"), 25.08),
        row("Fast", recipes.get("fast"), 28.32),
        row("NAYER", recipes.get("nayer"), 32.17),
        row("K-Gen-S", single(), 80.32),
        row("K-Gen", recipes.get("fashion-ladder-5-multi"), 82.21),
    )


def representative() -> tuple[Row, ...]:
    return (
        row("NAYER", recipes.get("nayer"), 32.17),
        row("LTE, label text", single(), 80.36),
        row("CC, class center", single(), 80.22, embedding="center"),
        row(
            "CC, on the teacher's embedding", single(), embedding="center", aed_embedding="teacher"
        ),
    )


def targets() -> tuple[Row, ...]:
    values = {(1, 2): 80.32, (1, 3): 79.99, (2, 2): 78.68}
    gaussians = (
        row(f"G({i},{j})", single(), paper, target=Target(peak=i, sigma=j))
        for (i, j), paper in values.items()
    )
    full = (
        row(f"Full({n})", single(), paper, target=Target(kind="full", peak=n))
        for n, paper in ((1, 78.6), (3, 79.96))
    )
    return (*gaussians, *full)


def resolutions() -> tuple[Row, ...]:
    def row_at(side: int, suffix: str, **changes: Any) -> Row:
        return row(
            f"{side} × {side}{suffix}",
            single(),
            resolutions=(side,),
            batch=single().batch_at(side),
            **changes,
        )

    sides = (12, 16, 20, 24, 28)
    return (
        *(row_at(e, "") for e in sides),
        *(row_at(e, ", no key region", **{"weights.kr": 0.0}) for e in sides),
    )


def mixed() -> tuple[Row, ...]:
    pairs = ((20, 16), (20, 24), (20, 28), (24, 28), (16, 28))
    multi = recipes.get("fashion-ladder-5-multi")
    return tuple(
        row(f"{a} + {b}", multi, resolutions=(a, b), batch=multi.batch_at(a), batches=None)
        for a, b in pairs
    )


def sensitivity(field: str, values: dict[float, float]) -> tuple[Row, ...]:
    """One row per value of a weight; value → the paper's accuracy."""
    return tuple(
        row(f"{value:g}", single(), paper, **{field: float(value)})
        for value, paper in values.items()
    )


def radii() -> tuple[Row, ...]:
    """Where the pair equals the default from the class embeddings, the fields stay empty."""
    values = {
        (0.015, 0.01): 80.21,
        (0.015, 0.03): 80.44,
        (0.03, 0.03): 80.24,
        (0.015, 0.1): 79.07,
        (0.05, 0.1): 77.46,
    }
    defaults: dict[tuple[float, float], dict[str, float]] = {(0.015, 0.03): {}}
    return tuple(
        row(
            f"r_i {i:g}, r_o {o:g}",
            single(),
            paper,
            **defaults.get((i, o), {"radii.inner": i, "radii.outer": o}),
        )
        for (i, o), paper in values.items()
    )


def real_photos() -> tuple[Row, ...]:
    """The yardstick of the tables on photographs: same student, same steps, real training
    images.
    """
    return tuple(
        replace(row(f"{n:,} real photos", photos.base(0.01)), photos=n) for n in photos.YARDSTICK
    )


def photographs(
    make: Callable[[float], Iterable[photos.LabeledRecipe]], ratio: float
) -> Callable[[], tuple[Row, ...]]:
    """The rows of a table on photographs at a data memory ratio, built on demand."""
    return lambda: tuple(row(label, recipe, paper) for label, recipe, paper in make(ratio))


_TABLES: dict[str, tuple[str, str, Callable[[], tuple[Row, ...]]]] = {
    "ladder-1": ("What each part adds, at 1%", "Table 4", lambda: ladder(0.01)),
    "ladder-0.5": ("What each part adds, at 0.5%", "Table 4", lambda: ladder(0.005)),
    "ladder-5": ("What each part adds, at 5%", "Table 4", lambda: ladder(0.05)),
    "baselines": ("Other sources of images", "Table 1", baselines),
    "representative": ("What represents a class", "Table 21", representative),
    "targets": ("The key region's target", "Table 20", targets),
    "resolutions": ("One resolution", "Table 10", resolutions),
    "mixed": ("Two resolutions", "Table 15", mixed),
    "alpha-kr": (
        "Key region, α_kr",
        "Table 11",
        lambda: sensitivity(
            "weights.kr", {0.05: 79.77, 0.1: 80.32, 0.2: 80.2, 0.5: 79.69, 2: 78.63}
        ),
    ),
    "alpha-ed": (
        "Embedding pull, α_ed",
        "Table 12",
        lambda: sensitivity("weights.ed", {1: 80.02, 5: 79.59, 10: 80.12, 20: 79.79, 50: 80.27}),
    ),
    "alpha-aed": (
        "Embedding push, α_aed",
        "Table 13",
        lambda: sensitivity("weights.aed", {1: 79.85, 2: 79.56, 5: 80.42, 10: 79.88, 20: 80.27}),
    ),
    "radii": ("Radii of pull and push", "Table 14", radii),
    "imagenette-photos": ("Imagenette: real photos, the yardstick", "ours", real_photos),
    "imagenette-ladder-1": (
        "Imagenette: what each part adds, at 1%",
        "Table 4",
        photographs(photos.ladder, 0.01),
    ),
    "imagenette-ladder-5": (
        "Imagenette: what each part adds, at 5%",
        "Table 4",
        photographs(photos.ladder, 0.05),
    ),
    "imagenette-ladder-10": (
        "Imagenette: what each part adds, at 10%",
        "Table 4",
        photographs(photos.ladder, 0.1),
    ),
    "cifar10-ladder-5": (
        "CIFAR-10: what each part adds, at 5%",
        "Table 4",
        photographs(photos.cifar10_ladder, 0.05),
    ),
    "imagenette-resolutions": (
        "Imagenette: one resolution, at 1%",
        "Table 10",
        photographs(photos.resolutions, 0.01),
    ),
    "imagenette-sources": (
        "Imagenette: other sources of images, at 1%",
        "Table 1",
        photographs(photos.sources, 0.01),
    ),
    "imagenette-switches": (
        "Imagenette: what the key region depends on, at 1%",
        "ours",
        photographs(photos.switches, 0.01),
    ),
}
NAMES = tuple(_TABLES)
GROUPS = ("fashion", "photographs")
"""Tables by requirements: the bundled test images, or Imagenette and CIFAR-10 on this machine."""


def get(name: str) -> Table:
    """The table with this name; TableError suggests the nearest one."""
    if name not in _TABLES:
        known = ("all", *GROUPS, *NAMES)
        raise TableError(
            f"Unknown table {name!r}. {did_you_mean(name, known, 'python -m kgen table')}",
            code="unknown-table",
            name=name,
        )
    title, source, rows = _TABLES[name]
    return Table(name, title, source, rows())


def yardstick(name: str) -> tuple[Row, ...]:
    """The rows on real photos that a table's exchange rates refer to; empty if there are none."""
    return (
        real_photos()
        if name in _TABLES and name.startswith("imagenette-") and name != "imagenette-photos"
        else ()
    )


def find(name: str) -> list[Table]:
    """One table by name, all of a group (GROUPS), or every table for "all"."""
    if name in GROUPS:
        return [
            get(n)
            for n in NAMES
            if n.startswith(("imagenette-", "cifar10-")) == (name == "photographs")
        ]
    return [get(n) for n in NAMES] if name == "all" else [get(name)]
