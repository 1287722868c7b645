"""A recipe: everything that decides what a run computes, as frozen, validated data.

It knows neither torch nor files. The same model reads a recipe from JSON, checks `--set
field=value` and gives the app's form its fields, limits and tooltips
(`Recipe.model_json_schema()`).
"""

from __future__ import annotations

import functools
import json
import math
import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from kgen.errors import KGenError
from kgen.recipe import errors
from kgen.recipe.fields import Optimisers, Part, Radii, Target, Weights


class RecipeError(KGenError, ValueError):
    """A recipe that cannot be run; the message names field, value, allowed range and the nearest
    valid name.
    """

    code = "recipe"


class Recipe(Part):
    """One run. Defaults are the paper's constants (Table 8, C.2–C.4) where it gives them."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "custom"
    """What the run is called."""
    teacher: Annotated[str, Field(min_length=1, max_length=200)] = "fashion-cnn"
    """The trained network whose data is gone."""
    student: Annotated[str, Field(min_length=1, max_length=200)] = "small-cnn-20k"
    """The network that learns."""
    classes: tuple[int | str, ...] | None = None
    """Chosen classes, by name or index; none given means all of the teacher's."""
    resolutions: tuple[Annotated[int, Field(ge=8, le=1024)], ...] = (28,)
    """Side of a synthetic image in pixels; several make a batch of each in turn (Eq. 7)."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Data memory ratio: pixels that the pool may hold, as a share of the real training set's."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    """E: each epoch makes images, then teaches the student."""
    iterations: Annotated[int, Field(ge=1, le=10_000)] = 5
    """I: batches of images made per epoch, each with new noisy layers and labels."""
    generator_steps: Annotated[int, Field(ge=1, le=10_000)] = 100
    """g: optimisation steps on one batch of images."""
    student_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    """S: student steps per epoch."""
    batch: Annotated[int, Field(ge=2, le=4096)] = 100
    """Images made at once; with several resolutions their pixels are shared out equally."""
    batches: tuple[Annotated[int, Field(ge=2, le=4096)], ...] | None = None
    """Images made at once at each resolution, instead of equal pixels (Table 8 prints such lists).
    """
    source: Literal["noise", "latent", "pixels", "pyramid"] = "noise"
    """What is optimised: noisy layer and generator (K-Gen, NAYER), a latent code and a generator
    from a learnt start (Fast), the pixels (DeepInversion), or the pixels as a sum of images of
    every size.
    """
    student_batch: Annotated[int, Field(ge=2, le=8192)] = 128
    """Images in one student step."""
    weights: Weights = Weights()
    """Factors of the generator's loss terms."""
    bn_scale: Literal["raw", "relative"] = "raw"
    """Batch-norm distance summed as in the paper, or relative to each layer's own size."""
    target: Target = Target()
    """What the class activation map is pushed up to."""
    adv_mask: Literal["none", "agree"] = "none"
    """Which samples count in the adversarial term: all, or those on which student and teacher
    agree.
    """
    adv_divergence: Literal["kl", "js"] = "kl"
    """Distance of teacher and student in the adversarial term: Kullback–Leibler (the paper's,
    without bound), or Jensen–Shannon (at most ln 2).
    """
    embedding: Literal["text", "centre"] = "text"
    """Class representative f_y, what stands for a class: the embedding of its name (LTE), or the
    mean teacher embedding of its first images (CC).
    """
    class_texts: (
        dict[
            Annotated[str, Field(min_length=1, max_length=200)],
            Annotated[str, Field(min_length=1, max_length=200)],
        ]
        | None
    ) = None
    """Texts that stand for classes instead of their names: {"crane": "a tall bird"}."""
    text_encoder: Literal["table", "live"] = "table"
    """Text encoder: the bundled table alone, or for texts that it lacks sentence-transformers on
    this machine.
    """
    aed_embedding: Literal["student", "teacher"] = "student"
    """Embedding pushed away by Eq. 11: the student's (the formula), or the teacher's (the prose;
    needs embedding "centre").
    """
    radii: Radii = Radii()
    """Of the embedding in-out game."""
    feature_memory: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum with which the batch-norm term remembers the statistics of earlier batches (Fast); 0
    looks at this batch alone.
    """
    position_decay: Annotated[float, Field(ge=0, le=100)] = 0.1
    """λ: how strongly the window of a ViT's position embeddings keeps to the middle (A.1)."""
    temperature: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """T of the student's distillation loss."""
    keep: Literal["last", "best"] = "last"
    """Which batch of an iteration enters the pool: the last step's, or the one with the lowest CE +
    BN + KR.
    """
    admit: Literal["all", "recognized"] = "all"
    """Which images may enter the pool: all, or those that the teacher names as intended."""
    pool_policy: Literal["spread", "fifo", "reservoir"] = "spread"
    """At the budget: spread over the whole run, first in first out, or a uniform sample of
    everything.
    """
    generator_life: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Re-create the generator every so many epochs; 0 means it lives as long as the run."""
    restart_optimiser: bool = False
    """Start the generator's optimizer anew with each batch; its weights go on."""
    width: Annotated[int, Field(ge=4, le=512)] = 64
    """Channels of the generator's last block (the first has twice as many)."""
    noise_width: Annotated[int, Field(ge=8, le=4096)] = 1000
    """Width of the noisy layer's output, the generator's input."""
    noisy_layers: Literal["many", "one"] = "many"
    """New ones in every iteration, one for each round of the class list (the method); or the same
    single one for everything, to see what they are for.
    """
    deep: bool = False
    """Start the generator at a sixteenth of the side instead of a quarter."""
    up_first: bool = True
    """Upsample before each convolution (the paper's sizes) or after it (4× cheaper)."""
    output: Literal["sigmoid", "batchnorm"] = "sigmoid"
    """How the generator's last layer becomes an image in [0,1]."""
    optimisers: Optimisers = Optimisers()
    """Of the generator and of the student."""
    augment: Literal["none", "student", "both"] = "both"
    """Random views of synthetic images: never, in student steps, or in generator steps too."""
    edges: Literal["zeros", "reflect"] = "zeros"
    """What comes in where a view is shifted: black, or the image's own reflection."""
    student_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest area of a random resized crop in student steps, as a share of the image; 1 shifts
    and flips instead.
    """
    generator_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest area of a random resized crop before the teacher in generator steps, as a share of
    the image; 1 shifts and flips instead.
    """
    crop_curriculum: bool = False
    """Let the smallest area in generator steps fall from 1 to generator_crop as a cosine over the
    steps of a batch (Yin & Shen 2024).
    """
    mix: Literal["none", "mixup", "cutmix"] = "none"
    """Mix images in student steps: blended, or with a rectangle of another; needs views 0."""
    views: Annotated[int, Field(ge=0, le=256)] = 0
    """Random views of a stored image, each with the teacher's answer kept; 0 draws a fresh view and
    asks the teacher in every student step.
    """
    warmup: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Share of the epochs in which only the pool grows; the student's rate ramps up over as many
    again.
    """
    schedule: Literal["sequential", "concurrent"] = "sequential"
    """Algorithm 1 to the letter, or generator and student at once on two threads."""
    evaluate_on: Literal["test", "validation", "auto", "none"] = "test"
    """Real images for the accuracy curve: the test set, held-out training images (for tuning), the
    test set if it is on this machine, or none. Without any, the student's agreement with the
    teacher on synthetic images that it was not given.
    """
    real_images: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Folder of real test images, one subfolder a class, called as the class; instead of the
    teacher's own test set.
    """
    evaluate_every: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Student steps between two evaluations on real images; 0 means once an epoch."""
    report_every: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Generator steps between two reports of the loss parts."""
    judge: Annotated[str, Field(min_length=1, max_length=200)] = "none"
    """Second opinion: an independent network that names the finished images, and is never used to
    train or to choose. A teacher's name; "auto" takes a bundled one with the same classes, "none"
    goes without.
    """
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Every random draw follows from it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes CUDA, then MPS, then the CPU, and says which."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """Precision of the networks' passes: single, bfloat16, or whichever is fastest on this machine,
    measured at the start. Losses are always in single precision.
    """
    memory_format: Literal["nchw", "channels_last", "auto"] = "nchw"
    """Order of an image's values in memory: channels first, channels last, or whichever is fastest
    on this machine, measured at the start.
    """
    journal_pixels: Annotated[int, Field(ge=0, le=2**40)] = 2**30
    """Bytes of the making of images, step by step, that the run folder may hold; spread over all
    iterations.
    """

    @field_validator("classes")
    @classmethod
    def _some_class(cls, value):
        if value is not None and not value:
            raise ValueError(
                "no class is chosen; choose at least one, or leave the field out for all"
            )
        if value is not None and len(set(value)) != len(value):
            raise ValueError("a class is chosen twice")
        return value

    @field_validator("judge", mode="before")
    @classmethod
    def _null_is_none(cls, value):
        return "none" if value is None else value

    @field_validator("real_images")
    @classmethod
    def _from_anywhere(cls, value):
        """A run may be resumed from another folder."""
        return value and os.path.abspath(os.path.expanduser(value))

    @field_validator("resolutions")
    @classmethod
    def _some_resolution(cls, value):
        if not value:
            raise ValueError("no resolution is given; at least one is expected")
        if len(set(value)) != len(value):
            raise ValueError("a resolution is given twice")
        return value

    @model_validator(mode="after")
    def _a_batch_for_each_resolution(self):
        if self.batches is not None and len(self.batches) != len(self.resolutions):
            raise ValueError(
                f"batches has {len(self.batches)} numbers, but there are {len(self.resolutions)}"
                " resolutions; one is expected for each, or null for equal pixels"
            )
        return self

    @model_validator(mode="after")
    def _teacher_embedding_needs_centres(self):
        if self.aed_embedding == "teacher" and self.embedding != "centre":
            raise ValueError(
                "aed_embedding is 'teacher', but embedding is 'text': a teacher's embedding can"
                " only be compared with class centres; choose embedding 'centre'"
            )
        return self

    @model_validator(mode="after")
    def _views_need_augmentation(self):
        if self.views and self.augment == "none":
            raise ValueError(
                f"views is {self.views}, but augment is 'none': kept views need augment 'student'"
                " or 'both'"
            )
        if self.views and self.mix != "none":
            raise ValueError(
                f"mix is {self.mix!r}, but views is {self.views}: mixed images need fresh answers"
                " of the teacher; set views to 0"
            )
        return self

    # --- numbers that follow from the fields -------------------------------------------------

    @property
    def warmup_epochs(self) -> int:
        """Epochs in which only the pool grows."""
        return int(self.warmup * self.epochs + 1e-9)

    @property
    def generates(self) -> bool:
        """Does a generator make the images? Else they are optimised themselves."""
        return self.source in ("noise", "latent")

    @property
    def needs(self) -> int:
        """The generator's sides are multiples of this; 1 where there is none."""
        return 1 if not self.generates else 16 if self.deep else 4

    def sides(self, needs: int = 1) -> tuple[int, ...]:
        """The resolutions, each lowered to a multiple of what generator and teacher (`needs`) can
        make. RecipeError if two become one.
        """
        unit = math.lcm(self.needs, needs)
        sides = tuple(max(unit, e // unit * unit) for e in self.resolutions)
        if len(set(sides)) != len(sides):
            raise RecipeError(
                f"Recipe field 'resolutions' is {list(self.resolutions)}: generator and teacher"
                f" need multiples of {unit}, and these become {list(sides)}. Leave one out."
            )
        return sides

    def batch_sizes(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        """Images made at once at each side: `batches`, or equal shares of the pixels of `batch`
        images of the first side.
        """
        if self.batches is not None:
            return self.batches
        return tuple(images_in(self.batch * sides[0] ** 2 / len(sides), e) for e in sides)

    def batch_at(self, side: int) -> int:
        """Images of another side that hold as many pixels as `batch` images of the first
        resolution.
        """
        return images_in(self.batch * self.resolutions[0] ** 2, side)

    @property
    def diverse(self) -> bool:
        """Does the embedding in-out game take part?"""
        return self.weights.ed > 0 or self.weights.aed > 0

    @property
    def epoch_iterations(self) -> int:
        """Batches of images in an epoch: I at each resolution. Events count these, over the whole
        run.
        """
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
        """A changed copy; dotted names reach inside: `recipe.replace(seed=1, **{"weights.kr":
        0.0})`.
        """
        data = self.model_dump()
        for path, value in changes.items():
            *outer, last = path.split(".")
            place = data
            for key in outer:
                if not isinstance(place.get(key), dict):
                    raise RecipeError(errors.unknown(path, field_names()))
                place = place[key]
            if last not in place:
                raise RecipeError(errors.unknown(path, field_names()))
            place[last] = value.model_dump() if isinstance(value, BaseModel) else value
        return parse(data)

    def value(self, field: str) -> Any:
        """Of a dotted field: `recipe.value("weights.kr")`."""
        return functools.reduce(getattr, field.split("."), self)

    def to_json(self) -> str:
        return self.model_dump_json(indent=2)


def images_in(pixels: float, side: int) -> int:
    """Images of side × side that hold about so many pixels; two at least, since BatchNorm needs a
    batch.
    """
    return max(2, round(pixels / side**2))


def held_of(batch: int) -> int:
    """Images of a batch, its last ones, that are kept from the pool where there are no real images
    to test on: a tenth, one at least.
    """
    return max(1, batch // 10)


def field_names() -> list[str]:
    """Every settable name of a recipe: "seed", "weights.kr", "optimisers.student.lr"."""
    return errors.names(Recipe)


def parse(data: dict[str, Any] | str | bytes) -> Recipe:
    """A recipe from a dictionary or JSON text; RecipeError says in a sentence a field what is
    wrong.
    """
    if not isinstance(data, dict):
        try:
            data = json.loads(data)
        except (
            ValueError,
            RecursionError,
        ) as error:  # not JSON, not UTF-8, a number of 5,000 digits, 1,000 brackets
            raise RecipeError(f"The recipe is not JSON: {error}.") from None
        if not isinstance(data, dict):
            raise RecipeError(f"The recipe should be a JSON object, not {type(data).__name__}.")
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(" ".join(errors.sentence(e, Recipe) for e in error.errors())) from None


def parse_setting(text: str) -> tuple[str, Any]:
    """`field=value` from the command line; the value is JSON where it can be, else text."""
    name, separator, raw = text.partition("=")
    if not separator or not name.strip():
        raise RecipeError(f"--set {text}: expected field=value, for example weights.kr=0.")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = [p.strip() for p in raw.split(",")] if "," in raw else raw
    name = name.strip()
    if (
        name in ("classes", "resolutions", "batches")
        and value is not None
        and not isinstance(value, list)
    ):
        value = [value]
    return name, value
