"""Means, spreads and intervals: what they are, and what may not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from mrsr_bench.reporting.statistics import confidence_interval, mean, spread

EIGHTHS = st.integers(-800, 800).map(lambda n: n / 8)
"""Numbers whose sums are exact, so that what is equal on paper is equal here."""
SAMPLES = st.lists(EIGHTHS, min_size=2, max_size=12)
FEW = settings(max_examples=40, deadline=None)


@FEW
@given(SAMPLES)
@example([0.0] * 11 + [1.0])
@example([1.0, 1.0])
def test_the_interval_holds_the_mean_and_stays_within_the_sample(values: list[float]) -> None:
    low, high = confidence_interval(values)
    assert min(values) <= low <= mean(values) <= high <= max(values)


@FEW
@given(SAMPLES, st.integers(-100, 100))
def test_what_is_added_to_every_difference_moves_the_interval_by_as_much(values: list[float], shift: int) -> None:
    low, high = confidence_interval(values)
    assert confidence_interval([value + shift for value in values]) == pytest.approx(
        (low + shift, high + shift), abs=1e-9
    )


@FEW
@given(SAMPLES, st.sampled_from([0.125, 4.0]))
def test_the_unit_of_the_differences_is_that_of_the_interval(values: list[float], unit: float) -> None:
    low, high = confidence_interval(values)
    assert confidence_interval([unit * value for value in values]) == pytest.approx((unit * low, unit * high), abs=1e-9)


@FEW
@given(SAMPLES.flatmap(lambda values: st.tuples(st.just(values), st.permutations(values))))
def test_the_order_of_the_subjects_decides_nothing(orders: tuple[list[float], list[float]]) -> None:
    assert confidence_interval(orders[0]) == confidence_interval(orders[1])


def test_the_interval_is_that_of_scipy_and_near_that_of_student() -> None:
    values = np.random.default_rng(5).normal(0.3, 1.0, 200)
    low, high = confidence_interval(list(values))
    theirs = bootstrap((np.sort(values),), np.mean, method="BCa", rng=np.random.default_rng(0)).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    half = 1.972 * values.std(ddof=1) / math.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_two_and_three_values_have_the_ends_that_all_their_resamples_have() -> None:
    """Of two, a quarter of the resamples are each end; of three, a 27th."""
    assert confidence_interval([1.0, 2.0]) == (1.0, 2.0)
    assert confidence_interval([1.0, 2.0, 3.0]) == (1.0, 3.0)


def test_equal_differences_are_their_own_interval() -> None:
    assert confidence_interval([0.25] * 30) == (0.25, 0.25)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf], [math.nan, 1.0]])
def test_what_has_no_interval_has_none_and_no_spread(values: list[float]) -> None:
    assert all(map(math.isnan, confidence_interval(values)))
    assert math.isnan(spread(values))


@FEW
@given(st.lists(EIGHTHS, min_size=2, max_size=8))
def test_mean_and_spread_are_the_textbook_ones(values: list[float]) -> None:
    middle = sum(values) / len(values)
    assert mean(values) == pytest.approx(middle)
    variance = sum((value - middle) ** 2 for value in values) / (len(values) - 1)
    assert spread(values) == pytest.approx(math.sqrt(variance), abs=1e-9)


def test_a_mean_with_an_exact_prediction_is_infinite_and_of_nothing_is_nan() -> None:
    assert mean([30.0, math.inf]) == math.inf
    assert math.isnan(mean([math.inf, -math.inf]))
    assert math.isnan(mean([]))
