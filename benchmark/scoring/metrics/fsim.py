"""Feature similarity (Zhang, Zhang, Mou and Zhang, IEEE TIP 2011) of 2-D images in 0–255."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import fft2, ifft2
from scipy.ndimage import correlate, uniform_filter

_PHASE, _GRADIENT = 0.85, 160.0
"""T1 and T2 (section III-B)."""
_SCALES, _ORIENTATIONS, _SHORTEST, _BANDWIDTH = 4, 4, 6.0, 0.55
_SPREAD = math.pi / _ORIENTATIONS / 1.2
"""Standard deviation of the angular Gaussian."""
_CUTOFF, _ORDER = 0.45, 15
"""The Butterworth filter that takes the corners of the spectrum away."""
_DEVIATIONS, _SHARE = 2.0, 1.7
"""The noise threshold: mean + 2 standard deviations, over 1.7 as the authors found for this measure."""
_SCHARR = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16


def fsim_sums(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Σ similarity · phase congruency and Σ phase congruency: FSIM is their ratio (eq. 5–8), in 0–1; 1 is exact.

    The image is first shrunk by round(shorter side / 256) as in the authors' code, by means of that many pixels. The
    phase congruency at a pixel that weighs is the larger of both images'.
    """
    factor = max(1, math.floor(min(truth.shape) / 256 + 0.5))
    x, y = (_shrunk(image, factor) for image in (prediction, truth))
    p, q = phase_congruency(x), phase_congruency(y)
    g, h = _gradient(x), _gradient(y)
    weight = np.maximum(p, q)
    phase = (2 * p * q + _PHASE) / (p * p + q * q + _PHASE)
    gradient = (2 * g * h + _GRADIENT) / (g * g + h * h + _GRADIENT)
    return float((phase * gradient * weight).sum()), float(weight.sum())


def _shrunk(image: np.ndarray, factor: int) -> np.ndarray:
    """Means around every `factor`-th pixel; outside the image all is 0, and an even window reaches ahead."""
    if factor == 1:
        return image
    means = uniform_filter(image, factor, mode="constant", origin=-1 if factor % 2 == 0 else 0)
    return means[::factor, ::factor]


def _gradient(image: np.ndarray) -> np.ndarray:
    return np.hypot(correlate(image, _SCHARR, mode="constant"), correlate(image, _SCHARR.T, mode="constant"))


@dataclass(frozen=True)
class _Bank:
    """The log-Gabor filters of an image shape."""

    filters: np.ndarray
    """(orientations, scales, H, W): transfer functions, the zero frequency first."""
    noise: np.ndarray
    """(orientations,): expected squared energy of noise at all scales for a unit of it at the smallest."""


@lru_cache(maxsize=4)
def _bank(shape: tuple[int, int]) -> _Bank:
    # An odd axis is divided by one pixel less, as Kovesi's code does.
    v, u = (np.fft.ifftshift((np.arange(n) - n // 2) / (n - n % 2)) for n in shape)
    radius, angle = np.hypot(v[:, None], u), np.arctan2(-v[:, None], u)
    low = 1 / (1 + (radius / _CUTOFF) ** (2 * _ORDER))
    radius[0, 0] = 1.0
    turns = np.arange(_ORIENTATIONS) * math.pi / _ORIENTATIONS
    away = np.abs(np.angle(np.exp(1j * (angle - turns[:, None, None]))))
    spread = np.exp(-(away**2) / (2 * _SPREAD**2))
    centres = 1 / (_SHORTEST * 2.0 ** np.arange(_SCALES))
    radial = low * np.exp(-(np.log(radius / centres[:, None, None]) ** 2) / (2 * math.log(_BANDWIDTH) ** 2))
    radial[:, 0, 0] = 0
    filters = spread[:, None] * radial
    even = ifft2(filters).real * math.sqrt(filters[0, 0].size)
    # Σ of the squares and twice Σ of the products of two scales is the square of the sum.
    energy = 2 * (even.sum(axis=1) ** 2).sum(axis=(1, 2))
    return _Bank(filters, energy / (filters[:, 0] ** 2).sum(axis=(1, 2)))


def phase_congruency(image: np.ndarray) -> np.ndarray:
    """Kovesi's PC₂ in 0–1 at every pixel (Videre 1999; Zhang et al. 2011, section II-A, with their parameters).

    Four scales from 6 pixels, each twice the one before, and four orientations. The noise is estimated from the median
    response at the smallest scale. An image without any response has 0.
    """
    spectrum, bank = fft2(image), _bank(image.shape)
    energy, amplitude = np.zeros(image.shape), np.zeros(image.shape)
    for filters, noise in zip(bank.filters, bank.noise, strict=True):
        responses = ifft2(spectrum * filters)
        sizes = np.abs(responses)
        total = responses.sum(axis=0)
        mean = total / (np.abs(total) + 1e-4)
        turned = responses * mean.conj()
        aligned = (turned.real - np.abs(turned.imag)).sum(axis=0)
        power = float(np.median(sizes[0] ** 2)) / math.log(2)
        rayleigh = math.sqrt(power * noise / 2)
        threshold = rayleigh * (math.sqrt(math.pi / 2) + _DEVIATIONS * math.sqrt(2 - math.pi / 2)) / _SHARE
        energy += np.maximum(aligned - threshold, 0)
        amplitude += sizes.sum(axis=0)
    return np.divide(energy, amplitude, out=np.zeros(image.shape), where=amplitude > 0)
