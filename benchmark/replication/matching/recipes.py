"""How the LR volumes of an archive were made from its HR volumes: the nearest degradation and rounding."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import numpy as np

from ...degradation import DEGRADATIONS, bicubic, degrade
from ...protocol.schema import Rounding
from ...volumes import Grid
from .archive import ArchivedVolume, factors_of
from .search import Match, VolumeOrigin, in_threads

_THUMB = (12, 12, 12)
_ALIKE = 0.97
"""Least correlation of an LR volume's thumbnail with that of its HR volume; other heads stay below."""
_EXACT = 1e-3
"""Differences up to this many raw units are float32's: the recipe is found."""


@dataclass(frozen=True)
class LrDegradation:
    """The LR volumes of one folder, contrast and scale, and how they were made."""

    folder: str
    contrast: str
    factors: tuple[int, ...]
    """HR voxels per LR voxel, by the archive's axes."""
    volumes: int
    exact: int
    """Volumes that the recipe gives in every voxel."""
    recipes: tuple[str, ...]
    """All that come equally near on the first volume, e.g. 'bicubic, rounded as stored'."""
    difference: float
    """The largest over all volumes, in the raw units of the data set."""
    differing: float
    """The share of all voxels that differ: where it is small and the difference 1, ties were rounded another way."""
    gain: float
    """LR intensities over those that the HR volume's intensity rule gives; 1 where LR was scaled like HR."""


@dataclass(frozen=True)
class _Difference:
    """An LR volume from what one way makes of its HR volume, in raw units."""

    mean: float
    """By which the nearest is chosen: the largest would take unrounded for rounded where a tie fell the other way."""
    largest: float
    differing: float
    gain: float


@dataclass(frozen=True)
class _Way:
    """One degradation with its options and one rounding."""

    name: str
    options: tuple[tuple[str, Any], ...]
    rounding: str

    def __str__(self) -> str:
        options = "".join(f", {key} {value}" for key, value in self.options)
        rounded = {"stored": "rounded, clipped at 0", "stored_unclipped": "rounded", "clipped": "clipped at 0"}
        return f"{self.name}{options}, {rounded.get(self.rounding, 'not rounded')}"


def thumbnail(volume: np.ndarray) -> np.ndarray:
    """A small image of a volume, flattened, with mean 0 and norm 1: like for like at any resolution and gain."""
    small = bicubic(np.asarray(volume, np.float64), _THUMB).ravel()
    small -= small.mean()
    return np.asarray(small / (np.linalg.norm(small) or 1.0))


def lr_degradations(
    found: Sequence[VolumeOrigin], low: Sequence[ArchivedVolume], say: Callable[[str], None]
) -> tuple[list[LrDegradation], dict[str, str]]:
    """The recipe of every folder, contrast and scale, and LR file → why it could not be used."""
    known = [one for one in found if one.match is not None]
    if not low or not known:
        return [], {item.name: "no HR volume of the archive matched the data set" for item in low}
    faces = np.stack(list(in_threads(lambda one: thumbnail(one.item.read()), known, say, "HR thumbnails")))
    problems: dict[str, str] = {}
    groups: dict[tuple[str, str, tuple[int, ...]], list[tuple[ArchivedVolume, VolumeOrigin]]] = {}
    for item, face in zip(low, in_threads(lambda item: thumbnail(item.read()), low, say, "LR thumbnails"), strict=True):
        alike = faces @ face
        nearest = known[int(alike.argmax())]
        factors = factors_of(item.shape, nearest.item.shape)
        if alike.max() < _ALIKE or factors is None or nearest.match is None:
            problems[item.name] = f"is like no matched HR volume (nearest: {nearest.item.name}, {alike.max():.3f})"
            continue
        key = (item.name.rpartition("/")[0], nearest.match.contrast, factors)
        groups.setdefault(key, []).append((item, nearest))
    made = [_lr_degradation(*key, pairs, say) for key, pairs in sorted(groups.items(), key=lambda group: group[0])]
    return made, problems


def _lr_degradation(
    folder: str,
    contrast: str,
    factors: tuple[int, ...],
    pairs: Sequence[tuple[ArchivedVolume, VolumeOrigin]],
    say: Callable[[str], None],
) -> LrDegradation:
    def distances(pair: tuple[ArchivedVolume, VolumeOrigin], ways: Sequence[_Way]) -> list[_Difference]:
        item, one = pair
        assert one.match is not None
        return _differences(one.item.read(), item.read(), one.match, factors, ways)

    first = distances(pairs[0], _ways())
    nearest = min(far.mean for far in first)
    best = [way for way, far in zip(_ways(), first, strict=True) if far.mean <= nearest + _EXACT]
    far = list(in_threads(lambda pair: distances(pair, best[:1])[0], pairs, say, f"LR of {folder} {contrast}"))
    return LrDegradation(
        folder,
        contrast,
        factors,
        len(pairs),
        sum(one.largest <= _EXACT for one in far),
        tuple(str(way) for way in best),
        max(one.largest for one in far),
        float(np.mean([one.differing for one in far])),
        float(np.median([one.gain for one in far])),
    )


def _ways() -> list[_Way]:
    """Every degradation with every choice that its options offer by name, and every rounding."""
    ways = []
    for name, settings in DEGRADATIONS.items():
        choices = {
            key: get_args(field.annotation)
            for key, field in settings.model_fields.items()
            if get_origin(field.annotation) is Literal
        }
        for values in itertools.product(*choices.values()):
            options = tuple(zip(choices, values, strict=True))
            ways += [_Way(name, options, rounding) for rounding in get_args(Rounding)]
    return ways


def _differences(
    high: np.ndarray, low: np.ndarray, match: Match, factors: tuple[int, ...], ways: Sequence[_Way]
) -> list[_Difference]:
    """For each way, how far the archive's LR is from it; a gain between the two is taken out."""
    raw_high, raw_low = ((np.asarray(array, np.float64) - match.offset) / match.scale for array in (high, low))
    raw_high = np.rint(raw_high)
    grid = Grid(integer=True, nonnegative=bool(raw_high.min() >= 0))
    unrounded: dict[tuple[Any, ...], np.ndarray] = {}
    found = []
    for way in ways:
        made = way.name, way.options
        if made not in unrounded:
            unrounded[made] = degrade(raw_high, way.name, factors, **dict(way.options))
        tried = grid.apply(unrounded[made], way.rounding)
        gain = float(np.vdot(raw_low, tried) / (np.vdot(tried, tried) or 1.0))
        gain = 1.0 if abs(gain - 1) < 1e-3 else gain
        apart = np.abs(raw_low / (gain or 1.0) - tried)
        found.append(_Difference(float(apart.mean()), float(apart.max()), float(np.mean(apart > _EXACT)), gain))
    return found
