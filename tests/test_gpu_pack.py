"""The pack for a GPU machine: what it carries, expects and leaves out, and what it says where it does not fit."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import gpu_pack
import pytest
from gpu_pack import CARRIED, EXPECTED, LEFT_OUT, PYTHON, canonical, fill, install, midslices, missing
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
THERE = {"python_version": "3.12", "python_full_version": "3.12.0", "extra": ""}


def needed(names: list[str]) -> set[str]:
    """These packages and all that they need under Python 3.12, down to what the machine has or does without."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name in found:
            continue
        found.add(name)
        if name not in (*EXPECTED, *LEFT_OUT):
            wanted = [Requirement(line) for line in requires(name) or ()]
            names += [canonical(one.name) for one in wanted if one.marker is None or one.marker.evaluate(THERE)]
    return found


def test_every_package_that_the_project_and_its_tests_need_is_carried_expected_or_left_out() -> None:
    direct = [canonical(line) for line in PROJECT["dependencies"]]
    assert needed([*direct, "pytest", "pytest-timeout", "hypothesis"]) == {*CARRIED, *EXPECTED, *LEFT_OUT}
    assert len({*CARRIED, *EXPECTED, *LEFT_OUT}) == len([*CARRIED, *EXPECTED, *LEFT_OUT])
    assert "torch" in EXPECTED
    assert LEFT_OUT == ("mlflow",)


@pytest.mark.parametrize("line", ["ruamel.yaml>=0.18", "Ruamel_Yaml ; python_version > '3'", "ruamel-yaml[x]==1"])
def test_a_package_has_one_spelling(line: str) -> None:
    assert canonical(line) == "ruamel-yaml"


def test_a_folder_that_is_no_pack_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(SystemExit, match="is no pack; name another folder"):
        fill(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_another_python_than_the_packs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    with pytest.raises(SystemExit, match=r"is for Python 3\.12, this is 3\.10 .*PYTHON=, or remove"):
        install(tmp_path)


def write_metadata(site: Path, *lines: str) -> None:
    folder = site / "mrsr_bench-0.1.0.dist-info"
    folder.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {line}\n" for line in lines)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: mrsr-bench\nVersion: 0.1.0\n{needs}")


def test_what_neither_pack_nor_machine_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    site = tmp_path / "site"
    write_metadata(site, "numpy>=1", "numba>=999", "nonesuch>=2", "mlflow>=3", "ruff; extra == 'dev'")
    lacking = missing(site)
    assert {"numba>=999", "nonesuch>=2"} <= set(lacking)
    assert {Requirement(line).name for line in lacking} <= {"numba", "nonesuch", *EXPECTED}
    assert not {"numpy", "mlflow", "ruff"} & {Requirement(line).name for line in lacking}


def test_an_installation_that_lacks_something_is_undone_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "version_info", (*PYTHON, 0))
    monkeypatch.setattr(gpu_pack, "pip", lambda *words: write_metadata(tmp_path / "site", "nonesuch>=2"))
    with pytest.raises(SystemExit, match=r"lacks nonesuch>=2"):
        install(tmp_path)
    assert not (tmp_path / "site").exists()


def test_midslices_come_from_the_given_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_pack, "ROOT", tmp_path / "project")
    monkeypatch.delenv("MRSR_DATA", raising=False)
    assert midslices() is None
    places = [
        tmp_path / "shared" / "data" / "ixi_midslice",
        tmp_path / "project" / "gpu-pack" / "data" / "ixi_midslice",
    ]
    monkeypatch.setenv("MRSR_DATA", str(tmp_path / "mine"))
    for place in [*places, tmp_path / "mine" / "folder"]:
        place.mkdir(parents=True)
        (place / "IXI002-T1.nii.gz").touch()
        assert midslices() == place
