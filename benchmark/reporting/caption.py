"""The caption: how the figures of a table were made, what they cannot show, and which are missing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..replication import published as papers
from ..store.record import DoneRecord
from . import budget
from .claims import ties_statements
from .grid import ONE_SEED, marks_one_seed
from .selection import selection_statements
from .table import Row, Table

CaptionLength = Literal["full", "short", "none"]


@dataclass(frozen=True)
class Caption:
    """What is said of a table, from what is printed at every length to what only the full one has."""

    title: str
    """What the figures are."""
    key: list[str]
    """How to read their marks."""
    details: list[str]
    """How they were made, what they cannot show, and which are missing."""

    def statements(self, length: CaptionLength) -> list[str]:
        """All that a caption of that length says."""
        shown = {"full": [self.title, *self.key, *self.details], "short": [self.title, *self.key], "none": []}
        return shown[length]


def caption_of(table: Table) -> str:
    """The full caption, a statement per line."""
    return "\n".join(table_caption(table).statements("full"))


def table_caption(table: Table, separator: str = "/", mark: str = "[quoted: …]") -> Caption:
    """Protocol, digest, metrics and n; then seeds, letters, hidden and quoted columns; then all else.

    `separator` stands between the metrics of a cell, and `mark` in the headings of quoted columns.
    """
    protocol = table.view.protocol
    recorded = [record for records in table.records.values() for record in records]
    subjects = sorted({record.n for record in recorded})
    title = (
        f"Protocol {protocol.folder}, version {protocol.version}, digest {protocol.digest[:12]}: "
        f"{separator.join(map(table.metric_text, table.main_metrics))}, "
        f"mean over n = {'/'.join(map(str, subjects)) or '0'} test subjects."
    )
    key = [*_seeds(table, recorded), *ties_statements(table), *selection_statements(table)]
    if table.published:
        key += _quotes(table, mark)
    return Caption(title, key, _details(table, recorded))


def _details(table: Table, recorded: list[DoneRecord]) -> list[str]:
    parts = [
        table.view.protocol.description,
        f"Signatures: {'; '.join(_signatures(table))}.",
        *_infinite(table),
        *_inapplicable(table),
        *budget.training_statements(table),
    ]
    if numbers := _training_subjects(table):
        parts.append(f"Training subjects: {numbers}.")
    if options := _options(table):
        parts.append(f"Options: {'; '.join(options)}.")
    if any("-dirty" in (record.environment.git or "") for record in recorded):
        parts.append("Some figures come from uncommitted code.")
    if left_out := _left_out(table):
        parts.append(f"Smaller than the crop and left out: {'; '.join(left_out)}.")
    if grids := _acquired_grids(table):
        parts.append(f"HR is on its acquired grid; medians over the test subjects: {'; '.join(grids)}.")
    parts += budget.curve_statements(table)
    return parts + [f"{reason}: {', '.join(cells)}." for reason, cells in table.absent.items()]


def _signatures(table: Table) -> list[str]:
    """Every metric's signature, with its unit, and its direction where lower is better."""
    return [f"{table.metric_text(metric)}: {table.signature(metric)}" for metric in table.conventions]


def _infinite(table: Table) -> list[str]:
    """For each metric, the cells and subjects with an infinite figure: a mean over it is infinite too."""
    exact = "an exact prediction" + (" of a slice" if table.view.protocol.unit == "slice" else "")
    statements = []
    for metric in table.metrics:
        cells = []
        for row, label in table.records:
            by_seed = [scores[metric].items() for scores in table.scores[row, label].values()]
            subjects = {subject for scores in by_seed for subject, score in scores if math.isinf(score)}
            cells += [f"{label} {' '.join(row)} ({', '.join(sorted(subjects))})"] if subjects else []
        if cells:
            statements.append(f"{metric} is infinite for {', '.join(cells)}: {exact}. A mean over it is infinite too.")
    return statements


def _inapplicable(table: Table) -> list[str]:
    """The metrics that some rows cannot have."""
    recorded = [record for records in table.records.values() for record in records]
    metrics = [metric for metric in table.metrics if any(math.isnan(record.metrics[metric]) for record in recorded)]
    return [f"{', '.join(metrics)}: – where LR has noise or is not linear in HR."] if metrics else []


def _seeds(table: Table, recorded: list[DoneRecord]) -> list[str]:
    """The seeds, how many of them each figure is a mean over, and where some have no figure yet."""
    seeds = sorted({record.resolved.seed for record in recorded})
    listed = f"Seeds: {', '.join(map(str, seeds)) or 'none'}."
    cells = _cells_by_seeds(table)
    if max(cells, default=1) < 2:
        described = "With one seed, the figures describe these trained networks, not the methods in general."
        return [f"{listed} {described}", *_one_seed(table)]
    counts = [f"{count} seeds: {', '.join(cells[count])}" for count in sorted(cells)[::-1] if count > 1]
    counts += [f"1 seed, without ±: {', '.join(cells[1])}"] if 1 in cells else []
    parts = [
        f"{listed} A figure over several seeds is their mean ± their sample standard deviation (SD). "
        f"{'; '.join(counts)}.",
        *_one_seed(table),
    ]
    fewer = [
        f"{label} {' '.join(row)} ({len(records)} of {len(table.seeds[row, label])})"
        for (row, label), records in table.records.items()
        if len(records) < len(table.seeds[row, label])
    ]
    return parts + ([f"Fewer seeds than planned: {', '.join(fewer)}."] if fewer else [])


