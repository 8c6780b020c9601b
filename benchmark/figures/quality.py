"""Quality against multiply-accumulates or parameters, a panel a row of the table. No axis shows seconds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..errors import BenchError
from ..reporting.efficiency import CostKind, Efficiency, efficiencies
from ..reporting.table import Table
from .axes import log_axis, plain_axis
from .labels import short_names
from .panels import absences, finish, grid, left_out
from .picture import Picture
from .placement import Box, NamePlace, Segment, along, around, placed
from .style import QUIET, SMALL, look, styled

COSTS: dict[CostKind, str] = {"macs": "multiply-accumulates for one LR patch of 24×24", "parameters": "parameters"}
"""What quality can be drawn against → the title of the axis."""
_MARKER = 2.6
"""Half the width of a marker, in points."""


def draw(table: Table, cost_kind: CostKind = "macs") -> Picture:
    """The primary metric ± SD over seeds against multiply-accumulates, or parameters.

    A line joins what is Pareto-optimal by that axis; methods without a count are dotted levels. Where a panel has no
    room for all its names, a legend has them. Raises BenchError where no network has a score.
    """
    cells = efficiencies(table, cost_kind)
    finite = [cell for cell in cells if math.isfinite(cell.quality)]
    rows = [row for row in table.rows if any(cell.row == row and cell.cost(cost_kind) for cell in finite)]
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
            handles |= _panel(axes, table, own[row], cost_kind)
            axes.set_title(" ".join(row))
            if number % columns == 0:
                axes.set_ylabel(table.conventions[table.metrics[0]].title)
            if number + columns >= len(rows):
                axes.set_xlabel(COSTS[cost_kind].replace(" for", "\nfor") if columns > 1 else COSTS[cost_kind])
        figure.draw_without_rendering()
        named = _write_names([(axes, own[row]) for axes, row in zip(panels, rows, strict=False)], names, cost_kind)
        legend = {names[label]: handles[label] for label in table.labels if label in handles and label not in named}
        endless = [f"{cell.label} {' '.join(cell.row)}" for cell in cells if math.isinf(cell.quality)]
        finish(figure, legend, [*left_out("Infinite", endless), *absences(table)])
    shown = tuple(record for (row, _), records in table.records.items() if row in rows for record in records)
    return Picture(figure, f"{table.metrics[0]} against {COSTS[cost_kind]}", table, shown)


def _panel(axes: Any, table: Table, cells: Sequence[Efficiency], cost_kind: CostKind) -> dict[str, Any]:
    """Draw the points, levels and the Pareto line of a row; label → handle for a legend."""
    axes.margins(x=0.15, y=0.13)
    best = [cell for cell in cells if cell.optimal]
    axes.plot(
        [cell.cost(cost_kind) for cell in best], [cell.quality for cell in best], color=QUIET, linewidth=1, zorder=1
    )
    handles: dict[str, Any] = {}
    for cell in cells:
        own, cost = look(table.labels.index(cell.label)), cell.cost(cost_kind)
        if cost is None:
            handles[cell.label] = axes.axhline(cell.quality, color=own.colour, linestyle=":", linewidth=1)
            continue
        error = None if math.isnan(cell.spread) else cell.spread
        handles[cell.label] = axes.errorbar(cost, cell.quality, error, fmt=own.marker, color=own.colour, linewidth=1)
    log_axis(axes.xaxis, [cost for cell in cells if (cost := cell.cost(cost_kind))])
    plain_axis(axes.yaxis)
    return handles


def _write_names(
    panels: Sequence[tuple[Any, list[Efficiency]]], names: Mapping[str, str], cost_kind: CostKind
) -> Collection[str]:
    """Write the names of drawn panels: of all methods, or else of the levels, or else of none. Returns their labels."""
    counted = {cell.label for _, cells in panels for cell in cells if cell.cost(cost_kind) is not None}
    levels = [label for label in names if label not in counted]
    for labels in (names, levels):
        own_names = {label: names[label] for label in labels}
        places = [_places(axes, cells, own_names, cost_kind) for axes, cells in panels]
        if None in places:
            continue
        for (axes, cells), spots in zip(panels, places, strict=True):
            for cell in cells:
                if spots and cell.label in spots:
                    _write_name(axes, cell, names[cell.label], spots[cell.label], cost_kind)
        return labels
    return ()


def _places(
    axes: Any, cells: Sequence[Efficiency], names: Mapping[str, str], cost_kind: CostKind
) -> dict[str, NamePlace] | None:
    """Label → where its name goes in a drawn panel; None where there is no room for all `names`."""
    to_points = 72 / axes.figure.dpi
    frame = Box(*(to_points * side for side in axes.get_window_extent().extents))
    options: dict[str, list[NamePlace]] = {}
    obstacles, lines, corners = list[Box](), list[Segment](), list[tuple[float, float]]()
    for cell in cells:
        text = axes.text(0, 0, names.get(cell.label, ""), fontsize=SMALL)
        size = text.get_window_extent()
        text.remove()
        width, height = to_points * size.width + 1, to_points * size.height
        x, y = _position(axes, cell, cell.quality, cost_kind)
        if cell.cost(cost_kind) is None:
            options[cell.label] = along(y, frame, width, height)
            lines.append(((frame.left, y), (frame.right, y)))
            continue
        spread = 0.0 if math.isnan(cell.spread) else cell.spread
        low, high = (_position(axes, cell, cell.quality + part, cost_kind)[1] for part in (-spread, spread))
        obstacles.append(Box(x - _MARKER, min(low, y - _MARKER), x + _MARKER, max(high, y + _MARKER)))
        options[cell.label] = around(x, y, _MARKER, width, height)
        corners += [(x, y)] if cell.optimal else []
    wanted = [label for label in options if label in names]
    spots = placed([options[label] for label in wanted], obstacles, frame, [*lines, *pairwise(corners)])
    return None if spots is None else dict(zip(wanted, spots, strict=True))


def _position(axes: Any, cell: Efficiency, quality: float, cost_kind: CostKind) -> tuple[float, float]:
    """A place in the sheet, in points; for a cell without a cost, that of the panel's left side."""
    left, y = axes.get_yaxis_transform().transform((0, quality))
    cost = cell.cost(cost_kind)
    x = left if cost is None else axes.transData.transform((cost, quality))[0]
    return float(x) * 72 / axes.figure.dpi, float(y) * 72 / axes.figure.dpi


def _write_name(axes: Any, cell: Efficiency, name: str, place: NamePlace, cost_kind: CostKind) -> None:
    """The name at its place, by its distance from the point or, of a level, from its left end."""
    x, y = _position(axes, cell, cell.quality, cost_kind)
    cost = cell.cost(cost_kind)
    anchor, coordinates = (
        ((0, cell.quality), ("axes fraction", "data")) if cost is None else ((cost, cell.quality), "data")
    )
    start: dict[str, Any] = {"xy": anchor, "xycoords": coordinates, "textcoords": "offset points"}
    offset = (place.box.left - x, place.box.bottom - y)
    text = axes.annotate(name, xytext=offset, fontsize=SMALL, color="0.15", verticalalignment="bottom", **start)
    text.set_in_layout(False)
    if place.leader is not None:
        end = (place.leader[1][0] - x, place.leader[1][1] - y)
        line = {"arrowstyle": "-", "color": "0.4", "linewidth": 0.5, "shrinkA": 0, "shrinkB": _MARKER}
        axes.annotate("", xytext=end, arrowprops=line, **start)
