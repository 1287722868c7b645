"""The events of a run: one small frozen model each.

The engine yields them; everything else consumes them. Every event has `kind` and `t` (seconds since
the run started), and where they apply `epoch`, `iteration` (counted over the whole run), `step` and
`resolution`, all counted from 0. In Python, arrays are attached as NumPy (`arrays`, or `preview()`
for the batch in progress); they are never part of the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator
from pydantic_core import PydanticSerializationError

from kgen.recipe.recipe import current_names
from kgen.terms import GENERATOR, MAX_CUSTOM, MAX_LENGTH, STUDENT, TITLES

Arrays = dict[str, np.ndarray]
PARTS = tuple(term.name for term in GENERATOR)
"""Terms of the generator's loss, in the order of the columns of `parts` in a batch's file. A run
may have more: see `RunStarted.term_names`.
"""
FIRST_PARTS = ("ce", "adv", "bn", "kr", "aed", "tv", "l2")
"""The columns of runs that do not name theirs."""
STUDENT_PARTS = tuple(term.name for term in STUDENT)
"""Terms of the student's loss."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    t: float = 0.0
    epoch: int | None = None
    iteration: int | None = None
    step: int | None = None
    resolution: int | None = None

    def to_json(self) -> str:
        """One line of events.jsonl."""
        try:
            return self.model_dump_json(exclude_none=True)
        except PydanticSerializationError:  # it contains a file name that is not valid text
            text = json.dumps(self.model_dump(exclude_none=True), ensure_ascii=False, default=str)
            return text.encode("utf-8", "replace").decode()


class TeacherCard(BaseModel):
    """Facts about a teacher; `accuracy` was measured on `n_test` real images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    architecture: str
    arguments: dict[str, Any] = {}
    """Arguments of the architecture's constructor (`kgen.nets.arguments`)."""
    parameters: int
    channels: int
    side: int
    features: int
    n_train: int
    accuracy: float | None = None
    n_test: int = 0
    data: str | None = None
    smallest: int | None = None
    """Side of the smallest image that it accepts, if determined."""
    cell: int | None = None
    """Side in image pixels of a cell of its map, if determined."""
    flip: bool = True
    licence: str = ""

    def score_on(self, tested_on: str, *, all_classes: bool, own_images: bool) -> Score | None:
        """The card's accuracy, if it was measured on what a run is tested on: all test images of
        the teacher's own data set. Otherwise None.
        """
        if self.accuracy is None or tested_on != "test" or own_images or not all_classes:
            return None
        return Score(accuracy=self.accuracy, n=self.n_test)


class Scale(BaseModel):
    """One of a run's resolutions; iterations (of several processes: rounds) cycle through them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int
    batch: int
    map_size: tuple[int, int]
    target: list[list[float]]
    budget_images: int


def format_name(precision: str, memory_format: str) -> str:
    """The display form: "BF16 channels-last"."""
    return (
        f"{precision.upper()}"
        f" {'NCHW' if memory_format == 'nchw' else memory_format.replace('_', '-')}"
    )


class JudgeCard(BaseModel):
    """The network that gives a second opinion on a run's images (`kgen.judge`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    classes: int
    """The number of classes that it knows."""
    indices: list[int]
    """Indices of the run's selected classes among its own."""


