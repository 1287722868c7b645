"""Lessons are files: TOML front matter between +++ lines, then the text. Here they are read,
checked and prepared for the page; nothing runs.

A lesson asks a question, offers predictions, flips one switch of a recipe, and fills the results of
the runs into its text.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from tomlkit.exceptions import TOMLKitError

from app.lessons import glossary, metrics, prose
from app.live.format import percentage, points
from kgen.errors import KGenError
from kgen.phrases import count
from kgen.recipe.recipe import Recipe, RecipeError
from kgen.recipes import recipes
from kgen.system.paths import ASSETS
from kgen.tables import tables

FOLDER = ASSETS / "lessons"
FOLDER_VARIABLE = "KGEN_LESSONS"
"""Environment variable: a folder of custom lessons to use instead."""
MEASURED = "measured.json"
FILE = re.compile(r"\d\d-([a-z][a-z0-9-]{0,39})\.md")
SECTIONS = ("", "What happened", "Why")
"""Sections of a text, by heading: before the prediction, after the run, and the explanation."""
FIGURES = ("images", "making", "maps", "agreement", "accuracy")
Text = Annotated[str, Field(min_length=1, max_length=300)]


class LessonError(KGenError, ValueError):
    """An invalid lesson; the message names the file and the field."""

    code = "lesson"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Switch(_Model):
    """The switch that is flipped."""

    name: Text
    a: Text
    """Description of state A."""
    b: Text
    changes: Annotated[dict[str, Any], Field(min_length=1)]
    """Recipe fields in which B differs from A."""


class Choice(_Model):
    """A prediction; it holds if the number is at least `from` and less than `to`."""

    text: Text
    low: float | None = Field(None, alias="from")
    high: float | None = Field(None, alias="to")

    def holds(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value < self.high)


class Decide(_Model):
    """Which number decides between the predictions."""

    number: str
    of: Literal["a", "b", "difference"]
    """The number of one run, or B's minus A's."""


class Lesson(_Model):
    title: Text
    question: Text
    minutes: Annotated[int, Field(ge=0, le=10)]
    """For all of its runs, on two idle CPU cores; 0 if it uses an existing run."""
    recipe: str
    changes: dict[str, Any] = {}
    recording: str | None = None
    """Name of a recorded run that can be used instead."""
    switch: Switch | None = None
    predict: Text
    """The question to predict."""
    choices: Annotated[tuple[Choice, ...], Field(min_length=2, max_length=5)]
    decide: Decide
    numbers: Annotated[tuple[str, ...], Field(min_length=1)]
    """Rows of the results table, the deciding one first."""
    figures: tuple[Literal["images", "making", "maps", "agreement", "accuracy"], ...] = ()
    paper: str = ""
    """What the paper reports about the same switch."""
    slug: str = ""
    text: tuple[str, str, str] = ("", "", "")

    @model_validator(mode="after")
    def _check_consistency(self) -> Lesson:
        for name in (*self.numbers, self.decide.number):
            if name not in metrics.NUMBERS:
                raise ValueError(
                    f"numbers: {name!r} is not one of a run's numbers; choose from"
                    f" {', '.join(metrics.NUMBERS)}"
                )
        if self.decide.of != "a" and not self.switch:
            raise ValueError(f"decide.of: {self.decide.of!r} needs a run B, but there is no switch")
        for current, following in zip(self.choices, self.choices[1:]):
            if current.high is None or current.high != following.low:
                raise ValueError(
                    "choices: each must start where the previous one ends, smallest numbers first"
                )
        if self.choices[0].low is not None or self.choices[-1].high is not None:
            raise ValueError("choices: the first must have no `from`, and the last no `to`")
        for variant in self.variants:
            try:
                self.recipe_for(variant)
            except RecipeError as error:
                raise ValueError(
                    f"{'switch.changes' if variant == 'b' else 'recipe'}: {error}"
                ) from None
        return self

    @property
    def variants(self) -> tuple[str, ...]:
        return ("a", "b") if self.switch else ("a",)

    def recipe_for(self, variant: str) -> Recipe:
        """The recipe of A, or of B, which is A with the switch flipped. Raises RecipeError."""
        recipe = recipes.get(self.recipe).replace(**self.changes)
        return recipe.replace(**self.switch.changes) if self.switch and variant == "b" else recipe

    def outcome(self, values: dict[str, dict[str, Any]]) -> int | None:
        """Index of the choice that came true; None if a run is missing. `values`: variant →
        numbers.
        """
        results = [
            values.get(v, {}).get(self.decide.number)
            for v in (("a", "b") if self.decide.of == "difference" else (self.decide.of,))
        ]
        known = [v for v in results if isinstance(v, (int, float))]
        if len(known) < len(results):
            return None
        value = known[-1] - known[0] if len(known) == 2 else known[0]
        return next(i for i, choice in enumerate(self.choices) if choice.holds(round(value, 6)))


class Lessons:
    """The lessons in a folder, ordered by number. Errors are collected in `errors`, not raised."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder or Path(os.environ.get(FOLDER_VARIABLE) or FOLDER)
        self.lessons: dict[str, Lesson] = {}
        self.errors: list[str] = []
        for file in sorted(self.folder.glob("*.md")):
            try:
                lesson = read(file)
                self.lessons[lesson.slug] = lesson
            except LessonError as error:
                self.errors.append(str(error))
        self.measured = measured(self.folder / MEASURED)

    def listed(self) -> dict[str, Any]:
        rows = [
            {"slug": slug, "title": x.title, "question": x.question, "minutes": x.minutes}
            for slug, x in self.lessons.items()
        ]
        return {"lessons": rows, "wrong": self.errors}

    def to_json(self, slug: str) -> dict[str, Any]:
        """A lesson as the page draws it. Raises KeyError if there is none with that name."""
        lesson = self.lessons[slug]
        mark = glossary.marker()
        order = list(self.lessons)
        following = order[order.index(slug) + 1 :]
        return {
            "slug": slug,
            "title": lesson.title,
            "question": lesson.question,
            "minutes": lesson.minutes,
            "predict": lesson.predict,
            "choices": [c.text for c in lesson.choices],
            "decide": {
                "title": metrics.NUMBERS[lesson.decide.number].title,
                "of": lesson.decide.of,
            },
            "switch": (
                lesson.switch
                and {
                    "name": lesson.switch.name,
                    "a": lesson.switch.a,
                    "b": lesson.switch.b,
                    "fields": flipped_fields(lesson),
                }
            ),
            "commands": {v: recipes.command(lesson.recipe_for(v)) for v in lesson.variants},
            "paper": lesson.paper,
            "figures": lesson.figures,
            "table": [{"name": n, "title": metrics.NUMBERS[n].title} for n in lesson.numbers],
            "seeds": self.spread(lesson),
            "text": [prose.tree(part, mark) for part in lesson.text],
            "next": (
                {"slug": following[0], "title": self.lessons[following[0]].title}
                if following
                else None
            ),
        }

    def spread(self, lesson: Lesson) -> dict[str, dict[str, str]]:
        """The measured results of these recipes: {number: {variant: "72.4 ± 1.9%, 3 seeds"}}."""
        result: dict[str, dict[str, str]] = {}
        for variant in lesson.variants:
            seeds = self.measured.get(tables.key(lesson.recipe_for(variant)), {})
            for name in lesson.numbers:
                text = summarize(
                    metrics.NUMBERS[name].kind, [seeds[s].get(name) for s in sorted(seeds)]
                )
                if text:
                    result.setdefault(name, {})[variant] = text
        return result


