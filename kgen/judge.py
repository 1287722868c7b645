"""The second opinion: a network that took no part in the run classifies its images.

It trains, selects and changes nothing. It sees each finished batch once, in eval mode, at the
images' own size and with its own normalization. It draws no random numbers, so a run with a judge
makes the same images and the same student as one without.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kgen import events
from kgen.data import classes
from kgen.data.class_folders import normalize_name
from kgen.evaluate import batch_slices
from kgen.events import TeacherCard
from kgen.phrases import count
from kgen.recipe.recipe import Recipe, RecipeError
from kgen.teachers import Teacher
from kgen.zoo import zoo

BUNDLED = ("imagenet-lite2", "imagenet-lite0", "fashion-cnn", "fashion-vit")
"""Candidates for "auto", which selects the first that is not the teacher and knows all its classes.
"""
TOP_K = 5


class Judge:
    """Classifies images.

    Args:
        network: not the run's teacher.
        indices: of the run's selected classes among the network's own.
    """

    def __init__(self, network: Teacher, indices: Sequence[int]):
        self.network = network
        self.indices = torch.tensor(indices, device=network.mean.device)

    @property
    def card(self) -> events.JudgeCard:
        card = self.network.card
        return events.JudgeCard(
            name=card.name,
            title=card.title,
            classes=len(self.network.classes),
            indices=self.indices.tolist(),
        )

    @torch.no_grad()
    def __call__(self, images: Tensor, positions: Tensor) -> tuple[events.Opinion, events.Arrays]:
        """Images u8 [B,c,e,e], pseudo-labels [B] as positions in the selected classes → opinion,
        arrays.

        The opinion has shares of the batch. The arrays have, per image:

        - judge_top i32 [B,5], judge_top_p f16 [B,5]: the most likely classes (its own indices) and
          their probabilities
        - judge_confidence f16 [B]: its probability of the pseudo-label
        - judge_rank i32 [B]: how many classes it finds more likely
        - judge_chosen i32 [B]: the position of the most likely selected class
        """
        device = self.indices.device
        logits = torch.cat(
            [
                self.network.logits(images[batch].to(device).float() / 255)
                for batch in batch_slices(tuple(images.shape))
            ]
        )
        positions = positions.to(device)
        targets = self.indices[positions][:, None]
        share = logits.softmax(1)
        p, top = share.topk(min(TOP_K, logits.shape[1]))
        rank = (logits > logits.gather(1, targets)).sum(1)
        selected = logits[:, self.indices].argmax(1)
        correct = top[:, :1] == targets
        columns = {
            "judge_top": top.int(),
            "judge_top_p": p.half(),
            "judge_confidence": share.gather(1, targets)[:, 0].half(),
            "judge_rank": rank.int(),
            "judge_chosen": selected.int(),
        }
        shares = (
            torch.stack([correct[:, 0], (top == targets).any(1), selected == positions])
            .double()
            .mean(1)
            .tolist()
        )
        opinion = events.Opinion(**dict(zip(("top1", "top5", "chosen"), shares, strict=True)))
        return opinion, {name: column.cpu().numpy() for name, column in columns.items()}


def find(
    recipe: Recipe, teacher: Teacher, selected: Sequence[int], sides: Sequence[int]
) -> Judge | None:
    """The judge that a recipe asks for, on the teacher's device.

    None if it asks for none, or "auto" finds none. RecipeError for a network that is the teacher,
    does not know a selected class, or does not accept these images.
    """
    if recipe.judge == "none":
        return None
    if recipe.judge == "auto":
        candidates = (
            _load_judge(name, teacher, selected, sides)
            for name in compatible_networks(recipe.teacher)
        )
        return next((judge for judge in candidates if isinstance(judge, Judge)), None)
    judge = _load_judge(recipe.judge, teacher, selected, sides)
    if isinstance(judge, zoo.ZooError):
        raise RecipeError(
            f"Recipe field 'judge': {judge} Choose another network, 'auto', or 'none'.",
            code=judge.code,
            **(judge.fields | {"field": "judge", "value": recipe.judge}),
        )
    return judge


def compatible_networks(teacher: str) -> list[str]:
    """Bundled networks that accept a teacher's images and know all of its classes, best first.

    Decides from their cards alone.
    """
    card, names = zoo.card(teacher), zoo.classes(teacher)
    candidates = [
        name for name in BUNDLED if name != teacher and zoo.card(name).channels == card.channels
    ]
    return [
        name
        for name in candidates
        if None not in match(zoo.card(name), zoo.classes(name), card, names)
    ]


def _load_judge(
    name: str, teacher: Teacher, selected: Sequence[int], sides: Sequence[int]
) -> Judge | zoo.ZooError:
    """The judge with this name, or the error that says why it cannot be one."""
    try:
        network = zoo.load_teacher(name).to(teacher.mean.device)
    except zoo.ZooError as error:
        return error
    if _same_weights(network, teacher):
        return zoo.ZooError(
            f"{name} is the teacher itself, so it cannot give a second opinion.",
            code="duplicate-teacher",
        )
    if network.card.channels != teacher.card.channels:
        return zoo.ZooError(
            f"{name} expects images with {count(network.card.channels, 'channel')}, but these have"
            f" {teacher.card.channels}.",
            code="other-channels",
            expected=network.card.channels,
            found=teacher.card.channels,
        )
    matched = match(network.card, network.classes, teacher.card, teacher.classes)
    indices = []
    for c in selected:
        index, lacking = matched[c], teacher.classes[c]
        if index is None:
            return zoo.ZooError(
                f"{name} does not know the class {lacking!r}.",
                code="unknown-class",
                lacking=lacking,
            )
        indices.append(index)
    for side in sides:
        try:
            network.logits(
                torch.zeros(1, network.card.channels, side, side, device=network.mean.device)
            )
        except (RuntimeError, ValueError, AssertionError):  # timm asserts its sizes
            return zoo.ZooError(
                f"{name} does not accept {side} × {side} images.",
                code="unsupported-size",
                side=side,
            )
    return Judge(network, indices)


def _same_weights(network: Teacher, teacher: Teacher) -> bool:
    """Whether two networks have the same weights, regardless of name."""
    state, teacher_state = network.network.state_dict(), teacher.network.state_dict()
    return state.keys() == teacher_state.keys() and all(
        torch.equal(tensor, teacher_state[name]) for name, tensor in state.items()
    )


def match(
    judge: TeacherCard, names: Sequence[str], teacher: TeacherCard, teacher_names: Sequence[str]
) -> list[int | None]:
    """Each of the teacher's classes → its index among the judge's, by WordNet ID or by name.

    None if the judge does not know the class.
    """
    index = {key: i for i, keys in reversed([*enumerate(_keys(judge, names))]) for key in keys}
    return [
        next((index[key] for key in keys if key in index), None)
        for keys in _keys(teacher, teacher_names)
    ]


def _keys(card: TeacherCard, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The keys of each class: its WordNet ID if the network's data set has those, and its name."""
    wnids = classes.wnids(card.data) if card.data in classes.known() else None
    if wnids is None or len(wnids) != len(names):
        return [(normalize_name(name),) for name in names]
    return [(wnid, normalize_name(name)) for wnid, name in zip(wnids, names)]
