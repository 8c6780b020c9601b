"""Means, spreads, and the two estimates of a difference that docs/statistics.md explains.

(i) These trained networks on other subjects: paired over subjects, seeds averaged, Student's t.
(ii) The method, trained again, on other subjects: the variance over each column's own seeds joins that over subjects.

Scores are arrays (seeds, subjects). A method without chance has one seed and no variance over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
ALPHA = 0.05
"""Of every test: of a family, of a row's ties, of equivalence."""
LEAST_SUBJECTS = 3
"""Fewer subjects carry no interval."""
LEAST_SEEDS = 3
"""Fewer seeds carry no claim about a method: of two, the interval covers 87 % in place of 95 %."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference with its standard error and the degrees of freedom of Student's t."""

    mean: float
    error: float
    df: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval."""
        half = self.least_gap(1 - LEVEL)
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference: 1 where there is none, 0 where there is one without any error."""
        if self.mean == 0:
            return 1.0
        return float(2 * stdtr(self.df, -abs(self.mean) / self.error)) if self.error > 0 else 0.0

    def least_gap(self, alpha: float) -> float:
        """The smallest difference that a two-sided test at `alpha` finds, with this error."""
        return float(stdtrit(self.df, 1 - alpha / 2)) * self.error

    def is_equivalent(self, bound: float) -> bool:
        """Whether the difference lies within ±`bound`: two one-sided tests at `ALPHA` (TOST; Schuirmann 1987)."""
        return abs(self.mean) + float(stdtrit(self.df, 1 - ALPHA)) * self.error < bound


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; NaN for no values."""
    if not values:
        return math.nan
    exact = all(map(math.isfinite, values))  # an exact prediction has an infinite PSNR, which fsum may refuse
    return (math.fsum(values) if exact else sum(values)) / len(values)


def spread(values: Sequence[float]) -> float:
    """The sample standard deviation (divisor n − 1); NaN for fewer than two values, and where one is not finite."""
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    return float(np.std(values, ddof=1))


Part = tuple[float, float]
"""A part of a variance, and its degrees of freedom."""


@dataclass(frozen=True)
class SeedScores:
    """Scores (seeds, subjects) of a column, and what each of its comparisons needs, computed once."""

    values: np.ndarray

    @cached_property
    def averaged(self) -> np.ndarray:
        """(subjects,): the mean over seeds."""
        averaged: np.ndarray = self.values.mean(axis=0)
        return averaged

    @cached_property
    def is_finite(self) -> bool:
        """Whether no score is infinite or NaN."""
        return bool(np.isfinite(self.values).all())

    @cached_property
    def seed_parts(self) -> list[Part]:
        """s²/S, of the variance over seeds of the mean over subjects; nothing for a column of one seed."""
        return [_of_mean(self.values.mean(axis=1))] if len(self.values) > 1 else []


def networks_estimate(first: SeedScores, second: SeedScores) -> Estimate:
    """(i): `first` less `second`, of the same subjects, for these trained networks; at least two subjects."""
    return _estimate(first.averaged - second.averaged, [])


def method_estimate(first: SeedScores, second: SeedScores) -> Estimate:
    """(ii): `first` less `second`, of the same subjects, for the methods: their seeds are independent.

    SE² = s²_A/S_A + s²_B/S_B + s²_d/n, and degrees of freedom by Satterthwaite (Biometrics Bulletin 1946). s²_A is the
    variance over A's own seeds of the mean over subjects, s²_d that over subjects of the difference of seed-averaged
    scores. A column of one seed adds no variance over seeds: only a method without chance may have one.
    """
    return _estimate(first.averaged - second.averaged, [*first.seed_parts, *second.seed_parts])


def paired_estimate(first: SeedScores, second: SeedScores) -> Estimate:
    """(ii) for two columns of the same trainings, seed by seed: SE² = s²_D/S + s²_d/n.

    s²_D is the variance over seeds of the difference of means over subjects.
    """
    return _estimate(first.averaged - second.averaged, SeedScores(first.values - second.values).seed_parts)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of a family, adjusted by Holm's step-down (Scandinavian Journal of Statistics 1979), in order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _of_mean(values: np.ndarray) -> Part:
    """The variance of the mean of independent values."""
    return float(values.var(ddof=1)) / len(values), len(values) - 1.0


def _estimate(differences: np.ndarray, seed_parts: Sequence[Part]) -> Estimate:
    """The mean of the subjects' differences; its variance is that over subjects and `seed_parts` together."""
    parts = [*seed_parts, _of_mean(differences)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Estimate(float(differences.mean()), 0.0, parts[-1][1])
    df = 1 / sum((part / variance) ** 2 / part_df for part, part_df in parts)
    return Estimate(float(differences.mean()), math.sqrt(variance), df)
