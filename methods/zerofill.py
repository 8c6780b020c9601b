"""Zero-filling: the LR's spectrum within a larger one of zeros; the scanner's own interpolation, a baseline."""

from __future__ import annotations

import numpy as np

from mrsr_bench.degradation import zero_fill
from mrsr_bench.method import Array, Method, Scan, Task


class Zerofill(Method):
    """Exact for what `kspace` kept. LR's voxels lie at the centres of HR's blocks, so the spectrum gets a ramp."""

    paper = "Bernstein, Fain, Riederer, Effect of windowing and zero-filled reconstruction of MRI data, JMRI 14, 2001"
    slice_wise = keeps_constants = homogeneous = True

    def upscale(self, scan: Scan, task: Task) -> Array:
        return zero_fill(scan.array.astype(np.float64), task.hr_shape(scan.array.shape)).astype(np.float32)
