"""Accuracy on real images: arg max over the chosen classes, on their images, at the teacher's full resolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from kgen.data import RealImages
from kgen.events import Score


@torch.no_grad()
def score(
    logits_of: Callable[[Tensor], Tensor], data: RealImages, chosen: list[int], *, device: torch.device | str = "cpu", batch: int = 500
) -> Score:
    """Accuracy among the chosen classes (indices into the network's logits and the data's labels).

    Images of other classes are left out. Raises ValueError where no image is left.
    """
    data = data.take(np.flatnonzero(np.isin(data.labels, chosen)))
    if not len(data):
        raise ValueError(f"no real image of the chosen classes in {data.name}")
    columns = torch.tensor(chosen, device=device)
    position = {c: i for i, c in enumerate(chosen)}
    labels = torch.tensor([position[c] for c in data.labels.tolist()], device=device)
    hits = torch.zeros(len(chosen), device=device)
    for i in range(0, len(data), batch):
        images = torch.from_numpy(data.images[i : i + batch]).to(device).float() / 255
        right = logits_of(images)[:, columns].argmax(1) == labels[i : i + batch]
        hits.index_add_(0, labels[i : i + batch], right.float())
    counts = torch.bincount(labels, minlength=len(chosen)).cpu()
    shares = (hits.cpu() / counts.clamp_min(1)).tolist()
    return Score(accuracy=float(hits.sum().cpu()) / len(data), per_class=[round(s, 4) for s in shares], n=len(data))
