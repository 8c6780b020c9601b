"""What a run shows of a record: parameters, figures and tags."""

from __future__ import annotations

import calendar
import math
import time
from typing import Any

from ..store.record import AnyRecord, DoneRecord
from .page import NOTE
from .runs import WRITTEN

_LONGEST = 5000
"""Letters of a parameter or a tag; MLflow takes a few more."""


def parameters(record: AnyRecord) -> dict[str, str]:
    """What decided the cell: method, options, recipe, data, degradation."""
    resolved = record.resolved.model_dump(exclude_defaults=True)
    return {name: value[:_LONGEST] for name, value in _flat({"label": record.label, **resolved}).items()}


def tags(record: AnyRecord) -> dict[str, str]:
    """State, protocol, and in words what a column of figures cannot show."""
    content = {"method": record.resolved.method, "state": record.state, WRITTEN: record.written}
    content |= _flat(record.protocol.model_dump(), "mrsr.protocol.")
    if isinstance(record, DoneRecord):
        if words := not_finite(record):
            content |= {"not_finite": words, NOTE: f"Not finite: {words}"}
    else:
        content |= {"mrsr.error": record.error, NOTE: record.error}
    return {name: value[:_LONGEST] for name, value in content.items()}


def figures(record: AnyRecord) -> dict[str, float]:
    """The figures by name. An infinite one is left out: MLflow would show the largest number that there is."""
    if not isinstance(record, DoneRecord):
        return {}
    return {name: figure for name, figure in _all_figures(record).items() if not math.isinf(figure)}


def not_finite(record: DoneRecord) -> str:
    """In words, which figures are infinite and which do not apply, e.g. 'psnr is infinite, ssim does not apply'."""
    return ", ".join(
        f"{name} does not apply (NaN)" if math.isnan(figure) else f"{name} is {'' if figure > 0 else 'minus '}infinite"
        for name, figure in _all_figures(record).items()
        if not math.isfinite(figure)
    )


def written_ms(record: AnyRecord) -> int:
    """When a record was written: Unix time in ms."""
    return 1000 * calendar.timegm(time.strptime(record.written, "%Y-%m-%dT%H:%M:%SZ"))


def started_ms(record: AnyRecord, *, trained: bool) -> int:
    """When its work began, as far as the record tells: Unix time in ms. `trained`: the fit was a part of it."""
    seconds = 0.0
    if isinstance(record, DoneRecord):
        seconds = record.n * record.seconds_per_volume + (record.fit.seconds if trained and record.fit else 0)
    return written_ms(record) - round(1000 * seconds)


def _all_figures(record: DoneRecord) -> dict[str, float]:
    fit = record.fit.model_dump() if record.fit else {}
    costs = {f"fit_{name}": value for name, value in fit.items() if isinstance(value, int | float)}
    sizes = {name: getattr(record, name) for name in ("n", "seconds_per_volume", "peak_memory_bytes", "macs_lr24")}
    tests = {f"{title}/{name}": value for title, test in record.tests.items() for name, value in test.metrics.items()}
    return {name: value for name, value in {**record.metrics, **sizes, **costs, **tests}.items() if value is not None}


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
