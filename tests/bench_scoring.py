"""Time of scoring a volume against scikit-image's bare functions: python tests/bench_scoring.py [--csv PATH].

PSNR and SSIM of 96 axial slices of the MNI152 T1 on 240 × 240 pixels, rounding and checks included, beside
scikit-image's `structural_similarity` of every slice and `peak_signal_noise_ratio`, on one core. Runs are paired, so
that a busy machine slows both. Below stand the seconds that each metric of the suite takes by itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from benching import report
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mrsr_bench.datasets.mni152 import Mni152
from mrsr_bench.degradation import BicubicDegradation, bicubic, degrade
from mrsr_bench.protocol.schema import ScoringSpec
from mrsr_bench.scoring.protocol_metrics import METRICS
from mrsr_bench.scoring.score import Case, radial_errors, score
from mrsr_bench.volumes import Grid, read_nifti, to_plane

SHAPE, FACTORS = (96, 240, 240), (1, 2, 2)
FIRST = 40
"""Axial slices 40 to 135 of the MNI152 show the brain from the temporal poles almost to the vertex."""
GOAL = 1.3
"""Times scikit-image's seconds, both on one core."""
PAIRS = 7
WINDOW = {"window": "gaussian11", "map": "whole"}
RANGE = {"range": "volume_minmax"}
BOTH = {"psnr": RANGE, "ssim": {**RANGE, **WINDOW}}


def case() -> tuple[np.ndarray, Case]:
    """Bicubic's prediction of a volume of `SHAPE`, and the volume."""
    whole = to_plane(read_nifti(Mni152().source("slab035", "T1")), "axial").data[FIRST : FIRST + SHAPE[0]]
    border = [((full - n) // 2, full - n - (full - n) // 2) for full, n in zip(SHAPE, whole.shape, strict=True)]
    hr, grid = np.pad(whole, border), Grid(integer=True, nonnegative=True)
    lr = grid.apply(degrade(hr, "bicubic", FACTORS), "stored")
    return bicubic(lr, hr.shape).astype(np.float32), Case(hr, lr, grid, BicubicDegradation())


def ours(prediction: np.ndarray, volume: Case, **metrics: dict[str, Any]) -> dict[str, float]:
    return score(prediction, volume, ScoringSpec(round="stored", metrics=metrics))


def scikit(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The same two figures, their map cropped."""
    width = float(np.ptp(truth))
    convention = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": width}
    slices = [structural_similarity(t, p, **convention) for p, t in zip(prediction, truth, strict=True)]
    return {"psnr": peak_signal_noise_ratio(truth, prediction, data_range=width), "ssim": float(np.mean(slices))}


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def measure() -> Iterator[dict[str, object]]:
    cores = os.sched_getaffinity(0)
    prediction, volume = case()
    final, truth = np.rint(prediction).astype(np.float64), volume.hr.astype(np.float64)
    theirs, mine, spread = [], [], []
    for _ in range(PAIRS):
        os.sched_setaffinity(0, {min(cores)})
        theirs.append(seconds(lambda: scikit(final, truth)))
        mine.append(seconds(lambda: ours(prediction, volume, **BOTH)))
        os.sched_setaffinity(0, cores)
        spread.append(seconds(lambda: ours(prediction, volume, **BOTH)))
    yield {"what": "scikit-image, 1 core", "seconds": median(theirs), "ratio": 1.0}
    for name, taken in (("PSNR and SSIM, 1 core", mine), (f"PSNR and SSIM, {len(cores)} cores", spread)):
        ratio = median(own / other for own, other in zip(taken, theirs, strict=True))
        yield {"what": name, "seconds": median(taken), "ratio": ratio}
    taken = seconds(lambda: radial_errors(prediction, volume, ScoringSpec(round="stored", metrics=BOTH)))
    yield {"what": f"radial errors, {len(cores)} cores", "seconds": taken, "ratio": taken / median(theirs)}
    for name, metric in METRICS.items():
        settings = (WINDOW if name == "ssim" else {}) | (RANGE if "range" in metric.model_fields else {})
        taken = seconds(partial(ours, prediction, volume, **{name: settings}))
        yield {"what": f"{name}, {len(cores)} cores", "seconds": taken, "ratio": taken / median(theirs)}


if __name__ == "__main__":
    print(f"a volume of {SHAPE[0]} slices of {SHAPE[1]}×{SHAPE[2]}; goal on one core: ratio at most {GOAL}")
    report(__doc__, measure, "{what:32} {seconds:7.3f} s  ratio {ratio:5.2f}")
