"""The command line: `python -m kgen …`. The only file of the package that prints.

Exit codes: 0 done or stopped on request, 1 the run failed, 2 bad input, 130 interrupted (the run folder can be resumed).
"""

from __future__ import annotations

import os

# Idle OpenMP threads that spin steal the cores from app and browser (measured: steps up to 8× slower). Must be
# set before torch is imported.
for _name, _value in {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}.items():
    os.environ.setdefault(_name, _value)

import datetime
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from kgen import events, recipes
from kgen.controls import Controls
from kgen.data import DataError
from kgen.journal import JournalError, open_run
from kgen.recipe import Recipe, RecipeError, parse, parse_setting
from kgen.zoo import ZooError

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__.splitlines()[0])
console = Console(stderr=True)

Out = Annotated[Path | None, typer.Option("--out", help="Run folder to make; default runs/NAME-TIME.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")]
Every = Annotated[float, typer.Option("--checkpoint-every", min=0, help="Seconds between checkpoints.")]


def read_recipe(name: str, settings: list[str], seed: int | None, schedule: str | None) -> Recipe:
    """A named recipe or a JSON file, with `--set`, `--seed` and `--schedule` applied."""
    if name.endswith(".json") or Path(name).is_file():
        try:
            recipe = parse(Path(name).read_bytes())
        except OSError as error:
            raise RecipeError(f"The recipe {name} cannot be read: {error.strerror}.") from None
    else:
        recipe = Recipe() if name == "custom" else recipes.get(name)
    changes: dict[str, Any] = dict(parse_setting(s) for s in settings)
    changes |= {k: v for k, v in {"seed": seed, "schedule": schedule}.items() if v is not None}
    return recipe.replace(**changes)


def default_folder(recipe: Recipe) -> Path:
    return Path("runs") / f"{recipe.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


@cli.command("recipes")
def list_recipes(as_json: Json = False) -> None:
    """List the named recipes."""
    if as_json:
        for name in recipes.NAMES:
            print(json.dumps({"name": name, "about": recipes.describe(name), "recipe": recipes.get(name).model_dump(mode="json")}))
        return
    table = Table("recipe", "what it does")
    for name in recipes.NAMES:
        table.add_row(name, recipes.describe(name))
    Console().print(table)


@cli.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, a JSON file, or - for JSON lines on standard input.")],
    out: Out = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field: --set weights.kr=0")] = None,
    seed: Annotated[int | None, typer.Option(help="Every random draw follows from it.")] = None,
    schedule: Annotated[str | None, typer.Option(help="sequential or concurrent.")] = None,
    checkpoint_every: Every = 5.0,
    control: Annotated[bool, typer.Option("--control", help="With -: go on reading control lines from standard input.")] = False,
    as_json: Json = False,
) -> None:
    """Make images, teach a student, keep everything in a run folder."""
    from kgen.runner import Runner

    if recipe == "-":
        raise typer.Exit(_controlled(checkpoint_every) if control else _from_stdin(out, checkpoint_every, as_json))
    chosen = read_recipe(recipe, settings or [], seed, schedule)
    folder = out or default_folder(chosen)
    raise typer.Exit(_watch(lambda **o: Runner.new(chosen, folder, **o), as_json, checkpoint_every))


@cli.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")], checkpoint_every: Every = 5.0, as_json: Json = False
) -> None:
    """Go on with a run that was stopped or killed; the result is the same as without the interruption."""
    from kgen.runner import Runner

    open_run(folder)
    raise typer.Exit(_watch(lambda **o: Runner.resume(folder, **o), as_json, checkpoint_every))


@cli.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or an exported student.safetensors.")], as_json: Json = False
) -> None:
    """Measure an exported student on all real test images."""
    import torch

    from kgen import data, zoo
    from kgen.evaluate import score
    from kgen.setting import choose_classes

    file = folder if folder.suffix == ".safetensors" else open_run(folder).path / "student.safetensors"
    if not file.is_file():
        if folder.suffix == ".safetensors":
            raise ZooError(f"{file} does not exist; give a run folder, or the student.safetensors in one.")
        if open_run(folder).finished:
            raise JournalError(f"{folder} has no student: with one class there is nothing to tell apart.")
        raise JournalError(f"{file} is not there: the run has not ended, or its student never began. Try `python -m kgen resume {folder}`.")
    spec = zoo.read_spec(file, "recipe", "is no exported student; give a run folder, or the student.safetensors in one")
    recipe = parse(spec["recipe"])
    student = zoo.load_student(file)
    mean, std = (torch.tensor(spec[k]).view(1, -1, 1, 1) for k in ("mean", "std"))
    chosen = choose_classes(recipe, tuple(spec["classes"]))
    real = data.test_set(zoo.card(recipe.teacher).data)
    result = score(lambda x: student((x - mean) / std), real, chosen)
    teacher = score(zoo.load_teacher(recipe.teacher).logits, real, chosen)
    if as_json:
        print(
            json.dumps(
                {
                    "accuracy": result.accuracy,
                    "n": result.n,
                    "per_class": dict(zip([spec["classes"][c] for c in chosen], result.per_class)),
                    "teacher": teacher.accuracy,
                }
            )
        )
        return
    print(f"student {result.accuracy:.2%} of {result.n:,} real images (teacher {teacher.accuracy:.2%})")
    for c, share in zip(chosen, result.per_class):
        print(f"  {spec['classes'][c]:<12} {share:.1%}")


