"""One finished prediction beside its truth, and the base of the metrics that compare the two.

Every metric is made of sums: over all slices for the one figure of a volume (unit volume), or of each slice for a
figure of its own, whose mean is the volume's (unit slice). There a slice has no figure where its truth is constant, or
where the figure would be 0/0; such slices are left out, and the log says how many.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationInfo, field_validator

from ..degradation import Degradation
from .metrics import ranges
from .metrics.foreground import foreground
from .metrics.null_space import range_part

T = TypeVar("T")
Sums = tuple[float, ...]
Region = Literal["whole", "foreground"]
"""All voxels, or those of `metrics.foreground`."""


def _range(value: Any) -> str | float:
    if isinstance(value, str) and value in ranges.WORDS:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise ValueError(f"Input should be {', '.join(repr(word) for word in ranges.WORDS)} or a number above 0")


Range = Annotated[str | float, PlainValidator(_range)]
"""A word of `metrics.ranges`, or a fixed range from 0."""


@dataclass(frozen=True)
class Slice:
    """The scored part of a slice: two-dimensional views of prediction and truth, without the border."""

    prediction: np.ndarray
    truth: np.ndarray
    mask: np.ndarray | None
    """The pixels of the region; None for all."""
    low: float
    """The intensities that the slice is measured by, `low` to `high`; 0 to 1 where the metric has no range."""
    high: float
    blank: bool
    """The slice's truth is constant, or has no range."""

    @property
    def region(self) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and truth in the region, as lines where it is a part."""
        if self.mask is None:
            return self.prediction, self.truth
        return self.prediction[self.mask], self.truth[self.mask]

    @property
    def scaled(self) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and truth in 0–255: `metrics.ranges.to_255`."""
        prediction, truth = (ranges.to_255(image, self.low, self.high) for image in (self.prediction, self.truth))
        return prediction, truth


@dataclass(frozen=True)
class Comparison:
    """Whole volumes. Results that several metrics need are computed once, by one thread: never within `each`."""

    prediction: np.ndarray
    """(D, H, W) float64, rounded as the protocol says."""
    unrounded: np.ndarray
    """(D, H, W) float64, the prediction before it was rounded and clipped at 0."""
    truth: np.ndarray
    """(D, H, W) float64."""
    lr: np.ndarray
    """(D, h, w), as the method saw it."""
    degradation: Degradation
    noisy: bool
    """Whether LR has noise of its own."""
    border: int
    """Pixels of rows and columns that do not count; ranges, mask and spectra are of the whole volume."""
    unit: str
    cores: Executor
    _limits: dict[str | float, np.ndarray] = field(default_factory=dict)

    def each(self, function: Callable[[int], T]) -> list[T]:
        """`function` of every slice's number, on all cores; the order of the results is that of the slices."""
        return list(self.cores.map(function, range(len(self.truth))))

    @property
    def inner(self) -> tuple[slice, slice]:
        """The rows and columns that count."""
        rows, columns = (slice(self.border, n - self.border) for n in self.truth.shape[1:])
        return rows, columns

    def slices(self, convention: str | float | None, region: str) -> list[Slice]:
        """Every slice, measured by a range of `metrics.ranges` in a region."""
        limits = np.tile([0.0, 1.0], (len(self.truth), 1)) if convention is None else self.limits(convention)
        mask = self.mask if region == "foreground" else None
        return [
            Slice(
                self.prediction[z][self.inner],
                self.truth[z][self.inner],
                None if mask is None else mask[z][self.inner],
                float(low),
                float(high),
                self.blank[z] or not high > low,
            )
            for z, (low, high) in enumerate(limits)
        ]

    @cached_property
    def blank(self) -> list[bool]:
        """Which slices of the truth are constant."""
        return constant_slices(self.truth)

    @cached_property
    def mask(self) -> np.ndarray:
        """(D, H, W) booleans: `metrics.foreground`."""
        return foreground(self.truth)

    def limits(self, convention: str | float) -> np.ndarray:
        """`metrics.ranges.limits` of the true volume. Raises ValueError where it has no range."""
        if convention not in self._limits:
            limits = ranges.limits(self.truth, convention)
            if not (limits[:, 1] > limits[:, 0]).any():
                raise ValueError(f"the truth has no range '{convention}': its largest value is {self.truth.max():g}")
            self._limits[convention] = limits
        return self._limits[convention]

    @cached_property
    def error(self) -> np.ndarray:
        """(D, H, W), of the prediction before it was rounded."""
        return self.unrounded - self.truth

    @cached_property
    def range_parts(self) -> tuple[np.ndarray, np.ndarray]:
        """`metrics.null_space.range_part` of `error` and of the truth."""
        error, truth = (range_part(volume, self.degradation, self.lr.shape) for volume in (self.error, self.truth))
        return error, truth


