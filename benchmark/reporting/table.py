"""The figures of a protocol: rows contrast × scale, columns methods, every figure of ours from a record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import UsageError, did_you_mean
from ..replication import published as papers
from ..replication.published import Quote
from ..store.cell_files import Standing, standing_of
from ..store.cross_tests import CrossStanding
from ..store.plan import CellPlan, MetricPlan, View
from ..store.record import DoneRecord
from ..store.score_files import Scores
from ..store.signature import signature
from ..system.units import figure_text
from . import statistics

Row = tuple[str, ...]

_DATA_DIGESTS: dict[str, Callable[[DoneRecord], str | None]] = {
    "test": lambda record: record.test_data_digest,
    "training": lambda record: record.fit.train_data_digest if record.fit else None,
}
"""Data that must agree in a row → where a record keeps their digest; None where a method does not learn."""
_METRICS_PER_CELL = 2
"""Metrics that share a cell of the main table where none are chosen; the others have a table of their own."""
METHOD_CHANGED = "The method's file has changed since the run"
"""The note on figures that are shown, though the code of their method is no longer the same."""


@dataclass(frozen=True)
class Column:
    """A column: a label of ours, or a method as a paper names it."""

    name: str
    source: str = ""
    """The paper that printed it, e.g. 'CSN 2019'; '' for ours."""

    def __str__(self) -> str:
        return f"{self.name} [quoted: {self.source}]" if self.source else self.name


@dataclass
class Table:
    """The figures of one protocol, and the cells without one."""

    view: View
    chosen: tuple[str, ...] = ()
    """The requested metrics; empty for all of the protocol's."""
    rows: list[Row] = field(default_factory=list)
    """(contrast, scale), with the degradation first where the protocol has several."""
    labels: list[str] = field(default_factory=list)
    records: dict[tuple[Row, str], list[DoneRecord]] = field(default_factory=dict)
    """(row, label) → one record per seed."""
    scores: dict[tuple[Row, str], dict[int, Scores]] = field(default_factory=dict)
    """(row, label) → seed → the scores behind the record's means."""
    tests: dict[tuple[Row, str], dict[int, Mapping[str, CrossStanding]]] = field(default_factory=dict)
    """(row, label) → seed → title → the state of the test on that other LR."""
    seeds: dict[tuple[Row, str], set[int]] = field(default_factory=dict)
    """(row, label) → every seed that was planned."""
    seeded: dict[str, bool] = field(default_factory=dict)
    """Label → whether another seed gives another result."""
    quotes: dict[tuple[Row, Column], Quote] = field(default_factory=dict)
    """(row, quoted column) → the printed figure."""
    published: bool = False
    """Whether quoted figures were requested."""
    absent: dict[str, dict[str, tuple[Row, str] | None]] = field(default_factory=dict)
    """Reason → the cells that have no figure here, each with its row and label; `METHOD_CHANGED` → cells that have one.

    What is no cell, a damaged plan, has None.
    """
    selected_from: Table | None = None
    """The table that this is a part of (`selection.select`); None for a whole one."""

    @property
    def whole(self) -> Table:
        """The table with all rows and columns: letters, bold figures and all other claims are of it."""
        return self.selected_from or self

    def name(self, row: Row) -> Row:
        """A planned row as the table has it: without the degradation where there is one only."""
        several = len({degradation for degradation, _, _ in self.view.rows}) > 1
        return row if several else row[1:]

    @property
    def metrics(self) -> list[str]:
        return list(self.chosen or (metric.label for metric in self.view.last.metrics))

    @property
    def main_metrics(self) -> list[str]:
        """The metrics of the main table's cells: the first two; beside quoted figures, those that papers print."""
        if self.chosen:
            return self.metrics
        quoted = [metric for metric in self.metrics if self.published and self.quoted_metric(metric)]
        return quoted or self.metrics[:_METRICS_PER_CELL]

    @property
    def other_metrics(self) -> list[str]:
        """The metrics of the second table."""
        return [metric for metric in self.metrics if metric not in self.main_metrics]

    @cached_property
    def conventions(self) -> dict[str, MetricPlan]:
        """Metric label → its convention."""
        metrics = {metric.label: metric for metric in self.view.last.metrics}
        return {label: metrics[label] for label in self.metrics}

    @property
    def gaps(self) -> dict[str, list[str]]:
        """Reason → cells without a figure that another run may fill: `absent` without skipped cells."""
        return {reason: [*cells] for reason, cells in self.absent.items() if reason not in ("Skipped", METHOD_CHANGED)}

    @property
    def columns(self) -> list[Column]:
        """Ours in the protocol's order; a quoted column follows the last of ours that it belongs to."""
        columns: list[Column] = []
        for index, label in enumerate(self.labels):
            columns.append(Column(label))
            method = papers.METHODS.get(label)
            if method not in [papers.METHODS.get(later) for later in self.labels[index + 1 :]]:
                columns += dict.fromkeys(column for _, column in self.quotes if column.name == method)
        return columns

    def quoted_metric(self, metric: str) -> str | None:
        """The printed metric to set beside `metric`: psnr and ssim under their own names, None for the others."""
        return metric if metric in ("psnr", "ssim") and self.conventions[metric].metric == metric else None

    def value(self, row: Row, column: Column, metric: str) -> float:
        """A figure, ours as the mean over seeds; NaN where there is none."""
        if column.source:
            quote, printed = self.quotes.get((row, column)), self.quoted_metric(metric)
            return quote.values.get(printed, math.nan) if quote and printed else math.nan
        return statistics.mean([record.metrics[metric] for record in self.records.get((row, column.name), [])])

    def spread(self, row: Row, column: Column, metric: str) -> float:
        """The sample standard deviation over seeds; NaN for one seed, and for a quoted figure."""
        records = [] if column.source else self.records.get((row, column.name), [])
        return statistics.spread([record.metrics[metric] for record in records])

    def has_one_seed(self, row: Row, label: str) -> bool:
        """Whether a figure is of one training of a method that has chance: it says nothing about the method."""
        return self.seeded.get(label, True) and len(self.records.get((row, label), [])) == 1

    def figure_text(self, metric: str, value: float) -> str:
        """A figure with the metric's digits; '–' for NaN."""
        return figure_text(value, self.conventions[metric].decimals)

    def metric_text(self, metric: str) -> str:
        """A metric's label with its unit, and its direction where lower is better: 'psnr (dB)'."""
        convention = self.conventions[metric]
        notes = [convention.unit, "" if convention.higher_is_better else "lower is better"]
        remark = ", ".join(note for note in notes if note)
        return f"{metric} ({remark})" if remark else metric

    def signature(self, metric: str) -> str:
        """`store.signature.signature` of a metric."""
        protocol = self.view.protocol
        return signature(self.conventions[metric], protocol.unit, protocol.border, protocol.rounding)

    def row_headings(self) -> list[str]:
        return ["degradation", "contrast", "scale"][-len(self.rows[0]) :] if self.rows else ["contrast", "scale"]


