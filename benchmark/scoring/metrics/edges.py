"""Edges: the high-frequency error norm and the gradient magnitude similarity deviation. All images are 2-D."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import correlate1d

_TAPS, _SIGMA = 15, 1.5
_CONTRAST = 170.0
"""GMSD's constant c, for images in 0–255 (Xue et al. 2014, section III-B)."""


def log_kernel(taps: int = _TAPS, sigma: float = _SIGMA) -> np.ndarray:
    """The (taps, taps) Laplacian of Gaussian, less its mean so that it sums to 0: MATLAB's fspecial('log')."""
    line = np.arange(taps) - (taps - 1) / 2
    squares = line[:, None] ** 2 + line**2
    gauss = np.exp(-squares / (2 * sigma**2))
    kernel = gauss / gauss.sum() * (squares - 2 * sigma**2) / sigma**4
    return kernel - kernel.mean()


@lru_cache(maxsize=8)
def _log_spectrum(shape: tuple[int, int]) -> np.ndarray:
    return rfft2(log_kernel(), shape)


def laplacian_of_gaussian(image: np.ndarray) -> np.ndarray:
    """`image` filtered by `log_kernel`; outside of it all is 0, as MATLAB's imfilter has it."""
    rows, columns = image.shape
    shape = (next_fast_len(rows + _TAPS - 1, real=True), next_fast_len(columns + _TAPS - 1, real=True))
    full = irfft2(rfft2(image, shape) * _log_spectrum(shape), shape)
    radius = _TAPS // 2
    return full[radius : radius + rows, radius : radius + columns]


def hfen_sums(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """‖LoG(prediction) − LoG(truth)‖² and ‖LoG(truth)‖²: HFEN is the root of their ratio; 0 is exact.

    Ravishankar and Bresler, IEEE TMI 2011, section IV-A: a rotation-symmetric LoG of 15 × 15 pixels, sigma 1.5. They
    print the numerator's norm; dividing by the truth's makes it free of units.
    """
    error = laplacian_of_gaussian(prediction - truth)
    edges = laplacian_of_gaussian(truth)
    return float(np.vdot(error, error)), float(np.vdot(edges, edges))


def gmsd(prediction: np.ndarray, truth: np.ndarray) -> float:
    """The standard deviation of the gradient magnitudes' similarity of two images in 0–255; 0 is exact.

    Xue, Zhang, Mou and Bovik, IEEE TIP 2014, eq. 3–6: means of 2 × 2 pixels, Prewitt gradients, c = 170. The deviation
    is over n − 1 and all outside the image is 0, as in the authors' code.
    """
    a, b = (_prewitt(_halved(image)) for image in (prediction, truth))
    similarity = (2 * a * b + _CONTRAST) / (a * a + b * b + _CONTRAST)
    return float(np.std(similarity, ddof=1))


def _halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 × 2 pixels; an odd last row or column is halved with zeros."""
    image = np.pad(image, [(0, n % 2) for n in image.shape])
    return image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2).mean(axis=(1, 3))


def _prewitt(image: np.ndarray) -> np.ndarray:
    """The gradient's magnitude, the kernel's weights 1/3."""
    across, along = (1, 0, -1), (1 / 3, 1 / 3, 1 / 3)
    return np.hypot(_filtered(image, along, across), _filtered(image, across, along))


def _filtered(image: np.ndarray, down: tuple[float, ...], right: tuple[float, ...]) -> np.ndarray:
    return correlate1d(correlate1d(image, down, 0, mode="constant"), right, 1, mode="constant")
