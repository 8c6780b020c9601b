"""The energy of an image by radial frequency, by the DFT of a magnitude slice."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import rfft2

_BINS = 96
"""Radial bins to one cycle per voxel: LR's Nyquist frequency at ×2, ×3 and ×4 lies between two of them."""
FREQUENCIES = (np.arange(int(_BINS * np.sqrt(0.5)) + 1) + 0.5) / _BINS
"""(68,): the centres of the radial bins in cycles per HR pixel; the image's corners reach 0.71."""


def radial_energy(image: np.ndarray) -> np.ndarray:
    """(68,): the mean square of a 2-D image, split by radial frequency; `FREQUENCIES` are the bins' centres."""
    bins, copies = _bins(image.shape)
    power = copies * np.abs(rfft2(image)) ** 2 / image.size**2
    return np.bincount(bins.ravel(), power.ravel(), len(FREQUENCIES))


@lru_cache(maxsize=4)
def _bins(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The bin of every frequency of rfft2, and how often it appears in the whole spectrum."""
    rows, columns = shape
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns))
    k = np.arange(columns // 2 + 1)
    copies = np.where((k == 0) | (2 * k == columns), 1, 2)
    return (radius * _BINS + 1e-9).astype(int), copies  # a frequency on an edge belongs above it
