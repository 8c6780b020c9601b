"""The MLflow mirror of the records: experiment = protocol, run = cell. Records stay the truth.

Mirroring is idempotent: a record that MLflow has already is left alone. Only the driver talks to MLflow, and a tracker
that is down costs a warning, never a result: the next run mirrors what is missing.
"""

from __future__ import annotations

import csv
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from . import records
from .cell import Cell, Training
from .protocol import Loaded
from .records import Record, Store

OFF = "none"
"""The tracking address that turns mirroring off."""
_CELL, _KEY, _WRITTEN = "mrsr.cell", "mrsr.score_key", "mrsr.written"
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow's page opens on its tools for language models, not on metrics and curves."""
_FOLLOW_SECONDS = 5.0
_CURVES = ("loss", "val_psnr", "lr", "pixels_per_second", "memory_bytes")
"""Columns of train.csv that MLflow shows; records of earlier versions lack the last two."""
_BATCH = 1000 // len(_CURVES)
"""Rows to a call, which takes 1000 figures: of a row all arrive or none."""


def default_uri(store: Store) -> str:
    """The SQLite file in the results folder."""
    return f"sqlite:///{(store.results / 'mlflow.db').resolve()}"


class Mirror:
    """Mirrors one store's records to one tracker; `warn` hears of a tracker that does not answer, once."""

    def __init__(self, store: Store, uri: str | None, warn: Callable[[str], None]) -> None:
        self._store, self._warn = store, warn
        self._uri = uri or default_uri(store)
        self._off = self._uri == OFF
        self._client: Any = None
        self._followed = 0.0

    def sync(self, loaded: Loaded, trainings: Iterable[Training]) -> None:
        """Mirror every record of these trainings that MLflow does not have yet."""

        def mirror() -> None:
            for training in trainings:
                for cell in training.cells:
                    record = self._store.read(loaded, cell)
                    if record is not None and record["score_key"] == cell.score_key:
                        self._mirror(training, cell, record)

        self._safely(mirror)

    def follow(self, training: Training) -> None:
        """Mirror the training curve of the cell that is running, every few seconds."""
        if time.monotonic() - self._followed < _FOLLOW_SECONDS:
            return
        self._safely(lambda: self._curve(self._run(training, training.base), training))
        self._followed = time.monotonic()

    def _safely(self, action: Callable[[], None]) -> None:
        """Any trouble with the tracker turns the mirror off for this run, with one warning."""
        if self._off:
            return
        try:
            action()
        except Exception as error:
            self._off = True
            self._warn(f"MLflow at {self._uri} is not mirrored in this run, results are safe in records: {error}")

    def _connect(self) -> Any:
        if self._client is None:
            # A tracker that is down should be noticed in seconds, not after MLflow's minutes of retries.
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            from mlflow import MlflowClient

            logging.getLogger("mlflow").setLevel(logging.WARNING)
            logging.getLogger("alembic").setLevel(logging.WARNING)

            with (self._store.results / ".mlflow.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # several processes opening a fresh database destroy each other's
                self._client = MlflowClient(tracking_uri=self._uri)
                self._client.search_experiments(max_results=1)
        return self._client

    def _experiment(self, loaded: Loaded) -> str:
        client = self._connect()
        experiment = client.get_experiment_by_name(loaded.folder)
        if experiment is not None:
            return str(experiment.experiment_id)
        local = self._uri.startswith("sqlite:")
        place = (self._store.results / "mlartifacts" / loaded.folder).resolve().as_uri() if local else None
        return str(client.create_experiment(loaded.folder, artifact_location=place, tags=_KIND))

    def _run(self, training: Training, cell: Cell) -> Any:
        """The MLflow run of a cell under its present key, made now if there is none."""
        client, experiment = self._connect(), self._experiment(training.loaded)
        chosen = f"tags.`{_CELL}` = '{cell.folder}' and tags.`{_KEY}` = '{cell.score_key}'"
        found = client.search_runs([experiment], chosen, max_results=1)
        if found:
            return found[0]
        tags = {_CELL: str(cell.folder), _KEY: cell.score_key}
        return client.create_run(experiment, run_name=str(cell), tags=tags)

    def _mirror(self, training: Training, cell: Cell, record: Record) -> None:
        client, run = self._connect(), self._run(training, cell)
        if run.data.tags.get(_WRITTEN) == record["written"]:
            return
        run_id = run.info.run_id
        for name, value in _flat({"label": record["label"], **record["resolved"]}).items():
            client.log_param(run_id, name, value)
        for name, value in _flat(record["protocol"], "mrsr.protocol.").items():
            client.set_tag(run_id, name, value)
        done = record["state"] == "done"
        if done:
            for name, figure in _figures(record).items():
                client.log_metric(run_id, name, figure)
            client.log_dict(run_id, record["environment"], "environment.json")
            if cell == training.base:
                self._curve(run, training)
        else:
            client.set_tag(run_id, "mrsr.error", record["error"])
        folder = self._store.folder(training.loaded, cell)
        for name in (records.RECORD, records.SCORES, records.CURVE, records.WEIGHTS, records.LOG):
            if (folder / name).is_file():
                client.log_artifact(run_id, str(folder / name))
        client.set_tag(run_id, "mrsr.state", record["state"])
        client.set_terminated(run_id, "FINISHED" if done or record["state"] == "skipped" else "FAILED")
        client.set_tag(run_id, _WRITTEN, record["written"])

    def _curve(self, run: Any, training: Training) -> None:
        """Log the rows of train.csv that MLflow does not have."""
        from mlflow.entities import Metric

        path = self._store.folder(training.loaded, training.base) / records.CURVE
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


def _figures(record: Record) -> dict[str, float]:
    fit = {f"fit_{name}": value for name, value in record["fit"].items() if isinstance(value, int | float)}
    about = {name: record[name] for name in ("n", "seconds_per_volume", "peak_memory_bytes")}
    return {**record["metrics"], **about, **fit}