def build_table(view: View, metrics: Sequence[str] = (), published: bool = False) -> Table:
    """Collect the figures of all plans of a view.

    Stale and damaged figures, and those on other data than the rest of their row, are left out and named in `absent`.
    `metrics` are labels of the protocol's metrics, empty for all; with `published`, figures that papers print are set
    beside ours. Raises UsageError for an unknown label, and for a protocol that no published figure applies to.
    """
    known = [metric.label for metric in view.last.metrics]
    if unknown := [metric for metric in metrics if metric not in known]:
        raise UsageError(
            f"protocol '{view.protocol.name}' has no metric '{unknown[0]}'. {did_you_mean(unknown[0], known)}"
        )
    table = Table(view, tuple(dict.fromkeys(metrics)), published=published, labels=view.labels)
    names = {row: table.name(row) for row in view.rows}
    table.rows = list(names.values())
    for problem in view.damaged:
        table.absent.setdefault("Damaged plans", {})[problem] = None
    for planned in view.cells:
        row = names[planned.cell.row]
        table.seeds.setdefault((row, planned.cell.label), set()).add(planned.cell.seed)
        table.seeded.setdefault(planned.cell.label, planned.column.seeded)
        standing = standing_of(view.place(planned), planned.cell.why or "")
        _add_cell(table, row, planned.cell, standing)
    _demand_same_data(table)
    if published:
        _add_quotes(table, {name: row[0] for row, name in names.items()})
    return table


def _add_cell(table: Table, row: Row, cell: CellPlan, standing: Standing) -> None:
    """Add the figures of a cell, or the reason why it has none."""
    if standing.state == "changed":
        table.absent.setdefault(METHOD_CHANGED, {})[str(cell)] = row, cell.label
    if standing.done is not None and standing.scores is not None and set(table.metrics) <= set(standing.scores):
        table.records.setdefault((row, cell.label), []).append(standing.done)
        table.scores.setdefault((row, cell.label), {})[cell.seed] = standing.scores
        table.tests.setdefault((row, cell.label), {})[cell.seed] = standing.tests
    else:
        state = "stale" if standing.done else standing.state
        why = standing.why if standing.state in ("failed", "timeout", "skipped", "damaged") else ""
        reason = f" ({why.splitlines()[0]})" if why else ""
        table.absent.setdefault(state.capitalize(), {})[f"{cell}{reason}"] = row, cell.label


def _add_quotes(table: Table, degradations: dict[Row, str]) -> None:
    """Look up the printed figures for the table's rows and columns; `degradations`: row → title of its degradation."""
    protocol = table.view.protocol
    if protocol.dataset != papers.DATASET or protocol.grid != "file":
        data = f"'{protocol.dataset}'" + ("" if protocol.grid == "file" else " on another grid")
        raise UsageError(
            f"no published figure can be compared with protocol '{protocol.name}': published figures are of "
            f"'{papers.DATASET}' on the grid of its files, the protocol uses {data}. Remove --published"
        )
    for row in table.rows:
        for label in table.labels:
            if quote := papers.find(degradations[row], row[-2], row[-1], label):
                table.quotes[row, Column(quote.method, papers.name(quote.source))] = quote


def _demand_same_data(table: Table) -> None:
    """Keep in every row only figures from the same test and training volumes, those of the newest record."""
    for row in table.rows:
        for fold, digest_of in _DATA_DIGESTS.items():
            cells = [(label, record) for label in table.labels for record in table.records.get((row, label), [])]
            dated = [(record.written, digest_of(record)) for _, record in cells if digest_of(record)]
            for label, record in cells:
                if digest_of(record) and digest_of(record) != max(dated)[1]:
                    table.records[row, label].remove(record)
                    reason = f"Left out, made with other {fold} data than the rest of the row"
                    table.absent.setdefault(reason, {})[f"{label} {' '.join(row)}"] = row, label
    table.records = {key: records for key, records in table.records.items() if records}
