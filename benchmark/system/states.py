"""What a long training leaves in its folder as it goes: a curve, and its last two states with step and checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from .cache import content_digest
from .files import DamagedFile, Readable, WorkFolder, read_bytes

CURVE = "train.csv"
"""The figures of a training, a row every so many steps."""
_KEPT = 2
_NAME = "state-{step:08d}-{digest}.pt"
P = TypeVar("P", bound=Readable)


def states_in(folder: P) -> list[P]:
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


def write_state(folder: WorkFolder, step: int, content: memoryview) -> None:
    """Write the state of `step`, complete or not at all, and remove all but the last two."""
    with folder.file(_NAME.format(step=step, digest=_digest(content))) as file:
        file.write(content)
    for path in states_in(folder.path)[_KEPT:]:
        path.unlink(missing_ok=True)


def read_state(path: Path) -> bytes:
    """The content of a state. Raises DamagedFile where it has not the checksum that its name says."""
    content = read_bytes(path)
    if _checksum(path) != _digest(content):
        raise DamagedFile(path, "its checksum does not fit its content")
    return content


def remove_states(folder: WorkFolder) -> None:
    """Remove the states of work that has ended."""
    folder.check()
    for path in states_in(folder.path):
        path.unlink(missing_ok=True)


def _checksum(path: Readable) -> str:
    """What the name says."""
    return path.name.removesuffix(".pt").rpartition("-")[2]


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
