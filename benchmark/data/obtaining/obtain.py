"""From a data set's address to its files: missing files are unpacked, streamed or downloaded."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ...dataset import Archive, Dataset
from ...errors import BenchError, UsageError
from ...system.files import write_text
from ...system.units import size_text
from .download import FileChanged, Remote, download, require_space
from .meter import Meter, Say
from .unpack import Unpacked, unpack


@dataclass(frozen=True)
class _Fetch:
    """A tar, and which of its members are missing."""

    archive: Archive
    existing: dict[str, Path]
    """Member → its file, in whatever folder, compressed or not."""
    missing: set[str]
    members: int
    """How many the whole tar has."""
    tar: Path | None
    """The tar's file, where it exists."""
    url: str

    @property
    def unpacked_size(self) -> int:
        """About how many bytes the missing files will take."""
        return self.archive.size * len(self.missing) // self.members


def first_usable(cls: type[Dataset], number: int) -> list[str]:
    """The first `number` subjects, by name, that have all contrasts and no known defect.

    Raises UsageError where there are not so many, as in a data set without a list of names.
    """
    usable = cls.usable()
    if number > len(usable):
        raise UsageError(f"--subjects {number}: there are {len(usable)} subjects that can be downloaded by number")
    return usable[:number]


def obtain(cls: type[Dataset], root: Path, say: Say, mirror: str | None = None, subjects: int | None = None) -> None:
    """Get a data set's missing files into `root`: all of them, or those of the first `subjects` usable subjects.

    Existing files count, in whatever subfolder; so do the publisher's tars. For all subjects whole tars are downloaded
    and their checksums verified. For some subjects only the start of each tar is read, and every file is checked by
    the checksum within it. mirror: an address that serves the tars, instead of the publisher's.
    Raises BenchError where a file cannot be downloaded or unpacked.
    """
    chosen = first_usable(cls, subjects) if subjects else None
    jobs = [job for archive in cls.archives if (job := _fetch(cls, archive, root, chosen, mirror)).missing]
    if not jobs:
        return
    root.mkdir(parents=True, exist_ok=True)
    downloads = [job for job in jobs if chosen is None and job.tar is None]
    need = sum(job.unpacked_size for job in jobs) + sum(
        job.archive.size - _received(root, job.archive) for job in downloads
    )
    require_space(root, need, "the missing files" if chosen else "the missing files and the tars")
    for job in jobs:
        say(f"{job.archive.name}: {len(job.missing)} files are missing")
        try:
            result = (_unpack_chosen if chosen else _unpack_all)(cls, job, root, say)
        except BenchError as error:
            by_hand = f"Give another address with --mirror, or put {job.archive.name} into {root} by hand."
            raise type(error)(f"{error}\n{by_hand}") from error
        for path in result.replaced:
            say(f"{path}: its size differs from that in {job.archive.name}; it was renamed to this and replaced")
        if result.strange:
            say(f"{job.archive.name}: not unpacked, not images of the data set: {', '.join(result.strange[:10])}")


def _fetch(cls: type[Dataset], archive: Archive, root: Path, chosen: list[str] | None, mirror: str | None) -> _Fetch:
    members = {
        f"{name}-{archive.contrast}.nii.gz"
        for name, contrasts in cls.published().items()
        if archive.contrast in contrasts
    }
    if (listing := _listing(root, archive)).is_file():
        listed = json.loads(listing.read_text(encoding="utf-8"))
        members = {*listed["members"]} if listed["sha256"] == archive.sha256 else members
    existing: dict[str, Path] = {}
    for path in cls(root).images if root.is_dir() else []:
        existing.setdefault(f"{path.name.removesuffix('.gz')}.gz", path)
    needed = members if chosen is None else {f"{subject}-{archive.contrast}.nii.gz" for subject in chosen}
    url = f"{(mirror or cls.address).rstrip('/')}/{archive.name}"
    return _Fetch(archive, existing, needed - existing.keys(), len(members), _find(root, archive.name), url)


def _listing(root: Path, archive: Archive) -> Path:
    """Lists the tar's members since it was unpacked whole; from then on this replaces the published names."""
    return root / f".{archive.name}.json"


def _find(root: Path, name: str) -> Path | None:
    paths = (Path(folder, name) for folder, _, names in os.walk(root, followlinks=True) if name in names)
    return next(paths, None)


def _received(root: Path, archive: Archive) -> int:
    part = root / f"{archive.name}.part"
    return part.stat().st_size if part.is_file() else 0


def _unpack_all(cls: type[Dataset], job: _Fetch, root: Path, say: Say) -> Unpacked:
    archive, tar = job.archive, job.tar
    if tar is None:
        tar = root / archive.name
        download(job.url, tar, archive.size, archive.sha256, say)
    else:
        _verify(tar, archive, say)
    with Meter(say, f"unpacking {archive.name}", archive.size, "bytes") as meter:
        target = root / archive.contrast
        result = unpack(tar, str(tar), _known(cls, archive), job.existing, target, advance=meter.advance)
    write_text(_listing(root, archive), json.dumps({"sha256": archive.sha256, "members": sorted(result.members)}))
    say(f"{tar} is unpacked; it can be deleted to free {size_text(archive.size)}")
    return result


def _unpack_chosen(cls: type[Dataset], job: _Fetch, root: Path, say: Say) -> Unpacked:
    archive, target, known = job.archive, root / job.archive.contrast, _known(cls, job.archive)
    with Meter(say, f"reading {archive.name}, at most", archive.size, "bytes") as meter:
        if job.tar is not None:
            return unpack(job.tar, str(job.tar), known, job.existing, target, job.missing, meter.advance)
        try:
            with closing(Remote(job.url, archive.size, say)) as remote:
                return unpack(remote, job.url, known, job.existing, target, job.missing, meter.advance)
        except FileChanged:
            raise BenchError(f"{job.url} changed on the server while it was read; run the same command again") from None


def _known(cls: type[Dataset], archive: Archive) -> Callable[[str], bool]:
    return lambda name: name.endswith(".nii.gz") and (cls.identify(name) or ("", ""))[1] == archive.contrast


def _verify(tar: Path, archive: Archive, say: Say) -> None:
    """Raises BenchError where an existing tar is not the published one."""
    if (size := tar.stat().st_size) != archive.size:
        raise BenchError(
            f"{tar} has {size:,} bytes where {archive.size:,} are published: an unfinished download? Delete it, or "
            f"rename it to {archive.name}.part to resume it"
        )
    digest = hashlib.sha256()
    with tar.open("rb") as file, Meter(say, f"checking {archive.name}", size, "bytes") as meter:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            meter.advance(len(chunk))
    if digest.hexdigest() != archive.sha256:
        raise BenchError(f"{tar} is damaged: its sha256 is {digest.hexdigest()}, published is {archive.sha256}")
