"""The cells behind the figures, each with its own files as they are: record, scores and curve."""

from __future__ import annotations

import hashlib
from typing import Any

from ..errors import BenchError
from ..reporting.shown_cells import ShownCell
from ..store.cell_files import RECORD, SCORES
from ..store.record import parse
from ..system.files import read_bytes, unsealed
from ..system.training_states import CURVE


def cell_content(cell: ShownCell) -> dict[str, Any]:
    """A cell's files as texts, unchanged: their checksums are those that the record has.

    Raises BenchError where a file is no longer the one that the table was made from.
    """
    record, checksums = _text(cell, RECORD), cell.record.checksums
    if parse(unsealed(cell.folder / RECORD, record.encode())) != cell.record:
        raise _changed(cell)
    files = {RECORD: record, SCORES: _checked_text(cell, SCORES, checksums.scores)}
    if checksums.curve is not None and (cell.folder / CURVE).is_file():
        files[CURVE] = _checked_text(cell, CURVE, checksums.curve)
    return {"files": [[name, text] for name, text in files.items()]}


def _checked_text(cell: ShownCell, name: str, checksum: str) -> str:
    text = _text(cell, name)
    if hashlib.sha256(text.encode()).hexdigest() != checksum:
        raise _changed(cell)
    return text


def _text(cell: ShownCell, name: str) -> str:
    try:
        return read_bytes(cell.folder / name).decode("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        raise _changed(cell) from None


def _changed(cell: ShownCell) -> BenchError:
    return BenchError(f"{cell.folder} changed while the page was made. Make it again with: bench report")
