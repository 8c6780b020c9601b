"""The house: a room lies above all that it imports. Parsed from the source, so no import has to run."""

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
    "inference": 0,
    "degradation": 0,
    "system": 1,
    "method": 1,
    "volumes": 1,
    "dataset": 2,
    "protocol": 2,
    "methods": 2,
    "registry": 3,
    "scoring": 3,
    "store": 3,
    "datasets": 3,
    "data": 4,
    "planning": 4,
    "replication": 4,
    "tracking": 5,
    "training": 5,
    "reporting": 5,
    "estimating": 6,
    "figures": 6,
    "testing": 6,
    "page": 7,
    "running": 7,
    "__init__": 8,
    "cli": 9,
    "__main__": 10,
}
"""Room, which is a folder or a file at the door → its floor. What a room imports lies on floors below its own."""
LIGHT = [
    "cli",
    "page.writing",
    "planning.cells",
    "planning.planner",
    "protocol.loading",
    "replication.published",
    "figures.curves",
    "figures.quality",
    "figures.radial",
    "figures.ranks",
    "figures.subjects",
    "figures.attention",
    "figures.quality",
    "figures.visual",
    "reporting.render",
    "running.decisions",
    "running.outcomes",
    "running.progress",
    "running.recording",
    "running.runner",
    "store.merging",
    "store.pack_writer",
    "store.results",
    "store.weights",
    "tracking.mirror",
    "tracking.pull",
    "tracking.synchronisation",
]
"""Modules that bring no torch with them, nor any other large library."""


@dataclass(frozen=True)
class Import:
    """One import of ours: which module, of which, and in which line."""

    module: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{MODULES[self.module].relative_to(ROOT)}:{self.line} imports {self.target}"


def modules() -> dict[str, Path]:
    """Module below mrsr_bench → its file: 'store.plan', 'methods.edsr'; packages as 'store', the root as '__init__'."""
    paths = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [*package.split(".")[1:], *path.relative_to(ROOT / folder).with_suffix("").parts]
            if parts[-1] == "__init__" and len(parts) > 1:
                parts = parts[:-1]
            paths[".".join(parts)] = path
    return paths


MODULES = modules()


def room_of(module: str) -> str:
    return module.partition(".")[0]


def parsed(module: str) -> list[Import]:
    """Every import of ours in a module: at the top, in a function, for type checking only, and by a module's name."""
    path = MODULES[module]
    package = ["mrsr_bench", *([] if module == "__init__" else module.split("."))]
    if path.name != "__init__.py":
        package = package[:-1]
    names: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                below = f"{origin}.{alias.name}"
                names.append((below if below.removeprefix("mrsr_bench.") in MODULES else origin, node.lineno))
        elif isinstance(node, ast.Constant) and str(node.value).removeprefix("mrsr_bench.") in MODULES:
            names.append((str(node.value), node.lineno))
    ours = [(name, line) for name, line in names if name.partition(".")[0] == "mrsr_bench"]
    return [
        Import(module, name.removeprefix("mrsr_bench").removeprefix(".") or "__init__", line) for name, line in ours
    ]


IMPORTS = [one for module in MODULES for one in parsed(module)]


def test_the_parser_sees_what_there_is() -> None:
    """Were it blind, every test below would pass."""
    pairs = {(one.module, one.target) for one in IMPORTS}
    assert {"planning.cells", "methods.bicubic", "methods._blocks", "running.executors.local", "__main__"} <= set(
        MODULES
    )
    assert ("running.fitting", "training.loop") in pairs, "in a function"
    assert ("running.executors.local", "running.worker") in pairs, "by its name, for the forkserver"
    assert ("running.progress", "running.outcomes") in pairs, "for type checking only"
    assert {"errors", "store.plan", "protocol.loading"} <= {
        target for module, target in pairs if module == "store.results"
    }
    assert {"method", "degradation"} <= {target for module, target in pairs if module == "methods.bicubic"}


