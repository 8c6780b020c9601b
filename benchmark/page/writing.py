"""Writes the page: a folder that is complete or absent, and opens from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ..data.obtaining.meter import Meter
from ..errors import UsageError
from ..reporting.shown_cells import shown_cells
from ..reporting.table import Table
from ..system.files import atomic_folder
from .cells import cell_content
from .overview import overview
from .pairs import column_pairs, pairs_content
from .scripts import script
from .slices import RowScenes, SubjectScenes, distances, row_slices, slices_content

INDEX = "index.html"
_MARK = "data/site.js"
"""A folder that has it is a page, and may be replaced."""
_NO_LICENCE = (
    "No slices are here: no licence is known under which the images of data set '{}' may be handed on. With --images, "
    "bench report shows them all the same"
)


def write_page(tables: Sequence[Table], target: Path, *, images: bool, say: Callable[[str], None]) -> Path:
    """Write the page of these tables into the folder `target`; an earlier page there is replaced. Returns its index.

    Slices are shown where the data set's licence allows handing them on, or with `images`. `say` is called with a line
    of progress every ten seconds where there is no terminal. Raises UsageError where `target` is something else than
    a page or an empty folder, or cannot be written, and BenchError where a cell's files change meanwhile.
    """
    _check_target(target)
    parts = sum(len(table.rows) + sum(map(len, table.records.values())) for table in tables)
    try:
        with atomic_folder(target) as folder, Meter(say, "page", parts, "parts") as meter:
            _copy(files(__package__) / "browser", folder)
            for number, table in enumerate(tables):
                _ProtocolData(table, folder / "data", str(number), meter).write(images)
            _write(folder / "data", "site", [_entry(table, str(number)) for number, table in enumerate(tables)])
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from None
    return target / INDEX


def _check_target(target: Path) -> None:
    if target.exists() and not (target / _MARK).is_file() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} exists and is no page of this suite; give another folder with -o")


def _entry(table: Table, name: str) -> dict[str, Any]:
    plan = table.view.protocol
    return {"name": name, "folder": plan.folder, "version": plan.version}


class _ProtocolData:
    """Writes the data of one protocol: below data/, in a folder of its own."""

    def __init__(self, table: Table, data: Path, name: str, meter: Meter) -> None:
        self._table, self._data, self._name, self._meter = table, data, name, meter
        self._pairs = column_pairs(table)

    def write(self, images: bool) -> None:
        shows_images, cells = images or bool(self._table.view.protocol.licence), list[Any]()
        for cell in shown_cells(self._table):
            file = f"cells/{len(cells)}"
            self._write(file, cell_content(cell))
            place = {"row": self._table.rows.index(cell.row), "label": cell.label}
            cells.append({**place, "seed": cell.record.resolved.seed, "file": file})
            self._meter.advance()
        slices, distances = list[Any](), list[Any]()
        absent = list[list[tuple[str, str]]]()
        for row in self._table.rows:
            shown = row_slices(self._table, row) if shows_images else RowScenes([], {})
            absent.append([*shown.absent.items()])
            for subject in shown.subjects:
                slices.append(self._write_slices(f"slices/{len(slices)}", subject))
                distances += self._distances(slices[-1]["file"], subject)
            self._meter.advance()
        self._write("pairs", {**pairs_content(self._table, self._pairs), "distances": distances})
        note = "" if shows_images else _NO_LICENCE.format(self._table.view.protocol.dataset)
        files = {"cells": cells, "slices": slices, "withoutSlices": {"note": note, "columns": absent}}
        self._write("overview", {**overview(self._table), **files})

    def _write_slices(self, file: str, subject: SubjectScenes) -> dict[str, Any]:
        """Write the slices of a subject in a row; their entry in the overview."""
        self._write(file, slices_content(subject, self._table.labels))
        numbers = [scene.truth.number for scene in subject.scenes]
        return {"row": subject.row, "subject": subject.subject, "numbers": numbers, "file": file}

    def _distances(self, file: str, subject: SubjectScenes) -> list[dict[str, Any]]:
        return [
            {"file": file, "number": scene.truth.number, "values": distances(scene, self._pairs)}
            for scene in subject.scenes
        ]

    def _write(self, name: str, content: Any) -> None:
        _write(self._data, f"{self._name}/{name}", content)


def _write(data: Path, name: str, content: Any) -> None:
    path = data / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script(name, content), encoding="utf-8")


def _copy(source: Traversable, target: Path) -> None:
    """Copy the page's own files."""
    target.mkdir(exist_ok=True)
    for item in source.iterdir():
        if item.is_dir():
            _copy(item, target / item.name)
        else:
            (target / item.name).write_bytes(item.read_bytes())
