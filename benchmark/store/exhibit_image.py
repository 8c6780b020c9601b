"""A small image of an exhibit's slice, without any drawing library: HR, the prediction and their difference."""

from __future__ import annotations

import numpy as np

from .exhibit import ExhibitSlice
from .orientation import upright

GAIN = 8
"""The difference is shown so many times larger: mid-grey where there is none, white or black at 1/16 of the window."""
_EDGE = 2
"""Pixels between two images."""


def slice_image(shown: ExhibitSlice) -> np.ndarray:
    """uint8 (rows, 3 × columns and edges): HR, prediction, and prediction − HR, upright, in the subject's window."""
    shown = upright(shown)
    low, high = shown.display
    width = high - low if high > low else 1.0
    hr, prediction = ((image.astype(np.float64) - low) / width for image in (shown.hr, shown.prediction))
    edge = np.ones((len(hr), _EDGE))
    image = np.concatenate([hr, edge, prediction, edge, 0.5 + GAIN * (prediction - hr)], axis=1)
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8)