@cli.command()
def teach(
    dataset: Annotated[str, typer.Argument(help="fashion-mnist")],
    out: Annotated[Path | None, typer.Option(help="File to write; default: the bundled teacher's place in assets/.")] = None,
    data_folder: Annotated[Path | None, typer.Option("--data", help="Folder with the real training set.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow torchvision to fetch the training set (30 MB).")] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 15,
    width: Annotated[int, typer.Option(min=4)] = 48,
    seed: int = 0,
) -> None:
    """Train a teacher on a real training set (the only command that does), and write it with its card."""
    from kgen import data, zoo
    from kgen.networks import SmallResNet, seeded
    from kgen.teach import finish
    from kgen.teach import teach as train

    out = out or zoo.TEACHERS["fashion-cnn"]
    part, held_out = data.split(data.training_set(dataset, data_folder, download))
    test = data.test_set(dataset)
    blocks = (1, 2)
    network = seeded(SmallResNet, seed, part.images.shape[1], len(part.classes), width, blocks)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task(f"teaching {dataset}", total=None, note="")
        for p in train(network, part, held_out, epochs=epochs, seed=seed):
            note = f"epoch {p.epoch + 1}/{epochs}, loss {p.loss:.3f}" if p.accuracy is None else f"held-out accuracy {p.accuracy:.2%}"
            bar.update(task, total=p.steps, completed=p.step, note=note)
            if p.accuracy is not None and not console.is_terminal:
                console.print(f"epoch {p.epoch + 1}: {note}")
    spec = finish(network, part, held_out, test, width=width, blocks=blocks)
    zoo.save_network(network, out, spec)
    print(
        f"{out}: {spec['card']['accuracy']:.2%} of {len(test):,} real test images, {spec['held_out_accuracy']:.2%} of {len(held_out):,} held-out ones"
    )


@cli.command()
def embed(
    texts: Annotated[list[str] | None, typer.Argument(help="Class texts; default: those of the bundled data sets.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: the bundled table in assets/.")] = None,
    model: Annotated[str | None, typer.Option(help="Name in the local cache, or folder, of a sentence-transformers model.")] = None,
) -> None:
    """Compute the table of label embeddings (needs the optional sentence-transformers)."""
    from kgen import data, embeddings

    wanted = list(texts or data.FASHION_CLASSES)
    vectors = embeddings.embed(wanted, model or embeddings.MODEL)
    path = out or embeddings.TABLE
    embeddings.write_table(wanted, vectors, path)
    print(f"{path}: {len(wanted)} texts × {vectors.shape[1]}")


# --- watching a run ------------------------------------------------------------------------------


class Screen:
    """What a person sees of the events: a progress bar on a terminal, plain lines in a pipe, JSON if asked for."""

    def __init__(self, as_json: bool, iterations: int):
        self.as_json, self.iterations, self.bar, self.note, self.done = as_json, iterations, None, "", 0

    def __enter__(self) -> Screen:
        if console.is_terminal and not self.as_json:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
            self.bar = Progress(*columns, console=console)
            self.bar.start()
            self.task = self.bar.add_task("images and student", total=1, note="")
        return self

    def __exit__(self, *_) -> None:
        if self.bar:
            self.bar.stop()

    def hear(self, e: events.Event) -> None:
        if self.as_json:
            print(e.to_json(), flush=True)
            return
        if isinstance(e, events.RunStarted):
            self.line(f"{e.name}: teacher {e.teacher.title}, {len(e.classes)} classes, budget {e.budget_images:,} images, on {e.device}")
        elif isinstance(e, events.Warned):
            self.line(f"Warning: {e.text} {e.remedy}")
        elif isinstance(e, events.Evaluated):
            self.note = f"student {e.student.accuracy:.1%} of {e.student.n:,} real images, {e.pool_images:,} synthetic images"
            self.line(f"{e.t:7.1f} s  {self.note} (teacher {e.teacher.accuracy:.1%})")
        elif isinstance(e, events.RunFailed):
            self.line(f"The run stopped at step {e.step}: {e.cause} {e.remedy}")
        elif isinstance(e, events.RunFinished):
            self.line(
                f"{'Done' if e.reason == 'done' else 'Stopped'} after {e.t:.1f} s."
                + (f" Student: {e.accuracy:.2%} of {e.n:,} real images." if e.n else "")
            )
        if self.bar and e.iteration is not None:
            # a student's events name the iteration before: the bar never goes back
            self.done = max(self.done, e.iteration + (e.kind == "batch_synthesised"))
            self.bar.update(self.task, completed=self.done, total=self.iterations, note=self.note)

    def line(self, text: str) -> None:
        if self.bar:
            self.bar.console.print(text, highlight=False)
        else:
            print(text, flush=True)


