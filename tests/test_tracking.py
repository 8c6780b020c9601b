"""The MLflow mirror: everything arrives, nothing twice, and a tracker that is down costs a warning."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugins import NEAREST, NETWORK, RAISES, write
from recorded import fill
from test_runs import Ear, bench, cell_folder
from tracked import default_uri, mirrored_cells

from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.running.events import Progressed
from mrsr_bench.store.results import Store
from mrsr_bench.tracking.mirror import Mirror

pytestmark = pytest.mark.long


@pytest.fixture
def mirrored(write_protocol: Callable[..., Path], images: Path, tmp_path: Path) -> tuple[Any, Path, list[str]]:
    """A run of a network, its ensemble and a method that fails, mirrored into a fresh database."""
    protocol = write_protocol()
    files = write(tmp_path, network=NETWORK, raises=RAISES)
    bench(protocol, [f"{files[0]}+", files[1]], images, tracking_uri=None)
    from mlflow import MlflowClient

    return MlflowClient(default_uri(tmp_path / "results")), protocol, [f"{files[0]}+", files[1]]


def test_a_run_arrives_in_mlflow_once_with_all_that_belongs_to_it(
    mirrored: tuple[Any, Path, list[str]], tmp_path: Path
) -> None:
    client, protocol, methods = mirrored
    experiment = client.get_experiment_by_name("small")
    assert Path(experiment.artifact_location.removeprefix("file://")).is_relative_to(tmp_path / "results")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {f"{label} T1 x2 bicubic seed 0" for label in ("network", "network+", "raises")}

    run = runs["network T1 x2 bicubic seed 0"]
    assert run.info.status == "FINISHED"
    assert run.data.params["method"] == "network"
    assert run.data.params["recipe.steps"] == "30"
    assert run.data.params["options.width"] == "8"
    assert {"psnr", "ssim", "n", "seconds_per_volume", "fit_parameters", "fit_best_val_psnr"} <= set(run.data.metrics)
    curve = client.get_metric_history(run.info.run_id, "loss")
    assert sorted(point.step for point in curve) == list(range(1, 31))
    assert [point.step for point in client.get_metric_history(run.info.run_id, "val_psnr")] == [10, 20, 30]
    for name in ("pixels_per_second", "memory_bytes"):
        points = client.get_metric_history(run.info.run_id, name)
        assert sorted(point.step for point in points) == list(range(1, 31))
        assert min(point.value for point in points) > 0
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert artifacts == {
        "record.json",
        "scores.csv",
        "radial.csv",
        "train.csv",
        "weights.safetensors",
        "log.txt",
        "slice.png",
        "plans",
        "sources",
    }
    [plan] = (tmp_path / "results" / "runs" / "small" / "plans").iterdir()
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id, "plans")] == [f"plans/{plan.name}"]
    [source] = client.list_artifacts(run.info.run_id, "sources")
    assert (tmp_path / "results" / "runs" / "small" / source.path).is_file()
    filters = {"label": "network", "method": "network", "contrast": "T1", "scale": "x2", "degradation": "bicubic"}
    assert {**filters, "seed": "0", "state": "done"}.items() <= run.data.tags.items()
    assert "bench mlflow pull" in experiment.tags["mlflow.note.content"]
    failed = runs["raises T1 x2 bicubic seed 0"]
    assert failed.info.status == "FAILED"
    assert "no such luck" in failed.data.tags["mrsr.error"]

    loaded, trainings = plan_request(Request(str(protocol), methods))
    for mark in (tmp_path / "results").rglob("mirrored-*"):
        mark.unlink()
    Mirror(tmp_path / "results", None, pytest.fail).sync(mirrored_cells(tmp_path, loaded, trainings))
    later_runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.run_id for name, run in later_runs.items()} == {n: r.info.run_id for n, r in runs.items()}
    assert len(client.get_metric_history(run.info.run_id, "psnr")) == 1


def test_a_tracker_that_is_down_costs_one_warning_and_no_result(
    write_protocol: Callable[..., Path], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ear = Ear()
    protocol = write_protocol(methods={"bicubic": {}, "linear": {}})
    outcomes = bench(protocol, [], images, tracking_uri="http://127.0.0.1:9", listener=ear)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    warnings = [line for line in ear.lines if line.startswith("warning")]
    assert len(warnings) == 1
    assert "http://127.0.0.1:9" in warnings[0]
    assert "results are safe" in warnings[0]


def test_a_machine_without_mlflow_costs_one_warning_and_no_result(
    write_protocol: Callable[..., Path], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # importing it raises ImportError
    ear = Ear()
    protocol = write_protocol(methods={"bicubic": {}, "linear": {}})
    outcomes = bench(protocol, [], images, tracking_uri=None, listener=ear)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    [warning] = [line for line in ear.lines if line.startswith("warning")]
    assert "results are safe" in warning
    assert "mlflow" in warning.rpartition(": ")[2]


@pytest.mark.usefixtures("database")
def test_an_infinite_figure_and_one_that_does_not_apply_arrive(
    write_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    loaded, trainings = plan_request(Request(str(write_protocol())))
    figures = {"psnr": math.inf, "ssim": math.nan}
    fill((Store(tmp_path / "results"), loaded, trainings), "bicubic", "x2", 0, 0, metrics=figures, fit=None)
    Mirror(tmp_path / "results", None, pytest.fail).sync(mirrored_cells(tmp_path, loaded, trainings))
    from mlflow import MlflowClient

    client = MlflowClient(default_uri(tmp_path / "results"))
    [run] = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert "psnr" not in run.data.metrics, "MLflow would show the largest number that there is"
    assert math.isnan(run.data.metrics["ssim"])
    assert run.data.tags["not_finite"] == "psnr is infinite, ssim does not apply (NaN)"
    assert "psnr is infinite" in run.data.tags["mlflow.note.content"]


@pytest.mark.usefixtures("database")
def test_a_curve_follows_its_training_row_by_row_and_nothing_arrives_twice(
    write_protocol: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of an earlier version lacks the later columns, and one that is half written waits."""
    monkeypatch.setattr("mrsr_bench.tracking.mirror._FOLLOW_SECONDS", 0.0)
    store = Store(tmp_path / "results")
    [training] = plan_request(Request(str(write_protocol(methods={"edsr": {"preset": "tiny"}}))))[1]
    folder = training.folder(store, training.base)
    folder.mkdir(parents=True)
    mirror, curve = Mirror(store.results, None, pytest.fail), folder / "train.csv"
    [cell] = mirrored_cells(tmp_path, training.loaded, [training])
    curve.write_text("step,loss,val_psnr,lr,seconds\n1,1.0,,0.1,2.0\n2,0.4", encoding="utf-8")
    mirror.follow(cell)
    header = "step,loss,val_psnr,lr,seconds,pixels_per_second,memory_bytes"
    rows = [f"{step},{1 / step},,0.1,{step},{100 * step},7" for step in range(1, 451)]
    curve.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    for _ in range(2):
        mirror._next_look.clear()
        mirror.follow(cell)

    from mlflow import MlflowClient

    client = MlflowClient(default_uri(store.results))
    [run] = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    points = {name: client.get_metric_history(run.info.run_id, name) for name in ("loss", "pixels_per_second")}
    assert sorted(point.step for point in points["loss"]) == list(range(1, 451))
    assert {point.step: point.value for point in points["pixels_per_second"]} == {n: 100 * n for n in range(2, 451)}


