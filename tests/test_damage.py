"""Damage to any file of a cell is detected and named, affects that cell alone, and is repaired by the next run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_small_protocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugins import NETWORK, write
from safetensors.numpy import load_file, save_file
from test_runs import Ear, bench, cell_folder, record

from mrsr_bench.cli import main
from mrsr_bench.reporting.table import build_table
from mrsr_bench.running import runner
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.store.cell_files import EXHIBIT, RADIAL, RECORD, SCORES, WEIGHTS, Standing, inspect_cell
from mrsr_bench.store.results import Store
from mrsr_bench.store.weights import read_weights
from mrsr_bench.system.files import CHECKSUM, DamagedFile, write_sealed
from mrsr_bench.system.training_states import CURVE

FILES = (RECORD, SCORES, RADIAL, EXHIBIT, CURVE, WEIGHTS)


def _one_bit(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "one bit": _one_bit,
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "{}": lambda content: b"{}",
    "another type": lambda content: b"[1, 2]",
    "no text": lambda content: b"\xff\xfe\x00",
    "longer": lambda content: content + b"7",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A protocol's folder with the results of a network, its self-ensemble, bicubic and linear."""
    folder = tmp_path_factory.mktemp("whole")
    protocol = write_small_protocol(folder, methods={"bicubic": {}, "linear": {}})
    [network] = write(folder, network=NETWORK)
    outcomes = bench(protocol, ["bicubic", "linear", network, f"{network}+"], images)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    return folder


@pytest.fixture
def protocol(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy" / "small.yaml"


def methods(protocol: Path) -> list[str]:
    network = str(protocol.parent / "network.py")
    return ["bicubic", "linear", network, f"{network}+"]


def standings(protocol: Path) -> dict[str, Standing]:
    """Label → where its cell stands."""
    view = Store(protocol.parent / "results").view("small")
    places = {planned.cell.label: view.place(planned) for planned in view.cells}
    return {label: inspect_cell(place) for label, place in places.items() if place is not None}


def states(protocol: Path) -> dict[str, str]:
    return {label: standing.state for label, standing in standings(protocol).items()}


def shown(protocol: Path, *command: str) -> str:
    done = CliRunner().invoke(main, [*command, "--results", str(protocol.parent / "results")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def run(protocol: Path, images: Path) -> tuple[dict[str, Any], Ear]:
    ear = Ear()
    return bench(protocol, methods(protocol), images, listener=ear), ear


# --- Detected --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_every_damage_to_every_file_is_its_own_cells_state_and_no_other_ones(
    protocol: Path, name: str, damage: str
) -> None:
    path = cell_folder(protocol, "network") / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    cells = standings(protocol)
    assert (cells["network"].state, cells["network"].damaged) == ("damaged", (path,))
    assert str(path) in cells["network"].why
    expected = {"bicubic": "done", "linear": "done", "network+": "stale" if name == WEIGHTS else "done"}
    assert {label: standing.state for label, standing in cells.items() if label != "network"} == expected


@pytest.mark.parametrize("name", FILES)
def test_of_the_files_of_a_record_the_scores_alone_must_be_there(protocol: Path, name: str) -> None:
    (cell_folder(protocol, "network") / name).unlink()
    expected = {RECORD: "missing", SCORES: "damaged"}.get(name, "done")
    assert states(protocol) == {"bicubic": "done", "linear": "done", "network": expected, "network+": "done"}


@pytest.mark.parametrize("name", [RECORD, SCORES, WEIGHTS])
def test_a_folder_in_the_place_of_a_file_is_damage_too(protocol: Path, name: str) -> None:
    path = cell_folder(protocol, "network") / name
    path.unlink()
    path.mkdir()
    assert states(protocol)["network"] == "damaged"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), name=st.sampled_from(FILES))
def test_any_single_bit_of_any_file_counts(whole: Path, place: float, bit: int, name: str) -> None:
    path = cell_folder(whole / "small.yaml", "network") / name
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(place * len(content))] ^= 1 << bit
    path.write_bytes(changed)
    try:
        assert standings(whole / "small.yaml")["network"].state == "damaged"
    finally:
        path.write_bytes(content)


def test_a_changed_figure_makes_no_table(protocol: Path) -> None:
    """One digit of a record, as a careless or a dishonest hand may change it."""
    path = cell_folder(protocol, "network") / RECORD
    right = record(protocol, "network")["metrics"]["psnr"]
    path.write_text(path.read_text(encoding="utf-8").replace(repr(right), repr(right + 20)), encoding="utf-8")
    text = shown(protocol, "table")
    assert f"{right + 20:.2f}" not in text
    assert f"Damaged: network T1 x2 bicubic seed 0 ({path} is damaged: its checksum does not match" in text
    assert f"damaged  network T1 x2 bicubic seed 0: {path} is damaged" in shown(protocol, "status")


