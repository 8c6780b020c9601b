"""Unpacks images from a tar that is not trusted: known names only, whole files only, nothing outside the target."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, Self

from ...errors import BenchError
from ...system.files import atomic_file

_CHUNK = 1 << 20


class Stream(Protocol):
    """A source of bytes that is read once, from its start."""

    def read(self, n: int, /) -> bytes: ...


@dataclass
class Unpacked:
    """A tar's members after unpacking, by name."""

    members: list[str] = field(default_factory=list)
    """All that the data set knows, unpacked now or earlier."""
    strange: list[str] = field(default_factory=list)
    """Members with other names; not unpacked."""
    replaced: list[Path] = field(default_factory=list)
    """Earlier files of another size, under the names that they were renamed to."""


def unpack(
    source: Path | Stream,
    label: str,
    known: Callable[[str], bool],
    existing: Mapping[str, Path],
    target: Path,
    chosen: Collection[str] | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> Unpacked:
    """Write the members whose name is `known` into `target`, each complete or not at all.

    source: a tar. label: its name, for messages. existing: name → a file from earlier, in any folder; it is kept if it
    has the member's size, or is not compressed. chosen: only these, each checked by gzip's own checksum, and reading
    stops after the last; None: all. advance: is called with the size of every member.
    Raises BenchError for a tar that is truncated or damaged, for a member that points outside, or is a link or device,
    and for chosen names that the tar lacks.
    """
    result, remaining = Unpacked(), set(chosen or ())
    try:
        with _open(source) as tar:
            for member in tar:
                name = _safe_name(member, label)
                advance(member.size)
                if name is None or (chosen is not None and name not in remaining):
                    continue
                if not known(name):
                    result.strange.append(member.name)
                    continue
                earlier = existing.get(name)
                if earlier is None or (earlier.name == name and earlier.stat().st_size != member.size):
                    if earlier is not None:
                        result.replaced.append(earlier.rename(earlier.with_name(f"{earlier.name}.replaced")))
                    _write(tar, member, target / name, checked=chosen is not None)
                result.members.append(name)
                remaining.discard(name)
                if chosen is not None and not remaining:
                    break
    except tarfile.TarError as error:
        raise BenchError(f"{label}: truncated or damaged after {len(result.members)} files ({error})") from error
    except OSError as error:
        raise BenchError(
            f"{error.filename or target}: {error.strerror or error}. The files unpacked so far are whole and kept; "
            "fix the cause and run the same command again"
        ) from error
    if remaining:
        names = ", ".join(sorted(remaining)[:5])
        raise BenchError(f"{label} lacks {len(remaining)} files that it should have: {names}")
    return result


class _TarMember(tarfile.TarInfo):
    """An error for a truncated or damaged header; tarfile by itself takes it for the end of the tar."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the empty block at the end; stubs lack it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def _open(source: Path | Stream) -> tarfile.TarFile:
    if isinstance(source, Path):
        return tarfile.open(source, "r:", tarinfo=_TarMember)
    stream: Any = source  # a tar read as a stream calls `read` alone; the stubs want a whole file
    return tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16, tarinfo=_TarMember)


def _safe_name(member: tarfile.TarInfo, label: str) -> str | None:
    """The name that a regular file is written under, None for a folder. Raises BenchError for anything else."""
    path = PurePosixPath(member.name)
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
    if path.is_absolute() or ".." in path.parts or not plain:
        reason = "its path leaves the folder" if plain else "a link, device or other special file"
        raise BenchError(f"{label} holds the unsafe member '{member.name}' ({reason}); it was not unpacked")
    return None if member.isdir() else path.name


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, checked: bool) -> None:
    source = tar.extractfile(member)
    assert source is not None
    gzip, remaining = zlib.decompressobj(31), member.size
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target) as file:
        while chunk := source.read(_CHUNK):
            remaining -= len(chunk)
            file.write(chunk)
            try:
                gzip.decompress(chunk if checked else b"")
            except zlib.error as error:
                raise tarfile.ReadError(f"{member.name} is damaged: {error}") from error
        if remaining or (checked and not gzip.eof):
            raise tarfile.ReadError(f"{member.name} ends too early")
