"""The cells behind the figures of a table, with the folders of their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..store.record import DoneRecord
from ..system.files import Readable
from .table import Row, Table


@dataclass(frozen=True)
class ShownCell:
    """A done cell of a table, with the folder of its files."""

    row: Row
    label: str
    record: DoneRecord
    folder: Readable


def shown_cells(table: Table) -> Iterator[ShownCell]:
    """The cells whose figures the table shows, in its order of rows, labels and seeds."""
    places = {
        (table.name(planned.cell.row), planned.cell.label, planned.cell.seed): table.view.place(planned)
        for planned in table.view.cells
    }
    for row in table.rows:
        for label in table.labels:
            for record in sorted(table.records.get((row, label), []), key=lambda record: record.resolved.seed):
                if place := places[row, label, record.resolved.seed]:
                    yield ShownCell(row, label, record, place.folder)
