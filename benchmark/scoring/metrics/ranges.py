"""The intensity range of a true image that a figure refers to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

VOLUME: dict[str, Callable[[np.ndarray], tuple[float, float]]] = {
    "volume_minmax": lambda truth: (float(truth.min()), float(truth.max())),
    "volume_max": lambda truth: (0.0, float(truth.max())),
    "volume_p999": lambda truth: (0.0, float(np.percentile(truth, 99.9))),
}
"""Word → (lowest, highest) of the whole true volume. The maximum is one hot voxel; the 99.9th percentile is not."""
SLICE = {"slice_minmax": VOLUME["volume_minmax"], "slice_max": VOLUME["volume_max"]}
"""The same of each slice by itself."""
WORDS = (*VOLUME, *SLICE)


def limits(truth: np.ndarray, convention: str | float) -> np.ndarray:
    """(D, 2): the lowest and highest intensity that each slice of a true volume (D, H, W) is measured by.

    A number is a fixed range from 0. Where highest − lowest is not above 0 the slice has no range.
    """
    if isinstance(convention, float):
        return np.tile([0.0, convention], (len(truth), 1))
    if convention in VOLUME:
        return np.tile(VOLUME[convention](truth), (len(truth), 1))
    return np.array([SLICE[convention](image) for image in truth])


def to_255(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """`low`…`high` scaled to 0…255, clipped there: the scale that the constants of FSIM, GMSD, VIF, HaarPSI are for."""
    return np.clip((image - low) * (255 / (high - low)), 0, 255)
