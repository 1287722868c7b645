"""The terms of the losses, in one table: name, symbol, equation, and what each needs.

Engine, events, journal, page and downloads read this table and refer to terms by name, never by
position. The functions of our own terms are in `kgen.engine.objective`, their weights in
`kgen.recipe.fields.Weights`. A notebook can add custom terms:

    kgen.distill(recipe, terms=[kgen.Term("edges", fn, weight=0.1)])

No torch here, because the app imports this module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kgen.errors import KGenError

if TYPE_CHECKING:
    from torch import Tensor

    from kgen.engine.objective import Evidence

Need = Literal["student", "batch_norm", "map", "embeddings"]
NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
MAX_CUSTOM = 8
MAX_LENGTH = {"title": 60, "symbol": 20, "tip": 400, "color": 100}
"""Limits on the characters in a custom term's texts, which travel with its run."""


class TermError(KGenError, ValueError):
    """A term that cannot be added."""

    code = "term"


@dataclass(frozen=True)
class Term:
    """One term of a loss.

    Args:
        name: its name in events, files, URLs and downloads.
        function: for a custom term, evidence → [B] or a scalar, unweighted. It must be
            differentiable with respect to `evidence.images`; lower is better.
        weight: α of a custom term. The recipe has those of the method's own terms.
        title: display name; by default the name.
        symbol: as in the paper, "L_kr".
        equation: where the paper defines it, "Eq. 6".
        tip: one sentence for tooltips; a glossary entry takes precedence.
        glossary: key of that entry, by default "l-NAME".
        color: a CSS color, possibly with `light-dark(…)`.
        loss: the network whose loss it belongs to.
        needs: its requirements; without them the term is 0.
        reward: a larger value decreases the loss, so it is drawn below zero (only in the table).
        per_batch: one value for the whole batch rather than one per image (only in the table).
        weighted: whether the recipe has a weight for it; otherwise its weight is 1 (only in the
            table).
        optional: skipped at weight 0, because nothing displays it then.
        ranks: whether it counts when `keep="best"` compares batches. Unbounded terms must not.
    """

    name: str
    function: Callable[[Evidence], Tensor] | None = None
    weight: float = 1.0
    title: str = ""
    symbol: str = ""
    equation: str = ""
    tip: str = ""
    glossary: str = ""
    color: str = "light-dark(#3f9a3f, #7cc47c)"
    loss: Literal["generator", "student"] = "generator"
    needs: tuple[Need, ...] = ()
    reward: bool = False
    per_batch: bool = False
    weighted: bool = True
    optional: bool = False
    ranks: bool = False

    def facts(self) -> dict[str, Any]:
        """The description of a custom term in a run's first event."""
        return {
            "name": self.name,
            "weight": self.weight,
            "title": self.title or self.name,
            "symbol": self.symbol,
            "tip": self.tip,
            "color": self.color,
        }


TERMS = (
    Term(
        "ce",
        color="light-dark(#4d86d6, #5b93e0)",
        title="cross-entropy",
        symbol="L_ce",
        equation="Eq. 3",
        ranks=True,
    ),
    Term(
        "adv",
        color="light-dark(#7a5aa8, #a487d2)",
        title="adversarial",
        symbol="L_adv",
        equation="Eq. 3",
        needs=("student",),
        reward=True,
    ),
    Term(
        "bn",
        color="light-dark(#8a94a4, #667284)",
        title="BN statistics",
        symbol="L_bn",
        equation="Eq. 3",
        needs=("batch_norm",),
        per_batch=True,
        ranks=True,
    ),
    Term(
        "kr",
        color="light-dark(#d9722e, #e8873f)",
        title="key region",
        symbol="L_kr",
        equation="Eq. 6",
        needs=("map",),
        ranks=True,
    ),
    Term(
        "aed",
        color="light-dark(#2c8d78, #4fb39c)",
        title="embedding push",
        symbol="L_aed",
        equation="Eq. 11",
        needs=("student", "embeddings"),
    ),
    Term(
        "tv",
        color="light-dark(#a4911b, #dccb68)",
        title="total variation",
        symbol="R_tv",
        optional=True,
    ),
    Term(
        "l2",
        color="light-dark(#b0568c, #d184b0)",
        title="pixel size",
        symbol="R_l2",
        optional=True,
    ),
    Term(
        "kl",
        color="light-dark(#4d86d6, #5b93e0)",
        title="distillation",
        symbol="L_KL",
        equation="Eq. 2",
        loss="student",
        weighted=False,
        glossary="l-s",
    ),
    Term(
        "ed",
        color="light-dark(#2c8d78, #4fb39c)",
        title="embedding pull",
        symbol="L_ed",
        equation="Eq. 9",
        loss="student",
        needs=("embeddings",),
    ),
)
"""The method's terms. In batch files, the generator's are columns in this order, so new ones must
be appended to theirs.
"""
GENERATOR = tuple(term for term in TERMS if term.loss == "generator")
STUDENT = tuple(term for term in TERMS if term.loss == "student")
TITLES = {term.name: term.title for term in TERMS}
BY_NAME = {term.name: term for term in TERMS}


def with_custom(custom: Sequence[Term]) -> tuple[Term, ...]:
    """The generator's terms, followed by the caller's. TermError names an invalid one."""
    known = [term.name for term in TERMS]
    if len(custom) > MAX_CUSTOM:
        raise TermError(f"{len(custom)} custom terms; at most {MAX_CUSTOM} are supported.")
    for term in custom:
        if not NAME.fullmatch(term.name):
            raise TermError(
                f"Term {term.name!r}: a name must be a lowercase letter followed by up to 11"
                " lowercase letters or digits.",
                name=term.name,
            )
        if term.name in known:
            raise TermError(
                f"Term {term.name!r} already exists; choose another name.", name=term.name
            )
        if not callable(term.function):
            raise TermError(
                f"Term {term.name!r} has no function; use kgen.Term(name, function, weight).",
                name=term.name,
            )
        if not math.isfinite(term.weight):
            raise TermError(
                f"Term {term.name!r} has weight {term.weight}; expected a finite number.",
                name=term.name,
            )
        if term.loss != "generator":
            raise TermError(
                f"Term {term.name!r}: custom terms are supported for the generator's loss only.",
                name=term.name,
            )
        if term.reward:
            raise TermError(
                f"Term {term.name!r}: a reward is not supported; negate the function instead.",
                name=term.name,
            )
        for field, most in MAX_LENGTH.items():
            if (length := len(getattr(term, field))) > most:
                raise TermError(
                    f"Term {term.name!r}: its {field} has {length} characters; the limit is"
                    f" {most}.",
                    name=term.name,
                    field=field,
                )
        known.append(term.name)
    return (*GENERATOR, *custom)
