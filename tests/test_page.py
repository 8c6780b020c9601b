"""The page's folder: what it holds is what the table, the comparisons and the files say, and it is whole or absent."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import page_records
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from page_records import CLAIMS, HOSTILE

from mrsr_bench.cli import main
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.figures.scenes import row_exhibits
from mrsr_bench.page import writing
from mrsr_bench.page.pairs import column_pairs
from mrsr_bench.page.scripts import script, stored_image
from mrsr_bench.page.slices import distances
from mrsr_bench.page.writing import write_page
from mrsr_bench.reporting import compare as comparing
from mrsr_bench.reporting.contrasts import row_contrast
from mrsr_bench.reporting.grid import row_figures
from mrsr_bench.reporting.table import Table, build_table
from mrsr_bench.store.images import as_stored
from mrsr_bench.store.results import Store
from mrsr_bench.system.liveness import machine

ROOT = Path(__file__).parents[1]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Five columns, two rows, three seeds; a method and a subject have hostile names."""
    return page_records.hostile_results(tmp_path, ["T1"])


@pytest.fixture
def table(results: Path) -> Table:
    return build_table(Store(results).view(None))


def read(page: Path, name: str) -> Any:
    """The content of a script, as a browser reads it."""
    text = (page / "data" / f"{name}.js").read_text(encoding="utf-8")
    match = re.fullmatch(r'mrsr\.put\(("[^"]*"), JSON\.parse\((".*")\)\);\n', text, re.DOTALL)
    assert match
    assert json.loads(match[1]) == name
    return json.loads(json.loads(match[2]))


@pytest.fixture
def page(table: Table, tmp_path: Path) -> Path:
    return write_page([table], tmp_path / "page", images=True, say=pytest.fail).parent


def test_every_figure_is_that_of_the_table_with_its_marks(page: Path, table: Table) -> None:
    overview = read(page, "0/overview")
    assert overview["rows"] == [list(row) for row in table.rows]
    assert [column["name"] for column in overview["columns"]] == table.labels
    for metric, by_row in zip(table.metrics, overview["figures"], strict=True):
        for row, figures in zip(table.rows, by_row, strict=True):
            marked = row_figures(table, row, table.columns, metric)
            assert [(figure["text"], figure["spread"], figure["raised"], figure["best"]) for figure in figures] == [
                (text.text, text.spread, text.raised, text.bold) for text in marked
            ]
            values = [table.value(row, column, metric) for column in table.columns]
            assert [figure["value"] for figure in figures] == values


def test_a_cell_brings_its_files_unchanged_and_the_record_has_their_checksums(page: Path, results: Path) -> None:
    overview = read(page, "0/overview")
    records = sorted(results.rglob("record.json"))
    assert len(overview["cells"]) == len(records) == 2 * (2 + 3 * 3)
    shown = {}
    for cell in overview["cells"]:
        files = dict(read(page, f"0/{cell['file']}")["files"])
        shown[files["record.json"]] = files
        record = json.loads(files["record.json"])
        assert (record["label"], record["resolved"]["seed"]) == (cell["label"], cell["seed"])
        assert hashlib.sha256(files["scores.csv"].encode()).hexdigest() == record["checksums"]["scores"]
    for path in records:
        files = shown[path.read_text(encoding="utf-8")]
        for name, text in files.items():
            assert text == (path.parent / name).read_text(encoding="utf-8")
        assert ("train.csv" in files) == (path.parent / "train.csv").is_file()


def test_both_estimates_of_a_pair_are_those_of_bench_table(page: Path, table: Table) -> None:
    pairs = read(page, "0/pairs")
    assert pairs["pairs"][:1] == [["bicubic", "linear"]]
    assert {tuple(pair) for pair in pairs["pairs"]} >= set(map(tuple, CLAIMS))
    assert len({frozenset(pair) for pair in pairs["pairs"]}) == len(pairs["pairs"]) == 5 * 4 // 2
    for metric, by_row in zip(table.metrics, pairs["estimates"], strict=True):
        for row, estimates in zip(table.rows, by_row, strict=True):
            for (first, second), estimate in zip(pairs["pairs"], estimates, strict=True):
                expected = row_contrast(table, row, first, second, metric)
                assert estimate["mean"] == expected.mean
                assert estimate.get("why", "") == expected.why
                for name, claim in (("networks", expected.networks), ("method", expected.method)):
                    assert (tuple(estimate[name]) if name in estimate else None) == (claim and claim.interval)


