"""The mirror of a run: what is new goes to MLflow as it comes. Records stay the truth.

Mirroring is idempotent: a record that MLflow already has is skipped. Only the driver talks to MLflow. A tracker that is
down causes a warning and costs no result: it is asked again after a minute, then less often, and gets what it missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from ..store.cell_files import RECORD, inspect_cell
from ..store.record import AnyRecord
from ..system.files import sha256_of, write_text
from .address import OFF, address_of
from .plan_files import PlanFile, by_cell, plan_files
from .runs import MirroredCell, Runs
from .tracker import DeletedExperiment, Tracker
from .upload import Upload

_FOLLOW_SECONDS = 5.0
"""Between two looks at the curve of a cell; ten times as long as a look takes, where that is more."""
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 60.0, 600.0
"""After which a tracker that failed is asked again: doubled each time, up to the longest."""


class Mirror:
    """Mirrors the records of one results folder to one tracker; `warn` is called with a message on any failure.

    A mirrored record leaves a mark file in its cell's folder, so that MLflow is imported only where a record is new.
    At the end of the block, MLflow runs of cells that were stopped are ended too.
    """

    def __init__(self, results: Path, uri: str | None, warn: Callable[[str], None]) -> None:
        self._results, self._warn = results, warn
        self._address = address_of(uri, results)
        self._off = self._address.uri == OFF
        self._tracker = Tracker(self._address)
        images = not self._address.is_server
        self._upload = Upload(Runs(self._tracker, results / "mlartifacts"), warn, images=images)
        self._runs = self._upload.runs
        self._waiting: dict[Path, MirroredCell] = {}
        """The cells whose record is to be sent, by folder."""
        self._next_look: dict[Path, float] = {}
        """Folder of a cell that trains → when to look at its curve again."""
        self._pause, self._resume = 0.0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._waiting:
            self._safely(self._send_waiting)
        if self._upload.unfinished:
            self._safely(self._upload.end)

    def sync(self, cells: Iterable[MirroredCell]) -> None:
        """Mirror every record of these cells that MLflow does not have yet."""
        if self._off:
            return
        self._waiting |= {cell.place.folder: cell for cell in cells if self._is_new(cell)}
        if self._waiting:
            self._safely(self._send_waiting)

    def follow(self, cell: MirroredCell) -> None:
        """Mirror the training curve of a cell that is running, every few seconds."""
        start = time.monotonic()
        if start < self._next_look.get(cell.place.base, start):
            return
        self._safely(lambda: self._upload.follow(cell))
        end = time.monotonic()
        self._next_look[cell.place.base] = end + max(_FOLLOW_SECONDS, 10 * (end - start))

    def _is_new(self, cell: MirroredCell) -> bool:
        """Whether a cell has a record without a mark for this tracker. Marks do not count without the database file."""
        folder = cell.place.folder
        if not (folder / RECORD).is_file():
            return False
        database = self._address.database
        if database is not None and not database.is_file():
            return True
        try:
            return (folder / self._address.mark).read_text(encoding="utf-8") != sha256_of(folder / RECORD)
        except (OSError, UnicodeDecodeError):
            return True

    def _send_waiting(self) -> None:
        plans: dict[str, dict[str, PlanFile]] = {}
        for folder, cell in list(self._waiting.items()):
            standing = inspect_cell(cell.place)
            if standing.record is not None and standing.state not in ("stale", "damaged"):
                if cell.experiment not in plans:
                    files = plan_files(self._results / "runs" / cell.experiment)
                    self._runs.describe(cell.experiment, files)
                    plans[cell.experiment] = by_cell(files)
                self._send_or_warn(cell, standing.record, plans[cell.experiment].get(cell.folder))
            del self._waiting[folder]

    def _send_or_warn(self, cell: MirroredCell, record: AnyRecord, plan: PlanFile | None) -> None:
        """Warn where MLflow refuses this record alone. Raises where the tracker no longer answers."""
        checksum = sha256_of(cell.place.folder / RECORD)
        try:
            self._upload.send_patiently(cell, record, plan)
        except Exception as error:
            if isinstance(error, DeletedExperiment) or not self._tracker.answers():
                raise
            why = self._tracker.explain(error)
            self._warn(f"MLflow at {self._address} refuses the record of {cell.name}, which is safe: {why}")
        else:
            write_text(cell.place.folder / self._address.mark, checksum)

    def _safely(self, action: Callable[[], None]) -> None:
        """Do something with the tracker. A failure costs one warning, and a pause."""
        if self._off or time.monotonic() < self._resume:
            return
        try:
            with self._tracker.turn():
                action()
        except Exception as error:
            self._upload.forget()
            self._off = isinstance(error, ImportError | DeletedExperiment)
            if not self._pause:
                self._warn(
                    f"records are not mirrored to MLflow at {self._address}; results are safe, and "
                    f"`bench mlflow sync` sends them later: {self._tracker.explain(error)}"
                )
            self._pause = min(2 * self._pause or _PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
            self._resume = time.monotonic() + self._pause
        else:
            self._pause = 0.0
