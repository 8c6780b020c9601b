"""Tested on what it was not trained on: each training on the LR of several degradations, and what that costs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import BenchError
from ..store.plan import CellPlan
from ..store.record import CrossScores, DoneRecord
from .statistics import mean
from .table import Row, Table

SHIFTED = "shifted"
"""The column of the negative control, whatever degradation is shifted."""
_REASONS = {"missing": "Not tested", "stale": "Tested with another scoring or degradation"}


@dataclass(frozen=True)
class CrossFigure:
    """A training on the LR of one degradation, in the primary metric, as means over subjects and seeds."""

    value: float
    difference: float | None
    """Minus the figure of the same seeds on the LR of their training; None where this is that LR."""


@dataclass(frozen=True)
class CrossRow:
    """A method at one contrast and scale under one degradation."""

    row: Row
    """(contrast, scale)."""
    label: str
    trained: str
    """Title of the degradation of its cell."""
    learns: bool
    figures: dict[str, CrossFigure]
    """Column → figure; tests without figures are absent."""


@dataclass
class CrossTable:
    """The tests of a protocol's cells on all LR."""

    table: Table
    columns: list[str]
    """Titles of degradations, those of cells first, and `SHIFTED` last."""
    rows: list[CrossRow] = field(default_factory=list)
    subjects: set[int] = field(default_factory=set)
    """Numbers of test subjects."""
    absent: dict[str, list[str]] = field(default_factory=dict)
    """Reason → the tests that have no figure here."""

    @property
    def metric(self) -> str:
        return self.table.metrics[0]

    @property
    def trained(self) -> list[str]:
        """The degradations of the rows."""
        return list(dict.fromkeys(row.trained for row in self.rows))

    @property
    def unhurt(self) -> list[CrossRow]:
        """The rows that do not lose on the shifted LR, by the digits that are printed."""
        controls = [(row, row.figures[SHIFTED].difference) for row in self.rows if SHIFTED in row.figures]
        return [row for row, difference in controls if difference is not None and not self._is_loss(difference)]

    def _is_loss(self, difference: float) -> bool:
        convention = self.table.conventions[self.metric]
        printed = round(difference, convention.decimals)
        return printed < 0 if convention.higher_is_better else printed > 0


def build_cross_table(table: Table) -> CrossTable:
    """The tests on other LR of all records that a table shows.

    Figures that are missing, stale, damaged or of other data are left out and named in `absent`. Raises BenchError
    where no test was planned.
    """
    cells = [planned.cell for planned in table.view.cells]
    tests = [test for cell in cells for test in cell.tests]
    if not tests:
        protocol = table.view.protocol.name
        raise BenchError(f"protocol '{protocol}' tests on no other LR: give it a block 'test' (docs/protocols.md)")
    trained = dict.fromkeys(degradation for degradation, _, _ in table.view.rows)
    others = [test.title for test in tests if not test.is_control]
    shifted = [SHIFTED] if any(test.is_control for test in tests) else []
    cross = CrossTable(table, [*dict.fromkeys([*trained, *others]), *shifted])
    by_row: dict[tuple[Row, str, str], list[CellPlan]] = {}
    for cell in cells:
        by_row.setdefault((cell.row[1:], cell.label, cell.degradation), []).append(cell)
    rows: list[Row] = list(dict.fromkeys(row[1:] for row in table.view.rows))
    digests = _newest_data(table)
    for key in sorted(by_row, key=lambda key: (rows.index(key[0]), table.labels.index(key[1]))):
        _add_row(cross, by_row[key], digests)
    return cross


