"""Warnings about a run, given before it starts."""

from __future__ import annotations

import math

import numpy as np

from kgen import embeddings
from kgen.data import classes
from kgen.data.class_folders import unreadable_remark
from kgen.data.data import RealImages
from kgen.engine.setting import Setting
from kgen.nets import own_code
from kgen.phrases import count
from kgen.recipes import resolutions

NO_ACTION = "No action needed."


def warnings_of(setting: Setting) -> list[tuple[str, str]]:
    """Everything in a setting that may surprise its user, as (text, remedy)."""
    return [
        *_image_warnings(setting),
        *_teacher_warnings(setting),
        *_test_warnings(setting),
        *_class_warnings(setting),
        *_process_warnings(setting),
    ]


def _image_warnings(setting: Setting) -> list[tuple[str, str]]:
    """Sides that had to be rounded, and a pool that the run cannot fill or that is too small."""
    r, found = setting.recipe, []
    for requested, side in zip(r.resolutions, setting.sides):
        if requested != side:
            text = (
                f"Images of {requested} × {requested} are not supported; {side} × {side} is used."
            )
            multiple = math.lcm(r.side_multiple, setting.teacher.side_multiple)
            remedy = f"This generator and teacher need sides that are a multiple of {multiple}."
            found.append((text, remedy))
    # a few images fewer than the budget is just rounding: batches of several sides hold whole
    # images
    budget, batches = setting.budget_images, [scale.batch for scale in setting.scales]
    kept = sum(batch - setting.held_out(batch) for batch in batches)
    generated = kept * r.total_iterations // len(batches)
    if r.pool_policy == "spread" and generated < budget - max(batches) // 2:
        text = f"The run makes {count(generated, 'image')}, but the budget holds {budget:,}."
        found.append((text, "Add epochs or iterations, or lower the ratio."))
    if setting.student_total and budget < len(setting.selected):
        text = (
            f"The budget holds {count(budget, 'image')} of {len(setting.selected):,} classes, so"
            " the student never sees some of the classes."
        )
        found.append((text, "Raise the ratio, or select fewer classes."))
    return found


def _teacher_warnings(setting: Setting) -> list[tuple[str, str]]:
    """A teacher that runs a user's code, and loss terms that are off because of the teacher."""
    weights, teacher, found = setting.recipe.weights, setting.teacher, []
    if own_code.is_own(setting.card.architecture):
        text = f"The teacher's network is built by the code in {setting.card.architecture}."
        found.append((text, "This run executes it; only use a file that you trust."))
    if teacher.map_kind == "none" and weights.kr:
        text = "This teacher has no spatial map before its pooling, so the key region is off."
        found.append((text, NO_ACTION))
    single = [scale.side for scale in setting.scales if scale.map_size == (1, 1)]
    if single and weights.kr:
        sizes = " and ".join(f"{side} × {side}" for side in single)
        text = (
            f"For images of {sizes}, the teacher's map is a single cell, so the key region cannot"
            " say where the evidence should be."
        )
        card = setting.card
        off = "turn the key region off (weights.kr=0, or Method on the page)."
        remedy = off[0].upper() + off[1:]
        larger = resolutions.smallest(card)
        if card.cell and not resolutions.has_single_cell(card, larger):
            remedy = f"Use images of {larger} × {larger} or more, or {off}"
        found.append((text, remedy))
    if not teacher.has_batch_norm and weights.bn:
        text = (
            "This teacher has no BatchNorm layers, so it stores no statistics, and the BN loss is"
            " off."
        )
        found.append((text, NO_ACTION))
    return found


def _test_warnings(setting: Setting) -> list[tuple[str, str]]:
    """What the student's tests will not cover."""
    if setting.real is not None:
        return _real_image_warnings(setting, setting.real)
    if not setting.student_total:
        return []
    text = (
        "There are no real test images, so the student's accuracy is unknown. Instead, you see how"
        " often it agrees with the teacher on synthetic images that it was not trained on."
    )
    remedy = (
        "Provide a folder of real images with one subfolder per class (recipe field real_images,"
        " or More on the page)."
    )
    return [(text, remedy)]


def _real_image_warnings(setting: Setting, real: RealImages) -> list[tuple[str, str]]:
    """What was left out of the real images, and what is missing."""
    if real.report:
        return real.report.remarks(public=True)
    found = [unreadable_remark(real.unreadable)] if real.unreadable else []
    missing = len(set(setting.selected).difference(np.unique(real.labels).tolist()))
    if missing:
        text = (
            f"{missing} of {count(len(setting.selected), 'selected class')}"
            f" {'has' if missing == 1 else 'have'} no real test images;"
            " accuracy covers only the others."
        )
        found.append((text, "Add the missing images, or select only the other classes."))
    return found


def _class_warnings(setting: Setting) -> list[tuple[str, str]]:
    """Too few classes, and class texts that are missing or too similar."""
    r, names, found = setting.recipe, setting.teacher.classes, []
    if len(setting.selected) == 1:
        text = "Only one class is selected: images are generated, but no student is trained."
        found.append((text, "Select two or more classes to train a student."))
    chosen_here = setting.requested_embedding == "auto" and r.embedding == "center"
    if chosen_here and (missing := classes.without_embedding(r, names)):
        listed = ", ".join(missing[:3]) + ("…" if len(missing) > 3 else "")
        text = (
            f"The bundled table has no embedding for {len(missing):,} of {len(names):,} class"
            f" names ({listed}), so class centers represent the classes."
        )
        remedy = (
            "No action needed. To use texts instead, set different ones for those classes in"
            " class_texts."
        )
        found.append((text, remedy))
    if r.embedding == "text" and (pairs := embeddings.close_pairs(setting.table[setting.selected])):
        a, b = (names[setting.selected[i]] for i in pairs[0])
        more = f" ({len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
        text = (
            f"The texts for {a} and {b} mean nearly the same thing{more}, so their images may look"
            " alike."
        )
        found.append((text, "Give one of them a different text in class_texts."))
    if r.schedule == "concurrent" and setting.device.type == "mps":
        text = "Two threads are not safe on MPS; the run is sequential."
        found.append((text, NO_ACTION))
    return found


def _process_warnings(setting: Setting) -> list[tuple[str, str]]:
    """What is different because several processes share the run."""
    r, processes, found = setting.recipe, setting.world.size, []
    if processes == 1:
        text = "With one process, there is only one generator, so generators are not averaged."
        return [(text, NO_ACTION)] if r.average_generators else []
    if r.schedule == "concurrent":
        text = (
            f"With {processes} processes, generator and student take turns; the run is sequential."
        )
        found.append((text, NO_ACTION))
    batches = r.epochs * r.iterations
    if batches % processes:
        text = (
            f"{processes} processes cannot divide {count(batches, 'batch')} of images evenly, so"
            f" {processes - batches % processes} of them wait in the last round."
        )
        found.append(
            (text, f"To use all of them, make epochs × iterations a multiple of {processes}.")
        )
    return found
