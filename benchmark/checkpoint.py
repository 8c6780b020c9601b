"""The state of a training on disk: the last two are kept, each named by its step and the checksum of its bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import atomic_file

_KEPT = 2
_NAME = "state-{step:08d}-{digest}.pt"


def paths(folder: Path) -> list[Path]:
    """The states in a folder, the newest first."""
    return sorted(folder.glob("state-*.pt"), reverse=True)


def save(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write `state` as that of `step`, complete or not at all, and remove all but the last two."""
    import torch

    content = io.BytesIO()
    torch.save(dict(state), content)
    name = _NAME.format(step=step, digest=_digest(content.getbuffer()))
    with atomic_file(folder / name) as file:
        file.write(content.getbuffer())
    for old in paths(folder)[_KEPT:]:
        old.unlink()


def load(folder: Path, key: str, device: Any) -> dict[str, Any] | None:
    """The newest whole state that has this `key`, its tensors on `device`; None where there is none.

    One that is damaged is named and passed over; those of another key are removed.
    """
    import torch

    for path in paths(folder):
        content = path.read_bytes()
        if path.stem.rpartition("-")[2] != _digest(content):
            print(f"{path} is damaged and passed over", flush=True)
            continue
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        if state["key"] == key:
            return state
    clear(folder)
    return None


def clear(folder: Path) -> None:
    """Remove the states of a training that has ended."""
    for path in paths(folder):
        path.unlink()


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
