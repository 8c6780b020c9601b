"""The house: a room stands above all that it imports. Parsed from the source, so no import has to run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"mrsr_bench": "benchmark", "mrsr_bench.methods": "methods", "mrsr_bench.datasets": "datasets"}
"""Package → its folder in the checkout."""
FLOORS = {
    "errors": 0,
    "seeds": 0,
    "units": 0,
    "liveness": 0,
    "events": 0,
    "metrics": 0,
    "environment": 1,
    "files": 1,
    "comparison": 1,
    "degradation": 1,
    "inference": 0,
    "divergence": 1,
    "memory": 1,
    "testing.registration": 1,
    "method": 1,
    "schema": 1,
    "volumes": 1,
    "processes": 1,
    "quoted": 1,
    "statistics": 1,
    "progress": 1,
    "matching.fingerprint": 1,
    "acquisition.meter": 1,
    "native": 2,
    "protocol": 2,
    "complexity": 2,
    "cache": 2,
    "store.record": 2,
    "store.holding": 2,
    "testing.check": 2,
    "ensemble": 2,
    "feed": 3,
    "checkpoint": 3,
    "conventions": 2,
    "methods._blocks": 2,
    "methods._patch_attention": 2,
    "matching.archive": 2,
    "dataset": 2,
    "acquisition.download": 2,
    "acquisition.unpack": 2,
    "registry": 3,
    "datasets": 3,
    "methods._attention": 3,
    "scoring": 3,
    "matching.search": 3,
    "calibration.figures": 3,
    "acquisition.audit": 3,
    "acquisition.obtain": 3,
    "splits": 4,
    "columns": 4,
    "store": 4,
    "cell": 5,
    "store.weights": 5,
    "store.exhibit": 5,
    "exhibits": 6,
    "preparation": 4,
    "methods": 4,
    "matching.recipes": 4,
    "store.plan": 5,
    "outcomes": 5,
    "request": 6,
    "store.pack": 5,
    "store.results": 6,
    "store.whole": 6,
    "store.packing": 7,
    "store.merging": 7,
    "recording": 6,
    "sampling": 6,
    "needs": 6,
    "matching.report": 6,
    "calibration.explain": 6,
    "acquisition": 6,
    "acquisition.inventory": 6,
    "reporting": 7,
    "steps": 7,
    "planning": 7,
    "tracking": 7,
    "training": 7,
    "matching": 7,
    "calibration.report": 7,
    "unchanged": 8,
    "reporting.caption": 8,
    "reporting.figure": 8,
    "job": 8,
    "testing.trial": 8,
    "probe": 8,
    "calibration": 8,
    "reporting.table": 9,
    "evaluation": 9,
    "testing.checks": 9,
    "costs": 9,
    "listing": 10,
    "reporting.render": 10,
    "worker": 10,
    "testing.contract": 10,
    "estimate": 11,
    "testing": 11,
    "executors": 11,
    "command": 12,
    "runner": 13,
    "__init__": 14,
    "cli.options": 14,
    "cli.run": 15,
    "cli.show": 15,
    "cli.data": 15,
    "cli.share": 15,
    "cli": 16,
    "__main__": 17,
}
"""Room → floor. A package's floor is that of all its modules, unless one has its own."""
LIGHT = [
    "schema",
    "protocol",
    "cell",
    "columns",
    "store.results",
    "store.weights",
    "store.plan",
    "store.pack",
    "store.packing",
    "store.merging",
    "planning",
    "recording",
    "steps",
    "request",
    "events",
    "reporting.render",
    "reporting.figure",
    "quoted",
    "cli",
    "progress",
    "runner",
    "outcomes",
]
"""Rooms that never import torch."""


@dataclass(frozen=True)
class Import:
    """One import of ours: who, whom, in which line, and whether it runs when the module is imported."""

    room: str
    target: str
    line: int
    at_once: bool


def rooms() -> dict[str, Path]:
    """Module below mrsr_bench → its file: 'protocol', 'methods.edsr'; packages as 'methods', the root as '__init__'."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [*package.split(".")[1:], *path.relative_to(ROOT / folder).with_suffix("").parts]
            if parts[-1] == "__init__" and len(parts) > 1:
                parts = parts[:-1]
            found[".".join(parts)] = path
    return found


ROOMS = rooms()


def floor(room: str) -> int | None:
    """The floor of a room: its own, or that of the nearest package above it."""
    while room:
        if room in FLOORS:
            return FLOORS[room]
        room = room.rpartition(".")[0]
    return None


def _statements(node: ast.AST, at_once: bool = True) -> list[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import below `node` with whether it runs at once; those under `if TYPE_CHECKING:` do not count."""
    found: list[tuple[ast.Import | ast.ImportFrom, bool]] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            found += [pair for other in child.orelse for pair in _statements(other, at_once)]
        elif isinstance(child, ast.Import | ast.ImportFrom):
            found.append((child, at_once))
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            found += _statements(child, at_once and not inside)
    return found


