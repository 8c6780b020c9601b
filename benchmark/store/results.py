"""The store: the records below one results folder.

    <results>/runs/<protocol>/<degradation>/<contrast>-x2/<label>/seed0/

Records are the truth; MLflow and tables are made from them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..cell import Cell, Training
from ..errors import BenchError, UsageError
from ..protocol import Loaded, load
from .cells import Place, Standing, look
from .plan import View, last_folder, view_of


class Store:
    """The records below one results folder."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.runs = results / "runs"

    def check_writable(self) -> None:
        """Raise UsageError now rather than lose a training's result later."""
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.runs).close()
        except OSError as error:
            message = f"cannot write results to {self.runs}: {error.strerror or error}; choose another with --results"
            raise UsageError(message) from None

    def folder(self, loaded: Loaded, cell: Cell) -> Path:
        return self.runs / loaded.folder / cell.folder

    def place(self, training: Training, cell: Cell) -> Place:
        """Where the cell's files lie, and the keys that the protocol asks for now."""
        folder, base = (self.folder(training.loaded, one) for one in (cell, training.base))
        return Place(folder, base, cell.train_key, cell.score_key, training.source.digest)

    def look(self, training: Training, cell: Cell, *, held: bool = False) -> Standing:
        """Where the cell stands, compared with what the protocol asks for now; `held`: by this very process."""
        return look(self.place(training, cell), held=held)

    def view(self, protocol: str | None) -> View:
        """All that was planned under a protocol's folder, by default the one asked last.

        `protocol` may be a name, a path, or a folder below runs such as demo~steps=10. Raises BenchError where nothing
        was planned.
        """
        folder = protocol or last_folder(self.runs)
        if folder is not None and Path(folder).suffix in (".yaml", ".yml"):
            folder = load(folder).folder
        view = view_of(self.runs / folder) if folder is not None else None
        if view is None:
            what = f"of '{folder}' " if folder else ""
            raise BenchError(f"nothing {what}has been run yet below {self.runs}; start with: bench run")
        return view
