"""Image quality metrics, each with its convention spelled out. Inputs are (slices, rows, columns); maths in float64.

The default conventions are those of the published IXI tables as far as they can be known: per volume, range = max − min
of the true volume, no border shaving, the SSIM map averaged whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

RANGES: dict[str, Callable[[np.ndarray], float]] = {
    "volume_minmax": lambda truth: float(truth.max()) - float(truth.min()),
    "volume_max": lambda truth: float(truth.max()),
}
"""Name in a protocol → the peak, from the whole true volume."""

_SIGMA, _RADIUS = 1.5, 5
"""SSIM's Gaussian window: sigma 1.5, 11 taps (Wang et al., IEEE TIP 2004)."""


def psnr(prediction: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """10 log10(range² / MSE) in dB over all voxels; infinite for an exact prediction."""
    error = np.asarray(prediction, np.float64) - np.asarray(truth, np.float64)
    mse = float(np.mean(error * error))
    return float("inf") if mse == 0 else float(10 * np.log10(data_range**2 / mse))


def _gaussian11(image: np.ndarray) -> np.ndarray:
    return gaussian_filter(image, _SIGMA, truncate=_RADIUS / _SIGMA, mode="reflect")


def _uniform7(image: np.ndarray) -> np.ndarray:
    return uniform_filter(image, 7, mode="reflect")


WINDOWS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int, float]] = {
    "gaussian11": (_gaussian11, 5, 1.0),
    "uniform7": (_uniform7, 3, 7.0),
}
"""Name → (filter, radius, taps a side of the sample covariance's n / (n-1); 1 means the population covariance)."""


def ssim_map(prediction: np.ndarray, truth: np.ndarray, data_range: float, window: str = "gaussian11") -> np.ndarray:
    """The structural similarity at every pixel of one 2-D or 3-D image (Wang et al. 2004, eq. 13), K1 0.01, K2 0.03.

    gaussian11 uses population covariances, uniform7 sample covariances, as scikit-image does.
    """
    x, y = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    blur, _, taps = WINDOWS[window]
    n = taps**x.ndim
    norm = n / (n - 1) if n > 1 else 1.0
    mx, my = blur(x), blur(y)
    vx = norm * (blur(x * x) - mx * mx)
    vy = norm * (blur(y * y) - my * my)
    vxy = norm * (blur(x * y) - mx * my)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def ssim(
    prediction: np.ndarray,
    truth: np.ndarray,
    data_range: float,
    window: str = "gaussian11",
    dims: int = 2,
    map: str = "whole",
) -> float:
    """Mean SSIM of a volume: the map of every slice (dims=2) or of the volume (dims=3), averaged.

    `map` "whole" averages all of it; "cropped" leaves out the window's radius at each border, as scikit-image does.
    Raises ValueError where that leaves nothing.
    """
    maps = (
        [ssim_map(prediction, truth, data_range, window)]
        if dims == 3
        else [ssim_map(p, t, data_range, window) for p, t in zip(prediction, truth, strict=True)]
    )
    if map == "cropped":
        inner = slice(WINDOWS[window][1], -WINDOWS[window][1])
        maps = [m[(inner,) * m.ndim] for m in maps]
        if not maps[0].size:
            shape = prediction.shape[-dims:]
            raise ValueError(f"an image of {shape} is too small for the SSIM window {window} with map 'cropped'")
    return float(np.mean(np.concatenate([m.ravel() for m in maps])))
