"""The glossary: one explanation per term, used in tooltips on every page, in the lessons, and in a
list of its own. Read once.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tomlkit.exceptions import TOMLKitError

from app.lessons import prose
from kgen.errors import KGenError
from kgen.system.paths import ASSETS
from kgen.terms import TERMS
from kgen.terms import Term as LossTerm

FILE = ASSETS / "lessons" / "glossary.toml"
ID = r"[a-z][a-z0-9-]{0,39}"


class GlossaryError(KGenError, ValueError):
    """An invalid glossary; the message names the term and the field."""

    code = "glossary"


class Term(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=60)]
    also: tuple[str, ...] = ()
    """Synonyms; texts mark them just as they mark the name."""
    tip: Annotated[str, Field(min_length=20, max_length=320)]
    """The tooltip: a sentence or two."""
    more: str = ""
    """Further explanation, shown in the list only; formatted like a lesson's text."""
    equation: str = ""
    """Equation number in the paper."""
    see: tuple[str, ...] = ()
    """Ids of related terms."""
    marked: bool = True
    """Whether its words are marked in texts."""


@functools.cache
def terms(file: Path = FILE) -> dict[str, Term]:
    """By id, in the file's order. Raises GlossaryError."""
    try:
        raw = tomlkit.parse(file.read_text(encoding="utf-8")).unwrap()
    except (OSError, ValueError, TOMLKitError) as error:
        raise GlossaryError(f"{file.name}: {error}") from None
    result: dict[str, Term] = {}
    for id, fields in raw.items():
        if not re.fullmatch(ID, id):
            raise GlossaryError(
                f"{file.name}: {id!r} is not an id: use lowercase letters, digits, and dashes."
            )
        try:
            result[id] = Term.model_validate(fields)
        except ValidationError as error:
            raise GlossaryError(
                f"{file.name}: {id}.{'.'.join(map(str, error.errors()[0]['loc']))}:"
                f" {error.errors()[0]['msg']}"
            ) from None
    for id, term in result.items():
        if unknown := [other for other in term.see if other not in result]:
            raise GlossaryError(f"{file.name}: {id}.see: {unknown[0]!r} is not a term.")
    return result


def tip(id: str) -> str:
    """The tooltip of a term."""
    return terms()[id].tip


def script() -> bytes:
    """The tooltips as an ES module, so that every module of the page has them right away."""
    tips = {id: {"name": t.name, "tip": t.tip} for id, t in terms().items()}
    losses = [
        {
            "name": term.name,
            "title": term.title,
            "symbol": term.symbol,
            "tip": _loss_tip(term),
            "color": term.color,
            "loss": term.loss,
            "reward": term.reward,
            "per_batch": term.per_batch,
            "weighted": term.weighted,
            "needs": term.needs,
        }
        for term in TERMS
    ]
    return (
        "// Generated from the glossary; see app/lessons/glossary.py.\nexport const TERMS ="
        f" {json.dumps(tips)};\nexport const LOSS_TERMS = {json.dumps(losses)};\n".encode()
    )


def _loss_tip(term: LossTerm) -> str:
    """The glossary's tooltip of a loss term, or else the term's own."""
    id = term.glossary or f"l-{term.name}"
    return terms()[id].tip if id in terms() else term.tip


def to_json() -> dict[str, Any]:
    """The whole glossary for its page."""
    return {
        "terms": [
            {
                "id": id,
                "name": t.name,
                "also": list(t.also),
                "tip": t.tip,
                "more": prose.tree(t.more),
                "equation": t.equation,
                "see": list(t.see),
            }
            for id, t in sorted(terms().items(), key=lambda item: item[1].name.lower())
        ]
    }


def marker() -> prose.Mark:
    """A function that marks each term where it first appears. Make a new one for every text."""
    words, pattern = _words()
    seen: set[str] = set()

    def mark(text: str) -> Iterator[prose.Node]:
        start = 0
        for match in pattern.finditer(text):
            id = words.get(match[0]) or words[match[0].lower()]
            if id in seen:
                continue
            seen.add(id)
            if match.start() > start:
                yield text[start : match.start()]
            yield {"term": id, "text": match[0]}
            start = match.end()
        if start < len(text):
            yield text[start:]

    return mark


@functools.cache
def _words() -> tuple[dict[str, str], re.Pattern]:
    """Word → id. All-caps words (CAM, BN) match exactly, others in any case; the longest match
    wins, including a plural s.
    """
    words = {}
    for id, term in terms().items():
        for word in (term.name, *term.also) if term.marked else ():
            words[word] = words[word.lower()] = words[f"{word}s"] = words[f"{word}s".lower()] = id
    longest = sorted({w for w in words}, key=len, reverse=True)
    alternatives = "|".join(
        re.escape(w) if w.isupper() else f"(?i:{re.escape(w)})" for w in longest
    )
    return words, re.compile(rf"(?<![\w-])(?:{alternatives})(?![\w-])")
