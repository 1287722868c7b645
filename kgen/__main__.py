"""The command line: `python -m kgen …`, or `kgen …` if installed. Only this file and kgen/cli
print.

Exit codes: 0 done or stopped on request, 1 the run failed, 2 bad input, 130 interrupted (the run
folder can be resumed).
"""

from __future__ import annotations

import os

# Must be set before torch is imported. Idle OpenMP threads spin and take the cores away from app
# and browser (measured: steps up to 8× slower).
for _name, _value in {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
}.items():
    os.environ.setdefault(_name, _value)
if os.environ.get("WORLD_SIZE", "1") != "1":
    # torch warns about a projection that is expected to be unused at times
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import datetime
import json
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from kgen import __version__
from kgen.cli import (
    bundle_commands,
    data_commands,
    evaluate_command,
    preflight_commands,
    recipe_argument,
    sweep_command,
    table_output,
    worth_commands,
    zoo_output,
)
from kgen.cli.console import console
from kgen.cli.progress import Json, watch
from kgen.cli.recipe_argument import read_recipe as read_recipe
from kgen.data import classes
from kgen.distributed.launch import TIMEOUT_SECONDS, ProcessError, ProcessLost, launched
from kgen.errors import DiskError, KGenError
from kgen.journal.journal import Journal
from kgen.journal.reading import open_run
from kgen.phrases import count
from kgen.recipe.recipe import Recipe, parse
from kgen.system.terminal import replace_unprintable
from kgen.tables import tables

cli = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "Data-free knowledge distillation: train a student from a teacher whose training data is no"
        " longer available."
    ),
)


def _print_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options before a command."""


OutOption = Annotated[
    Path | None, typer.Option("--out", help="Run folder to create; default runs/NAME-TIME.")
]
CheckpointOption = Annotated[
    float, typer.Option("--checkpoint-every", min=0, help="Seconds between checkpoints.")
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=1,
        metavar="SECONDS",
        help="With several processes: how long to wait for one that does not respond.",
    ),
]


def default_folder(recipe: Recipe) -> Path:
    return Path("runs") / f"{recipe.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


@cli.command("recipes")
def list_recipes(
    every: Annotated[
        bool, typer.Option("--all", help="Also list the recipes of the paper's experiments.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the named recipes."""
    recipe_argument.list_recipes(as_json, every=every)


@cli.command()
def run(
    recipe: Annotated[
        str,
        typer.Argument(help="A recipe's name, a JSON file, or - for JSON lines on standard input."),
    ],
    out: OutOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field: --set weights.kr=0"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed for all random draws.")] = None,
    schedule: Annotated[str | None, typer.Option(help="sequential or concurrent.")] = None,
    checkpoint_every: CheckpointOption = 5.0,
    control: Annotated[
        bool,
        typer.Option("--control", help="With -: keep reading control lines from standard input."),
    ] = False,
    timeout: TimeoutOption = TIMEOUT_SECONDS,
    estimate_only: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Only print what the run will cost: time, memory, and disk space."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Generate images and train a student; everything is saved in a run folder."""
    if recipe == "-":
        if launched().size > 1:
            raise ProcessError(
                "Several processes cannot read one recipe from standard input; save it in a file.",
                code="unsupported-input",
            )
        from kgen.cli.worker import run_controlled

        raise typer.Exit(
            run_controlled(checkpoint_every)
            if control
            else _from_stdin(out, checkpoint_every, as_json)
        )
    run_recipe = read_recipe(recipe, settings or [], seed, schedule)
    if estimate_only:
        if launched().size > 1:
            raise ProcessError(
                "--estimate works with one process only. With several processes, a run prints its"
                " cost when it starts.",
                code="unsupported-input",
            )
        from kgen.cli.estimates import print_estimate

        raise typer.Exit(print_estimate(run_recipe, as_json))
    folder = out or default_folder(run_recipe)
    if launched().size > 1:
        from kgen.cli import process_commands

        raise typer.Exit(
            process_commands.run(run_recipe, folder, as_json, checkpoint_every, timeout)
        )
    Journal.require_free(folder)  # before torch is imported
    from kgen.journal.runner import Runner

    raise typer.Exit(
        watch(lambda **o: Runner.new(run_recipe, folder, **o), as_json, checkpoint_every)
    )


