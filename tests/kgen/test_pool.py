"""The pool against a slow reference simulation: budgets, order, balance, uniformity, restoring."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kgen.pool import MemoryPool

SIDE = 4


def batch(n, start=0):
    """n images that can be distinguished by their pixels (up to 65,536 of them)."""
    number = torch.arange(start, start + n)
    images = torch.zeros(n, 1, SIDE, SIDE, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = (
        (number // 256).to(torch.uint8),
        (number % 256).to(torch.uint8),
    )
    return images


def numbers(pool):
    return (
        pool.buffers[SIDE].images[:, 0, 0, 0].int() * 256
        + pool.buffers[SIDE].images[:, 0, 0, 1].int()
    ).tolist()


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


runs = st.tuples(
    st.integers(1, 40),
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.integers(0, 99),
    st.integers(0, SIDE**2 - 1),
)


@settings(max_examples=60, deadline=None)
@given(runs)
def test_spread_follows_its_plan(run):
    n, sizes, seed, spare = run
    pool = MemoryPool(n * SIDE**2 + spare, "spread", planned=len(sizes), classes=3, rng=gen(seed))
    size, start, stored = 0, 0, Counter()
    for k, b in enumerate(sizes, 1):
        labels = torch.randint(0, 3, (b,), generator=gen(seed + k))
        before = stored.copy()
        entered = pool.add(batch(b, start), labels, k)
        room = min(n * k // len(sizes) - size, b)  # ⌊N·k/planned⌋, or as many as this batch offers
        assert int(entered.sum()) == room
        size += room
        stored.update(labels[entered].tolist())
        # balance: a class gets a further image only while no class that this batch still offers has
        # fewer
        offered = Counter(labels.tolist())
        for c in stored:
            for other in offered:
                if stored[c] > before[c] and stored[other] - before[other] < offered[other]:
                    assert stored[c] <= stored[other] + 1
        assert len(pool) == size and pool.pixels == size * SIDE**2 <= pool.budget_pixels
        assert pool.buffers[SIDE].ledger.tolist() == [stored[c] for c in range(3)]
        start += b
    assert numbers(pool) == sorted(
        numbers(pool), key=lambda i: [i >= s for s in np.cumsum(sizes)]
    )  # nothing is thrown out


def test_spread_balances_over_the_run():
    """Ten batches of two classes, each in turn the more frequent: the pool stays balanced to within
    one image.
    """
    pool = MemoryPool(50 * SIDE**2, planned=10, classes=2, rng=gen())
    for k in range(10):
        labels = torch.tensor([0] * 7 + [1] * 3) if k % 2 else torch.tensor([0] * 3 + [1] * 7)
        pool.add(batch(10, 10 * k), labels, k)
    counts = Counter(pool.buffers[SIDE].labels[: len(pool)].tolist())
    assert counts == {0: 25, 1: 25}


@settings(max_examples=40, deadline=None)
@given(runs)
def test_fifo_holds_the_newest_in_order(run):
    n, sizes, seed, spare = run
    pool = MemoryPool(n * SIDE**2 + spare, "fifo", rng=gen(seed))
    slots, start = {}, 0
    for k, b in enumerate(sizes):
        entered = pool.add(batch(b, start), torch.zeros(b, dtype=torch.int64), k)
        for i in range(start, start + b):
            slots[i % n] = i  # slow: one after the other into a ring
        start += b
        newest = set(range(max(0, start - n), start))
        assert dict(enumerate(numbers(pool))) == slots and set(slots.values()) == newest
        assert entered.tolist() == [i in newest for i in range(start - b, start)]
        assert pool.pixels <= pool.budget_pixels


@settings(max_examples=40, deadline=None)
@given(runs)
def test_reservoir_is_algorithm_r(run):
    n, sizes, seed, _ = run
    pool = MemoryPool(n * SIDE**2, "reservoir", rng=gen(seed))
    rng, slots, seen, start = gen(seed), {}, 0, 0
    for k, b in enumerate(sizes):
        draws = torch.rand(b, generator=rng, dtype=torch.float64).tolist()
        for i, u in enumerate(draws):
            place = seen if seen < n else int(u * (seen + 1))
            if place < n:
                slots[place] = start + i
            seen += 1
        start += b
        pool.add(batch(b, start - b), torch.zeros(b, dtype=torch.int64), k)
        assert dict(enumerate(numbers(pool))) == slots


def test_reservoir_is_uniform():
    """400 seeds × 5 of 20: each image is kept 100 times on average; χ² with 19 degrees of
    freedom.
    """
    kept = Counter()
    for seed in range(400):
        pool = MemoryPool(5 * SIDE**2, "reservoir", rng=gen(seed))
        for k in range(4):
            pool.add(batch(5, 5 * k), torch.zeros(5, dtype=torch.int64), k)
        kept.update(numbers(pool))
    chi2 = sum((kept[i] - 100) ** 2 / 100 for i in range(20))
    assert sum(kept.values()) == 2000 and chi2 < 43.8  # 99.9th percentile


@pytest.mark.parametrize("policy", ["spread", "fifo", "reservoir"])
def test_labels_origin_and_extras_stay_with_their_images(policy):
    pool = MemoryPool(13 * SIDE**2, policy, planned=5, classes=10, rng=gen())
    offered = []
    for k in range(5):
        labels = torch.randint(0, 10, (6,), generator=gen(k))
        extra = torch.arange(6 * k, 6 * k + 6).float()[:, None]
        pool.add(batch(6, 6 * k), labels, k, {"number": extra})
        offered += labels.tolist()
    for i, number in enumerate(numbers(pool)):
        assert (
            pool.buffers[SIDE].labels[i] == offered[number]
            and pool.buffers[SIDE].extras["number"][i] == number
        )
        assert pool.buffers[SIDE].origin[i].tolist() == [number // 6, number % 6]


@pytest.mark.parametrize("policy", ["spread", "fifo", "reservoir"])
def test_only_admitted_images_enter(policy):
    pool = MemoryPool(6 * SIDE**2, policy, planned=2, classes=2, rng=gen())
    labels = torch.tensor([0, 1, 0, 1, 0])
    assert (
        not pool.add(batch(5), labels, 0, admitted=torch.zeros(5, dtype=torch.bool)).any()
        and len(pool) == 0
    )
    admitted = torch.tensor([True, False, True, True, False])
    entered = pool.add(batch(5, 10), labels, 1, {"n": torch.arange(5)}, admitted)
    assert torch.equal(entered, admitted) and sorted(numbers(pool)) == [10, 12, 13]
    buffer = pool.buffers[SIDE]
    where = {n: i for i, n in enumerate(numbers(pool))}
    assert [buffer.labels[where[n]].item() for n in (10, 12, 13)] == [0, 0, 1]
    assert [buffer.origin[where[n]].tolist() for n in (10, 12, 13)] == [[1, 0], [1, 2], [1, 3]]
    assert [buffer.extras["n"][where[n]].item() for n in (10, 12, 13)] == [0, 2, 3]


def test_sampling_is_uniform_and_from_the_given_generator():
    pool = MemoryPool(8 * SIDE**2, "fifo")
    pool.add(batch(8), torch.arange(8))
    images, labels = pool.sample(4000, gen(5))
    again = torch.randint(0, 8, (4000,), generator=gen(5))
    assert images.dtype == torch.uint8 and images.shape == (4000, 1, SIDE, SIDE)
    assert torch.equal(labels, again) and torch.equal(images[:, 0, 0, 1].long(), again)
    assert min(Counter(labels.tolist()).values()) > 400


def test_errors_say_what_is_wrong():
    pool = MemoryPool(8 * SIDE**2)
    with pytest.raises(ValueError, match="empty"):
        pool.sample(1)
    with pytest.raises(ValueError, match="uint8|u8"):
        pool.add(batch(2).float(), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="u8"):
        pool.add(batch(2)[:, 0], torch.zeros(2, dtype=torch.int64))
    pool.add(batch(2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="not \\(1, 8, 8\\)"):
        pool.add(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="side 4"):
        MemoryPool(SIDE**2 - 1).add(batch(1), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("policy", ["spread", "fifo", "reservoir"])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_restored_pool_goes_on_as_if_nothing_had_happened(policy, stop):
    made = {
        k: {
            "images": batch(6, 6 * k).numpy(),
            "number": np.arange(6 * k, 6 * k + 6),
            "other": np.zeros(1),
        }
        for k in range(5)
    }

    def grow(pool, ks):
        for k in ks:
            pool.add(
                torch.from_numpy(made[k]["images"]),
                torch.randint(0, 4, (6,), generator=gen(k)),
                k,
                {"number": torch.from_numpy(made[k]["number"])},
            )

    def new(rng):
        return MemoryPool(13 * SIDE**2, policy, planned=5, classes=4, rng=rng)

    whole = new(gen(1))
    grow(whole, range(5))
    first = new(gen(1))
    grow(first, range(stop))
    rng = gen(99)
    rng.set_state(first.rng.get_state())
    second = new(rng)
    second.load_state_dict(first.state_dict(), made.__getitem__, ("number",))
    assert len(second) == len(first)
    grow(second, range(stop, 5))
    n = len(whole)
    assert (
        n == len(second)
        and torch.equal(whole.buffers[SIDE].images, second.buffers[SIDE].images)
        and torch.equal(whole.buffers[SIDE].labels[:n], second.buffers[SIDE].labels[:n])
    )
    assert torch.equal(
        whole.buffers[SIDE].origin[:n], second.buffers[SIDE].origin[:n]
    ) and torch.equal(
        whole.buffers[SIDE].extras["number"][:n], second.buffers[SIDE].extras["number"][:n]
    )
    assert torch.equal(whole.buffers[SIDE].ledger, second.buffers[SIDE].ledger) and (
        whole.buffers[SIDE].additions,
        whole.buffers[SIDE].offered,
    ) == (second.buffers[SIDE].additions, second.buffers[SIDE].offered)


@pytest.mark.parametrize("policy", ["spread", "fifo", "reservoir"])
def test_the_pool_takes_up_hardly_more_memory_than_its_pixels(policy):
    """Adds up the storage of all tensors of a full pool, at the size of Fashion-MNIST."""
    side, n = 28, 300
    pool = MemoryPool(n * side**2, policy, planned=6, classes=10, rng=gen())
    for k in range(6):
        images = torch.randint(0, 256, (50, 1, side, side), dtype=torch.uint8)
        pool.add(images, torch.arange(50) % 10, k)
    assert len(pool) == n
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
        for t in vars(pool.buffers[side]).values()
        if isinstance(t, torch.Tensor)
    }
    assert n * side**2 < sum(storages.values()) <= 1.02 * n * side**2
