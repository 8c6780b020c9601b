"""The figures of a protocol: rows contrast × scale, columns methods, every figure of ours from a record."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import UsageError, did_you_mean
from ..replication import published as quoted
from ..replication.published import Quote
from ..store.cell_files import Scores, Standing, standing_of
from ..store.plan import MetricPlan, View
from ..store.record import DoneRecord
from . import statistics

Row = tuple[str, ...]

_DATA: dict[str, Callable[[DoneRecord], str | None]] = {
    "test": lambda record: record.test_data_digest,
    "training": lambda record: record.fit.train_data_digest if record.fit else None,
}
"""What must agree in a row → where a record keeps its digest; None where a method does not learn."""
_IN_A_CELL = 2
"""Metrics that share a cell of the main table where none are chosen; the others have a table of their own."""


@dataclass(frozen=True)
class Column:
    """A column: a label of ours, or a method as a paper names it."""

    name: str
    source: str = ""
    """Who printed it, e.g. 'CSN 2019'; '' for ours."""

    def __str__(self) -> str:
        return f"{self.name} [quoted: {self.source}]" if self.source else self.name


@dataclass
class Table:
    """The figures of one protocol, and what is not among them."""

    view: View
    chosen: tuple[str, ...] = ()
    """The metrics asked for; none: all of the protocol's."""
    rows: list[Row] = field(default_factory=list)
    """(contrast, scale), with the degradation first where the protocol has several."""
    labels: list[str] = field(default_factory=list)
    values: dict[tuple[Row, str], list[DoneRecord]] = field(default_factory=dict)
    """(row, label) → one record a seed."""
    scores: dict[tuple[Row, str], dict[int, Scores]] = field(default_factory=dict)
    """(row, label) → seed → the scores behind the record's means."""
    seeds: dict[tuple[Row, str], set[int]] = field(default_factory=dict)
    """(row, label) → every seed that was asked for."""
    quotes: dict[tuple[Row, Column], Quote] = field(default_factory=dict)
    """(row, quoted column) → the printed figure."""
    published: bool = False
    """Whether quoted figures were asked for."""
    absent: dict[str, list[str]] = field(default_factory=dict)
    """Why → the cells that have no figure here."""

    @property
    def metrics(self) -> list[str]:
        return list(self.chosen or (metric.label for metric in self.view.last.metrics))

    @property
    def main(self) -> list[str]:
        """The metrics of the main table's cells."""
        return self.metrics if self.chosen else self.metrics[:_IN_A_CELL]

    @property
    def others(self) -> list[str]:
        """The metrics of the second table."""
        return [] if self.chosen else self.metrics[_IN_A_CELL:]

    @cached_property
    def conventions(self) -> dict[str, MetricPlan]:
        """Metric label → its convention."""
        metrics = {metric.label: metric for metric in self.view.last.metrics}
        return {label: metrics[label] for label in self.metrics}

    @property
    def columns(self) -> list[Column]:
        """Ours in the protocol's order; a quoted one after the last of ours that it stands beside."""
        columns: list[Column] = []
        for number, label in enumerate(self.labels):
            columns.append(Column(label))
            method = quoted.METHODS.get(label)
            if method not in [quoted.METHODS.get(later) for later in self.labels[number + 1 :]]:
                columns += dict.fromkeys(column for _, column in self.quotes if column.name == method)
        return columns

    def quoted_as(self, metric: str) -> str | None:
        """The printed metric that belongs beside `metric`: psnr and ssim under their own names, None for the others."""
        return metric if metric in ("psnr", "ssim") and self.conventions[metric].metric == metric else None

    def value(self, row: Row, column: Column, metric: str) -> float:
        """A figure, ours as the mean over seeds; NaN where there is none."""
        if column.source:
            quote, kind = self.quotes.get((row, column)), self.quoted_as(metric)
            return quote.values.get(kind, math.nan) if quote and kind else math.nan
        return statistics.mean([record.metrics[metric] for record in self.values.get((row, column.name), [])])

    def spread(self, row: Row, column: Column, metric: str) -> float:
        """The sample standard deviation over seeds; NaN for one seed, and for a quoted figure."""
        records = [] if column.source else self.values.get((row, column.name), [])
        return statistics.spread([record.metrics[metric] for record in records])

    def shown(self, metric: str, value: float) -> str:
        """A figure with the metric's digits; '–' for NaN."""
        return "–" if math.isnan(value) else f"{value:.{self.conventions[metric].decimals}f}"

    def row_names(self) -> list[str]:
        return ["degradation", "contrast", "scale"][-len(self.rows[0]) :] if self.rows else ["contrast", "scale"]


