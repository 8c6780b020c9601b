"""The MLflow mirror of the records: experiment = protocol, run = cell. Records stay the truth.

Mirroring is idempotent: a record that MLflow already has is skipped. Only the driver talks to MLflow. A tracker that is
down causes a warning and costs no result. A record that it refuses is not mirrored. The next run mirrors what is
missing.
"""

from __future__ import annotations

import csv
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..system.files import DamagedFile, digest, sha256_of, write_text
from ..system.training_states import CURVE
from .cell_files import LOG, RECORD, SCORES, WEIGHTS, Place, inspect_cell
from .cross_tests import cross_scores_name
from .exhibit import read_exhibit
from .exhibit_image import slice_image
from .locks import hold
from .record import AnyRecord, DoneRecord

OFF = "none"
"""The tracking address that turns mirroring off."""
_ID, _CELL, _KEY, _RECORD_DIGEST = "mrsr.id", "mrsr.cell", "mrsr.score_key", "mrsr.record"
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without this tag MLflow's page opens on its tools for language models, not on metrics and curves."""
_IMAGE = "slice.png"
"""HR, the prediction, and their difference."""
_FOLLOW_SECONDS = 5.0
_LOCK_SECONDS = 60.0
"""How long the runs that share one database file wait for one another."""
_CURVES = ("loss", "val_psnr", "lr", "pixels_per_second", "memory_bytes")
"""Columns of train.csv that MLflow shows; records of earlier versions lack the last two."""
_BATCH = 1000 // len(_CURVES)
"""Rows in one call, which takes at most 1000 figures: so all figures of a row arrive, or none."""


@dataclass(frozen=True)
class MirroredCell:
    """A cell to mirror."""

    experiment: str
    """Name of the protocol's folder."""
    name: str
    folder: str
    """The cell's folder, below the protocol's."""
    place: Place


def default_uri(results: Path) -> str:
    """The SQLite file in the results folder."""
    return f"sqlite:///{(results / 'mlflow.db').resolve()}"


