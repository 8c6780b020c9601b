"""The part of a slice that a figure enlarges: where methods differ most inside the head, or as it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError

_SIDE = 0.25
"""Side of a chosen region, as a part of the slice's shorter side."""
_MOSTLY = 0.95
"""The part of a chosen region that must lie in the head, where that is possible."""


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels, which is a square in mm."""

    row: int
    """Of its upper left pixel, from 0."""
    column: int
    rows: int
    columns: int

    @property
    def text(self) -> str:
        """As the option --region takes it: row, column, size."""
        return f"{self.row},{self.column},{self.rows}"


def given_region(wanted: tuple[int, int, int], shape: tuple[int, ...], spacing: tuple[float, float]) -> Region:
    """The region of (row, column, size) in a slice of `shape` (rows, columns) with pixels of `spacing` in mm.

    `size` is its number of rows; it has as many columns as make it square in mm. Raises UsageError where it does not lie
    inside the slice.
    """
    row, column, size = wanted
    columns = max(1, round(size * spacing[0] / spacing[1]))
    if row < 0 or column < 0 or size < 1 or row + size > shape[0] or column + columns > shape[1]:
        raise UsageError(
            f"the region of {size}×{columns} pixels at row {row}, column {column} does not lie inside the slice, which "
            f"has {shape[0]} rows and {shape[1]} columns as it is shown; --region is ROW,COLUMN,SIZE in HR pixels"
        )
    return Region(row, column, size, columns)


def chosen_region(hr: np.ndarray, predictions: Sequence[np.ndarray], spacing: tuple[float, float]) -> Region:
    """Where the predictions differ most from each other, a single one from `hr`, on average over the region.

    All images are (rows, columns); `spacing` is that of the pixels in mm. The region lies in the head, at least mainly.
    """
    height, width = hr.shape
    side = _SIDE * min(height * spacing[0], width * spacing[1])
    rows, columns = (max(1, min(length, round(side / mm))) for length, mm in zip(hr.shape, spacing, strict=True))
    if len(predictions) > 1:
        spread = np.std(np.stack(predictions).astype(np.float64), axis=0)
    else:
        spread = np.abs(predictions[0].astype(np.float64) - hr)
    inside = _window_means(head(hr).astype(np.float64), rows, columns)
    allowed = inside >= min(_MOSTLY, float(inside.max())) - 1e-9
    means = np.where(allowed, _window_means(spread, rows, columns), -1.0)
    row, column = np.unravel_index(int(means.argmax()), means.shape)
    return Region(int(row), int(column), rows, columns)


def head(hr: np.ndarray) -> np.ndarray:
    """(rows, columns) booleans: pixels with something brighter than the mean on all four sides, or so bright."""
    bright = hr > hr.mean()
    inside = np.ones_like(bright)
    for axis in (0, 1):
        for side in (slice(None), slice(None, None, -1)):
            turned = np.moveaxis(bright, axis, 0)[side]
            inside &= np.moveaxis(np.logical_or.accumulate(turned)[side], 0, axis)
    return inside


def _window_means(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The mean over every window of rows × columns that lies inside; at [i, j] that of the window from row i, column j."""
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    totals = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    return totals / (rows * columns)