def _watch(build, as_json: bool, checkpoint_every: float) -> int:
    """Build a Runner and run it in the foreground; Ctrl-C asks it to stop, a second one insists."""
    controls = Controls()
    interrupted = threading.Event()

    def on_interrupt(*_) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        console.print("Stopping at the next step; press Ctrl-C again to leave at once.")
        controls.send("stop")

    signal.signal(signal.SIGINT, on_interrupt)
    runner = build(controls=controls, checkpoint_seconds=checkpoint_every, say=console.print)
    with Screen(as_json, runner.distillation.recipe.total_iterations) as screen:
        runner.listen = screen.hear
        try:
            last = runner.run()
        except KeyboardInterrupt:
            last = None
        if not as_json:
            screen.line(f"Run folder: {runner.journal.path}")
    if last is None or (last.kind == "run_finished" and last.reason == "stopped"):
        console.print(f"Go on with: python -m kgen resume {runner.journal.path}")
        return 130
    return 1 if last.kind == "run_failed" else 0


def _from_stdin(out: Path | None, checkpoint_every: float, as_json: bool) -> int:
    from kgen.runner import Runner

    chosen = parse(sys.stdin.buffer.read())
    return _watch(lambda **o: Runner.new(chosen, out or default_folder(chosen), **o), as_json, checkpoint_every)


def _controlled(checkpoint_every: float) -> int:
    """The app's child: one line with recipe and folder, then control lines; end of input means stop and exit.

    Standard output carries JSON lines {"kind": ready | started | error | waiting, …}.
    """
    from kgen.embeddings import EmbeddingError
    from kgen.engine import Distillation
    from kgen.runner import DiskError, Runner

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the app's terminal reaches us too; the app decides

    def tell(kind: str, **more: Any) -> None:
        print(json.dumps({"kind": kind, **more}), flush=True)

    # while nobody waits: read the data, warm the kernels, and let torch import what its first optimiser wants (1.5 s)
    Distillation(recipes.get("fashion-live"))
    tell("ready")
    line = sys.stdin.readline()
    if not line.strip():
        return 0
    controls = Controls()
    options = {"controls": controls, "checkpoint_seconds": checkpoint_every, "say": lambda text: tell("waiting", text=text)}
    try:
        order = json.loads(line)
        if "resume" in order:
            runner = Runner.resume(order["resume"], **options)
        else:
            runner = Runner.new(parse(order["recipe"]), order["folder"], **options)
    except (RecipeError, ZooError, DataError, JournalError, EmbeddingError, OSError) as error:
        tell("error", text=str(error))
        return 2
    except (ValueError, KeyError, TypeError) as error:
        tell("error", text=f"The first line of input is no order with recipe and folder: {error!r}.")
        return 2
    tell("started", folder=str(runner.journal.path))
    threading.Thread(target=_read_controls, args=(controls, tell), daemon=True).start()
    try:
        last = runner.run()
    except DiskError as error:
        tell("error", text=str(error))
        return 1
    return 1 if last is None or last.kind == "run_failed" else 0


def _read_controls(controls: Controls, tell) -> None:
    for line in sys.stdin:
        try:
            order = json.loads(line)
            controls.send(order["do"], order.get("unit"), order.get("id"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            tell("error", text=f"Not a control line: {error}")
    controls.send("stop")


def main() -> None:
    """Errors of the user's become one sentence and exit code 2."""
    from kgen.embeddings import EmbeddingError
    from kgen.runner import DiskError

    try:
        cli()
    except (RecipeError, ZooError, DataError, JournalError, EmbeddingError) as error:
        console.print(f"Error: {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except DiskError as error:
        console.print(f"Error: {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
