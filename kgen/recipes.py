"""Named recipes. A recipe is a function; its docstring says what to expect."""

from __future__ import annotations

import difflib
import inspect
import json
import shlex

from kgen.recipe import Optimiser, Optimisers, Recipe, RecipeError, Weights, field_names, parse_setting


def fashion_live() -> Recipe:
    """Fashion-MNIST on a laptop: about three minutes on two CPU cores.

    One resolution, with the key region and without embedding diversity; the bundled teacher, a student of 44 thousand parameters.
    2,400 synthetic images, 4 % of the real training set's pixels.
    """
    return Recipe(
        name="fashion-live",
        teacher="fashion-cnn",
        student="small-cnn-45k",
        resolutions=(28,),
        ratio=0.04,
        epochs=12,
        iterations=2,
        generator_steps=15,
        student_steps=160,
        batch=100,
        student_batch=128,
        weights=Weights(adv=0.2, bn=10.0),
        bn_scale="relative",
        temperature=10.0,
        width=32,
        noise_width=256,
        up_first=False,
        augment="student",
        views=4,
        optimisers=Optimisers(student=Optimiser(name="sgd", lr=0.2, momentum=0.9, weight_decay=5e-4)),
        warmup=0.09,
        evaluate_every=80,
    )


def fashion_long() -> Recipe:
    """Fashion-MNIST on a laptop with more time: about ten minutes on two CPU cores.

    As fashion-live, with 7,800 synthetic images, 13 % of the real training set's pixels.
    """
    return fashion_live().replace(name="fashion-long", ratio=0.13, epochs=39, student_steps=180, warmup=0.05, evaluate_every=180)


def tiny() -> Recipe:
    """The whole loop in a few seconds, for tests: three epochs of one batch. The student learns little."""
    return fashion_live().replace(
        name="tiny",
        ratio=0.001,
        epochs=3,
        iterations=1,
        generator_steps=3,
        student_steps=4,
        batch=20,
        student_batch=32,
        width=8,
        noise_width=64,
        warmup=0.34,
        evaluate_every=2,
    )


_RECIPES = {f().name: f for f in (fashion_live, fashion_long, tiny)}
NAMES = tuple(_RECIPES)


def get(name: str) -> Recipe:
    """The recipe of that name; RecipeError names the nearest one."""
    if name not in _RECIPES:
        near = difflib.get_close_matches(name, NAMES, 1, 0.4)
        raise RecipeError(f"Recipe {name!r} is not known. " + (f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(NAMES)}."))
    return _RECIPES[name]()


def describe(name: str) -> str:
    """The docstring of a named recipe."""
    get(name)
    return inspect.getdoc(_RECIPES[name]) or ""


def changes(recipe: Recipe) -> dict[str, object]:
    """What distinguishes a recipe from the named one that it starts from (or from the defaults), as dotted fields."""
    base = get(recipe.name) if recipe.name in _RECIPES else Recipe()
    old, new = base.model_dump(mode="json"), recipe.model_dump(mode="json")

    def look(data: dict, path: str):
        for key in path.split("."):
            data = data[key]
        return data

    return {p: look(new, p) for p in field_names() if look(new, p) != look(old, p)}


def command(recipe: Recipe) -> str:
    """What a person would type to make the same run."""
    words = ["python -m kgen run", recipe.name if recipe.name in _RECIPES else "custom"]
    for path, value in changes(recipe).items():
        if path == "seed":
            words.append(f"--seed {value}")
        elif path == "schedule":
            words.append(f"--schedule {value}")
        else:
            plain = isinstance(value, str) and parse_setting(f"{path}={value}")[1] == value
            text = value if plain else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            words.append(f"--set {shlex.quote(f'{path}={text}')}")
    return " ".join(words)