def test_a_record_whose_means_are_not_those_of_its_scores_is_damaged_whatever_its_checksum(protocol: Path) -> None:
    path = cell_folder(protocol, "linear") / RECORD
    content = {name: value for name, value in record(protocol, "linear").items() if name != CHECKSUM}
    write_sealed(path, {**content, "metrics": {**content["metrics"], "psnr": 99.0}})
    standing = standings(protocol)["linear"]
    assert (standing.state, standing.damaged) == ("damaged", (path.with_name(SCORES),))
    assert "its mean or number of subjects of psnr differs from the record" in standing.why


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"n": "many"}, "n: "), ({"state": "almost"}, "state"), ({"metrics": None}, "metrics: ")],
    ids=["type", "state", "missing"],
)
def test_a_whole_file_that_is_no_record_is_damaged_and_says_where(
    protocol: Path, changes: dict[str, Any], words: str
) -> None:
    path = cell_folder(protocol, "linear") / RECORD
    content = {name: value for name, value in record(protocol, "linear").items() if name != CHECKSUM}
    write_sealed(path, content | changes)
    standing = standings(protocol)["linear"]
    assert standing.state == "damaged"
    assert f"{path} is damaged: " in standing.why
    assert words in standing.why


def test_a_field_of_a_later_version_is_passed_over_and_another_format_waits_for_redo(
    protocol: Path, images: Path
) -> None:
    path = cell_folder(protocol, "linear") / RECORD
    content = {name: value for name, value in record(protocol, "linear").items() if name != CHECKSUM}
    write_sealed(path, {**content, "exhibits": "of a later version"})
    assert states(protocol)["linear"] == "done"
    write_sealed(path, {**content, "format": 3})
    standing = standings(protocol)["linear"]
    assert (standing.state, "has format 3; this version of the suite reads 2" in standing.why) == ("stale", True)
    outcomes, _ = run(protocol, images)
    assert outcomes["linear"].state == "stale"
    assert json.loads(path.read_text(encoding="utf-8"))["format"] == 3, "kept, for the version that reads it"


def test_damage_stops_neither_status_nor_table_nor_a_dry_run(protocol: Path) -> None:
    for label in ("network", "bicubic"):
        (cell_folder(protocol, label) / RECORD).write_bytes(b"\x00\x01")
    lines = shown(protocol, "status").splitlines()[1:]
    assert {line.split()[1]: line.split()[0] for line in lines} == {
        "bicubic": "damaged", "linear": "done", "network": "damaged", "network+": "done"
    }  # fmt: skip
    assert "linear" in shown(protocol, "table").splitlines()[0]
    output = shown(protocol, "run", "--dry-run", "--protocol", str(protocol))
    assert f"score bicubic x2: {cell_folder(protocol, 'bicubic') / RECORD} is damaged" in output or "run" in output


@pytest.mark.parametrize(
    "damage",
    [pytest.param(name, marks=[] if name in ("one bit", "cut short") else pytest.mark.long) for name in DAMAGES],
)
def test_a_damaged_plan_costs_its_own_columns_and_says_so(protocol: Path, images: Path, damage: str) -> None:
    bench(protocol, ["nlm"], images)
    [first, *_] = sorted((protocol.parent / "results" / "runs" / "small" / "plans").iterdir(), key=os.path.getmtime)
    first.write_bytes(DAMAGES[damage](first.read_bytes()))
    done = CliRunner().invoke(main, ["status", "--results", str(protocol.parent / "results")], catch_exceptions=False)
    assert done.exit_code == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [["done", "nlm"]]
    assert f"a plan is left out: {first} is damaged" in done.stderr
    assert f"Damaged plans: {first} is damaged" in shown(protocol, "table")
    outcomes, _ = run(protocol, images)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert states(protocol) == dict.fromkeys(("bicubic", "linear", "network", "network+", "nlm"), "done")


# --- Repaired --------------------------------------------------------------------------------------------------------


def figures(protocol: Path, label: str) -> tuple[Any, ...]:
    folder = cell_folder(protocol, label)
    return record(protocol, label)["metrics"], (folder / SCORES).read_bytes(), (folder / RADIAL).read_bytes()


@pytest.mark.parametrize(
    ("label", "name"),
    [("network", name) for name in FILES] + [("network+", RECORD), ("network+", SCORES), ("bicubic", RADIAL)],
)
def test_the_next_run_sets_the_damage_aside_and_makes_the_cell_anew(
    protocol: Path, images: Path, label: str, name: str
) -> None:
    before = {every: figures(protocol, every) for every in ("bicubic", "linear", "network", "network+")}
    folder = cell_folder(protocol, label)
    weights = (cell_folder(protocol, "network") / WEIGHTS).stat().st_mtime_ns
    tensors = load_file(cell_folder(protocol, "network") / WEIGHTS)
    damaged = DAMAGES["one bit"]((folder / name).read_bytes())
    (folder / name).write_bytes(damaged)
    outcomes, ear = run(protocol, images)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert [line for line in ear.lines if f"{folder / name} is damaged" in line and "made again" in line], ear.lines
    [aside] = folder.glob(f"{name}~damaged-*")
    assert aside.read_bytes() == damaged
    assert {every: figures(protocol, every) for every in before} == before
    assert states(protocol) == dict.fromkeys(before, "done")
    trained = (cell_folder(protocol, "network") / WEIGHTS).stat().st_mtime_ns != weights
    assert trained == (name == WEIGHTS), "only what was trained is trained"
    again = load_file(cell_folder(protocol, "network") / WEIGHTS)
    assert all((again[key] == tensors[key]).all() for key in tensors)


