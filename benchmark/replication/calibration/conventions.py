"""One subject's bicubic figures under every convention: each filter runs once, for all ranges and maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd

from ...dataset import Dataset
from ...degradation import bicubic, degrade
from ...protocol.data_blocks import Rounding
from ...scoring.metrics.fidelity import decibels
from ...scoring.metrics.ranges import limits
from ...scoring.metrics.ssim import inside, ssim_map
from ...volumes import Grid, VolumeError, centre_crop, to_plane

PLANES = {"PD": "axial", "T1": "sagittal", "T2": "axial"}
"""Contrast → the published plane of its slices."""
CROP = (96, 240, 240)
"""The published (slices, rows, columns)."""
SCALES = (2, 3, 4)
POOLS = ("volume", "slices")
"""PSNR of the volume's mean normalised squared error, or the mean of the slices' PSNR."""
RANGES = ("volume_minmax", "volume_max", "slice_minmax")
WINDOWS = {"gaussian11 2-D": ("gaussian11", 2), "gaussian11 3-D": ("gaussian11", 3), "uniform7 2-D": ("uniform7", 2)}
"""SSIM's window as printed → its name in `metrics.ssim` and its dimensions."""
MAPS = ("whole", "cropped")
ROUNDINGS: tuple[str, ...] = get_args(Rounding)
"""How LR is rounded. Where that clips at 0, predictions are clipped too; predictions are always rounded."""


@dataclass(frozen=True)
class Convention:
    """One way to make the 18 published figures out of the same volumes."""

    pool: str
    range: str
    window: str
    map: str
    rounding: str

    @property
    def psnr(self) -> str:
        """The column of its PSNR (see `subject_figures`)."""
        return f"psnr/{self.pool}/{self.range}"

    @property
    def ssim(self) -> str:
        return f"ssim/{self.window}/{self.range}/{self.map}"


def conventions() -> list[Convention]:
    """All conventions. A 3-D window reaches over slices, so it is not combined with the ranges of single slices."""
    product = itertools.product(POOLS, RANGES, WINDOWS, MAPS, ROUNDINGS)
    every = [Convention(*settings) for settings in product]
    return [way for way in every if not (WINDOWS[way.window][1] == 3 and way.range.startswith("slice"))]


def subject_figures(dataset: Dataset, subject: str, crop: tuple[int, int, int] = CROP) -> pd.DataFrame:
    """Rows: contrast, scale, rounding. Further columns: a figure of each `Convention.psnr` and `.ssim`, and `left_out`.

    Bicubic is MATLAB's, down and up. `left_out` counts slices that have no figure of their own, which means over slices
    leave out: a blank truth has no range, and an exact prediction no finite PSNR.
    Raises VolumeError where a volume cannot be used.
    """
    rows = [
        {"contrast": contrast, "scale": scale, "rounding": rounding, **figures}
        for contrast, plane in PLANES.items()
        for scale, rounding, figures in _contrast_figures(dataset, subject, contrast, plane, crop)
    ]
    return pd.DataFrame(rows)


def _contrast_figures(
    dataset: Dataset, subject: str, contrast: str, plane: str, crop: tuple[int, int, int]
) -> Iterator[tuple[int, str, dict[str, float]]]:
    try:
        volume = centre_crop(to_plane(dataset.load(subject, contrast), plane), crop)
    except ValueError as error:
        raise VolumeError(dataset.source(subject, contrast), str(error)) from None
    truth = np.asarray(volume.data, np.float64)
    if truth.min() == truth.max():
        raise VolumeError(dataset.source(subject, contrast), f"{subject} {contrast} is constant inside the crop")
    for scale in SCALES:
        scored: list[tuple[np.ndarray, dict[str, float]]] = []
        for rounding, prediction in _predictions(truth, volume.grid, scale):
            figures = next((figures for earlier, figures in scored if np.array_equal(earlier, prediction)), None)
            figures = figures or all_figures(prediction, truth)
            scored.append((prediction, figures))
            yield scale, rounding, figures


def _predictions(truth: np.ndarray, grid: Grid, scale: int) -> Iterator[tuple[str, np.ndarray]]:
    """Every rounding of LR, with bicubic's prediction from that LR, rounded to the stored grid."""
    low = degrade(truth, "bicubic", (1, scale, scale))
    for rounding in ROUNDINGS:
        enlarged = bicubic(grid.apply(low, rounding), truth.shape)
        yield rounding, grid.apply(enlarged, "stored" if rounding in ("stored", "clipped") else "stored_unclipped")


def all_figures(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Column → figure, for volumes (D, H, W)."""
    spans = {word: np.diff(limits(truth, word), axis=1)[:, 0] for word in RANGES}
    errors = np.mean((prediction - truth) ** 2, axis=(1, 2))
    figures: dict[str, float] = {}
    left_out = 0
    for word, span in spans.items():
        with_range = span > 0
        normalised = errors[with_range] / span[with_range] ** 2
        finite = [decibels(float(error)) for error in normalised if error > 0]
        figures[f"psnr/volume/{word}"] = decibels(float(normalised.mean()))
        figures[f"psnr/slices/{word}"] = float(np.mean(finite)) if finite else math.inf
        left_out = max(left_out, len(span) - len(finite))
    for name, (window, dims) in WINDOWS.items():
        words = [word for word in RANGES if dims == 2 or not word.startswith("slice")]
        images = zip(prediction, truth, strict=True) if dims == 2 else [(prediction, truth)]
        means: dict[tuple[str, str], list[float]] = {(word, kind): [] for word in words for kind in MAPS}
        for number, (predicted, true) in enumerate(images):
            maps = _maps(predicted, true, window, {word: float(spans[word][number]) for word in words})
            for word, ssim in maps.items():
                means[word, "whole"].append(float(ssim.mean()))
                means[word, "cropped"].append(float(ssim[inside(window, ssim.ndim)].mean()))
        for (word, kind), values in means.items():
            figures[f"ssim/{name}/{word}/{kind}"] = float(np.mean(values))
    return {**figures, "left_out": left_out}


def _maps(prediction: np.ndarray, truth: np.ndarray, window: str, spans: dict[str, float]) -> dict[str, np.ndarray]:
    """Name of a range → the SSIM map of one image; ranges that are 0 are left out."""
    filtered: list[np.ndarray] = []

    def run(blur: Callable[[np.ndarray], np.ndarray], images: Iterable[np.ndarray]) -> list[np.ndarray]:
        if not filtered:
            filtered.extend(map(blur, images))
        return filtered

    maps: dict[float, np.ndarray] = {}
    for span in spans.values():
        if span > 0 and span not in maps:
            maps[span] = ssim_map(prediction, truth, span, window, run)
    return {word: maps[span] for word, span in spans.items() if span in maps}
