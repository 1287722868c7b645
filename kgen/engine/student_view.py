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

MAX_IMAGES, MAX_VALUES = 600, 2**23
"""How many pool images are embedded, and how many values they may have in total; the same limit on
values applies to the real images.
"""

PoolSample = list[tuple[Tensor, Tensor, Tensor]]


def sample_pool(pool: MemoryPool, processes: int = 1) -> PoolSample:
    """Evenly spaced images of the pool, buffer by buffer, as a copy.

    With a pool in each of several processes, each takes its share of the sample.
    (u8 [n,c,e,e], origin [n,2] as iteration and position, labels [n])
    """
    filled, sample = [buffer for buffer in pool.buffers.values() if len(buffer)], []
    for buffer in filled:
        limit = min(MAX_IMAGES, MAX_VALUES // buffer.images[0].numel())
        limit //= len(filled) * processes
        indices = torch.linspace(0, len(buffer) - 1, max(1, min(len(buffer), limit))).round().long()
        sample.append(
            (
                buffer.images[indices.to(buffer.images.device)],
                buffer.origin[indices],
                buffer.labels[indices],
            )
        )
    return sample


@torch.no_grad()
def student_view(
    setting: Setting, state: LoopState, sample: PoolSample, real: RealImages | None
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
        result = forward_with_embedding(
            student, (images.to(setting.device).float() / 255 - t.mean) / t.std
        )[1]
        return result if projection is None else projection(result)

    origin, labels = (torch.cat([p[i] for p in sample]).int() for i in (1, 2))
    arrays = {
        "iteration": origin[:, 0],
        "pos": origin[:, 1],
        "labels": labels,
        "embedding": torch.cat([embedding(p[0]) for p in sample]).half(),
    }
    if real is not None and real.images[:1].size * len(real) <= MAX_VALUES:
        arrays["reference"] = embedding(torch.from_numpy(real.images[:])).half()
    if (anchors := state.class_vectors(torch.arange(len(setting.selected)))) is not None:
        arrays["anchors"] = anchors.half()
    return {name: value.cpu().numpy() for name, value in arrays.items()}
