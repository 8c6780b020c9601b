"""Visual information fidelity in the pixel domain, and the Haar wavelet index. All images are 2-D, in 0–255."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d

_NOISE = 2.0
"""VIF: variance of the eye's noise."""
_TINY = 1e-10
_C, _ALPHA = 30.0, 4.2
"""HaarPSI's constants (Reisenhofer et al. 2018, section 4)."""


def vif_sums(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The information that a prediction keeps and that the truth holds, in logs: VIF is their ratio; 1 is exact.

    Sheikh and Bovik, IEEE TIP 2006, in the pixel domain (their vifp_mscale): four scales, Gaussian windows of 17, 9, 5
    and 3 taps with sigma taps/5, noise variance 2, no padding. More contrast than the truth's gives more than 1.
    Raises ValueError for images below 41 pixels.
    """
    kept = held = 0.0
    x, y = prediction, truth
    for scale, taps in enumerate((17, 9, 5, 3)):
        if scale:
            x, y = (_smooth(image, taps)[::2, ::2] for image in (x, y))
        if min(y.shape) < taps:
            raise ValueError(f"images of {truth.shape[0]} × {truth.shape[1]} pixels are too small for VIF; it needs 41")
        mx, my = _smooth(x, taps), _smooth(y, taps)
        vx = np.maximum(_smooth(x * x, taps) - mx * mx, 0)
        vy = np.maximum(_smooth(y * y, taps) - my * my, 0)
        vxy = _smooth(x * y, taps) - mx * my
        gain = vxy / (vy + _TINY)
        rest = vx - gain * vxy
        flat = vy < _TINY
        gain, rest, vy = np.where(flat, 0, gain), np.where(flat, vx, rest), np.where(flat, 0, vy)
        blank = vx < _TINY
        gain, rest = np.where(blank, 0, gain), np.where(blank, 0, rest)
        rest = np.maximum(np.where(gain < 0, vx, rest), _TINY)
        gain = np.maximum(gain, 0)
        kept += float(np.log10(1 + gain * gain * vy / (rest + _NOISE)).sum())
        held += float(np.log10(1 + vy / _NOISE).sum())
    return kept, held


def _smooth(image: np.ndarray, taps: int) -> np.ndarray:
    """Filtered by a Gaussian with sigma taps/5, where the window lies within the image."""
    line = np.arange(taps) - taps // 2
    weights = np.exp(-0.5 * (line / (taps / 5)) ** 2)
    weights /= weights.sum()
    inner = slice(taps // 2, -(taps // 2))
    return correlate1d(correlate1d(image, weights, 0)[inner], weights, 1)[:, inner]


def haarpsi_sums(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Σ weight · logistic(similarity) and Σ weight; `haarpsi` makes the figure of their ratio.

    Reisenhofer, Bosse, Kutyniok and Wiegand, Signal Processing: Image Communication 2018, eq. 5–12: means of 2 × 2
    pixels, then Haar filters of 2, 4 and 8 pixels; the first two are compared, the third is the weight; C = 30,
    alpha = 4.2. Outside the image all is 0, as in the authors' code.
    """
    x, y = (_same(image, np.full(2, 0.5), np.full(2, 0.5))[::2, ::2] for image in (prediction, truth))
    total = weights = 0.0
    for turned in (False, True):
        similarity, weight = np.zeros_like(x), np.zeros_like(x)
        for level in (1, 2, 3):
            a, b = (np.abs(_haar(image, level, turned)) for image in (x, y))
            if level == 3:
                weight = np.maximum(a, b)
            else:
                similarity += (2 * a * b + _C) / (a * a + b * b + _C) / 2
        total += float((weight / (1 + np.exp(-_ALPHA * similarity))).sum())
        weights += float(weight.sum())
    return total, weights


def haarpsi(ratio: float) -> float:
    """HaarPSI of the ratio of `haarpsi_sums`, in 0–1; 1 is exact."""
    return float((np.log(ratio / (1 - ratio)) / _ALPHA) ** 2)


def _haar(image: np.ndarray, level: int, turned: bool) -> np.ndarray:
    step = np.repeat((-1.0, 1.0), 2 ** (level - 1))
    flat = np.full(2**level, 2.0**-level)
    return _same(image, flat, step) if turned else _same(image, step, flat)


def _same(image: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """MATLAB's conv2(…, 'same') with an even separable kernel: its window reaches one pixel further ahead."""
    for axis, weights in enumerate((down, right)):
        image = correlate1d(image, weights[::-1], axis, mode="constant", origin=-1)
    return image
