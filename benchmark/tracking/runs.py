"""The experiments and runs of a tracker: experiment = protocol, run = cell under its present key.

MLflow refuses a second experiment of one name, but takes any number of runs. So whoever has made a run looks again: of
several that stand for one cell, the one with the smallest id stays, and the others are deleted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..store.cell_files import Place
from ..system.files import digest
from .page import page_tags
from .plan_files import PlanFile
from .tracker import DeletedExperiment, Tracker

ID, CELL, KEY = "mrsr.id", "mrsr.cell", "mrsr.score_key"
RECORD_TAG, SENDING, PLAN_TAG, WRITTEN = "mrsr.record", "mrsr.sending", "mrsr.plan", "mrsr.written"
"""What has arrived of a record, set last; what is being sent; the plan that is there; when the record was written."""
PROTOCOL_TAG = "mrsr.protocol"
"""Of an experiment: the digest of its protocol."""
STATE = "state"
PLAN_TIME = "mrsr.plan."
"""Of an experiment, with a plan's digest: when it was requested last."""
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without this tag MLflow's page opens on its tools for language models, not on metrics and curves."""
_PAGE = 500
"""Runs in one answer."""


@dataclass(frozen=True)
class MirroredCell:
    """A cell to mirror."""

    experiment: str
    """Name of the protocol's folder."""
    name: str
    folder: str
    """The cell's folder, below the protocol's."""
    place: Place[Any]
    """On disk."""

    @property
    def identity(self) -> str:
        """Of its run: a digest, since a label may hold a quote."""
        return digest([self.folder, self.place.score_key])[:32]

    @property
    def tags(self) -> dict[str, str]:
        """What a run has from the start; the names without a dot are for the filter of MLflow's page."""
        degradation, row, label, seed = self.folder.split("/")
        contrast, _, scale = row.rpartition("-")
        return {
            ID: self.identity,
            CELL: self.folder,
            KEY: self.place.score_key,
            "label": label,
            "contrast": contrast,
            "scale": scale,
            "degradation": degradation,
            "seed": seed.removeprefix("seed"),
            STATE: "running",
        }


class Runs:
    """The runs of one tracker."""

    def __init__(self, tracker: Tracker, artifacts: Path) -> None:
        """`artifacts`: the folder for the files of new experiments, where the tracker is not a server."""
        self.tracker, self._artifacts = tracker, artifacts
        self._experiments: dict[str, str] = {}

    @property
    def client(self) -> Any:
        return self.tracker.client

    def forget(self) -> None:
        """Ask anew from now on."""
        self._experiments.clear()

    def experiment(self, name: str) -> str:
        """The number of an experiment, made where there is none. Raises DeletedExperiment."""
        if name not in self._experiments:
            self._experiments[name] = self._find_or_create(name)
        return self._experiments[name]

    def _find_or_create(self, name: str) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            artifacts = None if self.tracker.address.is_server else (self._artifacts / name).resolve().as_uri()
            try:
                return str(self.client.create_experiment(name, artifact_location=artifacts, tags=_KIND))
            except Exception:  # another run was quicker, else this says why
                experiment = self.client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            raise DeletedExperiment(name, str(experiment.experiment_id), self.tracker.address)
        return str(experiment.experiment_id)

    def describe(self, name: str, plans: Sequence[PlanFile]) -> None:
        """Say on an experiment's page what it is, and when each plan was requested; `plans`: the last one first."""
        if not plans:
            return
        number = self.experiment(name)
        wanted = {f"{PLAN_TIME}{plan.digest}": plan.time for plan in plans}
        present = self.client.get_experiment(number).tags
        if plans[0].time >= present.get(f"{PLAN_TIME}{plans[0].digest}", ""):
            wanted |= {PROTOCOL_TAG: plans[0].plan.protocol.digest, **page_tags(number, name, plans[0].plan)}
        for tag, value in wanted.items():
            if present.get(tag) != value and (not tag.startswith(PLAN_TIME) or present.get(tag, "") < value):
                self.client.set_experiment_tag(number, tag, value)

    def find(self, cell: MirroredCell) -> list[Any]:
        """The runs that stand for a cell, smallest id first."""
        runs = self.client.search_runs([self.experiment(cell.experiment)], f"tags.`{ID}` = '{cell.identity}'")
        return sorted(runs, key=lambda run: str(run.info.run_id))

    def open(self, cell: MirroredCell, started: int | None = None, **tags: str) -> tuple[Any, bool]:
        """The one run of a cell, and whether it is a new one.

        A new run gets these tags too, and starts at `started` (Unix time in ms; by default now).
        """
        runs, new = self.find(cell), None
        if not runs:
            new = self.client.create_run(
                self.experiment(cell.experiment),
                start_time=int(time.time() * 1000) if started is None else started,
                run_name=cell.name,
                tags={**cell.tags, **tags},
            )
            runs = self.find(cell)
        for double in runs[1:]:
            self.delete(double)
        return runs[0], new is not None and runs[0].info.run_id == new.info.run_id

    def delete(self, run: Any) -> None:
        """Delete a run, unless someone else has done so."""
        with self._unless_deleted(run.info.run_id):
            self.client.delete_run(run.info.run_id)

    def stop(self, run_id: str) -> None:
        """End a run whose cell was stopped, unless it has ended since, or someone has deleted it."""
        with self._unless_deleted(run_id):
            if self.client.get_run(run_id).info.status == "RUNNING":
                self.client.set_tag(run_id, STATE, "stopped")
                self.client.set_terminated(run_id, "KILLED")

    @contextmanager
    def _unless_deleted(self, run_id: str) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException:
            if self.client.get_run(run_id).info.lifecycle_stage == "active":
                raise

    def all(self, experiment: str) -> Iterator[Any]:
        """All runs of an experiment, in pages."""
        token = None
        while True:
            page = self.client.search_runs([experiment], max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return
