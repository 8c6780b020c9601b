"""From which subject and contrast each HR volume of an archive was cut: one pass over the data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ...dataset import Dataset
from ...system.parallel import thread_pool
from ...volumes import VolumeError
from .archive import ArchivedVolume
from .fingerprint import NOWHERE, CropPosition, Whole, locate, sketch, whole_numbers

_SAMPLES = 4096
"""Voxels hashed of the smallest volume of an archive; larger ones give more."""
_VOTES = 4
"""Pairs that must agree on a place before volumes are compared voxel by voxel; chance pairs do not."""
_COMMON = 8
"""A hash that stands in more volumes of an archive than these says little, and is not looked up."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Match:
    """An archive's volume found in a volume of the data set (in RAS)."""

    subject: str
    contrast: str
    votes: int
    """Sampled voxels that agree on the place."""
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
    """The same in words."""


@dataclass
class VolumeOrigin:
    """All that is known of one HR volume of an archive."""

    item: ArchivedVolume
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
    """The sketches of all volumes of an archive, sorted by hash."""

    hashes: np.ndarray
    positions: np.ndarray
    owners: np.ndarray
    """Number of the volume that each hash is of."""

    def shared(self, hashes: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For every volume that shares enough of the sorted `hashes`: its number, its positions, indices of hashes."""
        left, right = (np.searchsorted(self.hashes, hashes, side) for side in ("left", "right"))
        times = right - left
        times[times > _COMMON] = 0
        which = np.repeat(np.arange(len(hashes)), times)
        entry = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times) + left[which]
        owners = self.owners[entry]
        order = np.argsort(owners, kind="stable")
        for owner, start, number in zip(*np.unique(owners[order], return_index=True, return_counts=True), strict=True):
            if number >= _VOTES:
                chosen = order[start : start + number]
                yield int(owner), self.positions[entry[chosen]], which[chosen]


def in_threads(work: Callable[[T], R], jobs: Sequence[T], say: Callable[[str], None], what: str) -> Iterator[R]:
    """The results in order, with a line at every tenth. Unpacking and whole-volume arithmetic free Python's lock."""
    with thread_pool(8) as pool:
        for number, result in enumerate(pool.map(work, jobs), start=1):
            if number * 10 // len(jobs) > (number - 1) * 10 // len(jobs):
                say(f"{what}: {number} of {len(jobs)}")
            yield result


def search(
    dataset: Dataset, items: Sequence[ArchivedVolume], say: Callable[[str], None]
) -> tuple[list[VolumeOrigin], list[str]]:
    """Every HR volume of an archive with its candidates, and the data set's files that cannot be used."""
    found = [VolumeOrigin(item) for item in items]
    every = max(1, min(int(np.prod(item.shape)) for item in items) // _SAMPLES)
    index = _index(found, every, say)
    jobs = [(subject, contrast) for subject in dataset.subjects() for contrast in dataset.contrasts(subject)]

    def look(job: tuple[str, str]) -> str | list[tuple[int, Match]]:
        try:
            return _candidates(dataset, *job, found, index, every)
        except VolumeError as error:
            return f"{' '.join(job)}: {error}"

    problems = []
    for result in in_threads(look, jobs, say, "volumes of the data set compared"):
        if isinstance(result, str):
            problems.append(result)
            continue
        for number, match in result:
            found[number].matches.append(match)
    for one in found:
        one.matches.sort(key=lambda match: (-match.agreement, -match.votes))
    return found, problems


def _index(found: Sequence[VolumeOrigin], every: int, say: Callable[[str], None]) -> Index:
    def sketched(one: VolumeOrigin) -> tuple[np.ndarray, np.ndarray]:
        whole = whole_numbers(one.item.read())
        if whole is None:
            one.problem = "its values are constant or on no integer grid: resampled, or rounded anew after scaling"
            return np.zeros(0, np.uint64), np.zeros((0, 3), np.int32)
        drawn = sketch(whole.values, every)
        return drawn.hashes, drawn.positions

    parts = list(in_threads(sketched, found, say, "HR volumes of the archive read"))
    hashes = np.concatenate([part[0] for part in parts])
    owners = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    order = np.argsort(hashes, kind="stable")
    return Index(hashes[order], np.concatenate([part[1] for part in parts])[order], owners[order])


def _candidates(
    dataset: Dataset, subject: str, contrast: str, found: Sequence[VolumeOrigin], index: Index, every: int
) -> list[tuple[int, Match]]:
    """(number of an archive's volume, match) for all that share a place with this volume of the data set."""
    source = dataset.load(subject, contrast).data
    whole = whole_numbers(source)
    if whole is None:
        raise VolumeError(dataset.source(subject, contrast), "has values on no integer grid; it cannot be matched")
    drawn = sketch(whole.values, every)
    matches = []
    for number, positions, which in index.shared(drawn.hashes):
        place, agree = locate(positions, drawn.positions[which])
        if agree.sum() >= _VOTES:
            compared = _compared(subject, contrast, whole, found[number].item, place, positions[agree])
            matches.append((number, compared))
    return matches


def _compared(
    subject: str, contrast: str, source: Whole, item: ArchivedVolume, place: CropPosition, voters: np.ndarray
) -> Match:
    """The match of an archive's volume with its place in a source, voxel by voxel."""
    archived = whole_numbers(item.read())
    assert archived is not None, "what is in the index is on a grid"
    cut = place.cut(source.values, item.shape)
    voter = tuple(voters[0])
    shift = int(archived.values[voter]) - int(cut[voter])  # the same at all voters: their neighbourhoods are equal
    equal = archived.values == cut + shift
    zero = -source.offset / source.step
    clipped = (cut < zero) & (cut > NOWHERE) & (archived.values == round(zero) + shift) & ~equal
    scale = archived.step / source.step
    offset = archived.offset + shift * archived.step - source.offset * scale
    start = place.start(item.shape)
    size = dict(zip(place.axes, item.shape, strict=True))
    centre = [(n - size[axis]) // 2 for axis, n in enumerate(source.values.shape)]
    agreement = float(np.count_nonzero(equal | clipped)) / equal.size
    whole_range, crop_range = (
        (float(part.min()) * source.step + source.offset, float(part.max()) * source.step + source.offset)
        for part in (source.values, cut)
    )
    return Match(
        subject=subject,
        contrast=contrast,
        votes=len(voters),
        agreement=agreement,
        clipped=int(clipped.sum()),
        codes=place.codes,
        start=start,
        from_centre=(start[0] - centre[0], start[1] - centre[1], start[2] - centre[2]),
        scale=scale,
        offset=offset,
        rule=rule(scale, offset, {"the volume's": whole_range, "the crop's": crop_range}),
    )


def rule(scale: float, offset: float, ranges: dict[str, tuple[float, float]]) -> str:
    """archive = file × scale + offset in words; `ranges`: whose → its (minimum, maximum) in the file's units."""

    def near(one: float, other: float) -> bool:
        return abs(one - other) <= 1e-5 * max(abs(one), abs(other))

    divisor, shift = 1 / scale, offset / scale
    if abs(shift) < 1e-3 * max(1.0, abs(divisor) * 1e-6):
        if near(scale, 1):
            return "as in the file"
        if whose := [name for name, (_, high) in ranges.items() if near(divisor, high)]:
            return f"divided by {' or '.join(whose)} maximum"
        return f"divided by {divisor:.6g}"
    less = (name for name, (low, high) in ranges.items() if near(divisor, high - low) and abs(shift + low) < 1e-3)
    if whose := list(less):
        return f"less {' or '.join(whose)} minimum, divided by its range"
    return f"plus {shift:.6g}, divided by {divisor:.6g}"
