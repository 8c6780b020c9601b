"""How the LR volumes of an archive were made from its HR volumes: the nearest degradation and rounding."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import numpy as np

from ...degradation import DEGRADATIONS, bicubic, degrade
from ...protocol.data_blocks import Rounding
from ...volumes import Grid
from .archive import ArchivedVolume, factors_of
from .search import Match, VolumeOrigin, in_threads

_THUMB = (12, 12, 12)
_ALIKE = 0.97
"""Least correlation of an LR volume's thumbnail with that of its HR volume; other heads stay below."""
_EXACT = 1e-3
"""Differences up to this many raw units are float32's: the LR volume is exact."""


@dataclass(frozen=True)
class LrDegradation:
    """The LR volumes of one folder, contrast and scale, and how they were made."""

    folder: str
    contrast: str
    factors: tuple[int, ...]
    """HR voxels per LR voxel, by the archive's axes."""
    volumes: int
    exact: int
    """Volumes that the first of `recipes` reproduces in every voxel."""
    recipes: tuple[str, ...]
    """All that are equally near on the first volume, e.g. 'bicubic, rounded'."""
    difference: float
    """The largest over all volumes, in the raw units of the data set."""
    differing: float
    """The share of all voxels that differ: where it is small and the difference 1, ties were rounded another way."""
    gain: float
    """LR intensities over those that the HR volume's intensity rule gives; 1 where LR was scaled like HR."""


@dataclass(frozen=True)
class _Residual:
    """How far an archive's LR volume is from what a candidate makes of its HR volume, in raw units."""

    mean: float
    """The nearest candidate has the smallest. (By the largest, one tie rounded the other way would decide.)"""
    largest: float
    differing: float
    gain: float


@dataclass(frozen=True)
class _RoundedDegradation:
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
    origins: Sequence[VolumeOrigin], lr: Sequence[ArchivedVolume], say: Callable[[str], None]
) -> tuple[list[LrDegradation], dict[str, str]]:
    """How LR was made, by folder, contrast and scale; and LR file → why it could not be used."""
    matched = [origin for origin in origins if origin.match is not None]
    if not lr or not matched:
        return [], {volume.name: "no HR volume of the archive matched the data set" for volume in lr}
    hr = [origin.volume for origin in matched]
    hr_thumbnails = np.stack(list(in_threads(_read_thumbnail, hr, say, "HR thumbnails")))
    lr_thumbnails = in_threads(_read_thumbnail, lr, say, "LR thumbnails")
    problems: dict[str, str] = {}
    groups: dict[tuple[str, str, tuple[int, ...]], list[tuple[ArchivedVolume, VolumeOrigin]]] = {}
    for volume, small in zip(lr, lr_thumbnails, strict=True):
        correlations = hr_thumbnails @ small
        nearest, correlation = matched[int(correlations.argmax())], correlations.max()
        factors = factors_of(volume.shape, nearest.volume.shape)
        if correlation < _ALIKE or factors is None or nearest.match is None:
            problems[volume.name] = f"is like no matched HR volume (nearest: {nearest.volume.name}, {correlation:.3f})"
            continue
        key = (volume.name.rpartition("/")[0], nearest.match.contrast, factors)
        groups.setdefault(key, []).append((volume, nearest))
    ordered = sorted(groups.items(), key=lambda group: group[0])
    return [_lr_degradation(*key, pairs, say) for key, pairs in ordered], problems


def _read_thumbnail(volume: ArchivedVolume) -> np.ndarray:
    return thumbnail(volume.read())


def _lr_degradation(
    folder: str,
    contrast: str,
    factors: tuple[int, ...],
    pairs: Sequence[tuple[ArchivedVolume, VolumeOrigin]],
    say: Callable[[str], None],
) -> LrDegradation:
    def compare(
        pair: tuple[ArchivedVolume, VolumeOrigin], candidates: Sequence[_RoundedDegradation]
    ) -> list[_Residual]:
        lr, origin = pair
        assert origin.match is not None
        return _residuals(origin.volume.read(), lr.read(), origin.match, factors, candidates)

    first = compare(pairs[0], _candidates())
    nearest = min(difference.mean for difference in first)
    best = [candidate for candidate, far in zip(_candidates(), first, strict=True) if far.mean <= nearest + _EXACT]
    differences = list(in_threads(lambda pair: compare(pair, best[:1])[0], pairs, say, f"LR of {folder} {contrast}"))
    return LrDegradation(
        folder=folder,
        contrast=contrast,
        factors=factors,
        volumes=len(pairs),
        exact=sum(difference.largest <= _EXACT for difference in differences),
        recipes=tuple(str(candidate) for candidate in best),
        difference=max(difference.largest for difference in differences),
        differing=float(np.mean([difference.differing for difference in differences])),
        gain=float(np.median([difference.gain for difference in differences])),
    )


def _candidates() -> list[_RoundedDegradation]:
    """Every degradation with every choice that its options offer by name, and every rounding."""
    candidates = []
    for name, settings in DEGRADATIONS.items():
        choices = {
            key: get_args(field.annotation)
            for key, field in settings.model_fields.items()
            if get_origin(field.annotation) is Literal
        }
        for values in itertools.product(*choices.values()):
            options = tuple(zip(choices, values, strict=True))
            candidates += [_RoundedDegradation(name, options, rounding) for rounding in get_args(Rounding)]
    return candidates


def _residuals(
    hr: np.ndarray, lr: np.ndarray, match: Match, factors: tuple[int, ...], candidates: Sequence[_RoundedDegradation]
) -> list[_Residual]:
    """How far the archive's LR is from that of each candidate, after a gain between the two is taken out."""
    raw_hr, raw_lr = ((np.asarray(array, np.float64) - match.offset) / match.scale for array in (hr, lr))
    raw_hr = np.rint(raw_hr)
    grid = Grid(integer=True, nonnegative=bool(raw_hr.min() >= 0))
    unrounded: dict[tuple[Any, ...], np.ndarray] = {}
    differences = []
    for candidate in candidates:
        key = candidate.name, candidate.options
        if key not in unrounded:
            unrounded[key] = degrade(raw_hr, candidate.name, factors, **dict(candidate.options))
        made = grid.apply(unrounded[key], candidate.rounding)
        gain = float(np.vdot(raw_lr, made) / (np.vdot(made, made) or 1.0))
        gain = 1.0 if abs(gain - 1) < 1e-3 else gain
        errors = np.abs(raw_lr / (gain or 1.0) - made)
        differing = float(np.mean(errors > _EXACT))
        differences.append(_Residual(float(errors.mean()), float(errors.max()), differing, gain))
    return differences
