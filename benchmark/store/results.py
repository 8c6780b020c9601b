"""The store: the records below one results folder.

    <results>/runs/<protocol>/<degradation>/<contrast>-x2/<label>/seed0/

Records are the truth; MLflow and tables are made from them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..errors import BenchError, UsageError
from ..system.files import DamagedFile, Readable
from .pack import open_pack
from .plan import PLANS, View, last_folder, read_plan, view_of


class Store:
    """The records below one results folder, or in a pack of them, which can only be looked at."""

    def __init__(self, results: Path) -> None:
        """Raises BadPack where `results` is a file and no pack."""
        self.results = results
        self.runs = results / "runs"
        """Where records are written."""
        self.seen: Readable = open_pack(results) / "runs" if results.is_file() else self.runs
        """Where records are read."""

    def check_writable(self) -> None:
        """Raise UsageError now rather than lose a training's result later."""
        check_folder(self.results)
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.runs).close()
        except OSError as error:
            message = f"cannot write results to {self.runs}: {error.strerror or error}; choose another with --results"
            raise UsageError(message) from None

    def view(self, protocol: str | None) -> View:
        """All that was planned under a protocol's folder, by default the one asked last.

        `protocol` may be a name, a path, or a folder below runs such as demo~steps=10. Raises BenchError where nothing
        was planned.
        """
        folder = protocol or last_folder(self.seen)
        if folder is not None and Path(folder).suffix in (".yaml", ".yml"):
            from ..protocol.loading import load

            folder = load(folder).folder
        view = view_of(self.seen / folder) if folder is not None else None
        if view is None:
            plans = (self.seen / folder).glob(f"{PLANS}/*.json") if folder else self.seen.glob(f"*/{PLANS}/*.json")
            if damaged := sorted(plans):
                raise BenchError(
                    f"no plan can be read: {_problem(damaged[0])}. Ask again for what was run, with: bench run"
                )
            what = f"of '{folder}' " if folder else ""
            raise BenchError(f"nothing {what}has been run yet below {self.runs}; start with: bench run")
        return view


def _problem(path: Readable) -> str:
    try:
        read_plan(path)
    except (FileNotFoundError, DamagedFile) as error:
        return str(error)
    return str(path)


def check_folder(results: Path) -> None:
    """Raise UsageError for a pack, or any other file, where results are to be written."""
    if results.is_file():
        raise UsageError(
            f"{results} is a file: a pack can be looked at, but not written to. Name a folder; "
            f"to go on from a pack, first: bench unpack {results} FOLDER"
        )
