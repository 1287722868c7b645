"""The rule of --stop-hopeless, on curves written by hand."""

from __future__ import annotations

import pytest

from kgen.sweep.stopping import Point, judge


def curve(*shares: float, real: bool = True) -> tuple[Point, ...]:
    """A test every 10 student steps."""
    return tuple(Point(10 * i, share, 100, real) for i, share in enumerate(shares, 1))


FINISHED = [curve(0.2, 0.5, 0.8, 0.9), curve(0.2, 0.4, 0.7, 0.9), curve(0.2, 0.6, 0.6, 0.9)]
"""At step 20, their median is 0.5; at step 30, 0.7."""


@pytest.mark.parametrize(
    ("steps", "share", "hopeless"),
    [
        (20, 0.44, True),
        (20, 0.46, False),  # within the margin
        (10, 0.00, False),  # before half of its steps
        (30, 0.64, True),
        (29, 0.46, False),  # the others' last tests up to step 29 are those at step 20
        (40, 0.84, True),
    ],
)
def test_hopeless_is_below_the_median_at_the_same_step(steps, share, hopeless):
    verdict = judge(Point(steps, share, 100, True), 40, FINISHED, margin=0.05)
    assert bool(verdict) == hopeless


def test_the_verdict_says_why():
    verdict = judge(Point(20, 0.3, 100, True), 40, FINISHED)
    assert verdict and verdict.median == 0.5 and verdict.finished == 3
    assert "30.0% after 20 student steps" in str(verdict) and "50.0%" in str(verdict)


def test_nothing_is_stopped_before_three_runs_have_finished():
    assert judge(Point(20, 0.0, 100, True), 40, FINISHED[:2]) is None


def test_accuracy_is_not_compared_with_agreement():
    agreement = Point(20, 0.0, 100, False)
    assert judge(agreement, 40, FINISHED) is None
    assert judge(agreement, 40, [curve(0.2, 0.5, real=False)] * 3)


def test_a_run_that_was_first_tested_later_does_not_count():
    late = (Point(35, 0.9, 100, True),)
    assert judge(Point(20, 0.0, 100, True), 40, [late] * 3) is None
