"""How several processes divide a run's batches and its budget. Pure arithmetic, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from kgen.phrases import count
from kgen.recipe.recipe import Recipe, RecipeError


@dataclass(frozen=True)
class Rounds:
    """A run's iterations in rounds: in each, every process makes one batch of the same resolution.

    Iterations are numbered over the whole run, within a round by rank, so a run has the same
    iterations however many processes make them. If their number is not a multiple of N, the last
    round has fewer, and the other processes wait.

    Args:
        processes: N.
        batches: E·I, batches of each resolution in the whole run.
        resolutions: number of resolutions; rounds cycle through them. With several, `batches` is a
            multiple of `processes`.
    """

    processes: int
    batches: int
    resolutions: int = 1

    def width(self, done: int) -> int:
        """Batches in the round that begins after `done` iterations; made by the lowest ranks."""
        return min(self.processes, self.batches * self.resolutions - done)

    def resolution(self, iteration: int) -> int:
        """Index of an iteration's resolution."""
        return iteration // self.processes % self.resolutions

    def rank(self, iteration: int) -> int:
        """The process that makes an iteration."""
        return iteration % self.processes

    def batches_of(self, rank: int) -> int:
        """Batches of each resolution that a process makes in the whole run."""
        return len(range(rank, self.batches, self.processes))

    def share(self, images: int, rank: int) -> int:
        """A process's share of a budget, in proportion to its batches; all shares add up to it."""
        ends = [0, *accumulate(self.batches_of(r) for r in range(self.processes))]
        return images * ends[rank + 1] // self.batches - images * ends[rank] // self.batches

    def reaches(self, done: int, period: int) -> bool:
        """Whether the round that ended after `done` iterations reached a multiple of `period`."""
        start = (done - 1) // self.processes * self.processes
        return done > 0 and done // period > start // period


def check_divides(recipe: Recipe, processes: int) -> None:
    """Raises RecipeError if this many processes cannot share a recipe's batches evenly."""
    if recipe.student_batch % processes or recipe.student_batch < 2 * processes:
        nearest = max(2, round(recipe.student_batch / processes)) * processes
        raise RecipeError(
            f"Recipe field 'student_batch' is {recipe.student_batch}, which {processes} processes"
            " cannot divide into equal batches of at least two images. Set it to a multiple of"
            f" {processes}, such as {nearest}, or start a different number of processes.",
            code="not-divisible",
            field="student_batch",
            value=recipe.student_batch,
            processes=processes,
            nearest=nearest,
        )
    batches = recipe.epochs * recipe.iterations
    if batches < processes:
        raise RecipeError(
            f"The recipe makes {count(batches, 'batch')} of images ('epochs' times 'iterations'),"
            f" fewer than the {processes} processes that would share them. Start at most"
            f" {batches}.",
            code="too-many-processes",
            field="epochs",
            value=recipe.epochs,
            processes=processes,
            maximum=batches,
        )
    if batches % processes and len(recipe.resolutions) > 1:
        raise RecipeError(
            f"The recipe makes {count(batches, 'batch')} of images per resolution ('epochs' times"
            " 'iterations'). With several resolutions, this must be a multiple of the number of"
            f" processes, {processes}: change 'epochs' or 'iterations', or start a different number"
            " of processes.",
            code="not-divisible",
            field="epochs",
            value=recipe.epochs,
            processes=processes,
        )
