"""The methods of every row by their figures, with bars that join what cannot be told apart (docs/statistics.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BenchError
from ..reporting.claims import Ties, ties
from ..reporting.table import Column, Row, Table
from .axes import plain_axis
from .labels import short_names
from .panels import absences, finish, grid
from .picture import Picture
from .style import SMALL, look, styled

_LINE = 0.17
"""Inches between two methods."""
_BAR = 9.0
"""Points of 1/72 inch between two bars, where there is room."""
_MOST = 0.6
"""Most of a panel's width that figures and bars may take."""


@dataclass(frozen=True)
class Bar:
    """A tie group of a row."""

    letter: str
    places: tuple[int, ...]
    """Those of its methods in the row, the best is 0; ascending."""
    column: int
    """Bars in one column do not overlap."""


@dataclass(frozen=True)
class RowRanks:
    """The methods of a row, the best first, and their ties."""

    row: Row
    figures: Mapping[str, float]
    ties: Ties
    bars: tuple[Bar, ...]


def draw(table: Table) -> Picture:
    """The primary metric of every method ± SD over seeds, best first, a panel a row; beside it the bars of its ties.

    A bar begins at its letter, which is that of the table, and has a dot at each further method. Methods without a
    common letter differ, by all pairs of the row (Holm at 5 %); a common one means not told apart, not equal
    (`reporting.claims.ties`). Bold: not told from the best. A method without a claim has a hollow marker and no letter.
    Raises BenchError where nothing has a figure.
    """
    ranks = [ranking for row in table.rows if (ranking := _row_ranks(table, row)).figures]
    if not ranks:
        raise BenchError(f"no cell of '{table.view.protocol.folder}' has figures yet. Start with: bench run")
    longest = max(len(ranking.figures) for ranking in ranks)
    with styled():
        from matplotlib.figure import Figure

        lines, columns, width = grid(len(ranks))
        figure = Figure(figsize=(width, lines * (0.55 + _LINE * longest)))
        pairs = figure.subplots(lines, 2 * columns, squeeze=False).reshape(-1, 2)
        for axes in pairs[len(ranks) :].flat:
            axes.remove()
        for number, (pair, ranking) in enumerate(zip(pairs, ranks, strict=False)):
            _panel(pair[0], table, ranking)
            pair[1].axis("off")
            for axes in pair:
                axes.set_ylim(longest - 0.4, -0.6)
            if number + columns >= len(ranks):
                pair[0].set_xlabel(table.conventions[table.metrics[0]].title)
        places = _divide(figure, pairs[: len(ranks)], table, ranks)
        for pair, ranking in zip(pairs, ranks, strict=False):
            _strip(pair[1], table, ranking, places)
        finish(figure, {}, [*_notes(ranks), *absences(table)])
    rows = [ranking.row for ranking in ranks]
    shown = tuple(record for (row, _), records in table.records.items() if row in rows for record in records)
    return Picture(figure, f"Methods by {table.metrics[0]}, and which of them cannot be told apart", table, shown)


def _row_ranks(table: Table, row: Row) -> RowRanks:
    metric = table.metrics[0]
    known = {label: table.value(row, Column(label), metric) for label in table.labels}
    figures = {label: value for label, value in known.items() if not math.isnan(value)}
    ordered = sorted(figures, key=figures.__getitem__, reverse=table.conventions[metric].higher_is_better)
    tied = ties(table, row, metric)
    return RowRanks(row, {label: figures[label] for label in ordered}, tied, tuple(bars(ordered, tied.letters)))


def bars(labels: Sequence[str], letters: Mapping[str, str]) -> list[Bar]:
    """The bars of a row, in the order of the letters, in as few columns as they need.

    `labels`: those of the row, the best first; `letters`: label → its letters, as 'ab′'.
    """
    groups: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        for letter in _split(letters.get(label, "")):
            groups.setdefault(letter, []).append(place)
    ends, drawn = list[int](), list[Bar]()
    for letter, places in sorted(groups.items(), key=lambda group: (group[1][0], len(group[0]), group[0])):
        column = next((number for number, end in enumerate(ends) if end < places[0]), len(ends))
        ends[column : column + 1] = [places[-1]]
        drawn.append(Bar(letter, tuple(places), column))
    return drawn


