"""A recipe: everything that determines what a run computes, as frozen, validated data.

This module depends on neither torch nor files. The same model reads a recipe from JSON, checks
`--set field=value`, and gives the app's form its fields, limits and tooltips
(`Recipe.model_json_schema()`).
"""

from __future__ import annotations

import functools
import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from kgen.errors import KGenError
from kgen.phrases import count
from kgen.recipe import errors
from kgen.recipe.fields import Optimizers, Radii, Section, Target, Weights
from kgen.system.paths import PathError, typed_path


class RecipeError(KGenError, ValueError):
    """A recipe that cannot be run.

    The message names the field, the value, the allowed range and the nearest valid name.
    """

    code = "recipe"


RENAMED_FIELDS = {"optimisers": "optimizers", "restart_optimiser": "restart_optimizer"}
RENAMED_VALUES = {"embedding": {"centre": "center"}}
"""Fields and values from earlier versions → their current names. Recipes, runs and bundles with the
old names can still be opened.
"""


def current_names(data: dict[str, Any]) -> dict[str, Any]:
    """Recipe data with current names. An old name next to its new one stays and is rejected."""
    return _renamed(data, RENAMED_FIELDS, RENAMED_VALUES)


def original_names(data: dict[str, Any]) -> dict[str, Any]:
    """Recipe data with the names from earlier versions, for hashes that outlive a renaming."""
    return _renamed(
        data,
        {new: old for old, new in RENAMED_FIELDS.items()},
        {
            field: {new: old for old, new in values.items()}
            for field, values in RENAMED_VALUES.items()
        },
    )


def _renamed(
    data: dict[str, Any], fields: dict[str, str], values: dict[str, dict[str, str]]
) -> dict[str, Any]:
    return {
        name if fields.get(name) in data else fields.get(name, name): (
            values.get(name, {}).get(value, value) if isinstance(value, str) else value
        )
        for name, value in data.items()
    }


Classes = tuple[int | str, ...] | None


def warmup_epochs(warmup: float, epochs: int) -> int:
    """Epochs in which only the pool grows; 1e-9 makes 0.29 · 100 epochs 29, not 28."""
    return int(warmup * epochs + 1e-9)


