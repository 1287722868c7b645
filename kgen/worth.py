"""The exchange rate: as how many real photos do a run's synthetic images teach?

One fixed student, the run's own, is trained anew on the run's pool, and on real training images: as many, 1/2, 1/4, 1/8,
and on with halves until they teach less than the pool. Every training has the same number of steps, the same starting
weights and the same teacher, whose answers are the only labels. Accuracy is on real test images that none of them saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kgen import data, precision
from kgen.data import DataError, RealImages
from kgen.evaluate import pieces, score
from kgen.exchange import FILE, Point, Worth, read
from kgen.files import write_durably
from kgen.learning import Learner
from kgen.pool import MemoryPool
from kgen.precision import Format
from kgen.reading import Run
from kgen.recipe import Recipe, held_of
from kgen.setting import Setting
from kgen.state import LoopState
from kgen.synthesis import answer_views

LEAST_HALVES = 4
"""As many real images as synthetic ones, and 1/2, 1/4, 1/8 as many, are always measured."""


class WorthError(ValueError):
    """A run whose images cannot be weighed against real ones; the message says why."""


Progress = Callable[[int, int], None]
"""Hears how many student steps of a training are made, and of how many."""
SILENT: Progress = lambda done, total: None  # noqa: E731


class Trainings:
    """Trains one fixed student again and again, each time on other images.

    Args:
        recipe: whose student, steps and views are used; with the embedding in-out game off, so that images alone decide.
        formats: in which the networks compute; measured where None.

    Raises WorthError where the recipe has no student, and what a `Setting` raises.
    """

    def __init__(self, recipe: Recipe, formats: dict[str, Format] | None = None):
        self.recipe = recipe.replace(schedule="sequential", judge="none", evaluate_on="test", **{"weights.ed": 0.0, "weights.aed": 0.0})
        self.setting = Setting(self.recipe)
        if not self.setting.student_total:
            raise WorthError("A run without a student has no images to weigh: choose one with student steps and two classes or more.")
        self.formats = formats

    @property
    def tested(self) -> int:
        """Real test images of the chosen classes; 0 where this machine has none."""
        real = self.setting.real
        return 0 if real is None else int(np.isin(real.labels, self.setting.chosen).sum())

    def photos(self, folder: str | None = None) -> RealImages:
        """The real training images of the chosen classes, in an order of which every beginning has equal shares of the classes.

        `folder`: a person's own, one subfolder a class. Raises DataError.
        """
        card, chosen = self.setting.card, self.setting.chosen
        if folder is not None:
            real = data.image_folder(folder, self.setting.teacher.classes, card, tuple(chosen))
        elif card.data is None:
            raise DataError(f"No real training images are known for {card.title}; name a folder with one subfolder a class: --photos FOLDER.")
        else:
            real = data.training_set(card.data, side=card.side)
        rng = np.random.default_rng(self.recipe.seed)
        columns = [rng.permutation(np.flatnonzero(real.labels == c)) for c in chosen]
        if empty := [real.classes[c] for c, column in zip(chosen, columns) if not len(column)]:
            raise DataError(f"There is no real training image of {empty[0]}.")
        turns = [(turn, i) for i, column in enumerate(columns) for turn in range(len(column))]
        return real.take(np.array([columns[i][turn] for turn, i in sorted(turns)]))

    def on_photos(self, photos: RealImages, shares: dict[int, int], progress: Progress = SILENT) -> float:
        """Accuracy after training on the first of `photos`: `shares` says how many at each side."""
        chosen, first, shelves = self.setting.chosen, 0, {}
        for side, n in shares.items():
            some = photos.take(np.arange(first, first + n))
            first += n
            shelves[side] = smaller(some.images, side), torch.tensor([chosen.index(c) for c in some.labels.tolist()])
        return self.on(shelves, progress)

    def on(self, shelves: dict[int, tuple[Tensor, Tensor]], progress: Progress = SILENT) -> float:
        """Accuracy after training on images u8 [n,c,e,e] with labels [n] (positions in the chosen classes), by their side e."""
        state = LoopState(self.setting, self.formats)
        self.formats = state.formats  # so that all students compute alike
        shelves = {side: shelf for side, shelf in shelves.items() if len(shelf[1])}
        room = max(len(labels) * side**2 for side, (_, labels) in shelves.items())
        state.pool = MemoryPool(room * len(shelves), "fifo", sides=tuple(shelves))
        for side, (images, positions) in shelves.items():
            scale = next(scale for scale in self.setting.scales if scale.side == side)
            for i, piece in enumerate(pieces(tuple(images.shape))):
                pixels = images[piece].to(self.setting.device)
                with torch.no_grad():
                    extras = answer_views(self.setting, scale, pixels, state.rng) if self.recipe.views else None
                state.pool.add(pixels, positions[piece], i, extras)
        learner, total = Learner(self.setting, state), self.setting.student_total
        for step in range(total):
            learner.step()
            if (step + 1) % 10 == 0 or step + 1 == total:
                learner.report()  # raises Diverged
                progress(step + 1, total)
        state.student.eval()
        t = self.setting.teacher
        return score(lambda x: state.student((x - t.mean) / t.std), self.setting.real, self.setting.chosen, device=self.setting.device).accuracy


def smaller(images, side: int) -> Tensor:
    """Real images [n,c,h,w] as bytes at a side, scaled without aliasing."""
    parts = []
    for piece in pieces(images.shape):
        some = torch.from_numpy(np.ascontiguousarray(images[piece]))
        if some.shape[-2:] != (side, side):
            some = F.interpolate(some.float(), (side, side), mode="bilinear", antialias=True, align_corners=False).round_().clamp_(0, 255).to(torch.uint8)
        parts.append(some)
    return torch.cat(parts)


def pool_of(run: Run) -> dict[int, tuple[Tensor, Tensor]]:
    """The run's pool as it stood after its last iteration: side → images u8 [n,c,e,e], labels [n]. Raises WorthError where it is empty."""
    r = run.recipe
    setting = Setting(r.replace(judge="none"))
    pool = LoopState(setting, precision.of_record(run.info.get("formats"))).pool
    kept_out = next((event.tested_on == "synthetic" for event in run.events() if event.kind == "run_started"), False)
    wanted = ("images", "labels", "teacher_top")
    for iteration in run.iterations():
        batch = {name: torch.from_numpy(array) for name, array in run.batch(iteration, wanted).items()}
        images, positions = batch["images"], batch["labels"].long()
        offered = len(images) - (held_of(len(images)) if kept_out else 0)
        admitted = None
        if r.admit == "recognized":
            admitted = batch["teacher_top"][:offered, 0] == setting.classes[positions[:offered]].cpu()
        pool.add(images[:offered], positions[:offered], iteration, admitted=admitted)
    if not len(pool):
        raise WorthError(f"{run.path} has no image in its pool yet; let it run on: python -m kgen resume {run.path}")
    return {side: (shelf.images.cpu(), shelf.labels[: len(shelf)]) for side, shelf in pool.shelves.items() if len(shelf)}


