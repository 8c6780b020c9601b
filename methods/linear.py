"""Linear: one least-squares filter per output phase, after RAISR with a single class (Romano et al., IEEE TCI 2017).

It is the best that any fixed linear filter of its size can do on the training data, found in closed form in seconds:
the floor that a network has to beat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field, field_validator

from mrsr_bench.method import Array, Batch, Method, MethodOptions, Run, Scan, Task, TrainingSet

_CUBE = 5
"""Side of the neighbourhood where slices have a factor too: there it is a cube."""


class LinearOptions(MethodOptions):
    """The neighbourhood and the ridge."""

    taps: int = Field(11, ge=1)
    """Side k of the square LR neighbourhood within a slice, odd.

    Chosen on the validation fold of ixi_midslice: at ×2, 7, 9, 11 and 13 gain 2.59, 2.75, 2.80 and 2.81 dB there.
    """
    ridge: float = Field(1e-6, ge=0)
    """Added to the normal matrix' diagonal, as a fraction of the diagonal's mean. 1e-5 to 1e-8 give the same there."""

    @field_validator("taps")
    @classmethod
    def _odd(cls, taps: int) -> int:
        if taps % 2 == 0:
            raise ValueError("taps must be odd: the neighbourhood is centred on an LR pixel")
        return taps


class Linear(Method):
    """Each LR pixel's k × k neighbourhood, times a (k·k, a·b) matrix, gives its a × b block of HR pixels.

    Where slices have a factor c, its 5 × 5 × 5 neighbourhood gives its c × a × b block of HR voxels. No constant term:
    the filter is homogeneous, so the scale of the intensities does not matter. Edges are reflected symmetrically, as in
    MATLAB's imresize. Flipped and turned copies of the training slices are not added.
    """

    paper = "Romano, Isidoro, Milanfar, RAISR: Rapid and accurate image super resolution, IEEE TCI 3(1), 2017"
    Options = LinearOptions
    seeded = False
    slice_wise = True
    homogeneous = True
    options: LinearOptions
    filters: Array | None = None
    """(k·k, a·b) float64: a column per phase of the HR block, slices first, then rows."""

    def _window(self, task: Task) -> tuple[int, int, int]:
        """The neighbourhood's sides along slices, rows and columns."""
        return (1, self.options.taps, self.options.taps) if task.factors[0] == 1 else (_CUBE, _CUBE, _CUBE)

    def fit(self, task: Task, train: TrainingSet, val: Sequence[Batch], run: Run) -> None:
        """Solve (X'X + λI) W = X'Y over every LR pixel of every training slice, in one pass over the data.

        Progress is counted in volumes. Raises ValueError where all volumes are zero.
        """
        window = self._window(task)
        size = math.prod(window)
        gram, cross = np.zeros((size, size)), np.zeros((size, math.prod(task.factors)))
        for number, (lr, hr) in enumerate(train.volumes(), start=1):
            for x, high in zip(_neighbourhoods(lr, window), _slabs(hr, task.factors), strict=True):
                gram += x.T @ x
                cross += x.T @ _blocks(high, task.factors)
            run.report(number)
        if not gram.trace() > 0:
            raise ValueError("every training volume is zero: there is nothing to fit")
        gram[np.diag_indices_from(gram)] += self.options.ridge * gram.trace() / len(gram)
        self.filters = np.ascontiguousarray(np.linalg.lstsq(gram, cross, rcond=None)[0])

    def upscale(self, scan: Scan, task: Task) -> Array:
        if self.filters is None:
            raise RuntimeError("upscale before fit or load_state")
        high = np.empty(task.hr_shape(scan.array.shape), np.float32)
        for x, out in zip(_neighbourhoods(scan.array, self._window(task)), _slabs(high, task.factors), strict=True):
            blocks = (x @ self.filters).reshape(*scan.array.shape[1:], *task.factors)
            out[:] = blocks.transpose(2, 0, 3, 1, 4).reshape(out.shape)
        return high

    def state(self) -> dict[str, Array]:
        return {} if self.filters is None else {"filters": self.filters}

    def load_state(self, state: dict[str, Array], task: Task) -> None:
        shape = (math.prod(self._window(task)), math.prod(task.factors))
        if state["filters"].shape != shape:
            raise ValueError(f"filters have shape {state['filters'].shape}; these options and factors need {shape}")
        self.filters = np.array(state["filters"], np.float64, order="C")


def _neighbourhoods(low: Array, window: tuple[int, int, int]) -> Iterator[Array]:
    """For each slice of an LR volume (D, h, w): (h·w, window) float64, the neighbourhood of every pixel."""
    sides = [(side // 2, side // 2) for side in window]
    padded = np.pad(np.asarray(low, np.float64), sides, mode="symmetric")
    for slab in np.lib.stride_tricks.sliding_window_view(padded, window):
        yield slab.reshape(slab.shape[0] * slab.shape[1], -1)


def _slabs(high: Array, factors: tuple[int, int, int]) -> Iterator[Array]:
    """The HR slices of each LR slice: views of (c, H, W)."""
    for start in range(0, len(high), factors[0]):
        yield high[start : start + factors[0]]


def _blocks(high: Array, factors: tuple[int, int, int]) -> Array:
    """(h·w, c·a·b) float64: the block of HR voxels of every pixel of an LR slice, from its slab (c, h·a, w·b)."""
    depth, rows, columns = factors
    h, w = high.shape[1] // rows, high.shape[2] // columns
    blocks = np.asarray(high, np.float64).reshape(depth, h, rows, w, columns).transpose(1, 3, 0, 2, 4)
    return blocks.reshape(h * w, depth * rows * columns)
