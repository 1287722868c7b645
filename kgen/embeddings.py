"""Class text → the table P of class embeddings (Eq. 1).

Uses a bundled table; a live encoder is needed only to create it. P's unit vectors
(all-MiniLM-L6-v2, d = 384) are multiplied by one factor so that the smallest mean squared error
between two classes is 0.03: Z's normalization cancels it, and it makes the paper's radii meaningful
(D.7).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from kgen.data.classes import TABLE as TABLE
from kgen.data.classes import embedded
from kgen.errors import KGenError
from kgen.phrases import first_few, pip_install
from kgen.system.files import write_durably
from kgen.zoo.zoo import header

OUTER_RADIUS = 0.03
CLOSE_COSINE = 0.93
"""Two class texts above this cosine similarity mean nearly the same thing; ImageNet's closest pair
has 0.92.
"""
WIDTH = 384
"""d of the text encoder."""
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class EmbeddingError(KGenError, ValueError):
    """Class texts without an embedding; the message says what to do."""

    code = "embedding"


def smallest_mse(table: Tensor) -> float:
    """The smallest mean squared error between two different rows. [K,d] → scalar."""
    # by differences: cdist uses a matrix product for more than 25 rows, which does not give 0 for
    # equal rows
    table = table.cpu().double()  # MPS has no double precision
    distances = (
        torch.cdist(table, table, compute_mode="donot_use_mm_for_euclid_dist").square()
        / table.shape[1]
    )
    distances.fill_diagonal_(torch.inf)
    return float(distances.min())


def rescale(table: Tensor) -> Tensor:
    """Scale the whole table by one factor so that `smallest_mse` is 0.03.

    Fewer than two rows stay unchanged.
    """
    if len(table) < 2:
        return table
    smallest = smallest_mse(table)
    if smallest <= 0:
        raise EmbeddingError(
            "Two classes have the same text, so the generator could not distinguish them; rename"
            " one.",
            code="duplicate-text",
        )
    return table * (OUTER_RADIUS / smallest) ** 0.5


def radii(table: Tensor) -> tuple[float, float]:
    """(r_i, r_o): r_o is the smallest MSE between two classes, r_i half of it. [K,d] → floats."""
    outer = smallest_mse(table)
    return outer / 2, outer


class ClassCenters:
    """f_y as class centers (CC, §3.4).

    Averages the teacher's embeddings of each class over the first iterations, until every class has
    been seen. Then the means are scaled by `rescale` and stay fixed.

    Args:
        classes: K, the number of selected classes.
        width: d_T, the width of the teacher's embedding.
    """

    def __init__(self, classes: int, width: int, device: torch.device | str = "cpu"):
        self.sums = torch.zeros(classes, width, device=device)
        self.counts = torch.zeros(classes, device=device)
        self.factor = torch.zeros((), device=device)
        """Scale factor of centers and embeddings; 0 until every class has been seen."""
        self.ready = False

    def add(
        self,
        embedding: Tensor,
        positions: Tensor,
        sum_over_processes: Callable[[Tensor], None] | None = None,
    ) -> None:
        """Add teacher embeddings [B,d_T] of images of these classes [B]; no effect once `ready`.

        `sum_over_processes`: sums what every process of a run adds, in place.
        """
        if self.ready:
            return
        before = self.sums.clone(), self.counts.clone()
        positions = positions.to(self.sums.device)
        self.sums.index_add_(0, positions, embedding.float())
        self.counts += torch.bincount(positions, minlength=len(self.counts))
        if sum_over_processes:
            for total, previous in zip((self.sums, self.counts), before):
                total -= previous
                sum_over_processes(total)
                total += previous
        self._fix()

    def _fix(self) -> None:
        """Compute the final centers once every class has been seen."""
        if not bool((self.counts > 0).all()):
            return
        means = self.sums / self.counts[:, None]
        scaled = rescale(means)
        self.factor = (scaled.norm() / means.norm().clamp_min(1e-12)).reshape(())
        self.table = scaled
        """[K,d_T], scaled"""
        self.ready = True

    def state_dict(self) -> dict[str, Tensor]:
        return {"sums": self.sums, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.sums.copy_(state["sums"])
        self.counts.copy_(state["counts"])
        self._fix()


def class_table(classes: tuple[str, ...], path: Path = TABLE, *, live: bool = False) -> Tensor:
    """P for these class texts, from the bundled file. → [K,d].

    `live`: encode missing texts with sentence-transformers. Raises EmbeddingError naming what is
    missing.
    """
    rows = embedded(path)
    missing = list(dict.fromkeys(c for c in classes if c not in rows))
    if missing and not live:
        raise EmbeddingError(
            f"The table has no embedding for {first_few(missing)}. Set embedding to"
            " 'center', which needs no texts; set text_encoder to 'live', which needs"
            " sentence-transformers; or add the texts to the table with `python -m kgen embed`.",
            code="no-embedding",
            texts=missing,
        )
    table = load_file(path)["embedding"].float()
    if missing:
        rows |= {text: len(table) + i for i, text in enumerate(missing)}
        table = torch.cat([table, embed(missing).float()])
    return rescale(table[[rows[c] for c in classes]])


def close_pairs(table: Tensor) -> list[tuple[int, int]]:
    """Pairs of rows [K,d] with nearly the same meaning, closest first."""
    unit_vectors = table / table.norm(dim=1, keepdim=True)
    cosine = (unit_vectors @ unit_vectors.T).triu(1)
    pairs = torch.nonzero(cosine > CLOSE_COSINE)
    return [tuple(p) for p in pairs[cosine[tuple(pairs.T)].argsort(descending=True)].tolist()]


def embed(texts: list[str], model: str = MODEL) -> Tensor:
    """Encode class texts with sentence-transformers (an optional extra). → unit vectors [n,384].

    `model` is a name in the local cache or a folder; nothing is downloaded. Raises EmbeddingError.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise EmbeddingError(
            f"Encoding text needs sentence-transformers: {pip_install('sentence-transformers')}.",
            code="no-package",
            package="sentence-transformers",
        ) from None
    try:
        encoder = SentenceTransformer(model, device="cpu", local_files_only=True)
    except Exception as error:  # its hub and readers raise many types
        raise EmbeddingError(
            f"The text encoder {model} is not on this machine"
            f" ({str(error).partition(chr(10))[0][:120]}); download it once with"
            " sentence-transformers.",
            code="no-encoder",
            name=model,
        ) from None
    return torch.from_numpy(encoder.encode(texts, normalize_embeddings=True))


