"""What LR determines of an HR volume, and what it holds nothing of, by the pseudo-inverse of the degradation.

A degradation that is linear is a matrix A, one small matrix along each axis. P = A⁺A keeps of a volume the part that
LR determines, its range part. I − P keeps the rest, the null-space part, of which LR holds nothing. A⁺ applied to LR is
the image of least norm that degrades to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np

from ...degradation import Degradation

_RCOND = 1e-6
"""Singular values below this share of the largest count as 0. The Nyquist line that truncation zeroes leaves one of
about 1e-16; numpy's default of 1e-15 is too near to it. The others are above 0.1."""


@lru_cache(maxsize=64)
def inverse(degradation: Degradation, n_in: int, n_out: int) -> np.ndarray:
    """A⁺ of one axis, (n_in, n_out) float64. Read-only."""
    matrix = np.linalg.pinv(degradation.matrix(n_in, n_out), rcond=_RCOND)
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=64)
def projection(degradation: Degradation, n_in: int, n_out: int) -> np.ndarray:
    """P = A⁺A of one axis, (n_in, n_in) float64: symmetric, P² = P. Read-only."""
    product = inverse(degradation, n_in, n_out) @ degradation.matrix(n_in, n_out)
    product.setflags(write=False)
    return product


def range_part(volume: np.ndarray, degradation: Degradation, lr_shape: Sequence[int]) -> np.ndarray:
    """The part of a volume (D, H, W) that LR of `lr_shape` determines; `volume` less this is its null-space part."""
    return _along_axes(volume, volume.shape, lr_shape, partial(projection, degradation))


def pseudo_inverse(lr: np.ndarray, degradation: Degradation, shape: Sequence[int]) -> np.ndarray:
    """A⁺ of an LR volume (d, h, w): the image of `shape` of least norm whose LR is nearest to it."""
    return _along_axes(lr, shape, lr.shape, partial(inverse, degradation))


def _along_axes(
    array: np.ndarray, shape: Sequence[int], lr_shape: Sequence[int], matrix: Callable[[int, int], np.ndarray]
) -> np.ndarray:
    """Multiply every axis that the degradation changes by matrix(HR voxels, LR voxels)."""
    for axis, (n_in, n_out) in enumerate(zip(shape, lr_shape, strict=True)):
        if n_in != n_out:
            array = np.moveaxis(np.moveaxis(array, axis, -1) @ matrix(n_in, n_out).T, -1, axis)
    return np.ascontiguousarray(array)