def _runs(tmp_path: Path) -> dict[str, Any]:
    """Name → MLflow run of the protocol `small` in the database of the results."""
    from mlflow import MlflowClient

    client = MlflowClient(default_uri(tmp_path / "results"))
    experiment = client.get_experiment_by_name("small")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


@pytest.mark.usefixtures("database")
def test_a_label_with_a_quote_breaks_no_query(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path
) -> None:
    [plugin] = write(tmp_path, **{"it's": NEAREST})
    protocol, ear = write_protocol(), Ear()
    for _ in range(2):
        outcomes = bench(protocol, [plugin, "bicubic"], images, tracking_uri=None, listener=ear)
        assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert not [line for line in ear.lines if line.startswith("warning")]
    assert {name: run.info.status for name, run in _runs(tmp_path).items()} == {
        "it's T1 x2 bicubic seed 0": "FINISHED",
        "bicubic T1 x2 bicubic seed 0": "FINISHED",
    }


@pytest.mark.usefixtures("database")
def test_a_record_that_mlflow_refuses_costs_its_own_mirror(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    log_batch, refusing = MlflowClient.log_batch, [True]

    def picky(self: Any, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> Any:
        if refusing and ("label", "linear") in [(param.key, param.value) for param in params]:
            raise MlflowException("no such label here")
        return log_batch(self, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", picky)
    protocol, ear = write_protocol(methods={"bicubic": {}, "linear": {}, "nlm": {}}), Ear()
    outcomes = bench(protocol, [], images, tracking_uri=None, listener=ear)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    [warning] = [line for line in ear.lines if line.startswith("warning")]
    assert "refuses the record of linear T1 x2 bicubic seed 0, which is safe: no such label here" in warning
    status = {name.split()[0]: run.info.status for name, run in _runs(tmp_path).items()}
    assert status == {"bicubic": "FINISHED", "linear": "KILLED", "nlm": "FINISHED"}
    refusing.clear()
    bench(protocol, [], images, tracking_uri=None)
    assert {run.info.status for run in _runs(tmp_path).values()} == {"FINISHED"}


@pytest.mark.usefixtures("database")
def test_a_cell_that_is_stopped_does_not_stay_running_in_mlflow(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopper(Ear):
        """Presses Ctrl-C at the first step that is told."""

        def event(self, training: Any, event: Any) -> None:
            if isinstance(event, Progressed):
                raise KeyboardInterrupt

    [network] = write(tmp_path, network=NETWORK)
    protocol = write_protocol()
    with pytest.raises(KeyboardInterrupt):
        bench(protocol, [network], images, tracking_uri=None, listener=Stopper())
    [run] = _runs(tmp_path).values()
    assert run.info.status == "KILLED"
    assert bench(protocol, [network], images, tracking_uri=None)["network"].state == "done"
    [same] = _runs(tmp_path).values()
    assert (same.info.run_id, same.info.status) == (run.info.run_id, "FINISHED")


SYNC = """
import sys
from pathlib import Path
from mrsr_bench.store.results import Store
from mrsr_bench.tracking.mirror import Mirror
from mrsr_bench.tracking.runs import MirroredCell

results, database = map(Path, sys.argv[1:])
view = Store(results).view("small")
cells = [
    MirroredCell("small", str(planned.cell), planned.cell.folder, view.place(planned)) for planned in view.cells
]
with Mirror(results, f"sqlite:///{database}", lambda text: sys.exit(f"warned: {text}")) as mirror:
    mirror.sync(cells)
"""


@pytest.mark.slow
def test_four_results_folders_share_one_fresh_database(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path
) -> None:
    """Four at once: each makes the database, unless another is making it."""
    protocol = write_protocol(methods={"bicubic": {}, "linear": {}})
    bench(protocol, [], images, results=tmp_path / "results0")
    for number in (1, 2, 3):
        shutil.copytree(tmp_path / "results0", tmp_path / f"results{number}")
    database = tmp_path / "shared.db"
    commands = [[sys.executable, "-c", SYNC, str(tmp_path / f"results{number}"), str(database)] for number in range(4)]
    drivers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for driver in drivers:
        _, errors = driver.communicate(timeout=240)
        assert driver.returncode == 0, errors
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert sorted((run.info.run_name.split()[0], run.info.status) for run in runs) == [
        ("bicubic", "FINISHED"),
        ("linear", "FINISHED"),
    ]


def test_what_is_mirrored_leaves_a_mark_and_mlflow_is_not_imported_again_until_its_database_is_gone(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: None
) -> None:
    protocol, ear = write_protocol(), Ear()
    bench(protocol, [], images, tracking_uri=None, listener=ear)
    [mark] = (tmp_path / "results").rglob("mirrored-*")
    assert mark.parent == cell_folder(protocol, "bicubic")
    monkeypatch.setitem(sys.modules, "mlflow", None)  # importing it raises ImportError
    bench(protocol, [], images, tracking_uri=None, listener=ear)
    assert not [line for line in ear.lines if line.startswith("warning")]
    (tmp_path / "results" / "mlflow.db").unlink()
    bench(protocol, [], images, tracking_uri=None, listener=ear)
    [warning] = [line for line in ear.lines if line.startswith("warning")]
    assert "results are safe" in warning


@pytest.mark.usefixtures("database")
def test_tests_on_other_lr_arrive_with_their_cell_also_where_they_are_made_later(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(default_uri(tmp_path / "results"))
    for title, block in (("kspace", {"degradations": ["kspace"]}), ("bicubic-shifted", {"shift": "half"})):
        bench(write_protocol(test=block), ["bicubic"], images, tracking_uri=None)
        [run] = client.search_runs([client.get_experiment_by_name("small").experiment_id])
        assert {f"{title}/psnr", f"{title}/ssim"} <= set(run.data.metrics)
        assert f"scores-{title}.csv" in [artifact.path for artifact in client.list_artifacts(run.info.run_id)]