def parse(room: str, path: Path) -> list[tuple[str, int, bool]]:
    """(absolute dotted name, line, at once) of everything that a module imports, ours or not."""
    package = ["mrsr_bench", *([] if room == "__init__" else room.split("."))]
    if path.name != "__init__.py":
        package = package[:-1]
    found = []
    for node, at_once in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, at_once) for alias in node.names]
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            below = f"{origin}.{alias.name}"
            is_room = below.removeprefix("mrsr_bench.") in ROOMS
            found.append((below if is_room else origin, node.lineno, at_once))
    return found


def imports_of_ours() -> list[Import]:
    found = []
    for room, path in ROOMS.items():
        for name, line, at_once in parse(room, path):
            if name == "mrsr_bench" or name.startswith("mrsr_bench."):
                target = name.removeprefix("mrsr_bench").removeprefix(".") or "__init__"
                found.append(Import(room, target, line, at_once))
    return found


OURS = imports_of_ours()


def test_the_parser_sees_what_there_is() -> None:
    """Were it blind, every test below would pass."""
    assert {"cell", "methods.bicubic", "methods._blocks", "datasets.folder", "executors.local", "__main__"} <= set(
        ROOMS
    )
    assert Import("command", "executors.local", OURS_LINE["command", "executors.local"], at_once=False) in OURS
    assert {"errors", "store.cells", "store.plan"} <= {one.target for one in OURS if one.room == "store.results"}
    assert {"method", "degradation"} <= {one.target for one in OURS if one.room == "methods.bicubic"}
    assert ("store.cells", "worker") in {(one.target, one.room) for one in OURS}
    assert not [one for one in OURS if (one.room, one.target) == ("progress", "runner")], "only for type checking"


OURS_LINE = {(one.room, one.target): one.line for one in OURS}


def test_every_module_has_a_floor_and_every_floor_a_module() -> None:
    assert [room for room in ROOMS if floor(room) is None] == []
    assert [room for room in FLOORS if room not in ROOMS] == []


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_from_floors_below_its_own(room: str) -> None:
    for one in OURS:
        if one.room == room:
            own, other = floor(room), floor(one.target)
            assert own is not None
            assert other is not None, f"{ROOMS[room]}:{one.line} imports {one.target}, which is no room"
            assert other < own, f"{ROOMS[room]}:{one.line}: {room} (floor {own}) imports {one.target} (floor {other})"


@pytest.mark.parametrize("room", sorted(room for room in ROOMS if room.startswith("methods.")))
def test_a_method_imports_the_contract_degradations_and_shared_blocks_only(room: str) -> None:
    targets = {one.target for one in OURS if one.room == room}
    strange = {target for target in targets if not target.startswith("methods._")} - {"method", "degradation"}
    assert strange == set()


@pytest.mark.parametrize("room", sorted(room for room in ROOMS if room.startswith("datasets.")))
def test_a_data_set_imports_volumes_and_the_contract_only(room: str) -> None:
    assert {one.target for one in OURS if one.room == room} <= {"volumes", "dataset"}


def test_nobody_imports_the_command_line() -> None:
    importers = {one.room for one in OURS if one.target.partition(".")[0] == "cli"}
    assert {room for room in importers if room.partition(".")[0] != "cli"} <= {"__main__"}


def test_only_the_package_itself_is_imported_by_its_name_from_outside_its_folder() -> None:
    """Within benchmark/ imports are relative; methods and data sets, in folders of their own, write mrsr_bench."""
    for room, path in ROOMS.items():
        absolute = [
            node.lineno
            for node, _ in _statements(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("mrsr_bench")
        ]
        assert not absolute or not path.is_relative_to(ROOT / "benchmark"), f"{room}: lines {absolute}"


@pytest.mark.parametrize("room", LIGHT)
def test_torch_is_not_imported_at_module_level_where_only_words_are_handled(room: str) -> None:
    heavy = {"torch", "timm", "lightning_fabric", "torchvision"}
    for name, line, at_once in parse(room, ROOMS[room]):
        assert not at_once or name.partition(".")[0] not in heavy, f"{ROOMS[room]}:{line} imports {name}"


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `code`."""
    code += "\nimport sys; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), timeout=120, check=True
    )
    return set(done.stdout.split())


def test_the_rooms_that_handle_words_bring_no_torch_with_them() -> None:
    loaded = loaded_by("; ".join(f"import mrsr_bench.{room}" for room in LIGHT))
    assert {"mrsr_bench", "pydantic"} <= loaded
    assert loaded & {"torch", "timm", "lightning_fabric", "mlflow", "numba", "matplotlib", "pandas"} == set()


@pytest.mark.parametrize("code", ["import mrsr_bench.cli", "import mrsr_bench"])
def test_the_command_line_starts_without_any_large_library(code: str) -> None:
    heavy = {"torch", "numpy", "pandas", "mlflow", "pydantic", "nibabel", "scipy", "rich", "timm"}
    assert loaded_by(code) & heavy == set()
