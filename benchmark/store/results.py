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
    """The records below one results folder, or in a pack, which can only be read."""

    def __init__(self, results: Path) -> None:
        """Raises BadPack where `results` is a file, but not a pack."""
        self.results = results
        self.runs = results / "runs"
        """Where records are written."""
        self.readable_runs: Readable = open_pack(results) / "runs" if results.is_file() else self.runs
        """Where records are read."""

    def check_writable(self) -> None:
        """Raise UsageError where results cannot be written: now, rather than after a training."""
        check_folder(self.results)
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.runs).close()
        except OSError as error:
            raise UsageError(
                f"cannot write results to {self.runs}: {error.strerror or error}; choose another folder with --results"
            ) from None

    def view(self, protocol: str | None) -> View:
        """All plans of a protocol's folder, by default of the one that was requested last.

        `protocol` may be a name, a path, or a folder below runs such as demo~steps=10. Raises BenchError where there is
        no plan.
        """
        folder = protocol or last_folder(self.readable_runs)
        if folder is not None and Path(folder).suffix in (".yaml", ".yml"):
            from ..protocol.loading import load

            folder = load(folder).folder
        view = view_of(self.readable_runs / folder) if folder is not None else None
        if view is None:
            root, pattern = (self.readable_runs / folder, "") if folder else (self.readable_runs, "*/")
            if damaged := sorted(root.glob(f"{pattern}{PLANS}/*.json")):
                raise BenchError(f"no plan can be read: {_problem(damaged[0])}. Repeat the request with: bench run")
            subject = f"of '{folder}' " if folder else ""
            raise BenchError(f"nothing {subject}has been run yet below {self.runs}; start with: bench run")
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
            f"{results} is a file: a pack can be read, but not written to. Give a folder; "
            f"to continue from a pack, run first: bench unpack {results} FOLDER"
        )
