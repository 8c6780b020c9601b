"""The signature of a metric: its whole convention in one short line."""

from __future__ import annotations

from typing import Any

from .plan import MetricPlan

NEUTRAL = {"region": "whole", "pool": "db"}
"""Settings that are not printed where they have this value, which is their default: most conventions lack them."""


def signature(metric: MetricPlan, unit: str, border: int, rounding: str) -> str:
    """The convention of a figure, e.g. 'psnr|peak=volume_minmax|per=volume|border=0|round=stored|v1'.

    The metric's name, its own settings in alphabetical order, what it takes of the protocol's scoring (`unit`,
    `border`, `rounding`), and the version of its definition. PSNR's range is printed as peak. Figures of one metric may
    be compared where their signatures are equal.
    """
    settings = {key: value for key, value in metric.settings.items() if NEUTRAL.get(key) != value}
    if metric.metric == "psnr" and "range" in settings:
        settings["peak"] = settings.pop("range")
    scoring = {"per": unit, "border": border, "round": rounding, **metric.fixed}
    words = [f"{key}={_text(value)}" for key, value in [*sorted(settings.items()), *scoring.items()]]
    return "|".join([metric.metric, *words, f"v{metric.definition}"])


def _text(value: Any) -> str:
    """A number to its last digit, a whole one without a point."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
