"""Class activation maps and the targets that they are pushed up to (Eq. 5, Eq. 6, App. G)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kgen.recipe.fields import Target


def class_activation_map(features: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """CAM (Eq. 5): M = Σ_k w_k^ŷ F_k, raw: no bias, no ReLU, no normalization, no upsampling.

    features [B,k,h,w] before global pooling, weight [K,k] of the classifier, labels [B] → [B,h,w].
    """
    return torch.einsum("bkhw,bk->bhw", features, weight[labels])


def linearized_map(features: Tensor, head: Callable[[Tensor], Tensor], labels: Tensor) -> Tensor:
    """CAM for any head: M = h·w·Σ_k F_k·∂logit_ŷ/∂F_k, with the derivative held constant.

    Equals Eq. 5 if the head is pooling and Linear.

    features [B,k,h,w], head: features → logits [B,K] image by image, labels [B] → [B,h,w],
    differentiable with respect to the features.
    """
    with torch.enable_grad():
        detached = features.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(head(detached).gather(1, labels[:, None]).sum(), detached)
    return features.shape[2] * features.shape[3] * (features * gradient).sum(1)


def gaussian_target(h: int, w: int, peak: float = 1.0, sigma: float = 2.0) -> Tensor:
    """G(peak, sigma): peak·exp(−r²/2σ²) around the center of the map, σ in cells; not renormalized.

    → [h,w].
    """
    y = torch.arange(h, dtype=torch.float64) - (h - 1) / 2
    x = torch.arange(w, dtype=torch.float64) - (w - 1) / 2
    return (peak * torch.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * sigma**2))).float()


def full_target(h: int, w: int, value: float) -> Tensor:
    """Full(value): the same everywhere. → [h,w]."""
    return torch.full((h, w), float(value))


def make_target(target: Target, h: int, w: int) -> Tensor:
    """The recipe's target for a map of h×w cells."""
    if target.kind == "full":
        return full_target(h, w, target.peak)
    sigma = target.sigma_fraction * max(h, w) if target.sigma_fraction else target.sigma
    return gaussian_target(h, w, target.peak, sigma)