@cli.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    real: Annotated[
        Path | None,
        typer.Option(
            "--real",
            help=(
                "Folder or ZIP file of the run's own real test images, if it is elsewhere now; the"
                " run remembers it."
            ),
        ),
    ] = None,
    other_images: Annotated[
        bool,
        typer.Option(
            "--other-images",
            help="Continue even if these are not the real images that the run started with.",
        ),
    ] = False,
    checkpoint_every: CheckpointOption = 5.0,
    timeout: TimeoutOption = TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """Resume a run that was stopped or killed.

    A sequential run on a CPU gives the same result as without the interruption.
    """
    from kgen.journal.runner import Runner

    open_run(folder)
    if launched().size > 1:
        from kgen.cli import process_commands

        raise typer.Exit(
            process_commands.resume(folder, real, other_images, as_json, checkpoint_every, timeout)
        )
    raise typer.Exit(
        watch(
            lambda **o: Runner.resume(folder, real=real, other_images=other_images, **o),
            as_json,
            checkpoint_every,
        )
    )


@cli.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to create; default RUN-student, next to the run."),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx",
            help=(
                "Also write student.onnx (needs onnx, onnxruntime, onnxscript), verified against"
                " torch."
            ),
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Export a run's student to a folder for others to use.

    The folder contains weights, class names, a card, and code that loads the student.
    """
    from kgen.journal.export import export as write

    path, card = write(folder, out, onnx=onnx)
    if as_json:
        print(json.dumps({"folder": str(path), **card}))
        return
    print(f"{path}: {', '.join(sorted(f.name for f in path.iterdir()))}")
    for role in ("student", "teacher"):
        sizes = {
            name: f"{n:,} {name}"
            for name in ("parameters", "macs", "bytes")
            if (n := card[role][name]) is not None
        }
        print(
            f"{role}: {', '.join(sizes.values()).replace('macs', 'multiply-accumulates per image')}"
        )
    if card["onnx"]:
        print(
            f"student.onnx differs from torch by at most {card['onnx']['largest_difference']:.1e}"
            " of the largest logit"
        )


@cli.command()
def teach(
    dataset: Annotated[
        str, typer.Argument(help="Data set, such as cifar10; an unknown name lists them all.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; default: where recipes look for that teacher."),
    ] = None,
    data_folder: Annotated[
        Path | None, typer.Option("--data", help="Folder with the real training set.")
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Allow torchvision to download the data (Fashion-MNIST 30 MB, CIFAR 170 MB).",
        ),
    ] = False,
    network: Annotated[
        str | None,
        typer.Option(
            help=(
                "Fashion-MNIST: cnn (default) or vit; CIFAR-10: cnn (default); CIFAR: an"
                " architecture from Table 2, such as wrn-40-2; Imagenette: slim."
            )
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes over the training set; default: as for the bundled teacher, or 200 for"
            " the paper's networks.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, mps, or auto; the plans for CIFAR need a GPU.")
    ] = "cpu",
    seed: int = 0,
    half: Annotated[
        bool,
        typer.Option("--half", help="Store the weights in half precision, which halves the file."),
    ] = False,
) -> None:
    """Train a teacher on a real training set, and write it with its card.

    This is the only command that trains on real images to make a teacher.
    """
    zoo_output.watch_teaching(
        dataset, network, out, data_folder, download, epochs, device, seed, half
    )


@cli.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="A teacher listed by `python -m kgen zoo`, timm:MODEL.TAG, or torchvision:NAME."
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            help="A published file that is already on this machine; nothing is downloaded.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a teacher's published weights, verify them, and save them as a teacher with a card.

    No other command downloads weights.
    """
    raise typer.Exit(zoo_output.watch_fetch(name, file, as_json))


