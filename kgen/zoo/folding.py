"""Folds reparametrized weights into plain ones where that is exact: weight norm, spectral norm,
and pruning.

Each is the formula that the layer itself applies before every use of its weight in evaluation.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

ALIGNED = 0.9
"""Cosine above which spectral norm's vectors fit a weight that the optimizer has changed since."""


def fold(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """(the tensors, with whole weights in place of their parts; what was folded).

    Parts stay as they are if their shapes do not belong together, or if further parametrizations,
    whose formulas are unknown, change the same weight.
    """
    whole: dict[str, Tensor] = {}
    folded: list[str] = []
    remaining = dict(tensors)
    chains = Counter(
        f"{start}parametrizations.{weight}."
        for name in tensors
        if ".parametrizations." in f".{name}"
        for start, weight in _origins(name)
    )
    for name in tensors:
        if name not in remaining:
            continue
        if found := _weight(name, remaining, chains):
            kind, weight, value, parts = found
            for part in parts:
                remaining.pop(part)
                whole.pop(part, None)
            whole[weight] = value
            folded.append(f"{weight} ({kind})")
        else:
            whole[name] = remaining[name]
    return whole, tuple(folded)


def _weight(
    name: str, tensors: dict[str, Tensor], chains: Counter[str]
) -> tuple[str, str, Tensor, list[str]] | None:
    """(kind, name of the weight, weight, names of its parts) if `name` is one of its parts.

    `chains`: how many tensors the parametrizations of each weight have.
    """
    for start, weight in _origins(name):
        new = f"{start}parametrizations.{weight}."
        old = f"{start}{weight}"
        for kind, whole, *parts in (
            ("weight norm", _weight_norm, f"{old}_v", f"{old}_g"),
            ("weight norm", _weight_norm, f"{new}original1", f"{new}original0"),
            ("pruned", _pruned, f"{old}_orig", f"{old}_mask"),
            ("spectral norm", _spectral_norm, f"{old}_orig", f"{old}_u", f"{old}_v"),
            ("spectral norm", _spectral_norm, f"{new}original", f"{new}0._u", f"{new}0._v"),
        ):
            if not all(part in tensors for part in parts):
                continue
            if chains[new] > sum(part.startswith(new) for part in parts):
                continue  # other parametrizations change the weight before or after this one
            if (found := whole(*(tensors[part] for part in parts))) is not None:
                return kind, old, found, parts
    return None


def _origins(name: str) -> list[tuple[str, str]]:
    """(path, weight) that a part's name can belong to: "fc.weight_g" → ("fc.", "weight")."""
    if ".parametrizations." in f".{name}":
        start, _, rest = f".{name}".rpartition(".parametrizations.")
        return [(f"{start[1:]}." if start[1:] else "", rest.partition(".")[0])]
    path, dot, last = name.rpartition(".")
    return [
        (path + dot, last.removesuffix(suffix))
        for suffix in ("_g", "_v", "_orig", "_mask", "_u")
        if last.endswith(suffix) and last != suffix
    ]


def _weight_norm(direction: Tensor, length: Tensor) -> Tensor | None:
    """g·v/‖v‖, with one norm per slice along the axis that g has (all together if it has none)."""
    if not direction.is_floating_point() or length.dtype != direction.dtype:
        return None
    if length.numel() == 1:
        return direction * (length.reshape(()) / direction.norm())
    fits = length.ndim == direction.ndim and all(
        n in (1, m) for n, m in zip(length.shape, direction.shape)
    )
    if not fits or sum(n > 1 for n in length.shape) != 1:
        return None
    axis = next(axis for axis, n in enumerate(length.shape) if n > 1)
    return torch._weight_norm(direction, length, axis)


def _pruned(weight: Tensor, kept: Tensor) -> Tensor | None:
    return weight * kept.to(weight.dtype) if weight.shape == kept.shape else None


def _spectral_norm(weight: Tensor, left: Tensor, right: Tensor) -> Tensor | None:
    """W/(uᵀWv), with the vectors of the last training step, as in evaluation.

    u belongs to the axis of the outputs, which transposed convolutions have second. If the lengths
    allow several axes, it is the one along which the vectors fit the weight.
    """
    if not weight.is_floating_point() or {left.dtype, right.dtype} != {weight.dtype}:
        return None
    if left.ndim != 1 or right.ndim != 1 or len(left) * len(right) != weight.numel():
        return None
    matrices = [
        weight.movedim(axis, 0).reshape(len(left), len(right))
        for axis, length in enumerate(weight.shape)
        if length == len(left)
    ]
    matrix = max(matrices, key=lambda m: _alignment(m, left, right), default=None)
    if matrix is None or (len(matrices) > 1 and _alignment(matrix, left, right) < ALIGNED):
        return None
    return weight / torch.dot(left, matrix @ right)


def _alignment(matrix: Tensor, left: Tensor, right: Tensor) -> float:
    """Cosine of the angle between v and Wᵀu, or u and Wv: 1 right after a step of the power method,
    whichever of the two it computed last.
    """
    return max(
        float(torch.cosine_similarity(matrix.T @ left, right, dim=0)),
        float(torch.cosine_similarity(matrix @ right, left, dim=0)),
    )
