"""Named recipes.

Each recipe is a function whose docstring says what to expect. The paper's own experiments are in
`kgen.recipes.paper`.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
from collections.abc import Callable

from kgen.events import TeacherCard
from kgen.phrases import closest, did_you_mean
from kgen.recipe.fields import Optimizer, Optimizers, Weights
from kgen.recipe.recipe import Recipe, RecipeError, field_names, parse_setting
from kgen.recipes import paper, photographs, resolutions
from kgen.recipes.paper import at_ratio as at_ratio
from kgen.system import shell
from kgen.zoo import zoo


def fashion_live() -> Recipe:
    """Fashion-MNIST on a laptop: about three minutes on two CPU cores.

    One resolution, with the key region and without embedding diversity; the bundled teacher, and a
    student with 75 thousand parameters. 1,800 synthetic images, 3% of the real training set's
    pixels.
    """
    return Recipe(
        name="fashion-live",
        teacher="fashion-cnn",
        student="small-cnn-75k",
        resolutions=(28,),
        ratio=0.03,
        epochs=9,
        iterations=2,
        generator_steps=15,
        student_steps=330,
        batch=100,
        student_batch=64,
        weights=Weights(adv=0.2, bn=10.0, ed=0.0, aed=0.0),
        bn_scale="relative",
        temperature=10.0,
        width=32,
        noise_width=256,
        up_first=False,
        augment="student",
        views=8,
        optimizers=Optimizers(
            student=Optimizer(name="sgd", lr=0.2, momentum=0.9, weight_decay=5e-4)
        ),
        warmup=0.12,
        evaluate_every=200,
        judge="auto",
    )


def fashion_long() -> Recipe:
    """Fashion-MNIST on a laptop with more time: about ten minutes on two CPU cores.

    Like fashion-live, with 6,600 synthetic images, 11% of the real training set's pixels.
    """
    return fashion_live().replace(name="fashion-long", ratio=0.11, epochs=33, warmup=0.05)


def fashion_vit() -> Recipe:
    """Fashion-MNIST from the transformer teacher: about two minutes on two CPU cores.

    Like fashion-live, plus total variation (0.02): a transformer stores no batch-norm statistics,
    and without this smoothness prior its images become black-and-white speckle that is useless to
    the student.
    """
    return fashion_live().replace(name="fashion-vit", teacher="fashion-vit", **{"weights.tv": 0.02})


def fashion_lesson() -> Recipe:
    """The base recipe of the lessons: Fashion-MNIST in about a minute on two CPU cores.

    600 synthetic images, 1% of the real training set's pixels, and 700 student steps. Sequential,
    so that changing one switch changes one thing. The student reaches about 70%, give or take three
    points with another seed.
    """
    return fashion_table().replace(name="fashion-lesson", evaluate_every=100)


def tiny() -> Recipe:
    """The whole loop in a few seconds, for tests: three epochs of one batch. The student learns
    little.
    """
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
        judge="none",
    )


QUICK_IMAGES = 60
"""The images that `tiny` makes."""


def quick(card: TeacherCard) -> Recipe:
    """`tiny` for any teacher: small images that it accepts, whose map has several cells.

    `card`: with the name that the teacher was saved under.
    """
    full = card.side
    small = full < resolutions.SMALL_SIDE
    side = resolutions.suitable(card)[-1] if small else resolutions.smallest(card)
    share = QUICK_IMAGES * side**2 / (card.n_train * full**2)
    ratio = min(1.0, math.ceil(1000 * share) / 1000)
    return tiny().replace(teacher=card.name, resolutions=(side,), ratio=ratio, evaluate_on="auto")


# --- Table 4 on Fashion-MNIST, and the baselines --------------------------------------------------


def fashion_table_at(ratio: float) -> Recipe:
    """Shared settings of the table recipes, at a given data memory ratio.

    5 epochs at 0.5%, 8 at 1%, 32 at 5%. fashion-live's settings with one batch of 10 generator
    steps and 100 student steps per epoch, two batches more than the pool can hold, four stored
    views, one warm-up epoch, and evaluation only at the end.
    """
    epochs = round(600 * ratio) + 2
    return fashion_live().replace(
        name="fashion-table",
        ratio=ratio,
        epochs=epochs,
        iterations=1,
        generator_steps=10,
        student_steps=100,
        batch=100,
        views=4,
        warmup=1 / epochs,
        evaluate_every=1_000_000,
        judge="none",
    )


def fashion_table() -> Recipe:
    """`fashion_table_at` 1%: 600 images' worth of pixels, about a minute on one core."""
    return fashion_table_at(0.01)


def ladder_1_nayer() -> Recipe:
    """Table 4 on Fashion-MNIST, first rung: full resolution, neither key region nor diversity.

    Like NAYER but, as on every rung, with our relative batch-norm distance and all samples in
    L_adv. About a minute on one core.
    """
    return fashion_table().replace(name="fashion-ladder-1-nayer", **{"weights.kr": 0.0})


def ladder_2_smaller() -> Recipe:
    """Table 4 on Fashion-MNIST, second rung: + smaller images (20 × 20), and correspondingly more
    of them within the same pixel budget.
    """
    base = ladder_1_nayer()
    return base.replace(name="fashion-ladder-2-smaller", resolutions=(20,), batch=base.batch_at(20))


def ladder_3_key_region() -> Recipe:
    """Table 4 on Fashion-MNIST, third rung: + the key region (α_kr 0.1)."""
    return ladder_2_smaller().replace(name="fashion-ladder-3-key-region", **{"weights.kr": 0.1})


def ladder_4_diversity() -> Recipe:
    """Table 4 on Fashion-MNIST, fourth rung: + embedding diversity (α_ed 10, α_aed 5). This is
    K-Gen-S.
    """
    return ladder_3_key_region().replace(
        name="fashion-ladder-4-diversity", **{"weights.ed": 10.0, "weights.aed": 5.0}
    )


