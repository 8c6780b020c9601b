"""The benchmarks' own logic, on a CPU and tiny: what they time, count, publish and refuse."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bench_gpu
import bench_precision
import bench_training
import benching
import gpu_train
import loops
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from agreement import Texture, network_errors, relative, trained, upscaled
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import Case, Held, Slices, timed
from recorded import FIT, write_done

from mrsr_bench.planning import cells as cell
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.protocol import loading as protocol
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.store.cell_files import Standing
from mrsr_bench.training import loop as training
from mrsr_bench.training.complexity import count_macs

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = Case("srcnn", "tiny", batch=2, lr_patch=8)
seconds = st.floats(0.01, 100)
decibels = st.integers(20_000, 40_000).map(lambda number: number / 1000)
"""PSNRs to 0.001 dB: of figures that differ in their last bit alone, no two formulas give the same deviation."""


@dataclass
class Script:
    """A line whose other end asks what the script says."""

    asks: list[str | None]
    sent: list[float] = field(default_factory=list)

    def recv(self) -> str | None:
        return self.asks.pop(0)

    def send(self, answer: float) -> None:
        self.sent.append(answer)


# --- the two loops -------------------------------------------------------------------------------------------------


def test_an_item_of_the_plain_loop_is_a_patch_and_its_own_bicubic_reduction(tmp_path: Path) -> None:
    """Of a plane, bicubic reduction is the mean of 2×2 pixels away from the edges, however it is turned."""
    rows, columns = np.mgrid[:24, :36]
    plane = np.stack([2 * rows + 3 * columns, 200 - 3 * rows - 2 * columns], axis=-1)
    nib.save(nib.Nifti1Image(plane.astype(np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    data = Slices([tmp_path / "a.nii.gz"], 2, TINY)
    assert len(data) == 2
    seen = set()
    for number in range(40):
        lr, hr = data[number % 2]
        assert (lr.shape, hr.shape, lr.dtype) == ((1, 8, 8), (1, 16, 16), torch.float32)
        means = torch.nn.functional.avg_pool2d(hr, 2)
        torch.testing.assert_close(lr[:, 2:-2, 2:-2], means[:, 2:-2, 2:-2], rtol=0, atol=1e-5)
        seen.add(round(float(lr[0, 3, 4] - lr[0, 3, 3]), 3))
    assert len(seen) >= 4, "they are turned, too"


def test_the_plain_loop_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, _, slices = bench_training.scans(tmp_path / "scans", 4, (24, 36, 1), np.uint8)
    monkeypatch.setattr(os, "cpu_count", lambda: 0)  # no workers: the very items, in this process
    torch.manual_seed(0)
    losses = list(itertools.islice(loops.plain_steps(TINY, Slices(paths, slices, TINY)), 40))
    assert np.mean(losses[-10:]) < 0.5 * losses[0]


@pytest.mark.parametrize("lead", [0, 1, 4])
def test_a_block_counts_the_steps_after_its_lead_and_takes_a_least_number(lead: int) -> None:
    taken = []
    assert timed(lambda: taken.append(0) or 1, seconds=0.0, lead=lead) > 0
    assert len(taken) == lead + loops.LEAST


def test_the_suites_loop_goes_on_only_when_asked_and_its_waiting_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock of half a second a step, reports every 3 steps; before each block, and in its first interval, a pause."""
    now = [0.0]
    monkeypatch.setattr(loops.time, "perf_counter", lambda: now[0])
    line = Script(["loop", "loop", None])
    held = Held(line, TINY, 4.0, tmp_path)
    for step in itertools.count(3, 3):
        asks = len(line.asks)
        held.report(step)
        now[0] += 1.5 if len(line.asks) == asks else 1000.0
        if held.should_stop:
            break
    assert line.sent == pytest.approx([0.5, 0.5])
    assert step == 3 + 2 * (3 + 9), "each block: an interval to begin with, then three of 1.5 s for 4 s"


def test_the_suites_loop_is_the_one_of_every_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    advance = training._Loop.advance

    def counted(loop: Any, *batch: torch.Tensor) -> None:
        steps.append(loop.step)
        advance(loop, *batch)

    monkeypatch.setattr(training._Loop, "advance", counted)
    monkeypatch.setattr(loops, "keep_freed_memory", lambda: None)
    _, pairs, _ = bench_training.scans(tmp_path / "scans", 3, (24, 36, 2), np.int16)
    line = Script(["loop", "bare", "loop", None])
    loops.serve_suite(line, TINY, pairs, 0.01, 2)
    assert len(line.sent) == 3
    assert all(answer > 0 for answer in line.sent)
    assert steps == list(range(len(steps)))
    assert len(steps) >= 2 + 2 * (2 + 2)


