"""The memory pool M: synthetic images as bytes, within a pixel budget (§3.6 of the paper).

It has one buffer per resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

Policy = Literal["spread", "fifo", "reservoir"]


class MemoryPool:
    """Images u8, labels and their origins, never more than `budget_pixels` pixels.

    Several resolutions share the budget equally by pixels. Policies for a buffer with a budget of N
    images:
        spread: after the k-th of `planned` additions it holds ⌊N·k/planned⌋ images, chosen so that
            the classes stay balanced over the whole run; nothing is ever removed.
        fifo: everything enters; the oldest images leave.
        reservoir: a uniform sample of everything ever offered.

    Args:
        budget_pixels: Σ e² over the pool is at most this.
        planned: additions of each resolution in the whole run (for `spread`).
        classes: number of classes (for `spread`'s ledger).
        rng: for these choices; sampling for the student has its own generator (see `sample`).
        sides: the expected resolutions; if empty, the first images determine the only one.
        share: how many of a resolution's N images this pool holds, if each of several processes has
            its own pool; by default all.
    """

    def __init__(
        self,
        budget_pixels: int,
        policy: Policy = "spread",
        *,
        planned: int = 1,
        classes: int = 1,
        rng: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        sides: tuple[int, ...] = (),
        share: Callable[[int], int] = lambda images: images,
    ):
        self.budget_pixels, self.policy = budget_pixels, policy
        self.rng = rng or torch.Generator().manual_seed(0)
        self._new_buffer = lambda pixels, side: Buffer(
            share(pixels // side**2),
            side,
            policy,
            planned=planned,
            classes=classes,
            rng=self.rng,
            device=device,
        )
        self.buffers: dict[int, Buffer] = {
            side: self._new_buffer(budget_pixels // len(sides), side) for side in sides
        }

    def __len__(self) -> int:
        return sum(len(buffer) for buffer in self.buffers.values())

    @property
    def pixels(self) -> int:
        """Σ e² over the pool."""
        return sum(buffer.pixels for buffer in self.buffers.values())

    def add(
        self,
        images: Tensor,
        labels: Tensor,
        iteration: int = 0,
        extras: dict[str, Tensor] | None = None,
        admitted: Tensor | None = None,
    ) -> Tensor:
        """Offer images u8 [B,c,e,e] with labels [B] and any further columns [B,…].

        Returns which of them entered, bool [B]. `admitted` bool [B]: those that may enter; by
        default all. Raises ValueError for images that are not bytes, have a size without a buffer,
        or exceed the whole budget.
        """
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(
                f"the pool accepts images u8 [B,c,e,e], not {images.dtype} {tuple(images.shape)}"
            )
        side = images.shape[-1]
        if not self.buffers:
            self.buffers[side] = self._new_buffer(self.budget_pixels, side)
        if side not in self.buffers:
            raise ValueError(
                f"the pool holds images of side {', '.join(map(str, self.buffers))}, not"
                f" {tuple(images.shape[1:])}"
            )
        return self.buffers[side].add(images, labels, iteration, extras, admitted)

    def sample_buffer(self, rng: torch.Generator | None = None) -> Buffer:
        """A buffer, drawn in proportion to its pixels. Raises ValueError if the pool is empty."""
        filled = [buffer for buffer in self.buffers.values() if len(buffer)]
        if not filled:
            raise ValueError("the memory pool is empty: nothing to sample")
        if len(self.buffers) == 1:
            return filled[0]
        pixels = torch.tensor([float(buffer.pixels) for buffer in filled])
        return filled[int(torch.multinomial(pixels, 1, generator=rng or self.rng))]

    def sample(self, n: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n images of one resolution (with replacement) and their labels: u8 [n,c,e,e], i64 [n].

        Raises ValueError if the pool is empty.
        """
        buffer = self.sample_buffer(rng)
        index = buffer.draw(n, rng or self.rng)
        return buffer.images[index.to(buffer.images.device)], buffer.labels[index].long()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but the pixels, which are in the run folder's batches."""
        return {
            f"{side}.{name}": value
            for side, buffer in self.buffers.items()
            for name, value in buffer.state_dict().items()
        }

    def load_state_dict(
        self,
        state: dict[str, Tensor],
        read_batch: Callable[[int], dict[str, Any]],
        extras: tuple[str, ...] = (),
    ) -> None:
        """Restore the pool.

        `read_batch(iteration)` returns that iteration's NumPy arrays: images u8 [B,c,e,e] and the
        named extras.
        """
        for side in dict.fromkeys(int(name.partition(".")[0]) for name in state):
            if side not in self.buffers:
                self.buffers[side] = self._new_buffer(self.budget_pixels, side)
            buffer_state = {
                name.partition(".")[2]: value
                for name, value in state.items()
                if name.startswith(f"{side}.")
            }
            self.buffers[side].load_state_dict(buffer_state, read_batch, extras)


class Buffer:
    """The images of one resolution, at most `capacity`; see MemoryPool for the policies."""

    def __init__(
        self,
        capacity: int,
        side: int,
        policy: Policy,
        *,
        planned: int,
        classes: int,
        rng: torch.Generator,
        device: torch.device | str,
    ):
        self.capacity, self.side, self.policy, self.planned, self.rng, self.device = (
            capacity,
            side,
            policy,
            planned,
            rng,
            device,
        )
        self.additions = self.offered = self._size = 0
        self.ledger = torch.zeros(classes, dtype=torch.int64)
        self._images: Tensor | None = None
        self.extras: dict[str, Tensor] = {}
        """Further columns by name, [N,…] each, aligned with the images."""
        self.labels = torch.zeros(0, dtype=torch.int32)
        """[N]; 32 bits, because small images take up only a few hundred bytes themselves."""
        self.origin = torch.zeros(0, 2, dtype=torch.int32)
        """[N,2]: iteration and position in its batch, for every image."""

    def __len__(self) -> int:
        return self._size

    @property
    def pixels(self) -> int:
        return self._size * self.side**2

    @property
    def images(self) -> Tensor:
        """[n,c,e,e] u8, a view."""
        return torch.zeros(0) if self._images is None else self._images[: self._size]

    def add(
        self,
        images: Tensor,
        labels: Tensor,
        iteration: int,
        extras: dict[str, Tensor] | None,
        admitted: Tensor | None = None,
    ) -> Tensor:
        """See MemoryPool.add."""
        storage = self._allocate(images)
        n = self.capacity
        images, labels = images.to(self.device), labels.cpu()
        self.additions += 1
        candidates = (
            torch.arange(len(labels)) if admitted is None else admitted.cpu().nonzero().flatten()
        )
        slots = torch.full((len(labels),), -1)  # [B] slot in the pool; −1 stays out
        slots[candidates] = getattr(self, f"_{self.policy}")(labels[candidates], n)
        self.offered += len(candidates)
        sources = torch.nonzero(slots >= 0).flatten()
        # if a slot was assigned twice in this call, the later image gets it (indexed writes have no
        # defined order)
        winners = {slot: i for slot, i in zip(slots[sources].tolist(), sources.tolist())}
        destinations, sources = (
            torch.tensor(list(winners.keys()), dtype=torch.int64),
            torch.tensor(list(winners.values()), dtype=torch.int64),
        )
        storage[destinations.to(images.device)] = images[sources.to(images.device)]
        self.labels[destinations] = labels[sources].int()
        for name, column in (extras or {}).items():
            self._column(name, column)[destinations.to(images.device)] = column[
                sources.to(column.device)
            ].to(images.device)
        origin = torch.stack([torch.full_like(sources, iteration), sources], 1)
        self.origin[destinations] = origin.int()
        self._size = min(
            n, max(self._size, int(destinations.max()) + 1 if len(destinations) else 0)
        )
        entered = torch.zeros(len(labels), dtype=torch.bool)
        added = (self.origin[: self._size, 0] == iteration).nonzero().flatten()
        entered[self.origin[added, 1].long()] = True
        return entered

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """n random positions (with replacement), i64 [n]."""
        return torch.randint(0, self._size, (n,), generator=rng)

    # --- policies: labels [B], N → slot for each, −1 if it stays out ------------------------------

    def _spread(self, labels: Tensor, n: int) -> Tensor:
        limit = min(n * min(self.additions, self.planned) // self.planned - self._size, len(labels))
        slots = torch.full((len(labels),), -1)
        order = torch.randperm(len(labels), generator=self.rng).tolist()
        waiting: dict[int, list[int]] = {}
        for i in order:
            waiting.setdefault(int(labels[i]), []).append(i)
        for k in range(max(0, limit)):
            # the class with the fewest stored images, among those this batch still offers
            c = min((c for c in waiting if waiting[c]), key=lambda c: (int(self.ledger[c]), c))
            slots[waiting[c].pop()] = self._size + k
            self.ledger[c] += 1
        return slots

    def _fifo(self, labels: Tensor, n: int) -> Tensor:
        return (self.offered + torch.arange(len(labels))) % n

    def _reservoir(self, labels: Tensor, n: int) -> Tensor:
        seen = self.offered + torch.arange(len(labels))
        draw = (
            torch.rand(len(labels), generator=self.rng, dtype=torch.float64) * (seen + 1)
        ).long()
        return torch.where(seen < n, seen, torch.where(draw < n, draw, -1))

    # --- storage ---------------------------------------------------------------------------------

    def _allocate(self, images: Tensor) -> Tensor:
        """Return the storage, which is allocated for images like these if there is none yet."""
        if self._images is None:
            n = self.capacity
            if n < 1:
                raise ValueError(f"the budget holds no image of side {self.side}")
            self._images = torch.zeros(n, *images.shape[1:], dtype=torch.uint8, device=self.device)
            self.labels = torch.zeros(n, dtype=torch.int32)
            self.origin = torch.full((n, 2), -1, dtype=torch.int32)
        if images.shape[1:] != self._images.shape[1:]:
            raise ValueError(
                f"the pool holds images {tuple(self._images.shape[1:])}, not"
                f" {tuple(images.shape[1:])}"
            )
        return self._images

    def _column(self, name: str, example: Tensor) -> Tensor:
        if name not in self.extras:
            self.extras[name] = torch.zeros(
                self.capacity, *example.shape[1:], dtype=example.dtype, device=self.device
            )
        return self.extras[name]

    def state_dict(self) -> dict[str, Tensor]:
        counts = torch.tensor([self.additions, self.offered, self._size])
        return {
            "counts": counts,
            "ledger": self.ledger.clone(),
            "origin": self.origin.clone(),
            "labels": self.labels.clone(),
        }

    def load_state_dict(
        self,
        state: dict[str, Tensor],
        read_batch: Callable[[int], dict[str, Any]],
        extras: tuple[str, ...],
    ) -> None:
        self.additions, self.offered, size = state["counts"].tolist()
        self.ledger.copy_(state["ledger"])
        if not size:
            return
        origin = state["origin"]
        for iteration in origin[:size, 0].unique().tolist():
            batch = {
                name: torch.from_numpy(array)
                for name, array in read_batch(iteration).items()
                if name in ("images", *extras)
            }
            storage = self._allocate(batch["images"])
            rows = (origin[:size, 0] == iteration).nonzero().flatten()
            for name, column in batch.items():
                destination = storage if name == "images" else self._column(name, column)
                destination[rows.to(destination.device)] = column[origin[rows, 1].long()].to(
                    destination.device
                )
        self.labels.copy_(state["labels"])
        self.origin.copy_(origin)
        self._size = size
