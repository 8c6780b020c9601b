"""The subject and contrast that each HR volume of an archive was cut from: one pass over the data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ...dataset import Dataset
from ...system.parallel import thread_pool
from ...volumes import VolumeError
from .archive import ArchivedVolume
from .fingerprint import NOWHERE, CropPosition, IntegerVolume, as_integers, fingerprint, locate

_SAMPLES = 4096
"""Voxels hashed of the smallest volume of an archive; larger ones give more."""
_VOTES = 4
"""Pairs that must agree on a position before volumes are compared voxel by voxel; chance pairs do not."""
_COMMON = 8
"""A hash that appears in more volumes of an archive says little and is not looked up."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Match:
    """An archive's volume found in a volume of the data set (in RAS)."""

    subject: str
    contrast: str
    votes: int
    """Sampled voxels that agree on the position."""
    agreement: float
    """Share of the crop's voxels that are equal; 1 is exact."""
    clipped: int
    """Negative voxels of the source that are 0 in the archive; they count as equal."""
    codes: str
    """The direction each of the archive's axes grows towards."""
    start: tuple[int, int, int]
    """First voxel of the crop along R, A and S."""
    from_centre: tuple[int, int, int]
    """`start` less that of a centre crop."""
    scale: float
    offset: float
    """archive = file × scale + offset."""
    rule: str
    """The same as text, e.g. "divided by the volume's maximum"."""


@dataclass
class VolumeOrigin:
    """An HR volume of an archive, and the volumes of the data set that it may be cut from."""

    volume: ArchivedVolume
    matches: list[Match] = field(default_factory=list)
    """Candidates that were compared voxel by voxel, the best first."""
    problem: str = ""

    @property
    def exact(self) -> list[Match]:
        return [match for match in self.matches if match.agreement == 1]

    @property
    def match(self) -> Match | None:
        """The one exact match."""
        return self.exact[0] if len(self.exact) == 1 else None


