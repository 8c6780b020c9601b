"""The metrics that a protocol can ask for, each with its settings. `metrics/` computes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ValidationInfo, field_validator

from ..errors import UsageError, did_you_mean
from .comparison import Comparison, Metric, Range, Region, Slice, SliceMetric, Sums, constant_slices, unit_of
from .metrics import edges, fidelity, fsim, information, ssim


class Psnr(SliceMetric):
    """`metrics.fidelity.psnr`. Unit slice: the mean of the slices' dB, or with pool mse the dB of their mean MSE.

    A slice that is predicted exactly makes the mean of dB infinite, not that of MSE.
    """

    title = "PSNR (dB)"
    unit = "dB"
    decimals = 2
    range: Range
    region: Region = "whole"
    pool: Literal["db", "mse"] = "db"

    @field_validator("pool")
    @classmethod
    def _slices_are_pooled(cls, value: str, info: ValidationInfo) -> str:
        if value == "mse" and unit_of(info) == "volume":
            raise ValueError("pool 'mse' needs scoring.unit 'slice': it is a way to average over slices")
        return value

    def sums(self, image: Slice) -> Sums:
        prediction, truth = image.region
        error = prediction - truth
        return _squares(error) / (image.high - image.low) ** 2, float(error.size)

    def figure(self, sums: np.ndarray) -> float:
        return fidelity.decibels(super().figure(sums))

    def mean(self, sums: np.ndarray, figures: np.ndarray) -> float:
        return self.figure(sums.sum(axis=0)) if self.pool == "mse" else super().mean(sums, figures)


class Nrmse(SliceMetric):
    """`metrics.fidelity.nrmse`: the error's Euclidean norm over the truth's."""

    title = "NRMSE"
    higher_is_better = False
    region: Region = "whole"

    def sums(self, image: Slice) -> Sums:
        prediction, truth = image.region
        return _squares(prediction - truth), _squares(truth)

    def figure(self, sums: np.ndarray) -> float:
        return math.sqrt(super().figure(sums))


class Ssim(SliceMetric):
    """`metrics.ssim` of every slice (dims 2) or of the volume (dims 3), the map averaged.

    map whole averages all of it; cropped leaves out the window's radius at each border, as scikit-image does, and has
    no figure (ValueError) where that leaves nothing. Region foreground averages what of that lies in the foreground.
    """

    title = "SSIM"
    window: Literal["gaussian11", "uniform7"]
    dims: Literal[2, 3] = 2
    range: Range
    map: Literal["whole", "cropped"]
    region: Region = "whole"

    @field_validator("dims")
    @classmethod
    def _a_volume_is_no_slice(cls, value: int, info: ValidationInfo) -> int:
        if value == 3 and unit_of(info) == "slice":
            raise ValueError("SSIM in three dimensions needs scoring.unit 'volume'")
        return value

    def all_sums(self, comparison: Comparison) -> Sequence[Sums]:
        if self.dims == 2:
            return super().all_sums(comparison)
        low, high = comparison.limits(self.range)[0]
        prediction, truth = (volume[:, *comparison.inner] for volume in (comparison.prediction, comparison.truth))
        mask = comparison.mask[:, *comparison.inner] if self.region == "foreground" else None
        return [self._sums(ssim.ssim_map(prediction, truth, high - low, self.window, comparison.cores.map), mask)]

    def sums(self, image: Slice) -> Sums:
        return self._sums(ssim.ssim_map(image.prediction, image.truth, image.high - image.low, self.window), image.mask)

    def _sums(self, values: np.ndarray, mask: np.ndarray | None) -> Sums:
        if self.map == "cropped":
            part = ssim.inside(self.window, values.ndim)
            if not values[part].size:
                message = f"an image of {values.shape} is too small for the SSIM window {self.window}, map 'cropped'"
                raise ValueError(message)
            values, mask = values[part], mask if mask is None else mask[part]
        if mask is not None:
            values = values[mask]
        return float(values.sum()), float(values.size)


class Hfen(SliceMetric):
    """`metrics.edges.hfen_sums`: the high-frequency error norm over the truth's."""

    title = "HFEN"
    higher_is_better = False

    def sums(self, image: Slice) -> Sums:
        return edges.hfen_sums(image.prediction, image.truth)

    def figure(self, sums: np.ndarray) -> float:
        return math.sqrt(super().figure(sums))


class _Scaled(SliceMetric):
    """A metric whose constants are for images in 0–255: `range` is scaled to that, and what lies outside is clipped."""

    range: Range


class Gmsd(_Scaled):
    """`metrics.edges.gmsd`: of a volume, the mean over its slices."""

    title = "GMSD"
    higher_is_better = False

    def sums(self, image: Slice) -> Sums:
        return edges.gmsd(*image.scaled), 1.0


