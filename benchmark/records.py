"""The store: one folder a cell, and a record that is complete or absent.

    <results>/runs/<protocol>/<degradation>/<contrast>-x2/<label>/seed0/
      record.json  scores.csv  train.csv  weights.safetensors  state.pt  log.txt  volumes/

Records are the truth; MLflow and tables are made from them. `record.json` is written last.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .cell import Cell, Training
from .errors import BenchError, UsageError
from .files import write_text
from .protocol import Loaded

State = Literal["missing", "running", "done", "failed", "skipped", "timeout", "stale", "changed"]
Record = dict[str, Any]

RECORD = "record.json"
SCORES = "scores.csv"
CURVE = "train.csv"
WEIGHTS = "weights.safetensors"
LOG = "log.txt"
VOLUMES = "volumes"
KEPT = "volumes.json"
"""In the folder of kept volumes, written after them: whose predictions they are."""
RADIAL = "radial.csv"
REQUEST = "request.json"


@dataclass(frozen=True)
class Outcome:
    """Where a cell stands after a run."""

    cell: Cell
    state: State
    message: str = ""
    metrics: dict[str, float] | None = None

    @property
    def good(self) -> bool:
        return self.state in ("done", "changed", "skipped")


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

    def read(self, loaded: Loaded, cell: Cell) -> Record | None:
        """The cell's record, or None. Raises BenchError for one that is not ours to read."""
        return read_record(self.folder(loaded, cell))

    def state(self, training: Training, cell: Cell) -> State:
        """Where the cell stands, compared with what the protocol asks for now."""
        folder = self.folder(training.loaded, cell)
        if is_locked(self.folder(training.loaded, training.base)):
            return "running"
        record = read_record(folder)
        if record is None:
            return "missing"
        if record["state"] == "done":
            if (record["train_key"], record["score_key"]) != (cell.train_key, cell.score_key):
                return "stale"
            if record["source_digest"] != training.source.digest:
                return "changed"
        state: State = record["state"]
        return state

    def remember(self, loaded: Loaded, request: dict[str, Any]) -> None:
        """Note what was asked, so that `bench table` and `bench status` need no arguments."""
        folder = self.runs / loaded.folder
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / REQUEST, json.dumps(request, indent=2))
        write_text(self.runs / "last.json", json.dumps({"folder": loaded.folder}))

    def last(self) -> str | None:
        """The folder of the protocol that was run last."""
        last = _read_json(self.runs / "last.json")
        return None if last is None else str(last["folder"])

    def request(self, folder: str) -> dict[str, Any] | None:
        """All that was ever asked for under a protocol's folder."""
        return _read_json(self.runs / folder / REQUEST)


def read_record(folder: Path) -> Record | None:
    """The record in a cell's folder, or None."""
    return _read_json(folder / RECORD)


def describe(training: Training, cell: Cell) -> Record:
    """What every record says, whatever became of the cell."""
    loaded = training.loaded
    return {
        "format": 1,
        "label": cell.label,
        "protocol": {
            "name": loaded.protocol.name,
            "version": loaded.protocol.version,
            "digest": loaded.digest,
            "overrides": loaded.overrides,
        },
        "resolved": training.resolved,
        "inference": training.inference,
        "source_digest": training.source.digest,
        "train_key": cell.train_key,
        "score_key": cell.score_key,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def write_record(folder: Path, record: Record) -> None:
    """Write a cell's record: the last file of a cell, so that what is recorded is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RECORD, json.dumps(record, indent=2, sort_keys=True))


def replace_scores(folder: Path, scores: dict[str, dict[str, float]], radial: Sequence[np.ndarray]) -> None:
    """Write subject → metric → value as scores.csv, each value to its last bit, and the mean radial errors.

    An earlier record of the cell and its scores are set aside first: a record always stands for the scores beside it.
    """
    for name in (RECORD, SCORES, RADIAL):
        if (folder / name).exists():
            set_aside(folder / name, "old")
    rows = [[subject, metric, repr(value)] for subject, of in scores.items() for metric, value in of.items()]
    _write_csv(folder / SCORES, ["subject", "metric", "value"], rows)
    mean = np.mean(radial, axis=0)
    _write_csv(folder / RADIAL, ["frequency", "error", "truth"], [[repr(float(v)) for v in row] for row in mean])


def read_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Metric → subject → value, as `replace_scores` wrote them. Raises BenchError where they cannot be read."""
    path, scores = folder / SCORES, dict[str, dict[str, float]]()
    try:
        header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        if header != ["subject", "metric", "value"]:
            raise ValueError("the first line must be 'subject,metric,value'")
        for subject, metric, value in rows:
            scores.setdefault(metric, {})[subject] = float(value)
    except (OSError, ValueError, csv.Error) as error:
        raise BenchError(f"{path} cannot be read ({error}); score its cell again with: bench score") from None
    return scores


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    write_text(path, text.getvalue())


def set_aside(path: Path, mark: str) -> Path:
    """Rename what is out of date to a name that is free: nothing is deleted."""
    target = path.with_name(f"{path.name}~{mark}-{time.strftime('%Y%m%dT%H%M%S')}")
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{target.name}-{number}")
    path.rename(target)
    return target


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a training's folder while it runs. The lock ends with the process, however that ends.

    Raises BenchError where another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchError(f"{folder} is being worked on by another process") from None
        yield


def is_locked(folder: Path) -> bool:
    """Whether some process is running the training of this folder."""
    try:
        with (folder / ".lock").open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be read ({error}); move it away to run its cell again") from None
    if not isinstance(content, dict):
        raise BenchError(f"{path} is not a record; move it away to run its cell again")
    return content