def test_every_module_lies_in_a_room_and_every_room_has_a_module() -> None:
    assert {room_of(module) for module in MODULES} == set(FLOORS)
    assert {room_of(one.target) for one in IMPORTS} <= set(FLOORS)


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_imports_only_from_floors_below_its_own(room: str) -> None:
    outside = [one for one in IMPORTS if room_of(one.module) == room != room_of(one.target)]
    assert [str(one) for one in outside if FLOORS[room_of(one.target)] >= FLOORS[room]] == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    below: dict[str, set[str]] = {module: set() for module in MODULES}
    for one in IMPORTS:
        below[one.module].add(one.target)
    while ends := {module for module, targets in below.items() if not targets & below.keys()}:
        below = {module: targets for module, targets in below.items() if module not in ends}
    assert below == {}, "these import each other in a circle"


@pytest.mark.parametrize(
    ("room", "strange"),
    [
        ("training", {"store"}),
        ("reporting", {"planning", "running", "data"}),
        ("store", {"planning", "method", "registry", "data"}),
        ("tracking", {"planning", "method", "registry", "data", "training", "scoring"}),
        ("scoring", {"data", "store"}),
    ],
)
def test_a_room_does_not_know(room: str, strange: set[str]) -> None:
    assert [str(one) for one in IMPORTS if room_of(one.module) == room and room_of(one.target) in strange] == []


def test_no_class_name_means_two_things() -> None:
    homes: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.strip("_"), []).append(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


def test_methods_import_the_contract_degradations_and_shared_blocks_only() -> None:
    targets = {one.target for one in IMPORTS if room_of(one.module) == "methods"}
    assert {target for target in targets if not target.startswith("methods._")} == {"method", "degradation"}


def test_data_sets_import_volumes_and_the_contract_only() -> None:
    assert {one.target for one in IMPORTS if room_of(one.module) == "datasets"} == {"volumes", "dataset"}


def test_nobody_imports_the_command_line_but_the_program() -> None:
    assert {one.module for one in IMPORTS if room_of(one.target) == "cli"} - {"__main__"} <= {
        module for module in MODULES if room_of(module) == "cli"
    }


def test_within_the_folder_benchmark_imports_are_relative() -> None:
    """Methods and data sets, in folders of their own, write mrsr_bench."""
    for module, path in MODULES.items():
        if path.is_relative_to(ROOT / "benchmark"):
            nodes = [
                node
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.ImportFrom)
            ]
            absolute = [
                node.lineno for node in nodes if not node.level and (node.module or "").startswith("mrsr_bench")
            ]
            assert not absolute, f"{module}: lines {absolute}"


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `code`."""
    code += "\nimport sys; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), timeout=120, check=True
    )
    return set(done.stdout.split())


@pytest.mark.long
def test_light_modules_bring_no_large_library_with_them() -> None:
    loaded = loaded_by("; ".join(f"import mrsr_bench.{module}" for module in LIGHT))
    assert {"mrsr_bench", "pydantic"} <= loaded
    assert loaded & {"torch", "timm", "lightning_fabric", "mlflow", "numba", "matplotlib", "pandas"} == set()


@pytest.mark.long
def test_a_cell_without_a_network_needs_no_training_loop() -> None:
    """Fabric and timm take seconds to import."""
    loaded = loaded_by("import mrsr_bench.running.worker")
    assert "torch" in loaded
    assert loaded & {"timm", "lightning_fabric", "mlflow", "pandas", "matplotlib"} == set()


@pytest.mark.long
@pytest.mark.parametrize("code", ["import mrsr_bench.cli", "import mrsr_bench"])
def test_the_command_line_starts_without_any_large_library(code: str) -> None:
    heavy = {"torch", "numpy", "pandas", "mlflow", "pydantic", "nibabel", "scipy", "rich", "timm"}
    assert loaded_by(code) & heavy == set()