def constant_slices(volume: np.ndarray) -> list[bool]:
    """Which slices of a volume hold one value only."""
    return [bool(image.min() == image.max()) for image in volume]


def unit_of(info: ValidationInfo) -> str | None:
    """`scoring.unit` of the protocol that is being checked; None where a metric is made by itself."""
    return (info.context or {}).get("unit")


class Metric(BaseModel, ABC):
    """A metric with its settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: ClassVar[str]
    """For a table's header."""
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    decimals: ClassVar[int] = 4
    definition: ClassVar[int] = 1
    """Raise it when the same settings give another figure."""
    fixed: ClassVar[dict[str, Any]] = {}
    """What of `scoring` the metric does not follow: per, border or round → what it does instead."""

    @field_validator("range", check_fields=False)
    @classmethod
    def _slices_have_ranges_where_they_are_the_unit(cls, value: str | float, info: ValidationInfo) -> str | float:
        if value in ranges.SLICE and unit_of(info) == "volume":
            raise ValueError("a slice's range needs scoring.unit 'slice'")
        return value

    def applies(self, comparison: Comparison) -> bool:
        """Whether the metric is defined for the way in which LR was made."""
        return True

    def __call__(self, comparison: Comparison) -> float:
        """The figure of a volume, NaN where the metric does not apply. Raises ValueError where it has no figure."""
        if not self.applies(comparison):
            return math.nan
        sums = np.array(self.all_sums(comparison), np.float64)
        figure = self.figure(sums.sum(axis=0)) if comparison.unit == "volume" else self._of_slices(sums)
        if math.isnan(figure):
            raise ValueError(f"{self.title} has no figure: the truth is blank wherever the metric is computed")
        return figure

    def _of_slices(self, sums: np.ndarray) -> float:
        figures = np.array([self.figure(of_slice) for of_slice in sums])
        valid = ~np.isnan(figures)
        if valid.any() and not valid.all():
            message = "%s: the mean over %d of %d slices; the truth of the others is blank"
            logging.getLogger(__name__).warning(message, self.title, valid.sum(), valid.size)
        return self.mean(sums[valid], figures[valid]) if valid.any() else math.nan

    @abstractmethod
    def all_sums(self, comparison: Comparison) -> Sequence[Sums]:
        """The two numbers that each slice adds to the figure's; NaN where slices are the unit and this one is blank."""

    def figure(self, sums: np.ndarray) -> float:
        """The figure of two sums; NaN where it would be 0/0."""
        return float(sums[0] / sums[1]) if sums[1] > 0 else math.nan

    def mean(self, sums: np.ndarray, figures: np.ndarray) -> float:
        """Unit slice: the volume's figure, of the (n, 2) sums and the figures of the slices that have one."""
        return float(figures.mean())


class SliceMetric(Metric):
    """A metric whose sums are those of one slice after the other."""

    def all_sums(self, comparison: Comparison) -> Sequence[Sums]:
        slices = comparison.slices(getattr(self, "range", None), getattr(self, "region", "whole"))
        by_slice = comparison.unit == "slice"
        return comparison.each(lambda z: (math.nan, math.nan) if by_slice and slices[z].blank else self.sums(slices[z]))

    @abstractmethod
    def sums(self, image: Slice) -> Sums:
        """The two numbers that a slice adds to the figure's."""
