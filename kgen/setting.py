"""A recipe on this machine: device, teacher, chosen classes, target, budget, real images. Fixed for the whole run."""

from __future__ import annotations

import os

import numpy as np
import torch

from kgen import data, embeddings, events, zoo
from kgen.evaluate import score
from kgen.keyregion import make_target
from kgen.recipe import Recipe, RecipeError
from kgen.teachers import Teacher

REFERENCE_IMAGES = 400


def pick_device(wanted: str) -> torch.device:
    """The device that a recipe asks for; auto takes CUDA, then MPS, then the CPU. RecipeError if it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    found = [name for name, ok in there.items() if ok]
    if wanted != "auto" and wanted not in found:
        raise RecipeError(f"Recipe field 'device' is {wanted!r}, but this machine has: {', '.join(found)}.")
    return torch.device(found[0] if wanted == "auto" else wanted)


def choose_classes(recipe: Recipe, known: tuple[str, ...]) -> list[int]:
    """Indices of the recipe's classes among the teacher's. RecipeError names one that is not there."""
    if recipe.classes is None:
        return list(range(len(known)))
    chosen = []
    for c in recipe.classes:
        if isinstance(c, str) and c in known:
            chosen.append(known.index(c))
        elif isinstance(c, int) and 0 <= c < len(known):
            chosen.append(c)
        else:
            raise RecipeError(f"Recipe field 'classes': {c!r} is not a class of {recipe.teacher}. {zoo.nearest(str(c), list(known))}")
    if len(set(chosen)) != len(chosen):
        raise RecipeError("Recipe field 'classes': a class is chosen twice.")
    return chosen


class Setting:
    """Everything that a recipe names, found and checked. Raises RecipeError, ZooError, DataError, EmbeddingError."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.device = pick_device(recipe.device)
        self.teacher = zoo.load_teacher(recipe.teacher).to(self.device)
        self.card = card = self.teacher.card
        self.chosen = choose_classes(recipe, self.teacher.classes)
        self.classes = torch.tensor(self.chosen, device=self.device)
        """[K] teacher's index of each chosen class; labels elsewhere are positions in this list."""
        self.side = recipe.resolutions[0]
        self.budget_pixels = recipe.budget_pixels(card.n_train, card.side)
        self.budget_images = self.budget_pixels // self.side**2
        if self.budget_images < 1:
            raise RecipeError(
                f"Recipe field 'ratio' is {recipe.ratio}: {self.budget_pixels} pixels hold no image of {self.side} × {self.side}. Raise it."
            )
        self.table = embeddings.class_table(self.teacher.classes).to(self.device)
        """P [K_T,d]"""
        self.student_total = recipe.total_student_steps if len(self.chosen) > 1 else 0
        """Student steps of the whole run; a single class gives a student nothing to tell apart."""
        if self.student_total and recipe.pool_policy == "spread" and self.budget_images * (recipe.warmup_epochs + 1) < recipe.epochs:
            raise RecipeError(
                f"Recipe field 'ratio' is {recipe.ratio}: a budget of {self.budget_images} images, spread over {recipe.epochs} epochs, "
                "leaves the pool empty when the student begins. Raise it, or lower 'epochs'."
            )
        with torch.no_grad():
            blank = torch.zeros(1, card.channels, self.side, self.side, device=self.device)
            self.map_size: tuple[int, int] = tuple(self.teacher(blank).features.shape[2:])
        self.target = make_target(recipe.target, *self.map_size).to(self.device)
        on_test = recipe.evaluate_on == "test"
        self.real = data.test_set(card.data) if on_test else data.split(data.training_set(card.data))[1]

    def teacher_score(self, real: data.RealImages, teacher: Teacher) -> events.Score:
        """The teacher's accuracy among the chosen classes: on all test images where it is known, else on these."""
        card, everything = self.card, len(self.chosen) == len(self.teacher.classes)
        if card.accuracy is not None and self.recipe.evaluate_on == "test" and everything:
            # measured on all test images when the teacher was made; a test measures it again
            return events.Score(accuracy=card.accuracy, n=card.n_test)
        return score(teacher.logits, real, self.chosen, device=self.device)

    @torch.no_grad()
    def reference(self) -> events.Arrays:
        """Some hundred real examples and what the teacher makes of them; for comparison only."""
        real = self.real.stratified(REFERENCE_IMAGES, tuple(self.chosen), seed=1)
        position = {c: i for i, c in enumerate(self.chosen)}
        embedding = self.teacher(torch.from_numpy(real.images).to(self.device).float() / 255).embedding
        labels = np.array([position[c] for c in real.labels.tolist()], dtype=np.int64)
        return {"images": real.images, "labels": labels, "embedding": embedding.half().cpu().numpy()}

    def warnings(self) -> list[tuple[str, str]]:
        """(what may surprise, what to do about it)"""
        r, found = self.recipe, []
        offered = r.total_iterations * r.batch
        if r.pool_policy == "spread" and offered < self.budget_images:
            text = f"The run makes {offered:,} images, but the budget holds {self.budget_images:,}."
            found.append((text, "Add epochs or iterations, or lower the ratio."))
        if len(self.chosen) == 1:
            text = "One class only: images are made, but there is nothing for a student to tell apart."
            found.append((text, "Choose two classes or more to train a student."))
        if r.schedule == "concurrent" and self.device.type == "mps":
            found.append(("Two threads are not safe on MPS; the run is sequential.", "Nothing to do."))
        return found

    def device_title(self) -> str:
        """What was picked, for people."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)})"
        return f"cpu ({torch.get_num_threads()} of {os.cpu_count()} threads)" if self.device.type == "cpu" else self.device.type
