"""`python -m kgen data …`: options and output; `kgen.data.collection` does the work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kgen.cli import folder_check, progress
from kgen.cli.console import progress_bar
from kgen.cli.progress import Json
from kgen.data import collection
from kgen.data.data import DataError
from kgen.phrases import count

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A data set listed by `python -m kgen data list`.")
]

cli = typer.Typer(
    no_args_is_help=True,
    help=(
        "Real data sets: what is on this machine, and how to add one. Nothing is downloaded unless"
        " you run `get`."
    ),
)


@cli.command("list")
def list_sets(as_json: Json = False) -> None:
    """List the data sets, which images are on this machine, and what accuracy on them means."""
    for name in collection.CARDS:
        installed = collection.installed(name)
        if as_json:
            progress.print_line(json.dumps(installed.to_json()))
            continue
        counts = (
            f"{installed.train:,} training and {count(installed.test, 'test image')}"
            if installed.train or installed.test
            else "not on this machine"
        )
        progress.print_line(
            f"{name:<14} {installed.card.title}: {counts}. License: {installed.card.license}."
            f" Source: {installed.card.source}."
        )
        progress.print_line(f"{'':<14} {installed.card.honest}")


@cli.command()
def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER",
            help=(
                "A data set listed by `python -m kgen data list`; or your own folder or ZIP file,"
                " with --teacher; or - for one JSON line on standard input."
            ),
        ),
    ],
    teacher: Annotated[
        str | None,
        typer.Option(help="The teacher whose classes the subfolders are named after."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Decode every image of a data set or folder, and report those that cannot be read.

    For your own folder, also report which subfolder is which of the teacher's classes.
    """
    if name == "-":
        raise typer.Exit(folder_check.serve())
    if name not in collection.CARDS or (teacher is not None and Path(name).exists()):
        raise typer.Exit(folder_check.check(name, teacher, as_json))
    if teacher is not None:
        raise DataError(
            f"{name} is the name of a data set, which is checked without --teacher; there is no"
            " folder of that name here.",
            code="conflict",
            field="teacher",
            name=name,
        )
    unreadable, counts = [], {}
    with progress_bar() as bar:
        task = bar.add_task(f"checking {name}", total=None, note="")
        for split, done, total, problem in collection.check(name):
            counts[split] = total
            unreadable += [problem] if problem else []
            if done % 100 == 0 or done == total:
                bar.update(task, total=total, completed=done, note=split)
    if as_json:
        progress.print_line(json.dumps({"name": name, **counts, "unreadable": unreadable}))
    else:
        progress.print_line(
            f"{name}: "
            + ", ".join(count(n, f"{split} image") for split, n in counts.items())
            + (f"; {len(unreadable)} cannot be read." if unreadable else "; all can be read.")
        )
        for sentence in unreadable[:20]:
            progress.print_line(f"  {sentence}")
    if unreadable:
        raise typer.Exit(1)


@cli.command()
def add(
    name: Name,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder or ZIP with one subfolder per class, named by class or WordNet ID.",
        ),
    ],
    split: Annotated[
        str, typer.Option(help="Split for images whose path does not name one: test or train.")
    ] = "test",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the existing images.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy your own data set to where recipes look for it.

    Every image is decoded once; unreadable ones are skipped and reported.
    """
    if split not in ("test", "train"):
        raise collection.DataError(
            f"--split is {split!r}; expected test or train.",
            code="invalid-choice",
            field="--split",
        )
    with progress_bar() as bar:
        task = bar.add_task(f"adding {name}", total=None, note="")
        for step in collection.add(name, path, split, replace):
            if isinstance(step, collection.AddedImages):
                added = step
            elif step[0] % 100 == 0 or step[0] == step[1]:
                bar.update(task, completed=step[0], total=step[1], note="")
    train, test = added.train.total(), added.test.total()
    if as_json:
        fields = {
            "train": dict(added.train),
            "test": dict(added.test),
            "unreadable": added.unreadable,
            "unknown": dict(added.unknown),
        }
        progress.print_line(json.dumps({"name": name, "folder": str(added.folder), **fields}))
        return
    progress.print_line(
        f"{added.folder}: {train:,} training and {count(test, 'test image')} of"
        f" {count(len(added.train | added.test), 'class')}."
    )
    if added.unreadable:
        progress.print_line(
            f"Skipped unreadable images: {len(added.unreadable)}, for example"
            f" {added.unreadable[0]}."
        )
    if added.unknown:
        progress.print_line(
            f"Skipped folders that match no class of {name}:"
            f" {', '.join(f'{k} ({n})' for k, n in list(added.unknown.items())[:5])}."
        )


@cli.command()
def get(name: Name) -> None:
    """Download a data set, through torchvision if torchvision provides it."""
    card = collection.card(name)
    progress.print_line(f"{card.title}: {card.source}. License: {card.license}.")
    collection.get(name)
    installed = collection.installed(name)
    progress.print_line(
        f"{installed.train:,} training and {count(installed.test, 'test image')} are on this"
        " machine."
    )
