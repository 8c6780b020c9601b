"""Where a figure was made: machine, versions, commit, memory. Recorded with every figure, never part of a key."""

from __future__ import annotations

import platform
import resource
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_PACKAGES = ("mrsr-bench", "torch", "numpy", "timm", "lightning-fabric", "scipy", "nibabel", "numba")


class Environment(BaseModel):
    """The machine, the versions and the commit behind a figure."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    device: str
    """The GPU's name, else the processor's."""
    threads: int
    """Of torch, on the CPU."""
    deterministic: bool = False
    """Whether torch used only operations that give the same bits each time (`--deterministic`)."""
    python: str
    platform: str
    versions: dict[str, str | None]
    """Package → version; None where it is not installed."""
    git: str | None
    """`git_commit`."""


def environment(device: str) -> Environment:
    """The environment of this process; `device` is torch's name for it, e.g. 'cpu' or 'cuda'."""
    import torch

    return Environment(
        device=torch.cuda.get_device_name() if device.startswith("cuda") else _cpu_name(),
        threads=torch.get_num_threads(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        python=platform.python_version(),
        platform=platform.platform(),
        versions={name: _version(name) for name in _PACKAGES},
        git=git_commit(),
    )


def peak_memory(device: str) -> int:
    """Bytes: the peak resident memory of this process, or on CUDA the peak that torch allocated."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from, with -dirty where it has changes; None when installed."""
    folder = Path(__file__).resolve().parents[1]
    if not (folder.parent / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "cpu")
