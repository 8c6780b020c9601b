"""Means, spreads and confidence intervals of figures over seeds and over subjects."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 9999
LEVEL = 0.95


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


def confidence_interval(differences: Sequence[float]) -> tuple[float, float]:
    """A 95 % confidence interval of the mean of paired differences, one per subject, by resampling the subjects.

    Bias-corrected and accelerated bootstrap (BCa; Efron, JASA 1987) with 9999 resamples from a fixed seed, so equal
    differences give equal intervals, in any order. For a handful of subjects every bootstrap interval is too narrow.
    NaN for fewer than two subjects, and where a difference is not finite. If all differences are equal, both ends are
    that difference.
    """
    values = np.sort(np.asarray(differences, np.float64))
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan, math.nan
    if values[0] == values[-1]:
        return float(values[0]), float(values[0])
    return _bca(values, np.random.default_rng(0))


def _bca(values: np.ndarray, random: np.random.Generator) -> tuple[float, float]:
    """As `scipy.stats.bootstrap` computes it, whose import takes longer than the table: a test compares the two."""
    from scipy.special import ndtr, ndtri

    count = len(values)
    resampled = _mean(values[random.integers(0, count, (RESAMPLES, count))])
    mean = _mean(values)
    bias = ndtri(((resampled < mean).mean() + (resampled <= mean).mean()) / 2)
    jackknife = _mean(np.stack([np.delete(values, index) for index in range(count)]))
    influence = (count - 1) * (jackknife.mean() - jackknife)
    skewness = (influence**3).sum() / count**3 / (6 * ((influence**2).sum() / count**2) ** 1.5)
    tails = ndtri(np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    low, high = np.percentile(resampled, 100 * ndtr(bias + (bias + tails) / (1 - skewness * (bias + tails))))
    return float(low), float(high)


def _mean(samples: np.ndarray, axis: int = -1) -> np.ndarray:
    """Means that are equal to the last bit where the samples hold the same values: BCa counts such ties."""
    means: np.ndarray = np.sort(samples, axis=axis).mean(axis=axis)
    return means