class Mirror:
    """Mirrors the records of one results folder to one tracker; `warn` is called with a message on any failure.

    A mirrored record leaves a mark file in its cell's folder, so that MLflow is imported only where a record is new.
    At the end of the block, MLflow runs of cells that were stopped are ended too.
    """

    def __init__(self, results: Path, uri: str | None, warn: Callable[[str], None]) -> None:
        self._results, self._warn = results, warn
        self._uri = uri or default_uri(results)
        self._mark = f"mirrored-{digest(self._uri)[:12]}"
        self._off = self._uri == OFF
        self._client: Any = None
        self._followed = 0.0
        self._unfinished: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._unfinished:
            self._safely(self._end_runs)

    def sync(self, cells: Iterable[MirroredCell]) -> None:
        """Mirror every record of these cells that MLflow does not have yet."""
        new = [cell for cell in cells if not self._off and self._is_new(cell)]

        def mirror() -> None:
            for cell in new:
                record = inspect_cell(cell.place).record
                if record is not None and record.score_key == cell.place.score_key:
                    self._mirror_or_warn(cell, record)

        if new:
            self._safely(mirror)

    def follow(self, cell: MirroredCell) -> None:
        """Mirror the training curve of the cell that is running, every few seconds."""
        if time.monotonic() - self._followed < _FOLLOW_SECONDS:
            return
        self._safely(lambda: self._curve(self._run(cell), cell))
        self._followed = time.monotonic()

    def _is_new(self, cell: MirroredCell) -> bool:
        """Whether a cell has a record without a mark for this tracker. Marks do not count without the database file."""
        folder = cell.place.folder
        if not (folder / RECORD).is_file():
            return False
        database = self._database
        if database is not None and not database.is_file():
            return True
        try:
            return (folder / self._mark).read_text(encoding="utf-8") != sha256_of(folder / RECORD)
        except (OSError, UnicodeDecodeError):
            return True

    def _mirror_or_warn(self, cell: MirroredCell, record: AnyRecord) -> None:
        """Warn where MLflow refuses this record alone. Raises where the tracker no longer answers."""
        try:
            checksum = sha256_of(cell.place.folder / RECORD)
            self._mirror(cell, record)
        except Exception as error:
            self._connect().search_experiments(max_results=1)
            self._warn(f"MLflow at {self._uri} refuses the record of {cell.name}, which is safe: {error}")
        else:
            write_text(cell.place.folder / self._mark, checksum)

    def _end_runs(self) -> None:
        for run in sorted(self._unfinished):
            self._client.set_terminated(run, "KILLED")
        self._unfinished.clear()

    def _safely(self, action: Callable[[], None]) -> None:
        """Do something with the tracker. Any failure turns the mirror off for this run, with one warning."""
        if self._off:
            return
        try:
            with self._locked_database():
                action()
        except Exception as error:
            self._off = True
            self._warn(f"records are not mirrored to MLflow at {self._uri} in this run; results are safe: {error}")

    @contextmanager
    def _locked_database(self) -> Iterator[None]:
        """Lock a database file: two runs would each overwrite the other's new file, and later time out on writing."""
        database = self._database
        if database is None:
            yield
            return
        with hold(database.parent, f".{database.name}", wait=_LOCK_SECONDS):
            yield

    @property
    def _database(self) -> Path | None:
        """The database's file, where the tracker is a SQLite database."""
        local = self._uri.startswith("sqlite:///")
        return Path(self._uri.removeprefix("sqlite:///").partition("?")[0]) if local else None

    def _connect(self) -> Any:
        if self._client is None:
            # A tracker that is down should be noticed in seconds, not after MLflow's minutes of retries.
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            from mlflow import MlflowClient

            logging.getLogger("mlflow").setLevel(logging.WARNING)
            logging.getLogger("alembic").setLevel(logging.WARNING)

            self._client = MlflowClient(tracking_uri=self._uri)
            self._client.search_experiments(max_results=1)
        return self._client

    def _experiment(self, name: str) -> str:
        client = self._connect()
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        local = self._database is not None
        artifacts = (self._results / "mlartifacts" / name).resolve().as_uri() if local else None
        return str(client.create_experiment(name, artifact_location=artifacts, tags=_KIND))

    def _run(self, cell: MirroredCell) -> Any:
        """The MLflow run of a cell under its present key; a new one where there is none."""
        client, experiment = self._connect(), self._experiment(cell.experiment)
        name = digest([cell.folder, cell.place.score_key])[:32]  # a digest, since a label may hold a quote
        runs = client.search_runs([experiment], f"tags.`{_ID}` = '{name}'", max_results=1)
        if runs:
            run = runs[0]
        else:
            tags = {_ID: name, _CELL: cell.folder, _KEY: cell.place.score_key}
            run = client.create_run(experiment, run_name=cell.name, tags=tags)
        if _RECORD_DIGEST not in run.data.tags:
            if run.info.status != "RUNNING":
                client.update_run(run.info.run_id, status="RUNNING")
            self._unfinished.add(run.info.run_id)
        return run

    def _mirror(self, cell: MirroredCell, record: AnyRecord) -> None:
        client, run = self._connect(), self._run(cell)
        record_digest = sha256_of(cell.place.folder / RECORD)
        if run.data.tags.get(_RECORD_DIGEST) == record_digest:
            return
        run_id = run.info.run_id
        for name, value in _flat({"label": record.label, **record.resolved.model_dump(exclude_defaults=True)}).items():
            client.log_param(run_id, name, value)
        for name, value in _flat(record.protocol.model_dump(), "mrsr.protocol.").items():
            client.set_tag(run_id, name, value)
        if isinstance(record, DoneRecord):
            for name, figure in _figures(record).items():
                client.log_metric(run_id, name, figure)
            client.log_dict(run_id, record.environment.model_dump(), "environment.json")
            if cell.place.folder == cell.place.base:
                self._curve(run, cell)
        else:
            client.set_tag(run_id, "mrsr.error", record.error)
        folder = cell.place.folder
        tests = map(cross_scores_name, record.tests if isinstance(record, DoneRecord) else ())
        for name in (RECORD, SCORES, *tests, CURVE, WEIGHTS, LOG):
            if (folder / name).is_file():
                client.log_artifact(run_id, str(folder / name))
        if isinstance(record, DoneRecord) and record.checksums.exhibit is not None:
            self._image(run_id, cell)
        client.set_tag(run_id, "mrsr.state", record.state)
        client.set_terminated(run_id, "FINISHED" if record.state in ("done", "skipped") else "FAILED")
        client.set_tag(run_id, _RECORD_DIGEST, record_digest)
        self._unfinished.discard(run_id)

    def _image(self, run_id: str, cell: MirroredCell) -> None:
        """Log the first slice that the cell keeps as an image; one that cannot be read costs a warning."""
        try:
            exhibit = read_exhibit(cell.place.folder)
        except DamagedFile as error:
            self._warn(f"MLflow gets no image of {cell.name}: {error}. Make it again with: bench score")
            return
        if exhibit is not None:
            self._client.log_image(run_id, slice_image(exhibit.slices[0]), _IMAGE)

    def _curve(self, run: Any, cell: MirroredCell) -> None:
        """Log the rows of train.csv that MLflow does not have yet."""
        from mlflow.entities import Metric

        path = cell.place.base / CURVE
        if not path.is_file():
            return
        logged = self._client.get_metric_history(run.info.run_id, "loss")
        last = max((metric.step for metric in logged), default=0)
        now = int(time.time() * 1000)
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["seconds"] and int(row["step"]) > last]
        for start in range(0, len(rows), _BATCH):
            metrics = [
                Metric(name, float(row[name]), now, int(row["step"]))
                for row in rows[start : start + _BATCH]
                for name in _CURVES
                if row.get(name)
            ]
            self._client.log_batch(run.info.run_id, metrics=metrics)


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def _figures(record: DoneRecord) -> dict[str, float]:
    fit = record.fit.model_dump() if record.fit else {}
    figures = {f"fit_{name}": value for name, value in fit.items() if isinstance(value, int | float)}
    sizes = {name: getattr(record, name) for name in ("n", "seconds_per_volume", "peak_memory_bytes")}
    tests = {f"{title}/{name}": value for title, test in record.tests.items() for name, value in test.metrics.items()}
    return {**record.metrics, **sizes, **figures, **tests}
