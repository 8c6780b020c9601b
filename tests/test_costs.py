"""What a dry run goes by, and says so: records of such trainings on such a machine, else a probe, else a count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugins import NETWORK, write
from recorded import FIT, write_done
from test_estimate import CROPPED, planned, rows

from mrsr_bench.cli import main
from mrsr_bench.errors import BenchError
from mrsr_bench.estimating.costs import Cost, Costs
from mrsr_bench.estimating.probe import probe
from mrsr_bench.planning.cells import Training
from mrsr_bench.running.dry_run import report
from mrsr_bench.store.results import Store
from mrsr_bench.system.environment import environment

Write = Callable[..., Path]
HERE = environment("cpu")
SHAPE = (4, 36, 48)
TRAINING = {"track": "equal", "steps": 1000, "batch": 2, "lr_patch": 20, "augment": "none", "lr": 1e-3}


@pytest.fixture(autouse=True)
def _a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Costs, "_on_gpu", False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # no look at the machine's load


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def protocol(write_protocol: Write) -> Path:
    return write_protocol(data=CROPPED, methods={"bicubic": {}, "edsr": {"preset": "tiny"}}, training=TRAINING)


@pytest.fixture
def training(protocol: Path) -> Training:
    """The network's."""
    return trainings(protocol)["edsr"]


def trainings(protocol: Path, **options: Any) -> dict[str, Training]:
    """Label → its training on T1 at ×2."""
    plan = planned(protocol, Store(Path("nowhere")), **options)[1]
    return {one.base.label: one for one in plan if (one.base.contrast, one.base.scale) == ("T1", "x2")}


TIMED = {**FIT, "steps": 500, "seconds": 100.0}


def record(store: Store, training: Training, folder: str = "earlier", **changes: Any) -> None:
    """A done record of a training of 500 steps in 100 s, in some protocol's folder; `changes` replace its fields."""
    figures = {
        "fit": TIMED, "environment": HERE, "seconds_per_volume": 9.0, "peak_memory_bytes": 321_000_000, **changes,
    }  # fmt: skip
    write_done(store.runs / folder, training, training.base, {"emil": {"psnr": 30.0, "ssim": 0.9}}, **figures)


def cost(store: Store, training: Training) -> Cost:
    found = Costs(store).of(training, SHAPE)
    assert found is not None
    return found


# --- Records ---------------------------------------------------------------------------------------------------------


def test_a_record_beats_the_count(training: Training, store: Store) -> None:
    counted = cost(store, training)
    record(store, training)
    recorded = cost(store, training)
    assert (counted.source, recorded.source) == ("count", "records")
    assert recorded == Cost("records", 1000 / 500 * 100 / 3600, 2 * 9 / 3600, 321_000_000)


def test_the_table_names_what_each_line_goes_by_and_adds_up_each_kind_alone(
    write_protocol: Write, store: Store
) -> None:
    methods = {"edsr": {"preset": "tiny"}, "srcnn": {}}
    protocol = write_protocol(data=CROPPED, methods=methods, training={**TRAINING, "steps": 10**9})
    record(store, trainings(protocol)["edsr"])
    loaded, _, steps = planned(protocol, store)
    text = report(loaded, steps, None, Costs(store))
    table = rows(text)
    hours = 10**9 / 500 * 100 / 3600 + 18 / 3600
    assert table["run", "edsr", "x2"][3:] == ["records", f"{hours:,.0f}", f"{2 * hours:,.0f}", "321 MB"]
    assert table["run", "srcnn", "x2"][3] == "count"
    counted = table["run", "srcnn", "x2"][5]
    totals = [line.split()[-3:] for line in text.splitlines() if "this machine  " in line or "assumed GPU  " in line]
    assert totals == [["this", "machine", f"{2 * hours:,.0f}"], ["assumed", "GPU", counted]]
    assert f"hours of this machine ({HERE.device}, {HERE.threads} thread" in text
    assert "estimate, not a measurement" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": HERE.model_copy(update={"device": "another machine"})},
        {"environment": HERE.model_copy(update={"threads": HERE.threads + 1})},
        {"label": "edsr+"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_record_of_another_machine_or_of_no_such_training_is_not_used(
    training: Training, store: Store, changes: dict[str, Any]
) -> None:
    record(store, training, **changes)
    assert cost(store, training).source == "count"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "another"}, {"options": {"blocks": 3}}, {"factors": [1, 3, 3]}, {"method": "vdsr"},
        *({"recipe": {name: value}} for name, value in (("batch", 3), ("lr_patch", 8), ("precision", "bf16-mixed"))),
    ],
    ids=str,
)  # fmt: skip
def test_a_record_of_another_network_or_batch_is_not_used(
    training: Training, store: Store, changes: dict[str, Any]
) -> None:
    resolved = training.resolved
    if "recipe" in changes:
        changes = {"recipe": {**resolved["recipe"], **changes["recipe"]}}
    record(store, training, resolved={**resolved, **changes})
    assert cost(store, training).source == "count"


