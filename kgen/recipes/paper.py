"""The paper's own experiments as recipes.

Table 8 × pairs of teacher and student, with K-Gen, K-Gen-S and three baselines. Constants are the
paper's; where the paper gives none, the docstrings state our choice. We have run none of them: they
need the teachers and data of `kgen.data.catalogue`, and all but the smallest need a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from kgen.data import catalogue
from kgen.recipe.fields import Optimizer, Optimizers, Radii, Weights
from kgen.recipe.recipe import Recipe


@dataclass(frozen=True)
class Row:
    """A row of Table 8.

    Sides and batches of K-Gen-S, then of K-Gen; S = factor · ratio in percent; `ratio` of the
    published results.
    """

    single: tuple[int, int]
    several: tuple[tuple[int, int], tuple[int, int]]
    factor: int
    iterations: int
    generator_steps: int
    epochs: int
    ratio: float


_SUBSET = Row((96, 100), ((96, 112), (50, 40)), 50, 5, 100, 100, 0.05)
_CIFAR = Row((28, 260), ((28, 32), (130, 100)), 2, 20, 40, 400, 1.0)
_MEGA = Row((112, 260), ((112, 128), (200, 150)), 50, 5, 100, 100, 0.1)
ROWS = {
    "imagenette": _SUBSET,
    "imagewoof": _SUBSET,
    "imagenet1k": Row((112, 200), ((112, 128), (200, 150)), 200, 20, 100, 400, 0.05),
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "tiny-imagenet": Row((32, 200), ((32, 48), (200, 100)), 50, 5, 100, 100, 1.0),
    "traffic-signs": _MEGA,
    "megapixel-mnist": _MEGA,
}

METHODS = {
    "kgen": "K-Gen",
    "kgen-s": "K-Gen-S",
    "nayer": "NAYER",
    "fast": "Fast",
    "deepinversion": "DeepInversion",
}


@dataclass(frozen=True)
class Pair:
    """A teacher and a student.

    `printed` holds the paper's accuracies in percent, in the order of METHODS (None if the paper
    has none).
    """

    data: str
    short: str
    teacher: str
    student: str
    table: int
    paper_accuracy: tuple[float | None, ...]

    @property
    def name(self) -> str:
        return f"{self.data}-{self.short}"


def _pair(
    data: str, short: str, teacher: str, student: str, table: int, *printed: float | None
) -> Pair:
    return Pair(data, short, f"{data}-{teacher}", student, table, printed)


_R34, _R50, _W, _V = (
    ("r34-r18", "resnet34", "resnet18"),
    ("r50-mv2", "resnet50", "mobilenetv2_100"),
    "wrn-40-2",
    "vgg11",
)
_SMALL = ("r34-r18", "resnet34", "resnet18-cifar")
PAIRS = (
    _pair("imagenette", *_R34, 1, 82.21, 80.32, 32.17, 28.32, 25.08),
    _pair("imagenette", *_R50, 1, 81.21, 80.11, 31.28, 29.18, 26.02),
    _pair("imagewoof", *_R34, 1, 37.31, 36.25, 15.62, 14.24, 12.62),
    _pair("imagewoof", *_R50, 1, 37.51, 36.24, 16.72, 15.11, 13.26),
    _pair("imagenet1k", *_R34, 1, 42.84, 40.82, 18.86, 15.52, 13.06),
    _pair("imagenet1k", *_R50, 1, 42.24, 40.63, 19.78, 16.58, 14.07),
    _pair(
        "imagenet1k",
        "deit-b-deit-t",
        "deit-base",
        "deit_tiny_patch16_224",
        5,
        28.24,
        None,
        16.24,
        None,
        None,
    ),
    _pair("cifar10", *_SMALL, 2, 95.41, 95.36, 95.21, 94.05, 93.26),
    _pair("cifar10", "w402-w162", _W, "wrn-16-2", 2, 94.39, 94.35, 94.07, 92.45, 89.72),
    _pair("cifar10", "w402-w161", _W, "wrn-16-1", 2, 92.32, 92.27, 91.94, 89.29, 83.04),
    _pair("cifar10", "w402-w401", _W, "wrn-40-1", 2, 94.44, 94.37, 94.15, 92.51, 86.85),
    _pair("cifar10", "v11-r18", _V, "resnet18-cifar", 2, 93.20, 93.02, 92.37, 90.53, 90.36),
    _pair("cifar100", *_SMALL, 2, 77.78, 77.64, 77.54, 74.34, 61.32),
    _pair("cifar100", "w402-w162", _W, "wrn-16-2", 2, 72.31, 72.21, 71.72, 65.12, 61.34),
    _pair("cifar100", "w402-w161", _W, "wrn-16-1", 2, 62.92, 62.87, 62.23, 54.02, 53.77),
    _pair("cifar100", "w402-w401", _W, "wrn-40-1", 2, 72.13, 72.01, 71.80, 63.91, 68.58),
    _pair("cifar100", "v11-r18", _V, "resnet18-cifar", 2, 72.11, 71.94, 71.75, 67.44, 54.13),
    _pair("tiny-imagenet", *_SMALL, 2, 64.54, 64.41, 64.17, None, None),
    _pair("traffic-signs", "cnn-cnn", "cnn", "cnn", 3, 72.43, None, 48.23, 41.67, None),
    _pair("megapixel-mnist", "cnn-cnn", "cnn", "cnn", 3, 78.24, None, 52.47, 49.12, None),
)


def at_ratio(recipe: Recipe, ratio: float) -> Recipe:
    """The recipe at another data memory ratio, with proportional student steps (S ∝ d_r)."""
    return recipe.replace(
        ratio=ratio, student_steps=max(1, round(recipe.student_steps * ratio / recipe.ratio))
    )


def kgen_s(pair: Pair) -> Recipe:
    """K-Gen-S: one resolution, key region, and embedding diversity (Table 8; C.2 to C.4; D.7).

    Our choices where the paper gives none: temperature 10, the last step's batch enters the pool,
    shift and flip.
    """
    row = ROWS[pair.data]
    side, batch = row.single
    return Recipe(
        name=f"{pair.name}-kgen-s",
        teacher=pair.teacher,
        student=pair.student,
        resolutions=(side,),
        ratio=row.ratio,
        epochs=row.epochs,
        iterations=row.iterations,
        generator_steps=row.generator_steps,
        student_steps=round(row.factor * 100 * row.ratio),
        batch=batch,
        student_batch=batch,
        weights=Weights(ce=0.5, adv=1.3, bn=10.0, kr=0.1, ed=10.0, aed=5.0),
        radii=Radii(inner=0.015, outer=0.03),
        bn_scale="raw",
        up_first=True,
        deep=False,
        optimizers=Optimizers(student=Optimizer(name="adamw", lr=1e-3, momentum=0.9)),
        warmup=0.1,
    )


def kgen(pair: Pair) -> Recipe:
    """K-Gen: K-Gen-S at two resolutions, with the batches of Table 8.

    The student's batch is the first of them.
    """
    sides, batches = ROWS[pair.data].several
    changes = {
        "resolutions": sides,
        "batches": batches,
        "batch": batches[0],
        "student_batch": batches[0],
    }
    return kgen_s(pair).replace(name=f"{pair.name}-kgen", **changes)


def nayer(pair: Pair) -> Recipe:
    """NAYER (Tran et al. 2024b).

    Full resolution, neither key region nor diversity, L_adv only where student and teacher agree.
    Batches hold as many pixels as K-Gen-S's, because Table 1 gives both the same time.
    """
    base, side = kgen_s(pair), catalogue.DATA[pair.data].side
    batch = base.batch_at(side)
    off = {"weights.kr": 0.0, "weights.ed": 0.0, "weights.aed": 0.0, "adv_mask": "agree"}
    return base.replace(
        name=f"{pair.name}-nayer", resolutions=(side,), batch=batch, student_batch=batch, **off
    )


def fast(pair: Pair) -> Recipe:
    """Fast (Fang et al. 2022).

    Latent codes through a generator with a learned initialization, and a memory of batch
    statistics. As many steps per batch as the other rows ("Fast100" in Tables 1 and 3); ten for
    CIFAR, as for "Fast10" in Table 9.
    """
    steps = 10 if pair.data.startswith("cifar") else ROWS[pair.data].generator_steps
    return nayer(pair).replace(
        name=f"{pair.name}-fast", source="latent", feature_memory=0.9, generator_steps=steps
    )


def deepinversion(pair: Pair) -> Recipe:
    """DeepInversion (Yin et al. 2020), adaptive variant.

    Optimizes the pixels directly, with total variation and ℓ2 priors. Uses DeepInversion's weights
    for CIFAR up to 64 pixels and its ImageNet weights above; L_adv replaces its bounded divergence.
    """
    small = catalogue.DATA[pair.data].side <= 64
    weights = (
        {"ce": 1.0, "adv": 1.0, "bn": 10.0, "tv": 2.5e-5, "l2": 3e-8}
        if small
        else {"ce": 1.0, "adv": 0.2, "bn": 0.01, "tv": 1e-4, "l2": 1e-5}
    )
    images = {"optimizers.images.lr": 0.05, "optimizers.images.momentum": 0.9}
    changes = {
        "source": "pixels",
        "keep": "last",
        "adv_mask": "none",
        **images,
        **{f"weights.{k}": v for k, v in weights.items()},
    }
    return nayer(pair).replace(name=f"{pair.name}-deepinversion", **changes)


_BUILDERS = {
    "kgen": kgen,
    "kgen-s": kgen_s,
    "nayer": nayer,
    "fast": fast,
    "deepinversion": deepinversion,
}


def methods(pair: Pair) -> tuple[str, ...]:
    """The methods that have a recipe.

    No baselines above a million pixels: their generators would have 10¹⁰ parameters.
    """
    return ("kgen", "kgen-s") if catalogue.DATA[pair.data].side > 1024 else tuple(METHODS)


def build(pair: Pair, method: str) -> Recipe:
    return _BUILDERS[method](pair)


def about(pair: Pair, method: str) -> str:
    """Describes a recipe: what it is, where the paper reports it, and how to run it."""
    row, number = ROWS[pair.data], pair.paper_accuracy[list(METHODS).index(method)]
    title = catalogue.TEACHERS[pair.teacher].title
    result = (
        f"The paper reports {number:.2f}% (Table {pair.table})."
        if number is not None
        else "The paper reports no result."
    )
    return (
        f"{METHODS[method]}, {title} → {pair.student} at a data memory ratio of"
        f" {100 * row.ratio:g}% (Table 8). {result} We have not run it.\n\npython -m kgen run"
        f" {pair.name}-{method}; if the teacher's weights or the real test images are missing, the"
        " command says how to get them."
    )