def test_a_comparison_is_that_of_bench_compare(page: Path, table: Table) -> None:
    pairs = read(page, "0/pairs")
    for pair, shown in zip(pairs["pairs"], pairs["comparisons"], strict=True):
        expected = comparing.as_json(comparing.compare(table, table, tuple(pair)))
        assert shown["fixed"] == expected["pooled"]["fixed_beforehand"] == (pair in CLAIMS)
        for claim, row in zip([*shown["rows"], shown["pooled"]], [*expected["rows"], expected["pooled"]], strict=True):
            assert (claim["verdict"], claim["mean"]) == (row["verdict"], row["networks"]["mean"])
            assert claim["subjects"] == row["networks"]["n"] == 12
            assert [list(seeds) for seeds in claim["seeds"]] == row["seeds"]


def intensities(stored: dict[str, Any]) -> np.ndarray:
    numbers = np.frombuffer(base64.b64decode(stored["numbers"]), "<u2")
    return (stored["offset"] + stored["step"] * numbers).reshape(stored["rows"], stored["columns"])


def test_the_slices_are_those_that_the_cells_keep_upright(page: Path, table: Table) -> None:
    overview = read(page, "0/overview")
    assert [(entry["row"], entry["subject"]) for entry in overview["slices"]] == [
        (row, subject) for row in range(2) for subject in ("subject00", "subject05", HOSTILE)
    ]
    for entry in overview["slices"]:
        subject = read(page, f"0/{entry['file']}")
        assert subject["edges"] == ["A", "P", "R", "L"]
        [shown] = subject["slices"]
        scene = row_exhibits(table, table.rows[entry["row"]], table.labels).scene(entry["subject"], shown["number"])
        np.testing.assert_array_equal(intensities(shown["hr"]), scene.truth.hr)
        np.testing.assert_array_equal(intensities(shown["lr"]), scene.truth.lr)
        for label, prediction in zip(table.labels, shown["predictions"], strict=True):
            np.testing.assert_array_equal(intensities(prediction), scene.slices[label].prediction)
            assert prediction["seed"] == scene.seeds[label] == 0


def test_distances_between_predictions_are_root_mean_squares(page: Path, table: Table) -> None:
    pairs, exhibits = column_pairs(table), row_exhibits(table, table.rows[0], table.labels)
    scene = exhibits.scene("subject05", 3)
    expected = [
        float(np.sqrt(np.mean((scene.slices[a].prediction - scene.slices[b].prediction.astype(float)) ** 2)))
        for a, b in pairs
    ]
    assert distances(scene, pairs) == pytest.approx(expected, rel=1e-9)
    entry = read(page, "0/pairs")["distances"][1]
    assert (entry["file"], entry["number"]) == ("slices/1", 3)
    assert entry["values"] == pytest.approx(expected, rel=1e-9)


@given(
    st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=30),
    st.sampled_from([None, 0.5, 1.0]),
)
def test_an_image_survives_to_half_a_step(values: list[float], step: float | None) -> None:
    image = np.array([values], np.float32) if step is None else np.rint(np.array([values]) / 1e3) * step
    stored, numbers = as_stored(image[None], step)
    shown = intensities(stored_image(stored.window.offset + stored.window.step * numbers[0], stored.window))
    np.testing.assert_array_equal(shown, stored.window.offset + stored.window.step * numbers[0])
    assert np.abs(shown - image).max() <= stored.window.step * 0.51


@given(st.recursive(st.none() | st.text() | st.integers() | st.booleans(), lambda inner: st.lists(inner)))
def test_any_text_survives_in_a_script_and_none_leaves_its_place(content: Any) -> None:
    text = script("a/b", {"__proto__": content, "</script>": "\u2028"})
    assert text.isascii()
    assert text.count("\n") == 1
    literal = text.removeprefix('mrsr.put("a/b", JSON.parse(').removesuffix("));\n")
    assert json.loads(json.loads(literal)) == {"__proto__": content, "</script>": "\u2028"}


