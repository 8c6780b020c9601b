"""The figures of a table as a grid of marked texts, methods across or down, before any format draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .ablation import ablation_parts
from .claims import ties
from .table import Column, Row, Table

NO_FIGURE = "–"
CHECK = "✓"
ONE_SEED = "¹"
"""The mark of a figure of one training of a method that has chance, and of a column that has no other figures."""


@dataclass(frozen=True)
class MarkedText:
    """The text of a cell with its marks."""

    text: str
    bold: bool = False
    spread: str = ""
    """'±0.05', or ''."""
    raised: str = ""
    """The letters of ties, or `ONE_SEED`."""
    source: str = ""
    """In a heading, the paper that printed the figures; '' for ours."""

    @property
    def full_text(self) -> str:
        """The text, in a heading with its source: 'POAN [quoted: POAN 2021]'."""
        return f"{self.text} [quoted: {self.source}]" if self.source else self.text


@dataclass(frozen=True)
class GridLine:
    """A line: the cells that name it, then its figures, those of several metrics in one cell."""

    names: list[MarkedText]
    cells: list[list[MarkedText]]


@dataclass(frozen=True)
class FigureGrid:
    """A table of figures."""

    name_headings: list[str]
    headings: list[MarkedText]
    lines: list[GridLine]


@dataclass(frozen=True)
class FigureGrids:
    """The same figures in two orientations."""

    across: FigureGrid | None
    """Methods across; None for an ablation, which ticks off the parts of methods."""
    down: FigureGrid
    """Methods down, the rows of the table across."""

    def choose(self, transposed: bool) -> FigureGrid:
        """The grid with methods down if `transposed`, or where there is no other one."""
        return self.down if transposed or self.across is None else self.across


def main_grids(table: Table) -> FigureGrids:
    """The main metrics, all in one cell."""
    return _grids(table, {(): table.main_metrics})


def other_grids(table: Table) -> FigureGrids:
    """The other metrics, a line each."""
    return _grids(table, {(metric,): [metric] for metric in table.other_metrics})


def marks_one_seed(table: Table) -> bool:
    """Whether any figure is marked by `ONE_SEED`."""
    return any(table.has_one_seed(*key) for key in table.records)


def _grids(table: Table, groups: dict[Row, list[str]]) -> FigureGrids:
    """For each row or method a line per item of `groups`: names of metrics → the metrics that share its cells."""
    metrics = [metric for group in groups.values() for metric in group]
    printed = any(table.quoted_metric(metric) for metric in metrics)
    columns = [column for column in table.columns if printed or not column.source]
    heads = [column_heading(table, column) for column in columns]
    cells = {
        (row, column, metric): cell
        for row in table.rows
        for metric in metrics
        for column, cell in zip(columns, row_figures(table, row, columns, metric), strict=True)
    }
    metric_heading = [] if () in groups else ["metric"]
    parts = ablation_parts(table)
    across = [
        GridLine(
            [MarkedText(name) for name in (*row, *names)],
            [[cells[row, column, metric] for metric in group] for column in columns],
        )
        for row in table.rows
        for names, group in groups.items()
    ]
    down = [
        GridLine(
            [head, *_ticks(parts, column), *map(MarkedText, names)],
            [[cells[row, column, metric] for metric in group] for row in table.rows],
        )
        for column, head in zip(columns, heads, strict=True)
        for names, group in groups.items()
    ]
    rows = [MarkedText(" ".join(row)) for row in table.rows]
    return FigureGrids(
        None if parts else FigureGrid([*table.row_headings(), *metric_heading], heads, across),
        FigureGrid(["method", *parts, *metric_heading], rows, down),
    )


def _ticks(parts: dict[str, dict[str, bool]], column: Column) -> list[MarkedText]:
    return [MarkedText(CHECK if not column.source and has[column.name] else "") for has in parts.values()]


def column_heading(table: Table, column: Column) -> MarkedText:
    """A column's name with its source, marked where all of its figures are of one seed."""
    if column.source:
        return MarkedText(column.name, source=column.source)
    return MarkedText(column.name, raised=ONE_SEED if _all_one_seed(table, column.name) else "")


def _all_one_seed(table: Table, label: str) -> bool:
    """Whether every figure that the column shows is of one seed."""
    keys = [(row, label) for row in table.rows if (row, label) in table.records]
    return bool(keys) and all(table.has_one_seed(*key) for key in keys)


def row_figures(table: Table, row: Row, columns: Sequence[Column], metric: str) -> list[MarkedText]:
    """A row's figures with their spread and letters; bold is what cannot be told from the best one of ours."""
    tied = ties(table, row, metric)
    cells = []
    for column in columns:
        text = table.figure_text(metric, table.value(row, column, metric))
        if column.source:
            cells.append(MarkedText(text))
            continue
        spread = table.figure_text(metric, table.spread(row, column, metric))
        one_seed = table.has_one_seed(row, column.name) and not _all_one_seed(table, column.name)
        raised = tied.letters.get(column.name, "") + (ONE_SEED if one_seed else "")
        cells.append(MarkedText(text, column.name in tied.best, plus_minus(spread), raised))
    return cells


def plus_minus(spread: str) -> str:
    """'±0.05', or nothing where there is no spread ('–')."""
    return "" if spread == NO_FIGURE else f"±{spread}"


def printed(figures: Sequence[MarkedText]) -> Sequence[MarkedText]:
    """The texts of one cell: all of its figures, or a single '–' where there is none."""
    return figures if any(figure.text != NO_FIGURE for figure in figures) else figures[:1]