@pytest.mark.slow
def test_both_loops_answer_from_processes_of_their_own(tmp_path: Path) -> None:
    kinds = {"slices": (4, (24, 36, 1), np.uint8)}
    [row] = bench_training.measure(tmp_path, [TINY], kinds, number=2, seconds=0.1)
    assert row["textbook_steps_per_s"] > 0
    assert row["suite_steps_per_s"] > 0
    assert bench_training.LINE.format_map(row)


# --- what rows say -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(seconds, seconds, seconds, seconds), min_size=1, max_size=5))
def test_the_ratio_is_the_steps_part_times_the_datas_part(times: list[tuple[float, ...]]) -> None:
    names = ("plain", "suite", "plain bare", "suite bare")
    row = bench_training.row(TINY, "slices", [dict(zip(names, one, strict=True)) for one in times])
    ratios = sorted(plain / suite for plain, suite, _, _ in times)
    assert ratios[0] - 0.01 <= row["ratio"] <= ratios[-1] + 0.01
    if min(row["ratio"], row["ratio_from_step"], row["ratio_from_data"]) > 0.5:
        assert row["ratio_from_step"] * row["ratio_from_data"] == pytest.approx(row["ratio"], rel=0.03)


def test_a_rows_figures_by_hand() -> None:
    row = bench_training.row(TINY, "slices", [{"plain": 2.0, "suite": 1.0, "plain bare": 1.5, "suite bare": 0.96}])
    assert (row["textbook_steps_per_s"], row["suite_steps_per_s"], row["ratio"]) == (0.5, 1.0, 2.0)
    assert (row["ratio_from_step"], row["ratio_from_data"]) == (1.56, 1.28)


def test_achieved_operations_are_three_forward_passes_of_two_a_multiply_accumulate() -> None:
    found = {"plain": 1.0, "suite": 0.25, "plain bare": 0.5, "suite bare": 0.2, "bare bf16": 0.5}
    flops = 6 * count_macs(TINY.make(), TINY.task, (8, 8)) * 2 * 4
    row = bench_gpu.training_row(TINY, [found], peak=2 * flops)
    assert (row["ratio_to_textbook"], row["ratio_to_eager_bf16"], row["share_of_peak"]) == (4.0, 2.0, 0.5)


@settings(deadline=None)
@given(st.lists(st.tuples(decibels, decibels), min_size=2, max_size=4, unique_by=lambda x: x[0]))
def test_the_precisions_differ_by_so_many_standard_deviations(pairs: list[tuple[float, float]]) -> None:
    whole, half = zip(*pairs, strict=True)
    row = bench_precision.row(TINY, 10, whole, half)
    deviation = float(np.std(whole, ddof=1))
    assert row["difference_over_sd"] == pytest.approx(abs(np.mean(half) - np.mean(whole)) / deviation, abs=6e-4)


def test_the_precisions_share_seeds_and_data_and_nothing_else_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(bench_precision, "row", lambda *arguments: found.extend(arguments) or {})
    assert list(bench_precision.measure([TINY], steps=3, seeds=(0, 1))) == [{}]
    case, steps, whole, half = found
    assert (case, steps) == (TINY, 3)
    assert abs(whole[0] - whole[1]) > 1e-3, "seeds differ"
    for one, other in zip(whole, half, strict=True):
        assert 0 < abs(one - other) < 0.1 * abs(whole[0] - whole[1]), "the same seed under another precision"


def test_attention_is_timed_in_both_forms() -> None:
    rows = list(bench_gpu.attention("cpu", sides=(6,), seconds=0.0))
    assert [(row["LR"], row["gradient"]) for row in rows] == [(6, "without"), (6, "with")]
    assert all(row["plain ms"] > 0 and row["suite ms"] > 0 and math.isnan(row["suite MB"]) for row in rows)


