"""The eight symmetries of the square, for augmentation and for the geometric self-ensemble (`name+`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .method import Array, Method, Scan, Task


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


def self_ensemble(method: Method, scan: Scan, task: Task) -> Array:
    """The mean of `method` over the eight symmetries, each undone, in float64 before any rounding.

    Source: EDSR (Lim et al., CVPR workshops 2017), section 4.3.
    """
    total = np.zeros(task.hr_shape(scan.array.shape))
    for index in range(8):
        slices, rows, columns = scan.spacing
        turned = replace(
            scan,
            array=np.ascontiguousarray(dihedral(scan.array, index)),
            spacing=(slices, columns, rows) if index & 4 else scan.spacing,
        )
        depth, down, across = task.factors
        asked = replace(task, factors=(depth, across, down)) if index & 4 else task
        total += undo_dihedral(method.upscale(turned, asked), index)
    return (total / 8).astype(np.float32)