def _add_row(cross: CrossTable, cells: list[CellPlan], digests: Mapping[tuple[Row, str], str]) -> None:
    """Add the figures of the cells of all seeds, as far as the table shows these."""
    first, metric = cells[0], cross.metric
    records = {cell.seed: record for cell in cells if (record := _record(cross.table, cell))}
    if not records:
        return
    own = {seed: record.metrics[metric] for seed, record in records.items()}
    figures = {first.degradation: CrossFigure(mean([*own.values()]), None)}
    cross.subjects |= {record.n for record in records.values()}
    for test in first.tests:
        scores = {}
        for cell in (cell for cell in cells if cell.seed in records):
            tested = _tested(cross, cell, test.title, digests)
            if tested:
                scores[cell.seed] = tested.metrics[metric]
        if scores:
            column = SHIFTED if test.is_control else test.title
            differences = [score - own[seed] for seed, score in scores.items()]
            figures[column] = CrossFigure(mean([*scores.values()]), mean(differences))
    learns = any(record.fit for record in records.values())
    cross.rows.append(CrossRow(first.row[1:], first.label, first.degradation, learns, figures))


def _record(table: Table, cell: CellPlan) -> DoneRecord | None:
    """The record of a cell, where the table shows it."""
    records = table.records.get((table.name(cell.row), cell.label), [])
    return next((record for record in records if record.resolved.seed == cell.seed), None)


def _tested(
    cross: CrossTable, cell: CellPlan, title: str, digests: Mapping[tuple[Row, str], str]
) -> CrossScores | None:
    """The figures of a test, or None, with the reason among the absent ones."""
    test = cross.table.tests[cross.table.name(cell.row), cell.label][cell.seed][title]
    if test.figures is None:
        reason = _REASONS.get(test.state) or f"{test.state.capitalize()} ({test.why})"
    elif test.figures.test_data_digest != digests[cell.row[1:], title]:
        reason = "Left out, made with other test data than the rest of the column"
    else:
        return test.figures
    cross.absent.setdefault(reason, []).append(f"{cell} on {title}")
    return None


def _newest_data(table: Table) -> dict[tuple[Row, str], str]:
    """(contrast and scale, title) → the digest of the test data in the newest record that was tested there."""
    dated: dict[tuple[Row, str], list[tuple[str, str]]] = {}
    for (row, label), records in table.records.items():
        for record in records:
            for title, test in table.tests[row, label][record.resolved.seed].items():
                if test.figures:
                    dated.setdefault((row[-2:], title), []).append((record.written, test.figures.test_data_digest))
    return {key: max(digests)[1] for key, digests in dated.items()}


def cross_caption(cross: CrossTable) -> str:
    """What the figures are, what the control shows, and which figures are missing; a statement per line."""
    table, protocol = cross.table, cross.table.view.protocol
    convention = table.conventions[cross.metric]
    subjects = "/".join(map(str, sorted(cross.subjects))) or "0"
    parts = [
        f"Protocol {protocol.folder}, version {protocol.version}, digest {protocol.digest[:12]}: tested on what it was "
        "not trained on. Rows: the degradation that made the LR of the training; columns: the one that made the LR of "
        "the test. The HR is the same.",
        f"Cells: {cross.metric} ({table.signature(cross.metric)}), mean over n = {subjects} test subjects and over the "
        "seeds. In brackets: the difference from the figure of the same method and weights on the LR of its training, "
        f"which has no brackets ({'below' if convention.higher_is_better else 'above'} 0 it loses).",
        *(["–: learns nothing."] if not all(row.learns for row in cross.rows) else []),
        *(_control(cross) if any(SHIFTED in row.figures for row in cross.rows) else []),
    ]
    absent = {**table.absent, **cross.absent}
    return "\n".join([*parts, *(f"{reason}: {', '.join(names)}." for reason, names in absent.items())])


def _control(cross: CrossTable) -> list[str]:
    """What the shifted LR is, and who does not lose on it."""
    unhurt = [f"{row.label} {' '.join(row.row)} {row.trained}" for row in cross.unhurt]
    verdict = f"No loss there: {', '.join(unhurt)}." if unhurt else "Every figure there is a loss."
    return [
        f"{SHIFTED}: a negative control. LR by the degradation of the training, its voxel centres at s·j instead of "
        "s·j + (s − 1)/2 HR voxels, so that the image is displaced by (s − 1)/2 HR voxels. What does not lose there "
        f"does not place its voxels as it was trained. {verdict}"
    ]
