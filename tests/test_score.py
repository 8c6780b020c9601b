"""`bench score`: figures of recorded cells made again from kept volumes or weights, with nothing trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import small_protocol, textured, write_image
from plugins import NETWORK, classical, write
from test_runs import Ear, bench, cell_folder, record

from mrsr_bench.running import runner
from mrsr_bench.running.outcomes import Outcome
from mrsr_bench.running.progress import Listener
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.system.files import CHECKSUM, write_sealed

Write = Callable[..., Path]
WRONG = {"psnr": 1.0, "ssim": 0.1}
MORE = {**small_protocol()["scoring"], "metrics": {**small_protocol()["scoring"]["metrics"], "nrmse": {}}}
BLIND = classical("if os.path.exists(__file__ + '.blind'): raise RuntimeError('upscaled again')")


def score(protocol: Path, data: Path, listener: Listener | None = None, **options: Any) -> dict[str, Outcome]:
    """Label → outcome of `bench score`."""
    options = {"results": protocol.parent / "results", "tracking_uri": "none", **options}
    outcomes = runner.score(str(protocol), RunSettings(data=data, **options), listener or Ear())
    return {outcome.cell.label: outcome for outcome in outcomes}


@pytest.fixture
def trained(write_protocol: Write, images: Path, tmp_path: Path) -> Path:
    """A protocol whose network, its ensemble and a classical method have records and kept volumes."""
    protocol = write_protocol()
    network, blind = write(tmp_path, network=NETWORK, blind=BLIND)
    bench(protocol, [network, f"{network}+", blind], images, keep_volumes=True)
    return protocol


def test_a_metric_is_added_from_weights_without_training(trained: Path, write_protocol: Write, images: Path) -> None:
    before = {label: record(trained, label) for label in ("network", "network+", "blind")}
    for label in before:
        for path in (cell_folder(trained, label) / "volumes").iterdir():
            path.unlink()
    weights = (cell_folder(trained, "network") / "weights.safetensors").stat().st_mtime_ns
    write_protocol(scoring=MORE)
    outcomes = score(trained, images)
    assert {label: outcome.state for label, outcome in outcomes.items()} == dict.fromkeys(before, "done")
    assert (cell_folder(trained, "network") / "weights.safetensors").stat().st_mtime_ns == weights
    for label, old in before.items():
        new = record(trained, label)
        assert set(new["metrics"]) == {"psnr", "ssim", "nrmse"}
        assert new["fit"] == old["fit"]
        assert {name: new["metrics"][name] for name in old["metrics"]} == old["metrics"]
        assert new["score_key"] != old["score_key"]
        [aside] = cell_folder(trained, label).glob("record.json~old-*")
        assert json.loads(aside.read_text(encoding="utf-8")) == old


def test_kept_volumes_are_scored_without_weights_and_without_the_method(
    trained: Path, write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    before = {label: record(trained, label) for label in ("network", "network+", "blind")}
    (cell_folder(trained, "network") / "weights.safetensors").unlink()
    (tmp_path / "blind.py.blind").touch()
    write_protocol(scoring=MORE)
    outcomes = score(trained, images)
    for label, old in before.items():
        assert outcomes[label].state == "done", outcomes[label].message
        new = record(trained, label)
        assert {name: new["metrics"][name] for name in old["metrics"]} == old["metrics"]
        assert (new["fit"], new["seconds_per_volume"]) == (old["fit"], old["seconds_per_volume"])


def test_every_cell_is_scored_though_no_key_changed(trained: Path, images: Path) -> None:
    """For a metric whose code was mended: here the recorded score is wrong, and comes out right again."""
    path = cell_folder(trained, "blind") / "record.json"
    right = record(trained, "blind")
    write_sealed(path, {name: value for name, value in right.items() if name != CHECKSUM} | {"metrics": WRONG})
    assert score(trained, images)["blind"].metrics == right["metrics"]
    assert record(trained, "blind")["metrics"] == right["metrics"]


def test_without_weights_or_volumes_a_cell_fails_and_keeps_its_record(trained: Path, images: Path) -> None:
    before = record(trained, "network")
    (cell_folder(trained, "network") / "weights.safetensors").unlink()
    for label in ("network", "network+"):
        (cell_folder(trained, label) / "volumes" / "volumes.json").unlink()
    outcomes = score(trained, images)
    assert outcomes["network"].state == "failed"
    assert "neither weights nor kept volumes" in outcomes["network"].message
    assert "its earlier record is kept" in outcomes["network"].message
    assert outcomes["blind"].state == "done"
    assert record(trained, "network") == before
    assert not list(cell_folder(trained, "network").glob("*~old-*"))


def test_a_damaged_volume_is_named_and_set_aside_and_its_cell_upscaled_again(trained: Path, images: Path) -> None:
    before, ear = record(trained, "blind"), Ear()
    path = cell_folder(trained, "blind") / "volumes" / "emil.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert score(trained, images, listener=ear)["blind"].state == "done"
    assert [line for line in ear.lines if f"{path} is damaged" in line]
    assert record(trained, "blind")["metrics"] == before["metrics"]
    assert not path.exists()
    again = bench(trained, [str(trained.parent / "blind.py")], images, keep_volumes=True)["blind"]
    assert (again.state, path.exists()) == ("done", True)


def test_volumes_kept_of_other_test_data_are_not_scored(trained: Path, images: Path, tmp_path: Path) -> None:
    data = tmp_path / "other"
    for number, path in enumerate(sorted(images.iterdir())):
        write_image(data / path.name, textured(100 + number))
    (tmp_path / "blind.py.blind").touch()
    outcome = score(trained, data)["blind"]
    assert (outcome.state, "upscaled again" in outcome.message) == ("failed", True)


def test_volumes_kept_by_another_file_of_the_method_are_not_scored(trained: Path, images: Path, tmp_path: Path) -> None:
    """They would be recorded as the new file's."""
    write(tmp_path, blind=BLIND + "# edited\n")
    (tmp_path / "blind.py.blind").touch()
    outcome = score(trained, images)["blind"]
    assert (outcome.state, "upscaled again" in outcome.message) == ("failed", True)


def test_weights_scored_again_keep_the_mark_of_the_file_that_trained_them(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    write(tmp_path, network=NETWORK + "# edited\n")
    assert score(trained, images)["network"].state == "changed"
    network = str(tmp_path / "network.py")
    assert bench(trained, [network], images)["network"].state == "changed"


def test_cells_that_have_no_figure_are_said_to_and_left_alone(trained: Path, images: Path) -> None:
    folder = cell_folder(trained, "blind")
    (folder / "record.json").unlink()
    outcome = score(trained, images)["blind"]
    assert outcome.state == "missing"
    assert "nothing to be scored" in outcome.message
    assert not (folder / "record.json").exists()


def test_radial_errors_lie_beside_the_scores_and_agree_with_them(trained: Path) -> None:
    """Over all frequencies they are the whole error: its share of the truth's energy is that of the voxels."""
    radial = pd.read_csv(cell_folder(trained, "blind") / "radial.csv")
    assert list(radial.columns) == ["frequency", "error", "truth"]
    assert (np.diff(radial["frequency"]) > 0).all()
    assert (radial[["error", "truth"]] >= 0).all().all()
    assert radial["error"].sum() > 0
