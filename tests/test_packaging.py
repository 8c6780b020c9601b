"""What is installed: the list of packages, the files that go along, and a wheel that works away from the checkout."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mrsr_bench.protocol.loading import load

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = SETTINGS["tool"]["setuptools"]["packages"]
FOLDERS: dict[str, str] = SETTINGS["tool"]["setuptools"]["package-dir"]
DATA: dict[str, list[str]] = SETTINGS["tool"]["setuptools"]["package-data"]


def folder_of(package: str) -> Path:
    """The checkout's folder of a package, as `package-dir` says."""
    for parent in sorted(FOLDERS, key=len, reverse=True):
        if package == parent or package.startswith(f"{parent}."):
            return ROOT.joinpath(FOLDERS[parent], *package.removeprefix(parent).split(".")[1:])
    raise AssertionError(f"no folder for {package}")


def packages_in_tree() -> dict[str, Path]:
    """Package → folder, for every folder below the mapped ones that holds Python files."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in [ROOT / folder, *(ROOT / folder).rglob("*/")]:
            if path.name != "__pycache__" and any(path.glob("*.py")):
                found[".".join([package, *path.relative_to(ROOT / folder).parts])] = path
    return found


def test_the_list_of_packages_equals_the_tree() -> None:
    assert sorted(PACKAGES) == sorted(packages_in_tree())
    assert {package: folder_of(package) for package in PACKAGES} == packages_in_tree()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_an_init_file(package: str) -> None:
    """Without one the wheel works and the editable install does not."""
    assert (folder_of(package) / "__init__.py").is_file()


def test_every_file_that_is_no_python_goes_along() -> None:
    left_out = []
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_dir() or path.suffix == ".py" or "__pycache__" in path.parts or path.name.startswith("."):
                continue
            name = path.relative_to(ROOT / folder).as_posix()
            patterns = [pattern for pattern in DATA.get(package, []) if pattern.count("/") == name.count("/")]
            if not any(fnmatch(name, pattern) for pattern in patterns):
                left_out.append(str(path.relative_to(ROOT)))
    assert left_out == []
    assert (ROOT / "benchmark" / "py.typed").is_file()


def test_the_folder_of_data_sets_does_not_pass_for_the_package_of_that_name() -> None:
    done = subprocess.run([sys.executable, "-c", "import datasets"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: this folder is mrsr_bench.datasets" in done.stderr
    assert "Import mrsr_bench.datasets" in done.stderr


def test_the_checkout_can_be_the_current_folder() -> None:
    code = "import mrsr_bench.datasets.folder, mrsr_bench.methods.bicubic, mrsr_bench.protocols"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_the_command_is_the_suites() -> None:
    assert SETTINGS["project"]["scripts"] == {"bench": "mrsr_bench.cli:main"}


def test_the_citation_agrees_with_the_package() -> None:
    citation, project = YAML(typ="safe").load(ROOT / "CITATION.cff"), SETTINGS["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == project["name"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    assert citation["keywords"] == project["keywords"]


# A wheel


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MRSR_", "VIRTUAL"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**plain, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist of a copy of what belongs to the project, without stale build/, and its wheel."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, cwd=copy)
    return out


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    [built] = distributions.glob("mrsr_bench-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a venv that holds the wheel, and borrows everything else from this one."""
    venv = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", venv / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=venv)
    # A path file in a folder that another path file names is not read: this venv's editable finder stays out.
    [site] = venv.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return venv / "bin"


