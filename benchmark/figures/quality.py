"""Quality against multiply-accumulates, a panel per row. No axis shows seconds."""

from __future__ import annotations

import math
from typing import Any

from ..errors import BenchError
from ..reporting.efficiency import Efficiency, efficiencies
from ..reporting.table import Row, Table
from .picture import Picture
from .style import COLUMN, PAGE, QUIET, SMALL, look, styled


def draw(table: Table) -> Picture:
    """The primary metric ± SD over seeds against multiply-accumulates (log scale).

    A line joins the Pareto-optimal methods; methods without counted multiply-accumulates are dotted levels. Raises
    BenchError where no network has a score.
    """
    cells = [cell for cell in efficiencies(table) if math.isfinite(cell.quality)]
    rows = [row for row in table.rows if any(cell.row == row and cell.macs for cell in cells)]
    if not rows:
        raise BenchError(f"no network of '{table.view.protocol.folder}' has a score yet. Train one with: bench run")
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(min(PAGE, COLUMN * len(rows)), 3.0), layout="constrained")
        for axes, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
            _panel(axes, table, row, [cell for cell in cells if cell.row == row])
        figure.supxlabel("multiply-accumulates for one LR patch of 24×24")
    shown = tuple(record for (row, _), records in table.records.items() if row in rows for record in records)
    return Picture(figure, f"{table.metrics[0]} against multiply-accumulates", table, shown)


def _panel(axes: Any, table: Table, row: Row, cells: list[Efficiency]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    endless = [cell.label for cell in efficiencies(table) if cell.row == row and math.isinf(cell.quality)]
    axes.set_title(" ".join(row) + (f" (infinite: {', '.join(endless)})" if endless else ""))
    axes.set_ylabel(table.conventions[table.metrics[0]].title)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15, y=0.1)
    best = [cell for cell in cells if cell.optimal]
    axes.plot([cell.macs for cell in best], [cell.quality for cell in best], color=QUIET, linewidth=1, zorder=1)
    counted = [cell.macs for cell in cells if cell.macs]
    middle = math.sqrt(min(counted) * max(counted))
    for cell in cells:
        own = look(table.labels.index(cell.label))
        style = {"textcoords": "offset points", "color": own.colour, "fontsize": SMALL}
        if cell.macs is None:
            axes.axhline(cell.quality, color=own.colour, linestyle=":", linewidth=1)
            axes.annotate(cell.label, (0.01, cell.quality), (0, 2), ("axes fraction", "data"), **style)
            continue
        error = None if math.isnan(cell.spread) else cell.spread
        axes.errorbar(cell.macs, cell.quality, error, fmt=own.marker, color=own.colour, capsize=3)
        # Towards the middle, so that no name leaves the panel.
        side, shift = ("left", 5) if cell.macs <= middle else ("right", -5)
        axes.annotate(cell.label, (cell.macs, cell.quality), (shift, 4), horizontalalignment=side, **style)
