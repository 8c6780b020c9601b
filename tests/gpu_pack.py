"""What a GPU machine without network lacks: filled here, installed there.

    python tests/gpu_pack.py fill gpu-pack       # where there is a network
    python3 tests/gpu_pack.py install gpu-pack   # on the GPU machine, by its own Python

The machine is expected to have Python 3.12 with PyTorch, torchvision, timm and the usual scientific libraries
(`EXPECTED`), which are too large to carry. `install` puts the wheels into gpu-pack/site, a folder for PYTHONPATH, and
says what is missing still; nothing else on the machine changes. It needs the standard library alone.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PYTHON = (3, 12)
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 17, 12, 5)]
CARRIED = (
    "annotated-types",
    "certifi",
    "charset-normalizer",
    "click",
    "cloudpickle",
    "hypothesis",
    "idna",
    "iniconfig",
    "jinja2",
    "joblib",
    "lightning-fabric",
    "lightning-utilities",
    "markdown-it-py",
    "markupsafe",
    "mdurl",
    "nibabel",
    "nilearn",
    "packaging",
    "platformdirs",
    "pluggy",
    "psutil",
    "pydantic",
    "pydantic-core",
    "pygments",
    "pytest",
    "pytest-timeout",
    "requests",
    "rich",
    "ruamel-yaml",
    "safetensors",
    "sortedcontainers",
    "tabulate",
    "threadpoolctl",
    "typing-extensions",
    "typing-inspection",
    "urllib3",
)
"""Small packages, each in the version that is installed here."""
EXPECTED = (
    "fsspec",
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)
LEFT_OUT = ("mlflow",)
"""Large, and missed with a warning only."""
SLICES = Path("data", "ixi_midslice")
"""Their place in a pack."""


def fill(folder: Path) -> None:
    """Fill a new pack, or an earlier one anew: wheels, the project's own among them, and the midslices if at hand."""
    if folder.exists() and not (folder / "wheels").is_dir():
        raise SystemExit(f"{folder} exists and is no pack; name another folder, or remove it")
    shutil.rmtree(folder, ignore_errors=True)
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    target = [
        "--only-binary=:all:",
        "--python-version",
        ".".join(map(str, PYTHON)),
        "--implementation",
        "cp",
        *platforms,
    ]
    pinned = [f"{name}=={version(name)}" for name in CARRIED]
    pip("download", "--no-deps", "--dest", str(wheels), *target, *pinned)
    build(wheels)
    slices = midslices()
    if slices is None:
        print("no midslices: neither $MRSR_DATA/folder nor ../shared has them, so gpu-train will have no data")
    else:
        shutil.copytree(slices, folder / SLICES)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 2**20:.1f} MiB")


def build(wheels: Path) -> None:
    """The project's own wheel, from a copy of what belongs to it: a stale build/ would ship deleted files."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as copy:
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        for place in settings["tool"]["setuptools"]["package-dir"].values():
            shutil.copytree(ROOT / place, Path(copy, place), ignore=shutil.ignore_patterns("__pycache__"))
        pip("wheel", "--no-deps", "--wheel-dir", str(wheels.resolve()), copy)


def midslices() -> Path | None:
    """The folder of the registered T1 slices: $MRSR_DATA/folder, else a pack's, else the one beside the checkout."""
    data = os.environ.get("MRSR_DATA")
    places = [Path(data, "folder")] if data else []
    places += [ROOT / "gpu-pack" / SLICES, ROOT.parent / "shared" / "data" / "ixi_midslice"]
    return next((place for place in places if any(place.glob("IXI*-T1.nii.gz"))), None)


def install(folder: Path) -> None:
    """Put the wheels where PYTHONPATH finds them. SystemExit where this Python or its packages do not fit."""
    if sys.version_info[:2] != PYTHON:
        here, there = (".".join(map(str, number)) for number in (sys.version_info[:2], PYTHON))
        raise SystemExit(
            f"{folder} is for Python {there}, this is {here} ({sys.executable}): give another with PYTHON=, or remove "
            f"{folder} to use the environment of `make test`"
        )
    wheels, site = sorted(str(path) for path in (folder / "wheels").glob("*.whl")), folder / "site"
    shutil.rmtree(site, ignore_errors=True)
    pip("install", "--no-index", "--no-deps", "--no-compile", "--target", str(site), *wheels)
    lacking = missing(site)
    if lacking:
        shutil.rmtree(site)  # so that the next try looks again
        raise SystemExit(f"this machine's Python lacks {', '.join(lacking)}, which {folder} does not carry")
    print(f"{site} is ready: PYTHONPATH={site.resolve()}")


def missing(site: Path) -> list[str]:
    """What the project needs and neither `site` nor this Python has, or has too old; without `LEFT_OUT`."""
    sys.path.insert(0, str(site))
    from packaging.requirements import Requirement

    [own] = distributions(name="mrsr-bench", path=[str(site)])
    lines = [line for line in own.requires or () if "extra ==" not in line]
    wanted = [Requirement(line) for line in {canonical(line): line for line in (*EXPECTED, *lines)}.values()]
    return sorted(str(one) for one in wanted if one.name not in LEFT_OUT and not fits(one.name, one.specifier))


def fits(name: str, versions: SpecifierSet) -> bool:
    """Whether a package is here, in one of these versions."""
    try:
        return versions.contains(version(name), prereleases=True)
    except PackageNotFoundError:
        return False


def canonical(requirement: str) -> str:
    """A requirement's package, in one spelling."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    if subprocess.run(command).returncode:
        raise SystemExit(f"pip {arguments[0]} failed; it said why above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fill", "install"))
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    {"fill": fill, "install": install}[chosen.what](chosen.folder)


if __name__ == "__main__":
    main()
