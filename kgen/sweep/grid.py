"""A sweep as data: a recipe, axes of values, and seeds; its trials, and their folders' names.

`sweep.json` stores it in the sweep's folder. A sweep may grow (more values on an axis, more seeds),
because its existing runs keep their meaning. Any other change makes it a different sweep.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from kgen import __version__
from kgen.errors import KGenError
from kgen.phrases import first_few
from kgen.recipe.errors import field_names
from kgen.recipe.recipe import RENAMED_FIELDS, Recipe, RecipeError, parse
from kgen.system.files import write_durably

FILE = "sweep.json"
"""The file that makes a folder a sweep."""
MAX_TRIALS = 10_000
MAX_NAME = 80
"""Longest name of a trial's folder: Windows allows 260 characters for a whole path."""


class SweepError(KGenError, ValueError):
    """A sweep that cannot be run as requested; the message says what to do."""

    code = "sweep"


@dataclass(frozen=True)
class Axis:
    """A recipe field and the values that it takes, as they are in JSON."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Trial:
    """One run of a sweep."""

    name: str
    """The name of its folder."""
    recipe: Recipe
    values: tuple[Any, ...]
    """One per axis."""

    @property
    def seed(self) -> int:
        return self.recipe.seed


class _AxisFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    field: str
    values: list[Any]


class _SweepFile(BaseModel):
    """The contents of `sweep.json`."""

    model_config = ConfigDict(extra="forbid")
    version: str
    recipe: dict[str, Any]
    axes: list[_AxisFile]
    seeds: list[int]


@dataclass(frozen=True)
class Sweep:
    """A base recipe, the axes, and the seeds. `version` is the K-Gen version that started it."""

    recipe: Recipe
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    version: str = __version__

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """A short name per axis: its field without the group ("kr", "student.lr"), unless two axes
        share it.
        """
        short = [axis.field.partition(".")[2] or axis.field for axis in self.axes]
        return tuple(
            name if short.count(name) == 1 else axis.field for name, axis in zip(short, self.axes)
        )

    @functools.cached_property
    def configurations(self) -> tuple[tuple[Any, ...], ...]:
        """Every combination of the axes' values; the last axis changes fastest."""
        return tuple(itertools.product(*(axis.values for axis in self.axes)))

    @functools.cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every run: all configurations with the first seed, then with the next one.

        Raises RecipeError or SweepError for a combination that is not a valid recipe.
        """
        total = math.prod(len(axis.values) for axis in self.axes) * len(self.seeds)
        if total > MAX_TRIALS:
            raise SweepError(
                f"This sweep has {total:,} runs; at most {MAX_TRIALS:,} are allowed.",
                code="too-many",
                trials=total,
                limit=MAX_TRIALS,
            )
        recipes = [self._recipe(values) for values in self.configurations]
        return tuple(
            Trial(self.trial_name(values, seed), recipe.replace(seed=seed), values)
            for seed in self.seeds
            for values, recipe in zip(self.configurations, recipes)
        )

    def _recipe(self, values: Sequence[Any]) -> Recipe:
        changes = {axis.field: value for axis, value in zip(self.axes, values)}
        try:
            return self.recipe.replace(**changes)
        except RecipeError as error:
            raise SweepError(
                f"The combination {self.describe(values)} is not a valid recipe. {error}",
                code="conflict",
                **error.fields,
            ) from None

    def describe(self, values: Sequence[Any]) -> str:
        """A configuration for people: "kr 0.1, generator_steps 20"."""
        return ", ".join(f"{label} {text(value)}" for label, value in zip(self.labels, values))

    def trial_name(self, values: Sequence[Any], seed: int) -> str:
        """The name of a trial's folder: "kr-0.1_generator_steps-20_seed-0".

        Different trials have different names, even on file systems that ignore case.
        """
        parts = [f"{label}-{_slug(text(value))}" for label, value in zip(self.labels, values)]
        name = "_".join((*parts, f"seed-{seed}"))
        if len(name) <= MAX_NAME:
            return name
        digest = _digest("_".join(parts))
        room = MAX_NAME - len(f"_{digest}_seed-{seed}")
        return f"{name[:room].rstrip('.-_')}_{digest}_seed-{seed}"

    def to_json(self) -> bytes:
        return json.dumps(
            {
                "version": self.version,
                "recipe": self.recipe.model_dump(mode="json"),
                "axes": [{"field": a.field, "values": list(a.values)} for a in self.axes],
                "seeds": list(self.seeds),
            },
            indent=2,
        ).encode()


def text(value: Any) -> str:
    """A value for people, as one would type it: 0.1, true, [20, 28]; "none" for null."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def _slug(words: str) -> str:
    """The text as part of a file name; a hash follows if that loses anything."""
    slug = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9.]+", "-", words)).strip("-.")[:40]
    return slug if slug == words and slug == words.lower() else f"{slug}-{_digest(words)}"


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:6]


# --- from the command line ------------------------------------------------------------------------


