"""The mask of the head, from the true volume alone."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes, generate_binary_structure, label


def foreground(truth: np.ndarray) -> np.ndarray:
    """(D, H, W) booleans: Otsu's threshold of the whole true volume, its largest component, holes filled by slice.

    The threshold (Otsu, IEEE TSMC 1979) is that of scikit-image with 256 bins from the minimum to the maximum, and what
    is above it is bright. Voxels that share a face are connected; the first of equally large components counts. A hole
    is dark and enclosed within its slice by bright pixels that share an edge or a corner.
    Raises ValueError where the volume is constant.
    """
    from skimage.filters import threshold_otsu

    if truth.min() == truth.max():
        raise ValueError("a constant volume has no foreground")
    parts, _ = label(truth > threshold_otsu(truth))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    head = parts == sizes.argmax()
    cross = generate_binary_structure(2, 1)
    return np.array([binary_fill_holes(image, cross) for image in head])
