"""Quality against multiply-accumulates as a picture: a panel per row, never a clock on an axis."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

from ..errors import BenchError, UsageError
from ..system.files import atomic_file
from .cost import Efficiency, efficiencies
from .table import Row, Table

FORMATS = (".svg", ".png")


def draw(table: Table, path: Path) -> None:
    """Write the picture as .svg or .png: the primary metric ± SD over seeds, multiply-accumulates on a log scale.

    The line joins what is Pareto-optimal; methods without counted multiply-accumulates are dotted levels. The same
    records give the same file. Raises UsageError for another ending, BenchError where no network has a figure.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"a figure ends in {' or '.join(FORMATS)}, not '{path.name}'")
    found = [cost for cost in efficiencies(table) if math.isfinite(cost.quality)]
    rows = [row for row in table.rows if any(cost.row == row and cost.macs for cost in found)]
    if not rows:
        raise BenchError(f"no network of '{table.view.protocol.folder}' has a figure yet; train one with: bench run")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "mrsr-bench", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4.4 * len(rows), 3.8), layout="constrained")
        for axes, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
            _panel(axes, table, row, [cost for cost in found if cost.row == row])
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


def _panel(axes: Any, table: Table, row: Row, found: list[Efficiency]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axes.set_title(" ".join(row), fontsize=9)
    axes.set_ylabel(table.conventions[table.metrics[0]].title)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15, y=0.1)
    axes.grid(color="0.92")
    best = [cost for cost in found if cost.optimal]
    axes.plot([cost.macs for cost in best], [cost.quality for cost in best], color="0.75", linewidth=1, zorder=1)
    counted = [cost.macs for cost in found if cost.macs]
    middle = math.sqrt(min(counted) * max(counted))
    for cost in found:
        colour = f"C{table.labels.index(cost.label) % 10}"
        words = {"textcoords": "offset points", "color": colour, "fontsize": 8}
        if cost.macs is None:
            axes.axhline(cost.quality, color=colour, linestyle=":", linewidth=1)
            axes.annotate(cost.label, (0.01, cost.quality), (0, 2), ("axes fraction", "data"), **words)
            continue
        error = None if math.isnan(cost.spread) else cost.spread
        axes.errorbar(cost.macs, cost.quality, error, fmt="o", color=colour, capsize=3, markersize=5)
        # Towards the middle, so that no name leaves the panel.
        side, shift = ("left", 5) if cost.macs <= middle else ("right", -5)
        axes.annotate(cost.label, (cost.macs, cost.quality), (shift, 4), horizontalalignment=side, **words)
