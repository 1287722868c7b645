"""`run` and `resume` in one of several processes that torchrun or `accelerate launch` started.

Rank 0 does what the command would do in a single process. The others print only errors.
"""

from __future__ import annotations

import contextlib
import importlib.util
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from kgen.cli.progress import watch
from kgen.distributed.launch import ProcessError, ProcessLost, launch_command, launched
from kgen.distributed.processes import LeaderEnded, Processes
from kgen.engine.follower import Follower
from kgen.engine.setting import select_device
from kgen.errors import KGenError
from kgen.journal.reading import open_run
from kgen.journal.runner import Runner, resume_follower
from kgen.phrases import pip_install
from kgen.recipe.recipe import Recipe


def run(
    recipe: Recipe, folder: Path, as_json: bool, checkpoint_every: float, timeout: float
) -> int:
    """This process's part of a new run; returns the exit code."""
    with _connected(recipe, timeout) as world:
        if not world.leads:
            return _follow(world, lambda: Follower(recipe, world=world))
        return watch(
            lambda **o: Runner.new(recipe, folder, world=world, **o), as_json, checkpoint_every
        )


def resume(
    folder: Path,
    real: Path | None,
    other_images: bool,
    as_json: bool,
    checkpoint_every: float,
    timeout: float,
) -> int:
    """This process's part of a resumed run; returns the exit code."""
    with _connected(open_run(folder).recipe, timeout) as world:
        if not world.leads:
            return _follow(world, lambda: resume_follower(folder, world))
        return watch(
            lambda **o: Runner.resume(
                folder, real=real, other_images=other_images, world=world, **o
            ),
            as_json,
            checkpoint_every,
        )


@contextlib.contextmanager
def _connected(recipe: Recipe, timeout: float) -> Iterator[Processes]:
    """This process and the others of the run. Raises ProcessError, RecipeError."""
    world = Processes(_device(recipe), timeout)
    if world.leads:
        signal.signal(signal.SIGTERM, _on_terminated)
    try:
        yield world
    except ProcessLost:
        raise  # nobody is left to tell
    except BaseException:
        if world.leads:
            world.end()
        raise
    if world.leads:
        world.end()
    world.close()


def _device(recipe: Recipe) -> str:
    """The kind of device for this process. Raises ProcessError, RecipeError."""
    launch = launched()
    if not importlib.util.find_spec("accelerate"):
        raise ProcessError(
            "A run with several processes needs the package accelerate, which is not installed:"
            f" {pip_install('accelerate')}.",
            code="not-installed",
            package="accelerate",
        )
    device = select_device(recipe.device).type
    if device == "mps":
        raise ProcessError(
            f"This machine's GPU (MPS) supports only one process, not {launch.size}. Add"
            f" --set device=cpu, or run: {launch_command(1, 'run')} …",
            code="unsupported-device",
            device=device,
            processes=launch.size,
        )
    if device == "cuda" and launch.local_rank >= torch.cuda.device_count():
        raise ProcessError(
            f"Every process needs its own GPU, and this machine has {torch.cuda.device_count()}."
            " Start at most that many processes, or add --set device=cpu.",
            code="too-many-processes",
            maximum=torch.cuda.device_count(),
        )
    return device


def _on_terminated(*_: object) -> None:
    """The launcher ends all processes when one of them has failed."""
    raise ProcessLost(
        "The launcher has ended this run, probably because another process failed (its message is"
        " above). Everything up to the last checkpoint is saved: resume the run with the same"
        " number of processes."
    )


def _follow(world: Processes, build: Callable[[], Follower]) -> int:
    """Take part in a run that rank 0 leads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 stops the run for all
    try:
        try:
            build().run()
        except ProcessLost:
            raise
        except KGenError:
            world.lead()  # if rank 0 has the same error, it ends the run and says so
            raise
        world.await_end()
    except LeaderEnded:
        pass
    return 0
