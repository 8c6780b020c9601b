"""How every method differs from a baseline on each test subject, with the two claims of docs/statistics.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import BenchError, UsageError
from ..reporting.contrasts import Contrast, column_scores
from ..reporting.differences import differences, find_baseline
from ..reporting.table import Table
from .axes import plain_axis
from .labels import short_names
from .panels import absences, finish, grid
from .picture import Picture
from .style import look, styled

_GOLDEN = 0.6180339887
"""Multiples of it, modulo 1, spread dots evenly in a band (Weyl)."""
_DOTS, _NETWORKS, _METHODS = (-0.06, 0.38), -0.2, -0.36
"""How far above the middle of a method's line its dots and its two intervals lie, in lines."""
_SUBJECT: dict[str, Any] = {
    "linestyle": "", "marker": "o", "alpha": 0.6, "markersize": 2.2, "markeredgewidth": 0,
}  # fmt: skip
_INTERVAL_I: dict[str, Any] = {"linewidth": 3.5, "solid_capstyle": "butt"}
_INTERVAL_II: dict[str, Any] = {"color": "black", "linewidth": 0.8, "marker": "|", "markersize": 4}


def draw(table: Table, against: str | None = None) -> Picture:
    """A dot a test subject: the primary metric, mean over seeds, minus that of the baseline on the same subject.

    The thick bar below the dots is interval (i), for these networks; the thin one interval (ii), for the methods, where
    there is one (`reporting.contrasts`). Methods are in the order of the table. `against`: as of `bench table`. Raises
    UsageError where there is no baseline, BenchError where nothing can be compared with it.
    """
    baseline = find_baseline(table, against)
    if baseline is None:
        raise UsageError(f"differences need a baseline: give one of {', '.join(table.labels)} with --against")
    contrasts = [item for item in differences(table, baseline) if item.subjects]
    rows = [row for row in table.rows if any(item.rows == (row,) for item in contrasts)]
    if not rows:
        raise BenchError(
            f"no row of '{table.view.protocol.folder}' has figures of {baseline} and of another method. Run both with: "
            "bench run"
        )
    labels = [label for label in table.labels if any(item.first == label for item in contrasts)]
    names = short_names(table.labels)
    with styled():
        from matplotlib.figure import Figure

        lines, columns, width = grid(len(rows))
        figure = Figure(figsize=(width, lines * (0.6 + 0.27 * len(labels))))
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for axes in panels[len(rows) :]:
            axes.remove()
        for number, (axes, row) in enumerate(zip(panels, rows, strict=False)):
            _panel(axes, table, [item for item in contrasts if item.rows == (row,)], labels)
            axes.set_title(" ".join(row))
            axes.set_yticks(range(len(labels)), [names[label] for label in labels])
            axes.set_ylim(len(labels) - 0.5, -0.5)
            if number + columns >= len(rows):
                title = table.conventions[table.metrics[0]].title
                axes.set_xlabel(f"{title} minus that of {names[baseline]}")
        finish(figure, _legend(contrasts), [*_unclaimed(contrasts, names), *absences(table)])
    shown = tuple(
        record
        for (row, label), records in table.records.items()
        if row in rows and label in (*labels, baseline)
        for record in records
    )
    return Picture(figure, f"Difference of every subject's {table.metrics[0]} from {baseline}", table, shown)


def _panel(axes: Any, table: Table, contrasts: Sequence[Contrast], labels: Sequence[str]) -> None:
    """Draw the differences of a row, a line a method."""
    axes.axvline(0, color="0.2", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    plain_axis(axes.xaxis)
    for item in contrasts:
        place, colour = labels.index(item.first), look(table.labels.index(item.first)).colour
        values = _subject_differences(table, item)
        nearest, farthest = _DOTS
        heights = place - nearest - (farthest - nearest) * (np.arange(len(values)) * _GOLDEN % 1)
        axes.plot(values, heights, color=colour, **_SUBJECT)
        if item.networks is not None:
            axes.plot(item.networks.interval, [place - _NETWORKS] * 2, color=colour, **_INTERVAL_I)
        if item.method is not None:
            axes.plot(item.method.interval, [place - _METHODS] * 2, **_INTERVAL_II)


def _legend(contrasts: Sequence[Contrast]) -> dict[str, Any]:
    """Name → handle of what is drawn, in no method's colour."""
    from matplotlib.lines import Line2D

    handles = {"subject": Line2D([], [], color="0.4", **_SUBJECT)}
    if any(item.networks for item in contrasts):
        handles["95 % (i), these networks"] = Line2D([], [], color="0.4", **_INTERVAL_I)
    if any(item.method for item in contrasts):
        handles["95 % (ii), methods"] = Line2D([], [], **_INTERVAL_II)
    return handles


def _subject_differences(table: Table, item: Contrast) -> np.ndarray:
    """The differences of the subjects, ascending, without those that are not finite."""
    first, second = (column_scores(table, item.rows[0], label, table.metrics[0]) for label in (item.first, item.second))
    assert first is not None
    assert second is not None
    with np.errstate(invalid="ignore"):
        values = first.scores.averaged - second.scores.averaged
    return np.sort(values[np.isfinite(values)])


def _unclaimed(contrasts: Sequence[Contrast], names: Mapping[str, str]) -> list[str]:
    """Which intervals are not there, and why: 'No interval (ii): edsr (2 seeds), rdn (1 seed).'"""
    reasons: dict[str, dict[str, str]] = {}
    for item in contrasts:
        if item.why:
            kind = "No interval (ii)" if item.networks else "No intervals"
            reasons.setdefault(kind, {})[names[item.first]] = item.why.removesuffix(": no claim")
    shared = {kind: set(own.values()) for kind, own in reasons.items() if len(own) > 1}
    labels = {item.first for item in contrasts}
    return [
        f"{kind}: {next(iter(shared[kind]))}."
        if len(own) == len(labels) and len(shared.get(kind, ())) == 1
        else f"{kind}: {', '.join(f'{name} ({why})' for name, why in own.items())}."
        for kind, own in reasons.items()
    ]
