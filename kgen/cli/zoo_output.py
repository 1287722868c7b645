"""Terminal output about teachers: lists, downloads and training."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table as Grid

from kgen.cli.console import console, progress_bar, text_column, text_console
from kgen.phrases import count, rounded
from kgen.recipes import recipes
from kgen.zoo import inventory
from kgen.zoo.download import Progress as Downloaded


def list_zoo(as_json: bool) -> None:
    """List teachers grouped by what is needed to use them, followed by students."""
    teachers, students = inventory.teachers(), inventory.students()
    if as_json:
        for kind, rows in (("teacher", teachers), ("student", students)):
            for row in rows:
                print(json.dumps({"kind": kind, **row}))
        return
    stdout = text_console()
    for state, title in inventory.GROUPS.items():
        if rows := [row for row in teachers if row["state"] == state]:
            grid = Grid(
                title=title, title_justify="left", box=None, show_header=False, padding=(0, 2)
            )
            grid.add_column(no_wrap=True)  # users have to type the name
            for row in rows:
                size = rounded(row["parameters"]) if row["parameters"] else ""
                accuracy = f"{row['accuracy']:.1%}" if row["accuracy"] else ""
                grid.add_row(
                    row["name"],
                    row["title"],
                    size,
                    f"{row['side']} px" if row["side"] else "",
                    accuracy,
                )
            stdout.print(grid, "")
    stdout.print("Students: " + ", ".join(row["name"] for row in students))
    stdout.print(
        "Teachers and students can also be any timm classification network, or torchvision:NAME.",
    )


def watch_fetch(name: str, local_file: Path | None, as_json: bool) -> int:
    """Download a teacher with progress output; returns the exit code.

    If interrupted, the downloaded part is kept.
    """
    from kgen.zoo import fetch

    plan = fetch.plan(name)
    if plan.file.is_file():
        console.print(
            f"{plan.file} already exists; delete it to fetch it again.",
            soft_wrap=True,
        )
        return 0
    stream = fetch.fetch(plan, local_file)
    try:
        verification = _show_download(stream, plan.name, as_json or not console.is_terminal)
    except KeyboardInterrupt:
        stream.close()
        console.print(
            f"Stopped. The downloaded part is kept; resume with: {plan.command}",
            soft_wrap=True,
        )
        return 130
    card = plan.card
    if as_json:
        print(
            json.dumps(
                {
                    "name": plan.name,
                    "file": str(plan.file),
                    "checksum": verification,
                    **card.model_dump(exclude={"name"}),
                }
            )
        )
    else:
        print(
            f"{plan.file}: {card.title}, {rounded(card.parameters)} parameters, images of"
            f" {card.side} × {card.side}; {verification}."
        )
        command = f"python -m kgen run imagenet-peek --set teacher={plan.name}"
        if card.data != "imagenet1k":
            command = recipes.command(recipes.quick(card.model_copy(update={"name": plan.name})))
        print(f"License: {card.licence}. Use it with: {command}")
    return 0


def _show_download(stream: Generator[Downloaded, None, str], name: str, quiet: bool) -> str:
    """Show a download as a progress bar; returns what the stream returns.

    The bar appears with the first byte, so an unreachable host produces only the error message.
    """
    columns = (
        text_column("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with ExitStack() as stack:
        bar = None
        while True:
            try:
                progress = next(stream)
            except StopIteration as end:
                return end.value
            if quiet:
                continue
            if bar is None:
                bar = stack.enter_context(Progress(*columns, console=console))
                task = bar.add_task(name)
            bar.update(task, completed=progress.done, total=progress.total)


def watch_teaching(
    dataset: str,
    network: str | None,
    out: Path | None,
    folder: Path | None,
    download: bool,
    epochs: int | None,
    device: str,
    seed: int,
    half: bool = False,
) -> None:
    """Train a teacher on real images, write its file and report its accuracy."""
    from kgen.data import data
    from kgen.engine.setting import select_device
    from kgen.zoo import teach, zoo

    plan = teach.plan(dataset, network, epochs)
    out = teach.output_file(plan, out)
    train, held_out = teach.split_held_out(
        data.training_set(dataset, folder, download, plan.side), plan
    )
    train = replace(train, images=train.images[:])  # decode image files once
    shared_folder = folder and not plan.holds_out  # test and training images share a folder
    test = data.test_set(dataset, folder if shared_folder else None, plan.side)
    teacher = zoo.build(
        plan.architecture,
        plan.shape,
        seed,
        train.images.shape[1],
        len(train.classes),
        train.images.shape[2],
    )
    with progress_bar() as bar:
        task = bar.add_task(f"teaching {dataset}", total=None, note="")
        for report in teach.teach(
            teacher, train, held_out, plan, seed=seed, device=select_device(device)
        ):
            note = (
                f"epoch {report.epoch + 1}/{plan.epochs}, loss {report.loss:.3f}"
                if report.accuracy is None
                else f"held-out accuracy {report.accuracy:.2%}"
            )
            bar.update(task, total=report.steps, completed=report.step, note=note)
            if report.ends_epoch and not console.is_terminal:
                console.print(f"epoch {report.epoch + 1}: {note}")
    spec = teach.finish(teacher, train, held_out, test, plan)
    zoo.save_network(zoo.halved(teacher) if half else teacher, out, spec)
    held_out_text = (
        f", {spec['held_out_accuracy']:.2%} of {count(len(held_out), 'held-out image')}"
        if held_out
        else ""
    )
    print(
        f"{out}: {spec['card']['accuracy']:.2%} of {count(len(test), 'real test image')}"
        f"{held_out_text}"
    )