def _one_seed(table: Table) -> list[str]:
    """What the mark of one seed means, where it is printed."""
    if not marks_one_seed(table):
        return []
    return [f"{ONE_SEED}: of one seed, which says nothing about the method."]


def _cells_by_seeds(table: Table) -> dict[int, list[str]]:
    """Number of seeds → the cells with a mean over so many: labels where all rows have as many, else label and row."""
    by_label: dict[str, dict[Row, int]] = {}
    for (row, label), records in table.records.items():
        by_label.setdefault(label, {})[row] = len(records)
    cells: dict[int, list[str]] = {}
    for label, counts in by_label.items():
        if len(set(counts.values())) == 1:
            cells.setdefault(next(iter(counts.values())), []).append(label)
        else:
            for row, count in counts.items():
                cells.setdefault(count, []).append(f"{label} {' '.join(row)}")
    return cells


def _training_subjects(table: Table) -> str:
    """The number of training subjects, where columns differ in it, e.g. '10 (edsr-n10), 500 (edsr, poan)'."""
    labels: dict[int, dict[str, None]] = {}
    for (_, label), records in table.records.items():
        if records[0].fit:
            number = records[0].resolved.train_subjects or table.view.protocol.train_subjects
            labels.setdefault(number, {})[label] = None
    numbers = [f"{number} ({', '.join(sharing)})" for number, sharing in sorted(labels.items())]
    return ", ".join(numbers) if len(numbers) > 1 else ""


def _options(table: Table) -> list[str]:
    """Every column's preset and options; settings that all columns of a method share are given once."""
    methods: dict[str, dict[str, list[str]]] = {}
    for (_, label), records in table.records.items():
        resolved, preset = records[0].resolved, records[0].preset
        settings = [f"preset {preset}"] if preset else []
        settings += [f"{key} {value}" for key, value in resolved.options.items()]
        methods.setdefault(resolved.method, {})[label] = settings
    parts = []
    for columns in methods.values():
        first = next(iter(columns.values()))
        shared = [setting for setting in first if all(setting in settings for settings in columns.values())]
        parts.append(f"{', '.join(columns)} ({', '.join(shared)})" if shared else "")
        for label, settings in columns.items():
            own = [setting for setting in settings if setting not in shared]
            parts.append(f"{label} ({', '.join(own)})" if own else "")
    return [part for part in parts if part]


def _left_out(table: Table) -> list[str]:
    """Where the protocol leaves out small volumes, how many test subjects a row lacks, e.g. '2 of 70 in T1 x2'."""
    resolved = table.view.protocol.resolved
    if not resolved.get("data", {}).get("too_small"):
        return []
    planned = len(resolved["split_subjects"]["test"])
    tested = {row: record.n for (row, _), records in table.records.items() for record in records}
    return [f"{planned - n} of {planned} test subjects in {' '.join(row)}" for row, n in tested.items() if n < planned]


def _acquired_grids(table: Table) -> list[str]:
    """A row's acquired grid, e.g. 'PD x2: 188×192 of 256×256 samples, a factor of 2.72×2.67 of the stored grid'."""
    notes: dict[str, None] = {}
    for (row, _), records in table.records.items():
        for record in records:
            if samples := record.acquired_samples:
                acquired, stored = np.median(np.array(list(samples.values())), axis=0)
                factors = np.array(record.resolved.factors[1:]) * stored / acquired
                counts = f"{acquired[0]:.0f}×{acquired[1]:.0f} of {stored[0]:.0f}×{stored[1]:.0f} samples"
                factor = f"a factor of {factors[0]:.2f}×{factors[1]:.2f} of the stored grid"
                notes[f"{' '.join(row)}: {counts}, {factor}"] = None
    return list(notes)


def _quotes(table: Table, mark: str) -> list[str]:
    """The papers of the quoted figures, why these do not compare exactly, their known errors, and where none exist."""
    sources = papers.sources()
    cited = dict.fromkeys(quote.source for quote in table.quotes.values())
    methods = {quote.method for quote in table.quotes.values()}
    unquoted_labels = [label for label in table.labels if papers.METHODS.get(label) not in methods]
    unquoted_rows = [" ".join(row) for row in table.rows if row not in [place for place, _ in table.quotes]]
    parts = []
    if cited:
        parts.append(
            f"Quoted, not run here: the columns marked {mark} repeat the printed figures of "
            + "; of ".join(f"{papers.name(source)} ({sources[source][1]})" for source in cited)
            + ". The papers do not give their test subjects, PSNR peak, averaging, border and SSIM window, and their"
            " budgets differ. A difference between a quoted column and any other column is therefore not a measured"
            " gain."
        )
    if errors := papers.known_errors(table.quotes.values()):
        parts.append(f"Known errors in the quoted figures: {'; '.join(errors)}.")
    if unquoted_labels:
        parts.append(f"No figures are quoted for the columns {', '.join(unquoted_labels)}.")
    if unquoted_rows:
        parts.append(f"No quoted figure applies to the rows {', '.join(unquoted_rows)}.")
    return parts
