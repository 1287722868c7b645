"""The exchange rate: how many real photos do a run's synthetic images replace in training?

One fixed student, the run's own, is retrained on the run's pool and on real training images: the
same number, 1/2, 1/4, 1/8, and further halves until they teach less than the pool. Every training
run has the same number of steps, the same initial weights and the same teacher, whose answers are
the only labels. Accuracy is measured on real test images that none of them were trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kgen import precision
from kgen.data import data
from kgen.data.data import DataError, RealImages
from kgen.data.folders import ImageFiles
from kgen.distributed.rounds import Rounds
from kgen.engine.setting import Setting
from kgen.engine.state import LoopState, new_pool
from kgen.engine.student_training import REPORT_EVERY, StudentTrainer
from kgen.engine.synthesis import Diverged, answer_views
from kgen.errors import KGenError
from kgen.evaluate import batch_slices, score
from kgen.journal.reading import Run
from kgen.phrases import count
from kgen.pool import MemoryPool
from kgen.precision import Format
from kgen.recipe.recipe import Recipe, held_out_count
from kgen.rng import streams
from kgen.system.files import write_durably
from kgen.worth.exchange import FILE, Point, Worth, read

MIN_HALVINGS = 4
"""Always measured: as many real images as synthetic ones, and 1/2, 1/4 and 1/8 of that."""


class WorthError(KGenError, ValueError):
    """A run whose images cannot be compared with real ones; the message says why."""

    code = "worth"


Progress = Callable[[int, int], None]
"""Called with the finished and the total student steps of a training run."""


def ignore_progress(done: int, total: int) -> None:
    """Ignore progress."""


class Retraining:
    """Retrains one fixed student, each time on different images.

    Args:
        recipe: provides the student, steps and views; the embedding in-out game is disabled, so
            that only the images matter.
        formats: precision and memory format of the networks; measured if None.

    Raises WorthError if the recipe trains no student, DataError if this machine has no real test
    images, and whatever a `Setting` raises.
    """

    def __init__(self, recipe: Recipe, formats: dict[str, Format] | None = None):
        overrides = {
            "schedule": "sequential",
            "judge": "none",
            "evaluate_on": "none",
            "real_images": None,
        }
        self.recipe = recipe.replace(**overrides, **{"weights.ed": 0.0, "weights.aed": 0.0})
        self.setting = Setting(self.recipe)
        if not self.setting.student_total:
            raise WorthError(
                "A run without a student cannot be compared with real photos: choose one with"
                " student steps and at least two classes.",
                code="no-student",
            )
        self.formats = formats
        selected = self.setting.selected
        self.real = data.images_for_run(
            recipe.real_images, self.setting.card, self.setting.teacher.classes, tuple(selected)
        )
        """Real test images."""
        self.tested = int(np.isin(self.real.labels, selected).sum())
        """How many of them belong to the selected classes."""

    def photos(self, folder: str | None = None) -> RealImages:
        """The real training images of the selected classes, ordered so that every prefix is
        balanced.

        Files that are also test images are left out. `folder`: the user's own, one subfolder per
        class. Raises DataError.
        """
        card, selected = self.setting.card, self.setting.selected
        if folder is not None:
            photos = data.image_folder(folder, self.setting.teacher.classes, card, tuple(selected))
        elif card.data is None:
            raise DataError(
                f"No real training images are known for {card.title}; specify a folder with one"
                " subfolder per class: --photos FOLDER.",
                code="unknown-data",
            )
        else:
            photos = data.training_set(card.data, side=card.side)
        usable = ~self._is_test_image(photos)
        rng = np.random.default_rng(self.recipe.seed)
        columns = [rng.permutation(np.flatnonzero((photos.labels == c) & usable)) for c in selected]
        if empty := [photos.classes[c] for c, column in zip(selected, columns) if not len(column)]:
            raise DataError(
                f"There is no real training image of {empty[0]} that is not also a test image.",
                code="no-images",
                lacking=empty[0],
            )
        turns = [(turn, i) for i, column in enumerate(columns) for turn in range(len(column))]
        return photos.take(np.array([columns[i][turn] for turn, i in sorted(turns)]))

    def _is_test_image(self, photos: RealImages) -> np.ndarray:
        """Which photos are files that the students are evaluated on, bool [n]."""
        if not (isinstance(photos.images, ImageFiles) and isinstance(self.real.images, ImageFiles)):
            return np.zeros(len(photos), bool)
        tested = {path.resolve() for path in self.real.images.paths}
        return np.array([path.resolve() in tested for path in photos.images.paths], bool)

    def train_on_photos(
        self, photos: RealImages, shares: dict[int, int], progress: Progress = ignore_progress
    ) -> float:
        """Accuracy after training on the first of `photos`; `shares` is the number at each side."""
        selected, first, buffers = self.setting.selected, 0, {}
        for side, n in shares.items():
            if n:
                subset = photos.take(np.arange(first, first + n))
                buffers[side] = (
                    downscale(subset.images, side),
                    torch.tensor([selected.index(c) for c in subset.labels.tolist()]),
                )
            first += n
        return self.train_on(buffers, progress)

    def train_on(
        self, buffers: dict[int, tuple[Tensor, Tensor]], progress: Progress = ignore_progress
    ) -> float:
        """Accuracy after training on these images: side e → (u8 [n,c,e,e], labels [n]).

        Labels are positions in the selected classes. Raises WorthError if a loss is not finite.
        """
        setting = self.setting
        state = LoopState(setting, self.formats)
        self.formats = state.formats  # so that all students compute in the same format
        capacity = max(len(labels) * side**2 for side, (_, labels) in buffers.items())
        state.pool = MemoryPool(
            capacity * len(buffers), "fifo", device=setting.device, sides=tuple(buffers)
        )
        for side, (images, positions) in buffers.items():
            self._fill(state, side, images, positions)
        trainer, total = StudentTrainer(setting, state), setting.student_total
        for step in range(1, total + 1):
            trainer.step()
            if step % REPORT_EVERY == 0 or step == total:
                try:
                    trainer.report()
                except Diverged as error:
                    raise WorthError(
                        f"The student's loss was not finite at step {error.step}: lower the recipe"
                        " field optimizers.student.lr, and run it again.",
                        code="not-finite",
                        step=error.step,
                    ) from None
                progress(step, total)
        state.student.eval()
        t = setting.teacher
        return score(
            lambda x: state.student((x - t.mean) / t.std),
            self.real,
            setting.selected,
            device=setting.device,
        ).accuracy

    @torch.no_grad()
    def _fill(self, state: LoopState, side: int, images: Tensor, positions: Tensor) -> None:
        """Add images to the state's pool, with the teacher's answers to their views if the recipe
        stores them.
        """
        scale = self.setting.scale_of(side)
        for i, batch in enumerate(batch_slices(tuple(images.shape))):
            pixels = images[batch].to(self.setting.device)
            extras = (
                answer_views(self.setting, scale, pixels, state.rng) if self.recipe.views else None
            )
            state.pool.add(pixels, positions[batch], i, extras)


def downscale(images: np.ndarray | ImageFiles, side: int) -> Tensor:
    """Real images [n,c,h,w] as bytes, scaled to a side without aliasing."""
    parts = []
    for batch in batch_slices(images.shape):
        pixels = torch.from_numpy(np.ascontiguousarray(images[batch]))
        if pixels.shape[-2:] != (side, side):
            pixels = (
                F.interpolate(
                    pixels.float(),
                    (side, side),
                    mode="bilinear",
                    antialias=True,
                    align_corners=False,
                )
                .round_()
                .clamp_(0, 255)
                .to(torch.uint8)
            )
        parts.append(pixels)
    return torch.cat(parts)


def rebuild_pool(run: Run, setting: Setting) -> dict[int, tuple[Tensor, Tensor]]:
    """The run's pool after its last iteration: side → images u8 [n,c,e,e], labels [n].

    Raises WorthError if it is empty.
    """
    r = run.recipe
    started = next((event for event in run.events() if event.kind == "run_started"), None)
    held_out = started is not None and started.tested_on == "synthetic"
    processes = (started and started.processes) or 1
    rounds = Rounds(processes, r.epochs * r.iterations, len(setting.sides))
    pools = [
        new_pool(setting, streams(r.seed, rank)["pool"], rank, rounds) for rank in range(processes)
    ]
    names = ("images", "labels", "teacher_top")
    for iteration in run.iterations():
        batch = {
            name: torch.from_numpy(array) for name, array in run.batch(iteration, names).items()
        }
        images, positions = batch["images"], batch["labels"].long()
        offered = len(images) - (held_out_count(len(images)) if held_out else 0)
        admitted = None
        if r.admit == "recognized":
            admitted = (
                batch["teacher_top"][:offered, 0] == setting.classes[positions[:offered]].cpu()
            )
        pool = pools[rounds.rank(iteration)]
        pool.add(images[:offered], positions[:offered], iteration, admitted=admitted)
    if not any(map(len, pools)):
        raise WorthError(
            f"{run.path} has no images in its pool yet; continue the run: python -m kgen resume"
            f" {run.path}",
            code="no-images",
        )
    found = {}
    for side in setting.sides:
        if buffers := [pool.buffers[side] for pool in pools if len(pool.buffers[side])]:
            found[side] = (
                torch.cat([buffer.images.cpu() for buffer in buffers]),
                torch.cat([buffer.labels[: len(buffer)].long() for buffer in buffers]),
            )
    return found


def shares(counts: dict[int, int], n: int) -> dict[int, int]:
    """Distribute n images over the sides in proportion to the pool's counts.

    The first side gets the rounding remainder.
    """
    total = sum(counts.values())
    found = {side: n * count // total for side, count in counts.items()}
    found[next(iter(found))] += n - sum(found.values())
    return found


def measure(
    run: Run,
    folder: str | None = None,
    real: str | None = None,
    progress: Progress = ignore_progress,
) -> Iterator[Worth]:
    """Measure a run's exchange rate; yields the results so far after each training run.

    They are stored in the run folder (FILE), and an earlier call's measurements are reused.
    `folder`: real training images, as in `Retraining.photos`, by default that of the earlier call;
    `real`: real test images, by default the recipe's. Raises WorthError, DataError,
    JournalError if the recipe's are on another machine, and whatever a `Setting` raises.
    """
    previous = read(run)
    folder = folder or (previous.photos if previous else None)
    recipe = run.recipe_here(real)
    retraining = Retraining(recipe, precision.from_record(run.info.get("formats")))
    setting = retraining.setting
    photos, pool = retraining.photos(folder), rebuild_pool(run, setting)
    counts = {side: len(labels) for side, (_, labels) in pool.items()}
    size, minimum = sum(counts.values()), len(setting.selected)
    if min(size, len(photos)) < minimum:
        raise WorthError(
            f"There are {count(size, 'synthetic image')} and {count(len(photos), 'real one')} for"
            f" {count(minimum, 'class')}; at least one per class is needed.",
            code="too-few",
            images=size,
            photos=len(photos),
            classes=minimum,
        )
    pool_state = f"attempt {run.info.get('attempt', 1)}, {len(run.iterations())} iterations"
    worth = Worth(
        n=retraining.tested,
        steps=setting.student_total,
        seed=recipe.seed,
        photos=folder,
        pool=pool_state,
    )
    if previous and previous.same_measure(worth):
        worth.points = [
            point for point in previous.points if point.real or previous.pool == pool_state
        ]
    measured = {(point.images, point.real) for point in worth.points}

    def add(images: int, real: bool, accuracy: float) -> Worth:
        worth.points.append(Point(images=images, real=real, accuracy=accuracy))
        write_durably(run.path / FILE, (worth.model_dump_json(indent=1) + "\n").encode())
        return worth

    yield worth
    if (size, False) not in measured:
        yield add(size, False, retraining.train_on(pool, progress))
    synthetic = next(point.accuracy for point in worth.points if not point.real)
    n, halves = min(size, len(photos)), 0
    while n >= minimum and (
        halves < MIN_HALVINGS or synthetic < min(p.accuracy for p in worth.photographs)
    ):
        if (n, True) not in measured:
            yield add(n, True, retraining.train_on_photos(photos, shares(counts, n), progress))
        n, halves = n // 2, halves + 1
