"""How processes divide a run: exact sums, and one process as a special case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgen.distributed.launch import Launch, launched
from kgen.distributed.rounds import Rounds, check_divides
from kgen.recipe.recipe import RecipeError
from kgen.recipes import recipes

processes = st.integers(1, 9)
batches = st.integers(9, 200)


def simulate(rounds: Rounds) -> list[tuple[int, int, int]]:
    """(rank, resolution, round) of every iteration, from rounds simulated one by one."""
    made, total = [], rounds.batches * rounds.resolutions
    while len(made) < total:
        done, number = len(made), made[-1][2] + 1 if made else 0
        made += [(rank, number % rounds.resolutions, number) for rank in range(rounds.width(done))]
    return made


@given(processes, batches)
def test_every_iteration_is_made_once(n, count):
    rounds = Rounds(n, count)
    made = simulate(rounds)
    assert len(made) == count
    assert [rounds.rank(i) for i in range(count)] == [rank for rank, _, _ in made]
    assert [rounds.batches_of(r) for r in range(n)] == [
        sum(rank == r for rank, _, _ in made) for r in range(n)
    ]


@given(processes, st.integers(1, 20), st.integers(1, 4))
def test_all_batches_of_a_round_have_the_same_resolution(n, each, resolutions):
    rounds = Rounds(n, n * each, resolutions)
    made = simulate(rounds)
    assert [rounds.resolution(i) for i in range(len(made))] == [r for _, r, _ in made]
    for rank in range(n):  # every process makes the same number of each
        for resolution in range(resolutions):
            assert sum((a, b) == (rank, resolution) for a, b, _ in made) == each


@given(processes, batches, st.integers(0, 10_000))
def test_the_shares_of_a_budget_add_up_to_it(n, count, images):
    rounds = Rounds(n, count)
    shares = [rounds.share(images, rank) for rank in range(n)]
    assert sum(shares) == images
    for rank, share in enumerate(shares):  # in proportion to the batches, within one image
        assert abs(share - images * rounds.batches_of(rank) / count) < 1


def test_one_process_has_everything():
    rounds = Rounds(1, 6, 2)
    assert rounds.share(61, 0) == 61
    assert [rounds.width(i) for i in range(12)] == [1] * 12
    assert [rounds.resolution(i) for i in range(4)] == [0, 1, 0, 1]
    assert [i for i in range(12) if rounds.reaches(i, 4)] == [4, 8]


@given(processes, batches, st.integers(1, 30))
def test_a_period_is_reached_once_after_each_multiple(n, count, period):
    rounds, done, seen = Rounds(n, count), 0, 0
    while done < count:
        multiples = done // period
        assert rounds.reaches(done, period) == (multiples > seen)
        seen = multiples
        done += rounds.width(done)


def recipe(**changes):
    return recipes.get("tiny").replace(**changes)


@pytest.mark.parametrize(
    ("changes", "n", "code", "field"),
    [
        ({"student_batch": 33}, 2, "not-divisible", "student_batch"),
        ({"student_batch": 4, "epochs": 9}, 4, "not-divisible", "student_batch"),
        ({"student_batch": 32}, 4, "too-many-processes", "epochs"),
        ({"resolutions": (28, 16)}, 2, "not-divisible", "epochs"),
    ],
)
def test_what_cannot_be_divided_is_refused(changes, n, code, field):
    with pytest.raises(RecipeError) as found:
        check_divides(recipe(**changes), n)
    assert (found.value.code, found.value.fields["field"]) == (code, field)
    assert found.value.fields["processes"] == n


def test_the_recipes_of_the_page_divide_between_two():
    for name in ("tiny", "fashion-live", "imagenette-live", "cifar10-live"):
        check_divides(recipes.get(name), 2)


def test_a_launcher_is_recognized_by_its_variables(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == Launch(0, 1, 0)
    monkeypatch.setenv("WORLD_SIZE", "2")  # some clusters set it without a launcher
    assert launched() == Launch(0, 1, 0)
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "MASTER_ADDR": "node0"}.items():
        monkeypatch.setenv(name, value)
    assert launched() == Launch(5, 2, 1)
