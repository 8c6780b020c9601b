"""The store: the records below one results folder.

    <results>/runs/<protocol>/<degradation>/<contrast>-x2/<label>/seed0/

Records are the truth; MLflow and tables are made from them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..cell import Cell, Training
from ..errors import UsageError
from ..files import DamagedFile, read_bytes, remove_leftovers, set_aside, write_text
from ..protocol import Loaded
from .cells import Place, Standing, look

REQUEST = "request.json"
LAST = "last.json"


class Store:
    """The records below one results folder; `warn` hears of a damaged file that belongs to no cell."""

    def __init__(self, results: Path, warn: Callable[[str], None] = print) -> None:
        self.results = results
        self.runs = results / "runs"
        self._warn = warn

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

    def remember(self, loaded: Loaded, request: dict[str, Any]) -> None:
        """Note what was asked, so that `bench table` and `bench status` need no arguments."""
        folder = self.runs / loaded.folder
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        for path, content in ((folder / REQUEST, request), (self.runs / LAST, {"folder": loaded.folder})):
            if path.exists() and self._read(path) is None:
                set_aside(path, "damaged")
            write_text(path, json.dumps(content, indent=2))

    def last(self) -> str | None:
        """The folder of the protocol that was run last."""
        if last := self._read(self.runs / LAST):
            return str(last["folder"])
        requests = sorted(self.runs.glob(f"*/{REQUEST}"), key=lambda path: path.stat().st_mtime)
        return requests[-1].parent.name if requests else None

    def request(self, folder: str) -> dict[str, Any] | None:
        """All that was ever asked for under a protocol's folder; None also where that can no longer be read."""
        return self._read(self.runs / folder / REQUEST)

    def _read(self, path: Path) -> dict[str, Any] | None:
        fields = {"folder"} if path.name == LAST else {"protocol", "methods", "seeds", "scales", "overrides"}
        try:
            content = json.loads(read_bytes(path))
            if not isinstance(content, dict) or not content.keys() >= fields:
                raise ValueError(f"it is not a record of {', '.join(sorted(fields))}")
        except FileNotFoundError:
            return None
        except (DamagedFile, ValueError) as error:
            self._warn(f"{path} cannot be read ({error}): what was asked before is not known any more")
            return None
        return content
