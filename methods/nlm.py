"""Non-local means upsampling within slices, its block means kept equal to the LR (Manjón et al., MedIA 14, 2010)."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

import numpy as np
from pydantic import Field

from mrsr_bench.method import Array, Method, MethodOptions, Scan, Task

_PEAK = 256.0
"""The volume's largest magnitude is scaled to this, so that the levels below have units. Authors' public code."""
_LEAST_LEVEL = 1.0
"""A pixel whose level is lower is left as it is. Authors' public code."""
_REJECT = 0.6
"""Two pixels whose 3 × 3 means differ by more than this times the level are not compared. Authors' public code."""
_LEAST_CHANGE = 0.001
"""A mean change of a pass at or below this ends the iteration. Authors' public code."""
_MOST_PASSES = 200
"""A guard only: about 20 passes are usual, and halved levels end below `_LEAST_LEVEL` everywhere."""


class NlmOptions(MethodOptions):
    """The search window and the stopping rule."""

    search: int = Field(3, ge=1)
    """Radius of the search window in HR pixels."""
    tolerance: float = Field(1.2, gt=1)
    """Halve the level when a pass changes less than 1/tolerance of what the pass before it changed."""


class Nlm(Method):
    """The authors' public MATLAB and C code, in 2-D: slices are independent, patches 3 × 3, windows 7 × 7.

    Two deliberate differences from that code. Every pixel gathers from its window with its own level (there, a pair
    is visited once and shares the level of its first pixel), and differences are not truncated to whole numbers.
    The assumption that an LR pixel is the mean of its HR block holds for a box-shaped point spread only; bicubic
    degradation breaks it slightly, as it does in the published tables.
    """

    paper = "Manjón, Coupé, Buades, Fonov, Collins, Robles, Non-local MRI upsampling, Med. Image Anal. 14(6), 2010"
    Options = NlmOptions
    slice_wise = True
    keeps_constants = True
    homogeneous = True
    options: NlmOptions

    def unsupported(self, task: Task) -> str | None:
        if task.factors[0] != 1 or task.factors[1] != task.factors[2]:
            return f"upscales within slices, rows and columns alike; not by {task.factors}"
        return None

    def upscale(self, scan: Scan, task: Task) -> Array:
        low = scan.array.astype(np.float64)
        unit = _PEAK / (float(np.abs(low).max()) or 1.0)
        denoise = compiled_pass()  # before the threads, so that it is compiled once
        work = partial(_upscale_slice, factor=task.scale, options=self.options, denoise=denoise)
        with ThreadPoolExecutor(_threads()) as pool:  # compiled passes run without the interpreter's lock
            high = np.stack(list(pool.map(work, low * unit)))
        return (high / unit).astype(np.float32)


def _upscale_slice(low: Array, factor: int, options: NlmOptions, denoise: Callable[..., Array]) -> Array:
    """One slice (h, w) to (h·factor, w·factor), float64, in units where the volume's peak is `_PEAK`."""
    from scipy.ndimage import uniform_filter

    high = _match_block_means(_spline(low, factor), low)
    mean = uniform_filter(high, 3, mode="reflect")
    variance = uniform_filter(high * high, 3, mode="reflect") - mean * mean
    level = uniform_filter(np.sqrt(np.maximum(variance, 0)), 3, mode="reflect") / 2
    before, change_before, halved, drift_before = high, math.inf, high, math.inf
    for _ in range(_MOST_PASSES):
        mean = uniform_filter(before, 3, mode="reflect")
        high = _match_block_means(denoise(np.pad(before, 1, mode="symmetric"), mean, level, options.search), low)
        change = float(np.abs(high - before).mean())
        if change <= _LEAST_CHANGE:
            break
        if change_before < options.tolerance * change:
            drift = float(np.abs(high - halved).mean())
            if drift_before < options.tolerance * drift:
                break
            level, halved, drift_before = level / 2, high, drift
        before, change_before = high, change
    return high


def _spline(low: Array, factor: int) -> Array:
    """Cubic spline through the LR pixels, each at the centre of its block; beyond the outermost, their values."""
    from scipy.interpolate import CubicSpline

    for axis in (0, 1):
        n = low.shape[axis]
        if n > 1:
            at = (np.arange(n * factor) + 0.5) / factor - 0.5
            low = CubicSpline(np.arange(n), low, axis=axis)(np.clip(at, 0, n - 1))
        else:
            low = np.repeat(low, factor, axis)
    return low


def _match_block_means(high: Array, low: Array) -> Array:
    """Shift every block of HR pixels so that its mean is its LR pixel."""
    h, w = low.shape
    blocks = high.reshape(h, high.shape[0] // h, w, high.shape[1] // w)
    return (blocks + (low - blocks.mean(axis=(1, 3)))[:, None, :, None]).reshape(high.shape)


def _pass(padded: Array, mean: Array, level: Array, search: int) -> Array:
    """One non-local means pass, every pixel by itself.

    `padded` is the image with one more pixel on every side, `mean` its 3 × 3 means and `level` the noise-like level
    per pixel, both (H, W). The distance of two pixels is the mean squared difference of their 3 × 3 patches, d, and
    the weight exp(−max(d / (2 level²) − 1, 0)); a pixel's own weight is 1. Windows are cut at the image's border.
    """
    rows, columns = mean.shape
    out = np.empty_like(mean)
    for i in range(rows):
        for j in range(columns):
            own = padded[i + 1, j + 1]
            out[i, j] = own
            if level[i, j] < _LEAST_LEVEL:
                continue
            reach, width = _REJECT * level[i, j], 2 * level[i, j] ** 2
            total, weights = own, 1.0
            for a in range(max(i - search, 0), min(i + search + 1, rows)):
                for b in range(max(j - search, 0), min(j + search + 1, columns)):
                    if (a == i and b == j) or abs(mean[a, b] - mean[i, j]) > reach:
                        continue
                    distance = 0.0
                    for k in range(3):
                        for m in range(3):
                            distance += (padded[a + k, b + m] - padded[i + k, j + m]) ** 2
                    excess = distance / 9 / width - 1
                    weight = math.exp(-excess) if excess > 0 else 1.0
                    total += weight * padded[a + 1, b + 1]
                    weights += weight
            out[i, j] = total / weights
    return out


@lru_cache(maxsize=1)
def compiled_pass() -> Callable[..., Array]:
    """`_pass` as machine code, kept on disk beside this file or in the user's cache where one can be written."""
    import numba

    try:
        return numba.njit(nogil=True, cache=True)(_pass)
    except RuntimeError:  # no place to keep it
        return numba.njit(nogil=True)(_pass)


def _threads() -> int:
    """As many as numba would use: the cores of this process, or NUMBA_NUM_THREADS."""
    import numba

    return int(numba.config.NUMBA_NUM_THREADS)
