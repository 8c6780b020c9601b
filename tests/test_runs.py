"""Runs for real, and the ways in which they go wrong: each costs at most its own cell, and says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import SUBJECTS, small_protocol, textured, write_image
from plugins import HANG, NEAREST, NETWORK, NO_IMPORT, RAISES, SEGFAULT, classical, write

import mrsr_bench
from mrsr_bench.data.pairs import Pair
from mrsr_bench.degradation import degrade, resize_matrix
from mrsr_bench.errors import UsageError
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.running import runner
from mrsr_bench.running.executors import local
from mrsr_bench.running.job import Job
from mrsr_bench.running.outcomes import Outcome
from mrsr_bench.running.progress import Listener
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.running.worker import run_job
from mrsr_bench.store.locks import hold, holder_of
from mrsr_bench.system.files import atomic_file
from mrsr_bench.system.training_states import states_in

Write = Callable[..., Path]
CLOCK = ["seconds", "pixels_per_second", "memory_bytes"]
"""What two runs of one training do not share."""


class Ear(Listener):
    """Keeps what a run says."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def bench(protocol: Path, methods: list[str], data: Path, **options: Any) -> dict[str, Outcome]:
    """Label → outcome of a run without MLflow, its results beside the protocol."""
    listener = options.pop("listener", None) or Ear()
    subset = {name: options.pop(name) for name in ("seeds", "scales", "limit", "steps") if name in options}
    options = {"results": protocol.parent / "results", "tracking_uri": "none", "save_every": 0.0, **options}
    request, settings = Request(str(protocol), methods, **subset), RunSettings(data=data, **options)
    outcomes = runner.run(request, settings, listener)
    return {outcome.cell.label: outcome for outcome in outcomes}


def cell_folder(protocol: Path, label: str, folder: str = "small") -> Path:
    return protocol.parent / "results" / "runs" / folder / "bicubic" / "T1-x2" / label / "seed0"


