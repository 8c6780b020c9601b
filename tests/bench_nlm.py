"""Seconds that `nlm` takes for a slice and for a volume, against its goals: python tests/bench_nlm.py [--csv PATH].

The volume is 96 axial slices of the MNI152 T1 on 240 × 240 pixels, once as it is, with a black background, and once
with Rician noise of 3 % of its maximum, where fewer pixels are left as they are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np
from benching import report

from mrsr_bench.datasets.mni152 import Mni152
from mrsr_bench.degradation import degrade
from mrsr_bench.method import Array, Scan, Task
from mrsr_bench.methods.nlm import Nlm
from mrsr_bench.volumes import read_nifti, to_plane

SHAPE = (96, 240, 240)
FIRST = 40
"""Axial slices 40 to 135 of the MNI152 show the brain from the temporal poles almost to the vertex."""
SLICE_GOAL, VOLUME_GOAL = 0.5, 60.0
"""Seconds on 2 cores."""
MIDDLE = (20, 48, 76)
"""The slices that are timed by themselves; their slowest counts."""


def volumes() -> Iterator[tuple[str, Array]]:
    """Name and HR volume of `SHAPE`."""
    whole = to_plane(read_nifti(Mni152().source("slab035", "T1")), "axial").data[FIRST : FIRST + SHAPE[0]]
    border = [((full - n) // 2, full - n - (full - n) // 2) for full, n in zip(SHAPE, whole.shape, strict=True)]
    clean = np.pad(whole.astype(np.float64), border)
    real, imaginary = np.random.default_rng(0).normal(0, 0.03 * clean.max(), (2, *SHAPE))
    yield "clean", clean
    yield "noisy", np.hypot(clean + real, imaginary)


def seconds(lr: Array, task: Task) -> float:
    scan, started = Scan(lr.astype(np.float32), (1.0, 1.0, 1.0), "T1"), time.perf_counter()
    Nlm().upscale(scan, task)
    return time.perf_counter() - started


def measure() -> Iterator[dict[str, object]]:
    seconds(np.ones((1, 8, 8)), Task((1, 2, 2)))  # compiles, or loads what was compiled before
    for name, hr in volumes():
        for scale in (2, 3, 4):
            task = Task((1, scale, scale))
            lr = degrade(hr, "bicubic", task.factors)
            for what, goal, taken in (
                ("slice", SLICE_GOAL, max(seconds(lr[z : z + 1], task) for z in MIDDLE)),
                ("volume", VOLUME_GOAL, seconds(lr, task)),
            ):
                yield {"data": name, "scale": scale, "what": what, "seconds": round(taken, 3), "goal": goal}


if __name__ == "__main__":
    print(f"nlm on {os.cpu_count()} cores, {SHAPE[1]}×{SHAPE[2]}, volume of {SHAPE[0]} slices")
    report(__doc__, measure, "{data:6} ×{scale}  {what:7} {seconds:7.3f} s  (goal {goal:g} s)")