def summarize(kind: metrics.Kind, values: list[Any]) -> str:
    """Mean ± sample standard deviation of runs that differ only in their seed."""
    values = [v for v in values if isinstance(v, (int, float))]
    if not values or kind == "text":
        return ""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{metrics.format_value(kind, mean)}, one seed"
    deviation = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    formatted = metrics.format_value(kind, mean)
    digits = len(formatted.partition(".")[2]) if kind == "real" and "e" not in formatted else 0
    text = (
        f"{percentage(mean)} ± {points(deviation)}%"
        if kind == "percent"
        else f"{formatted} ± {deviation:.{digits}f}"
    )
    return f"{text}, {count(len(values), 'seed')}"


def flipped_fields(lesson: Lesson) -> list[list[str]]:
    """[field, A's value, B's value] for each field that the switch changes."""
    before, after = lesson.recipe_for("a"), lesson.recipe_for("b")
    changes = lesson.switch.changes if lesson.switch else {}
    return [[name, _format(before.value(name)), _format(after.value(name))] for name in changes]


def _format(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read(file: Path) -> Lesson:
    """Raises LessonError, which names the file and the field."""
    name = FILE.fullmatch(file.name)
    if not name:
        raise LessonError(
            f"{file.name}: the file name must be NN-name.md, two digits and lowercase letters."
        )
    try:
        text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
        _, head, body = re.split(r"^\+\+\+[ \t]*$", text, maxsplit=2, flags=re.MULTILINE)
    except (OSError, ValueError):
        raise LessonError(
            f"{file.name}: expected TOML between two +++ lines, then the text."
        ) from None
    try:
        fields = tomlkit.parse(head).unwrap()
        lesson = Lesson.model_validate({**fields, "slug": name[1], "text": _sections(body)})
    except (TOMLKitError, ValueError) as error:
        raise LessonError(f"{file.name}: {_message(error)}") from None
    known = {
        f"{v}.{n}"
        for v in (*lesson.variants, *(("difference",) if lesson.switch else ()))
        for n in lesson.numbers
    }
    known |= {f"seeds.{v}.{n}" for v in lesson.variants for n in lesson.numbers}
    for section in lesson.text:
        for placeholder in prose.placeholders(prose.tree(section)):
            if placeholder not in known:
                raise LessonError(
                    f"{file.name}: text: {{{{{placeholder}}}}} is not one of this lesson's numbers;"
                    f" `numbers` has {', '.join(lesson.numbers)}."
                )
    if any(not p.startswith("seeds.") for p in prose.placeholders(prose.tree(lesson.text[0]))):
        raise LessonError(
            f"{file.name}: text: the part before the prediction must not reveal a run's numbers."
        )
    return lesson


def _sections(body: str) -> tuple[str, ...]:
    sections = re.split(r"^## +(.+?)[ \t]*$", body, flags=re.MULTILINE)
    if tuple(sections[1::2]) != SECTIONS[1:]:
        raise ValueError(
            f"text: expected the headings ## {' and ## '.join(SECTIONS[1:])}, found"
            f" {', '.join(sections[1::2]) or 'none'}"
        )
    return tuple(sections[::2])


def _message(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    location, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return f"{location}: {message}" if location else message


@functools.cache
def measured(file: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """recipe key → seed → numbers, written by `benchmarks/lessons.py`. Empty if nothing was
    measured.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