def _split(letters: str) -> list[str]:
    """'ab′' as ['a', 'b′']."""
    split = list[str]()
    for character in letters:
        if character == "′" and split:
            split[-1] += character
        else:
            split.append(character)
    return split


def _panel(axes: Any, table: Table, ranks: RowRanks) -> None:
    """The markers of a row."""
    names = short_names(table.labels, 14)
    axes.set_title(" ".join(ranks.row) + ("" if ranks.ties.letters else " (no claims)"))
    axes.set_yticks(range(len(ranks.figures)), [names[label] for label in ranks.figures])
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.1)
    plain_axis(axes.xaxis)
    for place, (label, value) in enumerate(ranks.figures.items()):
        if math.isinf(value):
            continue
        colour = look(table.labels.index(label)).colour
        spread = table.spread(ranks.row, Column(label), table.metrics[0])
        error = None if math.isnan(spread) else spread
        inside = colour if label in ranks.ties.letters else "white"
        axes.errorbar(value, place, xerr=error, fmt="o", color=colour, markerfacecolor=inside, linewidth=1)


def _divide(figure: Any, pairs: Any, table: Table, ranks: Sequence[RowRanks]) -> list[float]:
    """Give every strip the width that figures and bars need; returns where its columns are, in points from its left."""
    sample = pairs[0][1].text(0, 0, "", fontsize=SMALL, fontweight="bold")
    text = 0.0
    for value in {value for ranking in ranks for value in ranking.figures.values()}:
        sample.set_text(table.figure_text(table.metrics[0], value))
        text = max(text, sample.get_window_extent().width * 72 / figure.dpi)
    sample.remove()
    columns = max((bar.column + 1 for ranking in ranks for bar in ranking.bars), default=0)
    figure.draw_without_rendering()
    left, right = (axes.get_window_extent() for axes in pairs[0])
    whole = (left.width + right.width) * 72 / figure.dpi
    apart = min(_BAR, (_MOST * whole - text) / columns) if columns else 0.0
    needed = text + apart * columns
    ratios = [whole - needed, needed] * (pairs[0][1].get_subplotspec().get_gridspec().ncols // 2)
    pairs[0][1].get_subplotspec().get_gridspec().set_width_ratios(ratios)
    for _, strip in pairs:
        strip.set_xlim(0, needed)
    return [text + apart * (column + 0.6) for column in range(columns)]


def _strip(axes: Any, table: Table, ranks: RowRanks, columns: Sequence[float]) -> None:
    """The figures of a row as text, and its bars; `columns` are the bars' places."""
    for place, (label, value) in enumerate(ranks.figures.items()):
        weight = "bold" if label in ranks.ties.best else "normal"
        text = table.figure_text(table.metrics[0], value)
        axes.text(0, place, text, fontsize=SMALL, fontweight=weight, verticalalignment="center_baseline")
    for bar in ranks.bars:
        x, (first, *others) = columns[bar.column], bar.places
        centred = {"horizontalalignment": "center", "verticalalignment": "center_baseline"}
        axes.text(x, first, bar.letter, fontsize=SMALL, **centred)
        if others:
            axes.plot([x, x], [first + 0.45, others[-1]], color="0.2", linewidth=1)
            axes.plot([x] * len(others), others, "o", color="0.2", markersize=2.5)


def _notes(ranks: Sequence[RowRanks]) -> list[str]:
    """How the letters are read, and which rows have none."""
    without = [" ".join(ranking.row) for ranking in ranks if not ranking.ties.letters]
    if len(without) == len(ranks):
        return ["No row carries claims about methods: no two can be told apart (docs/statistics.md)."]
    return [
        "Methods of a row that share a letter are not told apart (all pairs, Holm at 5 %).",
        *(["Hollow: no claim."] if any(len(ranking.ties.letters) < len(ranking.figures) for ranking in ranks) else []),
        *([f"Rows without claims: {', '.join(without)}."] if without else []),
    ]
