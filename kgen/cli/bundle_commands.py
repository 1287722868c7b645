"""`python -m kgen bundle` and `unbundle`: their options.

`kgen.journal.bundle` and `kgen.journal.unbundle` do the work.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kgen.cli import progress
from kgen.cli.progress import Json
from kgen.journal import bundle as bundles
from kgen.journal.unbundle import unbundle as open_bundle


def bundle(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.kgen", help="File to write; default RUN.kgen, next to the run."
        ),
    ] = None,
    real_images: Annotated[
        bool,
        typer.Option(
            "--with-real-images",
            help=(
                "Include the pixels of your own real images, if the recipe names a folder of them."
            ),
        ),
    ] = False,
    checkpoint: Annotated[
        bool,
        typer.Option(
            "--with-checkpoint",
            help="Include the checkpoint, so that the run can be resumed elsewhere.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a run to a single file that can be opened on another machine."""
    path = bundles.write(folder, out, real_images=real_images, checkpoint=checkpoint)
    progress.print_line(
        json.dumps({"file": str(path), "bytes": path.stat().st_size})
        if as_json
        else f"{path}: {path.stat().st_size / 2**20:,.1f} MB"
    )


def unbundle(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.kgen", help="A file from `python -m kgen bundle` or the Runs page."
        ),
    ],
    runs: Annotated[
        Path, typer.Option("--runs", metavar="FOLDER", help="The runs folder to add it to.")
    ] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Open a bundle as a run.

    It is checked against its manifest, written completely or not at all, and never replaces a run.
    """
    path = open_bundle(file, runs)
    progress.print_line(json.dumps({"folder": str(path)}) if as_json else f"{path}")
