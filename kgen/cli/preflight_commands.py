"""`python -m kgen preflight`: its options, its findings on the terminal, and the check itself.

The check runs in a child process, `python -m kgen preflight -`, for the page too: it reads a
request from one line and prints JSON lines {"kind": row | report | error, …}.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.box import SIMPLE
from rich.table import Table as Grid
from rich.text import Text

from kgen.cli.console import console, text_console
from kgen.cli.progress import print_line
from kgen.errors import KGenError
from kgen.events import TeacherCard
from kgen.nets import own_code
from kgen.phrases import failed_check
from kgen.preflight.classnames import read_names
from kgen.preflight.request import PreflightError, check_name, inspect, parse_request
from kgen.recipes import recipes


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
        str | None,
        typer.Option(help="Data set whose real test images are used to measure accuracy."),
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
        raise typer.Exit(run_check())
    own = own_code.from_typed(arch) if arch else None
    if save:
        check_name(save)
    names = None if classes is None else read_names(classes)
    fields: dict[str, Any] = {
        "path": str(Path(file)),
        "architecture": own or arch,
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
    request = parse_request(fields)
    if own:
        console.print(f"--arch {arch} runs the code in that file.")
    raise typer.Exit(show_findings(inspect(request, own_code=True), as_json))


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


# --- the findings on the terminal -----------------------------------------------------------------

STATUS = {"ok": Text("ok"), "warn": Text("note", "yellow"), "fail": Text("no", "red")}


def show_findings(messages: Generator[dict[str, Any], None, None], as_json: bool) -> int:
    """Show the findings about a user's teacher, as a table or as they arrive; returns the exit
    code.
    """
    grid, last, lines = Grid(box=SIMPLE, show_header=False), {}, []
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    if not (as_json or console.is_terminal):  # a status line would be invisible
        console.print("Checking the file. This takes about ten seconds.")
    with nullcontext() if as_json else console.status("checking"), closing(messages):
        for last in messages:
            if as_json:
                print_line(json.dumps(last))
            elif last["kind"] == "row":
                finding = Text(last["finding"]) + Text(
                    f"\n{last['advice']}" if last["advice"] else "", style="dim"
                )
                grid.add_row(Text(last["name"]), STATUS[last["status"]], finding)
                lines += last.get("lines", ())
    if not as_json:
        if grid.row_count:
            text_console().print(grid)
        if lines:  # on one line, so that it can be copied
            print_line("\n".join([*(f"    {line}" for line in lines), ""]))
        if last["kind"] == "error":
            console.print(f"Error: {last['text']}", soft_wrap=True)
        elif last["saved"]:
            card = TeacherCard.model_validate(last["spec"]["card"])
            card = card.model_copy(update={"name": Path(last["saved"]).stem})
            print_line(f"Saved as {last['saved']}. A first run that takes seconds to minutes:")
            print_line(f"    {recipes.command(recipes.quick(card))}")
        else:
            print_line(
                "It can be used as a teacher."
                if last["ok"]
                else "It cannot be used as a teacher yet."
            )
    return 0 if last.get("ok") else 2


# --- the check, in the child process --------------------------------------------------------------


@contextlib.contextmanager
def _private_stdout() -> Iterator[TextIO]:
    """Standard output for the caller alone. Whatever else prints, such as a program that a user's
    own network starts, writes to standard error.
    """
    sys.stdout.flush()
    with open(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield stdout
        finally:
            os.dup2(stdout.fileno(), 1)


def run_check() -> int:
    """Read a request (`kgen.preflight.request.PreflightRequest`) from one line of input and check
    it.

    Prints one line per finding, then the report. Returns the exit code.
    """
    with _private_stdout() as stdout:

        def send_message(kind: str, **fields: Any) -> None:
            stdout.write(json.dumps({"kind": kind, **fields}) + "\n")
            stdout.flush()

        return _check(send_message)


def _check(send_message: Callable[..., None]) -> int:
    """Do what `run_check` does, and send errors as messages."""
    try:
        request = parse_request(sys.stdin.readline())
        if request.save:
            check_name(request.save)
        from kgen.preflight import examination, register  # torch

        report = examination.examine(
            request, lambda row: send_message("row", **row.model_dump()), guarded=True
        )
        if request.save and report.ok:
            report = report.model_copy(
                update={
                    "saved": str(register.save_teacher(report, request.save, half=request.half))
                }
            )
    except KGenError as error:
        send_message("error", text=str(error), code=error.code)
        return 2
    except OSError as error:
        send_message(
            "error",
            text=(
                f"{error.filename or 'A file'} cannot be read or written:"
                f" {error.strerror or error}."
            ),
        )
        return 2
    except Exception as error:  # an internal bug; still report it to the user
        send_message("error", text=failed_check(error))
        return 2
    send_message("report", **report.model_dump())
    return 0 if report.ok else 2