def test_a_network_whose_record_and_weights_are_both_damaged_is_trained_again(protocol: Path, images: Path) -> None:
    before = figures(protocol, "network")
    for name in (RECORD, WEIGHTS):
        path = cell_folder(protocol, "network") / name
        path.write_bytes(path.read_bytes()[:-7])
    outcomes, _ = run(protocol, images)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert figures(protocol, "network") == before


def test_where_a_network_is_trained_again_its_ensemble_is_scored_again_too(protocol: Path, images: Path) -> None:
    """Its own record stood, since weights may be absent; but now others lie there."""
    before = figures(protocol, "network+")
    folder = cell_folder(protocol, "network")
    (folder / WEIGHTS).unlink()
    (folder / RECORD).write_bytes(b"")
    assert states(protocol)["network+"] == "done"
    outcomes, _ = run(protocol, images)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert states(protocol) == dict.fromkeys(("bicubic", "linear", "network", "network+"), "done")
    assert figures(protocol, "network+") == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_that_are_not_whole_make_no_record(protocol: Path, images: Path, damage: str) -> None:
    """As after a kill between weights and record: nothing but they themselves can say whether they are whole."""
    before, folder = figures(protocol, "network"), cell_folder(protocol, "network")
    (folder / RECORD).unlink()
    (folder / WEIGHTS).write_bytes(DAMAGES[damage]((folder / WEIGHTS).read_bytes()))
    with pytest.raises(DamagedFile, match=WEIGHTS):
        read_weights(folder)
    outcomes, ear = run(protocol, images)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert [line for line in ear.lines if f"{folder / WEIGHTS} is damaged" in line]
    assert figures(protocol, "network") == before


def test_other_tensors_under_the_old_mark_make_no_record(protocol: Path, images: Path) -> None:
    path = cell_folder(protocol, "network") / WEIGHTS
    before, content = figures(protocol, "network"), path.read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    save_file({name: np.zeros_like(array) for name, array in load_file(path).items()}, path, metadata)
    (path.parent / RECORD).unlink()
    outcomes, ear = run(protocol, images)
    assert outcomes["network"].state == "done"
    assert [line for line in ear.lines if "its digest does not match its tensors" in line]
    assert figures(protocol, "network") == before


def test_a_mark_that_was_changed_makes_no_record(protocol: Path) -> None:
    path = cell_folder(protocol, "network") / WEIGHTS
    content = path.read_bytes()
    for old, new in ((b'\\"best_step\\":', b'\\"best_stop\\":'), (b'\\"width\\":8', b'\\"width\\":9')):
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))
        with pytest.raises(DamagedFile, match="its digest does not match its tensors"):
            read_weights(path.parent)


def test_scoring_again_reads_weights_only_if_the_record_names_them(protocol: Path, images: Path) -> None:
    """Whole weights of the same training, but of another run of it."""
    path = cell_folder(protocol, "network") / WEIGHTS
    found = read_weights(path.parent)
    assert found is not None
    content, before = path.read_bytes(), record(protocol, "network")
    bench(protocol, methods(protocol), images, results=protocol.parent / "other")
    other = protocol.parent / "other" / path.relative_to(protocol.parent / "results")
    assert other.read_bytes() != content, "its seconds are others"
    shutil.copy(other, path)
    settings = RunSettings(data=images, results=protocol.parent / "results", tracking_uri="none")
    outcomes = {o.cell.label: o for o in runner.score(str(protocol), settings, Ear())}
    assert outcomes["network"].state == "failed"
    assert "they are not the weights that the record beside them names" in outcomes["network"].message
    assert str(path) in outcomes["network"].message
    assert record(protocol, "network") == before
    path.write_bytes(content)
    outcomes = {o.cell.label: o for o in runner.score(str(protocol), settings, Ear())}
    assert outcomes["network"].state == "done"


def test_damaged_states_are_the_state_of_their_cell_and_passed_over(
    protocol: Path, images: Path, tmp_path: Path
) -> None:
    before, folder = figures(protocol, "network"), cell_folder(protocol, "network")
    for name in (RECORD, WEIGHTS):
        (folder / name).unlink()
    (folder / "state-00000010-0123456789abcdef.pt").write_bytes(b"no state")
    standing = standings(protocol)["network"]
    assert standing.state == "damaged"
    assert "state-00000010-0123456789abcdef.pt is damaged" in standing.why
    outcomes, _ = run(protocol, images)
    assert outcomes["network"].state == "done"
    assert figures(protocol, "network") == before
    assert len(list(folder.glob("state-00000010-*~damaged-*"))) == 1


def test_a_table_shows_what_is_whole(protocol: Path) -> None:
    (cell_folder(protocol, "linear") / SCORES).write_bytes(b"")
    table = build_table(Store(protocol.parent / "results").view("small"))
    assert [label for (_, label) in table.records] == ["bicubic", "network", "network+"]
