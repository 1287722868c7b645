"""`python -m kgen evaluate`: a student's accuracy on real images, with progress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kgen.cli.console import console
from kgen.cli.image_progress import ImageProgress
from kgen.cli.progress import Json, print_line
from kgen.journal.reading import open_run
from kgen.phrases import count
from kgen.recipe.recipe import parse
from kgen.system.paths import typed_path
from kgen.zoo.zoo import ZooError


def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run folder, or an exported student.safetensors."),
    ],
    real_folder: Annotated[
        Path | None,
        typer.Option(
            "--real",
            help="Folder or ZIP file of real test images, one subfolder per class.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Evaluate an exported student on all real test images.

    The teacher's answers are kept, so the next evaluation on the same images is faster.
    """
    from kgen.answers import Answers
    from kgen.data import data
    from kgen.data.folders import ImageFiles
    from kgen.engine.setting import select_classes
    from kgen.evaluate import guessing_remark, score
    from kgen.journal import own_images
    from kgen.zoo import zoo

    file = folder if folder.suffix == ".safetensors" else open_run(folder).student()
    if not file.is_file():
        raise ZooError(
            f"{file} does not exist; specify a run folder, or the student.safetensors in one.",
            code="no-file",
            file=str(file),
        )
    spec = zoo.read_spec(
        file,
        "recipe",
        "is not an exported student; specify a run folder, or the student.safetensors in one",
    )
    recipe = parse(spec["recipe"])
    given = typed_path(str(real_folder)) if real_folder else None
    run = None if folder == file else open_run(folder)
    real_images = run.recipe_here(given).real_images if run else given
    recipe = recipe.replace(real_images=real_images)
    names = tuple(spec["classes"])
    selected = select_classes(recipe, names)
    try:
        with ImageProgress(quiet=as_json) as line:
            real = data.images_for_run(
                recipe.real_images,
                zoo.card(recipe.teacher),
                names,
                tuple(selected),
                line.activity("checking"),
            )
            answers = (
                Answers(zoo.checksum(recipe.teacher), selected, real.images)
                if isinstance(real.images, ImageFiles)
                else None
            )
            result = score(
                zoo.load_classifier(file), real, selected, on_progress=line.activity("student")
            )
            teacher = score(
                zoo.load_teacher(recipe.teacher).logits,
                real,
                selected,
                on_progress=line.activity("teacher"),
                answers=answers,
            )
    except KeyboardInterrupt:
        console.print("Stopped. The teacher's answers so far are kept for the next evaluation.")
        raise typer.Exit(130) from None
    if as_json:
        found = {
            "accuracy": result.accuracy,
            "n": result.n,
            "per_class": dict(zip([names[c] for c in selected], result.per_class)),
            "teacher": teacher.accuracy,
        }
        print_line(json.dumps(found | ({"real": real.report.to_json()} if real.report else {})))
        return
    remarks = real.report.remarks() if real.report else []
    if run and (different := own_images.difference(run, own_images.identify(real))):
        remarks.append((different, ""))
    if remark := guessing_remark(teacher):
        remarks.append(remark)
    for text, remedy in remarks:
        console.print(f"Note: {text} {remedy}".rstrip(), soft_wrap=True)
    print_line(
        f"student {result.accuracy:.2%} of {count(result.n, 'real image')} (teacher"
        f" {teacher.accuracy:.2%})"
    )
    for c, share in zip(selected, result.per_class):
        print_line(f"  {names[c]:<12} " + ("no real images" if share is None else f"{share:.1%}"))