def record(protocol: Path, label: str, folder: str = "small") -> dict[str, Any]:
    content = json.loads((cell_folder(protocol, label, folder) / "record.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.mark.long
@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
def test_a_training_killed_with_sigkill_resumes_to_bit_identical_weights(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    training = {**small_protocol()["training"], "precision": precision, "schedule": "cosine", "schedule_args": {}}
    protocol = write_protocol(training=training)
    methods = write(tmp_path, network=NETWORK)
    marker = tmp_path / "killed"
    monkeypatch.setenv("MRSR_TEST_KILL_ONCE", str(marker))
    _restart_forkserver()

    killed = bench(protocol, methods, images)["network"]
    assert (killed.state, marker.exists()) == ("failed", True)
    assert "SIGKILL" in killed.message
    assert states_in(cell_folder(protocol, "network"))

    resumed = bench(protocol, methods, images)["network"]
    whole = bench(protocol, methods, images, results=tmp_path / "uninterrupted")["network"]
    assert resumed.state == whole.state == "done"
    assert resumed.metrics == whole.metrics
    other = tmp_path / "uninterrupted" / cell_folder(protocol, "network").relative_to(protocol.parent / "results")
    weights, same = (folder / "weights.safetensors" for folder in (cell_folder(protocol, "network"), other))
    assert _tensors(weights) == _tensors(same)
    curve, again = (pd.read_csv(folder / "train.csv") for folder in (cell_folder(protocol, "network"), other))
    pd.testing.assert_frame_equal(curve.drop(columns=CLOCK), again.drop(columns=CLOCK))
    assert list(curve["step"]) == list(range(1, 31))


def _restart_forkserver() -> None:
    """Cells inherit the forkserver's environment: end it, so that the next one sees a changed variable."""
    from multiprocessing import forkserver

    forkserver._forkserver._stop()  # type: ignore[attr-defined]


def _tensors(path: Path) -> dict[str, bytes]:
    from safetensors.numpy import load_file

    return {name: array.tobytes() for name, array in load_file(path).items()}


def test_plugins_that_misbehave_cost_only_their_own_cells(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.5)  # what hangs does not listen either
    protocol = write_protocol()
    files = write(tmp_path, segfault=SEGFAULT, hang=HANG, raises=RAISES, no_import=NO_IMPORT, nearest=NEAREST)
    outcomes = bench(protocol, [*files, "bicubic"], images, timeout=6.0)

    states = {label: outcome.state for label, outcome in outcomes.items()}
    assert states == {
        "segfault": "failed",
        "hang": "timeout",
        "raises": "failed",
        "no_import": "failed",
        "nearest": "done",
        "bicubic": "done",
    }
    assert "SIGSEGV" in outcomes["segfault"].message
    assert "6 s" in outcomes["hang"].message
    assert "RuntimeError: no such luck" in outcomes["raises"].message
    assert "a_module_that_does_not_exist" in outcomes["no_import"].message
    for label, state in states.items():
        assert record(protocol, label)["state"] == state
    assert "no such luck" in (cell_folder(protocol, "raises") / "log.txt").read_text(encoding="utf-8")
    assert outcomes["bicubic"].metrics is not None
    assert outcomes["nearest"].metrics is not None
    assert outcomes["bicubic"].metrics["psnr"] > outcomes["nearest"].metrics["psnr"]


def test_a_failed_cell_is_tried_again_and_a_done_one_kept(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    protocol = write_protocol()
    files = write(tmp_path, late=RAISES)
    assert bench(protocol, [*files, "bicubic"], images)["late"].state == "failed"
    before = (cell_folder(protocol, "bicubic") / "record.json").stat().st_mtime_ns
    write(tmp_path, late=NEAREST)
    assert bench(protocol, [*files, "bicubic"], images)["late"].state == "done"
    assert (cell_folder(protocol, "bicubic") / "record.json").stat().st_mtime_ns == before


def test_a_plugin_that_breaks_later_does_not_cost_its_earlier_record(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    protocol = write_protocol()
    files = write(tmp_path, later=NEAREST)
    bench(protocol, files, images)
    before = record(protocol, "later")
    write(tmp_path, later=NO_IMPORT)
    outcome = bench(protocol, files, images)["later"]
    assert (outcome.state, outcome.good) == ("failed", False)
    assert "earlier record is kept" in outcome.message
    assert record(protocol, "later") == before


def test_a_corrupted_volume_is_named_and_costs_the_cells_that_need_it(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(images, tmp_path / "data"))
    broken = data / "anna-T1.nii.gz"  # a training subject: a method that does not learn is not touched
    broken.write_bytes(broken.read_bytes()[:400])
    (data / "bert-T1.nii.gz").unlink()
    protocol = write_protocol()
    outcomes = bench(protocol, [*write(tmp_path, network=NETWORK), "bicubic"], data)
    assert outcomes["bicubic"].state == "done"
    assert outcomes["network"].state == "failed"
    for text in ("anna-T1.nii.gz", "truncated", "bert-T1.nii.gz", "does not exist"):
        assert text in outcomes["network"].message


def test_a_file_write_that_dies_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("old", encoding="utf-8")
    pid = os.fork()
    if pid == 0:
        with atomic_file(path) as file:
            file.write(b"ne")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert path.read_text(encoding="utf-8") == "old"

    with (
        pytest.raises(OSError, match="No space"),
        atomic_file(path) as file,
        open("/dev/full", "wb", buffering=0) as full,
    ):
        file.write(b"ne" + bytes(full.write(b"w")))
    assert path.read_text(encoding="utf-8") == "old"


def test_a_folder_in_the_place_of_a_record_is_set_aside(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    protocol = write_protocol()
    folder = cell_folder(protocol, "bicubic")
    (folder / "record.json").mkdir(parents=True)  # a name that nothing can be renamed onto
    assert bench(protocol, ["bicubic"], images)["bicubic"].state == "done"
    assert len(list(folder.glob("record.json~damaged-*"))) == 1


@pytest.mark.usefixtures("_permissions_hold")
def test_a_results_folder_that_cannot_be_written_is_refused_before_any_work(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    protocol = write_protocol()
    results = tmp_path / "results"
    results.mkdir(mode=0o555)
    with pytest.raises(UsageError, match=r"cannot write results to .*results.*--results"):
        bench(protocol, ["bicubic"], images)


def test_a_changed_metric_scores_again_and_trains_nothing(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    methods = write(tmp_path, network=NETWORK)
    protocol = write_protocol()
    first = bench(protocol, methods, images)["network"]
    folder = cell_folder(protocol, "network")
    trained = {name: (folder / name).stat().st_mtime_ns for name in ("weights.safetensors", "train.csv")}

    scoring = small_protocol()["scoring"]
    scoring["metrics"]["ssim"]["map"] = "cropped"
    write_protocol(scoring=scoring)
    second = bench(protocol, methods, images)["network"]

    assert {name: (folder / name).stat().st_mtime_ns for name in trained} == trained
    assert first.metrics is not None
    assert second.metrics is not None
    assert first.metrics["psnr"] == second.metrics["psnr"]
    assert first.metrics["ssim"] != second.metrics["ssim"]
    assert len(list(folder.glob("record.json~old-*"))) == 1


def test_overridden_steps_never_touch_a_real_record(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    methods = write(tmp_path, network=NETWORK)
    protocol = write_protocol()
    bench(protocol, methods, images)
    before = {path: path.read_bytes() for path in cell_folder(protocol, "network").rglob("*") if path.is_file()}
    bench(protocol, methods, images, steps=5, limit=1)
    assert {path: path.read_bytes() for path in before} == before
    quick = record(protocol, "network", "small~limit=1,steps=5")
    assert quick["fit"]["steps"] == 5
    assert quick["n"] == 1


def test_a_stale_cell_is_kept_until_redo_which_renames_it(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    methods = write(tmp_path, network=NETWORK)
    protocol = write_protocol()
    bench(protocol, [*methods, f"{methods[0]}+"], images)
    old = record(protocol, "network")

    write_protocol(training={**small_protocol()["training"], "steps": 20})
    outcomes = bench(protocol, [*methods, f"{methods[0]}+"], images)
    assert {outcome.state for outcome in outcomes.values()} == {"stale"}
    assert "--redo" in outcomes["network"].message
    assert record(protocol, "network") == old

    outcomes = bench(protocol, [*methods, f"{methods[0]}+"], images, redo=True)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert record(protocol, "network")["fit"]["steps"] == 20
    [aside] = cell_folder(protocol, "network").parent.glob("seed0~stale-*")
    assert json.loads((aside / "record.json").read_text(encoding="utf-8")) == old


def test_the_ensemble_plans_its_base_and_reuses_its_weights(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    [network] = write(tmp_path, network=NETWORK)
    protocol = write_protocol()
    first = bench(protocol, [network], images)
    weights = cell_folder(protocol, "network") / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    both = bench(protocol, [f"{network}+"], images)
    assert list(both) == ["network", "network+"]
    assert weights.stat().st_mtime_ns == before
    assert both["network"].metrics == first["network"].metrics != both["network+"].metrics


def test_when_the_base_fails_its_ensemble_fails_for_that_reason(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    protocol = write_protocol()
    outcomes = bench(protocol, [f"{file}+" for file in write(tmp_path, raises=RAISES)], images)
    assert outcomes["raises+"].state == "failed"
    assert "raises failed" in outcomes["raises+"].message
    assert "no such luck" in outcomes["raises+"].message


def test_what_a_method_cannot_do_is_skipped_with_its_reason(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    picky = classical(
        more="    def unsupported(self, task):\n        return 'only by 3' if task.scale != 3 else None\n"
    )
    outcomes = bench(write_protocol(), write(tmp_path, picky=picky), images)
    assert (outcomes["picky"].state, outcomes["picky"].message) == ("skipped", "only by 3")
    assert outcomes["picky"].good


def test_a_prediction_that_is_not_finite_fails_and_names_the_subject(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    nan = classical("return np.full(task.hr_shape(scan.array.shape), np.nan, np.float32)")
    outcomes = bench(write_protocol(), write(tmp_path, nan=nan), images)
    assert outcomes["nan"].state == "failed"
    assert "emil" in outcomes["nan"].message
    assert "NaN" in outcomes["nan"].message


def test_a_training_that_diverges_for_good_fails_and_says_what_to_do(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    training = {**small_protocol()["training"], "lr": 1e38, "steps": 100}
    outcomes = bench(write_protocol(training=training), write(tmp_path, network=NETWORK), images)
    assert outcomes["network"].state == "failed"
    for text in ("diverged", "after 3 rollbacks to the state of step 0", "lower the learning rate"):
        assert text in outcomes["network"].message


def test_a_skipped_step_is_in_the_log_the_curve_the_record_and_the_caption(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    once = "            if self.calls == 5:\n                x = x * float('nan')\n"
    counted = "            self.calls += 1\n"
    protocol = write_protocol()
    methods = write(tmp_path, network=NETWORK.replace(counted, counted + once))
    outcomes = bench(protocol, [*methods, f"{methods[0]}+"], images)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    fit = record(protocol, "network")["fit"]
    assert (fit["skipped_steps"], fit["rollbacks"]) == (1, 0)
    log = (cell_folder(protocol, "network") / "log.txt").read_text(encoding="utf-8")
    assert "step 10: 1 of the last 10 steps skipped, the last for loss nan" in log
    curve = pd.read_csv(cell_folder(protocol, "network") / "train.csv").set_index("step")
    assert curve["skipped"].tolist() == [0] * 4 + [1] * 26
    assert curve.index[curve["loss"].isna()].tolist() == [5]
    table = mrsr_bench.table("small", results=protocol.parent / "results")
    assert "\nDivergence guard: network T1 x2 seed 0 skipped 1 step." in table.attrs["caption"]


def test_a_changed_method_file_without_a_new_version_is_warned_of(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    protocol = write_protocol()
    methods = write(tmp_path, nearest=NEAREST)
    bench(protocol, methods, images)
    write(tmp_path, nearest=NEAREST + "# edited\n")
    assert bench(protocol, methods, images)["nearest"].state == "changed"


def test_a_training_that_another_process_runs_is_left_to_it(write_protocol: Write, images: Path) -> None:
    protocol = write_protocol()
    with hold(cell_folder(protocol, "bicubic")):
        assert bench(protocol, ["bicubic"], images)["bicubic"].state == "running"
    assert bench(protocol, ["bicubic"], images)["bicubic"].state == "done"


def test_kept_volumes_are_the_predictions_before_they_are_rounded_in_their_place(
    write_protocol: Write, images: Path
) -> None:
    protocol = write_protocol()
    bench(protocol, ["bicubic"], images)
    bench(protocol, ["bicubic"], images, keep_volumes=True)
    image = nib.load(cell_folder(protocol, "bicubic") / "volumes" / "emil.nii.gz")
    truth = nib.load(images / "emil-T1.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("S", "R", "A")
    prediction = np.asarray(image.dataobj).transpose(1, 2, 0)
    assert not (prediction == np.round(prediction)).all()
    error = np.floor(prediction + 0.5).clip(0) - np.asarray(truth.dataobj, np.float64)
    psnr = 10 * np.log10(np.ptp(np.asarray(truth.dataobj, np.float64)) ** 2 / np.mean(error**2))
    scores = pd.read_csv(cell_folder(protocol, "bicubic") / "scores.csv").set_index(["subject", "metric"])["value"]
    assert psnr == pytest.approx(scores["emil", "psnr"], abs=1e-9)


def _invisible(rows: int, at: int) -> np.ndarray:
    """A whole-number column that ×2 degradation maps to exactly zero: the two phases of the kernel, swapped."""
    kernel = np.round(resize_matrix(24, 12)[5] * 256)
    taps = kernel[np.flatnonzero(kernel)[0] :][:8]
    column = np.zeros(rows)
    column[at : at + 8 : 2] = taps[0::2][::-1]
    column[at - 1 : at + 7 : 2] = -taps[1::2][::-1]
    return column


def test_no_method_sees_the_truth(write_protocol: Write, tmp_path: Path) -> None:
    """Changing a test volume by an image that the degradation maps to zero leaves the prediction bit-identical."""
    predictions = []
    for name in ("plain", "changed"):
        data = tmp_path / name
        for number, subject in enumerate(names for fold in SUBJECTS.values() for names in fold):
            image = textured(number).astype(np.int16) + np.int16(500)
            if subject == "emil" and name == "changed":
                hidden = _invisible(36, 12)[:, None, None] * np.ones((1, 48, 4))
                assert np.abs(hidden).max() > 50
                assert not degrade(hidden.transpose(2, 0, 1), "bicubic", (1, 2, 2)).any()
                image = (image + hidden).astype(np.int16)
            write_image(data / f"{subject}-T1.nii.gz", image)
        protocol = write_protocol()
        methods = [*write(tmp_path, network=NETWORK), "bicubic"]
        outcomes = bench(protocol, methods, data, results=tmp_path / f"results-{name}", keep_volumes=True)
        assert {outcome.state for outcome in outcomes.values()} == {"done"}
        folders = [
            tmp_path / f"results-{name}" / "runs/small/bicubic/T1-x2" / label for label in ("network", "bicubic")
        ]
        paths = [folder / "seed0" / "volumes" / "emil.nii.gz" for folder in folders]
        predictions.append([np.asarray(nib.load(path).dataobj).tobytes() for path in paths])
    assert predictions[0] == predictions[1]


NEVER_KILLS = (
    "from mrsr_bench.cli import main; from mrsr_bench.running.executors import local; "
    "assert local.GRACE_SECONDS < 60; local.GRACE_SECONDS = 3600; main()"
)
"""A driver that waits for a child as long as it takes: it ends only if the child that it asked to stop does."""


def _start(protocol: Path, method: str, data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", NEVER_KILLS, "run", "--protocol", str(protocol), "--methods", method]
    more = ["--data", str(data), "--results", str(protocol.parent / "results"), "--tracking-uri", "none"]
    more += ["--save-every", "0"]
    environment = {**os.environ, "MRSR_TEST_SLOW": "1"}
    environment.pop("MRSR_TEST_KILL_ONCE", None)
    return subprocess.Popen(
        [*command, *more],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Where these tests run as a shell's background job, SIGINT is ignored, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # type: ignore[func-returns-value]
    )


def _wait(condition: Callable[[], bool]) -> None:
    """However busy the machine: pytest's own timeout ends a test that waits in vain."""
    while not condition():
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.parametrize(
    "how",
    [
        signal.SIGINT,
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_driver_that_is_killed_or_interrupted_leaves_a_state_to_go_on_from(
    write_protocol: Write, images: Path, tmp_path: Path, how: signal.Signals
) -> None:
    protocol = write_protocol()
    [method] = write(tmp_path, network=NETWORK)
    driver = _start(protocol, method, images)
    folder = cell_folder(protocol, "network")
    _wait(lambda: bool(states_in(folder)) or driver.poll() is not None)
    assert holder_of(folder) is not None
    driver.send_signal(how)
    output, _ = driver.communicate()
    _wait(lambda: holder_of(folder) is None)
    if how != signal.SIGKILL:
        assert driver.returncode == 130, output
        assert "to continue" in output
    assert not (folder / "record.json").exists()
    resumed = bench(protocol, [method], images)["network"]
    whole = bench(protocol, [method], images, results=tmp_path / "uninterrupted")["network"]
    assert resumed.state == "done"
    assert resumed.metrics == whole.metrics


def test_another_way_of_inference_scores_again_from_the_weights_and_trains_nothing(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    [network] = write(tmp_path, network=NETWORK)
    whole = bench(write_protocol(), [network, "bicubic"], images)
    written = record(tmp_path / "small.yaml", "network")
    assert written["inference"] is None
    protocol = write_protocol(inference={"tile": 8, "overlap": 2})
    tiled = bench(protocol, [network, "bicubic"], images)
    again = record(protocol, "network")
    assert again["inference"] == {"tile": 8, "overlap": 2}
    assert again["fit"] == written["fit"]
    assert again["metrics"] != written["metrics"]
    assert abs(again["metrics"]["psnr"] - written["metrics"]["psnr"]) < 1
    assert record(protocol, "bicubic")["inference"] is None
    assert tiled["bicubic"].metrics == whole["bicubic"].metrics


def test_the_test_set_is_read_once_after_training_and_never_by_it(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose voxels are read, and between which events."""
    heard: list[str] = []
    for name in ("lr", "hr"):
        read = getattr(Pair, name).func

        def spy(pair: Pair, read: Any = read, name: str = name) -> Any:
            heard.append(f"{pair.subject} {name}")
            return read(pair)

        watched = cached_property(spy)
        watched.__set_name__(Pair, name)
        monkeypatch.setattr(Pair, name, watched)
    [network] = write(tmp_path, network=NETWORK)
    loaded, [training] = plan_request(Request(str(write_protocol()), [network]))
    job = Job(training, RunSettings(results=tmp_path / "results", data=images))
    with hold(job.folder(training.base)) as held:
        run_job(job, held, lambda event: heard.append(type(event).__name__), lambda: False)
    assert heard.count("Recorded") == 1
    last_step = len(heard) - 1 - heard[::-1].index("Progressed")
    for subject in loaded.split["test"]:
        places = [number for number, what in enumerate(heard) if what.startswith(f"{subject} ")]
        assert sorted(heard[number] for number in places) == [f"{subject} hr", f"{subject} lr"]
        assert min(places) > last_step
    for subject in loaded.split["train"]:
        assert heard.index(f"{subject} lr") < last_step


CUTS_THE_CACHE = NETWORK.replace(
    "self.calls += 1",
    """self.calls += 1
            if self.calls == 5:
                for path in __import__("pathlib").Path(os.environ["MRSR_CACHE"]).rglob("*.npy"):
                    os.truncate(path, 0)""",
)


@pytest.mark.long
def test_a_cache_that_vanishes_under_a_training_costs_that_cell_and_is_made_anew(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of a file that was cut short cannot be read: the system ends the process."""
    monkeypatch.setenv("MRSR_CACHE", str(tmp_path / "cache"))
    _restart_forkserver()
    outcomes = bench(write_protocol(), [*write(tmp_path, network=CUTS_THE_CACHE), "bicubic"], images)
    assert (outcomes["network"].state, outcomes["bicubic"].state) == ("failed", "done")
    assert "SIGBUS" in outcomes["network"].message