def write_table(texts: list[str], vectors: Tensor, path: Path, model: str = MODEL) -> None:
    """Write a table in half precision.

    The error is 1e-4 of a unit vector, far below the distance between two classes.
    """
    metadata = {"texts": json.dumps(texts), "model": model}
    write_durably(path, save({"embedding": vectors.half().contiguous()}, metadata))


def extend_table(texts: list[str], path: Path, model: str = MODEL) -> tuple[int, int]:
    """Embed the texts that the table lacks and append them to its rows. → (new, all) texts.

    Creates the table if there is none. Raises EmbeddingError if the table was made with another
    model, or no encoder is installed.
    """
    metadata = header(path) if path.is_file() else {"texts": "[]", "model": MODEL}
    if metadata["model"] != MODEL:
        raise EmbeddingError(
            f"{path} was made with {metadata['model']}, which is not comparable with {MODEL};"
            " write to another file.",
            code="other-encoder",
            file=str(path),
            found=metadata["model"],
        )
    old = json.loads(metadata["texts"])
    new = [t for t in dict.fromkeys(texts) if t not in set(old)]
    if new:
        rows = [load_file(path)["embedding"]] if old else []
        write_table(old + new, torch.cat([*rows, embed(new, model).half()]), path)
    return len(new), len(old) + len(new)
