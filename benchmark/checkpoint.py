"""What a training leaves on disk as it goes: its states, the last two, each named by its step and its checksum."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .cache import content_digest
from .files import DamagedFile, Folder, Readable, read_bytes, set_aside

CURVE = "train.csv"
"""The figures of a training, a row every so many steps."""
_KEPT = 2
_NAME = "state-{step:08d}-{digest}.pt"
P = TypeVar("P", bound=Readable)


def paths(folder: P) -> list[P]:
    """The states in a folder, the newest first."""
    return sorted(folder.glob("state-*.pt"), reverse=True)


def is_whole(path: Readable) -> bool:
    """Whether a state has the checksum that its name says; True for one that was removed in that moment."""
    try:
        return content_digest(path).startswith(_checksum(path))
    except FileNotFoundError:
        return True
    except OSError:
        return False


def save(folder: Folder, step: int, state: Mapping[str, Any]) -> None:
    """Write `state` as that of `step`, complete or not at all, and remove all but the last two."""
    import torch

    content = io.BytesIO()
    torch.save(dict(state), content)
    name = _NAME.format(step=step, digest=_digest(content.getbuffer()))
    with folder.file(name) as file:
        file.write(content.getbuffer())
    for path in paths(folder.path)[_KEPT:]:
        path.unlink(missing_ok=True)


def load(folder: Folder, key: str, device: Any, fields: Collection[str] = ()) -> dict[str, Any] | None:
    """The newest whole state that has this `key`, its tensors on `device`; None where there is none.

    One that is damaged, or that lacks one of `fields`, is named and set aside; those of another key are removed.
    """
    for path in paths(folder.path):
        try:
            state = _read(path, device, {"key", *fields})
        except FileNotFoundError:
            continue
        except DamagedFile as error:
            folder.check()
            print(f"{error}; it is set aside as {set_aside(path, 'damaged').name}", flush=True)
            continue
        if state["key"] == key:
            return state
    clear(folder)
    return None


def clear(folder: Folder) -> None:
    """Remove the states of a training that has ended."""
    folder.check()
    for path in paths(folder.path):
        path.unlink(missing_ok=True)


def _read(path: Path, device: Any, fields: Collection[str]) -> dict[str, Any]:
    import torch

    content = read_bytes(path)
    if _checksum(path) != _digest(content):
        raise DamagedFile(path, "its checksum does not fit its content")
    try:
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # of the many that torch and pickle raise
        raise DamagedFile(path, f"it is no state ({type(error).__name__})") from None
    if not isinstance(state, dict) or not state.keys() >= set(fields):
        raise DamagedFile(path, "it is not the state of a training")
    return state


def _checksum(path: Readable) -> str:
    """What the name says."""
    return path.name.removesuffix(".pt").rpartition("-")[2]


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
