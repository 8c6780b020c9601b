"""The eight symmetries of the square: training samples are turned by them, and the self-ensemble averages over them."""

from __future__ import annotations

import numpy as np


def dihedral(array: np.ndarray, index: int) -> np.ndarray:
    """Element `index` (0–7) of the square's symmetries on the last two axes: flips first, then the transposition."""
    if index & 1:
        array = array[..., :, ::-1]
    if index & 2:
        array = array[..., ::-1, :]
    return np.swapaxes(array, -1, -2) if index & 4 else array


def undo_dihedral(array: np.ndarray, index: int) -> np.ndarray:
    """The inverse of `dihedral`."""
    if index & 4:
        array = np.swapaxes(array, -1, -2)
    return dihedral(array, index & 3)