def test_a_wheel_holds_the_tree_and_nothing_else(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tree = set()
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                tree.add(f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}")
    assert inside == tree


def test_the_licence_goes_along(distributions: Path, wheel: Path) -> None:
    [sdist] = distributions.glob("mrsr_bench-*.tar.gz")
    text = (ROOT / "LICENSE").read_bytes()
    with tarfile.open(sdist) as archive:
        file = archive.extractfile(f"{sdist.name.removesuffix('.tar.gz')}/LICENSE")
        assert file is not None
        assert file.read() == text
    with zipfile.ZipFile(wheel) as contents:
        licences = [name for name in contents.namelist() if name.endswith("/LICENSE")]
        [name] = [name for name in licences if ".dist-info/" in name]
        assert contents.read(name) == text
        assert {*licences} - {name} == {"mrsr_bench/page/browser/img-comparison-slider/LICENSE"}  # a library of others


def test_a_wheel_away_from_the_checkout_lists_and_shows(installed: Path, tmp_path: Path) -> None:
    venv = installed.parent
    where = "import mrsr_bench, mrsr_bench.methods.bicubic as m; print(mrsr_bench.__file__, m.__file__)"
    for place in run(installed / "python", "-c", where, cwd=tmp_path).split():
        assert Path(place).is_relative_to(venv), f"imported from {place} and not from the wheel"

    for kind, ending in (("methods", "py"), ("datasets", "py"), ("protocols", "yaml")):
        listed = {line.split()[0] for line in run(installed / "bench", "list", kind, cwd=tmp_path).splitlines()[1:]}
        assert listed == {path.stem for path in (ROOT / kind).glob(f"*.{ending}") if not path.name.startswith("_")}

    demo = json.loads(run(installed / "bench", "protocol", "demo", cwd=tmp_path))
    assert demo["digest"] == load("demo").digest


@pytest.mark.slow
def test_a_wheel_away_from_the_checkout_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    done = run(
        *(installed / "bench", "run", "--methods", "bicubic", "--tracking-uri", "none"),
        cwd=tmp_path,
        MRSR_CACHE=str(tmp_path / "cache"),
    )
    assert "1 of 1 cells done" in done
    folder = tmp_path / "results" / "runs" / "demo" / "bicubic" / "T1-x2" / "bicubic" / "seed0"
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert record["state"] == "done"
    assert record["environment"]["git"] is None, "an installed copy is no checkout"
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        subjects = {row["subject"] for row in csv.DictReader(file)}
    assert subjects == set(load("demo").split["test"])


# A package of methods by someone else

PACKAGE = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "{distribution}"
version = "1.0"
[project.entry-points."mrsr_bench.methods"]
theirs = "{package}.theirs:Theirs"
[tool.setuptools]
packages = ["{package}"]
""",
    "{package}/__init__.py": "",
    "{package}/blocks.py": "from mrsr_bench.degradation import bicubic\n",
    "{package}/theirs.py": '''\
"""Somebody's interpolation."""
import numpy as np
from mrsr_bench.method import Method
from .blocks import bicubic

class Theirs(Method):
    slice_wise = keeps_constants = homogeneous = True

    def upscale(self, scan, task):
        return bicubic(scan.array.astype(np.float64), task.hr_shape(scan.array.shape)).astype(np.float32)
''',
}


def install_package(folder: Path, name: str) -> Path:
    """Build a small package that offers the method `theirs`, and have pip install it into a folder of its own."""
    names = {"distribution": f"{name}-methods", "package": f"{name}_methods"}
    for path, text in PACKAGE.items():
        file = folder / name / path.format(**names)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(**names) if path == "pyproject.toml" else text, encoding="utf-8")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index")
    run(*pip, "--no-deps", "--no-build-isolation", "--target", folder / "site", folder / name, cwd=folder)
    return folder / "site"


@pytest.mark.slow
def test_an_installed_package_of_methods_is_listed_checked_and_planned(tmp_path: Path) -> None:
    site = install_package(tmp_path, "ada")
    bench, place = Path(sys.executable).with_name("bench"), {"PYTHONPATH": str(site)}
    listed = run(bench, "list", "methods", cwd=tmp_path, **place)
    assert ["theirs", "Somebody's", "interpolation."] in [line.split() for line in listed.splitlines()]
    assert "The contract is kept" in run(bench, "check", "theirs", "--scales", "2", cwd=tmp_path, **place)
    planned = run(bench, "run", "--methods", "theirs,bicubic", "--dry-run", cwd=tmp_path, **place)
    lines = [line.split()[:2] for line in planned.splitlines() if line.startswith("run ")]
    assert lines == [["run", "theirs"], ["run", "bicubic"]]

    install_package(tmp_path, "bob")
    with pytest.raises(AssertionError, match="'theirs' is offered twice") as caught:
        run(bench, "list", "methods", cwd=tmp_path, **place)
    assert all(str(site / f"{name}_methods" / "theirs.py") in str(caught.value) for name in ("ada", "bob"))