def test_the_peak_is_that_of_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on a second at each look: two products in three looks after the first."""
    looks = itertools.count()
    monkeypatch.setattr(loops.time, "perf_counter", lambda: float(next(looks)))
    assert bench_gpu.peak_flops("cpu", side=64, seconds=0.01) == 2 * 64**3 / (3 / 2)


def test_tables_are_published_row_by_row_with_their_environment(tmp_path: Path) -> None:
    def rows() -> Iterator[benching.Row]:
        yield {"network": "a", "ratio": 3.5}
        assert len(json.loads((tmp_path / "speed.json").read_text())["rows"]) == 1
        yield {"network": "b", "error": "took over 9 s"}

    bench_gpu.told(tmp_path, "speed", "Speed", rows(), "cpu")
    content = json.loads((tmp_path / "speed.json").read_text())
    assert [row["network"] for row in content["rows"]] == ["a", "b"]
    assert content["environment"]["versions"]["torch"]
    page = (tmp_path / "speed.md").read_text()
    assert page.startswith("# Speed\n")
    assert "took over 9 s" in page
    assert f"torch {version('torch')}" in page


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_generated_scans_are_textured_and_fit_their_type(tmp_path: Path, dtype: type[np.generic]) -> None:
    names = benching.write_scans(tmp_path, 2, (24, 36, 3), dtype)
    images = [np.asanyarray(nib.load(tmp_path / f"{name}-T1.nii.gz").dataobj) for name in names]
    assert images[0].dtype == dtype
    assert not np.array_equal(*images)
    assert 0.6 * 190 < images[0].max() < np.iinfo(dtype).max, "no clipped tissue"


# --- agreement of devices ------------------------------------------------------------------------------------------


@given(st.floats(1e-6, 1.0))
def test_a_relative_error_is_that_of_norms(error: float) -> None:
    x = torch.linspace(-1, 2, 50, dtype=torch.float64)
    assert relative(x * (1 + error), x) == pytest.approx(error, rel=1e-6)


def test_float32_is_near_float64_and_bf16_is_farther() -> None:
    whole, half = network_errors(TINY, "cpu"), network_errors(TINY, "cpu", half=True)
    assert 0 < max(whole) < 1e-5 < 1e-4 < min(half) < 0.05
    assert torch.equal(upscaled(TINY, "cpu"), upscaled(TINY, "cpu"))


def test_the_texture_is_a_training_set() -> None:
    data = Texture(TINY)
    (lr, hr), other = data.crops(3), data.crops(4)
    assert (lr.shape, hr.shape, data.turns(3).shape) == ((2, 1, 8, 8), (2, 1, 16, 16), (2,))
    assert np.array_equal(lr, data.crops(3)[0])
    assert not np.array_equal(lr, other[0])
    assert 0 <= hr.min() < hr.max() <= 1


def test_a_training_in_three_parts_is_the_training_in_one() -> None:
    whole, parts = trained(TINY, 12), trained(TINY, 12, stops=(2, 7))
    assert whole[0] == parts[0]
    assert torch.equal(whole[1], parts[1])
    assert not torch.equal(trained(replace(TINY, batch=3), 12)[1], whole[1])


# --- a machine without a GPU, and the training on one --------------------------------------------------------------


@pytest.mark.parametrize("main", [bench_gpu.main, gpu_train.main], ids=["bench", "train"])
def test_without_a_gpu_nothing_is_measured_and_that_is_said(
    main: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["it", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"no GPU: torch .* nothing is measured"):
        main()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_gpu_tests_are_skipped_with_their_reason_where_there_is_none() -> None:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "-p", "no:cacheprovider", "test_gpu.py"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "no GPU: torch" in done.stdout
    assert " passed" not in done.stdout
    assert " skipped" in done.stdout


def test_the_protocol_of_the_gpu_training_holds_together() -> None:
    loaded = protocol.load(str(gpu_train.PROTOCOL))
    labels = [one.label for planned in cell.plan_trainings(loaded) for one in planned.cells]
    assert labels == ["bicubic", "linear", "srcnn", "edsr", "poan"]
    assert loaded.protocol.training.precision == "bf16-mixed"
    assert 3 * gpu_train.SECONDS < 480


@pytest.mark.slow
def test_a_run_becomes_rows_in_the_order_of_the_protocol(write_protocol: Any, images: Path, tmp_path: Path) -> None:
    path = write_protocol(methods={"bicubic": {}, "edsr": {"preset": "c96"}})
    rows = gpu_train.train(
        Request(str(path)), RunSettings(data=images, results=tmp_path / "results", tracking_uri="none")
    )
    assert [row["label"] for row in rows] == ["bicubic", "edsr"]
    assert rows[0]["state"] == "done"
    assert rows[0]["subjects"] == 2
    assert 10 < rows[0]["psnr"] < 60
    assert rows[1]["state"] == "failed"
    assert "96" in rows[1]["error"]
    assert pd.DataFrame(rows).to_markdown()


def test_a_trained_row_says_how_fast_it_trained(write_protocol: Callable[..., Path], tmp_path: Path) -> None:
    _, [training] = plan_request(Request(str(write_protocol(methods={"edsr": {"preset": "tiny"}}))))
    fit = {**FIT, "best_val_psnr": 31.23456, "steps": 400, "seconds": 8.0, "skipped_steps": 1}
    scores = {name: {"psnr": 30.0} for name in ("one", "two", "three")}
    record = write_done(tmp_path / "cell", training, training.base, scores, fit=fit, peak_memory_bytes=2**21)
    row = gpu_train.row("edsr", Standing("done", record))
    assert (row["steps_per_s"], row["val_psnr"], row["peak_memory_MB"]) == (50.0, 31.2346, 2)
    assert (row["subjects"], row["skipped_steps"]) == (3, 1)
    assert gpu_train.row("edsr", Standing("failed", why="no luck")) == {
        "label": "edsr", "state": "failed", "error": "no luck"
    }  # fmt: skip