@cli.command("zoo")
def list_zoo(as_json: Json = False) -> None:
    """List teachers (bundled, on this machine, to fetch, to train) and students."""
    zoo_output.list_zoo(as_json)


@cli.command()
def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Class texts; default: those of every data set with a recipe."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to add them to; default: the bundled table in assets/."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A sentence-transformers model: its name in the local cache, or its folder."
        ),
    ] = None,
) -> None:
    """Add class texts to the table of label embeddings (needs the optional
    sentence-transformers).
    """
    from kgen import embeddings

    path = out or embeddings.TABLE
    added, total = embeddings.extend_table(
        list(texts or classes.texts()), path, model or embeddings.MODEL
    )
    print(f"{path}: {count(added, 'new text')}, {total:,} in total")


@cli.command()
def table(
    name: Annotated[
        str | None,
        typer.Argument(help="A table's name; fashion, photographs, or all; omit to list them."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of runs per row, with seeds 0, 1, 2, …")
    ] = 3,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Parallel runs, each on one thread; default: one per core."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Start no runs; only print the available results.")
    ] = False,
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Start no runs; write the results to docs/results.md."),
    ] = False,
    as_json: Json = False,
    file: Annotated[
        Path, typer.Option("--runs", help="The finished runs, one JSON line each.")
    ] = tables.RUNS,
) -> None:
    """Run the paper's tables, on Fashion-MNIST and on photographs.

    Executes the missing runs, then shows the mean and spread; continues where it stopped.
    """
    from kgen.tables import report
    from kgen.tables.measure import missing
    from kgen.tables.results import Pace, Results

    results, jobs, all_tables = Results(file), jobs or os.cpu_count() or 1, tables.find("all")
    if name is None:
        return table_output.list_tables(all_tables, seeds, jobs, results, as_json)
    selected, finished, code = tables.find(name), results.read(), 0
    if markdown:
        return report.write_page(
            {t.name: report.markdown(t, report.lines(t, range(seeds), finished)) for t in selected}
        )
    if not show:
        tasks = missing(selected, range(seeds), finished)
        pace = Pace((row for t in all_tables for row in t.rows), finished.values())
        code = table_output.watch_tables(tasks, jobs, results, pace) if tasks else 0
    table_output.show_tables(selected, seeds, results, as_json)
    raise typer.Exit(code)


cli.command()(sweep_command.sweep)
cli.command()(evaluate_command.evaluate)
cli.add_typer(data_commands.cli, name="data")
cli.command()(preflight_commands.preflight)
cli.command()(worth_commands.worth)
cli.command()(bundle_commands.bundle)
cli.command()(bundle_commands.unbundle)


def _from_stdin(out: Path | None, checkpoint_every: float, as_json: bool) -> int:
    from kgen.journal.runner import Runner

    recipe = parse(sys.stdin.buffer.read())
    return watch(
        lambda **o: Runner.new(recipe, out or default_folder(recipe), **o),
        as_json,
        checkpoint_every,
    )


def main() -> None:
    """Turn user errors into one sentence, or one line of JSON with --json, and an exit code."""
    replace_unprintable()
    # Pillow's warnings about unusual metadata; files that cannot be read are reported anyway
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        cli()
    except KGenError as error:
        _print_error(error)
        sys.exit(1 if isinstance(error, (DiskError, ProcessLost)) else 2)
    except OSError as error:
        _print_error(
            KGenError(
                f"{error.filename or 'a file'} cannot be read or written:"
                f" {error.strerror or error}.",
                code="file-failed",
                file=error.filename,
            )
        )
        sys.exit(1)


def _print_error(error: KGenError) -> None:
    if "--json" in sys.argv:
        print(json.dumps(error.to_json()), file=sys.stderr)
    else:
        console.print(f"Error: {error}", soft_wrap=True)


if __name__ == "__main__":
    main()
