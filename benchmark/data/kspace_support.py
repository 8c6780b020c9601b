"""The acquired support of a volume in k-space, and HR on the grid that the scanner sampled.

Scanners often fill k-space with zeros and store more pixels than they acquired; such an image is band-limited, and a
task on it easier than it looks ("implicit data crimes", Shimron et al., PNAS 2022). Cropped to the support, an image
has one voxel for each acquired sample. The DFT of a stored magnitude image is not the acquired k-space (its phase is
lost, the magnitude of noise is not band-limited), so the support is an estimate.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..degradation import truncation_matrix
from ..volumes import Volume

_NEAREST = 0.4
"""No support is looked for below this share of the Nyquist frequency, where images fall off by themselves."""
_FALL = 0.5
"""Least fall of the power across the edge of a support, in decades."""
_HALF = 0.06
"""The fall is measured between two windows this far from the edge, as a share of the Nyquist frequency."""


def power_profile(data: np.ndarray, axis: int) -> np.ndarray:
    """Mean power at the frequencies 0 … n//2 along an axis; a Hann window keeps the edges from leaking."""
    lines = np.moveaxis(np.asarray(data, np.float64), axis, -1)
    spectrum = np.fft.rfft(lines * np.hanning(lines.shape[-1]), axis=-1)
    return np.asarray((np.abs(spectrum) ** 2).reshape(-1, spectrum.shape[-1]).mean(axis=0))


def acquired_samples(data: np.ndarray, axis: int) -> int:
    """How many samples the scanner took along an axis of n voxels; n where the power falls off nowhere.

    The edge is where log power falls most between the windows before and after it, if it falls there by over half a
    decade more than the image does below it.
    """
    n = data.shape[axis]
    power = np.log10(power_profile(data, axis) + np.finfo(float).tiny)
    nyquist = len(power) - 1
    half = max(2, round(_HALF * nyquist))
    falls = {}
    for k in range(round(_NEAREST * nyquist), nyquist - half + 1):
        inside, outside = power[k - half : k - half // 2 + 1].mean(), power[k + half // 2 : k + half + 1].mean()
        falls[k] = inside - outside
    if not falls:
        return n
    edge = max(falls, key=lambda k: falls[k])
    usual = float(np.median(list(falls.values())))
    return min(n, 2 * edge) if falls[edge] > usual + _FALL else n


def to_native_grid(volume: Volume) -> Volume:
    """A volume (slices, rows, columns) on its acquired in-plane grid: the same field of view, fewer pixels.

    Rounded to the stored grid, clipped at 0 where the volume has no negative value, as a scanner would store it.
    """
    affine, data = volume.affine.copy(), np.asarray(volume.data, np.float64)
    spacing = list(volume.spacing)
    for axis in (1, 2):
        n, acquired = data.shape[axis], acquired_samples(volume.data, axis)
        if acquired == n:
            continue
        data = np.moveaxis(np.moveaxis(data, axis, -1) @ truncation_matrix(n, acquired, acquired).T, -1, axis)
        affine[:3, 3] += affine[:3, axis] * (n / acquired - 1) / 2  # the centre of the first of the larger voxels
        affine[:3, axis] *= n / acquired
        spacing[axis] *= n / acquired
    if data.shape == volume.data.shape:
        return volume
    stored = volume.grid.apply(data, "stored").astype(volume.data.dtype if volume.grid.integer else np.float32)
    return replace(
        volume, data=np.ascontiguousarray(stored), affine=affine, spacing=(spacing[0], spacing[1], spacing[2])
    )
