"""What LR determines of an HR volume, and what it holds nothing of, by the pseudo-inverse of the degradation.

A degradation that is linear is a matrix A, one small matrix along each axis. P = A⁺A keeps of a volume the part that
LR determines, its range part. I − P keeps the rest, the null-space part, of which LR holds nothing. A⁺ applied to LR is
the image of least norm that degrades to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ...degradation import Degradation

_RCOND = 1e-6
"""Singular values below this share of the largest count as 0. The Nyquist line that truncation zeroes leaves one of
about 1e-16; numpy's default of 1e-15 is too near to it. The others are above 0.1."""


@lru_cache(maxsize=64)
def projection(degradation: Degradation, n_in: int, n_out: int) -> np.ndarray:
    """P = A⁺A of one axis, (n_in, n_in) float64: symmetric, P² = P. Read-only."""
    matrix = degradation.matrix(n_in, n_out)
    product = np.linalg.pinv(matrix, rcond=_RCOND) @ matrix
    product.setflags(write=False)
    return product


def range_part(volume: np.ndarray, degradation: Degradation, lr_shape: Sequence[int]) -> np.ndarray:
    """The part of a volume (D, H, W) that LR of `lr_shape` determines; `volume` less this is its null-space part."""
    for axis, (n_in, n_out) in enumerate(zip(volume.shape, lr_shape, strict=True)):
        if n_in != n_out:
            along_last = np.moveaxis(volume, axis, -1) @ projection(degradation, n_in, n_out)
            volume = np.moveaxis(along_last, -1, axis)
    return np.ascontiguousarray(volume)
