"""What is known about a run before its first event: teacher, classes, targets, budget, command. No
torch.
"""

from __future__ import annotations

from typing import Any

from app.live import scales
from kgen.events import TeacherCard
from kgen.recipe.recipe import Recipe
from kgen.recipes import recipes, resolutions
from kgen.system.paths import last_part
from kgen.zoo import zoo


def public_plan(recipe: Recipe) -> dict[str, Any]:
    """The plan of a recipe, safe for everyone to read, with its teacher's card. A missing teacher
    gets a card without facts.

    A recipe that does not fit its teacher (it names an unknown class, say) is planned with all
    classes.
    """
    folder = recipe.real_images  # viewers need not know where it is on this machine
    if folder:
        recipe = recipe.model_copy(update={"real_images": last_part(folder)})
    try:
        card, classes = zoo.card(recipe.teacher), zoo.classes(recipe.teacher)
    except (ValueError, KeyError):  # ZooError, or a file without a valid card
        # the engine reports it on Start
        card = TeacherCard(
            name=recipe.teacher,
            title=recipe.teacher,
            architecture="",
            parameters=0,
            channels=1,
            side=max(recipe.resolutions),
            features=0,
            n_train=0,
        )
        classes = tuple(str(c) for c in recipe.classes or ())
        recipe = recipe.model_copy(update={"classes": None})
    # with the name alone, the command would mean another folder
    placeholder = {"real_images": "FOLDER" if folder else None}
    command = recipes.command(recipe.model_copy(update=placeholder))
    try:
        return plan(recipe, card, classes, command)
    except (ValueError, IndexError):  # a recipe.json from elsewhere; the engine reports it
        return plan(recipe.model_copy(update={"classes": None}), card, classes, command)


def plan(
    recipe: Recipe, card: TeacherCard, classes: tuple[str, ...], command: str
) -> dict[str, Any]:
    """What is known about a run before its first event. Until the engine reports map sizes, a map
    has one cell per `resolutions.cell` pixels.
    """
    recipe_json = recipe.model_dump(mode="json")
    selected = (
        range(len(classes))
        if recipe.classes is None
        else [classes.index(c) if isinstance(c, str) else c for c in recipe.classes]
    )
    planned = scales.planned(recipe, card)
    radii = [recipe.radii.inner, recipe.radii.outer]
    kind = "validation" if recipe.evaluate_on == "validation" else "test"
    score = card.score_on(
        kind, all_classes=recipe.classes is None, own_images=recipe.real_images is not None
    )
    teacher_costs = costs(recipe.teacher, card, len(classes))
    return {
        "title": f"{recipe.name}, seed {recipe.seed}",
        "teacher": {
            **card.model_dump(),
            "map": [planned[0].h, planned[0].w],
            "macs": teacher_costs["macs"],
            "bytes": teacher_costs["bytes"],
        },
        "student": {**costs(recipe.student, card, len(classes)), "name": recipe.student},
        "classes": [classes[c] for c in selected],
        "class_indices": list(selected),
        "recipe": recipe_json,
        "command": command,
        **scales.to_json(planned, recipe_json, "attention" if sees_patches(card) else "cam"),
        "card_accuracy": score.accuracy if score else None,
        "judge": None,
        "machine": "",  # detected when a run starts
        "radii": radii if recipe.diverse and None not in radii else None,
        "budget": sum(s.budget for s in planned),
        "planned": (
            recipe.total_generator_steps,
            recipe.total_student_steps if len(selected) > 1 else 0,
            recipe.total_iterations,
        ),
    }


def costs(name: str, card: TeacherCard, classes: int) -> dict[str, int | None]:
    """Cost of a bundled teacher or student at the image size it was counted for; None for others,
    which are counted when a run starts.
    """
    counted = (
        zoo.COSTS.get(name)
        if name in zoo.TEACHERS or (card.channels, card.side, classes) == (1, 28, 10)
        else None
    )
    return dict(zip(("parameters", "macs", "bytes"), counted or (None,) * 3))


def sees_patches(card: TeacherCard) -> bool:
    """Is the teacher a ViT, whose map is the attention from [CLS] to the patches?"""
    return resolutions.patch(card) > 1
