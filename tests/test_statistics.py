"""Means, spreads and the two estimates of a difference: what they are, what they cover, and where they are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import docs_script
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from mrsr_bench.reporting import statistics
from mrsr_bench.reporting.statistics import Estimate, SeedScores, holm, mean, spread

EIGHTHS = st.integers(-800, 800).map(lambda n: n / 8)
"""Numbers whose sums are exact, so that what is equal on paper is equal here."""
SIMULATION = docs_script("make_statistics")
World, coverage = SIMULATION.World, SIMULATION.coverage
FEW = settings(max_examples=60, deadline=None)
P_VALUES = st.lists(st.floats(0, 1), max_size=8)
SEED_SPREADS = [(0.05, 0.05), (0.15, 0.15), (0.3, 0.3), (0.05, 0.3), (0.05, 0.0), (0.3, 0.0)]
"""Standard deviations over the seeds of two methods; 0: a method without chance."""


def scores(seeds: int, subjects: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, (seeds, subjects), elements=EIGHTHS)


def networks_estimate(first: np.ndarray, second: np.ndarray) -> Estimate:
    return statistics.networks_estimate(SeedScores(first), SeedScores(second))


def method_estimate(first: np.ndarray, second: np.ndarray) -> Estimate:
    return statistics.method_estimate(SeedScores(first), SeedScores(second))


def paired_estimate(first: np.ndarray, second: np.ndarray) -> Estimate:
    return statistics.paired_estimate(SeedScores(first), SeedScores(second))


# (i) these networks


@FEW
@given(scores(3, 7), scores(2, 7))
def test_networks_are_compared_by_the_paired_t_interval_of_seed_averaged_scores(
    first: np.ndarray, second: np.ndarray
) -> None:
    estimate = networks_estimate(first, second)
    differences = first.mean(axis=0) - second.mean(axis=0)
    assert estimate.mean == pytest.approx(differences.mean(), abs=1e-9)
    if (spread_of := differences.std(ddof=1)) > 1e-9:
        theirs = stats.ttest_rel(first.mean(axis=0), second.mean(axis=0))
        assert estimate.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)), abs=1e-9)
        assert estimate.p_value == pytest.approx(theirs.pvalue, abs=1e-12)
        assert estimate.error == pytest.approx(spread_of / math.sqrt(7))


# (ii) the methods


@FEW
@given(scores(4, 1), scores(3, 1))
def test_without_an_effect_of_subjects_it_is_welchs_test_of_the_seeds_means(
    first: np.ndarray, second: np.ndarray
) -> None:
    if min(first.std(), second.std()) == 0:
        return
    estimate = method_estimate(np.tile(first, 5), np.tile(second, 5))
    theirs = stats.ttest_ind(first[:, 0], second[:, 0], equal_var=False)
    assert estimate.p_value == pytest.approx(theirs.pvalue, abs=1e-12)
    assert estimate.df == pytest.approx(theirs.df)
    assert estimate.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)), abs=1e-9)


@FEW
@given(scores(1, 6), scores(1, 6), arrays(np.float64, (3, 1), elements=EIGHTHS))
def test_a_seed_effect_that_two_labels_of_one_training_share_leaves_the_paired_test_of_subjects(
    first: np.ndarray, second: np.ndarray, effects: np.ndarray
) -> None:
    if (first - second).std() == 0:
        return
    estimate = paired_estimate(first + effects, second + effects)
    theirs = stats.ttest_rel(first[0], second[0])
    assert estimate.p_value == pytest.approx(theirs.pvalue, abs=1e-9)
    assert estimate.df == pytest.approx(5)


@FEW
@given(scores(3, 5), scores(3, 5))
def test_the_parts_of_the_variance_are_those_of_the_formula(first: np.ndarray, second: np.ndarray) -> None:
    estimate, paired = method_estimate(first, second), paired_estimate(first, second)
    of_subjects = (first.mean(axis=0) - second.mean(axis=0)).var(ddof=1) / 5
    of_seeds = (first.mean(axis=1).var(ddof=1) + second.mean(axis=1).var(ddof=1)) / 3
    assert estimate.error**2 == pytest.approx(of_seeds + of_subjects)
    assert paired.error**2 == pytest.approx((first - second).mean(axis=1).var(ddof=1) / 3 + of_subjects)
    assert estimate.mean == paired.mean == pytest.approx(networks_estimate(first, second).mean)
    if estimate.error:
        assert 2 - 1e-9 <= estimate.df <= 8 + 1e-9, "between the least and the sum of all"


@FEW
@given(scores(3, 6), scores(1, 6))
def test_a_method_without_chance_adds_no_variance_over_seeds(first: np.ndarray, second: np.ndarray) -> None:
    expected = first.mean(axis=1).var(ddof=1) / 3 + (first.mean(axis=0) - second[0]).var(ddof=1) / 6
    assert method_estimate(first, second).error ** 2 == pytest.approx(expected)


@FEW
@given(scores(3, 5), scores(3, 5), st.permutations(range(5)), st.permutations(range(3)), EIGHTHS)
def test_order_and_common_shift_decide_nothing_and_the_sign_turns_with_the_columns(
    first: np.ndarray, second: np.ndarray, subjects: list[int], seeds: list[int], shift: float
) -> None:
    estimate = method_estimate(first, second)
    moved = method_estimate(first[seeds][:, subjects] + shift, second[:, subjects] + shift)
    turned = method_estimate(second, first)
    for other, sign in ((moved, 1), (turned, -1)):
        assert sign * other.mean == pytest.approx(estimate.mean, abs=1e-9)
        assert other.error == pytest.approx(estimate.error, abs=1e-9)


@pytest.mark.parametrize("spreads", SEED_SPREADS)
def test_three_seeds_cover_92_to_97_percent_and_five_94_to_96(spreads: tuple[float, float]) -> None:
    """With 30 subjects, where three seeds cover least, by 2000 trials; make test-all: all numbers, by 10,000."""
    assert 0.915 <= coverage(World(*spreads, seeds=3), 2000) <= 0.975
    assert 0.93 <= coverage(World(*spreads, seeds=5), 2000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("spreads", SEED_SPREADS)
@pytest.mark.parametrize("subjects", [6, 12, 30, 70])
@pytest.mark.parametrize("interaction", [0.02, 0.1])
def test_coverage_at_every_number_of_subjects(spreads: tuple[float, float], subjects: int, interaction: float) -> None:
    three, five = (World(*spreads, seeds, subjects, interaction=interaction) for seeds in (3, 5))
    covered = [round(100 * coverage(world, 10_000)) for world in (three, five)]
    assert 92 <= covered[0] <= 97
    assert 94 <= covered[1] <= 96


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.99])
def test_a_contrast_over_rows_covers_however_seeds_correlate_between_rows(correlation: float) -> None:
    assert 0.93 <= coverage(World(0.1, 0.2), 1500, rows=3, shared=correlation) <= 0.97


def test_two_seeds_would_not_cover() -> None:
    """Why fewer than three seeds carry no claim."""
    assert coverage(World(0.15, 0.0, seeds=2), 2000) < 0.92


# Tests


@pytest.mark.parametrize("error", [0.0, 0.1])
def test_no_difference_is_never_found(error: float) -> None:
    assert Estimate(0.0, error, 4).p_value == 1


def test_a_difference_without_any_error_is_certain() -> None:
    assert Estimate(0.2, 0.0, 4).p_value == 0
    assert Estimate(0.2, 0.0, 4).interval == (0.2, 0.2)


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(2, 60))
def test_interval_p_value_and_least_gap_are_one_test(value: float, error: float, df: float) -> None:
    estimate = Estimate(value, error, df)
    low, high = estimate.interval
    if min(abs(low), abs(high)) > 1e-9:
        assert (estimate.p_value < 0.05) == (not low <= 0 <= high) == (abs(value) > estimate.least_gap(0.05))


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(2, 60), st.floats(0.01, 2))
def test_equivalence_is_two_one_sided_tests(value: float, error: float, df: float, bound: float) -> None:
    both = max(stats.t.sf((value + bound) / error, df), stats.t.cdf((value - bound) / error, df))
    if abs(both - 0.05) > 1e-9:
        assert Estimate(value, error, df).is_equivalent(bound) == (both < 0.05)


@given(P_VALUES)
def test_holm_rejects_what_its_step_down_rejects(p_values: list[float]) -> None:
    rejected = set[int]()
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        if p_values[index] * (len(p_values) - rank) >= 0.05:
            break
        rejected.add(index)
    assert {index for index, p_value in enumerate(holm(p_values)) if p_value < 0.05} == rejected


def test_holm_gives_the_published_adjusted_values() -> None:
    """R's p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm")."""
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])


# Means and spreads


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf], [math.nan, 1.0]])
def test_what_has_no_spread_has_none(values: list[float]) -> None:
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


# The page


def test_the_page_says_what_the_simulation_gives() -> None:
    """Its table to 5 of 100, by fewer trials; make docs writes it."""
    printed = SIMULATION.PAGE.read_text(encoding="utf-8")
    for panel, lines in SIMULATION.curves(400).items():
        for name, values in lines.items():
            [line] = [line for line in printed.splitlines() if line.startswith(f"| {panel} | {name} |")]
            assert [float(cell) for cell in line.split("|")[3:-1]] == pytest.approx([100 * v for v in values], abs=6)