def test_numbers_that_are_not_finite_arrive_as_texts() -> None:
    assert script("x", [float("nan"), -float("inf")]) == 'mrsr.put("x", JSON.parse("[\\"NaN\\",\\"-Infinity\\"]"));\n'


def test_images_without_a_licence_are_left_out_unless_requested(table: Table, tmp_path: Path) -> None:
    page = write_page([table], tmp_path / "page", images=False, say=pytest.fail).parent
    overview = read(page, "0/overview")
    assert overview["slices"] == []
    assert "no licence is known under which the images of data set 'folder' may be handed on" in str(overview)
    assert not (page / "data" / "0" / "slices").exists()
    plan = table.view.last
    licensed = plan.model_copy(update={"protocol": plan.protocol.model_copy(update={"licence": "CC0"})})
    free = dataclasses.replace(table, view=dataclasses.replace(table.view, plans=(licensed,)))
    assert read(write_page([free], tmp_path / "page", images=False, say=pytest.fail).parent, "0/overview")["slices"]


def test_an_earlier_page_is_replaced_and_anything_else_is_kept(table: Table, page: Path, tmp_path: Path) -> None:
    (page / "data" / "0" / "old.js").write_text("old", encoding="utf-8")
    write_page([table, table], page, images=False, say=pytest.fail)
    assert not (page / "data" / "0" / "old.js").exists()
    assert [entry["name"] for entry in read(page, "site")] == ["0", "1"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine", encoding="utf-8")
    for target in (other, other / "thesis.txt"):
        with pytest.raises(UsageError, match="exists and is no page of this suite"):
            write_page([table], target, images=False, say=pytest.fail)
    assert (other / "thesis.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("failure", ["full", "changed"])
def test_a_page_that_fails_leaves_the_earlier_one_and_nothing_else(
    table: Table, page: Path, results: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    before = {path: path.read_bytes() for path in sorted(page.rglob("*")) if path.is_file()}
    if failure == "full":

        def full(*args: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(writing, "pairs_content", full)
        with pytest.raises(UsageError, match=r"cannot write .*: No space left on device"):
            write_page([table], page, images=True, say=pytest.fail)
    else:
        next(results.rglob("scores.csv")).write_text("subject,metric,value\n", encoding="utf-8")
        with pytest.raises(BenchError, match=r"changed while the page was made\. Make it again"):
            write_page([table], page, images=True, say=pytest.fail)
    assert {path: path.read_bytes() for path in sorted(page.rglob("*")) if path.is_file()} == before
    assert [path.name for path in page.parent.iterdir() if path.name.startswith(".")] == []


def test_what_a_killed_process_left_beside_the_page_is_removed(table: Table, tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / f".page~{machine()}-{ended.pid}-0123abcd"
    (left / "data").mkdir(parents=True)
    running = tmp_path / f".page~{machine()}-{os.getpid()}-0123abcd"
    running.mkdir()
    write_page([table], tmp_path / "page", images=False, say=pytest.fail)
    assert (left.exists(), running.exists()) == (False, True)


def test_the_command_makes_a_page_of_a_pack_too(results: Path, tmp_path: Path) -> None:
    for command in (
        ["pack", str(results), "-o", str(tmp_path / "r.zip")],
        ["report", "--results", str(tmp_path / "r.zip"), "-o", str(tmp_path / "page")],
    ):
        ran = CliRunner().invoke(main, command)
        assert ran.exit_code == 0, ran.output
    assert ran.output == f"{tmp_path / 'page' / 'index.html'}\n"
    assert read(tmp_path / "page", "site") == [{"name": "0", "folder": "small", "version": 1}]


def test_the_library_of_others_is_unchanged_and_comes_with_its_licence() -> None:
    folder = ROOT / "benchmark" / "page" / "browser" / "img-comparison-slider"
    checksum, name = (folder / "SHA256SUMS").read_text(encoding="utf-8").split()
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum
    assert checksum == "6e01335000bbafdd053f851db4e0025dc3e0fadd677deca51548d6fe95b42162"  # npm, version 8.0.7
    assert (folder / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n\nCopyright (c) 2019")