def shares(counts: dict[int, int], n: int) -> dict[int, int]:
    """n images over the sides, in proportion to what the pool has of each; the first side takes what rounding leaves."""
    whole = sum(counts.values())
    found = {side: n * count // whole for side, count in counts.items()}
    found[next(iter(found))] += n - sum(found.values())
    return found


def weigh(run: Run, folder: str | None, progress: Progress = SILENT) -> Iterator[Worth]:
    """Measure a run's exchange rate; yields all that is known after each training, and keeps it in the run folder (FILE).

    What an earlier call measured is not measured again. `folder` as in `Trainings.photos`.
    Raises WorthError, DataError and what a `Setting` raises.
    """
    trainings = Trainings(run.recipe, precision.of_record(run.info.get("formats")))
    setting = trainings.setting
    if setting.real is None:
        raise WorthError(
            f"There are no real test images of {setting.card.title} on this machine, so no student can be measured: `python -m kgen data list` says how to get them."
        )
    photos = trainings.photos(folder)
    pool = pool_of(run)
    counts = {side: len(labels) for side, (_, labels) in pool.items()}
    size, fewest = sum(counts.values()), len(setting.chosen)
    begun = Worth(n=trainings.tested, steps=setting.student_total, seed=run.recipe.seed, photos=folder)
    worth = read(run) or begun
    if not worth.same_measure(begun):
        worth = begun
    known = {(point.images, point.real) for point in worth.points}

    def add(images: int, real: bool, accuracy: float) -> Worth:
        worth.points.append(Point(images=images, real=real, accuracy=accuracy))
        write_durably(run.path / FILE, (worth.model_dump_json(indent=1) + "\n").encode())
        return worth

    yield worth
    if (size, False) not in known:
        worth.points[:] = [point for point in worth.points if point.real]  # the pool has grown since
        yield add(size, False, trainings.on(pool, progress))
    n, halves = min(size, len(photos)), 0
    while n >= fewest and (halves < LEAST_HALVES or worth.synthetic.accuracy < min(p.accuracy for p in worth.photographs)):
        if (n, True) not in known:
            yield add(n, True, trainings.on_photos(photos, shares(counts, n), progress))
        n, halves = n // 2, halves + 1
