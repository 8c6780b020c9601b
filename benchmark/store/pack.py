"""A pack: results as one zip file, read as it is.

    pack.json  runs/<protocol>/plans/…  runs/<protocol>/sources/…  runs/<protocol>/<degradation>/…

A pack comes from others. Nothing in it is run, and it is read without unpacking. It is refused whole for a name that
no results folder has, for a link, and for more bytes than the bounds below; the sizes that it states are not trusted.
`pack.json` is sealed and has the size and the SHA-256 of every other member. A member that differs from them is
damaged, which affects its own cell alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ..errors import BenchError
from ..system.files import DamagedFile, unsealed
from .record import Part

MANIFEST = "pack.json"
FORMAT: Literal[1] = 1
MAX_MEMBERS = 200_000
MAX_TOTAL = 2**36
"""Unpacked bytes of all members: 64 GiB."""
MAX_RATIO = 200
"""Unpacked bytes for one compressed byte, in members of more than a megabyte."""
_SMALL = 2**20
_MAX_DIRECTORY = 2**26
"""Bytes of the archive's list of contents."""
_CHUNK = 2**20
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, LookupError, RuntimeError, OverflowError)
"""What zipfile and zlib raise on a damaged file."""

_PART = r"(?!\.)[^/\\\x00-\x1f\x7f-\x9f]{1,200}"
_CELL_FILES = rf"record\.json|scores(-{_PART})?\.csv|radial\.csv|train\.csv|weights\.safetensors|exhibit\.npz"
_NAMES = re.compile(
    rf"runs/{_PART}/(plans/[0-9a-f]{{32}}\.json|sources/[0-9a-f]{{64}}\.zip|"
    rf"(?!plans/|sources/){_PART}/{_PART}/(truth-[0-9a-f]{{16}}\.npz|{_PART}/seed[0-9]{{1,10}}/({_CELL_FILES})))"
)
"""All names that a pack's members may have."""


class BadPack(BenchError):
    """A file that is not a pack, or is refused as one."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be used as a pack: {reason}")


class Member(Part):
    """The size and checksum that a member must have."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class PackedProtocol(Part):
    """A protocol in a pack."""

    name: str
    version: int
    digest: str
    dataset: str
    images: str
    """The licence of the slices of images in the pack, and whom to name; '' where there are none."""


class Manifest(Part):
    """The content of `pack.json`."""

    format: Literal[1] = FORMAT
    protocols: dict[str, PackedProtocol]
    """Folder below runs → protocol."""
    members: dict[str, Member]
    """Name → member; all but `pack.json` itself."""


def max_bytes(name: str) -> int:
    """The most bytes that a member of this name may have: parsed files are small, weights and images are not."""
    if name == MANIFEST:
        return 2**26
    return 2**24 if name.endswith(".json") or name.rpartition("/")[2].startswith("scores") else 2**30


def is_member_name(name: str) -> bool:
    """Whether a results folder can have a file of this name: relative, without '..', and not executable code."""
    return _NAMES.fullmatch(name) is not None


def open_pack(path: Path) -> PackPath:
    """The root of a pack, to be read like a results folder. Raises BadPack, and DamagedFile for its pack.json."""
    return PackPath(Pack(path), "")


