"""The MLflow mirror of the records: experiment = protocol, run = cell. Records stay the truth.

Mirroring is idempotent: a record that MLflow has already is left alone. Only the driver talks to MLflow. A tracker that
is down costs a warning, never a result, and a record that it refuses costs that record's mirror: the next run mirrors
what is missing.
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

from ..system.files import digest, sha256_of, write_text
from ..system.states import CURVE
from .cell_files import LOG, RECORD, SCORES, WEIGHTS, Place, look
from .locks import hold
from .record import AnyRecord, DoneRecord

OFF = "none"
"""The tracking address that turns mirroring off."""
_ID, _CELL, _KEY, _WRITTEN = "mrsr.id", "mrsr.cell", "mrsr.score_key", "mrsr.written"
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow's page opens on its tools for language models, not on metrics and curves."""
_FOLLOW_SECONDS = 5.0
_LOCK_SECONDS = 60.0
"""How long the runs that share one database file wait for one another."""
_CURVES = ("loss", "val_psnr", "lr", "pixels_per_second", "memory_bytes")
"""Columns of train.csv that MLflow shows; records of earlier versions lack the last two."""
_BATCH = 1000 // len(_CURVES)
"""Rows to a call, which takes 1000 figures: of a row all arrive or none."""


@dataclass(frozen=True)
class MirroredCell:
    """A cell to mirror."""

    experiment: str
    """The protocol's folder."""
    name: str
    folder: str
    """The cell's, below the protocol's."""
    place: Place


def default_uri(results: Path) -> str:
    """The SQLite file in the results folder."""
    return f"sqlite:///{(results / 'mlflow.db').resolve()}"


class Mirror:
    """Mirrors the records of one results folder to one tracker; `warn` hears of what is not mirrored.

    A record that arrived leaves a mark in its cell, so that MLflow is not even imported where nothing is new.

    When its block ends, no run of a cell that was stopped is left running in MLflow.
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
            self._safely(self._terminate)

    def sync(self, items: Iterable[MirroredCell]) -> None:
        """Mirror every record of these cells that MLflow does not have yet."""
        new = [item for item in items if not self._off and self._is_new(item)]

        def mirror() -> None:
            for item in new:
                record = look(item.place).record
                if record is not None and record.score_key == item.place.score_key:
                    self._mirror_one(item, record)

        if new:
            self._safely(mirror)

    def follow(self, item: MirroredCell) -> None:
        """Mirror the training curve of the cell that is running, every few seconds."""
        if time.monotonic() - self._followed < _FOLLOW_SECONDS:
            return
        self._safely(lambda: self._curve(self._run(item), item))
        self._followed = time.monotonic()

    def _is_new(self, item: MirroredCell) -> bool:
        """Whether a cell has a record that has left no mark for this tracker; a database that is gone has none."""
        folder = item.place.folder
        if not (folder / RECORD).is_file():
            return False
        database = self._database
        if database is not None and not database.is_file():
            return True
        try:
            return (folder / self._mark).read_text(encoding="utf-8") != sha256_of(folder / RECORD)
        except (OSError, UnicodeDecodeError):
            return True

    def _mirror_one(self, item: MirroredCell, record: AnyRecord) -> None:
        """A record that MLflow refuses costs its own mirror; a tracker that answers no more is another matter."""
        try:
            checksum = sha256_of(item.place.folder / RECORD)
            self._mirror(item, record)
        except Exception as error:
            self._connect().search_experiments(max_results=1)
            self._warn(f"MLflow at {self._uri} refuses the record of {item.name}, which is safe: {error}")
        else:
            write_text(item.place.folder / self._mark, checksum)

    def _terminate(self) -> None:
        for run in sorted(self._unfinished):
            self._client.set_terminated(run, "KILLED")
        self._unfinished.clear()

    def _safely(self, action: Callable[[], None]) -> None:
        """Any trouble with the tracker turns the mirror off for this run, with one warning."""
        if self._off:
            return
        try:
            with self._alone():
                action()
        except Exception as error:
            self._off = True
            self._warn(f"MLflow at {self._uri} is not mirrored in this run, results are safe in records: {error}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other runs away while a database file is used: its makers destroy each other's, its writers time out."""
        database = self._database
        if database is None:
            yield
            return
        with hold(database.parent, f".{database.name}", wait=_LOCK_SECONDS):
            yield

    @property
    def _database(self) -> Path | None:
        """The tracker's file, where it is a SQLite database."""
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
        place = (self._results / "mlartifacts" / name).resolve().as_uri() if local else None
        return str(client.create_experiment(name, artifact_location=place, tags=_KIND))

    def _run(self, item: MirroredCell) -> Any:
        """The MLflow run of a cell under its present key, made now if there is none."""
        client, experiment = self._connect(), self._experiment(item.experiment)
        name = digest([item.folder, item.place.score_key])[:32]  # no letter of a label may end a query's string
        runs = client.search_runs([experiment], f"tags.`{_ID}` = '{name}'", max_results=1)
        if runs:
            run = runs[0]
        else:
            tags = {_ID: name, _CELL: item.folder, _KEY: item.place.score_key}
            run = client.create_run(experiment, run_name=item.name, tags=tags)
        if _WRITTEN not in run.data.tags:
            if run.info.status != "RUNNING":
                client.update_run(run.info.run_id, status="RUNNING")
            self._unfinished.add(run.info.run_id)
        return run

    def _mirror(self, item: MirroredCell, record: AnyRecord) -> None:
        client, run = self._connect(), self._run(item)
        if run.data.tags.get(_WRITTEN) == record.written:
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
            if item.place.folder == item.place.base:
                self._curve(run, item)
        else:
            client.set_tag(run_id, "mrsr.error", record.error)
        folder = item.place.folder
        for name in (RECORD, SCORES, CURVE, WEIGHTS, LOG):
            if (folder / name).is_file():
                client.log_artifact(run_id, str(folder / name))
        client.set_tag(run_id, "mrsr.state", record.state)
        client.set_terminated(run_id, "FINISHED" if record.state in ("done", "skipped") else "FAILED")
        client.set_tag(run_id, _WRITTEN, record.written)
        self._unfinished.discard(run_id)

    def _curve(self, run: Any, item: MirroredCell) -> None:
        """Log the rows of train.csv that MLflow does not have."""
        from mlflow.entities import Metric

        path = item.place.base / CURVE
        if not path.is_file():
            return
        known = self._client.get_metric_history(run.info.run_id, "loss")
        last = max((metric.step for metric in known), default=0)
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
    return {**record.metrics, **sizes, **figures}
