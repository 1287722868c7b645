"""`python -m kgen preflight`: its options. The check runs in a child process;
`kgen/cli/progress.py` shows its findings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kgen.cli import progress
from kgen.cli.console import console
from kgen.nets import own_code
from kgen.preflight.classnames import read_names
from kgen.preflight.request import PreflightError, inspect, parse_request


def preflight(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help=(
                "A weights file written by torch.save or safetensors; or - for one JSON line on"
                " standard input."
            ),
        ),
    ],
    arch: Annotated[
        str | None,
        typer.Option(
            help=(
                "Name of the architecture, such as resnet18; optional if the file has a card. Or"
                " FILE.py:NAME for your own network; this runs that file's code."
            )
        ),
    ] = None,
    arch_args: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=VALUE,…",
            help="Arguments of the network's constructor: img_size=32,patch_size=4.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help=(
                "cat,dog, a known data set, or a file in the order of the outputs: .txt (one name"
                " per line), .csv, or .json (a list, or a dictionary of names and indices)."
            )
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Per channel, for pixels in [0,1].")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Per channel, for pixels in [0,1].")
    ] = None,
    side: Annotated[
        str | None,
        typer.Option(metavar="N", help="Side of its training images in pixels."),
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="Image channels; default: read from the file.")
    ] = None,
    n_train: Annotated[
        int | None,
        typer.Option(help="Number of its training images; the memory budget is a share of them."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set with the real test images for accuracy.")
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Whether images may be mirrored; use --no-flip for letters or digits.",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title for display.")] = None,
    resolutions: Annotated[
        str | None, typer.Option(metavar="N,N", help="Sides of synthetic images to try.")
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Save it as a teacher with this name if no check fails."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which set of weights to use if the file has several, such as ema.",
        ),
    ] = None,
    by_order: Annotated[
        bool,
        typer.Option(
            "--by-order", help="Match tensors by position if names differ but shapes match."
        ),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="With --save: store in half precision.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Check your own teacher in seconds, before anything trains.

    Reports what it supports, and which terms are off and why.
    """
    if file == "-":
        from kgen.cli.worker import run_check

        raise typer.Exit(run_check())
    if arch and ":" in arch and (meant := own_code.from_module(arch)):
        raise PreflightError(
            f"--arch is {arch!r}, a module. For the file, write --arch {meant}, which runs it.",
            code="invalid-name",
            name=arch,
            meant=meant,
        )
    if arch and own_code.is_own(arch):
        console.print(f"--arch {arch} runs the code in that file.")
    names = None if classes is None else read_names(classes)
    fields: dict[str, Any] = {
        "path": str(Path(file)),
        "architecture": arch and own_code.absolute(arch) if own_code.is_own(arch or "") else arch,
        "arguments": arch_args,
        "classes": names and names.names,
        "classes_from": names.source[:400] if names else "",
        "mean": _numbers("--mean", mean),
        "std": _numbers("--std", std),
        "side": side,
        "channels": channels,
        "n_train": n_train,
        "data": data,
        "flip": flip,
        "title": title,
        "resolutions": resolutions and [part.strip() for part in resolutions.split(",")],
        "weights": weights,
        "by_order": by_order,
        "half": half,
        "save": save,
    }
    raise typer.Exit(progress.show_findings(inspect(parse_request(fields), own_code=True), as_json))


def _numbers(option: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise PreflightError(
            f"{option} is {text!r}; expected one number per channel, comma-separated, such as"
            " 0.485,0.456,0.406.",
            code="invalid-value",
            field=option,
        ) from None
