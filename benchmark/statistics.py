"""What figures of several trainings and of several subjects say together: means, spreads and intervals."""

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


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """A 95 % confidence interval of the mean of paired differences, one a subject, by resampling the subjects.

    Bias-corrected and accelerated bootstrap (BCa; Efron, JASA 1987) with 9999 resamples from a fixed seed, so equal
    differences give equal intervals, in whatever order. Of a handful of subjects any bootstrap interval is too narrow.
    NaN for fewer than two subjects, and where a difference is not finite; equal differences are their own interval.
    """
    values = np.sort(np.asarray(differences, np.float64))
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan, math.nan
    if values[0] == values[-1]:
        return float(values[0]), float(values[0])
    from scipy.stats import bootstrap  # half a second, which a table without intervals need not wait for

    result = bootstrap(
        (values,),
        _mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="BCa",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _mean(samples: np.ndarray, axis: int = -1) -> np.ndarray:
    """Means that are equal to the last bit where the samples hold the same values: BCa counts such ties."""
    means: np.ndarray = np.sort(samples, axis=axis).mean(axis=axis)
    return means
