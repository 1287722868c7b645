"""A recipe resolved on this machine: device, teacher, classes, target, budget, real images.

Fixed for the whole run.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kgen import embeddings, events, judge
from kgen.answers import Answers
from kgen.augment import Variation, shift_at
from kgen.data import classes, data
from kgen.data.data import DataError
from kgen.data.folders import (
    ActivityProgress,
    ImageFiles,
    Progress,
    ignore_activity,
    ignore_progress,
)
from kgen.distributed.rounds import Rounds, check_divides
from kgen.distributed.world import ALONE, World
from kgen.evaluate import score, short_slices
from kgen.keyregion import make_target
from kgen.phrases import count, did_you_mean
from kgen.recipe.recipe import Recipe, RecipeError, held_out_count, images_in
from kgen.rng import stream_seed
from kgen.teachers import Teacher
from kgen.terms import TITLES, Term, with_custom
from kgen.zoo import zoo

REFERENCE_IMAGES, REFERENCE_BYTES = 400, 2**26
"""How many real examples to show next to the synthetic ones, and their total size limit."""


def select_device(requested: str) -> torch.device:
    """The device that a recipe requests; auto picks CUDA, then MPS, then the CPU.

    RecipeError if this machine does not have it.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    devices = [name for name, ok in available.items() if ok]
    if requested != "auto" and requested not in devices:
        raise RecipeError(
            f"Recipe field 'device' is {requested!r}, but this machine has: {', '.join(devices)}.",
            code="no-device",
            field="device",
            value=requested,
            found=devices,
        )
    return torch.device(devices[0] if requested == "auto" else requested)


def select_classes(recipe: Recipe, names: tuple[str, ...]) -> list[int]:
    """Indices of the recipe's classes among the teacher's. WordNet IDs stand for class texts.

    RecipeError names a class that the teacher does not have.
    """
    if recipe.classes is None:
        return list(range(len(names)))
    selected = []
    for c in recipe.classes:
        if isinstance(c, str) and c in names:
            selected.append(names.index(c))
        elif isinstance(c, int) and 0 <= c < len(names):
            selected.append(c)
        elif isinstance(c, str) and (synonym := classes.synonym(c)) in names:
            selected.append(names.index(synonym))
        else:
            raise RecipeError(
                f"Recipe field 'classes': {c!r} is not a class of {recipe.teacher}."
                f" {did_you_mean(str(c), list(names))}"
                + (f" If you mean an index, write classes=[{c}]." if str(c).isdecimal() else ""),
                code="unknown-class",
                field="classes",
                value=c,
            )
    if len(set(selected)) != len(selected):
        raise RecipeError(
            "Recipe field 'classes': a class is selected twice.",
            code="duplicate-class",
            field="classes",
        )
    return selected


def find_real_images(
    recipe: Recipe, teacher: Teacher, selected: list[int], on_progress: Progress
) -> data.RealImages | None:
    """The images that `evaluate_on` and `real_images` ask for; `selected` as in `Setting`.

    Raises DataError with instructions if they are missing.
    """
    r, card, dataset = recipe, teacher.card, teacher.card.data
    if r.real_images is not None:
        return data.image_folder(r.real_images, teacher.classes, card, tuple(selected), on_progress)
    if r.evaluate_on == "validation":
        if dataset is None:
            raise DataError(
                f"The training data of {card.title} is unknown, so there are no held-out"
                " images; set evaluate_on to 'auto' or 'none'.",
                code="unknown-data",
                field="evaluate_on",
                value="validation",
            )
        return data.split(data.training_set(dataset))[1]
    if r.evaluate_on == "none" or dataset is None:  # user-supplied teachers have no known data set
        return None
    try:
        return data.images_for_teacher(card, selected)
    except DataError as error:
        if r.evaluate_on == "auto":
            return None
        raise DataError(
            f"{error} Or run without real images: set evaluate_on to 'auto' or 'none'; or set"
            " real_images to a folder of your own.",
            code=error.code,
            **error.fields,
        ) from None


