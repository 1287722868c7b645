"""K-Gen: data-free knowledge distillation that people can see.

A run is just `for event in kgen.distill(kgen.recipes.get("fashion-live")): …`.
torch is imported on first use, so reading recipes, events and run folders stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kgen.engine.engine import distill as distill
    from kgen.terms import Term as Term
    from kgen.zoo.zoo import load_teacher as load_teacher

_lazy = {"distill": "kgen.engine.engine", "load_teacher": "kgen.zoo.zoo", "Term": "kgen.terms"}
_modules = {
    "augment",
    "data",
    "embeddings",
    "engine",
    "evaluate",
    "events",
    "journal",
    "judge",
    "keyregion",
    "losses",
    "nets",
    "pool",
    "precision",
    "preflight",
    "recipe",
    "recipes",
    "rng",
    "sources",
    "specs",
    "tables",
    "teachers",
    "terms",
    "worth",
    "zoo",
}

__all__ = ["__version__", *sorted(_lazy), *sorted(_modules)]


def __getattr__(name: str) -> Any:
    if name in _lazy:
        return getattr(importlib.import_module(_lazy[name]), name)
    if name in _modules:
        return importlib.import_module(f"kgen.{name}")
    raise AttributeError(f"module 'kgen' has no attribute {name!r}")
