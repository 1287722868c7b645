"""The resolutions of a run: side, batch, map and target of each, as reported by the engine or as
planned by a recipe. No torch.

Iterations cycle through them (`State.resolution`), so everything that depends on image size comes
from here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from app.live import format
from kgen import events
from kgen.recipe.fields import Target
from kgen.recipe.recipe import Recipe, RecipeError
from kgen.recipes import resolutions


@dataclass(frozen=True, slots=True)
class Scale:
    """One resolution. `target` is M_target, `h` rows of `w` numbers; `budget` is how many images of
    this side the pool may hold.
    """

    side: int
    batch: int
    h: int
    w: int
    target: list[list[float]]
    budget: int

    def to_json(self) -> dict[str, Any]:
        """For the snapshot."""
        return asdict(self)


def of_run(started: events.RunStarted) -> tuple[Scale, ...]:
    """As the engine reported them. Older runs have one resolution, stored in other fields."""
    if started.scales:
        return tuple(
            Scale(s.side, s.batch, *s.map_size, s.target, s.budget_images) for s in started.scales
        )
    recipe = started.recipe
    return (
        Scale(
            recipe["resolutions"][0],
            recipe["batch"],
            *started.map_size,
            started.target,
            started.budget_images,
        ),
    )


def planned(recipe: Recipe, card: events.TeacherCard) -> tuple[Scale, ...]:
    """Before the engine has reported them: each resolution gets an equal share of the budget's
    pixels.
    """
    patch = resolutions.patch(card)
    cell_size = patch if patch > 1 else resolutions.cell(card)
    try:
        sides = recipe.sides(patch)
    except RecipeError:  # two resolutions become the same; the engine reports that as an error
        sides = recipe.resolutions[:1]
        recipe = recipe.replace(resolutions=sides, batches=None)
    batches, pixels = recipe.batch_sizes(sides), recipe.budget_pixels(card.n_train, card.side)
    cells = [math.ceil(side / cell_size) for side in sides]
    return tuple(
        Scale(side, batch, n, n, target(recipe.target, n, n), pixels // len(sides) // side**2)
        for side, batch, n in zip(sides, batches, cells)
    )


def target(spec: Target, h: int, w: int) -> list[list[float]]:
    """M_target before a run reports its own; a test checks it against kgen.keyregion."""
    if spec.kind == "full":
        return [[spec.peak] * w for _ in range(h)]
    sigma = spec.sigma_fraction * max(h, w) if spec.sigma_fraction else spec.sigma
    return [
        [
            round(
                spec.peak
                * math.exp(-((i - (h - 1) / 2) ** 2 + (j - (w - 1) / 2) ** 2) / (2 * sigma**2)),
                4,
            )
            for j in range(w)
        ]
        for i in range(h)
    ]


def to_json(
    scales: tuple[Scale, ...], recipe: dict[str, Any], kind: str, processes: int = 1
) -> dict[str, Any]:
    """The snapshot's entries: `scales`, how many `processes` share each turn, and `map` with the
    kind of all maps and their target's name.
    """
    return {
        "scales": [s.to_json() for s in scales],
        "processes": processes,
        "map": {"kind": kind, "label": format.target_label(recipe["target"])},
    }
