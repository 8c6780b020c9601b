"""Bicubic interpolation, exactly as MATLAB's imresize: the baseline of every table."""

from __future__ import annotations

import numpy as np

from mrsr_bench.degradation import bicubic
from mrsr_bench.method import Array, Method, Scan, Task


class Bicubic(Method):
    paper = "Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6), 1981"
    slice_wise = keeps_constants = homogeneous = True

    def upscale(self, scan: Scan, task: Task) -> Array:
        return bicubic(scan.array.astype(np.float64), task.hr_shape(scan.array.shape)).astype(np.float32)
