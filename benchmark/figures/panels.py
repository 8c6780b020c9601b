"""The sheet of a figure: a panel a row of the table, a legend above them that fits, a note below them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..reporting.shown_cells import ShownCell
from ..reporting.table import METHOD_CHANGED, Row, Table
from ..store.record import DoneRecord
from ..system.files import DamagedFile, Readable
from .labels import shortened
from .lettering import printable
from .style import COLUMN, PAGE, SMALL, Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Read = TypeVar("_Read")
_MARKS = 6
"""Markers on a line, which tell it beside colour and dashes."""
_GAP = 0.04
"""Inches between legend, panels, note and the sheet's edge."""
_NAMED = 6
"""Most cells that a note names for one reason."""


def read_cells(
    cells: Iterable[ShownCell], read: Callable[[Readable, DoneRecord], _Read | None]
) -> tuple[dict[tuple[Row, str], list[tuple[DoneRecord, _Read]]], list[str]]:
    """(row, label) → what `read` gives of each seed, and the cells of which it is absent or damaged."""
    contents: dict[tuple[Row, str], list[tuple[DoneRecord, _Read]]] = {}
    problems = []
    for cell in cells:
        try:
            content = read(cell.folder, cell.record)
        except DamagedFile:
            content = None
        if content is None:
            problems.append(f"{cell.label} {' '.join(cell.row)} seed {cell.record.resolved.seed}")
        else:
            contents.setdefault((cell.row, cell.label), []).append((cell.record, content))
    return contents, problems


def marked_line(axes: Any, x: np.ndarray, y: np.ndarray, own: Look, first: float) -> Any:
    """A thin line with a few markers, the first of them so far along, in parts of their distance; its handle."""
    apart = max(1, len(x) // _MARKS)
    (handle,) = axes.plot(
        x,
        y,
        color=own.colour,
        linestyle=own.line,
        marker=own.marker,
        markersize=3.5,
        markevery=(int(first * apart) % apart, apart),
        linewidth=1,
    )
    return handle


def grid(panels: int) -> tuple[int, int, float]:
    """Lines and columns for so many panels, and the sheet's width in inches: a journal's column for one panel."""
    columns = panels if panels < 4 else 2 if panels == 4 else 3
    return math.ceil(panels / columns), columns, COLUMN if columns == 1 else PAGE


def finish(figure: Figure, legend: Mapping[str, Any], notes: Sequence[str]) -> None:
    """Add the legend, name → handle, above the panels and the notes below them: the sheet grows by their heights."""
    width, panels = figure.get_size_inches()
    above = _add_legend(figure, legend, width) if legend else 0.0
    below = _add_note(figure, " ".join(notes), width) if notes else 0.0
    height = panels + above + below
    figure.set_size_inches(width, height)
    figure.set_layout_engine("constrained", rect=(0, below / height, 1, panels / height))


def absences(table: Table) -> list[str]:
    """The cells without figures by reason, without paths: 'Missing: rdn T1 x2 bicubic seeds 1, 2.'"""
    notes = []
    for reason, entries in table.absent.items():
        if reason == "Damaged plans":
            notes.append(f"{reason}: {len(entries)}.")
        elif reason != METHOD_CHANGED:
            notes += left_out(reason, _merged_seeds([*entries]))
    return notes


def left_out(reason: str, names: Sequence[str]) -> list[str]:
    """A note on what a figure lacks, e.g. 'No curve: edsr T1 x2 seed 0.'; none where nothing is lacking."""
    if not names:
        return []
    listed = "; ".join(shortened(printable(name), 60) for name in names[:_NAMED])
    return [f"{reason}: {listed}{f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''}."]


def _merged_seeds(entries: Sequence[str]) -> list[str]:
    """Cells as `CellPlan` names them, the reasons in brackets left out, those that differ in their seed as one."""
    seeds: dict[str, list[str]] = {}
    for entry in entries:
        cell, _, seed = entry.partition(" seed ")
        seeds.setdefault(cell, []).extend([seed.partition(" ")[0]] if seed else [])
    return [
        f"{cell} {'seed' if len(numbers) == 1 else 'seeds'} {', '.join(numbers)}" if numbers else cell
        for cell, numbers in seeds.items()
    ]


def _add_legend(figure: Figure, legend: Mapping[str, Any], width: float) -> float:
    """As many columns as fit, then as few as the same number of lines needs. Returns the height in inches."""
    options: dict[str, Any] = {
        "loc": "upper center",
        "bbox_to_anchor": (0.5, 1),
        "borderaxespad": 0.2,
        "columnspacing": 1.2,
        "handlelength": 2.4,
        "handletextpad": 0.5,
        "labelspacing": 0.25,
    }
    widest = figure.text(0, 0, "\n".join(legend), fontsize=SMALL)
    entry = widest.get_window_extent().width + 2 * SMALL * figure.dpi / 72
    widest.remove()
    for columns in range(min(len(legend), int(width * figure.dpi / entry) + 1), 0, -1):
        drawn = figure.legend([*legend.values()], [*legend], ncols=columns, **options)
        if drawn.get_window_extent().width <= width * figure.dpi or columns == 1:
            break
        drawn.remove()
    lines = math.ceil(len(legend) / columns)
    drawn.remove()
    drawn = figure.legend([*legend.values()], [*legend], ncols=math.ceil(len(legend) / lines), **options)
    return float(drawn.get_window_extent().height) / figure.dpi + _GAP


def _add_note(figure: Figure, note: str, width: float) -> float:
    """The note in lines that fit the sheet. Returns the height in inches."""
    text = figure.text(_GAP / width, 0, "", fontsize=SMALL, color="0.3", verticalalignment="bottom", linespacing=1.1)
    most = int(width * 72 / (0.45 * SMALL))
    for columns in range(most, 9, -2):
        text.set_text("\n".join(textwrap.wrap(note, columns)))
        if text.get_window_extent().width <= (width - 2 * _GAP) * figure.dpi:
            break
    return float(text.get_window_extent().height) / figure.dpi + _GAP
