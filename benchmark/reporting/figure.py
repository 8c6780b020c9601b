"""Quality against multiply-accumulates as a picture, a panel per row. No axis shows seconds."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

from ..errors import BenchError, UsageError
from ..system.files import atomic_file
from .efficiency import Efficiency, efficiencies
from .table import Row, Table

FORMATS = (".svg", ".png")


def draw_figure(table: Table, path: Path) -> None:
    """Write the picture as .svg or .png: the primary metric ± SD over seeds against multiply-accumulates (log scale).

    A line joins the Pareto-optimal methods; methods without counted multiply-accumulates are dotted levels. The same
    records give the same file. Raises UsageError for another suffix, BenchError where no network has a score.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"the name of a figure's file must end in {' or '.join(FORMATS)}: '{path.name}'")
    cells = [cell for cell in efficiencies(table) if math.isfinite(cell.quality)]
    rows = [row for row in table.rows if any(cell.row == row and cell.macs for cell in cells)]
    if not rows:
        raise BenchError(f"no network of '{table.view.protocol.folder}' has a score yet. Train one with: bench run")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "mrsr-bench", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4.4 * len(rows), 3.8), layout="constrained")
        for axes, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
            _panel(axes, table, row, [cell for cell in cells if cell.row == row])
        figure.supxlabel("multiply-accumulates for one LR patch of 24×24", fontsize=9)
        picture = io.BytesIO()
        figure.savefig(
            picture, format=path.suffix[1:], dpi=150, metadata={"Date": None} if path.suffix == ".svg" else {}
        )
    try:
        with atomic_file(path) as file:
            file.write(picture.getvalue())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def _panel(axes: Any, table: Table, row: Row, cells: list[Efficiency]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    endless = [cell.label for cell in efficiencies(table) if cell.row == row and math.isinf(cell.quality)]
    axes.set_title(" ".join(row) + (f" (infinite: {', '.join(endless)})" if endless else ""), fontsize=9)
    axes.set_ylabel(table.conventions[table.metrics[0]].title)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15, y=0.1)
    axes.grid(color="0.92")
    best = [cell for cell in cells if cell.optimal]
    axes.plot([cell.macs for cell in best], [cell.quality for cell in best], color="0.75", linewidth=1, zorder=1)
    counted = [cell.macs for cell in cells if cell.macs]
    middle = math.sqrt(min(counted) * max(counted))
    for cell in cells:
        colour = f"C{table.labels.index(cell.label) % 10}"
        style = {"textcoords": "offset points", "color": colour, "fontsize": 8}
        if cell.macs is None:
            axes.axhline(cell.quality, color=colour, linestyle=":", linewidth=1)
            axes.annotate(cell.label, (0.01, cell.quality), (0, 2), ("axes fraction", "data"), **style)
            continue
        error = None if math.isnan(cell.spread) else cell.spread
        axes.errorbar(cell.macs, cell.quality, error, fmt="o", color=colour, capsize=3, markersize=5)
        # Towards the middle, so that no name leaves the panel.
        side, shift = ("left", 5) if cell.macs <= middle else ("right", -5)
        axes.annotate(cell.label, (cell.macs, cell.quality), (shift, 4), horizontalalignment=side, **style)
