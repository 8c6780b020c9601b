"""The cells behind the figures, each with its own files as they are: record, scores and curve."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from ..errors import BenchError
from ..reporting.table import Table
from ..store.cell_files import RECORD, SCORES, Place
from ..store.record import DoneRecord, parse
from ..system.files import Readable, read_bytes, unsealed
from ..system.training_states import CURVE


@dataclass(frozen=True)
class ShownCell:
    """A cell whose figures are in the table."""

    row: int
    label: str
    seed: int
    file: str
    """The name of its script."""
    place: Place[Readable]
    record: DoneRecord


def shown_cells(table: Table) -> list[ShownCell]:
    """The cells of all figures of a table, in its order."""
    records = {
        (row, label, record.resolved.seed): record
        for (row, label), records in table.records.items()
        for record in records
    }
    cells = list[ShownCell]()
    for planned in table.view.cells:
        row, place = table.name(planned.cell.row), table.view.place(planned)
        record = records.get((row, planned.cell.label, planned.cell.seed))
        if record is not None and place is not None:
            number = table.rows.index(row)
            file = f"cells/{len(cells)}"
            cells.append(ShownCell(number, planned.cell.label, planned.cell.seed, file, place, record))
    return cells


def cell_content(cell: ShownCell) -> dict[str, Any]:
    """A cell's files as texts, unchanged: their checksums are those that the record has.

    Raises BenchError where a file is no longer the one that the table was made from.
    """
    record, checksums = _text(cell, RECORD), cell.record.checksums
    if parse(unsealed(cell.place.folder / RECORD, record.encode())) != cell.record:
        raise _changed(cell)
    files = {RECORD: record, SCORES: _checked_text(cell, SCORES, checksums.scores)}
    if checksums.curve is not None and (cell.place.folder / CURVE).is_file():
        files[CURVE] = _checked_text(cell, CURVE, checksums.curve)
    return {"label": cell.label, "seed": cell.seed, "files": [[name, text] for name, text in files.items()]}


def _checked_text(cell: ShownCell, name: str, checksum: str) -> str:
    text = _text(cell, name)
    if hashlib.sha256(text.encode()).hexdigest() != checksum:
        raise _changed(cell)
    return text


def _text(cell: ShownCell, name: str) -> str:
    try:
        return read_bytes(cell.place.folder / name).decode("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        raise _changed(cell) from None


def _changed(cell: ShownCell) -> BenchError:
    return BenchError(f"{cell.place.folder} changed while the page was made. Make it again with: bench report")
