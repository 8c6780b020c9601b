"""The part of a slice that a figure enlarges: where methods differ most inside the head, or as it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError

_SIDE = 0.25
"""Side of a chosen region, as a part of the slice's shorter side."""
_BRIGHT = 0.5
"""Of the slice's mean intensity: what is brighter is tissue. HR counts from 0 here, which stands for air."""
_RIM = 0.07
"""Width of the head's rim (scalp and skull) that a chosen region leaves out, as a part of the slice's shorter side."""
_MOSTLY = 0.85
"""The part of a chosen region that must be tissue, where that is possible."""
_OUTLIERS = 0.95
"""The quantile of the differences that no pixel counts above: many pixels that differ, not few that differ much."""


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

    `size` is its number of rows; it has as many columns as make it square in mm. Raises UsageError where it does not
    lie inside the slice.
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

    All images are (rows, columns); `spacing` is that of the pixels in mm. The region holds tissue, at least mainly: it
    lies within the head, and neither in air nor in bone.
    """
    shorter = min(length * mm for length, mm in zip(hr.shape, spacing, strict=True))
    rows, columns = (
        max(1, min(length, round(_SIDE * shorter / mm))) for length, mm in zip(hr.shape, spacing, strict=True)
    )
    if len(predictions) > 1:
        spread = np.std(np.stack(predictions).astype(np.float64), axis=0)
    else:
        spread = np.abs(predictions[0].astype(np.float64) - hr)
    tissue = _without_rim(head(hr), *(round(_RIM * shorter / mm) for mm in spacing)) & (hr > _BRIGHT * hr.mean())
    different = spread[tissue & (spread > 0)]
    if different.size:
        spread = spread.clip(max=np.quantile(different, _OUTLIERS))
    inside = _window_means(tissue.astype(np.float64), rows, columns)
    allowed = inside >= min(_MOSTLY, float(inside.max())) - 1e-9
    means = np.where(allowed, _window_means(spread, rows, columns), -1.0)
    row, column = np.unravel_index(int(means.argmax()), means.shape)
    return Region(int(row), int(column), rows, columns)


def head(hr: np.ndarray) -> np.ndarray:
    """(rows, columns) booleans: the pixels that are bright, or have something bright on all four sides."""
    bright = hr > _BRIGHT * hr.mean()
    inside = np.ones_like(bright)
    for axis in (0, 1):
        for side in (slice(None), slice(None, None, -1)):
            turned = np.moveaxis(bright, axis, 0)[side]
            inside &= np.moveaxis(np.logical_or.accumulate(turned)[side], 0, axis)
    return inside


def _without_rim(inside: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Those pixels of a mask around which all pixels within so many rows and columns are in it."""
    padded = np.pad(inside, ((rows, rows), (columns, columns))).astype(np.float64)
    return _window_means(padded, 2 * rows + 1, 2 * columns + 1) > 1 - 1e-9


def _window_means(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The mean over every window of rows × columns that lies inside; [i, j]: of the window from row i, column j."""
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    totals = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    return totals / (rows * columns)
