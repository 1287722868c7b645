"""Recipes on the command line: lists the named ones, and reads the one that a command runs, from a
name or a file plus settings.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table as Grid

from kgen.cli.console import text_console
from kgen.cli.progress import print_line
from kgen.data import classes
from kgen.phrases import count
from kgen.recipe.recipe import Recipe, RecipeError, parse, parse_setting
from kgen.recipes import recipes, resolutions
from kgen.zoo import zoo
from kgen.zoo.zoo import ZooError


def read_recipe(name: str, settings: list[str], seed: int | None, schedule: str | None) -> Recipe:
    """A named recipe or a JSON file, with `--set`, `--seed` and `--schedule` applied."""
    if name.endswith(".json") or Path(name).is_file():
        try:
            recipe = parse(Path(name).read_bytes())
        except OSError as error:
            raise RecipeError(
                f"The recipe {name} cannot be read: {error.strerror}.",
                code="unreadable",
                file=str(name),
            ) from None
    else:
        recipe = Recipe() if name == "custom" else _named(name)
    given = {k: v for k, v in {"seed": seed, "schedule": schedule}.items() if v is not None}
    recipe = apply(recipe, settings, **given)
    has_sides = any(parse_setting(s)[0] == "resolutions" for s in settings)
    return _with_sides(recipe) if name == "custom" and not has_sides else recipe


def _with_sides(recipe: Recipe) -> Recipe:
    """The recipe at a resolution that suits its teacher. The paper's defaults suit teachers with
    small inputs; any other teacher gets a resolution at which its map has several cells.
    """
    with contextlib.suppress(ZooError):  # the run reports an unknown teacher
        card = zoo.card(recipe.teacher)
        if card.side >= resolutions.SMALL_SIDE:
            return recipe.replace(resolutions=(resolutions.smallest(card),))
    return recipe


def _named(name: str) -> Recipe:
    """A named recipe. Raises RecipeError, which says how to use a teacher of that name."""
    try:
        return recipes.get(name)
    except RecipeError:
        if name not in zoo.available():
            raise
    raise RecipeError(
        f"{name!r} is a teacher, not a recipe. A first run that takes seconds: python -m kgen run"
        f" tiny --set teacher={name}. With the default settings: python -m kgen run custom --set"
        f" teacher={name}.",
        code="unknown-recipe",
        name=name,
        meant="custom",
    )


def apply(recipe: Recipe, settings: Sequence[str], **given: int | str) -> Recipe:
    """The recipe with these settings, `FIELD=VALUE`, and other fields changed.

    Raises RecipeError.
    """
    changes = dict(parse_setting(s) for s in settings) | given
    recipe = recipe.replace(**changes)
    # a JSON list already distinguishes the name "8" from the index 8
    written = [
        raw.strip() for f, _, raw in (s.partition("=") for s in settings) if f.strip() == "classes"
    ]
    if changes.get("classes") and not written[-1].startswith("["):
        with contextlib.suppress(ZooError):  # the run reports an unknown teacher
            typed = classes.from_text(recipe.classes or (), zoo.classes(recipe.teacher))
            recipe = recipe.replace(classes=typed)
    return recipe.as_typed_here()


def list_recipes(as_json: bool, *, every: bool) -> None:
    """List the named recipes by group, each with the first line of its description. Those of the
    paper's experiments, which need the user's own teacher and data, are only counted unless
    `every`.
    """
    if as_json:
        for name in recipes.NAMES:
            print_line(
                json.dumps(
                    {
                        "name": name,
                        "about": recipes.describe(name),
                        "recipe": recipes.get(name).model_dump(mode="json"),
                    }
                )
            )
        return
    groups = {t: n for t, n in recipes.GROUPS.items() if every or t not in recipes.PAPER_GROUPS}
    for title, names in groups.items():
        grid = Grid(title=title, title_justify="left", box=None, show_header=False, padding=(0, 2))
        grid.add_column(no_wrap=True)
        for name in names:
            grid.add_row(name, recipes.describe(name).partition("\n")[0])
        text_console().print(grid, "")
    if hidden := sum(len(names) for t, names in recipes.GROUPS.items() if t not in groups):
        print_line(
            f"{count(hidden, 'more recipe')} for the paper's experiments, for which you provide the"
            f" teacher and the data: {recipes.LIST_ALL}"
        )
