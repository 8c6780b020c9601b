"""Axes of numbers in short form: 12,000 as 12 k, and scales that fit what they show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..system.units import rate_text, with_prefix

_LOG_RATIO = 4.0
"""Numbers that differ by more are drawn on a log scale."""


def short_text(number: float) -> str:
    """'1,200', '12 k', '0.05' or '2e-7': what a tick of an axis says."""
    if number >= 10_000:
        return " ".join(with_prefix(number)).strip()
    return rate_text(number) if 0 < abs(number) < 1e-3 else f"{number:,.4g}".replace("-", "−")


def plain_axis(axis: Any) -> None:
    """A linear axis of `short_text`."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda number, _: short_text(number)))


def log_axis(axis: Any, values: Iterable[float]) -> None:
    """A log axis with few ticks, in `short_text`, as wide as these positive values need; linear for close ones."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = [value for value in values if 0 < value < math.inf]
    if not positive or max(positive) / min(positive) < _LOG_RATIO:
        plain_axis(axis)
        return
    decades = math.log10(max(positive) / min(positive))
    scale = axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale
    scale("log")
    steps = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda number, _: short_text(number)))
    axis.set_minor_formatter(NullFormatter())