class CustomTerm(BaseModel):
    """A custom term of the generator's loss (`kgen.terms.Term`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,11}$")]
    weight: float
    title: Annotated[str, Field(max_length=MAX_LENGTH["title"])]
    symbol: Annotated[str, Field(max_length=MAX_LENGTH["symbol"])] = ""
    tip: Annotated[str, Field(max_length=MAX_LENGTH["tip"])] = ""
    color: Annotated[str, Field(max_length=MAX_LENGTH["color"])] = ""


class RunStarted(_Event):
    kind: Literal["run_started"] = "run_started"
    name: str
    recipe: dict[str, Any]
    teacher: TeacherCard
    student_parameters: int
    student_macs: int | None = None
    teacher_macs: int | None = None
    """Multiply–accumulates of one image at full resolution; None in runs from earlier versions."""
    student_bytes: int | None = None
    teacher_bytes: int | None = None
    """Total size of the network's tensors."""
    classes: list[str]
    """Names of the selected classes."""
    class_indices: list[int]
    """Their indices among the teacher's classes; labels in arrays are positions in `classes`."""
    budget_images: int
    budget_pixels: int
    map_size: tuple[int, int]
    target: list[list[float]]
    """Map and target of the first resolution; `scales` has all."""
    scales: list[Scale] = []
    map_kind: Literal["cam", "linearised", "attention", "none"] = "cam"
    """How the spatial map is computed: by Eq. 5, by Eq. 5 with a linearized head, from the
    attention of [CLS], or not at all.
    """
    radii: tuple[float, float] | None = None
    """(r_i, r_o) of the embedding in-out game; None if it is off."""
    generator_steps: int
    """Planned generator steps of the whole run."""
    student_steps: int
    """Planned student steps of the whole run."""
    device: str
    formats: dict[str, tuple[str, str]] = {}
    """Precision and memory format of teacher, student and generator; empty in runs of earlier
    versions.
    """
    schedule: Literal["sequential", "concurrent"] = "sequential"
    """The one in effect; on MPS a concurrent recipe runs sequentially."""
    tested_on: Literal["test", "validation", "synthetic"] = "test"
    """What the student is evaluated on: real test images, held-out real training images, or
    held-out synthetic images.
    """
    judge: JudgeCard | None = None
    """None without a second opinion, and in runs from earlier versions."""
    processes: Annotated[int, Field(ge=1)] | None = None
    """How many processes share the run; None for one. In each round, every process makes one batch,
    all of the same resolution.
    """
    own_terms: Annotated[list[CustomTerm], Field(max_length=MAX_CUSTOM)] | None = None
    """Terms that are not in `kgen.terms.TERMS`; None if there are none."""
    loss_terms: tuple[str, ...] = FIRST_PARTS
    """The method's terms when the run was started; the method may have gained some since."""
    arrays: Arrays | None = Field(None, exclude=True)
    """Real examples, for comparison only: images, labels, embedding (reference.safetensors)."""

    @field_validator("recipe")
    @classmethod
    def _read_old_names(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        """Runs from earlier versions have other names for some fields."""
        return current_names(recipe)

    @property
    def term_names(self) -> tuple[str, ...]:
        """The generator's terms, in the order of the columns of `parts` in a batch's file."""
        return (*self.loss_terms, *(term.name for term in self.own_terms or ()))

    def term_title(self, name: str) -> str:
        """The display name of a term."""
        return next(
            (t.title for t in self.own_terms or () if t.name == name), TITLES.get(name, name)
        )

    def term_weight(self, name: str) -> float:
        """α of a term of the generator's loss."""
        custom = {term.name: term.weight for term in self.own_terms or ()}
        return custom[name] if name in custom else self.recipe.get("weights", {}).get(name, 0.0)

    @property
    def test_kind(self) -> str:
        """`tested_on`, also in older runs, which lack the field."""
        own_images = bool(self.recipe.get("real_images"))
        on_validation = self.recipe.get("evaluate_on") == "validation" and not own_images
        return "validation" if on_validation and self.tested_on == "test" else self.tested_on

    @property
    def card_score(self) -> Score | None:
        """The teacher's accuracy on the run's test images, if its card has it."""
        return self.teacher.score_on(
            self.test_kind,
            all_classes=self.recipe.get("classes") is None,
            own_images=bool(self.recipe.get("real_images")),
        )

    @property
    def computing(self) -> str:
        """`formats` for display: "BF16 channels-last", or per network if they differ.

        Empty if unknown.
        """
        descriptions = {name: format_name(*format) for name, format in self.formats.items()}
        if len(different := list(dict.fromkeys(descriptions.values()))) < 2:
            return different[0] if different else ""
        return ", ".join(f"{name} {text}" for name, text in descriptions.items())


def term_names(started: RunStarted | None) -> tuple[str, ...]:
    """A run's generator terms; before its first event, those of the method."""
    return started.term_names if started else PARTS


def term_title(started: RunStarted | None, name: str) -> str:
    """The display name of a run's term; before its first event, of the method's."""
    return started.term_title(name) if started else TITLES.get(name, name)


class IterationStarted(_Event):
    kind: Literal["iteration_started"] = "iteration_started"
    labels: list[int]
    """Pseudo-labels of the batch, as positions in `classes`."""


class GeneratorStep(_Event):
    kind: Literal["generator_step"] = "generator_step"
    parts: dict[str, float]
    """Unweighted loss terms, batch means over the steps since the last report, by name."""
    loss: float
    """The weighted sum that is minimized (Eq. 10)."""
    agreement: float
    """Share of the batch in which the teacher's argmax is the pseudo-label."""
    preview: Callable[[], Arrays] | None = Field(None, exclude=True)
    """The current batch; a function, so that an unused preview costs nothing."""


class Opinion(BaseModel):
    """Second opinion: shares of a batch's images that an independent network classifies as
    intended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    top1: float
    """Among all classes that it knows."""
    top5: float
    """Among its five most likely classes, out of all that it knows."""
    chosen: float
    """Among the run's selected classes."""


class BatchSynthesized(_Event):
    kind: Literal["batch_synthesised"] = "batch_synthesised"
    file: str
    entered: int
    """Images of this batch that entered the pool."""
    pool_images: int
    pool_pixels: int
    budget_used: float
    judged: Opinion | None = None
    """Of all images of the batch; None without a judge, and in runs from earlier versions."""
    arrays: Arrays | None = Field(None, exclude=True)


class StudentStep(_Event):
    kind: Literal["student_step"] = "student_step"
    loss: float
    parts: dict[str, float]
    """Unweighted: kl, and ed if the embedding in-out game is on (Eq. 8)."""
    lr: float


class Score(BaseModel):
    """Share of real images classified correctly among the selected classes.

    If `real` is False: share of held-out synthetic images on which it agrees with the teacher.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: float
    per_class: list[float | None] = []
    """None for a class without a real image."""
    confusion: list[tuple[int, int, int]] = []
    """(class, predicted class, images) of the wrong answers, as positions in the selected classes,
    most frequent first; at most 2,000.
    """
    n: int
    real: bool = True


class Evaluated(_Event):
    kind: Literal["evaluated"] = "evaluated"
    student: Score
    teacher: Score | None = None
    """On the same real images; None if there are none."""
    pool_images: int
    budget_used: float
    final: bool = False
    file: str | None = None
    """The student's embeddings of pool images and real images at this moment; None in runs of
    earlier versions.
    """
    arrays: Arrays | None = Field(None, exclude=True)


class Control(_Event):
    kind: Literal["control"] = "control"
    id: str | int
    action: str
    state: Literal["running", "paused", "stopping"]
    text: str | None = None
    """Why a control was refused; None otherwise."""
    why: str | None = None
    """The sender's reason; None if none was given."""


class Warned(_Event):
    kind: Literal["warning"] = "warning"
    text: str
    remedy: str = ""


class RunFailed(_Event):
    kind: Literal["run_failed"] = "run_failed"
    cause: str
    term: str | None = None
    remedy: str = ""


class RunFinished(_Event):
    kind: Literal["run_finished"] = "run_finished"
    reason: Literal["done", "stopped"]
    accuracy: float | None = None
    agreement: float | None = None
    """With the teacher, on `n` held-out synthetic images, if there are no real ones."""
    n: int = 0


Event = Annotated[
    RunStarted
    | IterationStarted
    | GeneratorStep
    | BatchSynthesized
    | StudentStep
    | Evaluated
    | Control
    | Warned
    | RunFailed
    | RunFinished,
    Field(discriminator="kind"),
]
_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def from_json(line: str | bytes) -> Event:
    """The event of one line; raises pydantic.ValidationError for anything else."""
    return _adapter.validate_json(line)
