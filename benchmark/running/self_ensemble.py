"""The geometric self-ensemble (`name+`): a method's mean over the eight symmetries of the square."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..method import Array, Method, Scan, Task
from ..training.symmetries import dihedral, undo_dihedral


def self_ensemble(method: Method, scan: Scan, task: Task) -> Array:
    """The mean of `method` over the eight symmetries, each undone, in float64 before any rounding.

    Source: EDSR (Lim et al., CVPR workshops 2017), section 4.3.
    """
    total = np.zeros(task.hr_shape(scan.array.shape))
    for index in range(8):
        slices, rows, columns = scan.spacing
        turned_scan = replace(
            scan,
            array=np.ascontiguousarray(dihedral(scan.array, index)),
            spacing=(slices, columns, rows) if index & 4 else scan.spacing,
        )
        depth, down, across = task.factors
        turned_task = replace(task, factors=(depth, across, down)) if index & 4 else task
        total += undo_dihedral(method.upscale(turned_scan, turned_task), index)
    return (total / 8).astype(np.float32)
