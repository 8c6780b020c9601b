"""Quality against multiply-accumulates or parameters, a panel a row of the table. No axis shows seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..errors import BenchError
from ..reporting.efficiency import Against, Efficiency, efficiencies
from ..reporting.table import Table
from .axes import log_axis, plain_axis
from .labels import short_names
from .panels import absences, finish, grid, left_out
from .picture import Picture
from .placement import Box, Place, along, around, placed
from .style import QUIET, SMALL, look, styled

AGAINST: dict[Against, str] = {"macs": "multiply-accumulates for LR 24×24", "parameters": "parameters"}
"""What quality can be drawn against → the title of the axis."""
_MARKER = 2.6
"""Half the width of a marker, in points."""


def draw(table: Table, against: Against = "macs") -> Picture:
    """The primary metric ± SD over seeds against multiply-accumulates, or parameters (log scale).

    A line joins what is Pareto-optimal by that axis; methods without a count are dotted levels. Where a panel has no
    room for all its names, a legend has them. Raises BenchError where no network has a score.
    """
    cells = efficiencies(table, against)
    finite = [cell for cell in cells if math.isfinite(cell.quality)]
    rows = [row for row in table.rows if any(cell.row == row and cell.cost(against) for cell in finite)]
    if not rows:
        raise BenchError(f"no network of '{table.view.protocol.folder}' has a score yet. Train one with: bench run")
    names, handles = short_names(table.labels), dict[str, Any]()
    with styled():
        from matplotlib.figure import Figure

        lines, columns, width = grid(len(rows))
        figure = Figure(figsize=(width, lines * (3.0 if columns < 3 else 2.4)))
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in panels[len(rows) :]:
            axes.remove()
        own = {row: [cell for cell in finite if cell.row == row] for row in rows}
        for number, (axes, row) in enumerate(zip(panels, rows, strict=False)):
            handles |= _panel(axes, table, own[row], against)
            axes.set_title(" ".join(row))
            if number % columns == 0:
                axes.set_ylabel(table.conventions[table.metrics[0]].title)
            if number + columns >= len(rows):
                axes.set_xlabel(AGAINST[against])
        figure.draw_without_rendering()
        places = [
            _places(axes, own[row], [names[cell.label] for cell in own[row]], against)
            for axes, row in zip(panels, rows, strict=False)
        ]
        legend = {names[label]: handles[label] for label in table.labels if label in handles}
        for axes, row, found in zip(panels, rows, places, strict=False):
            if found is not None and None not in places:
                _write_names(axes, own[row], [names[cell.label] for cell in own[row]], found, against)
        endless = [f"{cell.label} {' '.join(cell.row)}" for cell in cells if math.isinf(cell.quality)]
        notes = [*left_out("Infinite", endless), *absences(table)]
        finish(figure, legend if None in places else {}, notes)
    shown = tuple(record for (row, _), records in table.records.items() if row in rows for record in records)
    return Picture(figure, f"{table.metrics[0]} against {AGAINST[against]}", table, shown)


def _panel(axes: Any, table: Table, cells: Sequence[Efficiency], against: Against) -> dict[str, Any]:
    """Draw the points, levels and the Pareto line of a row; label → handle for a legend."""
    axes.margins(x=0.15, y=0.1)
    best = [cell for cell in cells if cell.optimal]
    axes.plot(
        [cell.cost(against) for cell in best], [cell.quality for cell in best], color=QUIET, linewidth=1, zorder=1
    )
    handles: dict[str, Any] = {}
    for cell in cells:
        own, cost = look(table.labels.index(cell.label)), cell.cost(against)
        if cost is None:
            handles[cell.label] = axes.axhline(cell.quality, color=own.colour, linestyle=":", linewidth=1)
            continue
        error = None if math.isnan(cell.spread) else cell.spread
        handles[cell.label] = axes.errorbar(cost, cell.quality, error, fmt=own.marker, color=own.colour, capsize=3)
    log_axis(axes.xaxis, [cost for cell in cells if (cost := cell.cost(against))])
    plain_axis(axes.yaxis)
    return handles


def _places(axes: Any, cells: Sequence[Efficiency], names: Sequence[str], against: Against) -> list[Place] | None:
    """Where the names of a drawn panel go; None where there is no room for all."""
    to_points = 72 / axes.figure.dpi
    extent = axes.get_window_extent()
    frame = Box(*(to_points * side for side in extent.extents))
    options, obstacles, lines = [], [], []
    for cell, name in zip(cells, names, strict=True):
        text = axes.text(0, 0, name, fontsize=SMALL)
        size = text.get_window_extent()
        text.remove()
        width, height = to_points * size.width + 1, to_points * size.height
        cost = cell.cost(against)
        x, y = (to_points * float(side) for side in axes.transData.transform((cost or 1, cell.quality)))
        if cost is None:
            options.append(along(y, frame, width, height))
            lines.append(((frame.left, y), (frame.right, y)))
            continue
        spread = 0.0 if math.isnan(cell.spread) else cell.spread
        low, high = (
            to_points * float(axes.transData.transform((cost, cell.quality + s))[1]) for s in (-spread, spread)
        )
        obstacles.append(Box(x - _MARKER, min(low, y - _MARKER), x + _MARKER, max(high, y + _MARKER)))
        options.append(around(x, y, _MARKER, width, height))
    best = [cell for cell in cells if cell.optimal]
    corners = [to_points * axes.transData.transform((cell.cost(against), cell.quality)) for cell in best]
    lines += [((*start,), (*end,)) for start, end in pairwise(corners)]
    return placed(options, obstacles, frame, lines)


def _write_names(
    axes: Any, cells: Sequence[Efficiency], names: Sequence[str], places: Sequence[Place], against: Against
) -> None:
    """The names at their places, by their distance from the point or, of a level, from its left end."""
    to_points = 72 / axes.figure.dpi
    left = to_points * axes.get_window_extent().x0
    for cell, name, place in zip(cells, names, places, strict=True):
        cost = cell.cost(against)
        x, y = to_points * axes.transData.transform((cost or 1, cell.quality))
        anchor = (0, cell.quality) if cost is None else (cost, cell.quality)
        coordinates: Any = ("axes fraction", "data") if cost is None else "data"
        origin = left if cost is None else x
        text = axes.annotate(
            name,
            anchor,
            (place.box.left - origin, place.box.bottom - y),
            coordinates,
            "offset points",
            fontsize=SMALL,
            color="0.15",
            verticalalignment="bottom",
        )
        text.set_in_layout(False)
        if place.leader is not None:
            end_x, end_y = place.leader[1]
            line = {"arrowstyle": "-", "color": "0.4", "linewidth": 0.5, "shrinkA": 0, "shrinkB": _MARKER}
            axes.annotate("", anchor, (end_x - x, end_y - y), "data", "offset points", arrowprops=line)