def test_on_a_gpu_the_number_of_cpu_threads_does_not_matter(
    training: Training, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Costs, "_on_gpu", True)
    monkeypatch.setattr(
        "mrsr_bench.estimating.costs.environment",
        lambda device: HERE.model_copy(update={"device": f"some {device}", "threads": 16}),
    )
    record(store, training, environment=HERE.model_copy(update={"device": "some cuda", "threads": 4}))
    costs = Costs(store)
    assert costs.machine == "some cuda"
    found = costs.of(training, SHAPE)
    assert found is not None
    assert found.source == "records"
    record(store, training, environment=HERE.model_copy(update={"device": "some cpu", "threads": 16}))
    assert cost(store, training).source == "count", "hours of a CPU"


def test_of_several_records_a_full_one_on_the_same_volumes_counts_and_then_the_newest(
    training: Training, store: Store
) -> None:
    other = {"resolved": {**training.resolved, "crop": [96, 240, 240]}}
    trial = {"protocol": {"name": "small", "version": 1, "digest": "", "overrides": {"steps": 10}}}
    for memory, changes in enumerate([
        {"written": "2026-01-01", **trial}, {"written": "2025-01-01", **other}, {"written": "2024-01-01"},
        {"written": "2024-01-03"}, {"written": "2024-01-02"},
    ]):  # fmt: skip
        record(store, training, f"earlier{memory}", peak_memory_bytes=memory, **changes)
        assert cost(store, training).memory == [0, 1, 2, 3, 3][memory]


def test_on_other_volumes_the_test_runs_as_fast_as_the_training(training: Training, store: Store) -> None:
    counted = cost(store, training)
    resolved = training.resolved
    record(store, training, resolved={**resolved, "crop": [96, 240, 240]})
    recorded = cost(store, training)
    assert counted.test_hours is not None
    assert recorded.test_hours == pytest.approx(recorded.train_hours * counted.test_hours / counted.train_hours)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.integers(1, 10**6), seconds=st.floats(0.001, 1e7), asked=st.integers(1, 10**7))
def test_hours_grow_with_the_steps(training: Training, store: Store, steps: int, seconds: float, asked: int) -> None:
    assert training.recipe is not None
    record(store, training, fit={**FIT, "steps": steps, "seconds": seconds})
    longer = replace(training, recipe=training.recipe.model_copy(update={"steps": asked}))
    assert cost(store, longer).train_hours * 3600 / asked == pytest.approx(seconds / steps)


def test_what_is_no_network_is_timed_by_its_record_on_the_same_volumes_only(protocol: Path, store: Store) -> None:
    training = trainings(protocol)["bicubic"]
    assert Costs(store).of(training, SHAPE) is None
    resolved = training.resolved
    record(store, training, fit=None, resolved={**resolved, "crop": [96, 240, 240]})
    assert Costs(store).of(training, SHAPE) is None
    record(store, training, fit=None)
    assert cost(store, training) == Cost("records", 0.0, 2 * 9 / 3600, 321_000_000)


# --- Probes ----------------------------------------------------------------------------------------------------------


def in_training(what: str) -> str:
    """The network of two layers, which does `what` first in each step; not where only its shapes are counted."""
    return NETWORK.replace("if self.training:", f"if self.training and not x.is_meta:\n            {what}")


SLEEPS = in_training("import time; time.sleep(LONG)")
DIES = in_training("os.kill(os.getpid(), signal.SIGKILL)")
RAISES = in_training("raise ValueError('no such luck')")
VALUES = NETWORK.replace("return self.body(x) +", "return self.body(x) * float(x.max() > 0) +")