class Pack:
    """An open pack: the archive's members by name, and its manifest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            _check_directory(path)
            self._archive = zipfile.ZipFile(path)
            self._infos = _checked_members(self._archive.infolist())
        except DAMAGE as error:
            raise BadPack(path, str(error).partition("\n")[0] or type(error).__name__) from None
        self.manifest = self._manifest()
        if unknown := self._infos.keys() - self.manifest.members.keys() - {MANIFEST}:
            raise BadPack(path, f"its {MANIFEST} does not name its member {min(unknown)!r}")
        self._children: dict[str, set[str]] = {}
        for name in self.manifest.members:
            while name:
                folder, _, last = name.rpartition("/")
                self._children.setdefault(folder, set()).add(last)
                name = folder

    def read(self, name: str) -> bytes:
        """A member's content. Raises FileNotFoundError, and DamagedFile for one that differs from the manifest."""
        member = self.manifest.members.get(name)
        if member is None:
            raise FileNotFoundError(f"{self.path}/{name}")
        content = self._content(name, member.bytes)
        if len(content) != member.bytes or hashlib.sha256(content).hexdigest() != member.sha256:
            raise DamagedFile(PackPath(self, name), f"it is not what the pack's {MANIFEST} says")
        return content

    def children(self, folder: str) -> set[str]:
        """The names in a folder; none where it is not a folder."""
        return self._children.get(folder, set())

    def _content(self, name: str, size: int) -> bytes:
        """At most `size` bytes and one more, whatever size the archive states."""
        try:
            with self._archive.open(self._infos[name]) as file:
                content = bytearray()
                while len(content) <= size and (chunk := file.read(min(_CHUNK, size + 1 - len(content)))):
                    content += chunk
                return bytes(content)
        except KeyError:
            raise DamagedFile(PackPath(self, name), "it is missing") from None
        except DAMAGE as error:
            raise DamagedFile(PackPath(self, name), str(error).partition("\n")[0] or type(error).__name__) from None

    def _manifest(self) -> Manifest:
        path = PackPath(self, MANIFEST)
        if MANIFEST not in self._infos:
            raise BadPack(self.path, f"it has no {MANIFEST}; packs are made by: bench pack")
        content = unsealed(path, self._content(MANIFEST, max_bytes(MANIFEST)))
        if content.get("format") != FORMAT:
            raise BadPack(self.path, f"it has format {content.get('format')}; this version of the suite reads {FORMAT}")
        try:
            manifest = Manifest.model_validate(content)
        except ValidationError as error:
            problem = error.errors()[0]
            raise DamagedFile(path, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
        for name, member in manifest.members.items():
            if not is_member_name(name) or member.bytes > max_bytes(name):
                raise BadPack(self.path, f"its {MANIFEST} names {name!r} with {member.bytes} bytes")
        return manifest


@dataclass(frozen=True)
class PackPath:
    """A path within a pack, for reading: see `system.files.Readable`."""

    pack: Pack
    inner: str
    """Below the pack, with / between; '' for the pack itself."""

    def __str__(self) -> str:
        return f"{self.pack.path}/{self.inner}" if self.inner else str(self.pack.path)

    def __truediv__(self, key: str, /) -> PackPath:
        return PackPath(self.pack, f"{self.inner}/{key}" if self.inner else key)

    def __lt__(self, other: PackPath, /) -> bool:
        return self.inner.split("/") < other.inner.split("/")

    @property
    def name(self) -> str:
        return self.inner.rpartition("/")[2] or self.pack.path.name

    @property
    def parent(self) -> PackPath:
        return PackPath(self.pack, self.inner.rpartition("/")[0])

    def exists(self) -> bool:
        return self.is_file() or bool(self.pack.children(self.inner))

    def is_file(self) -> bool:
        return self.inner in self.pack.manifest.members

    def read_bytes(self) -> bytes:
        return self.pack.read(self.inner)

    def stat(self) -> os.stat_result:
        """Only its type and its size."""
        member = self.pack.manifest.members.get(self.inner)
        if member is None:
            raise FileNotFoundError(str(self))
        return os.stat_result((stat.S_IFREG | 0o444, 0, 0, 1, 0, 0, member.bytes, 0, 0, 0))

    def glob(self, pattern: str, /) -> Iterator[PackPath]:
        """The paths below that match a pattern such as '*/plans/*.json', part by part."""
        first, _, rest = pattern.partition("/")
        for name in sorted(self.pack.children(self.inner)):
            if fnmatchcase(name, first):
                if rest:
                    yield from (self / name).glob(rest)
                else:
                    yield self / name


def _checked_members(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The members by name. Raises ValueError for members that a pack cannot have."""
    if len(infos) > MAX_MEMBERS:
        raise ValueError(f"it has {len(infos)} members, more than {MAX_MEMBERS}")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name, size = info.orig_filename, info.file_size
        if name != MANIFEST and not is_member_name(name):
            raise ValueError(f"a pack cannot have a member {name[:200]!r}")
        if name in members:
            raise ValueError(f"its member {name!r} appears twice")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"its member {name!r} is a link or another special file")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its member {name!r} is encrypted, or compressed by a method that packs do not use")
        if size > max_bytes(name):
            raise ValueError(f"its member {name!r} has {size} bytes, more than {max_bytes(name)}")
        if size > _SMALL and size > MAX_RATIO * info.compress_size:
            raise ValueError(f"its member {name!r} expands from {info.compress_size} to {size} bytes")
        members[name] = info
    if (total := sum(info.file_size for info in infos)) > MAX_TOTAL:
        raise ValueError(f"its members have {total} bytes, more than {MAX_TOTAL}")
    return members


def _check_directory(path: Path) -> None:
    """Raise ValueError where the list of contents is too long, or not at the end of the file."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 98))
        end = file.read(98).rjust(98, b"\0")
    wide, locator, last = end[:56], end[56:76], end[76:]
    if last[:4] != b"PK\5\6":
        raise ValueError("it is not a zip file, or it is incomplete")
    length = int.from_bytes(last[12:16], "little")
    if locator[:4] == b"PK\6\7":  # more members or bytes than 16 or 32 bits can count
        if wide[:4] != b"PK\6\6":
            raise ValueError("its end is not that of a zip file")
        length = int.from_bytes(wide[40:48], "little")
    if length > _MAX_DIRECTORY:
        raise ValueError(f"its list of contents has {length} bytes, more than {_MAX_DIRECTORY}")
