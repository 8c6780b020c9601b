"""Image pairs that anyone can remake, and what the metrics' own authors' MATLAB code says of them.

`reference/image_metrics.json` holds the answers of FeatureSIM.m (FSIM), GMSD.m, HaarPSI.m and vifp_mscale.m, as their
authors published them, run in GNU Octave 7.3 with octave-image 2.14.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mrsr_bench.datasets.mni152 import Mni152
from mrsr_bench.degradation import bicubic
from mrsr_bench.volumes import read_nifti, to_plane

GOLDEN: dict[str, dict[str, float]] = json.loads(
    (Path(__file__).parent / "reference" / "image_metrics.json").read_text(encoding="utf-8")
)
"""Pair → metric → value."""
SHAPES = {"even": (64, 80), "odd": (97, 75), "large": (393, 400)}
"""Shapes of the drawn images; in the large one FSIM halves the resolution."""


def drawn(shape: tuple[int, int]) -> np.ndarray:
    """Waves, a disc and a bar in 0–255, by formula."""
    y, x = np.meshgrid(np.arange(shape[0]) / shape[0], np.arange(shape[1]) / shape[1], indexing="ij")
    waves = 60 * np.sin(19 * x * y + 3 * y) + 30 * np.cos(41 * x - 7 * y)
    disc = 80.0 * ((x - 0.4) ** 2 + (y - 0.55) ** 2 < 0.06)
    bar = 70.0 * ((x > 0.7) & (x < 0.76))
    return np.clip(90 + waves + disc + bar, 0, 255)


def ripple(shape: tuple[int, int], size: float) -> np.ndarray:
    """An error that looks like noise, within ± `size`, by formula."""
    number = np.arange(shape[0] * shape[1]).reshape(shape)
    return size * np.sin(number * 1.7 + 0.31 * (number % 101) ** 2)


def coarse(image: np.ndarray, scale: int) -> np.ndarray:
    """Bicubic to 1/scale of the resolution and back."""
    small = bicubic(image, [max(1, n // scale) for n in image.shape])
    return np.clip(bicubic(small, image.shape), 0, 255)


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name → (prediction, truth), both float64 in 0–255: drawn images and axial slices of the MNI152 T1."""
    found = {}
    for name, shape in SHAPES.items():
        truth = drawn(shape)
        found[f"{name}-noise"] = (np.clip(truth + ripple(shape, 20), 0, 255), truth)
        found[f"{name}-x3"] = (coarse(truth, 3), truth)
        found[f"{name}-pale"] = (0.7 * truth + 40, truth)
    head = to_plane(read_nifti(Mni152().source("slab035", "T1")), "axial").data.astype(np.float64)
    for number in (50, 90, 130):
        truth = head[number]
        found[f"head{number}-x2"] = (np.round(coarse(truth, 2)), truth)
        found[f"head{number}-x4"] = (coarse(truth, 4), truth)
        found[f"head{number}-noise"] = (np.clip(truth + ripple(truth.shape, 12), 0, 255), truth)
    return found
