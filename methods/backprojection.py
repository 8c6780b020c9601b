"""Iterative back-projection: bicubic, corrected until it degrades to the LR again (Irani & Peleg, 1991)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from mrsr_bench.degradation import bicubic, degrade
from mrsr_bench.method import Array, Method, MethodOptions, Scan, Task

_LINEAR = ("bicubic",)
"""Degradations that are linear and for which the iteration is known to converge."""


class BackprojectionOptions(MethodOptions):
    """How far to go."""

    steps: int = Field(20, ge=0)
    """Corrections; 0 is bicubic interpolation."""


class Backprojection(Method):
    """x ← x + up(y − down(x)) from x = up(y): y is the LR, `down` the task's degradation, `up` bicubic interpolation.

    It learns nothing, but is told how the LR was made: a floor beside `linear`. For one frame and a known degradation
    without motion this is the paper's iteration. Its back-projection kernel is free as long as the iteration
    contracts. Here `up` is `down` transposed, up to a factor, so down·up is symmetric, with eigenvalues between 0.47
    and 1 along an axis: the residual y − down(x) shrinks with every step, at each frequency at its own rate.

    Departures from the paper: one frame in place of several, and a fixed number of steps. Computed in float64.
    """

    paper = "Irani, Peleg, Improving resolution by image registration, CVGIP: Graph. Models Image Process. 53(3), 1991"
    Options = BackprojectionOptions
    keeps_constants = True
    homogeneous = True
    options: BackprojectionOptions

    def unsupported(self, task: Task) -> str | None:
        if task.degradation not in _LINEAR:
            return f"needs a degradation known to it as linear ({', '.join(_LINEAR)}), not {task.degradation}"
        return None

    def upscale(self, scan: Scan, task: Task) -> Array:
        low = scan.array.astype(np.float64)
        shape = task.hr_shape(low.shape)
        high = bicubic(low, shape)
        for _ in range(self.options.steps):
            high += bicubic(low - degrade(high, task.degradation, task.factors), shape)
        return high.astype(np.float32)