@dataclass(frozen=True)
class Scale:
    """One of the recipe's resolutions on this machine."""

    side: int
    """e, pixels"""
    batch: int
    """Images generated at once."""
    student_batch: int
    """Images per student step of one process: the recipe's number at the first resolution, divided
    by the number of processes; the same number of pixels at the others.
    """
    map_size: tuple[int, int]
    """(h,w) of the teacher's spatial map."""
    target: Tensor
    """M_target [h,w]"""
    budget_images: int
    """Images of this side that the pool can hold."""
    student_views: Variation
    """How images are augmented in student steps."""
    generator_views: Variation
    """How images are augmented before the teacher in generator steps."""


class Setting:
    """Everything that a recipe refers to, loaded and validated.

    `on_progress`: see `Distillation`. `world`: the processes of the run. Raises RecipeError,
    ZooError, DataError, EmbeddingError.
    """

    def __init__(
        self,
        recipe: Recipe,
        custom_terms: Sequence[Term] = (),
        on_progress: ActivityProgress = ignore_activity,
        world: World = ALONE,
    ):
        self.on_progress, self.world = on_progress, world
        self.terms = with_custom(custom_terms)
        """Terms of the generator's loss; custom terms come last."""
        self.device = select_device(recipe.device)
        self.teacher = zoo.load_teacher(recipe.teacher).to(self.device)
        self.card = card = self.teacher.card
        self.requested_embedding = recipe.embedding
        self.recipe = recipe = classes.with_representative(recipe, self.teacher.classes)
        """The recipe; embedding "auto" is replaced by what it stands for here."""
        self.selected = select_classes(recipe, self.teacher.classes)
        self.classes = torch.tensor(self.selected, device=self.device)
        """[K], the teacher's index of each selected class; labels elsewhere are positions in this
        list.
        """
        self.sides = recipe.sides(self.teacher.side_multiple)
        self.rounds = Rounds(world.size, recipe.epochs * recipe.iterations, len(self.sides))
        """How the processes divide the batches and the budget."""
        if world.size > 1:
            check_divides(recipe, world.size)
        self.budget_pixels = recipe.budget_pixels(card.n_train, card.side)
        self.scales = tuple(
            self._scale(side, batch)
            for side, batch in zip(self.sides, recipe.batch_sizes(self.sides))
        )
        """One per resolution; iterations cycle through them."""
        self.budget_images = sum(scale.budget_images for scale in self.scales)
        self.table = self._table().to(self.device)
        """P [K_T,d]; with class centers, fixed random rows that only the noisy layer sees"""
        self.radii = self._radii()
        """(r_i, r_o) of Eq. 9 and 11; None if the embedding in-out game is off."""
        self.student_total = recipe.total_student_steps if len(self.selected) > 1 else 0
        """Student steps of the whole run; 0 for a single class, which leaves nothing to classify.
        """
        smallest_budget = min(scale.budget_images for scale in self.scales)
        if (self.student_total or world.size > 1) and not self._pools_fill(smallest_budget):
            shared = f" and {world.size} processes" if world.size > 1 else ""
            raise RecipeError(
                f"Recipe field 'ratio' is {recipe.ratio}: a budget of"
                f" {count(smallest_budget, 'image')}, spread over"
                f" {count(recipe.epochs, 'epoch')}{shared}, leaves the pool empty when student"
                " training begins. Raise 'ratio', or lower 'epochs'.",
                code="too-small",
                field="ratio",
                value=recipe.ratio,
            )
        self.judge = judge.find(recipe, self.teacher, self.selected, self.sides)
        """The second opinion; None if the recipe has none."""
        self.real: data.RealImages | None = None
        """Real images for the accuracy curve; None if none are available or requested, and in
        processes that do not lead.
        """
        if world.leads:
            with world.while_others_wait():
                self.real = find_real_images(
                    recipe, self.teacher, self.selected, functools.partial(on_progress, "checking")
                )
        self.has_real_images = world.lead(self.real is not None)

    def _pools_fill(self, budget: int) -> bool:
        """Whether every process has an image of this resolution when student training begins."""
        r, rounds = self.recipe, self.rounds
        first = max(1, math.ceil((r.warmup_epochs + 1) * r.iterations / rounds.processes))
        for rank in range(rounds.processes):
            batches = rounds.batches_of(rank)
            added = min(first, batches) if r.pool_policy == "spread" else batches
            if rounds.share(budget, rank) * added < batches:
                return False
        return True

    def term_title(self, name: str) -> str:
        """The display name of a term, of either loss."""
        return TITLES.get(name) or next(t.title or name for t in self.terms if t.name == name)

    def weight(self, term: Term) -> float:
        """α of a term of the generator's loss."""
        return term.weight if term.function else getattr(self.recipe.weights, term.name)

    def scale(self, iteration: int) -> Scale:
        """The resolution of an iteration; iterations cycle through them."""
        return self.scales[self.rounds.resolution(iteration)]

    def scale_of(self, side: int) -> Scale:
        """The resolution with this side."""
        return next(scale for scale in self.scales if scale.side == side)

    @torch.no_grad()
    def _scale(self, side: int, batch: int) -> Scale:
        recipe, card = self.recipe, self.card
        images = self.budget_pixels // len(self.sides) // side**2
        if images < 1:
            raise RecipeError(
                f"Recipe field 'ratio' is {recipe.ratio}: {count(self.budget_pixels, 'pixel')}"
                f" for {count(len(self.sides), 'resolution')} cannot hold a {side} × {side} image."
                " Raise 'ratio'.",
                code="too-small",
                field="ratio",
                value=recipe.ratio,
                side=side,
            )
        try:
            probe = self.teacher(torch.zeros(1, card.channels, side, side, device=self.device))
            cam = self.teacher.activation_map(
                probe, torch.zeros(1, dtype=torch.int64, device=self.device)
            )
        except (RuntimeError, ValueError, AssertionError) as error:  # timm asserts its sizes
            minimum = f"; the smallest size it accepts is {card.smallest}" if card.smallest else ""
            raise RecipeError(
                f"Recipe field 'resolutions': {recipe.teacher} does not accept {side} × {side}"
                f" images{minimum} ({str(error).partition(chr(10))[0][:120].rstrip('.')}).",
                code="unsupported-size",
                field="resolutions",
                value=side,
            ) from None
        size = (0, 0) if cam is None else (cam.shape[1], cam.shape[2])
        student_batch = images_in(
            recipe.student_batch // self.world.size * self.sides[0] ** 2, side
        )
        target = make_target(recipe.target, *size).to(self.device)
        views = Variation(shift_at(side), card.flip, recipe.edges)
        student, generator = (
            views._replace(crop=crop) for crop in (recipe.student_crop, recipe.generator_crop)
        )
        return Scale(side, batch, student_batch, size, target, images, student, generator)

    @property
    def tested_on(self) -> Literal["test", "validation", "synthetic"]:
        """What the student is evaluated on."""
        return (
            "synthetic"
            if not self.has_real_images
            else (
                "validation"
                if self.recipe.evaluate_on == "validation" and not self.recipe.real_images
                else "test"
            )
        )

    def held_out(self, batch: int) -> int:
        """Images of a batch held out of the pool to evaluate the student on.

        0 with real images, or without student training.
        """
        return held_out_count(batch) if not self.has_real_images and self.student_total else 0

    def _table(self) -> Tensor:
        r, names = self.recipe, self.teacher.classes
        texts = r.class_texts or {}
        if unknown := [name for name in texts if name not in names]:
            raise RecipeError(
                f"Recipe field 'class_texts': {unknown[0]!r} is not a class of {r.teacher}."
                f" {did_you_mean(unknown[0], list(names))}",
                code="unknown-class",
                field="class_texts",
                value=unknown[0],
            )
        if r.embedding == "text":
            return embeddings.class_table(
                tuple(texts.get(c, c) for c in names), live=r.text_encoder == "live"
            )
        rng = torch.Generator().manual_seed(stream_seed(self.recipe.seed, "rows"))
        return torch.randn(len(self.teacher.classes), embeddings.WIDTH, generator=rng)

    def _radii(self) -> tuple[float, float] | None:
        """The recipe's radii.

        By default, r_o is the smallest MSE between two class embeddings (scaled to 0.03), and r_i
        is half of it.
        """
        radii = self.recipe.radii
        if not self.recipe.diverse or len(self.selected) < 2:
            return None
        outer = embeddings.OUTER_RADIUS if radii.outer is None else radii.outer
        return (outer / 2 if radii.inner is None else radii.inner), outer

    @functools.cached_property
    def answers(self) -> Answers | None:
        """The teacher's answers on the real images, including those from earlier runs; None for
        images that are not files.
        """
        if self.real is None or not isinstance(self.real.images, ImageFiles):
            return None
        return Answers(zoo.checksum(self.recipe.teacher), self.selected, self.real.images)

    @property
    def published_score(self) -> events.Score | None:
        """The teacher's accuracy on all test images, if its card states it for this run's images
        and classes.
        """
        return self.card.score_on(  # a test verifies it for the bundled teachers
            self.tested_on,
            all_classes=len(self.selected) == len(self.teacher.classes),
            own_images=self.recipe.real_images is not None,
        )

    def teacher_score(
        self, real: data.RealImages, teacher: Teacher, on_progress: Progress = ignore_progress
    ) -> events.Score:
        """The teacher's accuracy among the selected classes.

        The published value on all test images if it applies; otherwise measured on these images.
        """
        return self.published_score or score(
            teacher.logits,
            real,
            self.selected,
            device=self.device,
            on_progress=on_progress,
            answers=self.answers,
        )

    def run_started_fields(self) -> dict[str, Any]:
        """The fields of a run_started event that describe the setting."""
        r = self.recipe
        scales = [
            events.Scale(
                side=scale.side,
                batch=scale.batch,
                map_size=scale.map_size,
                target=[[round(v, 4) for v in row] for row in scale.target.tolist()],
                budget_images=scale.budget_images,
            )
            for scale in self.scales
        ]
        return {
            "name": r.name,
            "recipe": r.model_dump(mode="json"),
            "teacher": self.card,
            "classes": [self.teacher.classes[c] for c in self.selected],
            "class_indices": self.selected,
            "budget_images": self.budget_images,
            "budget_pixels": self.budget_pixels,
            "map_size": scales[0].map_size,
            "target": scales[0].target,
            "scales": scales,
            "map_kind": self.teacher.map_kind,
            "radii": self.radii,
            "generator_steps": r.total_generator_steps,
            "student_steps": self.student_total,
            "device": self.device_title(),
            "tested_on": self.tested_on,
            "judge": self.judge and self.judge.card,
            "processes": self.world.size if self.world.size > 1 else None,
        }

    @functools.cached_property
    def reference_images(self) -> data.RealImages | None:
        """A few hundred real images, for comparison only; None if there are none."""
        if self.real is None:
            return None
        count = min(REFERENCE_IMAGES, REFERENCE_BYTES // math.prod(self.real.images.shape[1:]))
        reading = functools.partial(self.on_progress, "reading")
        return self.real.stratified(count, tuple(self.selected), seed=1, on_progress=reading)

    @torch.no_grad()
    def reference_arrays(self) -> events.Arrays | None:
        """The examples and the teacher's embeddings of them."""
        real = self.reference_images
        if real is None:
            return None
        images = real.images[:]
        position = {c: i for i, c in enumerate(self.selected)}
        labels = np.array([position[c] for c in real.labels.tolist()], dtype=np.int64)
        teacher_embeddings = []
        for batch in short_slices(images.shape):
            self.on_progress("teacher", batch.start, len(images))
            pixels = torch.from_numpy(images[batch]).to(self.device).float() / 255
            teacher_embeddings.append(self.teacher(pixels).embedding)
        self.on_progress("teacher", len(images), len(images))
        return {
            "images": images,
            "labels": labels,
            "embedding": torch.cat(teacher_embeddings).half().cpu().numpy(),
        }

    def device_title(self) -> str:
        """The selected device, for display."""
        title = self.device.type
        if title == "cuda":
            tf32 = "TF32 convolutions" if torch.backends.cudnn.allow_tf32 else "no TF32"
            if torch.get_float32_matmul_precision() != "highest":
                tf32 = tf32.replace("convolutions", "convolutions and matrices")
            title += f" ({torch.cuda.get_device_name(self.device)}, {tf32})"
        elif title == "cpu":
            cores = count(os.cpu_count() or 1, "core")
            title += f" ({count(torch.get_num_threads(), 'thread')} on {cores})"
        return f"{self.world.size} × {title}" if self.world.size > 1 else title