def ladder_5_multi() -> Recipe:
    """Table 4 on Fashion-MNIST, fifth rung: + a second, larger resolution (20 and 24) within the
    same pixel budget. This is K-Gen.
    """
    return ladder_4_diversity().replace(name="fashion-ladder-5-multi", resolutions=(20, 24))


def nayer() -> Recipe:
    """NAYER on Fashion-MNIST (Tran et al. 2024b): the first rung, with L_adv only where student and
    teacher agree.
    """
    return ladder_1_nayer().replace(name="nayer", adv_mask="agree")


def fast() -> Recipe:
    """Fast on Fashion-MNIST (Fang et al. 2022): latent codes, a generator with a learned
    initialization, and a memory of batch statistics.
    """
    return nayer().replace(name="fast", source="latent", feature_memory=0.9)


def deepinversion() -> Recipe:
    """DeepInversion on Fashion-MNIST (Yin et al. 2020), adaptive variant: optimizes the pixels
    directly, with its two priors.

    Six times as many steps as the others: the teacher agrees with 7 of 10 labels after ten steps,
    and with all of them after forty (Table 1 gives it ten times the time).
    """
    images = {"optimizers.images.lr": 0.05, "optimizers.images.momentum": 0.9}
    priors = {"weights.ce": 1.0, "weights.tv": 2.5e-5, "weights.l2": 3e-8}
    return nayer().replace(
        name="deepinversion",
        source="pixels",
        adv_mask="none",
        generator_steps=60,
        **images,
        **priors,
    )


# --- by name --------------------------------------------------------------------------------------

_FASHION = (fashion_live, fashion_long, tiny, fashion_vit, fashion_lesson)
_PHOTOGRAPHS = (
    photographs.cifar10_live,
    photographs.cifar10_long,
    photographs.imagenette_live,
    photographs.imagenette_long,
    photographs.imagenet_peek,
)
_LADDER = (
    ladder_1_nayer,
    ladder_2_smaller,
    ladder_3_key_region,
    ladder_4_diversity,
    ladder_5_multi,
)
_BASELINES = (nayer, fast, deepinversion)
_RECIPES: dict[str, Callable[[], Recipe]] = {
    f().name: f for f in (*_FASHION, *_PHOTOGRAPHS, *_LADDER, *_BASELINES)
}
_ABOUT = {
    name: re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(f) or "") for name, f in _RECIPES.items()
}
"""name → description, one paragraph per line."""
GROUPS: dict[str, tuple[str, ...]] = {
    "Fashion-MNIST, bundled teacher and data": tuple(f().name for f in _FASHION),
    "Photographs, bundled teachers": tuple(f().name for f in _PHOTOGRAPHS),
    "Table 4 on Fashion-MNIST, one change per rung": tuple(f().name for f in _LADDER),
    "Baselines on Fashion-MNIST": tuple(f().name for f in _BASELINES),
}
"""Title → names, for lists shown to people. Every name belongs to exactly one group."""
_OUR_GROUPS = len(GROUPS)

for _pair in paper.PAIRS:
    _names = {f"{_pair.name}-{method}": method for method in paper.methods(_pair)}
    _RECIPES |= {
        name: functools.partial(paper.build, _pair, method) for name, method in _names.items()
    }
    _ABOUT |= {name: paper.about(_pair, method) for name, method in _names.items()}
    _title = (
        f"The paper's {paper.catalogue.DATA[_pair.data].title} (you provide the teacher and the"
        " data)"
    )
    GROUPS[_title] = (*GROUPS.get(_title, ()), *_names)
PAPER_GROUPS = tuple(GROUPS)[_OUR_GROUPS:]
"""Titles of the groups with the paper's experiments."""
NAMES = tuple(_RECIPES)
LIST = "python -m kgen recipes"
"""The command that lists them, without those of the paper's experiments."""
LIST_ALL = f"{LIST} --all"


def get(name: str) -> Recipe:
    """The recipe with this name; RecipeError suggests the nearest one."""
    if name not in _RECIPES:
        known = (*NAMES, "custom")
        raise RecipeError(
            f"Unknown recipe {name!r}. {did_you_mean(name, known, LIST_ALL)}",
            code="unknown-recipe",
            name=name,
            meant=closest(name, known),
        )
    return _RECIPES[name]()


def describe(name: str) -> str:
    """What a named recipe does and what to expect of it."""
    get(name)
    return _ABOUT[name]


def changes(recipe: Recipe) -> dict[str, object]:
    """The dotted fields in which a recipe differs from its named base (or from the defaults)."""
    base = get(recipe.name) if recipe.name in _RECIPES else Recipe()
    found = {p: recipe.value(p) for p in field_names() if recipe.value(p) != base.value(p)}
    if base.embedding == "auto" and zoo.resolved(recipe.replace(embedding="auto")) == recipe:
        found.pop("embedding", None)  # a run records what "auto" stood for
    return found


def command(recipe: Recipe) -> str:
    """The command line that reproduces this run."""
    words = ["python -m kgen run", recipe.name if recipe.name in _RECIPES else "custom"]
    shown = changes(recipe)
    if words[-1] == "custom" and "teacher" in shown:  # the default depends on the teacher
        shown.setdefault("resolutions", recipe.resolutions)
    for path, value in shown.items():
        if path == "seed":
            words.append(f"--seed {value}")
        elif path == "schedule":
            words.append(f"--schedule {value}")
        else:
            plain = isinstance(value, str) and parse_setting(f"{path}={value}")[1] == value
            text = value if plain else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            words.append(f"--set {shell.quote(f'{path}={text}')}")
    return " ".join(words)