class Recipe(Section):
    """One run. Defaults are the paper's constants (Table 8, C.2–C.4) where the paper gives them."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "custom"
    """Name of the run."""
    teacher: Annotated[str, Field(min_length=1, max_length=200)] = "fashion-cnn"
    """The trained network whose training data is no longer available."""
    student: Annotated[str, Field(min_length=1, max_length=200)] = "small-cnn-20k"
    """The network to train."""
    classes: Classes = None
    """Selected classes, by name or index; all of the teacher's if omitted."""
    resolutions: tuple[Annotated[int, Field(ge=8, le=1024)], ...] = (28,)
    """Side of a synthetic image in pixels; with several, each gets a batch in turn (Eq. 7)."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Data memory ratio: the pool's pixel budget as a share of the real training set's pixels."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    """E: each epoch generates images, then trains the student."""
    iterations: Annotated[int, Field(ge=1, le=10_000)] = 5
    """I: batches of images generated per epoch, each with new noisy layers and labels."""
    generator_steps: Annotated[int, Field(ge=1, le=10_000)] = 100
    """g: optimization steps per batch of images."""
    student_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    """S: student steps per epoch."""
    batch: Annotated[int, Field(ge=2, le=4096)] = 100
    """Images generated at once; with several resolutions, each gets an equal share of pixels."""
    batches: tuple[Annotated[int, Field(ge=2, le=4096)], ...] | None = None
    """Images generated at once at each resolution, instead of equal shares of the pixels (as listed
    in Table 8).
    """
    source: Literal["noise", "latent", "pixels", "pyramid"] = "noise"
    """What is optimized: noisy layer and generator (K-Gen, NAYER), a latent code and a generator
    from a learned initialization (Fast), the pixels (DeepInversion), or the pixels as a sum of
    images at every scale.
    """
    student_batch: Annotated[int, Field(ge=2, le=8192)] = 128
    """Images per student step."""
    weights: Weights = Weights()
    """Weights of the generator's loss terms."""
    bn_scale: Literal["raw", "relative"] = "raw"
    """Batch-norm distance, summed as in the paper or relative to each layer's own magnitude."""
    target: Target = Target()
    """The target that the class activation map is pushed up to."""
    adv_mask: Literal["none", "agree"] = "none"
    """Which samples count in the adversarial term: all, or those on which student and teacher
    agree.
    """
    adv_divergence: Literal["kl", "js"] = "kl"
    """Divergence between teacher and student in the adversarial term: Kullback–Leibler (the
    paper's, unbounded), or Jensen–Shannon (at most ln 2).
    """
    embedding: Literal["auto", "text", "center"] = "auto"
    """Class representative f_y, the vector for a class: the embedding of its name (LTE), or the
    mean teacher embedding of its first images (CC). By default (auto), the embedding of its name,
    or CC if the bundled table lacks one of the names.
    """
    class_texts: (
        dict[
            Annotated[str, Field(min_length=1, max_length=200)],
            Annotated[str, Field(min_length=1, max_length=200)],
        ]
        | None
    ) = None
    """Texts to embed in place of the class names: {"crane": "a tall bird"}."""
    text_encoder: Literal["table", "live"] = "table"
    """Text encoder: the bundled table only, or sentence-transformers on this machine for texts that
    the table lacks.
    """
    aed_embedding: Literal["student", "teacher"] = "student"
    """Embedding pushed away by Eq. 11: the student's (as in the formula), or the teacher's (as in
    the text; needs embedding "center").
    """
    radii: Radii = Radii()
    """Radii of the embedding in-out game."""
    feature_memory: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum with which the batch-norm term remembers the statistics of earlier batches (Fast); 0
    uses the current batch alone.
    """
    position_decay: Annotated[float, Field(ge=0, le=100)] = 0.1
    """λ: how strongly the window of a ViT's position embeddings is drawn to the center (A.1)."""
    temperature: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """T, the temperature of the student's distillation loss."""
    keep: Literal["last", "best"] = "last"
    """Which batch of an iteration enters the pool: the last step's, or the one with the lowest CE +
    BN + KR.
    """
    admit: Literal["all", "recognized"] = "all"
    """Which images may enter the pool: all, or those that the teacher classifies as intended."""
    pool_policy: Literal["spread", "fifo", "reservoir"] = "spread"
    """What happens when the pool is full: keep images spread over the whole run, first in first
    out, or a uniform sample of everything.
    """
    generator_life: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Re-create the generator after this many epochs; 0 keeps it for the whole run."""
    restart_optimizer: bool = False
    """Reset the generator's optimizer for each batch, but keep the generator's weights."""
    average_generators: bool = False
    """With several processes: start all generators from the same weights, and replace the weights
    by their mean after each round of batches.
    """
    width: Annotated[int, Field(ge=4, le=512)] = 64
    """Channels of the generator's last block (the first has twice as many)."""
    noise_width: Annotated[int, Field(ge=8, le=4096)] = 1000
    """Width of the noisy layer's output, the generator's input."""
    noisy_layers: Literal["many", "one"] = "many"
    """New ones in every iteration, one for each round of the class list (the method); or a single
    one for everything, to see what they are for.
    """
    deep: bool = False
    """Start the generator at one sixteenth of the final side instead of one quarter."""
    up_first: bool = True
    """Upsample before each convolution (the paper's order) or after it (4× cheaper)."""
    output: Literal["sigmoid", "batchnorm"] = "sigmoid"
    """How the generator's last layer maps to an image in [0,1]."""
    optimizers: Optimizers = Optimizers()
    """Optimizers of the generator and the student."""
    augment: Literal["none", "student", "both"] = "both"
    """Random views of synthetic images: never, in student steps, or in generator steps too."""
    edges: Literal["zeros", "reflect"] = "zeros"
    """Fill at the edge of a shifted view: black, or the image's own reflection."""
    student_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest area of a random resized crop in student steps, as a share of the image; 1 uses
    shifts and flips instead.
    """
    generator_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest area of a random resized crop before the teacher in generator steps, as a share of
    the image; 1 uses shifts and flips instead.
    """
    crop_curriculum: bool = False
    """Let the smallest area in generator steps fall from 1 to generator_crop along a cosine over
    the steps of a batch (Yin & Shen 2024).
    """
    mix: Literal["none", "mixup", "cutmix"] = "none"
    """Mix images in student steps: blended, or with a rectangle cut from another; needs views 0."""
    views: Annotated[int, Field(ge=0, le=256)] = 0
    """Random views per stored image, each with the teacher's answer stored; 0 draws a fresh view
    and queries the teacher in every student step.
    """
    warmup: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Share of the epochs in which only the pool grows; the student's learning rate then ramps up
    over as many epochs.
    """
    schedule: Literal["sequential", "concurrent"] = "sequential"
    """Algorithm 1 as written, or generator and student concurrently on two threads."""
    evaluate_on: Literal["test", "validation", "auto", "none"] = "test"
    """Real images for the accuracy curve: the test set, held-out training images (for tuning), the
    test set if this machine has it, or none. Without real images, the curve shows the student's
    agreement with the teacher on held-out synthetic images.
    """
    real_images: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Folder of real test images with one subfolder per class, named after it; replaces the
    teacher's own test set.
    """
    evaluate_every: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Student steps between two evaluations on real images; 0 means once per epoch."""
    report_every: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Generator steps between two reports of the loss terms."""
    judge: Annotated[str, Field(min_length=1, max_length=200)] = "none"
    """Second opinion: an independent network that classifies the finished images and is never used
    for training or selection. A teacher's name; "auto" picks a bundled one with the same classes,
    "none" disables it.
    """
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed for all random draws."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto picks CUDA, then MPS, then the CPU, and reports its choice."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """Precision of the networks' passes: single, bfloat16, or whichever is faster on this machine,
    measured at the start. Losses are always computed in single precision.
    """
    memory_format: Literal["nchw", "channels_last", "auto"] = "nchw"
    """Memory layout of image tensors: channels first, channels last, or whichever is faster on this
    machine, measured at the start.
    """
    journal_pixels: Annotated[int, Field(ge=0, le=2**40)] = 2**30
    """Bytes that the run folder may spend on step-by-step snapshots of images being generated;
    spread over all iterations.
    """

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, data: Any) -> Any:
        return current_names(data) if isinstance(data, dict) else data

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, value: Classes) -> Classes:
        if value is not None and not value:
            raise errors.Invalid(
                "no class is selected; select at least one, or leave the field out to select all",
                code="no-class",
            )
        if value is not None and len(set(value)) != len(value):
            raise errors.Invalid("a class is selected twice", code="duplicate-class")
        return value

    @field_validator("judge", mode="before")
    @classmethod
    def _null_to_none(cls, value: Any) -> Any:
        return "none" if value is None else value

    @field_validator("resolutions")
    @classmethod
    def _check_resolutions(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value:
            raise errors.Invalid(
                "no resolution is given; at least one is required", code="no-resolution"
            )
        if len(set(value)) != len(value):
            raise errors.Invalid("a resolution is given twice", code="duplicate-resolution")
        return value

    @model_validator(mode="after")
    def _check_batches(self) -> Recipe:
        if self.batches is not None and len(self.batches) != len(self.resolutions):
            raise errors.Invalid(
                f"batches has {count(len(self.batches), 'number')} for"
                f" {count(len(self.resolutions), 'resolution')}; set one per resolution, or null"
                " for equal pixels",
                code="conflict",
                field="batches",
            )
        return self

    @model_validator(mode="after")
    def _check_aed_embedding(self) -> Recipe:
        if self.aed_embedding == "teacher" and self.embedding != "center":
            raise errors.Invalid(
                f"aed_embedding is 'teacher', but embedding is {self.embedding!r}: a teacher's"
                " embedding can only be compared with class centers; set embedding to 'center'",
                code="conflict",
                field="aed_embedding",
            )
        return self

    @model_validator(mode="after")
    def _check_views(self) -> Recipe:
        if self.views and self.augment == "none":
            raise errors.Invalid(
                f"views is {self.views}, but augment is 'none': stored views need augment 'student'"
                " or 'both'",
                code="conflict",
                field="views",
            )
        if self.views and self.mix != "none":
            raise errors.Invalid(
                f"mix is {self.mix!r}, but views is {self.views}: mixed images need fresh teacher"
                " answers; set views to 0",
                code="conflict",
                field="mix",
            )
        return self

    # --- derived numbers -------------------------------------------------

    @property
    def warmup_epochs(self) -> int:
        """Epochs in which only the pool grows."""
        return warmup_epochs(self.warmup, self.epochs)

    @property
    def generates(self) -> bool:
        """Whether a generator makes the images; otherwise they are optimized directly."""
        return self.source in ("noise", "latent")

    @property
    def side_multiple(self) -> int:
        """The generator's sides must be multiples of this; 1 without a generator."""
        return 1 if not self.generates else 16 if self.deep else 4

    def sides(self, multiple: int = 1) -> tuple[int, ...]:
        """The resolutions, each rounded down to a multiple that generator and teacher support.

        `multiple` is the teacher's own. Raises RecipeError if two resolutions become equal.
        """
        combined = math.lcm(self.side_multiple, multiple)
        sides = tuple(max(combined, e // combined * combined) for e in self.resolutions)
        if len(set(sides)) != len(sides):
            raise RecipeError(
                f"Recipe field 'resolutions' is {list(self.resolutions)}: generator and teacher"
                f" need multiples of {combined}, so these become {list(sides)}. Remove one of"
                " them.",
                code="duplicate-resolution",
                field="resolutions",
                unit=combined,
                sides=list(sides),
            )
        return sides

    def batch_sizes(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        """Images generated at once at each side.

        `batches` if given; otherwise equal shares of the pixels of `batch` images of the first
        side.
        """
        if self.batches is not None:
            return self.batches
        return tuple(images_in(self.batch * sides[0] ** 2 / len(sides), e) for e in sides)

    def batch_at(self, side: int) -> int:
        """How many images of another side hold as many pixels as `batch` images of the first
        resolution.
        """
        return images_in(self.batch * self.resolutions[0] ** 2, side)

    @property
    def diverse(self) -> bool:
        """Whether the embedding in-out game is on."""
        return self.weights.ed > 0 or self.weights.aed > 0

    @property
    def epoch_iterations(self) -> int:
        """Batches of images per epoch: I at each resolution. Events count these run-wide."""
        return self.iterations * len(self.resolutions)

    @property
    def warmup_iterations(self) -> int:
        """Batches of images in the epochs in which only the pool grows."""
        return self.warmup_epochs * self.epoch_iterations

    @property
    def total_iterations(self) -> int:
        """Batches of images in the whole run."""
        return self.epochs * self.epoch_iterations

    @property
    def total_generator_steps(self) -> int:
        return self.total_iterations * self.generator_steps

    @property
    def total_student_steps(self) -> int:
        """(E − warm-up) · S."""
        return (self.epochs - self.warmup_epochs) * self.student_steps

    def budget_pixels(self, n_train: int, side: int) -> int:
        """Pixels that the pool may hold: ratio · n_train · l² (§3.6 of the paper)."""
        return int(self.ratio * n_train * side * side + 1e-6)

    # --- reading and changing -----------------------------------------------------------------

    def replace(self, **changes: Any) -> Recipe:
        """A changed copy.

        Dotted names reach nested fields: `recipe.replace(seed=1, **{"weights.kr": 0.0})`.
        """
        data = self.model_dump()
        for path, value in changes.items():
            *outer, last = path.split(".")
            if outer:
                outer[0] = RENAMED_FIELDS.get(outer[0], outer[0])
            else:
                last = RENAMED_FIELDS.get(last, last)
            section = data
            for key in outer:
                if not isinstance(section.get(key), dict):
                    raise _invalid(errors.unknown(path, field_names()))
                section = section[key]
            if last not in section:
                raise _invalid(errors.unknown(path, field_names()))
            section[last] = value.model_dump() if isinstance(value, BaseModel) else value
        return parse(data)

    def as_typed_here(self) -> Recipe:
        """The recipe as someone typing it here means it: a relative path to real images starts at
        the current folder.

        For new runs, which may be resumed from another folder. A recorded recipe is the same
        everywhere. Raises RecipeError.
        """
        if self.real_images is None:
            return self
        try:
            path = typed_path(self.real_images)
        except PathError as error:
            raise RecipeError(
                f"Recipe field 'real_images': {error}",
                code=error.code,
                **error.fields | {"field": "real_images"},
            ) from None
        return self.model_copy(update={"real_images": path or None})

    def value(self, field: str) -> Any:
        """The value of a dotted field: `recipe.value("weights.kr")`."""
        return functools.reduce(getattr, field.split("."), self)

    def to_json(self) -> str:
        return self.model_dump_json(indent=2)


def images_in(pixels: float, side: int) -> int:
    """How many images of side × side hold about this many pixels.

    At least two, because BatchNorm needs a batch.
    """
    return max(2, round(pixels / side**2))


def held_out_count(batch: int) -> int:
    """How many images at the end of a batch are held out of the pool if there is no real test set.

    A tenth of the batch, but at least one.
    """
    return max(1, batch // 10)


def field_names() -> list[str]:
    """Every settable name of a recipe: "seed", "weights.kr", "optimizers.student.lr"."""
    return errors.field_names(Recipe)


def _invalid(*explained: tuple[str, dict[str, Any]]) -> RecipeError:
    """One error with all these sentences, and the code and fields of the first."""
    sentences, facts = zip(*explained)
    return RecipeError(" ".join(sentences), **facts[0], count=len(facts))


def parse(data: dict[str, Any] | str | bytes) -> Recipe:
    """Parse a recipe from a dictionary or JSON text.

    RecipeError has one sentence per invalid field.
    """
    if not isinstance(data, dict):
        try:
            data = json.loads(data)
        except (
            ValueError,
            RecursionError,
        ) as error:  # not JSON, not UTF-8, a 5,000-digit number, 1,000 brackets
            raise RecipeError(f"The recipe is not JSON: {error}.", code="not-json") from None
        if not isinstance(data, dict):
            raise RecipeError(
                f"The recipe must be a JSON object, not {type(data).__name__}.", code="not-json"
            )
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise _invalid(*(errors.explain(e, Recipe) for e in error.errors())) from None


def parse_setting(text: str) -> tuple[str, Any]:
    """Parse `field=value` from the command line; the value is JSON if it parses, otherwise text.

    Classes outside of a JSON list stay text: only the teacher's class names determine whether 8 is
    a name or an index (`kgen.data.classes.from_text`).
    """
    name, separator, raw = text.partition("=")
    if not separator or not name.strip():
        raise RecipeError(
            f"--set {text}: expected field=value, for example weights.kr=0.", code="invalid-setting"
        )
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = [p.strip() for p in raw.split(",")] if "," in raw else raw
    name = name.strip()
    if name not in ("classes", "resolutions", "batches") or value is None:
        return name, value
    if not isinstance(value, list):
        value = [raw.strip()] if name == "classes" and not isinstance(value, str) else [value]
    return name, value
