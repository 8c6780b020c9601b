"""Scoring: rounding, then every metric of the protocol on one volume. The only room that sees a test volume's truth."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from . import metrics
from .schema import Scoring
from .volumes import Grid


class _Convention(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    range: Literal["volume_minmax", "volume_max"]


class Psnr(_Convention):
    """`metrics.psnr` of the whole volume's MSE."""

    def __call__(self, prediction: np.ndarray, truth: np.ndarray, whole: np.ndarray) -> float:
        return metrics.psnr(prediction, truth, metrics.RANGES[self.range](whole))


class Ssim(_Convention):
    """`metrics.ssim` of all slices (dims 2) or of the volume (dims 3)."""

    window: Literal["gaussian11", "uniform7"]
    dims: Literal[2, 3] = Field(2)
    map: Literal["whole", "cropped"]

    def __call__(self, prediction: np.ndarray, truth: np.ndarray, whole: np.ndarray) -> float:
        data_range = metrics.RANGES[self.range](whole)
        return metrics.ssim(prediction, truth, data_range, self.window, self.dims, self.map)


METRICS: dict[str, type[Psnr] | type[Ssim]] = {"psnr": Psnr, "ssim": Ssim}
"""Metric name in a protocol → its convention's fields and its function of (prediction, truth, whole truth).

The first two may have lost a border; the range is of the whole true volume.
"""


def score(prediction: np.ndarray, truth: np.ndarray, grid: Grid, scoring: Scoring) -> dict[str, float]:
    """Metric → value for one predicted volume (D, H, W) in the file's intensity units.

    Raises ValueError where the shape differs from the truth's, a value is not finite, or a border leaves nothing.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction has shape {prediction.shape}, the truth {truth.shape}")
    if bad := int(np.count_nonzero(~np.isfinite(prediction))):
        raise ValueError(f"the prediction holds {bad} values that are NaN or infinite")
    final = np.asarray(grid.round(prediction) if scoring.round == "stored" else prediction, np.float64)
    inner = whole = np.asarray(truth, np.float64)
    if border := scoring.border:
        final, inner = (array[:, border:-border, border:-border] for array in (final, whole))
        if not inner.size:
            raise ValueError(f"a border of {border} leaves nothing of the shape {whole.shape}")
    return {name: METRICS[name](**convention)(final, inner, whole) for name, convention in scoring.metrics.items()}
