"""Images out of a tar that nobody has to trust: known names only, whole files only, nothing outside the target."""

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
    """What is read once, from its start."""

    def read(self, n: int, /) -> bytes: ...


@dataclass
class Unpacked:
    """What became of a tar's members, by name."""

    members: list[str] = field(default_factory=list)
    """All that the data set knows, unpacked now or there before."""
    strange: list[str] = field(default_factory=list)
    """Members with other names; left in the tar."""
    replaced: list[Path] = field(default_factory=list)
    """Files that were there with another size, and were renamed."""


def unpack(
    source: Path | Stream,
    label: str,
    known: Callable[[str], bool],
    have: Mapping[str, Path],
    target: Path,
    wanted: Collection[str] | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> Unpacked:
    """Write the members whose name is `known` into `target`, each complete or not at all.

    source: a tar. label: its name, for messages. have: name → file that is there already, anywhere: left alone if it
    has the member's size, or is not compressed. wanted: only these, each checked by gzip's own checksum, and reading
    stops after the last; None: all. advance: hears of the bytes that are done.
    Raises BenchError for a tar that is truncated or damaged, for a member that points outside, or is a link or device,
    and for wanted names that it lacks.
    """
    done, left = Unpacked(), set(wanted or ())
    try:
        with _open(source) as tar:
            for member in tar:
                name = _safe_name(member, label)
                advance(member.size)
                if name is None or (wanted is not None and name not in left):
                    continue
                if not known(name):
                    done.strange.append(member.name)
                    continue
                old = have.get(name)
                if old is None or (old.name == name and old.stat().st_size != member.size):
                    if old is not None:
                        done.replaced.append(old.rename(old.with_name(f"{old.name}.replaced")))
                    _write(tar, member, target / name, checked=wanted is not None)
                done.members.append(name)
                left.discard(name)
                if wanted is not None and not left:
                    break
    except tarfile.TarError as error:
        raise BenchError(f"{label}: truncated or damaged after {len(done.members)} files ({error})") from error
    except OSError as error:
        raise BenchError(
            f"{error.filename or target}: {error.strerror or error}. What was unpacked is whole and kept; mend this "
            "and run the same command again"
        ) from error
    if left:
        raise BenchError(f"{label} lacks {len(left)} files that it should have: {', '.join(sorted(left)[:5])}")
    return done


class _TarMember(tarfile.TarInfo):
    """Says that a tar breaks off in a header, or holds nonsense there; by itself tarfile takes that for the end."""

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
        why = "its path leaves the folder" if plain else "a link, device or other special file"
        raise BenchError(f"{label} holds the unsafe member '{member.name}' ({why}); it was not unpacked")
    return None if member.isdir() else path.name


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, checked: bool) -> None:
    source = tar.extractfile(member)
    assert source is not None
    gzip, left = zlib.decompressobj(31), member.size
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target) as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            file.write(chunk)
            try:
                gzip.decompress(chunk if checked else b"")
            except zlib.error as error:
                raise tarfile.ReadError(f"{member.name} is damaged: {error}") from error
        if left or (checked and not gzip.eof):
            raise tarfile.ReadError(f"{member.name} ends too early")