@dataclass(frozen=True)
class Index:
    """The fingerprints of all volumes of an archive, sorted by hash."""

    hashes: np.ndarray
    positions: np.ndarray
    owners: np.ndarray
    """Number of the volume that each hash is of."""

    def shared(self, hashes: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For every volume that shares enough of the sorted `hashes`: its number, its positions, indices of hashes."""
        first, end = (np.searchsorted(self.hashes, hashes, side) for side in ("left", "right"))
        times = end - first
        times[times > _COMMON] = 0
        numbers = np.repeat(np.arange(len(hashes)), times)
        entries = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times) + first[numbers]
        owners = self.owners[entries]
        order = np.argsort(owners, kind="stable")
        for owner, start, count in zip(*np.unique(owners[order], return_index=True, return_counts=True), strict=True):
            if count >= _VOTES:
                chosen = order[start : start + count]
                yield int(owner), self.positions[entries[chosen]], numbers[chosen]


def in_threads(work: Callable[[T], R], jobs: Sequence[T], say: Callable[[str], None], title: str) -> Iterator[R]:
    """The results in order, with a line at every tenth. Unpacking and whole-volume arithmetic free Python's lock."""
    with thread_pool(8) as pool:
        for number, result in enumerate(pool.map(work, jobs), start=1):
            if number * 10 // len(jobs) > (number - 1) * 10 // len(jobs):
                say(f"{title}: {number} of {len(jobs)}")
            yield result


def search(
    dataset: Dataset, volumes: Sequence[ArchivedVolume], say: Callable[[str], None]
) -> tuple[list[VolumeOrigin], list[str]]:
    """Every HR volume of an archive with its candidates, and the data set's files that cannot be used."""
    origins = [VolumeOrigin(volume) for volume in volumes]
    every = max(1, min(int(np.prod(volume.shape)) for volume in volumes) // _SAMPLES)
    index = _index(origins, every, say)
    jobs = [(subject, contrast) for subject in dataset.subjects() for contrast in dataset.contrasts(subject)]

    def compare(job: tuple[str, str]) -> str | list[tuple[int, Match]]:
        try:
            return _candidates(dataset, *job, origins, index, every)
        except VolumeError as error:
            return f"{' '.join(job)}: {error}"

    problems = []
    for result in in_threads(compare, jobs, say, "volumes of the data set compared"):
        if isinstance(result, str):
            problems.append(result)
            continue
        for number, match in result:
            origins[number].matches.append(match)
    for origin in origins:
        origin.matches.sort(key=lambda match: (-match.agreement, -match.votes))
    return origins, problems


def _index(origins: Sequence[VolumeOrigin], every: int, say: Callable[[str], None]) -> Index:
    def hashed(origin: VolumeOrigin) -> tuple[np.ndarray, np.ndarray]:
        integers = as_integers(origin.volume.read())
        if integers is None:
            origin.problem = (
                "its values are constant or on no integer grid: it was resampled, or rounded again after scaling"
            )
            return np.zeros(0, np.uint64), np.zeros((0, 3), np.int32)
        sampled = fingerprint(integers.values, every)
        return sampled.hashes, sampled.positions

    parts = list(in_threads(hashed, origins, say, "HR volumes of the archive read"))
    hashes = np.concatenate([part[0] for part in parts])
    owners = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    order = np.argsort(hashes, kind="stable")
    return Index(hashes[order], np.concatenate([part[1] for part in parts])[order], owners[order])


def _candidates(
    dataset: Dataset, subject: str, contrast: str, origins: Sequence[VolumeOrigin], index: Index, every: int
) -> list[tuple[int, Match]]:
    """(number of an archive's volume, match) for all that share a position with this volume of the data set."""
    source = dataset.load(subject, contrast).data
    integers = as_integers(source)
    if integers is None:
        raise VolumeError(
            dataset.source(subject, contrast), "has values that are on no integer grid; it cannot be matched"
        )
    sampled = fingerprint(integers.values, every)
    matches = []
    for number, positions, hash_numbers in index.shared(sampled.hashes):
        position, agree = locate(positions, sampled.positions[hash_numbers])
        if agree.sum() >= _VOTES:
            volume = origins[number].volume
            match = _compared(subject, contrast, integers, volume, position, positions[agree])
            matches.append((number, match))
    return matches


def _compared(
    subject: str,
    contrast: str,
    source: IntegerVolume,
    volume: ArchivedVolume,
    position: CropPosition,
    voters: np.ndarray,
) -> Match:
    """The match of an archive's volume with its position in a source, voxel by voxel."""
    archived = as_integers(volume.read())
    assert archived is not None, "volumes in the index are on a grid"
    cut = position.cut(source.values, volume.shape)
    voter = tuple(voters[0])
    shift = int(archived.values[voter]) - int(cut[voter])  # the same at all voters: their neighbourhoods are equal
    equal = archived.values == cut + shift
    zero = -source.offset / source.step
    clipped = (cut < zero) & (cut > NOWHERE) & (archived.values == round(zero) + shift) & ~equal
    scale = archived.step / source.step
    offset = archived.offset + shift * archived.step - source.offset * scale
    start = position.start(volume.shape)
    size = dict(zip(position.axes, volume.shape, strict=True))
    centre = [(n - size[axis]) // 2 for axis, n in enumerate(source.values.shape)]
    agreement = float(np.count_nonzero(equal | clipped)) / equal.size
    volume_range, crop_range = (
        (float(values.min()) * source.step + source.offset, float(values.max()) * source.step + source.offset)
        for values in (source.values, cut)
    )
    return Match(
        subject=subject,
        contrast=contrast,
        votes=len(voters),
        agreement=agreement,
        clipped=int(clipped.sum()),
        codes=position.codes,
        start=start,
        from_centre=(start[0] - centre[0], start[1] - centre[1], start[2] - centre[2]),
        scale=scale,
        offset=offset,
        rule=rule(scale, offset, {"the volume's": volume_range, "the crop's": crop_range}),
    )


def rule(scale: float, offset: float, ranges: dict[str, tuple[float, float]]) -> str:
    """archive = file × scale + offset, as text; `ranges`: whose → its (minimum, maximum) in the file's units."""

    def near(first: float, second: float) -> bool:
        return abs(first - second) <= 1e-5 * max(abs(first), abs(second))

    divisor, shift = 1 / scale, offset / scale
    if abs(shift) < 1e-3 * max(1.0, abs(divisor) * 1e-6):
        if near(scale, 1):
            return "as in the file"
        if whose := [name for name, (_, high) in ranges.items() if near(divisor, high)]:
            return f"divided by {' or '.join(whose)} maximum"
        return f"divided by {divisor:.6g}"
    if whose := [name for name, (low, high) in ranges.items() if near(divisor, high - low) and abs(shift + low) < 1e-3]:
        return f"less {' or '.join(whose)} minimum, divided by its range"
    return f"plus {shift:.6g}, divided by {divisor:.6g}"