class Vif(_Scaled):
    """`metrics.information.vif_sums`."""

    title = "VIF"

    def sums(self, image: Slice) -> Sums:
        return information.vif_sums(*image.scaled)


class HaarPsi(_Scaled):
    """`metrics.information.haarpsi_sums`."""

    title = "HaarPSI"

    def sums(self, image: Slice) -> Sums:
        return information.haarpsi_sums(*image.scaled)

    def figure(self, sums: np.ndarray) -> float:
        return information.haarpsi(super().figure(sums))


class Fsim(_Scaled):
    """`metrics.fsim.fsim_sums`."""

    title = "FSIM"

    def sums(self, image: Slice) -> Sums:
        return fsim.fsim_sums(*image.scaled)


class LrConsistency(Metric):
    """NRMSE of the prediction, degraded without noise and rounding, against the LR that the method saw.

    Of whole volumes: no border is shaved. What LR's own noise and rounding add stays in it, so that a perfect
    prediction has the figure of those and not 0.
    """

    title = "LR NRMSE"
    higher_is_better = False
    fixed: ClassVar[dict[str, Any]] = {"border": 0}

    def all_sums(self, comparison: Comparison) -> Sequence[Sums]:
        lr = np.asarray(comparison.lr, np.float64)
        degraded = comparison.degradation(comparison.prediction, lr.shape)
        return _slice_by_slice(degraded - lr, lr, _left_out(comparison, lr))

    def figure(self, sums: np.ndarray) -> float:
        return math.sqrt(super().figure(sums))


class _OfLinear(Metric):
    """Of whole volumes before rounding, where LR is linear in HR (`Degradation.linear`) and has no noise."""

    fixed: ClassVar[dict[str, Any]] = {"border": 0, "round": "none"}

    def applies(self, comparison: Comparison) -> bool:
        return comparison.degradation.linear and not comparison.noisy


class RangeNmse(_OfLinear):
    """‖P·error‖² / ‖P·truth‖² in what LR determines (`metrics.null_space`): 0 degrades to the same LR as the truth."""

    title = "range NMSE"
    higher_is_better = False
    decimals = 5

    def all_sums(self, comparison: Comparison) -> Sequence[Sums]:
        return _slice_by_slice(*comparison.range_parts, _left_out(comparison, comparison.truth))


class NullspaceRecovered(_OfLinear):
    """1 − ‖(I − P)·error‖² / ‖(I − P)·truth‖² in what LR holds nothing of (`metrics.null_space`).

    1 is all of the lost detail, 0 none, as in the image of least norm that degrades to LR; negative is invention.
    """

    title = "null space recovered"

    def all_sums(self, comparison: Comparison) -> Sequence[Sums]:
        error, truth = comparison.range_parts
        return _slice_by_slice(
            comparison.error - error, comparison.truth - truth, _left_out(comparison, comparison.truth)
        )

    def figure(self, sums: np.ndarray) -> float:
        return 1 - super().figure(sums)


def _squares(values: np.ndarray) -> float:
    return float(np.vdot(values, values))


def _left_out(comparison: Comparison, volume: np.ndarray) -> list[bool]:
    """The slices that have no figure of their own."""
    return constant_slices(volume) if comparison.unit == "slice" else [False] * len(volume)


def _slice_by_slice(error: np.ndarray, truth: np.ndarray, left_out: list[bool]) -> list[Sums]:
    """Both volumes' squares, NaN for slices that are left out."""
    rows = zip(error, truth, left_out, strict=True)
    return [(math.nan, math.nan) if without else (_squares(e), _squares(t)) for e, t, without in rows]


METRICS: dict[str, type[Metric]] = {
    "psnr": Psnr,
    "ssim": Ssim,
    "nrmse": Nrmse,
    "hfen": Hfen,
    "gmsd": Gmsd,
    "vif": Vif,
    "haarpsi": HaarPsi,
    "fsim": Fsim,
    "lr_consistency": LrConsistency,
    "range_nmse": RangeNmse,
    "nullspace_recovered": NullspaceRecovered,
}
"""Metric name in a protocol → its settings and its function of a `Comparison`."""


def metric_class(label: str, settings: Mapping[str, Any]) -> type[Metric]:
    """The metric that a label of a protocol stands for: its setting `metric`, or its own name. Raises UsageError."""
    name = str(settings.get("metric", label))
    if name not in METRICS:
        raise UsageError(f"unknown metric '{name}'. {did_you_mean(name, METRICS)}")
    return METRICS[name]


def make_metric(label: str, settings: Mapping[str, Any], unit: str | None = None) -> Metric:
    """The metric of a label with its settings, checked for `unit` where that is given.

    Raises UsageError for an unknown metric, pydantic's ValidationError for settings that do not fit.
    """
    fields = {key: value for key, value in settings.items() if key != "metric"}
    return metric_class(label, settings).model_validate(fields, context={"unit": unit})
