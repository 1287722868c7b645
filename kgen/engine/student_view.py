"""The student's view at one moment: its embeddings of pool images and real images, and the class
anchors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kgen.data.data import RealImages
from kgen.engine.setting import Setting
from kgen.engine.state import LoopState
from kgen.events import Arrays
from kgen.nets.vit import forward_with_embedding
from kgen.pool import MemoryPool

MOST_IMAGES, MOST_VALUES = 600, 2**23
"""How many pool images are embedded, and how many values they may have in total; the same limit on
values applies to the real images.
"""

Picked = list[tuple[Tensor, Tensor, Tensor]]


def pick(pool: MemoryPool) -> Picked:
    """Evenly spaced images of the pool, shelf by shelf, as a copy.

    (u8 [n,c,e,e], origin [n,2] as iteration and position, labels [n])
    """
    filled, picked = [shelf for shelf in pool.shelves.values() if len(shelf)], []
    for shelf in filled:
        room = min(MOST_IMAGES, MOST_VALUES // shelf.images[0].numel()) // len(filled)
        at = torch.linspace(0, len(shelf) - 1, max(1, min(len(shelf), room))).round().long()
        picked.append(
            (shelf.images[at.to(shelf.images.device)], shelf.origin[at], shelf.labels[at])
        )
    return picked


@torch.no_grad()
def student_view(
    setting: Setting, state: LoopState, picked: Picked, real: RealImages | None
) -> Arrays:
    """The arrays of students/NNNNNNN.safetensors, from the student in eval mode.

    - iteration, pos, labels i32 [n]: which pool images
    - embedding f16 [n,d]: the student's embeddings of them, after its projection if the embedding
      in-out game is on
    - reference f16 [m,d]: its embeddings of the run's real examples, in the order of
      reference.safetensors
    - anchors f16 [K,d]: f_y of each selected class, only if the game is on

    The radii of Eq. 9 and 11 are mean squared errors: a class's ball has the radius √(d·r).
    """
    student, projection, t = state.student, state.projection, setting.teacher

    def embedding(images: Tensor) -> Tensor:
        found = forward_with_embedding(
            student, (images.to(setting.device).float() / 255 - t.mean) / t.std
        )[1]
        return found if projection is None else projection(found)

    origin, labels = (torch.cat([p[i] for p in picked]).int() for i in (1, 2))
    seen = {
        "iteration": origin[:, 0],
        "pos": origin[:, 1],
        "labels": labels,
        "embedding": torch.cat([embedding(p[0]) for p in picked]).half(),
    }
    if real is not None and real.images[:1].size * len(real) <= MOST_VALUES:
        seen["reference"] = embedding(torch.from_numpy(real.images[:])).half()
    if (anchors := state.class_vectors(torch.arange(len(setting.chosen)))) is not None:
        seen["anchors"] = anchors.half()
    return {name: value.cpu().numpy() for name, value in seen.items()}
