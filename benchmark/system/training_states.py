"""What a training leaves for others to read: its curve, its last two states with step and checksum, and a word."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from .cache import content_digest
from .files import DamagedFile, Readable, WorkFolder, read_bytes

CURVE = "train.csv"
"""The figures of a training, one row for every few steps."""
DIVERGED = "training diverged"
"""So begins the reason of a training that diverged for good."""
_STATES_KEPT = 2
_NAME = "state-{step:08d}-{digest}.pt"
P = TypeVar("P", bound=Readable)


def states_in(folder: P) -> list[P]:
    """The states in a folder, the newest first."""
    return sorted(folder.glob("state-*.pt"), reverse=True)


def is_whole(path: Readable) -> bool:
    """Whether a state has the checksum in its name; True for one that was removed meanwhile."""
    try:
        return content_digest(path).startswith(_checksum(path))
    except FileNotFoundError:
        return True
    except OSError:
        return False


def write_state(folder: WorkFolder, step: int, content: memoryview) -> None:
    """Write the state of `step`, complete or not at all, and remove all but the last two."""
    with folder.file(_NAME.format(step=step, digest=_digest(content))) as file:
        file.write(content)
    for path in states_in(folder.path)[_STATES_KEPT:]:
        path.unlink(missing_ok=True)


def read_state(path: Path) -> bytes:
    """The content of a state. Raises DamagedFile where it does not have the checksum in its name."""
    content = read_bytes(path)
    if _checksum(path) != _digest(content):
        raise DamagedFile(path, "its checksum does not match its content")
    return content


def remove_states(folder: WorkFolder) -> None:
    """Remove the states of a training that has ended."""
    folder.check()
    for path in states_in(folder.path):
        path.unlink(missing_ok=True)


def _checksum(path: Readable) -> str:
    """The checksum in the name."""
    return path.name.removesuffix(".pt").rpartition("-")[2]


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
