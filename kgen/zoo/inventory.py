"""All known teachers and students, and what each needs before it can be used.

Facts only: no torch, no download.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kgen.data import catalogue
from kgen.nets import architectures
from kgen.zoo import published, zoo

GROUPS = {
    "bundled": "Bundled teachers",
    "here": "On this machine",
    "fetch": "Published weights: python -m kgen fetch NAME",
    "teach": "Can be trained here: python -m kgen teach DATA --network NETWORK",
    "bring": "Teachers from the paper that you have to provide",
}
"""State of a teacher → its title for display."""


def teachers() -> list[dict[str, Any]]:
    """One row per teacher.

    Name, title, architecture, parameters, side, accuracy (measured, or None), license, state, and
    how to get it.
    """
    return sorted(_teacher_rows(), key=lambda row: list(GROUPS).index(row["state"]))


def _teacher_rows() -> Iterator[dict[str, Any]]:
    for name, path in zoo.TEACHERS.items():
        if path.is_file():
            yield _row(name, "bundled")
    for name in zoo.user_teachers():
        yield _row(name, "here")
    for name, facts in catalogue.TEACHERS.items():
        if catalogue.teacher_file(name).is_file():
            yield _row(name, "here")
        else:
            yield _row(
                name,
                (
                    "fetch"
                    if facts.weights
                    else "teach"
                    if facts.data in catalogue.TRAINABLE
                    else "bring"
                ),
                catalogue.teacher_instructions(name),
            )
    user_teachers = zoo.user_teachers()
    for name, weights in published.TEACHERS.items():
        if name not in user_teachers:
            about = {
                "title": f"{weights.title} on {catalogue.DATA[weights.data].title}",
                "architecture": weights.architecture,
                "accuracy": None,
                "licence": weights.licence,
            }
            yield {
                "name": name,
                **about,
                "parameters": weights.parameters,
                "side": weights.side,
                "state": "fetch",
                "how": published.instructions(name),
            }


def _row(name: str, state: str, how: str = "") -> dict[str, Any]:
    """A teacher with a card. An unreadable file is listed with the reason in place of its title."""
    try:
        card = zoo.card(name)
    except (zoo.ZooError, ValueError) as error:
        empty = dict.fromkeys(("architecture", "parameters", "side", "accuracy", "licence"))
        return {"name": name, "title": str(error), **empty, "state": state, "how": how}
    about = card.model_dump(
        include={"title", "architecture", "parameters", "side", "accuracy", "licence"}
    )
    return {"name": name, **about, "state": state, "how": how}


def students() -> list[dict[str, Any]]:
    """One row per student of the short list.

    `python -m kgen run … --set student=NAME` also accepts any timm network and torchvision:NAME.
    """
    ours = [
        {"name": name, "architecture": zoo.family(shape), **shape}
        for name, shape in zoo.STUDENTS.items()
    ]
    return ours + [{"name": name, "architecture": name} for name in architectures.NAMES]
