"""Records come back from MLflow as they were; what a tracker should not have is refused, and nothing else lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from figure_records import fill_plan, make_plan
from recorded import Plan, fill, remember
from tracked import client_of, default_uri, runs_of

from mrsr_bench.cli import main
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.store.plan import read_plan
from mrsr_bench.system.limits import file_size_limit
from mrsr_bench.tracking import pull as pulling
from mrsr_bench.tracking.pull import pull
from mrsr_bench.tracking.synchronisation import synchronise

long = pytest.mark.long


def test_no_file_grows_beyond_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with file_size_limit(1000):
        path.write_bytes(bytes(1000))
        with pytest.raises(OSError, match="File too large"):
            path.write_bytes(bytes(1001))
        with file_size_limit(2000), pytest.raises(OSError, match="File too large"):
            path.write_bytes(bytes(1001))
    path.write_bytes(bytes(1001))


@pytest.fixture
def mirrored(write_protocol: Callable[..., Path], tmp_path: Path, database: None) -> Path:
    """A results folder with networks, a method without chance and a loose file; two plans, the older asked last."""
    plan = make_plan(write_protocol, tmp_path, {"srcnn": {}, "bicubic": {}}, ["loose"], seeds=[0, 1])
    fill_plan(plan)
    remember(plan, ["srcnn", "bicubic", str(tmp_path / "loose.py")])
    remember(plan, ["srcnn"])
    remember(plan, ["srcnn", "bicubic", str(tmp_path / "loose.py")])
    synchronise(tmp_path / "results", None, None, pytest.fail)
    return tmp_path / "results"


def table(results: Path) -> str:
    done = CliRunner().invoke(main, ["table", "--results", str(results)])
    assert done.exit_code == 0, done.output
    return done.output


def pulled(mirrored: Path, folder: Path, *words: str) -> Any:
    return CliRunner().invoke(main, ["mlflow", "pull", "--tracking-uri", default_uri(mirrored), *words, str(folder)])


@long
def test_the_table_of_what_was_pulled_is_the_same_and_so_is_every_file(mirrored: Path, tmp_path: Path) -> None:
    done = pulled(mirrored, tmp_path / "copy")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'copy'}: cells: 5 taken, 0 already there, 0 refused, 0 damaged; plans: 1 new\n"
    assert table(tmp_path / "copy") == table(mirrored)
    names = ("record.json", "scores.csv", "radial.csv", "train.csv", "*.zip")
    files = [path for name in names for path in (mirrored / "runs").rglob(name)]
    assert len(files) >= 15
    for path in files:
        assert (tmp_path / "copy" / path.relative_to(mirrored)).read_bytes() == path.read_bytes()
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["runs"]


@long
def test_a_plan_asked_again_is_the_last_one_after_the_next_sync(mirrored: Path, tmp_path: Path) -> None:
    plans = sorted((mirrored / "runs" / "small" / "plans").iterdir(), key=lambda path: read_plan(path)[0])
    assert len(plans) == 2
    number = client_of(mirrored).get_experiment_by_name("small").experiment_id
    tag = f"mrsr.plan.{plans[1].stem}"
    client_of(mirrored).set_experiment_tag(number, tag, "2999-01-01T00:00:00.000000Z")
    assert pulled(mirrored, tmp_path / "copy").exit_code == 0
    assert read_plan(tmp_path / "copy" / plans[1].relative_to(mirrored))[0] == "2999-01-01T00:00:00.000000Z"


@long
def test_a_folder_that_has_records_gets_what_it_lacks_and_refuses_others(
    mirrored: Path, tmp_path: Path, write_protocol: Callable[..., Path]
) -> None:
    shutil.copytree(mirrored / "runs", tmp_path / "copy" / "runs")
    [bicubic] = (tmp_path / "copy").rglob("bicubic/seed0")
    shutil.rmtree(bicubic)
    assert "1 taken, 4 already there" in pulled(mirrored, tmp_path / "copy").stdout
    [scores] = mirrored.rglob("bicubic/seed0/scores.csv")
    plan: Plan = make_plan(write_protocol, tmp_path, {"srcnn": {}, "bicubic": {}}, ["loose"], seeds=[0, 1])
    fill(plan, "bicubic", "x2", 12.5, 0.5, fit=None)
    assert scores.is_file()
    synchronise(mirrored, None, None, pytest.fail)
    done = pulled(mirrored, tmp_path / "copy")
    assert done.exit_code == 3
    assert "0 taken, 4 already there, 1 refused" in done.stdout
    assert "other figures under the same keys" in done.stderr


def artifact(mirrored: Path, label: str, name: str) -> Path:
    """A file of a run of seed 0 in the artifacts of a local tracker."""
    [run] = [r for r in runs_of(mirrored) if (r.data.tags["label"], r.data.tags["seed"]) == (label, "0")]
    return Path(run.info.artifact_uri.removeprefix("file://")) / name


@long
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("scores.csv", b"subject,metric,value\none,psnr,99\n", "scores.csv is damaged"),
        ("record.json", b"{}", "it has no checksum"),
        ("record.json", None, "record.json cannot be had"),
    ],
)
def test_what_was_changed_there_is_not_taken_and_the_rest_is(
    mirrored: Path, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = artifact(mirrored, "bicubic", name)
    path.write_bytes(content) if content is not None else path.unlink()
    done = pulled(mirrored, tmp_path / "copy")
    assert done.exit_code == 3
    assert words in done.stderr
    assert "cells: 4 taken" in done.stdout
    assert not list((tmp_path / "copy").rglob("bicubic/seed0/record.json"))


@long
@pytest.mark.parametrize("cell", ["../../../../outside/T1-x2/a/seed0", "/etc/T1-x2/a/seed0", "a", "plans/a/b/seed0"])
def test_a_cell_with_a_name_that_leads_elsewhere_is_not_taken(mirrored: Path, tmp_path: Path, cell: str) -> None:
    [run] = [run for run in runs_of(mirrored) if run.data.tags["label"] == "bicubic"]
    client_of(mirrored).set_tag(run.info.run_id, "mrsr.cell", cell)
    outside = sorted(tmp_path.rglob("*"))
    done = pulled(mirrored, tmp_path / "copy")
    assert f"{cell} cannot be the folder of a cell" in done.stderr
    assert done.exit_code == 3
    assert "cells: 4 taken" in done.stdout
    new = [path for path in sorted(tmp_path.rglob("*")) if path not in outside]
    assert {path.relative_to(tmp_path).parts[0] for path in new} == {"copy"}


@long
def test_a_plan_with_a_name_that_leads_elsewhere_is_not_asked_for(mirrored: Path, tmp_path: Path) -> None:
    for run in runs_of(mirrored):
        client_of(mirrored).set_tag(run.info.run_id, "mrsr.plan", "../../../../secret")
    done = pulled(mirrored, tmp_path / "copy")
    assert "5 taken" in done.stdout
    assert "plans: 0 new" in done.stdout


@long
@pytest.mark.parametrize("lies", ["", "a little", "much"])
def test_a_file_that_is_too_large_is_not_taken_whatever_size_is_stated(
    mirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lies: str
) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo

    artifact(mirrored, "bicubic", "scores.csv").write_bytes(bytes(100_000))
    monkeypatch.setattr(pulling, "max_bytes", lambda name: 90_000)
    monkeypatch.setattr(pulling, "_MOST", 95_000 if lies == "much" else 2**30)
    if lies:
        monkeypatch.setattr(MlflowClient, "list_artifacts", lambda *_: [FileInfo("scores.csv", False, 9)])
    said = list[str]()
    merged = pull(default_uri(mirrored), tmp_path / "copy", None, said.append)
    assert (len(merged.taken), merged.damaged) == (4, ["small/bicubic/T1-x2/bicubic/seed0"])
    [line] = said
    assert ("scores.csv cannot be had" if lies == "much" else "scores.csv has 100000 bytes, more than 90000") in line


@long
def test_an_experiment_that_is_not_there_is_said(mirrored: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no experiment 'nonesuch'"):
        pull(default_uri(mirrored), tmp_path / "copy", "nonesuch", pytest.fail)
    client = client_of(mirrored)
    client.create_experiment("somebody else's")
    assert pull(default_uri(mirrored), tmp_path / "copy", None, pytest.fail).plans == 1
    client.delete_experiment(client.get_experiment_by_name("small").experiment_id)
    with pytest.raises(UsageError, match="no experiment of this suite"):
        pull(default_uri(mirrored), tmp_path / "copy", None, pytest.fail)
    with pytest.raises(BenchError, match="restore --experiment-id"):
        pull(default_uri(mirrored), tmp_path / "copy", "small", pytest.fail)
