"""What tests of MLflow share: the cells of a plan as a mirror takes them, and the runs that arrived."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrsr_bench.planning.cells import Training
from mrsr_bench.store.results import Store
from mrsr_bench.tracking.address import address_of
from mrsr_bench.tracking.runs import MirroredCell


def default_uri(results: Path) -> str:
    return address_of(None, results).uri


def mirrored_cells(tmp_path: Path, loaded: Any, trainings: list[Training]) -> list[MirroredCell]:
    """The cells of trainings, as the mirror takes them."""
    store = Store(tmp_path / "results")
    return [
        MirroredCell(loaded.folder, str(cell), cell.folder.as_posix(), training.place(store.runs, cell))
        for training in trainings
        for cell in training.cells
    ]


def client_of(results: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(default_uri(results))


def runs_of(results: Path, experiment: str = "small") -> list[Any]:
    """The active runs of an experiment in the database of a results folder."""
    client = client_of(results)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))
