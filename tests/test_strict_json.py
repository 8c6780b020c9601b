"""Numbers that are not finite: strict parsers read every JSON file, and the figures come back as they were."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from recorded import fill, fill_subjects, remember
from test_runs import bench

from mrsr_bench.cli import main
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.caption import caption_of
from mrsr_bench.reporting.table import build_table
from mrsr_bench.store.cell_files import RECORD, read_record
from mrsr_bench.store.pack_writer import write_pack
from mrsr_bench.store.plan import read_plan
from mrsr_bench.store.record import DoneRecord, Fit, Part
from mrsr_bench.store.results import Store
from mrsr_bench.store.weights import WeightsMark, read_weights, write_weights
from mrsr_bench.system.files import WorkFolder, json_text, read_sealed, write_sealed

FIGURES = {"psnr": math.inf, "ssim": 1.0}
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
CONTENT = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def strict(text: str | bytes) -> Any:
    """Parsed as the standard has it: no bare Infinity and no NaN."""

    def refuse(word: str) -> None:
        raise ValueError(f"'{word}' is no JSON")

    return json.loads(text, parse_constant=refuse)


class Sample(Part):
    """Figures as records hold them."""

    figures: dict[str, float]
    least: float | None = None


@given(CONTENT)
def test_any_plain_data_are_strict_json(content: Any) -> None:
    strict(json_text(content))


@given(st.dictionaries(st.text(), NUMBERS), st.none() | NUMBERS)
def test_figures_come_back_to_the_last_bit(figures: dict[str, float], least: float | None) -> None:
    sample = Sample(figures=figures, least=least)
    for text in (json_text(sample.model_dump(mode="json")), sample.model_dump_json()):
        restored = Sample.model_validate(strict(text))
        assert repr(restored) == repr(sample)


def test_a_sealed_file_is_strict_json(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a.json", {"psnr": math.inf, "worst": [-math.inf, math.nan, 1.5]})
    strict((tmp_path / "a.json").read_bytes())
    assert read_sealed(tmp_path / "a.json") == {"psnr": "Infinity", "worst": ["-Infinity", "NaN", 1.5]}


@pytest.fixture
def results(write_protocol: Callable[..., Path], tmp_path: Path) -> Path:
    """Records of an exact prediction and of a metric that does not apply; an endless learning rate in the protocol."""
    methods = {"bicubic": {}, "linear": {}, "edsr": {"preset": "tiny", "lr": math.inf}}
    loaded, trainings = plan_request(Request(str(write_protocol(methods=methods))))
    plan = Store(tmp_path / "results"), loaded, trainings
    fill_subjects(plan, "bicubic", {"one": FIGURES, "two": {"psnr": 30.0, "ssim": 0.9}}, 0, "x2")
    fill(plan, "linear", "x2", 0, 0, metrics={"psnr": 40.0, "ssim": math.nan})
    remember(plan, ["bicubic", "linear", "edsr"])
    return tmp_path / "results"


def test_records_and_plans_are_strict_json_and_read_back(results: Path) -> None:
    paths = sorted(results.rglob("*.json"))
    assert {path.parent.name for path in paths} == {"seed0", "plans"}
    for path in paths:
        strict(path.read_bytes())
    metrics = {}
    for path in results.rglob(RECORD):
        done = read_record(path.parent)
        assert isinstance(done, DoneRecord)
        metrics[done.label] = done.metrics
    assert metrics["bicubic"] == {"psnr": math.inf, "ssim": 0.95}
    assert math.isnan(metrics["linear"]["ssim"])
    [path] = results.rglob("plans/*.json")
    assert next(column.recipe for column in read_plan(path)[1].columns if column.label == "edsr").lr == math.inf


def test_a_pack_is_strict_json_and_gives_the_same_table(results: Path, tmp_path: Path) -> None:
    write_pack(results, tmp_path / "a.zip", warn=print)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".json")]
        assert len(names) == 4
        for name in names:
            strict(archive.read(name))
    captions = [caption_of(build_table(Store(path).view("small"))) for path in (results, tmp_path / "a.zip")]
    assert "psnr is infinite for bicubic T1 x2 (one): an exact prediction." in captions[0]
    assert captions[0] == captions[1]


@pytest.mark.parametrize("command", [["status", "--json"], ["list", "datasets", "--json"], ["protocol", "SMALL"]])
def test_what_commands_print_as_json_is_strict(results: Path, command: list[str]) -> None:
    given = [str(results.parent / "small.yaml") if word == "SMALL" else word for word in command]
    given += ["--results", str(results)] if command[0] == "status" else []
    answer = CliRunner().invoke(main, given)
    assert answer.exit_code == 0, answer.output
    strict(answer.stdout)


def test_weights_name_a_training_without_a_best_validation_in_strict_json(tmp_path: Path) -> None:
    fit = Fit(seconds=1.0, best_val_psnr=-math.inf, train_data_digest="", git=None, source_digest="")
    mark = WeightsMark(train_key="", method="", version="", preset=None, options={}, fit=fit, curve=None)
    write_weights(WorkFolder(tmp_path), {"a": np.zeros(2, np.float32)}, mark)
    weights = read_weights(tmp_path)
    assert weights is not None
    assert weights[1] == mark
    content = (tmp_path / "weights.safetensors").read_bytes()
    header = strict(content[8 : 8 + int.from_bytes(content[:8], "little")])
    strict(header["__metadata__"]["mark"])


def test_a_run_records_figures_that_do_not_apply_and_is_done(write_protocol: Callable[..., Path], images: Path) -> None:
    metrics = {"psnr": {"range": "volume_minmax"}, "range_nmse": {}, "nullspace_recovered": {}}
    options = {"name": "bicubic", "round": "stored", "noise": 0.05}
    protocol = write_protocol(scoring={"round": "stored", "metrics": metrics}, degradation=options)
    outcomes = bench(protocol, ["bicubic"], images)
    found = outcomes["bicubic"].metrics
    assert outcomes["bicubic"].state == "done"
    assert found is not None
    assert math.isfinite(found["psnr"])
    assert math.isnan(found["range_nmse"])
    assert math.isnan(found["nullspace_recovered"])
    assert bench(protocol, ["bicubic"], images)["bicubic"].state == "done"
    table = build_table(Store(protocol.parent / "results").view("small"))
    assert "range_nmse, nullspace_recovered: – where LR has noise or is not linear in HR." in caption_of(table)
    assert not table.absent
