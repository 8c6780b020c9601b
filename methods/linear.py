"""Linear: one least-squares filter per output phase, after RAISR with a single class (Romano et al., IEEE TCI 2017).

It is the best that any fixed linear filter of its size can do on the training data, found in closed form in seconds:
the floor that a network has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field, field_validator

from mrsr_bench.method import Array, Batch, Method, MethodOptions, Run, Scan, Task, TrainingSet


class LinearOptions(MethodOptions):
    """The neighbourhood and the ridge."""

    taps: int = Field(11, ge=1)
    """Side k of the square LR neighbourhood, odd.

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

    No constant term: the filter is homogeneous, so the scale of the intensities does not matter. Edges are reflected
    symmetrically, as in MATLAB's imresize. Flipped and turned copies of the training slices are not added.
    """

    paper = "Romano, Isidoro, Milanfar, RAISR: Rapid and accurate image super resolution, IEEE TCI 3(1), 2017"
    Options = LinearOptions
    slice_wise = True
    homogeneous = True
    options: LinearOptions
    filters: Array | None = None
    """(k·k, a·b) float64: a column per phase of the HR block, rows first."""

    def unsupported(self, task: Task) -> str | None:
        if task.factors[0] != 1:
            return f"upscales within slices; not by {task.factors}"
        return None

    def fit(self, task: Task, train: TrainingSet, val: Sequence[Batch], run: Run) -> None:
        """Solve (X'X + λI) W = X'Y over every LR pixel of every training slice, in one pass over the data.

        Progress is counted in volumes. Raises ValueError where all volumes are zero.
        """
        taps, (_, rows, columns) = self.options.taps, task.factors
        gram, cross = np.zeros((taps**2, taps**2)), np.zeros((taps**2, rows * columns))
        for number, (lr, hr) in enumerate(train.volumes(), start=1):
            for low, high in zip(lr, hr, strict=True):
                x, y = _neighbourhoods(low, taps), _blocks(high, rows, columns)
                gram += x.T @ x
                cross += x.T @ y
            run.report(number)
        if not gram.trace() > 0:
            raise ValueError("every training volume is zero: there is nothing to fit")
        gram[np.diag_indices_from(gram)] += self.options.ridge * gram.trace() / len(gram)
        self.filters = np.ascontiguousarray(np.linalg.lstsq(gram, cross, rcond=None)[0])

    def upscale(self, scan: Scan, task: Task) -> Array:
        if self.filters is None:
            raise RuntimeError("upscale before fit or load_state")
        _, rows, columns = task.factors
        high = np.empty(task.hr_shape(scan.array.shape), np.float32)
        for low, out in zip(scan.array, high, strict=True):
            blocks = _neighbourhoods(low, self.options.taps) @ self.filters
            out[:] = blocks.reshape(*low.shape, rows, columns).swapaxes(1, 2).reshape(out.shape)
        return high

    def state(self) -> dict[str, Array]:
        return {} if self.filters is None else {"filters": self.filters}

    def load_state(self, state: dict[str, Array], task: Task) -> None:
        shape = (self.options.taps**2, task.factors[1] * task.factors[2])
        if state["filters"].shape != shape:
            raise ValueError(f"filters have shape {state['filters'].shape}; these options and factors need {shape}")
        self.filters = np.array(state["filters"], np.float64, order="C")


def _neighbourhoods(low: Array, taps: int) -> Array:
    """(h·w, k·k) float64: the neighbourhood of every pixel of an LR slice (h, w)."""
    padded = np.pad(np.asarray(low, np.float64), taps // 2, mode="symmetric")
    return np.lib.stride_tricks.sliding_window_view(padded, (taps, taps)).reshape(low.size, taps**2)


def _blocks(high: Array, rows: int, columns: int) -> Array:
    """(h·w, a·b) float64: the block of HR pixels of every LR pixel, from an HR slice (h·a, w·b)."""
    h, w = high.shape[0] // rows, high.shape[1] // columns
    return np.asarray(high, np.float64).reshape(h, rows, w, columns).swapaxes(1, 2).reshape(h * w, rows * columns)