def network(write_protocol: Write, tmp_path: Path, text: str) -> Training:
    """The training of a plugin under the small protocol with 1000 steps."""
    [file] = write(tmp_path, plugin=text)
    return trainings(write_protocol(data=CROPPED, training=TRAINING), methods=[file])["plugin"]


def test_a_probe_takes_ten_steps_of_the_real_training(write_protocol: Write, tmp_path: Path) -> None:
    training = network(write_protocol, tmp_path, SLEEPS.replace("LONG", "0.05"))
    found = probe(training, (18, 24), threads=1)
    assert found.steps == 10
    assert found.seconds >= 0.05
    assert 0 < found.memory < 50e9
    assert not list(tmp_path.glob("**/train.csv"))


def test_a_probe_ends_in_time_with_the_steps_that_it_has(
    write_protocol: Write, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrsr_bench.estimating.probe.SECONDS", 5.0)
    training = network(write_protocol, tmp_path, SLEEPS.replace("LONG", "0.1 if self.calls <= 4 else 3600"))
    found = Costs(store, probing=True, say=lambda line: None).of(training, SHAPE)
    assert found is not None
    assert found.source == "probe"
    assert 1 <= found.probed_steps < 10
    assert str(found) == f"probe ({found.probed_steps} steps)"
    assert found.train_hours >= 1000 * 0.1 / 3600

    monkeypatch.setattr("mrsr_bench.estimating.probe.SECONDS", 0.5)
    endless = network(write_protocol, tmp_path, SLEEPS.replace("LONG", "3600"))
    with pytest.raises(BenchError, match=r"two training steps take over 0.5 s"):
        probe(endless, (18, 24), threads=1)


@pytest.mark.parametrize(("text", "why"), [(DIES, "was killed by SIGKILL"), (RAISES, "ValueError: no such luck")])
def test_a_network_that_dies_in_its_probe_costs_its_line_only(
    write_protocol: Write, tmp_path: Path, store: Store, text: str, why: str
) -> None:
    files = write(tmp_path, bad=text, good=NETWORK)
    loaded, _, steps = planned(write_protocol(data=CROPPED, training=TRAINING), store, methods=files)
    said: list[str] = []
    shown = report(loaded, steps, None, Costs(store, True, said.append))
    table = rows(shown)
    assert (table["run", "bad", "x2"][3], table["run", "good", "x2"][3]) == ("count", "probe")
    assert f"\nprobe bad x2: {why}" in shown or f"\nprobe bad x2: its process {why}" in shown
    assert "probe good" not in shown
    assert said == [f"probing {name} x2: 10 training steps" for name in ("bad", "good")], "once for both contrasts"


def test_a_probe_tells_of_a_network_that_cannot_be_counted(write_protocol: Write, tmp_path: Path, store: Store) -> None:
    training = network(write_protocol, tmp_path, VALUES)
    assert Costs(store).of(training, SHAPE) is None
    found = Costs(store, probing=True, say=lambda line: None).of(training, SHAPE)
    assert found is not None
    assert (found.source, found.test_hours) == ("probe", None)


def test_a_record_saves_the_probe(training: Training, store: Store) -> None:
    record(store, training)
    found = Costs(store, probing=True, say=pytest.fail).of(training, SHAPE)
    assert found is not None
    assert found.source == "records"


def test_a_dry_run_with_probes_leaves_no_trace_and_a_run_takes_none(
    protocol: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRSR_CACHE", str(tmp_path / "cache"))
    before = sorted(tmp_path.rglob("*"))
    asked = ["run", "--protocol", str(protocol), "--results", str(tmp_path / "results"), "--probe"]
    done = CliRunner().invoke(main, [*asked, "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "probing edsr x2: 10 training steps" in done.stderr
    assert "probing" not in done.stdout
    assert rows(done.stdout)["run", "edsr", "x2"][3] == "probe"
    assert sorted(tmp_path.rglob("*")) == before
    refused = CliRunner().invoke(main, [*asked, "--data", str(images)])
    assert (refused.exit_code, "--dry-run" in refused.output) == (2, True)
    assert sorted(tmp_path.rglob("*")) == before
