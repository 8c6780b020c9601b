"""Slices turned as radiologists look at them, whatever the order of the file's voxels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .exhibit import ExhibitSlice

OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}
"""Direction → the one that it comes from."""


def upright(shown: ExhibitSlice) -> ExhibitSlice:
    """The same slice with superior or anterior at the top, and the patient's right or anterior at the left.

    All images and maps are turned alike; spacing and axes are those of the new rows and columns.
    """
    through, rows, columns = shown.axes
    swapped = columns in "SI" or (columns in "AP" and rows in "LR")
    if swapped:
        rows, columns = columns, rows
    up, mirrored = rows in "SA", columns in "RA"

    def turned(image: np.ndarray) -> np.ndarray:
        image = image.T if swapped else image
        return image[:: -1 if up else 1, :: -1 if mirrored else 1]

    between, height, width = shown.spacing
    return replace(
        shown,
        prediction=turned(shown.prediction),
        hr=turned(shown.hr),
        lr=turned(shown.lr),
        maps={name: turned(values) for name, values in shown.maps.items()},
        spacing=(between, width, height) if swapped else (between, height, width),
        axes=(through, OPPOSITE[rows] if up else rows, OPPOSITE[columns] if mirrored else columns),
    )


def edges(shown: ExhibitSlice) -> tuple[str, str, str, str]:
    """The directions at the top, the bottom, the left and the right edge of a slice as it lies in its array."""
    _, down, right = shown.axes
    return OPPOSITE[down], down, OPPOSITE[right], right