def parse_over(option: str) -> tuple[str, list[str]]:
    """`weights.kr=0,0.1` as a field and its values, each as written. Commas inside brackets and
    quotes belong to a value. Raises SweepError.
    """
    field, separator, raw = option.partition("=")
    field, values = field.strip(), _split(raw)
    if not separator or not field or not all(values):
        raise SweepError(
            f"--over {option}: expected a field and its values, for example weights.kr=0,0.1,0.5.",
            code="invalid-setting",
        )
    if field in ("seed", "name"):
        raise SweepError(
            f"--over {option}: "
            + ("use --seeds." if field == "seed" else "the name does not affect a run."),
            code="conflict",
            field=field,
        )
    return field, values


def _split(raw: str) -> list[str]:
    values, depth, quoted = [""], 0, False
    for character in raw:
        if character == '"':
            quoted = not quoted
        elif not quoted:
            depth += (character in "[{") - (character in "]}")
        if character == "," and not depth and not quoted:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def value_of(recipe: Recipe, field: str) -> Any:
    """A field's value as it is in JSON."""
    *outer, last = field.split(".")
    section = recipe.model_dump(mode="json")
    for key in outer:
        section = section[key]
    return section[last]


def axis(field: str, variants: Sequence[Recipe]) -> Axis:
    """An axis from recipes that have its values. Raises SweepError."""
    first, dot, rest = field.partition(".")
    field = RENAMED_FIELDS.get(first, first) + dot + rest
    values = [value_of(recipe, field) for recipe in variants]
    for i, value in enumerate(values):
        if value in values[:i]:
            raise SweepError(
                f"--over {field} lists the value {text(value)} twice.",
                code="duplicate-value",
                field=field,
                value=value,
            )
    return Axis(field, tuple(values))


# --- in a folder ----------------------------------------------------------------------------------


def is_sweep(folder: Path) -> bool:
    return (folder / FILE).is_file()


def read(folder: Path) -> Sweep:
    """The sweep of a folder. Raises SweepError."""
    file = folder / FILE
    try:
        data = _SweepFile.model_validate_json(file.read_bytes())
        known = set(field_names(Recipe))
        if not {a.field for a in data.axes} <= known or not data.seeds:
            raise ValueError("unknown fields, or no seeds")
        return Sweep(
            parse(data.recipe),
            tuple(Axis(a.field, tuple(a.values)) for a in data.axes),
            tuple(data.seeds),
            data.version,
        )
    except FileNotFoundError:
        problem = (
            f"{folder} is not a sweep: it has no {FILE}."
            if folder.exists()
            else f"There is no sweep in {folder}: the folder does not exist."
        )
        raise SweepError(problem, code="not-a-sweep", file=str(folder)) from None
    except OSError as error:
        raise SweepError(
            f"{file} cannot be read: {error.strerror or error}.", code="unreadable", file=str(file)
        ) from None
    except (ValidationError, ValueError) as error:  # RecipeError is a ValueError
        raise SweepError(
            f"{file} does not describe a sweep ({str(error).splitlines()[0]}).",
            code="damaged",
            file=str(file),
        ) from None


def write(folder: Path, sweep: Sweep) -> Sweep:
    """Store a sweep in a folder, together with what is already there; returns their union.

    Raises SweepError if the folder contains a different sweep, or something else.
    """
    if is_sweep(folder):
        existing = read(folder)
        sweep = union(folder, existing, sweep)
        if sweep == existing:
            return sweep
    elif folder.exists() and not (folder.is_dir() and not any(_visible(folder))):
        raise SweepError(
            f"{folder} already exists and is not a sweep; choose another folder with --out.",
            code="exists",
            file=str(folder),
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / FILE, sweep.to_json())
    except OSError as error:
        raise SweepError(
            f"{folder} cannot be written: {error.strerror or error}. Choose another folder with"
            " --out.",
            code="unwritable",
            file=str(folder),
        ) from None
    return sweep


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def union(folder: Path, existing: Sweep, requested: Sweep) -> Sweep:
    """Both sweeps in one. Raises SweepError, naming what differs, if it is more than their
    values and seeds.
    """
    fields = [axis.field for axis in existing.axes]
    wanted = {axis.field: axis for axis in requested.axes}
    differences = []
    if set(fields) != wanted.keys():
        differences.append(
            f"it varies {', '.join(fields) or 'only the seed'}, not"
            f" {', '.join(wanted) or 'only the seed'}"
        )
    old, new = (_flat(sweep.recipe) for sweep in (existing, requested))
    changed = [
        f"{field} is {text(old[field])}, not {text(new[field])}"
        for field in old
        if old[field] != new[field] and field not in {*fields, *wanted, "seed", "name"}
    ]
    if changed:
        differences.append(f"in its recipe, {first_few(changed)}")
    if differences:
        raise SweepError(
            f"{folder} contains a different sweep: {'; '.join(differences)}. Choose another folder"
            " with --out.",
            code="other-sweep",
            file=str(folder),
            differences=differences,
        )
    axes = tuple(Axis(a.field, _merged(a.values, wanted[a.field].values)) for a in existing.axes)
    return Sweep(existing.recipe, axes, _merged(existing.seeds, requested.seeds), existing.version)


def _flat(recipe: Recipe) -> dict[str, Any]:
    return {field: value_of(recipe, field) for field in field_names(Recipe)}


def _merged(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    """Both, sorted if all are numbers."""
    merged = (*old, *(value for value in new if value not in old))
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in merged)
    return tuple(sorted(merged)) if numbers and len(merged) > len(old) else merged
