"""`python -m kgen preflight`: what the command's words mean. The check runs in a child, `screen.py`
shows its answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kgen.cli import progress
from kgen.preflight.request import PreflightError, inspect, order, read_names


def preflight(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Weights: .safetensors, .pt or .pth; or - for one JSON line on standard input.",
        ),
    ],
    arch: Annotated[
        str | None,
        typer.Option(
            help="Name of the architecture, such as resnet18; not needed where the file has a card."
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help=(
                "cat,dog or a .txt file (a name a line), a .json list, or a known data set, in the"
                " order of the outputs."
            )
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Per channel, of pixels in [0,1].")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Per channel, of pixels in [0,1].")
    ] = None,
    side: Annotated[
        str | None,
        typer.Option(metavar="N", help="Side in pixels of the images that it learnt from."),
    ] = None,
    channels: Annotated[int | None, typer.Option(help="Of an image; found in the file.")] = None,
    n_train: Annotated[
        int | None,
        typer.Option(help="Number of its training images: the memory budget is a share of them."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set whose real test images measure accuracy.")
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip", help="May images be mirrored? Not letters, digits, signs."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="What people see.")] = None,
    resolutions: Annotated[
        str | None, typer.Option(metavar="N,N", help="Sides of synthetic images to try.")
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Keep it as a teacher of this name, if nothing speaks against it."
        ),
    ] = None,
    by_order: Annotated[
        bool,
        typer.Option(
            "--by-order", help="Match tensors by their place: names differ, shapes agree."
        ),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="With --save: store in half precision.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line on standard output.")
    ] = False,
) -> None:
    """Check your own teacher in seconds, before anything trains: what it can do, what will be off
    and why.
    """
    if file == "-":
        from kgen.cli.worker import checked

        raise typer.Exit(checked())
    fields: dict[str, Any] = {
        "path": str(Path(file)),
        "architecture": arch,
        "classes": None if classes is None else read_names(classes),
        "mean": _numbers("--mean", mean),
        "std": _numbers("--std", std),
        "side": side,
        "channels": channels,
        "n_train": n_train,
        "data": data,
        "flip": flip,
        "title": title,
        "resolutions": resolutions and [part.strip() for part in resolutions.split(",")],
        "by_order": by_order,
        "half": half,
        "save": save,
    }
    raise typer.Exit(progress.show_inspection(inspect(order(fields)), as_json))


def _numbers(option: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise PreflightError(
            f"{option} is {text!r}; expected a number a channel with commas between, such as"
            " 0.485,0.456,0.406."
        ) from None
