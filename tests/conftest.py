"""Fixtures: real data where it is at hand, a small folder data set and protocols that run in seconds."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from ruamel.yaml import YAML

from mrsr_bench.system.processes import forkserver

# Before torch is imported. OpenMP threads that spin while they wait are quicker on an idle machine and several times
# slower on a busy one, where tests should pass too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, as many as there are cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
REFERENCE = Path(__file__).parent / "reference"
"""Answers of other people's code and papers; its README.md names the sources."""
SHARED = Path(os.environ.get("MRSR_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_xdist_auto_num_workers() -> int:
    """Three processes for two cores: a third of the time a test waits for a disk, a child or a clock."""
    return max(1, (os.cpu_count() or 1) * 3 // 2)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real MR data, which the project may lack."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real MR data in ../shared/data (or MRSR_SHARED/data), which are not here")
    return SHARED


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Golden outputs of the public code, for closed-formula weights."""
    return json.loads((REFERENCE / "golden_methods.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tensors as small as a test's only lose by threads, the more the busier the machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


_IGNORES_PERMISSIONS = 1 << 1 | 1 << 2
"""Linux's CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, as bits (capabilities(7))."""


@pytest.fixture
def _permissions_hold() -> Iterator[None]:
    """What nobody may read or write, root may not either. It stays root, who owns a clone below a closed home."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root may read and write everything here; run the tests as another user")
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable capabilities 0 to 31, then the higher ones
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0, os.strerror(ctypes.get_errno())
    effective = sets[0]
    sets[0] &= ~_IGNORES_PERMISSIONS
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())
    yield
    sets[0] = effective
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither read nor fill the user's cache, and find no data of theirs."""
    os.environ["MRSR_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("MRSR_DATA", None)


@pytest.fixture(autouse=True, scope="session")
def _one_forkserver_for_all() -> None:
    """Children of all tests start with everything imported, whichever test starts the forkserver."""
    package = [f"mrsr_bench.{name}" for name in ("running.executors.local", "running.worker")]
    package += [f"mrsr_bench.{name}" for name in ("testing.trial", "estimating.probe", "training.loop")]
    forkserver("torch", "timm", "lightning_fabric", *package)


def docs_script(name: str) -> ModuleType:
    """A script of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def write_image(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def textured(seed: int, shape: tuple[int, ...] = (36, 48, 4)) -> np.ndarray:
    """An int16 image in 0–1000 with smooth and sharp parts, different for every seed."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij"))
    waves = sum(
        np.sin(2 * np.pi * (random.uniform(1, 9, 3) @ grid.reshape(3, -1)) + random.uniform(0, 6)) for _ in range(6)
    ).reshape(shape)
    blocks = np.kron(random.uniform(-2, 2, (shape[0] // 6, shape[1] // 6, shape[2])), np.ones((6, 6, 1)))
    image = waves + blocks[: shape[0], : shape[1]]
    image -= image.min()
    return np.round(image / image.max() * 1000).astype(np.int16)


SUBJECTS = {"train": ("anna", "bert", "carl"), "val": ("dora",), "test": ("emil", "fine")}


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder data set of six subjects, one T1 of 4 axial slices each."""
    root = tmp_path_factory.mktemp("images")
    for number, subject in enumerate(name for names in SUBJECTS.values() for name in names):
        write_image(root / f"{subject}-T1.nii.gz", textured(number))
    return root


def small_protocol(**changes: Any) -> dict[str, Any]:
    """A protocol over `images` whose trainings take seconds; `changes` replace top-level keys."""
    convention = {"range": "volume_minmax"}
    content = {
        "schema": 1,
        "name": "small",
        "version": 1,
        "description": "a small protocol for tests",
        "data": {"dataset": "folder", "contrasts": ["T1"], "split": "split.csv", "plane": "axial"},
        "degradation": {"name": "bicubic", "round": "stored"},
        "scales": [2],
        "methods": {"bicubic": {}},
        "training": {"track": "equal", "steps": 30, "batch": 2, "lr_patch": 8, "augment": "dihedral", "lr": 1e-3},
        "validation": {"every": 10, "patches": 2, "lr_patch": 12},
        "seeds": [0],
        "scoring": {
            "round": "stored",
            "metrics": {"psnr": convention, "ssim": {**convention, "window": "gaussian11", "dims": 2, "map": "whole"}},
        },
    }
    return {**content, **changes}


def write_small_protocol(folder: Path, folds: dict[str, tuple[str, ...]] = SUBJECTS, **changes: Any) -> Path:
    """Write `small_protocol` with its split into a folder and give its path."""
    rows = [f"{subject},{fold}\n" for fold, subjects in folds.items() for subject in subjects]
    (folder / "split.csv").write_text("subject,fold\n" + "".join(rows), encoding="utf-8")
    path = folder / "small.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(small_protocol(**changes), file)
    return path


@pytest.fixture
def write_protocol(tmp_path: Path) -> Callable[..., Path]:
    """Write a small protocol with its split and give its path."""

    return partial(write_small_protocol, tmp_path)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What MLflow makes of a fresh file, which takes it many seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> None:
    """An empty database where the results will be."""
    (tmp_path / "results").mkdir()
    shutil.copy(empty_database, tmp_path / "results" / "mlflow.db")
