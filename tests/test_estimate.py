"""What a dry run tells: the work by lines, data and cache, GPU hours and memory, without leaving a trace."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from plugins import NETWORK, write
from recorded import FIT, MACHINE, write_done
from timm.optim import create_optimizer_v2
from torch import nn

from mrsr_bench import registry
from mrsr_bench.cli import main
from mrsr_bench.data.preparation import prepare_protocol
from mrsr_bench.estimating.costs import PROCESS_BYTES, RATE, VOXEL_BYTES, Costs
from mrsr_bench.estimating.needs import DataNeeds
from mrsr_bench.method import Recipe, Task, TorchMethod
from mrsr_bench.planning.cells import Training
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.running.decisions import Decision, decide
from mrsr_bench.running.dry_run import report
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.store.results import Store
from mrsr_bench.system.environment import environment
from mrsr_bench.system.units import size_text
from mrsr_bench.training.complexity import count_macs, count_training

Write = Callable[..., Path]
CROPPED = {
    "dataset": "folder", "contrasts": ["T1", "T2"], "split": "split.csv", "plane": "axial", "crop": [4, 36, 48],
}  # fmt: skip


class Two(TorchMethod):
    """Two layers, whose memory can be counted by hand."""

    def build(self, task: Task) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))


# --- Counting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "micro_batch", "part"), [(6, None, 6), (6, 6, 6), (7, 3, 3), (8, 5, 4), (2, 16, 2)])
def test_memory_is_weights_with_their_copies_and_what_the_largest_part_saves(
    batch: int, micro_batch: int | None, part: int
) -> None:
    macs, memory = count_training(Two(), Task((1, 2, 2)), Recipe(batch=batch, micro_batch=micro_batch), (10, 12))
    weights = 4 * (4 * 9 + 4 + 4 * 9 + 1)
    counters = 4 * 4  # Adam's step number of each tensor
    saved = 4 * part * 10 * 12 * (1 + 4 + 1)  # the input, the ReLU's output, and the output, for the loss
    assert memory == 3 * weights + weights + 2 * (2 * weights + counters) + saved
    assert macs == 10 * 12 * (4 * 9 + 4 * 9)


def test_the_optimiser_counts_as_if_it_had_taken_a_step_on_every_parameter() -> None:
    task, recipe = Task((1, 2, 2)), Recipe(batch=1, optimizer="adafactor", optimizer_args={"scale_parameter": False})
    with_state = count_training(Two(), task, recipe, (6, 6))[1]
    network = Two().build(task)
    optimizer = create_optimizer_v2(network, opt=recipe.optimizer, lr=1e-3, **recipe.optimizer_args)
    network(torch.rand(1, 1, 6, 6)).mean().backward()
    optimizer.step()
    tensors = [t for of in optimizer.state.values() for t in of.values() if torch.is_tensor(t)]
    weights = sum(p.nbytes for p in network.parameters())
    saved = 4 * 6 * 6 * (1 + 4 + 1)
    assert with_state == 4 * weights + 2 * sum(t.nbytes for t in tensors) + saved


@pytest.mark.parametrize("name", ["edsr", "poan", "vdsr"])
def test_multiply_accumulates_of_training_are_those_of_one_sample_whatever_the_batch(name: str) -> None:
    method = registry.load_method(registry.methods()[name])("tiny")
    assert isinstance(method, TorchMethod)
    task = Task((1, 3, 3))
    macs = [count_training(method, task, Recipe(batch=batch), (12, 12))[0] for batch in (1, 5)]
    assert macs == [count_macs(method, task, (12, 12))] * 2


# --- Lines -----------------------------------------------------------------------------------------------------------


def planned(protocol: Path, store: Store, **options: Any) -> tuple[Any, list[Training], list[list[Decision]]]:
    loaded, trainings = plan_request(Request(str(protocol), **options))
    return loaded, trainings, [decide(store, training, RunSettings()) for training in trainings]


def said(protocol: Path, store: Store, data: Path | None = None, **options: Any) -> str:
    loaded, _, steps = planned(protocol, store, **options)
    return report(loaded, steps, data, Costs(store))


def rows(text: str) -> dict[tuple[str, str, str], list[str]]:
    """(action, method, scale) → the other fields of a line of the table, which two spaces or more set apart.

    These are: contrasts, cells, training, what the hours are from, hours each, hours, memory.
    """
    [table] = [block for block in text.split("\n\n") if "hours from" in block]
    lines = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()[1:] if not line.startswith("total")]
    return {(action, method, scale): rest for action, method, scale, *rest in lines}


def record(store: Store, training: Training, **changes: Any) -> None:
    for cell in training.cells:
        scores = {name: {"psnr": 30.0, "ssim": 0.9} for name in ("emil", "fine")}
        write_done(training.folder(store, cell), training, cell, scores, **changes)


@pytest.fixture
def protocol(write_protocol: Write) -> Path:
    """Three methods and an ensemble, two contrasts, two scales, and a budget of many hours."""
    methods = {"bicubic": {}, "linear": {}, "edsr": {"preset": "tiny"}, "edsr+": {}}
    training = {"track": "equal", "steps": 10**9, "batch": 2, "lr_patch": 20, "augment": "none", "lr": 1e-3}
    return write_protocol(data=CROPPED, methods=methods, scales=[2, 3], training=training)


def test_a_line_stands_for_all_contrasts_of_a_method_and_a_scale(protocol: Path, tmp_path: Path) -> None:
    lines = rows(said(protocol, Store(tmp_path / "results")))
    assert list(lines) == [("run", name, x) for x in ("x2", "x3") for name in ("bicubic", "linear", "edsr, edsr+")]
    assert lines["run", "bicubic", "x2"] == ["T1 T2", "2", "–", "–", "–", "–", "–"]
    assert lines["run", "edsr, edsr+", "x2"][:3] == ["T1 T2", "4", "1,000,000,000 × 2 patches 20×20"]


def test_hours_are_those_of_the_multiply_accumulates_at_the_stated_rate(protocol: Path, tmp_path: Path) -> None:
    text = said(protocol, Store(tmp_path / "results"))
    total = 0.0
    for scale in (2, 3):
        method, task = registry.load_method(registry.methods()["edsr"])("tiny"), Task((1, scale, scale))
        assert isinstance(method, TorchMethod)
        rows_, columns = 36 // scale, 48 // scale
        train = 10**9 * 2 * 3 * 2 * count_macs(method, task, (rows_, rows_))  # a patch is at most the slice
        test = (1 + 8) * 2 * 4 * 2 * count_macs(method, task, (rows_, columns))
        hours = (train + test) / RATE / 3600
        assert rows(text)["run", "edsr, edsr+", f"x{scale}"][3:6] == ["count", f"{hours:,.0f}", f"{2 * hours:,.0f}"]
        total += 2 * hours
    assert re.search(rf"\ntotal +16 +assumed GPU +{total:,.0f}\n", text)
    assert f"estimate, not a measurement: {total:,.0f} h" in text
    assert f"sustains {RATE / 1e12:g} TFLOP/s" in text


def test_the_machines_memory_for_a_training_is_a_records_peak_or_else_counted_with_an_allowance(
    protocol: Path, tmp_path: Path
) -> None:
    store, volume = Store(tmp_path / "results"), (4, 36, 48)
    _, trainings, _ = planned(protocol, store)
    bicubic, edsr = (next(t for t in trainings if t.base.label == label) for label in ("bicubic", "edsr"))
    costs = Costs(store, threads=2)
    allowance = PROCESS_BYTES + VOXEL_BYTES * 4 * 36 * 48
    counted = costs.of(edsr, volume)
    assert counted is not None
    assert costs.host_memory(bicubic, volume) == allowance
    assert costs.host_memory(bicubic, None) == PROCESS_BYTES
    assert costs.host_memory(edsr, volume) == allowance + counted.memory
    here = MACHINE.model_copy(update={"device": environment("cpu").device})
    fit = {**FIT, "threads": 2, "steps": 10}
    record(store, edsr, environment=here, fit=fit, peak_memory_bytes=3_210_000_000)
    assert Costs(store, threads=2).host_memory(edsr, volume) == 3_210_000_000


def test_memory_is_said_for_what_trains(protocol: Path, tmp_path: Path) -> None:
    _, trainings, _ = planned(protocol, Store(tmp_path / "results"))
    [training] = [t for t in trainings if (t.base.label, t.base.contrast, t.base.scale) == ("edsr", "T1", "x2")]
    method = training.make_method()
    assert isinstance(method, TorchMethod)
    assert training.recipe is not None
    memory = size_text(count_training(method, training.task, training.recipe, (18, 18))[1])
    assert rows(said(protocol, Store(tmp_path / "results")))["run", "edsr, edsr+", "x2"][6] == memory


def test_what_is_done_costs_nothing_and_what_is_scored_again_costs_its_test(protocol: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    _, trainings, _ = planned(protocol, store, scales=["2"])
    by_contrast = {t.base.contrast: t for t in trainings if t.base.label == "edsr"}
    record(store, by_contrast["T1"])
    record(store, by_contrast["T2"], score_key="another test set")
    lines = rows(said(protocol, store, scales=["2"]))
    assert lines["keep", "edsr, edsr+", "x2"] == ["T1", "2", "–", "–", "–", "–", "–"]
    assert lines["score", "edsr, edsr+", "x2"] == ["T2", "2", "–", "count", "<0.01", "<0.01", "–"]


def test_an_ensemble_of_a_done_training_costs_its_test_only(protocol: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    _, trainings, _ = planned(protocol, store, scales=["2"])
    for training in trainings:
        record(store, training)
        if training.plus:
            (training.folder(store, training.plus) / "record.json").unlink()
    text = said(protocol, store, scales=["2"])
    assert rows(text)["run", "edsr+", "x2"] == ["T1 T2", "2", "–", "count", "<0.01", "<0.01", "–"]
    assert "needed: 2 test subjects × T1, T2 = 4 volumes" in text


def test_where_all_is_done_no_data_are_needed(protocol: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for training in planned(protocol, store)[1]:
        record(store, training)
    text = said(protocol, store)
    assert "Nothing is left to do, so no data are needed." in text
    assert "Hours" not in text


def test_why_a_cell_is_skipped_or_stale_is_said_once(write_protocol: Write, tmp_path: Path) -> None:
    path = write_protocol(data=CROPPED, methods={"edsr": {"preset": "tiny"}, "bicubic": {}}, scales=[[4, 1, 1]])
    text = said(path, Store(tmp_path / "results"))
    assert rows(text)["skip", "edsr", "x4x1x1"] == ["T1 T2", "2", "–", "–", "–", "–", "–"]
    assert text.count("skip edsr x4x1x1: upscales within slices") == 1


def test_seeds_and_degradations_have_a_column_where_there_are_several(write_protocol: Write, tmp_path: Path) -> None:
    degradation = [{"name": "bicubic", "round": "stored"}, {"name": "bicubic", "round": "stored", "noise": 0.1}]
    path = write_protocol(data=CROPPED, methods={"srcnn": {}}, degradation=degradation, seeds=[0, 7])
    text = said(path, Store(tmp_path / "results"))
    assert rows(text)["run", "srcnn", "x2"][:4] == ["T1 T2", "bicubic bicubic-noise0.1", "0 7", "8"]
    assert re.search(r"contrast +degradation +seed +cells", text)


def test_a_network_that_needs_values_is_unknown_and_hides_no_other(write_protocol: Write, tmp_path: Path) -> None:
    [plugin] = write(tmp_path, needs=NETWORK.replace("return self.body(x) +", "return self.body(x) * float(x.max()) +"))
    path = write_protocol(data=CROPPED, methods={"edsr": {"preset": "tiny"}})
    text = said(path, Store(tmp_path / "results"), methods=[plugin, "edsr"])
    assert rows(text)["run", "needs", "x2"][3:] == ["–", *["unknown"] * 3]
    assert rows(text)["run", "edsr", "x2"][3:5] == ["count", "<0.01"]
    assert "does not run on shapes alone (needs x2)" in text


# --- Data ------------------------------------------------------------------------------------------------------------


def test_a_dry_run_leaves_no_trace(
    protocol: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRSR_CACHE", str(tmp_path / "cache"))
    before = sorted(tmp_path.rglob("*"))
    asked = ["--protocol", str(protocol), "--data", str(images), "--results", str(tmp_path / "results"), "--dry-run"]
    done = CliRunner().invoke(main, ["run", *asked], catch_exceptions=False)
    assert done.exit_code == 0
    assert "16 cells of 12 trainings" in done.output
    assert "side by side" not in done.output
    pairs = CliRunner().invoke(main, ["run", *asked, "--parallel", "2"], catch_exceptions=False)
    assert pairs.output.endswith("2 trainings side by side take at best 1/2 of these hours.\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_volumes_are_counted_and_named(protocol: Path, images: Path, tmp_path: Path) -> None:
    text = said(protocol, Store(tmp_path / "results"), images)
    assert "needed: 3 train + 1 val + 2 test subjects × T1, T2 = 12 volumes" in text
    assert f"found: 6 of 12 volumes of 'folder' in {images}; missing: anna T2, bert T2, " in text
    assert "not found: " in said(protocol, Store(tmp_path / "results"), tmp_path / "nowhere")


def test_only_the_subjects_that_train_are_counted(write_protocol: Write, tmp_path: Path) -> None:
    path = write_protocol(data=CROPPED, methods={"few": {"method": "linear", "train_subjects": 1}})
    assert "needed: 1 train + 1 val + 2 test subjects" in said(path, Store(tmp_path / "results"))
    bicubic = write_protocol(data=CROPPED)
    assert "needed: 2 test subjects" in said(bicubic, Store(tmp_path / "results"))


@pytest.mark.parametrize("crop", [None, [4, 36, 36]])
def test_the_cache_takes_what_was_said(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crop: list[int] | None
) -> None:
    monkeypatch.setenv("MRSR_CACHE", str(tmp_path / "cache"))
    data = {"dataset": "folder", "contrasts": ["T1"], "split": "split.csv", "plane": "axial", "crop": crop}
    degradation = [{"name": "bicubic", "round": "stored"}, {"name": "kspace", "round": "none"}]
    path = write_protocol(data=data, methods={"linear": {}}, degradation=degradation, scales=[2, 3])
    text = said(path, Store(tmp_path / "results"), images)
    prepare_protocol(plan_request(Request(str(path)))[0], images, lambda line: None)
    header = 128
    size = sum(file.stat().st_size - header for file in (tmp_path / "cache").rglob("*.npy"))
    assert f"cache: {size_text(size)} below {tmp_path / 'cache'}" in text


def test_without_a_crop_and_without_data_the_cache_is_unknown(write_protocol: Write, tmp_path: Path) -> None:
    text = said(write_protocol(methods={"edsr": {"preset": "tiny"}}), Store(tmp_path / "results"))
    assert "its size is unknown" in text
    assert rows(text)["run", "edsr", "x2"][4] == "<0.01", "trained on patches, whose size is known"
    assert "Without the test, whose cost is not known: edsr x2." in text


def test_a_full_disk_is_foretold(protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert "1 kB free; too little)" in said(protocol, Store(tmp_path / "results"), images)


def test_the_shape_of_volumes_on_hand_stands_in_for_a_crop(write_protocol: Write, images: Path) -> None:
    loaded, _ = plan_request(Request(str(write_protocol())))
    assert DataNeeds(loaded, images).shape("T1") == (4, 36, 48)
    assert DataNeeds(loaded, None).shape("T1") is None
