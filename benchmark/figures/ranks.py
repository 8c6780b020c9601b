"""The methods of every row by their figures, with bars that join what cannot be told apart (docs/statistics.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import BenchError
from ..reporting.claims import Ties, ties
from ..reporting.table import Column, Row, Table
from .axes import plain_axis
from .labels import short_names
from .panels import absences, finish, grid
from .picture import Picture
from .style import look, styled

_LINE = 0.17
"""Inches between two methods."""
_FIGURE, _BAR = 3.0, 0.8
"""Widths of a printed figure and of a bar, in units of the strip beside the panel."""


def draw(table: Table) -> Picture:
    """The primary metric of every method ± SD over seeds, best first, a panel a row; beside it the bars of its ties.

    A bar has a letter as the table has it, and a dot at each of its methods: two methods without a common bar differ,
    by all pairs of the row (Holm at 5 %); a common bar means not told apart, not equal (`reporting.claims.ties`). A
    method without a claim has a hollow marker and no bar. Raises BenchError where nothing has a figure.
    """
    figures = {row: _figures(table, row) for row in table.rows}
    rows = [row for row in table.rows if figures[row]]
    if not rows:
        raise BenchError(f"no cell of '{table.view.protocol.folder}' has figures yet. Start with: bench run")
    tied = {row: ties(table, row, table.metrics[0]) for row in rows}
    bars = max(len(_groups(own)) for own in tied.values())
    with styled():
        from matplotlib.figure import Figure

        lines, columns, width = grid(len(rows))
        most = max(map(len, figures.values()))
        figure = Figure(figsize=(width, lines * (0.55 + _LINE * most)))
        ratios = [4.0, 0.28 * (_FIGURE + _BAR * bars)] * columns
        panels = figure.subplots(lines, 2 * columns, squeeze=False, width_ratios=ratios).reshape(-1, 2)
        for number, pair in enumerate(panels):
            if number >= len(rows):
                for axes in pair:
                    axes.remove()
                continue
            row = rows[number]
            _panel(pair[0], table, row, figures[row], tied[row])
            _strip(pair[1], table, figures[row], tied[row], bars)
            for axes in pair:
                axes.set_ylim(most - 0.4, -0.6)
            if number + columns >= len(rows):
                pair[0].set_xlabel(table.conventions[table.metrics[0]].title)
        finish(figure, {}, [*_notes(tied), *absences(table)])
    shown = tuple(record for (row, _), records in table.records.items() if row in rows for record in records)
    return Picture(figure, f"Methods by {table.metrics[0]}, and which of them cannot be told apart", table, shown)


def _figures(table: Table, row: Row) -> dict[str, float]:
    """Label → figure, the best first; labels without one are left out."""
    metric = table.metrics[0]
    found = {label: table.value(row, Column(label), metric) for label in table.labels}
    known = {label: value for label, value in found.items() if not math.isnan(value)}
    return dict(sorted(known.items(), key=lambda item: item[1], reverse=table.conventions[metric].higher_is_better))


def _groups(tied: Ties) -> dict[str, list[str]]:
    """Letter → its labels, in the order of the letters."""
    groups: dict[str, list[str]] = {}
    for label, letters in tied.letters.items():
        for letter in _letters(letters):
            groups.setdefault(letter, []).append(label)
    return groups


def _letters(text: str) -> list[str]:
    """'ab′' as ['a', 'b′']."""
    letters = list[str]()
    for character in text:
        if character == "′" and letters:
            letters[-1] += character
        else:
            letters.append(character)
    return letters


def _panel(axes: Any, table: Table, row: Row, figures: Mapping[str, float], tied: Ties) -> None:
    """The markers of a row."""
    names = short_names(table.labels, 14)
    unclaimed = "" if tied.letters else " (no claims)"
    axes.set_title(" ".join(row) + unclaimed)
    axes.set_yticks(range(len(figures)), [names[label] for label in figures])
    axes.tick_params(axis="y", length=0)
    plain_axis(axes.xaxis)
    for place, (label, value) in enumerate(figures.items()):
        if math.isinf(value):
            continue
        colour = look(table.labels.index(label)).colour
        spread = table.spread(row, Column(label), table.metrics[0])
        axes.errorbar(
            value,
            place,
            xerr=None if math.isnan(spread) else spread,
            fmt="o",
            color=colour,
            markerfacecolor=colour if label in tied.letters else "white",
            capsize=2,
            linewidth=1,
        )


def _strip(axes: Any, table: Table, figures: Mapping[str, float], tied: Ties, bars: int) -> None:
    """The figures of a row as text, those that cannot be told from the best in bold, and the bars."""
    axes.axis("off")
    axes.set_xlim(0, _FIGURE + _BAR * bars)
    places = {label: place for place, label in enumerate(figures)}
    for label, value in figures.items():
        axes.text(
            0,
            places[label],
            table.figure_text(table.metrics[0], value),
            fontsize="small",
            fontweight="bold" if label in tied.best else "normal",
            verticalalignment="center_baseline",
        )
    for number, (letter, labels) in enumerate(_groups(tied).items()):
        x, members = _FIGURE + _BAR * (number + 0.5), [places[label] for label in labels]
        axes.plot([x] * len(members), members, "o-", color="0.2", linewidth=1.2, markersize=2.5)
        axes.text(
            x, min(members) - 0.45, letter, fontsize="small", horizontalalignment="center", verticalalignment="bottom"
        )


def _notes(tied: Mapping[Row, Ties]) -> list[str]:
    """How the bars are read, and which rows have none."""
    without = [" ".join(row) for row, own in tied.items() if not own.letters]
    read = "Methods that share a bar are not told apart (all pairs of the row, Holm at 5 %). Hollow: no claim."
    if len(without) == len(tied):
        return ["No row carries claims: no method can be told from another (docs/statistics.md)."]
    return [read, *([f"Rows without claims: {', '.join(without)}."] if without else [])]
