"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

_SIGMA, _RADIUS = 1.5, 5
Map = Callable[[Callable[[np.ndarray], np.ndarray], Iterable[np.ndarray]], Iterable[np.ndarray]]


def _gaussian11(image: np.ndarray) -> np.ndarray:
    return gaussian_filter(image, _SIGMA, truncate=_RADIUS / _SIGMA, mode="reflect")


def _uniform7(image: np.ndarray) -> np.ndarray:
    return uniform_filter(image, 7, mode="reflect")


WINDOWS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int, float]] = {
    "gaussian11": (_gaussian11, 5, 1.0),
    "uniform7": (_uniform7, 3, 7.0),
}
"""Name → (filter, radius, taps a side of the sample covariance's n / (n-1); 1 means the population covariance).

gaussian11 is the paper's window: sigma 1.5, 11 taps. Edges are reflected.
"""


def ssim_map(
    prediction: np.ndarray, truth: np.ndarray, data_range: float, window: str = "gaussian11", run: Map = map
) -> np.ndarray:
    """The structural similarity at every pixel of one 2-D or 3-D image (eq. 13), K1 0.01, K2 0.03.

    gaussian11 uses population covariances, uniform7 sample covariances, as scikit-image does. `run` maps the filter
    over four images, perhaps on several cores.
    """
    x, y = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    blur, _, taps = WINDOWS[window]
    n = taps**x.ndim
    norm = n / (n - 1) if n > 1 else 1.0
    # The sum of the variances is all that eq. 13 asks for, so four filters do instead of five.
    mx, my, squares, product = run(blur, (x, y, x * x + y * y, x * y))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    means = mx * mx + my * my
    covariance = product - (crossed := mx * my)
    return ((2 * crossed + c1) * (2 * norm * covariance + c2)) / ((means + c1) * (norm * (squares - means) + c2))


def inside(window: str, ndim: int) -> tuple[slice, ...]:
    """The part of a map whose window lies within the image."""
    radius = WINDOWS[window][1]
    return (slice(radius, -radius),) * ndim
