"""Files that are complete or absent: written beside the target, synced, renamed; and JSON that carries its checksum."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

from ..errors import BenchError
from .liveness import machine, start_of

CHECKSUM = "checksum"
"""The key of a sealed file's own checksum."""
_SEAL = f',\n  "{CHECKSUM}": "'
_TEMPORARY = re.compile(r"\..+~(?P<machine>[0-9a-f]{12})-(?P<pid>[0-9]+)-[0-9a-f]{8}")
_DAY = 86_400


class Readable(Protocol):
    """A path that can be read: a `Path`, or one within a pack (`store.pack.PackPath`)."""

    @property
    def name(self) -> str: ...
    @property
    def parent(self) -> Self: ...
    def __truediv__(self, key: str, /) -> Self: ...
    def __lt__(self, other: Self, /) -> bool: ...
    def exists(self) -> bool: ...
    def is_file(self) -> bool: ...
    def read_bytes(self) -> bytes: ...
    def stat(self) -> os.stat_result: ...
    def glob(self, pattern: str, /) -> Iterator[Self]: ...


class DamagedFile(BenchError):
    """A file that exists but is not what was written; the message names it and says what is wrong."""

    def __init__(self, path: Readable, reason: str) -> None:
        super().__init__(f"{path} is damaged: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type[DamagedFile], tuple[Readable, str]]:
        return type(self), (self.path, self.reason)


def _no_check() -> None:
    pass


@dataclass(frozen=True)
class WorkFolder:
    """A folder to write in. A file takes its name there only after `check` has raised nothing."""

    path: Path
    check: Callable[[], None] = _no_check

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        """`atomic_file` of that name in this folder."""
        with atomic_file(self.path / name, self.check) as file:
            yield file

    def write_text(self, name: str, text: str) -> None:
        """Write a whole text file, UTF-8."""
        with self.file(name) as file:
            file.write(text.encode())

    def append_text(self, name: str, text: str) -> None:
        """Add to the end of a text file: the only kind of writing that a kill may leave incomplete."""
        self.check()
        with (self.path / name).open("a", encoding="utf-8", newline="") as file:
            file.write(text)

    def write_sealed(self, name: str, content: Mapping[str, Any]) -> None:
        """Write plain data as JSON with its checksum; `read_sealed` reads it back."""
        self.write_text(name, sealed(content))


def _temporary(path: Path) -> Path:
    """An unused name beside `path`, by which `remove_leftovers` knows what a killed process left."""
    return path.with_name(f".{path.name}~{machine()}-{os.getpid()}-{secrets.token_hex(4)}")


@contextmanager
def atomic_file(path: Path, check: Callable[[], None] = _no_check) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` when the block ends well and `check` raises nothing.

    After a crash, a kill or on a full disk the path holds the old file or none, never a part of one. Several processes
    may write the same path. `remove_leftovers` removes what a killed process left.
    """
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes the name `path` when the block ends well; a folder that is there is replaced.

    After an error nothing has changed; after a kill the old folder is there, or for an instant none.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    new, old = _temporary(path), _temporary(path)
    new.mkdir()
    try:
        yield new
        if path.exists():
            path.rename(old)
        new.rename(path)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, UTF-8, atomically."""
    WorkFolder(path.parent).write_text(path.name, text)


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as JSON with its checksum, atomically."""
    WorkFolder(path.parent).write_sealed(path.name, content)


def read_sealed(path: Readable) -> dict[str, Any]:
    """The data given to `write_sealed`. Raises FileNotFoundError, and DamagedFile where any bit has changed."""
    return unsealed(path, read_bytes(path))


def read_bytes(path: Readable) -> bytes:
    """A file's content. Raises FileNotFoundError, and DamagedFile for one that cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        raise FileNotFoundError(str(error)) from None
    except OSError as error:
        raise DamagedFile(path, error.strerror or str(error)) from None


def json_text(content: Any) -> str:
    """Plain data as JSON that every parser reads, with an indent of two.

    JSON has no word for numbers that are not finite: they are the texts "Infinity", "-Infinity" and "NaN", which
    pydantic reads back as such numbers where a field is a float.
    """
    return json.dumps(with_finite_numbers(content), indent=2, allow_nan=False)


def with_finite_numbers(content: Any) -> Any:
    """Plain data whose numbers that are not finite are texts, as `json_text` writes them."""
    if isinstance(content, Mapping):
        return {key: with_finite_numbers(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [with_finite_numbers(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    return content


def sealed(content: Mapping[str, Any]) -> str:
    """Plain data, not empty, as JSON text that ends with the SHA-256 of all text before it."""
    body = json_text(content).removesuffix("\n}")
    return f'{body}{_SEAL}{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def unsealed(path: Readable, content: bytes) -> dict[str, Any]:
    """The data of a sealed file's content. Raises DamagedFile for `path` where any bit of it has changed."""
    body, seal, checksum = content.rpartition(_SEAL.encode())
    if not seal:
        raise DamagedFile(path, "it has no checksum" if content else "it is empty")
    if checksum != f'{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode():
        raise DamagedFile(path, "its checksum does not match its content")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, f"it is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise DamagedFile(path, "it is not a JSON object")
    del data[CHECKSUM]
    return data


def digest(content: Any) -> str:
    """SHA-256 of the canonical JSON of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path, mark: str) -> Path:
    """Rename a file or folder that is out of date or damaged to a free name, and return that: nothing is deleted."""
    target = free_name(path, mark)
    path.rename(target)
    return target


def free_name(path: Path, mark: str) -> Path:
    """An unused name beside `path`: '<name>~<mark>-<time>'."""
    first = target = path.with_name(f"{path.name}~{mark}-{time.strftime('%Y%m%dT%H%M%S')}")
    number = 1
    while target.exists():
        number += 1
        target = first.with_name(f"{first.name}-{number}")
    return target


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders whose process has ended, and those older than a day."""
    for path in folder.glob(".*~*"):
        match = _TEMPORARY.fullmatch(path.name)
        with suppress(OSError):  # another process may have removed it
            if match and _is_leftover(path, match["machine"], int(match["pid"])):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)


def _is_leftover(path: Path, made_on: str, pid: int) -> bool:
    if made_on == machine() and start_of(pid) is None:
        return True
    return time.time() - path.stat().st_mtime > _DAY