def build(view: View, metrics: Sequence[str] = (), published: bool = False) -> Table:
    """Collect the figures of all plans of a view. Stale and damaged ones, or those on other data than their row's, are
    left out and said.

    `metrics` are labels of the protocol's, none for all; with `published`, what papers print stands beside ours.
    Raises UsageError for a label that is not known, and for a protocol that no published figure applies to.
    """
    known = [metric.label for metric in view.last.metrics]
    if unknown := [metric for metric in metrics if metric not in known]:
        raise UsageError(
            f"protocol '{view.protocol.name}' has no metric '{unknown[0]}'. {did_you_mean(unknown[0], known)}"
        )
    table = Table(view, tuple(dict.fromkeys(metrics)), published=published, labels=view.labels)
    several = len({degradation for degradation, _, _ in view.rows}) > 1
    names = {row: row if several else row[1:] for row in view.rows}
    table.rows = list(names.values())
    for problem in view.damaged:
        table.absent.setdefault("Damaged plans", []).append(problem)
    for planned in view.cells:
        cell, place = planned.cell, view.place(planned)
        row = names[cell.row]
        table.seeds.setdefault((row, cell.label), set()).add(cell.seed)
        standing = standing_of(place, cell.why or "")
        if standing.state == "changed":
            table.absent.setdefault("The method's file has changed since", []).append(str(cell))
        if standing.done is not None and standing.scores is not None and set(table.metrics) <= set(standing.scores):
            table.values.setdefault((row, cell.label), []).append(standing.done)
            table.scores.setdefault((row, cell.label), {})[cell.seed] = standing.scores
        else:
            state = "stale" if standing.done else standing.state
            table.absent.setdefault(state.capitalize(), []).append(_brief(str(cell), standing))
    _demand_same_data(table)
    if published:
        _quote(table, {name: row[0] for row, name in names.items()})
    return table


def _quote(table: Table, titles: dict[Row, str]) -> None:
    """Look up what is printed for the table's rows and columns."""
    protocol = table.view.protocol
    if protocol.dataset != quoted.DATASET or protocol.grid != "file":
        has = f"is of '{protocol.dataset}'" + ("" if protocol.grid == "file" else " on another grid")
        raise UsageError(
            f"published figures are of '{quoted.DATASET}' on the grid of its files, and protocol "
            f"'{protocol.name}' {has}: nothing published compares with it. Leave --published out"
        )
    for row in table.rows:
        for label in table.labels:
            if quote := quoted.find(titles[row], row[-2], row[-1], label):
                table.quotes[row, Column(quote.method, quoted.name(quote.source))] = quote


def _demand_same_data(table: Table) -> None:
    """Every figure of a row must come from the same test volumes and training volumes; the newest record says which."""
    for row in table.rows:
        for what, digest_of in _DATA.items():
            cells = [(label, record) for (where, label), of in table.values.items() if where == row for record in of]
            dated = [(record.written, digest_of(record)) for _, record in cells if digest_of(record)]
            for label, record in cells:
                if digest_of(record) and digest_of(record) != max(dated)[1]:
                    table.values[row, label].remove(record)
                    reason = f"Left out, made on other {what} data than the rest of its row"
                    table.absent.setdefault(reason, []).append(f"{label} {' '.join(row)}")
    table.values = {place: records for place, records in table.values.items() if records}


def _brief(cell: str, standing: Standing) -> str:
    why = standing.why if standing.state in ("failed", "timeout", "skipped", "damaged") else ""
    return cell + (f" ({why.splitlines()[0]})" if why else "")
