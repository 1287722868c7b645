"""The loss terms as pure functions: unweighted, one value per sample where the paper has one.

Independent of networks; weights are applied in `kgen.engine.objective` and, for the student, in
`kgen.engine.student_training`.
Symbols: T teacher, S student, B batch, K classes, d embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

BatchNormStatistics = tuple[Tensor, Tensor, Tensor, Tensor]
"""(mean, biased variance) of a batch, then (running_mean, running_var) of the layer; each
[channels].
"""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """L_ce (Eq. 3): −log softmax(logits)[label]. [B,K], [B] → [B]."""
    return F.cross_entropy(logits, labels, reduction="none")


def adversarial(
    teacher_logits: Tensor,
    student_logits: Tensor,
    mask: Literal["none", "agree"] = "none",
    divergence: Literal["kl", "js"] = "kl",
) -> Tensor:
    """L_adv (Eq. 3): −KL(softmax T ‖ softmax S), to be minimized. [B,K], [B,K] → [B].

    mask="agree" zeroes the samples on which the argmax of T and S differ. divergence="js" is −JS(T,
    S), which lies between −ln 2 and 0 (Yin et al. 2020), while KL is unbounded.
    """
    teacher, student = F.log_softmax(teacher_logits, 1), F.log_softmax(student_logits, 1)
    if divergence == "js":
        mixture = torch.logaddexp(teacher, student) - math.log(2)
        teacher_kl, student_kl = ((p.exp() * (p - mixture)).sum(1) for p in (teacher, student))
        distance = 0.5 * (teacher_kl + student_kl)
    else:
        distance = (teacher.exp() * (teacher - student)).sum(1)
    if mask == "agree":
        distance = distance * (teacher_logits.argmax(1) == student_logits.argmax(1))
    return -distance


def batch_norm(
    statistics: Iterable[BatchNormStatistics], scale: Literal["raw", "relative"] = "raw"
) -> Tensor:
    """L_bn (Yin et al. 2020): distance from a batch to the statistics in the teacher's BatchNorm
    layers.

    raw: Σ over layers of ‖μ − μ_run‖₂ + ‖σ² − σ²_run‖₂.
    relative: mean over layers of ‖μ − μ_run‖₂ / ‖σ_run‖₂ + ‖σ² − σ²_run‖₂ / ‖σ²_run‖₂.

    The relative distance has the same magnitude in every network, whereas raw sums differ 500-fold.
    Scalar; 0 without BatchNorm layers.
    """
    terms = []
    for mean, variance, running_mean, running_var in statistics:
        mean_distance = torch.linalg.vector_norm(mean - running_mean)
        variance_distance = torch.linalg.vector_norm(variance - running_var)
        if scale == "relative":
            mean_distance = mean_distance / running_var.sum().sqrt()
            variance_distance = variance_distance / torch.linalg.vector_norm(running_var)
        terms.append(mean_distance + variance_distance)
    if not terms:
        return torch.zeros(())
    total = torch.stack(terms)
    return total.mean() if scale == "relative" else total.sum()


def key_region(cam: Tensor, target: Tensor) -> Tensor:
    """L_kr (Eq. 6): Σ over cells of max(0, target − cam). [B,h,w], [h,w] → [B]."""
    return (target - cam).clamp_min(0).sum((1, 2))


def embedding_pull(f_s: Tensor, f_y: Tensor, r_i: float) -> Tensor:
    """L_ed (Eq. 9): max(0, MSE(f_S, f_y) − r_i); pulls the student's embedding to its class.

    [B,d], [B,d] → [B].
    """
    return ((f_s - f_y).square().mean(1) - r_i).clamp_min(0)


def embedding_push(f_s: Tensor, f_y: Tensor, r_o: float) -> Tensor:
    """L_aed (Eq. 11): max(0, r_o − MSE(f_S, f_y)); pushes new images away from their class.

    [B,d], [B,d] → [B].
    """
    return (r_o - (f_s - f_y).square().mean(1)).clamp_min(0)


def total_variation(images: Tensor) -> Tensor:
    """Total variation prior (Yin et al. 2020): Σ of ‖difference‖₂ over the four neighbor
    directions.

    [B,c,h,w] → [B].
    """
    horizontal = images[:, :, :, 1:] - images[:, :, :, :-1]
    vertical = images[:, :, 1:] - images[:, :, :-1]
    diagonal = images[:, :, 1:, 1:] - images[:, :, :-1, :-1]
    antidiagonal = images[:, :, 1:, :-1] - images[:, :, :-1, 1:]
    return sum(
        torch.linalg.vector_norm(difference.flatten(1), dim=1)
        for difference in (horizontal, vertical, diagonal, antidiagonal)
    )


def squared_size(images: Tensor) -> Tensor:
    """ℓ2 prior (Yin et al. 2020): ‖image‖₂². [B,c,h,w] → [B]."""
    return images.square().sum((1, 2, 3))


def distillation(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """L_KL (Eq. 2) at temperature τ: τ²·KL(softmax T/τ ‖ softmax S/τ), mean over the batch."""
    return temperature**2 * F.kl_div(
        F.log_softmax(student_logits / temperature, 1),
        F.log_softmax(teacher_logits / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
