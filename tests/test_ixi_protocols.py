"""The IXI protocols on a generated tree of volumes 8 times smaller: the data set, the planes, the plan, the table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from ixi_tree import make_tree
from ruamel.yaml import YAML
from test_runs import Ear

import mrsr_bench
from mrsr_bench.cli import main
from mrsr_bench.protocol import loading as protocol

FIRST = 3
CROPS = {"ixi_native": [12, 12, 12]}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files an eighth as wide of the first subjects in each fold of every split."""
    loaded = [protocol.load(name) for name in protocol.builtin()]
    subjects = {
        subject
        for one in loaded
        if one.protocol.data.dataset == "ixi"
        for names in one.split.values()
        for subject in names[:FIRST]
    }
    return make_tree(tmp_path_factory.mktemp("ixi"), subjects=sorted(subjects), shrink=8)


def shrunk(name: str, folder: Path, **changes: Any) -> Path:
    """A copy of a built-in protocol whose crop fits the tree's small volumes."""
    source = protocol.builtin()[name]
    content = YAML(typ="safe").load(source.read_text(encoding="utf-8"))
    content["data"]["crop"] = CROPS.get(name, [12, 24, 24])
    path = folder / f"{name}.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump({**content, **changes}, file)
    return path


def run(path: Path, tree: Path, methods: list[str], **options: Any) -> dict[str, str]:
    """Cell → its state and message."""
    outcomes = mrsr_bench.run(
        str(path), methods, data=tree, results=path.parent / "results", tracking_uri="none", listener=Ear(), **options
    )
    return {str(outcome.cell): f"{outcome.state} {outcome.message}".strip() for outcome in outcomes}


SCALES_AS_IN_IXI_ALL = ("ixi_published", "ixi_leave_site_out", "ixi_small")
"""Their further scales meet the same data, degradation and metrics as those of ixi_all."""


@pytest.mark.parametrize("name", [n for n in protocol.builtin() if n.startswith("ixi_") and "midslice" not in n])
def test_every_ixi_protocol_runs_on_files_like_ixis(name: str, tree: Path, tmp_path: Path) -> None:
    scales = ["2"] if name in SCALES_AS_IN_IXI_ALL else []
    states = run(shrunk(name, tmp_path), tree, ["bicubic", "zerofill"], limit=FIRST, scales=scales)
    assert set(states.values()) == {"done"}
    scores = pd.concat([pd.read_csv(path) for path in tmp_path.rglob("scores.csv")])
    assert set(scores["metric"]) == set(protocol.load(name).protocol.scoring.metrics)
    assert scores["value"].notna().all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nine_cells_of_three_networks_make_a_table_of_nine_rows_and_three_columns(tree: Path, tmp_path: Path) -> None:
    """`bench run --protocol ixi_all --methods poan,edsr,csn --limit 3 --steps 20`, presets tiny; `bench table`."""
    path = shrunk("ixi_all", tmp_path)
    command = [sys.executable, "-m", "mrsr_bench", "run", "--protocol", str(path), "--data", str(tree), "--limit", "3"]
    more = ["--methods", "poan:tiny,edsr:tiny,csn:tiny", "--steps", "20", "--tracking-uri", "none"]
    done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "27 of 27 cells done" in done.stdout
    for shape, end in (("markdown", "\n\n"), ("latex", "\\end{table}")):
        asked = CliRunner().invoke(main, ["table", "--results", str(tmp_path / "results"), "--format", shape])
        assert asked.exit_code == 0
        first = asked.output.partition(end)[0]  # the other metrics have a table of their own
        rows = [line.strip(" |").replace("&", "|").split("|") for line in first.splitlines()]
        rows = [row for row in rows if row[0].strip() in ("PD", "T1", "T2")]
        assert [len(row) for row in rows] == [5] * 9
        assert all("/" in figure for row in rows for figure in row[2:])
    frame = mrsr_bench.table(results=tmp_path / "results")
    assert list(frame.columns.get_level_values("method").unique()) == ["poan-tiny", "edsr-tiny", "csn-tiny"]
    assert frame.shape[0] == 9
    assert frame.notna().all().all()


@pytest.mark.parametrize("factors", [[4, 1, 1], [2, 2, 2]], ids=str)
def test_through_plane_factors_take_bicubic_linear_and_zerofill_and_skip_networks(
    factors: list[int], tree: Path, tmp_path: Path
) -> None:
    networks = ["srcnn:tiny", "edsr:tiny", "csn:tiny", "poan:tiny"]
    states = run(
        shrunk("ixi_small", tmp_path, scales=[factors]), tree, ["bicubic", "linear", "zerofill", *networks], limit=2
    )
    for cell, state in states.items():
        if cell.startswith(("bicubic", "linear", "zerofill")):
            assert state == "done", cell
        else:
            assert state.startswith("skipped upscales within slices"), cell


def test_planes_are_those_in_which_the_contrasts_were_acquired(tree: Path, tmp_path: Path) -> None:
    """T1 sagittal, T2 and PD axial: slices run from left to right, or from foot to head, whatever a file's axes are."""
    import nibabel as nib

    path = shrunk("ixi_all", tmp_path)
    assert set(run(path, tree, ["bicubic"], limit=1, scales=["2"], keep_volumes=True).values()) == {"done"}
    axes = {
        volume.parents[3].name.partition("-")[0]: nib.aff2axcodes(nib.load(volume).affine)
        for volume in tmp_path.rglob("*.nii.gz")
    }
    assert axes == {"T1": ("R", "A", "S"), "T2": ("S", "R", "A"), "PD": ("S", "R", "A")}
